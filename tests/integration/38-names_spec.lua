-- Servers that are given by name: every address is a server, names are asked for again, the last
-- good answer stays, and nothing waits for a DNS server that is silent. The DNS server is one of
-- the scenario's own.

local dns = require("tests.support.dns")
local http = require("tests.support.http")
local load = require("tests.support.load")
local net = require("tests.support.net")
local poll = require("tests.support.poll")
local responder = require("tests.support.responder")
local rig = require("tests.support.rig")
local socket = require("socket")

local HOSTS = { "127.0.0.2", "127.0.0.3" }

describe("a server given by name", function()
  local names, port, r

  -- The responder listens on one port of both hosts.
  local function start(addresses, options)
    names = dns.start({ ["app.test"] = addresses })
    port = net.free_port()
    local copy = {
      resolver = names.address,
      responder = { addresses = { HOSTS[1] .. ":" .. port, HOSTS[2] .. ":" .. port } },
      servers = { "app.test:" .. port },
      backend = [[resolve = "150ms"]],
    }
    for key, value in pairs(options or {}) do
      copy[key] = value
    end
    r = rig.start(copy)
  end

  local function stop()
    r:stop()
    names:stop()
  end

  local function who()
    return r:get("who").headers["x-listener"]
  end

  -- Answered, whatever it was at first.
  local function wait_answered(timeout)
    poll.wait(function()
      return r:get("").status == 200
    end, "the name to be known", timeout or 5)
  end

  it("is found, and the first requests wait for that", function()
    start({ HOSTS[1] })
    finally(stop)
    for _ = 1, 3 do
      local res = r:get("who")
      assert.equal(200, res.status)
      assert.equal("1", res.headers["x-listener"])
    end
  end)

  it("with two addresses is two servers", function()
    start(HOSTS)
    finally(stop)
    wait_answered()
    local seen = {}
    for _ = 1, 10 do
      seen[who()] = true
    end
    assert.is_truthy(seen["1"] and seen["2"])
  end)

  it("with two addresses has max_conns for each", function()
    start(HOSTS, { backend = [[max_conns = 2]] })
    finally(stop)
    wait_answered()
    local result = load.run(r.address, {
      seconds = 0.5, { clients = 12, path = rig.target("delay=10") },
    })
    load.assert_all(result.all)
    assert.equal(2, r:open_max(1))
    assert.equal(2, r:open_max(2))
  end)

  it("is asked for again: a new address gets the next requests, and nobody fails", function()
    start({ HOSTS[1] }, { workers = 2, backend = [[resolve = "150ms", keepalive = 2]] })
    local run
    finally(function()
      if run then
        run:abandon()
      end
      stop()
    end)
    wait_answered()
    run = load.start(r.address, { { clients = 8, path = rig.target("delay=2") } })
    r:wait_started("delay", 20)
    -- Some times, since the workers hear of it one after another.
    for i = 1, 5 do
      local new = i % 2 == 1 and 2 or 1
      names:set({ ["app.test"] = { HOSTS[new] } })
      local before = r:shares("delay")
      poll.wait(function()
        return (r:shares("delay")[new] or 0) > (before[new] or 0) + 20
      end, "the new address to be used", 5)
      local last
      poll.wait(function()
        local now = r:shares("delay")[3 - new]
        local same = now == last
        last = now
        return same
      end, "the old address to be left alone", 5)
    end
    load.assert_all(run:stop().all)
    assert.is_true((names:asked("app.test")) >= 2)
  end)

  it("is asked for at once after a failed connect, however long `resolve` is", function()
    local old = responder.start({ addresses = { HOSTS[1] .. ":" .. net.free_port() } })
    local at = old.address:match("%d+$")
    names = dns.start({ ["app.test"] = { HOSTS[1] } })
    r = rig.start({
      resolver = names.address, servers = { "app.test:" .. at }, backend = [[resolve = "1h"]],
      responder = { addresses = { HOSTS[2] .. ":" .. at } },
    })
    finally(function()
      stop()
      old:stop()
    end)
    wait_answered()
    old:stop()
    names:set({ ["app.test"] = { HOSTS[2] } })
    wait_answered()
    assert.is_true(#r:events("REQUEST") >= 1)
  end)

  it("keeps its last addresses when the DNS server dies, and takes new ones when it is back",
    function()
      start({ HOSTS[1] })
      finally(function() stop() end)
      wait_answered()
      names:stop()
      local result = load.run(r.address, {
        seconds = 1.2, { clients = 4, pause = 5, path = rig.target("") },
      })
      load.assert_all(result.all)
      names = dns.start({ ["app.test"] = { HOSTS[2] } }, { address = names.address })
      poll.wait(function()
        return who() == "2"
      end, "the new address", 10)
    end)

  it("keeps its last addresses when the DNS server is silent", function()
    start({ HOSTS[1] })
    finally(stop)
    wait_answered()
    names:silence(true)
    local result = load.run(r.address, {
      seconds = 1, { clients = 4, pause = 5, path = rig.target("") },
    })
    load.assert_all(result.all)
    assert.is_true(result.all.p90 < 0.5, result.all.text)
    names:silence(false)
  end)

  it("that nobody knows is 503 with its name in the log, and works once it is known", function()
    start({ HOSTS[1] }, { servers = { "late.test:" .. net.free_port() } })
    finally(stop)
    local late = r.server:wait_log("late%.test")
    assert.is_truthy(late)
    local mark = r.server:mark()
    local res = r:get("")
    assert.equal(503, res.status)
    assert.is_truthy(tonumber(res.headers["retry-after"]))
    r.server:wait_log("late%.test", 5, mark)
    stop()
    -- The port is only known with the responder, so once more with that.
    start({}, { backend = [[resolve = "150ms", queue_timeout = "300ms"]] })
    assert.equal(503, r:get("").status)
    names:set({ ["app.test"] = { HOSTS[2] } })
    wait_answered()
    assert.equal("2", who())
  end)

  it("that nobody knows at the start is soon asked for again, however long `resolve` is", function()
    start({}, { workers = 2, backend = [[resolve = "1h"]] })
    finally(stop)
    assert.equal(503, r:get("").status)
    names:set({ ["app.test"] = { HOSTS[2] } })
    poll.wait(function()
      for _ = 1, 30 do -- so many do not all come to one worker
        if r:get("").status ~= 200 then return false end
      end
      return true
    end, "both workers to know it")
    assert.equal("2", who())
  end)

  it("that nobody knows keeps a held backend's requests waiting", function()
    start({}, {
      control = true, backend = [[resolve = "50ms", queue_timeout = "120s"]],
    })
    finally(stop)
    assert.equal(503, r:get("").status)
    r:tell("hold", "app")
    local waiting = http.open(r.address)
    waiting:send({ path = rig.target("") })
    local before = names:asked("app.test")
    poll.wait(function()
      return names:asked("app.test") >= before + 6 -- two for each time: IPv4 and IPv6
    end, "more look-ups")
    assert.is_true(waiting.conn:silent(0.05))
    names:set({ ["app.test"] = { HOSTS[2] } })
    r:tell("resume", "app")
    local res = waiting:receive()
    assert.is_true(res.status == 200 or res.status == 503) -- 503: not asked again yet
    waiting:close()
    wait_answered()
  end)

  it("does not hold up anybody else while the DNS server is silent", function()
    names = dns.start({})
    names:silence(true)
    r = rig.start({
      resolver = names.address,
      backends = [[named = { servers = { "app.test:9" } }]],
      on_request = [[
        if req.path == "/named.php" then return { backend = "named", docroot = "/srv/app" } end
      ]],
    })
    finally(stop)
    local waiting = http.open(r.address)
    waiting:send({ path = "/named.php" })
    assert.equal(200, r:get("").status)
    assert.is_true(waiting.conn:silent(0))
    for _ = 1, 20 do
      assert.equal(200, r:get("").status)
    end
    waiting.conn:reset()
  end)

  it("is one attempt at all of its addresses", function()
    start(HOSTS, {
      responder = { addresses = { HOSTS[2] .. ":" .. net.free_port() } }, -- not the name's port
      backend = "attempts = 1, max_fails = 0", control = true,
    })
    finally(stop)
    assert.equal(503, r:get("").status)
    for _, host in ipairs(HOSTS) do
      local line = ("server %s:%d: connect: Connection refused"):format(host, port)
      r.server:wait_log((line:gsub("%p", "%%%0")))
    end
    assert.same({}, r:events("REQUEST"))
  end)

  it("is no failure while one of its addresses answers", function()
    start({ HOSTS[1], HOSTS[2], "127.0.0.4", "127.0.0.5" }, {
      backend = "attempts = 1, max_fails = 0",
    })
    finally(stop)
    wait_answered()
    for _ = 1, 12 do
      assert.equal(200, r:get("", { method = "POST", body = "x" }).status)
    end
  end)

  it("stands beside addresses", function()
    start({ HOSTS[1] }, {
      servers = function(addresses) return ('"app.test:%d", %q'):format(port, addresses[2]) end,
    })
    finally(stop)
    wait_answered()
    local seen = {}
    for _ = 1, 10 do
      seen[who()] = true
    end
    assert.is_truthy(seen["1"] and seen["2"])
  end)
end)

describe("a name with an IPv4 and an IPv6 address", function()
  local names, r

  -- `listens`: where the responder does, of 127.0.0.2 and ::1.
  local function start(listens, options)
    local port = net.free_port()
    local addresses = {}
    for i, host in ipairs(listens) do
      addresses[i] = ("%s:%d"):format(host, port)
    end
    names = dns.start({ ["app.test"] = { "127.0.0.2", "::1" } })
    r = rig.start({
      resolver = names.address, responder = { addresses = addresses }, control = true,
      servers = { "app.test:" .. port }, backend = options,
    })
    finally(function()
      r:stop()
      names:stop()
    end)
    poll.wait(function() return r:get("").status == 200 end, "the name to be known", 5)
  end

  local function has_ipv6()
    local probe = socket.bind("::1", 0)
    return probe ~= nil and probe:close() == 1
  end

  local function servers()
    local list = {}
    for i, one in ipairs(r:status().backends[1].servers) do
      list[i] = one.address:match("^(.*):%d+$")
    end
    return list
  end

  if not has_ipv6() then
    return -- without it there is nothing to be tried
  end

  it("is one server, with one server's limits", function()
    start({ "127.0.0.2", "[::1]" }, "max_conns = 2, keepalive = 2")
    assert.same({ "127.0.0.2" }, servers())
    local result = load.run(r.address, {
      seconds = 0.5, { clients = 12, path = rig.target("delay=10") },
    })
    load.assert_all(result.all)
    assert.equal(2, r:open_max(1))
    assert.equal(0, r:open_max(2))
  end)

  it("is connected to at either: one that refuses is no failed attempt", function()
    start({ "[::1]" }, "attempts = 1")
    assert.same({ "127.0.0.2" }, servers())
    for _ = 1, 5 do
      assert.equal(200, r:get("", { method = "POST", body = "x" }).status)
    end
    assert.equal(0, r:status().backends[1].servers[1].failures)
    assert.falsy(r.server:errors():find("refused", 1, true), r.server:errors())
  end)

  it("says what is wrong with both where none answers", function()
    start({ "127.0.0.2" }, "attempts = 1, max_fails = 0")
    local mark = r.server:mark()
    r.back.process:stop(5)
    assert.equal(503, r:get("").status)
    r.server:wait_log("connect: Connection refused: nothing listens there", 5, mark)
  end)
end)
