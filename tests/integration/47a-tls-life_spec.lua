-- TLS over time: certificates that are renewed under load, sessions over workers and reloads, many
-- handshakes beside requests, HTTP/2 by ALPN.

local http = require("tests.support.http")
local net = require("tests.support.net")
local poll = require("tests.support.poll")
local process = require("tests.support.process")
local server = require("tests.support.server")
local ssl = require("tests.support.ssl")
local stage = require("tests.support.stage")
local tls = require("tests.support.tls")

local ECHO = [[
  on_request = function(req)
    return { status = 200, body = req.scheme .. " "
      .. (req.tls and req.tls.name or req.path) .. "\n" }
  end,
  limits = { keepalive_requests = 1e9 }, -- a fast machine has asked 10,000 times in some seconds
]]

local function route(address, setting, workers, more)
  return ("return { listen = { { address = %q, tls = %s } %s }, workers = %d, watch = false, "
    .. "control = false, %s }"):format(address, setting, more or "", workers, ECHO)
end

local function start(setting, workers, more)
  local address = "127.0.0.1:" .. net.free_port()
  return server.start({ own = true, address = address,
    route = route(address, setting, workers or 1, more) })
end

local function get(s, name, ca, ...)
  return tls.curl({ "https://" .. name .. "/", "--cacert", ca.cert, "--connect-to",
    ("%s:443:%s"):format(name, s.address), ... })
end

local ca, site

setup(function()
  ca = tls.authority()
  site = ca:issue({ "site.test" })
end)

describe("a folder of certificates", function()
  -- A folder as certbot has it.
  local function folder(names)
    local dir = process.tempdir("live")
    for _, name in ipairs(names) do
      process.run({ argv = { "mkdir", "-m", "755", dir .. "/" .. name } })
      ca:issue({ name }, { to = {
        cert = dir .. "/" .. name .. "/fullchain.pem", key = dir .. "/" .. name .. "/privkey.pem",
      } })
    end
    return dir
  end

  local function renew(dir, name)
    return ca:issue({ name }, { to = {
      cert = dir .. "/" .. name .. "/fullchain.pem", key = dir .. "/" .. name .. "/privkey.pem",
    } })
  end

  it("is served, and new and renewed ones are noticed without a reload", function()
    local dir = folder({ "a.test", "b.test" })
    local s = start(("{ folder = %q }"):format(dir), 2)
    finally(function() s:stop() end)
    assert.matches("b.test", (get(s, "b.test", ca)), 1, true)
    process.run({ argv = { "mkdir", "-m", "755", dir .. "/new.test" } })
    renew(dir, "new.test")
    poll.wait(function()
      return get(s, "new.test", ca):find("new.test", 1, true)
    end, "the new certificate")
    renew(dir, "a.test")
    local subject = process.run({ argv = { "openssl", "x509", "-noout", "-serial", "-in",
      dir .. "/a.test/fullchain.pem" } }).stdout:match("serial=0*(%x+)")
    poll.wait(function()
      local said = tls.client(s.address, { "-servername", "a.test" })
      local got = process.run({ argv = { "openssl", "x509", "-noout", "-serial" }, input = said })
      return got.stdout:match("serial=0*(%x+)") == subject
    end, "the renewed certificate")
    assert.is_nil(s:errors():find("generation 2", 1, true))
  end)

  it("leaves out a broken pair, and keeps what it had of it", function()
    local dir = folder({ "a.test", "b.test" })
    local s = start(("{ folder = %q }"):format(dir))
    finally(function() s:stop() end)
    local from = s:mark()
    process.write_file(dir .. "/b.test/privkey.pem",
      process.read_file(dir .. "/a.test/privkey.pem"))
    s:wait_log("does not fit the certificate", nil, from)
    s:wait_log("certificates have changed", nil, from)
    assert.matches("a.test", (get(s, "a.test", ca)), 1, true)
    assert.matches("b.test", (get(s, "b.test", ca)), 1, true)
  end)

  it("leaves out names that would be read as others", function()
    local dir = folder({ "a.test", "b.test" })
    for i, name in ipairs({ "c\nd", "c\td", "c\t9\t9\n1\tverify\trequired\t\t0\t0\n" }) do
      local pair = ("%s/pair%d"):format(dir, i)
      process.run({ argv = { "cp", "-a", dir .. "/b.test", pair } })
      process.run({ argv = { "mv", "-T", pair, dir .. "/" .. name } })
    end
    local s = start(("{ folder = %q }"):format(dir))
    finally(function() s:stop() end)
    assert.matches("a.test", (get(s, "a.test", ca)), 1, true)
    assert.matches("b.test", (get(s, "b.test", ca)), 1, true)
    assert.matches("a folder's name has a control character", s:errors(), 1, true)
  end)

  it("has 100 certificates replaced under load without a failed request", function()
    local names = {}
    for i = 1, 100 do
      names[i] = ("n%d.test"):format(i)
    end
    local dir = folder(names)
    local s = start(("{ folder = %q }"):format(dir), 2)
    finally(function() s:stop() end)
    local list = process.tempdir("load") .. "/urls"
    local lines = {}
    for i = 1, 400 do
      local name = names[(i - 1) % 100 + 1]
      lines[i] = ('url = "https://%s/"\nconnect-to = "%s:443:%s"\noutput = "/dev/null"\n')
        :format(name, name, s.address)
    end
    process.write_file(list, table.concat(lines))
    local load = process.spawn({ argv = { "curl", "-sS", "-f", "--noproxy", "*", "--cacert",
      ca.cert, "-K", list }, stderr = list .. ".err", stdout = list .. ".out" })
    local from = s:mark()
    for _, name in ipairs(names) do
      renew(dir, name)
    end
    s:wait_log("certificates have changed", nil, from)
    assert.equal("exit status 0", load:wait(120))
    assert.equal("", process.read_file(list .. ".err"))
    assert.matches("n77.test", (get(s, "n77.test", ca)), 1, true)
  end)
end)

describe("a session", function()
  -- Makes a session in a file, or resumes it; says whether it was resumed.
  local function resumes(s, args)
    local said = tls.client(s.address, args)
    return said:find("Reused, TLS", 1, true) ~= nil, said
  end

  it("is resumed by all workers, and after a reload", function()
    for _, version in ipairs({ "-tls1_2", "-tls1_3" }) do
      local s = start(tls.setting(site), 3)
      finally(function() s:stop() end)
      local file = process.tempdir("session") .. "/session"
      local first = resumes(s, { version, "-servername", "site.test", "-sess_out", file })
      assert.is_false(first)
      for _ = 1, 12 do -- connections are spread over the workers
        assert.is_true((resumes(s, { version, "-servername", "site.test", "-sess_in", file })))
      end
      s:reload(route(s.address, tls.setting(site), 2))
      assert.is_true((resumes(s, { version, "-servername", "site.test", "-sess_in", file })))
    end
  end)

  it("is not resumed where another listener asks for another certificate", function()
    local second = "127.0.0.1:" .. net.free_port()
    local s = start(tls.setting(site), 1, (", { address = %q, tls = %s }"):format(second,
      tls.setting(site, ("client_ca = %q, verify = 'optional'"):format(ca.cert))))
    finally(function() s:stop() end)
    local file = process.tempdir("session") .. "/session"
    resumes(s, { "-servername", "site.test", "-sess_out", file })
    local said = tls.client(second, { "-servername", "site.test", "-sess_in", file })
    assert.is_nil(said:find("Reused, TLS", 1, true))
  end)
end)

describe("requests of many connections in one turn", function()
  it("get an answer each, also where the client ends its side behind them", function()
    local s = start(tls.setting(site), 1)
    local worker, list = s:workers()[1], {}
    finally(function()
      process.release(worker)
      s:stop()
    end)
    for i = 1, 80 do
      list[i] = ssl.connect(s.address)
    end
    for _ = 1, 2 do -- the second time all connections are idle ones
      process.hold(worker)
      for i, conn in ipairs(list) do
        conn:send(("GET /%d HTTP/1.1\r\nHost: a\r\n\r\n"):format(i):rep(i % 3 == 0 and 2 or 1))
        if i % 8 == 0 then
          conn:end_writing()
        end
      end
      process.release(worker)
      for i = #list, 1, -1 do
        local conn, text, want = list[i], "", i % 3 == 0 and 2 or 1
        while select(2, text:gsub("https /" .. i .. "\n", "")) < want do
          local more = conn:read_some()
          assert.not_equal("", more)
          text = text .. more
        end
        if i % 8 == 0 then
          assert.equal("", conn:read_some())
          conn:close()
          table.remove(list, i)
        end
      end
    end
    for _, conn in ipairs(list) do
      conn:close()
    end
  end)
end)

describe("HTTP/2", function()
  it("is chosen by ALPN", function()
    local s = start(tls.setting(site))
    finally(function() s:stop() end)
    assert.equal("https site.test\n2",
      (get(s, "site.test", ca, "--http2", "-w", "%{http_version}")))
    assert.equal("https site.test\n1.1",
      (get(s, "site.test", ca, "--http1.1", "-w", "%{http_version}")))
  end)
end)

describe("a flood of handshakes", function()
  it("does not keep requests on open connections from their answers", function()
    local rsa = ca:issue({ "site.test" }, { key = "rsa" })
    local plain = "127.0.0.1:" .. net.free_port()
    local s = start(tls.setting(rsa), 1, (", %q"):format(plain))
    finally(function() s:stop() end)
    local flood, dir = {}, process.tempdir("flood")
    for i = 1, 4 do
      flood[i] = process.spawn({
        argv = { "openssl", "s_time", "-connect", s.address, "-new", "-time", "4" },
        stdout = dir .. "/out" .. i, stderr = dir .. "/err" .. i,
      })
    end
    local answered = 0
    local client = http.open(plain)
    while flood[1]:alive() do
      assert.equal(200, client:request({ path = "/" }).status)
      answered = answered + 1
    end
    client:close()
    for _, one in ipairs(flood) do
      one:wait(60)
    end
    local handshakes = 0
    for i = 1, #flood do
      local text = process.read_file(dir .. "/out" .. i)
      handshakes = handshakes + assert(tonumber(text:match("(%d+) connections in")), text)
    end
    -- With each turn bound to some milliseconds of handshakes there is an answer to a few of them,
    -- however fast the machine is.
    assert.is_true(answered > 100 or 8 * answered > handshakes,
      ("%d answers beside %d handshakes"):format(answered, handshakes))
  end)
end)

describe("moongate.tls", function()
  it("answers an authority's challenge, and leads all else to https", function()
    -- what certbot's webroot plugin does, and below what the authority asks (RFC 8555 section 8.3)
    local plain, token = "127.0.0.1:" .. net.free_port(), "evaGxfADs6pSRb2LAv9IZf17"
    local path = "/.well-known/acme-challenge/"
    local webroot = stage.files({ [path:sub(2) .. token] = token .. ".thumb" })
    local address = "127.0.0.1:" .. net.free_port()
    local s = server.start({ own = true, address = address, route = ([[
      local site = function(req) return { status = 200, body = req.scheme } end
      return {
        listen = { { address = %q, tls = %s }, %q }, workers = 1, watch = false, control = false,
        on_request = require("moongate.tls").redirect(site, { acme = %q }),
      }]]):format(address, tls.setting(site), plain, webroot) })
    finally(function() s:stop() end)
    local function ask(target, host)
      return http.request(plain, { path = target, host = host })
    end
    local res = ask(path .. token, "site.test")
    assert.equal(200, res.status)
    assert.equal(token .. ".thumb", res.body)
    assert.equal(404, ask(path .. "other", "site.test").status)
    res = ask("/a?b=1", "site.test:80")
    assert.equal(301, res.status)
    assert.equal("https://site.test/a?b=1", res.headers.location)
    assert.equal("https", (get(s, "site.test", ca)))
  end)
end)
