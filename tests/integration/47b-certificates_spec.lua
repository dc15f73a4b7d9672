-- Certificates that a script gives for a name (on_certificate): what is asked, what is kept, what
-- waits, and what clients get where there is none.

local net = require("tests.support.net")
local poll = require("tests.support.poll")
local process = require("tests.support.process")
local server = require("tests.support.server")
local stage = require("tests.support.stage")
local store = require("tests.support.store")
local tls = require("tests.support.tls")

local ca, own, first, second, many, lib

-- What hooks of these tests have: the pairs as text, a gate that a file opens, a line for a call.
local LIB = [[
  local moongate = require("moongate")
  local lib = { dir = DIR }
  function lib.text(name)
    local file = assert(io.open(DIR .. "/" .. name))
    local text = file:read("*a")
    file:close()
    return text
  end
  function lib.pair(name, ttl)
    return { cert = lib.text(name .. ".pem"), key = lib.text(name .. ".key"), ttl = ttl }
  end
  function lib.asked(name)
    moongate.log("info", "asked for %s.", name)
  end
  function lib.wait(gate)
    while true do
      local file = io.open(gate)
      if file then
        return file:close()
      end
      moongate.sleep(0.01)
    end
  end
  return lib
]]

setup(function()
  ca = tls.authority()
  own = ca:issue({ "own.test" })
  first, second = ca:issue({ "first.test" }), ca:issue({ "first.test" })
  many = ca:issue({ "*.many.test" })
  local files = {}
  for name, pair in pairs({ first = first, second = second, many = many, other = own }) do
    files[name .. ".pem"] = process.read_file(pair.cert)
    files[name .. ".key"] = process.read_file(pair.key)
  end
  files["small.pem"] = files["other.pem"]
  files["small.key"] = files["first.key"]
  lib = stage.files(files)
end)

local function route(address, hook, setting, more)
  return ([[
    local lib = require("certificates")
    return {
      listen = { { address = %q, tls = %s } }, workers = 1, watch = false, control = false,
      on_certificate = %s,
      on_request = function(req)
        return { status = 200, body = (req.tls and req.tls.name or "-") .. "\n" }
      end,
      %s
    }]]):format(address, setting or "{}", hook, more or "")
end

-- A server whose hook is this text.
local function start(hook, setting, more, env)
  local address = "127.0.0.1:" .. net.free_port()
  return server.start({ own = true, address = address, env = env,
    route = route(address, hook, setting, more),
    files = { ["certificates.lua"] = ("local DIR = %q\n"):format(lib) .. LIB } })
end

local function get(s, name, ...)
  return tls.curl({ "https://" .. name .. "/", "--cacert", ca.cert, "--connect-to",
    ("%s:443:%s"):format(name, s.address), ... })
end

-- How often the hook has been called, for a name or at all.
local function calls(s, name)
  local _, count = s:errors():gsub("asked for " .. (name or "[%w.-]+"):gsub("%.", "%%.") .. "%.\n",
    "")
  return count
end

-- The serial number of the certificate that a client gets for a name; nil without one.
local function serial(s, name, ...)
  local said = tls.client(s.address, { "-servername", name, ... })
  local text = process.run({ argv = { "openssl", "x509", "-noout", "-serial" }, input = said })
  return text.stdout:match("serial=(%x+)")
end

local function serial_of(pair)
  return process.run({ argv = { "openssl", "x509", "-noout", "-serial", "-in", pair.cert } })
    .stdout:match("serial=(%x+)")
end

local function gate()
  local path = process.tempdir("gate")
  process.chmod(path, "755")
  return path .. "/open"
end

describe("on_certificate", function()
  it("gives certificates as PEM or paths, and is asked once for a name", function()
    local s = start([[function(name)
      lib.asked(name)
      if name == "first.test" then
        return lib.pair("first")
      elseif name:find("%.many%.test$") then
        return { cert = lib.dir .. "/many.pem", key = lib.dir .. "/many.key" }
      end
    end]])
    finally(function() s:stop() end)
    assert.equal("first.test\n", (get(s, "first.test")))
    assert.equal("first.test\n", (get(s, "first.test", "--tls-max", "1.2")))
    assert.equal("first.test\n", (get(s, "FIRST.test")))
    assert.equal("a.many.test\n", (get(s, "a.many.test", "--http1.1")))
    assert.equal(1, calls(s, "first.test"))
    assert.equal(2, calls(s))
    -- a client whose key share is of a group that is not used is asked for another one
    assert.matches("Verification", (tls.client(s.address,
      { "-servername", "b.many.test", "-groups", "P-521:X25519" })))
    assert.equal(1, calls(s, "b.many.test"))
  end)

  it("is asked for names that the listener's own certificates do not have", function()
    local s = start([[function(name)
      lib.asked(name)
      return name == "first.test" and lib.pair("first") or nil
    end]], tls.setting(own))
    finally(function() s:stop() end)
    assert.equal("own.test\n", (get(s, "own.test")))
    assert.equal("first.test\n", (get(s, "first.test")))
    assert.equal(serial_of(own), serial(s, "unknown.test"))
    assert.equal(serial_of(own), serial(s, "unknown.test"))
    assert.equal(1, calls(s, "unknown.test"))
    assert.equal(0, calls(s, "own.test"))
    assert.matches("own.test", (tls.client(s.address, { "-noservername" })), 1, true)
    assert.equal(2, calls(s))
  end)

  it("and no certificate of the listener's: a client without a known name is refused", function()
    local s = start([[function(name)
      lib.asked(name)
      return name == "first.test" and lib.pair("first") or nil
    end]])
    finally(function() s:stop() end)
    for _, version in ipairs({ "-tls1_2", "-tls1_3" }) do
      -- RFC 6066 section 3, RFC 8446 section 9.2
      assert.matches("alert number 112",
        (tls.client(s.address, { version, "-servername", "no.test" })))
      assert.matches("alert number 109", (tls.client(s.address, { version, "-noservername" })))
    end
    assert.equal(1, calls(s, "no.test"))
    for _, name in ipairs({ "a..test", ".test", "a b.test", "a/../b", "a%00.test" }) do
      assert.matches("alert number", (tls.client(s.address, { "-servername", name })))
    end
    assert.equal(1, calls(s))
    assert.equal("first.test\n", (get(s, "first.test")))
  end)

  it("may wait: handshakes for the name wait for one call, others go on", function()
    local open = gate()
    local s = start(([[function(name)
      lib.asked(name)
      if name == "slow.many.test" then
        lib.wait(%q)
      end
      return lib.pair("many")
    end]]):format(open))
    finally(function() s:stop() end)
    local clients, dir = {}, process.tempdir("clients")
    for i = 1, 5 do
      clients[i] = process.spawn({ argv = { "curl", "-sS", "--noproxy", "*", "--cacert", ca.cert,
        "--connect-to", "slow.many.test:443:" .. s.address, "https://slow.many.test/" },
        stdout = dir .. "/out" .. i, stderr = dir .. "/err" .. i })
    end
    s:wait_log("asked for slow.many.test", nil)
    assert.equal("quick.many.test\n", (get(s, "quick.many.test")))
    process.write_file(open, "")
    for i, client in ipairs(clients) do
      assert.equal("exit status 0", client:wait(60), process.read_file(dir .. "/err" .. i))
      assert.equal("slow.many.test\n", process.read_file(dir .. "/out" .. i))
    end
    assert.equal(1, calls(s, "slow.many.test"))
  end)

  it("asks Redis", function()
    local redis = store.redis()
    finally(function() redis:stop() end)
    local s = start(([[function(name)
      lib.asked(name)
      local ngx, redis = require("ngx"), require("nginx.redis"):new()
      assert(redis:connect("127.0.0.1", %d))
      if name == "fill.test" then
        assert(redis:hmset("certificate:first.test", "cert", lib.text("first.pem"), "key",
          lib.text("first.key")))
        return nil
      end
      local pair = assert(redis:hmget("certificate:" .. name, "cert", "key"))
      if pair[1] ~= ngx.null then
        return { cert = pair[1], key = pair[2] }
      end
    end]]):format(redis.port), nil, nil, { LUA_PATH = store.lua_path() })
    finally(function()
      s:stop()
      redis:stop()
    end)
    tls.client(s.address, { "-servername", "fill.test" })
    assert.equal("first.test\n", (get(s, "first.test")))
    assert.matches("alert number 112", (tls.client(s.address, { "-servername", "no.test" })))
  end)

  it("is asked again after `ttl`; when it fails the last certificate is used on", function()
    local s = start([[(function()
      local count = 0
      return function(name)
        lib.asked(name)
        count = count + 1
        if count > 1 then
          error("the database is away")
        end
        return lib.pair("first", "100ms")
      end
    end)()]])
    finally(function() s:stop() end)
    poll.wait(function()
      assert.equal("first.test\n", (get(s, "first.test")))
      return s:errors():find("the database is away", 1, true)
    end, "the failure of the hook")
    assert.matches("on_certificate %([^\n]*route.lua:%d+%): [^\n]*route.lua:%d+: the database is",
      s:errors())
    assert.equal("first.test\n", (get(s, "first.test")))
  end)

  it("that fails, or returns what can't be used, is as none, and a line says why", function()
    for _, case in ipairs({
      { [[error("broken")]], "%([^\n]*route.lua:%d+%): [^\n]*route.lua:%d+: broken" },
      { [[return true]], "expected { cert = ..., key = ... } or nil, got true" },
      { [[return { cert = "x", key = "y" }]], "expected PEM or an absolute path" },
      { [[return lib.pair("small")]], "the key does not fit the certificate" },
      { [[return { cert = lib.dir .. "/none", key = lib.dir .. "/none" }]],
        "/none can't be used: No such file or directory" },
      { [[return { cert = lib.text("first.key"), key = lib.text("first.key") }]],
        "cert: there is no certificate in PEM in it" },
      { [[while true do ("x"):gsub("x", "y") end]], "script_timeout" },
    }) do
      local s = start("function(name) lib.asked(name) " .. case[1] .. " end", nil,
        "script_timeout = 0.5,")
      local said = tls.client(s.address, { "-servername", "first.test" })
      local line = pcall(s.wait_log, s, case[2])
      local log = s:errors()
      s:stop()
      assert.matches("alert number 112", said, 1, true)
      assert.is_true(line, log)
      assert.matches("on_certificate (", log, 1, true)
      assert.is_nil(log:find("PRIVATE KEY", 1, true))
    end
  end)

  it("is the new script's after a reload, and its answers are asked for again", function()
    local s = start([[function(name) lib.asked(name) return lib.pair("first") end]])
    finally(function() s:stop() end)
    assert.equal(serial_of(first), serial(s, "first.test"))
    s:reload(route(s.address, [[function(name)
      lib.asked(name)
      return lib.pair("second")
    end]]))
    assert.equal(serial_of(second), serial(s, "first.test"))
    assert.equal(2, calls(s, "first.test"))
  end)

  it("is kept for as many names, and as long, as the listener says", function()
    local s = start([[function(name)
      lib.asked(name)
      if name:find("%.many%.test$") then
        return lib.pair("many")
      end
    end]], [[{ cache = 2, ttl = "1h", none_ttl = "1s", misses = 1000 }]])
    finally(function() s:stop() end)
    for _, name in ipairs({ "a", "b", "a", "c", "a", "b" }) do -- c takes the place of b
      assert.equal(serial_of(many), serial(s, name .. ".many.test"))
    end
    assert.equal(1, calls(s, "a.many.test"))
    assert.equal(2, calls(s, "b.many.test"))
    assert.equal(1, calls(s, "c.many.test"))
    poll.wait(function()
      assert.is_nil((serial(s, "none.test")))
      return calls(s, "none.test") > 1
    end, "another call for a name without a certificate", 60)
  end)

  it("has as many misses of an address as the listener says", function()
    local s = start("function(name) lib.asked(name) end", "{ misses = 2 }")
    finally(function() s:stop() end)
    for i = 1, 8 do
      assert.is_nil((serial(s, ("try%d.test"):format(i))))
    end
    local count = calls(s, "try%d.test")
    assert.is_true(count >= 2 and count <= 4, count) -- in a minute; a slow machine may need two
  end)

  it("that waits during a reload answers those who have asked", function()
    local open = gate()
    local s = start(([[function(name)
      lib.asked(name)
      lib.wait(%q)
      return lib.pair("first")
    end]]):format(open))
    finally(function() s:stop() end)
    local dir = process.tempdir("client")
    local client = process.spawn({ argv = { "curl", "-sS", "--noproxy", "*", "--cacert", ca.cert,
      "--connect-to", "first.test:443:" .. s.address, "https://first.test/" },
      stdout = dir .. "/out", stderr = dir .. "/err" })
    s:wait_log("asked for first.test")
    s:reload(route(s.address, [[function(name) return lib.pair("second") end]]))
    process.write_file(open, "")
    assert.equal("exit status 0", client:wait(60), process.read_file(dir .. "/err"))
    assert.equal(serial_of(second), serial(s, "first.test"))
  end)

  it("goes on when its client leaves, and the answer is kept", function()
    local open = gate()
    local s = start(([[function(name)
      lib.asked(name)
      lib.wait(%q)
      return lib.pair("many")
    end]]):format(open))
    finally(function() s:stop() end)
    local conn = net.connect(s.address)
    conn:send(tls.hello("a.many.test"))
    s:wait_log("asked for a.many.test")
    conn:close()
    local reset = net.connect(s.address)
    reset:send(tls.hello("b.many.test"))
    s:wait_log("asked for b.many.test")
    reset:reset()
    process.write_file(open, "")
    assert.equal("a.many.test\n", (get(s, "a.many.test")))
    assert.equal("b.many.test\n", (get(s, "b.many.test")))
    assert.equal(2, calls(s))
  end)

  it("has the time of a handshake; its answer is kept even so", function()
    local open = gate()
    local s = start(([[function(name)
      lib.asked(name)
      lib.wait(%q)
      return lib.pair("many")
    end]]):format(open), nil, "limits = { header_timeout = 6 },")
    finally(function() s:stop() end)
    local conn = net.connect(s.address)
    conn:send(tls.hello("a.many.test"))
    assert.is_true(conn:closes(30))
    conn:close()
    process.write_file(open, "")
    assert.equal("a.many.test\n", (get(s, "a.many.test")))
    assert.equal(1, calls(s))
  end)

  it("keeps what a client sends too soon within bounds", function()
    local open = gate()
    local s = start(([[function(name)
      lib.asked(name)
      lib.wait(%q)
      return lib.pair("many")
    end]]):format(open))
    finally(function() s:stop() end)
    local greedy, alert = net.connect(s.address), net.connect(s.address)
    greedy:send(tls.hello("a.many.test"))
    s:wait_log("asked for a.many.test")
    greedy:try_send(("x"):rep(100000))
    assert.is_true(greedy:closes(30))
    greedy:close()
    alert:send(tls.hello("b.many.test") .. "\21\3\3\0\2\2\90") -- user_canceled, in one piece
    s:wait_log("asked for b.many.test")
    process.write_file(open, "")
    assert.is_truthy(alert:read_all(30))
    alert:close()
    assert.equal("a.many.test\n", (get(s, "a.many.test")))
  end)

  it("is called for some names at a time, and for all of them in the end", function()
    local open = gate()
    local s = start(([[function(name)
      lib.asked(name)
      lib.wait(%q)
      return lib.pair("many")
    end]]):format(open), nil, "limits = { header_timeout = 60 },")
    finally(function() s:stop() end)
    local conns = {}
    for i = 1, 150 do
      conns[i] = net.connect(s.address)
      conns[i]:send(tls.hello(("n%d.many.test"):format(i)))
    end
    poll.wait(function() return calls(s) == 64 end, "as many calls as there may be")
    conns[150]:close() -- it waits for its turn
    process.write_file(open, "")
    for i = 1, 149 do
      assert.matches("^\22\3\3", conns[i]:read(5, 60))
      conns[i]:close()
    end
    assert.is_true(calls(s) <= 150)
  end)

  it("is not asked for all that a scanner tries", function()
    local s = start([[function(name)
      lib.asked(name)
      return name:find("%.many%.test$") and lib.pair("many") or nil
    end]])
    finally(function() s:stop() end)
    assert.equal("a.many.test\n", (get(s, "a.many.test")))
    for i = 1, 120 do
      local conn = net.connect(s.address)
      conn:send(tls.hello(("scan%d.test"):format(i)))
      assert.equal("\21\3\3\0\2\2\112", conn:read_all(30))
      conn:close()
    end
    -- 30 in a minute, and a slow machine may need two
    assert.is_true(calls(s) <= 1 + 60, calls(s) .. " calls")
    assert.equal("a.many.test\n", (get(s, "a.many.test")))
  end)

  it("is not asked for names of a scanner that had to wait for their turn", function()
    local open = gate()
    local s = start(([[function(name)
      lib.asked(name)
      if name:find("%%.many%%.test$") then
        return lib.pair("many")
      end
      lib.wait(%q)
    end]]):format(open), nil, "limits = { header_timeout = 60 },")
    finally(function() s:stop() end)
    local conns = {}
    for i = 1, 300 do
      conns[i] = net.connect(s.address)
      conns[i]:send(tls.hello(("scan%d.test"):format(i)))
    end
    poll.wait(function() return calls(s) == 64 end, "as many calls as there may be")
    process.write_file(open, "")
    for _, conn in ipairs(conns) do
      assert.equal("\21\3\3\0\2\2\112", conn:read_all(60))
      conn:close()
    end
    assert.is_true(calls(s) <= 64 + 60, calls(s) .. " calls")
  end)

  it("resumes sessions without a call", function()
    local s = start([[function(name) lib.asked(name) return lib.pair("first", 0) end]])
    finally(function() s:stop() end)
    local file = process.tempdir("session") .. "/session"
    tls.client(s.address, { "-servername", "first.test", "-sess_out", file })
    local said = tls.client(s.address, { "-servername", "first.test", "-sess_in", file })
    assert.matches("Reused, TLS", said, 1, true)
    assert.equal(1, calls(s))
    assert.equal("first.test\n", (get(s, "first.test")))
    assert.equal(2, calls(s)) -- with a ttl of nothing, each full handshake asks
  end)

  it("gives 2,000 names their certificates, and keeps them", function()
    local s = start([[function(name)
      lib.asked(name)
      require("moongate").sleep(0.001)
      return lib.pair("many")
    end]])
    finally(function() s:stop() end)
    for _ = 1, 2 do
      for from = 1, 2000, 50 do
        local conns = {}
        for i = from, from + 49 do
          conns[i] = net.connect(s.address)
          conns[i]:send(tls.hello(("n%d.many.test"):format(i)))
        end
        for i = from, from + 49 do
          conns[i]:read_until("*.many.test", 60) -- the name in the certificate
          conns[i]:close()
        end
      end
    end
    assert.equal(2000, calls(s))
  end)
end)

describe("moongate check", function()
  local function check(text)
    local dir = stage.files({ ["route.lua"] = text })
    return server.command({ "check", dir .. "/route.lua" })
  end

  it("knows the hook", function()
    local function text(listen, hook)
      return ("return { listen = %s, on_certificate = %s, on_request = function() return "
        .. "{ status = 204 } end }"):format(listen, hook)
    end
    local bare = "{ { address = '127.0.0.1:8443', tls = {} } }"
    local result = check(text(bare, "function() end"))
    assert.equal(0, result.code, result.stderr)
    assert.equal("", result.stderr)
    result = check(text(bare, "nil"))
    assert.equal(1, result.code)
    assert.matches("route.lua:1: listen[1]: tls: 'cert' and 'key' are missing, or 'folder', or the "
      .. "route's hook on_certificate", result.stderr, 1, true)
    result = check(text("'127.0.0.1:8080'", "function() end"))
    assert.equal(0, result.code)
    assert.matches("warning: on_certificate is never called", result.stderr, 1, true)
    result = check(text(bare, "5"))
    assert.matches("on_certificate: expected a function, got 5", result.stderr, 1, true)
  end)
end)
