-- Attempts and what they leave behind: who is asked again and who is not (`retry`), what a failure
-- at the moment of a hand-over does to the answer before it, and what the log tells of each.

local http = require("tests.support.http")
local json = require("moongate.base.json")
local net = require("tests.support.net")
local process = require("tests.support.process")
local rig = require("tests.support.rig")
local socket = require("socket")

-- The access log's line of the request with this in its target.
local function logged(r, pattern)
  return json.decode(r.server:wait_access(pattern))
end

-- No part of an attempt took longer than the test has been running.
local function assert_plausible(entry)
  for _, attempt in ipairs(entry.attempts or {}) do
    for _, key in ipairs({ "queue", "connect", "first_byte", "total" }) do
      local value = attempt[key] or 0
      assert.is_true(value >= 0 and value < 60, ("%s: %s"):format(key, tostring(value)))
    end
  end
  return entry
end

local JSON = [[log = { access = "stdout", format = "json" }]]

-- With one place at the server the second request waits, and gets the connection of the first.
describe("an answer whose connection is handed over", function()
  local function start(options)
    options.backend = "max_conns = 1, keepalive = 1," .. (options.backend or "")
    options.settings = JSON
    return rig.start(options)
  end

  -- Sends one request, and a second one when the first is at work. What there is to do `before` is
  -- done, and then the first one is answered.
  local function ask_two(r, second, before)
    local first = http.open(r.address)
    first:send({ path = rig.target("delay=hold&size=3000&First=1") })
    r:wait_started("First=1", 1)
    local waiter = http.open(r.address)
    waiter:send(second)
    assert.is_true(waiter.conn:silent(0.05))
    if before then
      before()
    end
    r:release()
    return first, waiter
  end

  local function assert_whole(first)
    local res = first:receive()
    assert.equal(200, res.status)
    assert.is_true(rig.pattern(3000) == res.body, #res.body)
    first:assert_quiet()
  end

  it("is whole although a request that can't be sent has come, which does not wait", function()
    local r = start({
      on_request = [[
        if req.args.Large then -- more params than a request may have
          local params, long = {}, ("x"):rep(60000)
          for i = 1, 300 do params["X" .. i] = long end
          return { backend = "app", docroot = "/srv/app", params = params }
        end
      ]],
    })
    finally(function() r:stop() end)
    local first = http.open(r.address)
    first:send({ path = rig.target("delay=hold&size=3000&First=1") })
    r:wait_started("First=1", 1)
    assert.equal(431, http.get(r.address, rig.target("Large=1")).status)
    r:release()
    assert_whole(first)
    assert_plausible(logged(r, "Large=1"))
    assert.equal(200, r:get("").status)
    first:close()
  end)

  it("is whole although the one that waited needs a connection, and there is none", function()
    local r = start({})
    finally(function() r:stop() end)
    local path = r.back.address:match("^unix:(.*)$")
    local first, waiter = ask_two(r, {
      method = "POST", path = rig.target("Second=1"), body = "x",
    }, function() assert(os.rename(path, path .. ".away")) end)
    assert.is_truthy(({ [200] = true, [503] = true })[waiter:receive().status])
    assert_whole(first)
    assert_plausible(logged(r, "Second=1"))
    assert(os.rename(path .. ".away", path))
    assert.equal(200, r:get("").status)
    first:close()
    waiter:close()
  end)

  it("is whole although those that wait leave just then", function()
    local r = start({})
    finally(function() r:stop() end)
    for i = 1, 20 do
      local first = http.open(r.address)
      first:send({ path = rig.target("delay=30&size=3000&First=1") })
      r:wait_started("First=1", i)
      local waiters = {}
      for at = 1, 8 do
        waiters[at] = http.open(r.address)
        waiters[at]:send({ path = rig.target("Second=1") })
      end
      socket.sleep(0.02)
      for _, waiter in ipairs(waiters) do
        waiter.conn:reset()
        socket.sleep(0.002)
      end
      assert_whole(first)
      first:close()
    end
    assert.equal(200, r:get("").status)
    r:wait_connections(1)
  end)
end)

describe("a hand-over that fails", function()
  -- Whoever waits for the first server, which is full, can't connect to it when a place is free.
  for name, keepalive in pairs({ ["a place"] = 0, ["a kept connection"] = 1 }) do
    it(("of %s counts against its server, and another one is asked"):format(name), function()
      local r = rig.start({
        responder = { count = 2 },
        servers = function(addresses)
          return ("%q, { address = %q, backup = true }"):format(addresses[1], addresses[2])
        end,
        backend = ("max_conns = 1, max_fails = 1, keepalive = %d"):format(keepalive),
        settings = JSON,
      })
      finally(function() r:stop() end)
      assert.equal(200, r:get("First=1").status)
      local second = http.open(r.address)
      second:send({ path = rig.target("delay=hold&Before=1") })
      r:wait_started("Before=1", 1)
      local waiter = http.open(r.address)
      waiter:send({ method = "POST", path = rig.target("who&Second=1"), body = "x" })
      assert.is_true(waiter.conn:silent(0.05))
      local path = r.back.addresses[1]:match("^unix:(.*)$")
      assert(os.rename(path, path .. ".away"))
      r:release()
      local res = waiter:receive()
      assert.equal(200, res.status)
      local entry = assert_plausible(logged(r, "Second=1"))
      if res.headers["x-listener"] == "1" then -- the kept connection itself could be used
        assert.equal(1, keepalive)
        assert.equal(1, #entry.attempts)
      else
        assert.equal(2, #entry.attempts)
        assert.equal(r.back.addresses[1], entry.attempts[1].server)
        assert.is_truthy(entry.attempts[1].error:find("No such file", 1, true))
        r.server:wait_log("is taken out for")
      end
      second:close()
      waiter:close()
      assert(os.rename(path .. ".away", path))
    end)
  end
end)

describe("an attempt that fails at once", function()
  it("took no time, in the log", function()
    local r = rig.start({
      responder = false, servers = { "unix:" .. process.tempdir() .. "/none.sock" },
      settings = JSON,
    })
    finally(function() r:stop() end)
    assert.equal(503, r:get("Alone=1").status)
    local entry = assert_plausible(logged(r, "Alone=1"))
    assert.equal(1, #entry.attempts)
    assert.equal(503, r:get("Again=1").status)
    assert_plausible(logged(r, "Again=1"))
  end)

  it("keeps its time when nobody else is left", function()
    local none = "unix:" .. process.tempdir() .. "/none.sock"
    local r = rig.start({
      control = true, responder = false, servers = { none },
      backends = ("other = %q"):format(none),
      settings = JSON .. [[,
        on_error = function(_, err)
          return err.backend == "app" and { backend = "other", docroot = "/x" } or nil
        end]],
    })
    finally(function() r:stop() end)
    r:tell("drain", "other", none)
    assert.equal(503, r:get("Other=1").status)
    assert.equal(1, #assert_plausible(logged(r, "Other=1")).attempts)
  end)

  it("took no time where a decision names a server that is not there", function()
    local r = rig.start({
      control = true, settings = JSON,
      on_request = [[do return { backend = "app", docroot = "/x", server = req.args.s } end]],
    })
    finally(function() r:stop() end)
    r:tell("drain", "app", r.back.address)
    assert.equal(503, r:get("Named=1&s=" .. http.escape(r.back.address)).status)
    assert_plausible(logged(r, "Named=1"))
    r:tell("undrain", "app", r.back.address)
  end)
end)

-- Who is asked again ------------------------------------------------------------------------------

local IDEMPOTENT = { "GET", "HEAD", "PUT", "DELETE", "OPTIONS" }

local function send(r, method, commands)
  return r:get(commands, { method = method, body = method == "PUT" and "x" or nil }).status
end

describe("a server that closes a new connection without an answer", function()
  it("gets each request once", function()
    local r = rig.start({ backend = "attempts = 5" })
    finally(function() r:stop() end)
    for i, method in ipairs(IDEMPOTENT) do
      assert.equal(502, send(r, method, "fail=close-before-head"), method)
      assert.equal(i, #r:events("START"), method)
    end
  end)

  it("gets it once where a decision names it", function()
    local r = rig.start({
      on_request = [[do return { backend = "app", docroot = "/x", server = req.args.s } end]],
    })
    finally(function() r:stop() end)
    local named = http.escape(r.back.address)
    assert.equal(502, r:get("fail=close-before-head&s=" .. named).status)
    assert.equal(1, #r:events("START"))
  end)

  it("gets it once, and so does each other one, as far as `attempts` go", function()
    local r = rig.start({ responder = { count = 3 }, backend = "attempts = 9, max_fails = 0" })
    finally(function() r:stop() end)
    assert.equal(502, r:get("fail=close-before-head").status)
    assert.same({ 1, 1, 1 }, r:shares())
  end)

  it("gets it once more where the connection had been kept", function()
    local r = rig.start({ backend = "keepalive = 1" })
    finally(function() r:stop() end)
    assert.equal(200, r:get("next=close").status)
    assert.equal(502, r:get("fail=close-before-head").status)
    assert.equal(2, #r:events("REQUEST")) -- the kept one closed before it had read anything
  end)
end)

describe("retry", function()
  local function start(retry, options)
    options = options or {}
    options.backend = ([[retry = %q, read_timeout = "3s", attempts = 3, max_fails = 0,]])
      :format(retry) .. (options.backend or "")
    return rig.start(options)
  end

  for _, case in ipairs({
    -- retry, fail, method, what the second server's answer comes to, how many are asked
    { "safe", "hang", "GET", 504, 1 },
    { "timeout", "hang", "GET", 200, 2 },
    { "timeout", "hang", "PUT", 200, 2 },
    { "timeout", "hang", "POST", 504, 1 },
    { "timeout", "close-before-head", "GET", 200, 2 },
    { "never", "hang", "GET", 504, 1 },
    { "safe", "close-before-head", "GET", 200, 2 },
    { "safe", "close-before-head", "POST", 502, 1 },
    { "never", "close-before-head", "GET", 502, 1 },
  }) do
    it(("%s: %s after %s is %d"):format(case[1], case[3], case[2], case[4]), function()
      local r = start(case[1], {
        responder = { count = 2 },
        servers = function(addresses)
          return ("%q, { address = %q, backup = true }"):format(addresses[1], addresses[2])
        end,
      })
      finally(function() r:stop() end)
      local body = case[3] ~= "GET" and "x" or nil
      local res = r:get("1.fail=" .. case[2], { method = case[3], body = body })
      assert.equal(case[4], res.status)
      assert.equal(case[5], #r:events("START"))
    end)
  end

  it("timeout: one server alone is not asked twice", function()
    local r = start("timeout")
    finally(function() r:stop() end)
    assert.equal(504, r:get("fail=hang").status)
    assert.equal(1, #r:events("START"))
  end)

  it("never: a server that can't be connected to is still passed over", function()
    local r = start("never", {
      servers = function(addresses)
        return ("%q, %q"):format("127.0.0.1:" .. net.free_port(), addresses[1])
      end,
    })
    finally(function() r:stop() end)
    for _ = 1, 2 do
      assert.equal(200, r:get("").status)
    end
  end)
end)
