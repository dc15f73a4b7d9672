-- Scripts that do not come to an end. Interpreted code is stopped after script_timeout and costs
-- its request; a compiled loop costs its worker, after two timeouts. Nobody else notices.

local http = require("tests.support.http")
local load = require("tests.support.load")
local net = require("tests.support.net")
local poll = require("tests.support.poll")
local process = require("tests.support.process")
local rig = require("tests.support.rig")
local server = require("tests.support.server")
local socket = require("socket")

server.inspect()

-- More than by itself, and enough for a busy machine: a worker that is told to end its hook has to
-- have done so after twice the time.
local TIMEOUT = 1.5
local MARGIN = 20 -- what is not stopped has no end

-- `spin` stays interpreted, since gsub is never compiled; `whirl` is compiled at once.
local BEFORE = [[
local function spin() while true do ("x"):gsub("x", "y") end end
local function whirl() while true do end end
local function stay(seconds)
  local now = require("moongate").now -- the timeout's time, also where others have the processor
  local ends = now() + seconds
  while now() < ends do ("x"):gsub("x", "y") end
end
local function caught() while true do pcall(spin) end end
local function nested() return pcall(pcall, pcall, spin) end
local function handled() return xpcall(spin, spin) end
local function inside() coroutine.wrap(function() pcall(spin) spin() end)() end
local how = { spin = spin, whirl = whirl, caught = caught, nested = nested, handled = handled,
  inside = inside, stay = function() stay(%g) end }
local function at(req, hook)
  if req.args.At == hook then how[req.args.How]() end
end
]]

local HOOKS = [[
  on_params = function(req) at(req, "on_params") end,
  on_balance = function(req) at(req, "on_balance") end,
  on_response = function(req) at(req, "on_response") end,
  on_error = function(req) at(req, "on_error") end,
  on_stderr = function(req) at(req, "on_stderr") end,
  on_log = function(req) at(req, "on_log") end,
]]

local function start(options)
  local copy = {
    before = BEFORE:format(TIMEOUT * 0.5),
    settings = ("script_timeout = %g, %s stop_timeout = 5"):format(TIMEOUT, HOOKS),
    on_request = [[at(req, "on_request")
      if req.args.Policy then return { backend = "policy", docroot = "/" } end]],
    responder = { count = 2 },
    backends = function(list)
      return ([[policy = { servers = { %q, %q }, balance = function(req, servers)
        at(req, "balance") return servers[1] end },]]):format(list[1], list[2])
    end,
  }
  for key, value in pairs(options or {}) do
    copy[key] = value
  end
  return rig.start(copy)
end

-- What each hook's end costs the client.
local CASES = {
  { "on_request", "", 500 },
  { "on_params", "", 500 },
  { "on_response", "", 200 },
  { "on_log", "", 200 },
  { "on_balance", "", 500 },
  { "balance", "&Policy=1", 500 },
  { "on_error", "&fail=close-before-head", 500 },
  { "on_stderr", "&stderr=PHP%20Notice:%20x", 200 },
}

describe("a loop that runs while the server is told to stop", function()
  it("is ended as at any time, and costs the others nothing", function()
    local r = start({
      settings = ("script_timeout = %g, %s stop_timeout = 50"):format(TIMEOUT, HOOKS), dies = true,
    })
    finally(function() r:stop() end)
    local other, stuck = http.open(r.address), http.open(r.address)
    other:send({ path = rig.target("body=other&delay=hold") })
    r:wait_started("other", 1)
    stuck:send({ path = rig.target("body=x&How=spin&At=on_request") })
    assert.is_true(stuck.conn:silent(0.05))
    local begun = socket.gettime()
    r.server.process:kill("TERM")
    r.server:wait_log("script_timeout")
    r:release()
    local res = other:receive("GET")
    assert.equal("200 other", res.status .. " " .. res.body)
    r.server.process:wait()
    assert.is_true(socket.gettime() - begun < 40) -- stop_timeout is 50
    other:close()
    stuck:close()
  end)
end)

describe("an interpreted loop", function()
  local r

  setup(function() r = start() end)
  teardown(function() r:stop() end) -- with the worker that it began with

  for _, case in ipairs(CASES) do
    local hook, query, status = unpack(case)
    it("in " .. hook .. " is stopped in time, and the log says where", function()
      local from, begun = r.server:mark(), socket.gettime()
      local res = r:get(("body=x&How=spin&At=%s%s"):format(hook, query))
      local line = r.server:wait_log("script_timeout", 3, from)
      local took = socket.gettime() - begun
      assert.equal(status, res.status)
      -- The hook, where it was defined, and the line that ran.
      local where = hook:find("balance") and "choosing a server" or "/route%.lua:%d+"
      local pattern = ("%s %%(.-%s%%): .*/route%%.lua:%%d+: script_timeout"):format(hook, where)
      assert.truthy(line:find(pattern), line)
      assert.is_true(took >= TIMEOUT * 0.9 and took <= 2 * TIMEOUT + MARGIN,
        ("it took %.2f s"):format(took))
      assert.equal("y", r:get("body=y").body)
    end)
  end

  for _, how in ipairs({ "caught", "nested", "inside" }) do
    it("can't catch its end: " .. how, function()
      local from, begun = r.server:mark(), socket.gettime()
      assert.equal(500, r:get("body=x&At=on_request&How=" .. how).status)
      local took = socket.gettime() - begun
      assert.is_true(took <= 2 * TIMEOUT + MARGIN, ("it took %.2f s"):format(took))
      r.server:wait_log("script_timeout", 3, from)
      assert.equal("y", r:get("body=y").body)
    end)
  end

  it("below the timeout is left alone, however many there are", function()
    -- With seconds to spare: the time counts also where others have the processor.
    local calm = start({ before = BEFORE:format(2.5),
      settings = ("script_timeout = 6, %s stop_timeout = 5"):format(HOOKS) })
    finally(function() calm:stop() end)
    local begun, client = socket.gettime(), http.open(calm.address)
    for i = 1, 5 do
      local hook = CASES[i][1]
      local res = client:request({ path = rig.target("body=x&How=stay&At=" .. hook) })
      assert.equal("200 x", res.status .. " " .. res.body)
    end
    client:close()
    assert.is_true(socket.gettime() - begun > 2 * 6)
    assert.is_nil(calm.server:errors():find("script_timeout", 1, true))
  end)

  it("costs the other requests of its worker some time, and no answer", function()
    local run = load.start(r.address, { { clients = 10, path = rig.target("body=token=@;") } })
    -- A request needs several turns of the loop. Of loops that follow on one another it may have to
    -- wait for more than one; so the next one begins when all that waited have been answered.
    for _ = 1, 3 do
      assert.equal(500, r:get("body=x&At=on_request&How=spin").status)
      local served = #r:events("REQUEST")
      poll.wait(function() return #r:events("REQUEST") > served + 200 end, "200 more requests")
    end
    local result = run:stop().all
    load.assert_all(result)
    assert.is_true(result.max <= 2 * TIMEOUT + MARGIN, result.text)
  end)
end)

-- How many of so many connections each worker has: the kernel's table may change while it is read.
local function connections(r, count)
  local held = {}
  poll.wait(function()
    local all = 0
    for _, pid in ipairs(r.workers) do
      held[pid] = net.connections(pid, r.address)
      all = all + held[pid]
    end
    return all == count
  end, count .. " connections")
  return held
end

describe("a compiled loop", function()
  for _, case in ipairs({ CASES[1], CASES[6] }) do
    local hook, query = unpack(case)
    it("in " .. hook .. " costs its worker, and nobody else", function()
      local r = start({ workers = 2, dies = true })
      local run = load.start(r.address, {
        { clients = 16, path = rig.target("body=token=@;"), pause = 1 },
      })
      finally(function() run:abandon() r:stop() end)
      poll.wait(function() return #r:events("REQUEST") > 500 end, "500 requests")
      local held = connections(r, 16)
      local victim = http.open(r.address)
      local begun = socket.gettime()
      victim:send({ path = rig.target(("body=x&How=whirl&At=%s%s"):format(hook, query)) })
      local dead = poll.wait(function()
        return process.gone(r.workers[1]) and r.workers[1]
          or process.gone(r.workers[2]) and r.workers[2]
      end, "the end of a worker", 2 * TIMEOUT + MARGIN)
      local took = socket.gettime() - begun
      local line = r.server:wait_log("its script ran on after script_timeout")
      assert.truthy(line:find("in " .. hook .. " (", 1, true), line)
      assert.is_true(took >= TIMEOUT and took <= 2 * TIMEOUT + MARGIN,
        ("it was killed after %.2f s"):format(took))
      victim:close()
      poll.wait(function() return #r.server:workers() == 2 end, "another worker", 5)
      local before = #r:events("REQUEST")
      poll.wait(function() return #r:events("REQUEST") > before + 200 end, "200 more requests")
      local result = run:stop().all
      local said = ("%d requests failed, %d of 16 clients were the worker's: %s"):format(
        result.failed, held[dead], result.text)
      assert.is_true(result.failed <= held[dead], said)
      assert.equal(result.requests, result[200], said)
      assert.is_true(result.p50 < TIMEOUT, said)
    end)
  end

  it("leaves the clients of the other workers alone: each is counted", function()
    local r = start({ workers = 2, dies = true })
    finally(function() r:stop() end)
    local path = { path = rig.target("body=x") }
    -- Clients of both, told apart by whose connections are in its hands.
    local clients = {}
    for i = 1, 16 do
      clients[i] = http.open(r.address)
      assert.equal("x", clients[i]:request(path).body)
    end
    local held = connections(r, 16)
    local victim = http.open(r.address)
    victim:send({ path = rig.target("body=x&At=on_request&How=whirl") })
    r.server:wait_log("its script ran on")
    victim:close()
    local lost, dead = 0
    for _, pid in ipairs(r.workers) do
      dead = process.gone(pid) and pid or dead
    end
    for i = 1, 16 do
      lost = lost + (pcall(clients[i].request, clients[i], path) and 0 or 1)
      clients[i]:close()
    end
    assert.is_truthy(dead)
    assert.equal(held[dead], lost, ("%d of 16 clients were cut, %d were the worker's"):format(lost,
      held[dead]))
  end)

  it("in an error handler, which nothing can stop, costs its worker too", function()
    local r = start({ dies = true })
    finally(function() r:stop() end)
    local victim = http.open(r.address)
    victim:send({ path = rig.target("body=x&At=on_request&How=handled") })
    assert.is_true(victim.conn:closes(2 * TIMEOUT + MARGIN))
    victim:close()
    poll.wait(function() return pcall(r.get, r, "body=x") end, "the next worker", 5)
  end)

  it("is no reason to end the worker that takes the place, which is looked after as well",
    function()
      local r = start({ dies = true })
      finally(function() r:stop() end)
      local function lose()
        local victim = http.open(r.address)
        victim:send({ path = rig.target("body=x&At=on_request&How=whirl") })
        local closed = victim.conn:closes(2 * TIMEOUT + MARGIN)
        victim:close()
        return closed
      end
      assert.is_true(lose())
      poll.wait(function()
        return #r.server:workers() == 1 and r.server:workers()[1] ~= r.workers[1]
      end, "the next worker", 5)
      -- Only once it serves: before, a child of the master's gives back what the first one held.
      assert.equal("x", r:get("body=x").body)
      local second = r.server:workers()[1]
      -- Idle for longer than a script may run: that is no offence.
      local lived = not poll.try(function() return process.gone(second) end, 3 * TIMEOUT)
      assert.is_true(lived, "it was ended for nothing:\n" .. r.server:errors())
      local begun = r.server:mark()
      assert.equal(500, r:get("body=x&At=on_request&How=spin").status)
      r.server:wait_log("script_timeout", 3, begun)
      assert.is_true(lose(), "its loop runs on")
      poll.wait(function()
        return select(2, r.server:errors():gsub("its script ran on", "")) == 2
      end, "the master to know")
    end)

  it("in on_start of a new worker does not keep the others from a reload", function()
    local dir = process.tempdir("stuck")
    local settings = ([[script_timeout = %g, on_start = function()
      if io.open(%q) then while true do end end end]]):format(TIMEOUT, dir .. "/loop")
    local r = rig.start({ workers = 2, dies = true, settings = settings })
    finally(function() r:stop() end)
    process.write_file(dir .. "/loop", "")
    process.signal(r.workers[1], "KILL")
    r.server:wait_log("killed by signal 9.*another one takes its place")
    poll.wait(function() return #r.server:workers() == 2 end, "the next one")
    local ends = poll.try(function()
      return select(2, r.server:errors():gsub("another one takes its place", "")) > 1
    end, 2 * TIMEOUT + MARGIN + 1)
    os.remove(dir .. "/loop")
    if not ends then -- else the teardown would wait for it
      for _, pid in ipairs(r.server:workers()) do
        if pid ~= r.workers[2] then
          process.signal(pid, "KILL")
        end
      end
    end
    r.server:reload()
    assert.equal("x", r:get("body=x").body)
    assert.truthy(ends, "nobody ended a worker whose on_start does not return")
  end)

  it("does not keep a stop waiting for longer than stop_timeout", function()
    local r = start({ dies = true, settings = "script_timeout = 30, stop_timeout = 1" })
    local victim = http.open(r.address)
    victim:send({ path = rig.target("body=x&At=on_request&How=whirl") })
    poll.wait(function()
      local stat = process.read_file(("/proc/%d/stat"):format(r.workers[1])) or ""
      return stat:match("%) (%u)") == "R"
    end, "the loop to run")
    local begun = socket.gettime()
    r.server.process:kill("TERM")
    assert.truthy(r.server.process:wait(5))
    local took = socket.gettime() - begun
    assert.is_true(took < 25, ("it took %.2f s"):format(took))
    victim:close()
    for _, pid in ipairs(r.workers) do
      assert.is_true(process.gone(pid))
    end
    r.back:stop()
  end)
end)
