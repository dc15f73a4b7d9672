-- Handshakes that fail, and what the log says of them; the limits of connections over TLS; a PROXY
-- header before TLS; an upgrade of the binary; keys that only root may read.

local net = require("tests.support.net")
local poll = require("tests.support.poll")
local process = require("tests.support.process")
local server = require("tests.support.server")
local socket = require("socket")
local stage = require("tests.support.stage")
local tls = require("tests.support.tls")

local ca, site

setup(function()
  ca = tls.authority()
  site = ca:issue({ "site.test" }, { key = "rsa" })
end)

local function route(address, setting, more, listener, workers)
  return ([[return {
    listen = { { address = %q, tls = %s, %s } }, workers = %d, watch = false, control = false,
    on_request = function(req) return { status = 200, body = req.ip .. " " .. req.scheme } end,
    %s
  }]]):format(address, setting, listener or "", workers or 1, more or "")
end

local function start(setting, more, listener, options)
  options = options or {}
  local address = "127.0.0.1:" .. net.free_port()
  options.own, options.address = true, address
  options.route = route(address, setting, more, listener, options.workers)
  return server.start(options)
end

local function get(s, ...)
  return tls.curl({ "https://site.test/", "--cacert", ca.cert, "--connect-to",
    "site.test:443:" .. s.address, ... })
end

local FAILED = "listener [^\n]*: client 127%.0%.0%.1[^\n]*: the handshake has failed: "

describe("a handshake that fails", function()
  -- Waits for the line that says why.
  local function says(s, from, words)
    return s:wait_log(FAILED .. words, nil, from)
  end

  it("is a line with the client, the name and the reason", function()
    local s = start(tls.setting(site, [[ciphers = "ECDHE-RSA-AES128-GCM-SHA256"]]))
    finally(function() s:stop() end)
    local from = s:mark()
    get(s, "--cacert", "/dev/null") -- no authority at all: curl does not begin
    get(s, "--cacert", tls.authority().cert) -- another one
    local line = says(s, from, "the client does not know the certificate's authority")
    assert.matches(", name site.test: ", line, 1, true)
    for _, version in ipairs({ "-tls1", "-tls1_1" }) do
      from = s:mark()
      local said = tls.client(s.address, { version, "-cipher", "DEFAULT:@SECLEVEL=0" })
      assert.matches("Cipher is %(NONE%)", said)
      says(s, from, "the client speaks no version of TLS that is served")
    end
    for _, cipher in ipairs({ "AES128-SHA", "NULL", "DHE-RSA-AES128-GCM-SHA256",
      "ECDHE-RSA-AES128-SHA", "ECDHE-RSA-AES256-GCM-SHA384" }) do
      from = s:mark()
      local said = tls.client(s.address, { "-tls1_2", "-cipher", cipher .. ":@SECLEVEL=0" })
      assert.matches("Cipher is %(NONE%)", said)
      says(s, from, "client and listener have no cipher in common")
    end
    from = s:mark()
    tls.client(s.address, { "-alpn", "smtp" })
    says(s, from, "the client wants neither HTTP/1.1 nor HTTP/2 %(ALPN%)")
    assert.equal("127.0.0.1 https", (get(s)))
  end)

  it("is a line for bytes that are no TLS, and for old versions of SSL", function()
    local s = start(tls.setting(site))
    finally(function() s:stop() end)
    for bytes, words in pairs({
      ["\0\0\0\0\0\0\0\0\0\0\0\0"] = "the client's bytes are no TLS",
      [tls.hello("site.test", "\3\0")] = "the client speaks no version of TLS",
    }) do
      local from = s:mark()
      local conn = net.connect(s.address)
      conn:send(bytes)
      conn:read_all(30)
      conn:close()
      says(s, from, words)
    end
  end)

  it("is a line for a client that leaves, is late, or has no certificate", function()
    local s = start(tls.setting(site, ("client_ca = %q, verify = 'required'"):format(ca.cert)),
      "limits = { header_timeout = 8 },")
    finally(function() s:stop() end)
    local from = s:mark()
    local left = net.connect(s.address)
    left:send(tls.hello("left.test"))
    assert.matches("^\22", left:read(5, 30))
    left:close()
    assert.matches(", name left.test: ", says(s, from, "the client "), 1, true)
    from = s:mark()
    local late = net.connect(s.address)
    late:send(tls.hello("late.test"))
    late:read_all(30)
    late:close()
    assert.matches(", name late.test: ", says(s, from, "it was not over within header_timeout"), 1,
      true)
    from = s:mark()
    get(s)
    says(s, from, "the client has no certificate, and needs one")
    from = s:mark()
    local stranger = tls.authority("Another CA"):issue({ "mallory" })
    get(s, "--cert", stranger.cert, "--key", stranger.key)
    says(s, from, "the client's certificate is not accepted: unable to get")
  end)

  it("is none where the client says nothing, and few lines where there are many", function()
    local s = start(tls.setting(site), "limits = { header_timeout = 5 },")
    finally(function() s:stop() end)
    local silent = net.connect(s.address)
    net.connect(s.address):close()
    assert.is_true(silent:closes(30))
    silent:close()
    assert.is_nil(s:errors():find("handshake", 1, true))
    local began = socket.gettime()
    for _ = 1, 250 do
      local conn = net.connect(s.address)
      conn:send("\0\0\0\0\0\0\0\0\0\0\0\0")
      conn:read_all(30)
      conn:close()
    end
    local _, lines = s:errors():gsub("the handshake has failed", "")
    local most = 100 * (2 + math.floor((socket.gettime() - began) / 10)) -- 100 in ten seconds
    assert.is_true(lines >= 100 and lines <= most, lines .. " lines")
  end)
end)

describe("TLS and the limits of connections", function()
  for _, limit in ipairs({ "connections", "per_ip" }) do
    it("counts handshakes and open connections for " .. limit, function()
      local s = start(tls.setting(site),
        ("limits = { %s = 2, header_timeout = 60 },"):format(limit))
      finally(function() s:stop() end)
      local held = { net.connect(s.address), net.connect(s.address) }
      for _, conn in ipairs(held) do
        conn:send(tls.hello("site.test"))
        assert.matches("^\22\3\3", conn:read(5, 30))
      end
      local _, code = get(s)
      assert.is_true(code ~= 0)
      s:wait_log("limits." .. limit)
      assert.is_nil(s:errors():find("handshake", 1, true))
      held[1]:close()
      poll.wait(function()
        return (get(s)) == "127.0.0.1 https"
      end, "the place of a connection that has ended")
      held[2]:close()
    end)
  end
end)

describe("a PROXY header before TLS", function()
  local HEADER = "PROXY TCP4 192.0.2.7 192.0.2.1 4711 443\r\n"

  local function begin()
    return start(tls.setting(site), "trusted_proxies = { '127.0.0.1' },", "proxy_protocol = true")
  end

  it("comes in one piece with the first bytes of TLS, or in pieces", function()
    local s = begin()
    finally(function() s:stop() end)
    local bytes = HEADER .. tls.hello("site.test")
    for _, cut in ipairs({ 0, 1, 10, #HEADER - 1, #HEADER, #HEADER + 1, #HEADER + 50 }) do
      local conn = net.connect(s.address)
      if cut > 0 then
        conn:drip({ bytes:sub(1, cut), bytes:sub(cut + 1) }, 0.02)
      else
        conn:send(bytes)
      end
      assert.matches("^\22\3\3", conn:read(5, 30))
      conn:close()
    end
    s:wait_log("client 192.0.2.7, name site.test: the handshake has failed: the client")
  end)

  it("that is missing, broken or too long ends the connection", function()
    local s = begin()
    finally(function() s:stop() end)
    for _, bytes in ipairs({ tls.hello("site.test"), "PROXY TCP4 x\r\n", ("PROXY "):rep(100) }) do
      local conn = net.connect(s.address)
      conn:send(bytes)
      assert.is_true(conn:closes(30))
      conn:close()
    end
    assert.matches("^127.0.0.1 https", (get(s, "--haproxy-protocol")))
  end)
end)

describe("an upgrade of the binary", function()
  setup(function() process.inherit(true) end)
  teardown(function() process.inherit(false) end)

  it("takes over listeners with TLS without a failed request", function()
    local pid_file = process.tempdir("upgrade") .. "/pid"
    local s = start(tls.setting(site), "limits = { keepalive_requests = 1e9 },", nil,
      { workers = 2, args = { "--pid", pid_file } })
    finally(function() s:stop() end)
    local dir = process.tempdir("clients")
    -- one client that keeps its connection, and one that makes a new one each time
    local clients = {}
    for name, line in pairs({ kept = "", new = 'header = "Connection: close"\n' }) do
      process.write_file(dir .. "/" .. name, (('url = "https://site.test/"\n'
        .. 'output = "/dev/null"\n'):rep(1500)) .. ("connect-to = \"site.test:443:%s\"\n"
        .. "cacert = %q\n%s"):format(s.address, ca.cert, line))
      clients[name] = process.spawn({
        argv = { "curl", "-sS", "-f", "--noproxy", "*", "-K", dir .. "/" .. name,
          "-w", "%{http_code}\n" },
        stdout = dir .. "/" .. name .. ".out", stderr = dir .. "/" .. name .. ".err",
      })
    end
    local function answers(name)
      local _, count = (process.read_file(dir .. "/" .. name .. ".out") or ""):gsub("200\n", "")
      return count
    end
    poll.wait(function() return answers("kept") > 20 and answers("new") > 20 end, "answers")
    local old, from = s.process, s:mark()
    old:kill("USR2")
    local line = s:wait_log("pid %d+ serves in our place", nil, from)
    s.process = process.adopt(tonumber(line:match("pid (%d+) serves")), "moongate")
    assert.truthy(old:wait(60))
    assert.equal("exit status 0", old:ending(), s:errors())
    for name, client in pairs(clients) do
      assert.equal("exit status 0", client:wait(300),
        process.read_file(dir .. "/" .. name .. ".err"))
      assert.equal(1500, answers(name))
    end
    assert.equal("127.0.0.1 https", (get(s)))
  end)
end)

describe("moongate check as root", function()
  it("reads keys that only root may read, and loads the script as another user", function()
    if not process.is_root() then
      return pending("needs root")
    end
    local dir = stage.files({
      ["site.pem"] = process.read_file(site.cert), ["site.key"] = process.read_file(site.key),
      ["other.key"] = process.read_file(ca:issue({ "other.test" }).key),
    })
    for _, name in ipairs({ "site.key", "other.key" }) do
      process.chmod(dir .. "/" .. name, "600")
    end
    local function check(key)
      process.write_file(dir .. "/route.lua", ([[
        assert(not io.open(%q), "the script can read the key")
        return {
          listen = { { address = "127.0.0.1:8443", tls = { cert = %q, key = %q } } },
          on_request = function() return { status = 204 } end,
        }]]):format(dir .. "/site.key", dir .. "/site.pem", key))
      return server.command({ "check", dir .. "/route.lua" })
    end
    local good = check(dir .. "/site.key")
    assert.equal(0, good.code, good.stderr)
    assert.equal("ok\n", good.stdout)
    assert.is_nil(good.stderr:find("Permission", 1, true), good.stderr)
    local wrong = check(dir .. "/other.key")
    assert.equal(1, wrong.code)
    assert.matches("the key does not fit the certificate", wrong.stderr, 1, true)
    local missing = check(dir .. "/none.key")
    assert.equal(1, missing.code)
    assert.matches("/none.key can't be used: No such file or directory", missing.stderr, 1, true)
  end)
end)
