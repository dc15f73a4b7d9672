-- Who may talk to a server at a time, over all workers, and who waits for it: max_conns, the queue,
-- tenants, kept connections, and what an operator does to a backend while it serves. The responder
-- counts its connections itself.

local http = require("tests.support.http")
local load = require("tests.support.load")
local poll = require("tests.support.poll")
local process = require("tests.support.process")
local rig = require("tests.support.rig")
local server = require("tests.support.server")
local socket = require("socket")

-- A reply that nobody else can have been meant for.
local TOKEN = "header=X-T:%20token=@;"

-- The worker that answers says so.
local TELL_WORKER = [[
local ffi = require("ffi")
ffi.cdef("int getpid(void);")
]]
local WORKER_HEADER = [[on_response = function(_, res)
  res.headers["X-Worker"] = tostring(ffi.C.getpid())
end]]

local BY_TENANT = [[
  do return { backend = "app", docroot = "/srv/app", tenant = req.host } end
]]

-- Sends requests on connections of their own and does not wait for the answers.
local function send_many(r, count, commands, request)
  local clients = {}
  for i = 1, count do
    local copy = { path = rig.target(commands .. "&n=" .. i) }
    for key, value in pairs(request or {}) do
      copy[key] = value
    end
    clients[i] = http.open(r.address)
    clients[i]:send(copy)
  end
  return clients
end

-- How many of them got each status; the replies are in their order.
local function receive_all(clients)
  local counts, replies = {}, {}
  for i, client in ipairs(clients) do
    replies[i] = client:receive()
    counts[replies[i].status] = (counts[replies[i].status] or 0) + 1
    client:close()
  end
  return counts, replies
end

-- Waits until so many requests wait for a place.
local function wait_queued(r, count)
  poll.wait(function()
    return r:status().backends[1].queued == count
  end, count .. " that wait")
end

-- Waits until so many of them have been answered.
local function wait_answered(clients, count)
  poll.wait(function()
    local answered = 0
    for _, client in ipairs(clients) do
      answered = answered + (client.conn:silent(0) and 0 or 1)
    end
    return answered == count
  end, count .. " answers")
end

-- One client for each worker, that the worker keeps: a list of { client, pid }.
local function client_of_each(r)
  local found, spare = {}, {}
  poll.wait(function()
    local client = http.open(r.address)
    local pid = tonumber(client:request({ path = rig.target("") }).headers["x-worker"])
    for _, one in ipairs(found) do
      if one.pid == pid then
        spare[#spare + 1] = client
        return false
      end
    end
    found[#found + 1] = { client = client, pid = pid }
    return #found == #r.workers
  end, "a connection to each worker")
  for _, client in ipairs(spare) do
    client:close()
  end
  return found
end

-- By a reset: after an orderly close the server would still wait for an answer.
local function close_each(list)
  for _, one in ipairs(list) do
    (one.client or one).conn:reset()
  end
end

describe("max_conns", function()
  for _, workers in ipairs({ 1, 2 }) do
    it(("is never exceeded and always used, by %d workers and 50 clients"):format(workers),
      function()
        local r = rig.start({ workers = workers, backend = "max_conns = 4" })
        finally(function() r:stop() end)
        local result = load.run(r.address, {
          seconds = 1.2,
          { clients = 50, path = rig.target("delay=50&" .. TOKEN) },
        })
        load.assert_all(result.all)
        assert.equal(4, r:open_max())
        local clients = send_many(r, 20, "delay=hold")
        for _ = 1, 5 do
          r:release(4)
        end
        assert.same({ [200] = 20 }, receive_all(clients))
        assert.equal(4, r:open_max())
      end)
  end

  it("counts kept connections, too, and of all workers", function()
    local r = rig.start({ workers = 2, backend = "max_conns = 3, keepalive = 3" })
    finally(function() r:stop() end)
    local result = load.run(r.address, {
      seconds = 1,
      { clients = 30, path = rig.target("delay=2&" .. TOKEN) },
      { name = "post", clients = 10, method = "POST", body = 5000, path = rig.target(TOKEN) },
    })
    load.assert_all(result.all)
    load.assert_all(result.post)
    assert.is_true(r:open_max() <= 3, r:open_max())
    r:wait_connections(3)
  end)

  it("of a server wins over its backend's", function()
    local r = rig.start({
      responder = { count = 2 },
      backend = "max_conns = 2",
      servers = function(addresses)
        return ("%q, { address = %q, max_conns = 5 }"):format(addresses[1], addresses[2])
      end,
    })
    finally(function() r:stop() end)
    local clients = send_many(r, 12, "delay=hold")
    r:release(7)
    r:release(5)
    assert.same({ [200] = 12 }, receive_all(clients))
    assert.equal(2, r:open_max(1))
    assert.equal(5, r:open_max(2))
  end)

  it("0 is no limit", function()
    local r = rig.start({ backend = "max_conns = 0, queue = 1" })
    finally(function() r:stop() end)
    local clients = send_many(r, 40, "delay=hold")
    r:release(40)
    assert.same({ [200] = 40 }, receive_all(clients))
    assert.equal(40, r:open_max())
  end)
end)

describe("a queue", function()
  for _, workers in ipairs({ 1, 2 }) do
    it(("that is full is 503 with Retry-After, and the log has the numbers (%d workers)"):format(
      workers), function()
      local r = rig.start({ workers = workers, backend = "max_conns = 1, queue = 2" })
      finally(function() r:stop() end)
      local clients = send_many(r, 7, "delay=hold")
      wait_answered(clients, 4)
      for _ = 1, 3 do
        r:release()
      end
      local counts, replies = receive_all(clients)
      assert.same({ [200] = 3, [503] = 4 }, counts)
      for _, res in ipairs(replies) do
        if res.status == 503 then
          assert.is_truthy(tonumber(res.headers["retry-after"]))
        end
      end
      local line = r.server:wait_log("max_conns")
      assert.is_truthy(line:find("active") and line:find("queued"), line)
      assert.is_truthy(line:find("%f[%d]1%f[%D]") and line:find("%f[%d]2%f[%D]"), line)
      assert.equal(1, r:open_max())
    end)
  end

  it("is waited in for queue_timeout, then it is 503", function()
    local r = rig.start({ backend = [[max_conns = 1, queue_timeout = "300ms"]] })
    finally(function() r:stop() end)
    local first = send_many(r, 1, "fail=hang")
    r:wait_connections(1)
    local start = socket.gettime()
    local res = r:get("")
    local took = socket.gettime() - start
    assert.equal(503, res.status)
    assert.is_truthy(tonumber(res.headers["retry-after"]))
    assert.is_true(took > 0.28 and took < 20, took) -- 30 by default
    local line = r.server:wait_log("queue_timeout")
    assert.is_truthy(line:find("max_conns") and line:find("active"), line)
    close_each(first)
  end)

  it("does not count for the time of the answer", function()
    local r = rig.start({
      backend = [[max_conns = 1, queue_timeout = "60s", read_timeout = "4s"]],
    })
    finally(function() r:stop() end)
    assert.same({ [200] = 4 }, receive_all(send_many(r, 4, "delay=1200"))) -- 4.8 s in all
  end)

  for how, leave in pairs({
    ["resets its connection"] = function(client) client.conn:reset() end,
    ["closes its sending side"] = function(client) client.conn:finish() end,
  }) do
    it("has a place again when a waiting client " .. how, function()
      local r = rig.start({ backend = [[max_conns = 1, queue = 1]] })
      finally(function() r:stop() end)
      local first = send_many(r, 1, "delay=hold")
      r:wait_connections(1)
      local waiting = send_many(r, 1, "w")[1]
      assert.is_true(waiting.conn:silent(0.1))
      assert.equal(503, r:get("").status)
      leave(waiting)
      r.server:wait_access('w&n=1 HTTP/1.1" 499 ')
      local next_one = send_many(r, 1, "")
      assert.is_true(next_one[1].conn:silent(0.1))
      r:release()
      assert.same({ [200] = 1 }, receive_all(first))
      assert.same({ [200] = 1 }, receive_all(next_one))
      assert.same({}, r:shares("%?w&"))
      waiting:close()
    end)
  end

  for _, workers in ipairs({ 1, 2 }) do
    it(("is first come, first served, over %d workers"):format(workers), function()
      local r = rig.start({
        workers = workers, control = true, backend = [[max_conns = 1, queue_timeout = "120s"]],
      })
      finally(function() r:stop() end)
      local clients = send_many(r, 1, "delay=hold")
      r:wait_connections(1)
      local expected = {}
      for i = 1, 6 do
        clients[i + 1] = send_many(r, 1, ("p=%d&delay=5"):format(i))[1]
        wait_queued(r, i)
        expected[i] = tostring(i)
      end
      r:release()
      receive_all(clients)
      local order = {}
      for _, event in ipairs(r:events("REQUEST")) do
        order[#order + 1] = event.uri:match("p=(%d)")
      end
      assert.same(expected, order)
    end)
  end

  it("survives clients that lose patience, and none is served that has left", function()
    local r = rig.start({ workers = 2, backend = "max_conns = 2, queue = 20" })
    finally(function() r:stop() end)
    local result = load.run(r.address, {
      seconds = 2,
      { name = "patient", clients = 10, path = rig.target("delay=10&" .. TOKEN) },
      { name = "hasty", clients = 20, leave = 15, path = rig.target("delay=10&h&" .. TOKEN) },
    })
    assert.equal(0, result.patient.failed, result.patient.text)
    assert.equal(0, result.hasty.failed, result.hasty.text)
    assert.is_true(result.hasty.left > 20, result.hasty.text)
    assert.is_true(result.patient[200] > 10, result.patient.text)
    assert.is_true(r:open_max() <= 2)
    r:wait_connections(0)
    assert.same({ [200] = 10 }, receive_all(send_many(r, 10, ""))) -- every place is free again
  end)
end)

describe("tenants", function()
  for _, workers in ipairs({ 1, 2 }) do
    it(("share a backend fairly: 20 clients of one do not keep out 2 of another (%d workers)")
      :format(workers), function()
      local r = rig.start({
        workers = workers, backend = "max_conns = 4", on_request = BY_TENANT,
      })
      finally(function() r:stop() end)
      local path = rig.target("delay=100&" .. TOKEN)
      local result = load.run(r.address, {
        seconds = 3,
        { name = "big", clients = 20, host = "big.example", path = path },
        { name = "small", clients = 2, host = "small.example", path = path },
      })
      load.assert_all(result.big)
      load.assert_all(result.small)
      -- In one common queue all would take 22 requests / 4 places * 100 ms = 550 ms. A place gets
      -- free within 100 ms and is the small one's: it takes a third of the time at most.
      local said = result.small.text .. "\n" .. result.big.text
      assert.is_true(result.small.p50 < 0.6 * result.big.p50, said)
      assert.is_true(result.small.requests / 2 > 1.5 * result.big.requests / 20, said)
      -- Nothing is left unused for that.
      assert.equal(4, r:open_max())
    end)
  end

  for places = 1, 3 do
    it(("take turns, though all %d places are busy with others"):format(places), function()
      local r = rig.start({
        control = true, on_request = BY_TENANT,
        backend = ([[max_conns = %d, queue_timeout = "120s"]]):format(places),
      })
      local loud = {}
      finally(function()
        close_each(loud)
        r:stop()
      end)
      for i = 1, 20 * places do
        loud[i] = http.open(r.address)
        loud[i]:send({ path = rig.target("delay=hold"),
          host = ("loud%d.example"):format(i % places + 1) })
      end
      wait_queued(r, 19 * places)
      local client = http.open(r.address)
      for i = 1, 5 do
        local before, queued = #r:events("START"), r:status().backends[1].queued
        client:send({ path = rig.target("Q=" .. i), host = "quiet.example" })
        wait_queued(r, queued + 1)
        local turn
        repeat
          r:release(places)
          poll.wait(function()
            for n, event in ipairs(r:events("START")) do
              turn = event.uri:find("Q=" .. i, 1, true) and n - before or turn
            end
            return turn or #r:events("HELD") >= r.released + places
          end, "the next ones")
        until turn or #r:events("START") > before + 2 * places
        -- Its turn comes before a second one of anybody.
        assert.is_true(turn and turn <= places + 1, turn)
        assert.equal(200, client:receive("GET").status)
        poll.wait(function() return #r:events("HELD") >= r.released + places end, "busy places")
      end
      client:close()
    end)
  end

  it("have at most per_tenant of it, though places are free", function()
    local r = rig.start({
      workers = 2, backend = "max_conns = 6, per_tenant = 2", on_request = BY_TENANT,
    })
    finally(function() r:stop() end)
    local alone = load.run(r.address, {
      seconds = 0.5,
      { clients = 10, host = "big.example", path = rig.target("delay=20") },
    })
    load.assert_all(alone.all)
    assert.equal(2, r:open_max())
    local result = load.run(r.address, {
      seconds = 1.5,
      { name = "big", clients = 10, host = "big.example", path = rig.target("delay=200") },
      { name = "small", clients = 2, host = "small.example", path = rig.target("delay=200") },
    })
    load.assert_all(result.big)
    load.assert_all(result.small)
    assert.equal(4, r:open_max())
    -- It never waits; the big one's 10 have two places for 200 ms each.
    assert.is_true(result.small.p90 < 0.6 * result.big.p50, result.small.text .. result.big.text)
  end)

  it("that are over per_tenant wait for queue_timeout", function()
    local r = rig.start({
      backend = [[max_conns = 6, per_tenant = 1, queue_timeout = "200ms"]],
      on_request = BY_TENANT,
    })
    finally(function() r:stop() end)
    local hanging = send_many(r, 1, "fail=hang", { host = "a.example" })
    r:wait_connections(1)
    assert.equal(503, r:get("", { host = "a.example" }).status)
    assert.equal(200, r:get("", { host = "b.example" }).status)
    close_each(hanging)
  end)
end)

describe("kept connections", function()
  it("of one worker are given up when another waits", function()
    local r = rig.start({
      workers = 2, before = TELL_WORKER, settings = WORKER_HEADER,
      backend = [[max_conns = 1, keepalive = 1, keepalive_idle = "60s", queue_timeout = "50s"]],
    })
    finally(function() r:stop() end)
    local each = client_of_each(r)
    for _ = 1, 10 do
      for _, one in ipairs(each) do
        local start = socket.gettime()
        assert.equal(200, one.client:request({ path = rig.target("") }).status)
        assert.is_true(socket.gettime() - start < 20, "it waited for the other's connection")
      end
    end
    assert.equal(1, r:open_max())
    close_each(each)
  end)

  it("of a worker are used again by it", function()
    local r = rig.start({
      workers = 2, before = TELL_WORKER, settings = WORKER_HEADER,
      backend = [[max_conns = 2, keepalive = 2]],
    })
    finally(function() r:stop() end)
    local each = client_of_each(r)
    local before = #r:events("OPEN")
    for _ = 1, 20 do
      for _, one in ipairs(each) do
        assert.equal(200, one.client:request({ path = rig.target("") }).status)
      end
    end
    -- Each has one; the first rounds may still have divided them.
    assert.is_true(#r:events("OPEN") - before <= 2, r.back:log())
    close_each(each)
  end)

  it("are counted over all workers", function()
    local r = rig.start({ workers = 2, backend = [[keepalive = 2, keepalive_idle = "60s"]] })
    finally(function() r:stop() end)
    local result = load.run(r.address, {
      seconds = 0.5, { clients = 20, path = rig.target("delay=5") },
    })
    load.assert_all(result.all)
    r:wait_connections(2)
  end)

  it("that the application closes cost nobody an answer", function()
    local r = rig.start({
      workers = 2, backend = "max_conns = 4, keepalive = 4",
      responder = { args = { "--max-requests", "5" } },
    })
    finally(function() r:stop() end)
    local result = load.run(r.address, {
      { clients = 20, requests = 500, path = rig.target(TOKEN) },
    })
    load.assert_all(result.all)
    assert.is_true(#r:events("OPEN") >= 100)
  end)

  it("that the application closes never make it see a POST twice", function()
    local r = rig.start({
      workers = 2, backend = "max_conns = 4, keepalive = 4",
      responder = { args = { "--max-requests", "3" } },
    })
    finally(function() r:stop() end)
    local result = load.run(r.address, {
      { clients = 20, requests = 500, method = "POST", body = 100, path = rig.target(TOKEN) },
    })
    load.assert_all(result.all)
    assert.is_true(r:open_max() <= 4)
    local seen = {}
    for _, event in ipairs(r:events("START")) do -- it has all params, so it may run
      local token = event.uri:match("token=(%d+)")
      assert.is_nil(seen[token], "twice: " .. event.uri)
      seen[token] = true
    end
  end)

  it("that break at the next request are replaced for GET under load", function()
    local r = rig.start({ backend = "max_conns = 4, keepalive = 4" })
    finally(function() r:stop() end)
    local result = load.run(r.address, {
      seconds = 1, { clients = 12, path = rig.target("next=close&" .. TOKEN) },
    })
    load.assert_all(result.all)
    assert.is_true(r:open_max() <= 4)
  end)
end)

-- While `noread` lasts the application sees no end of the connection: as PHP, until it writes.
describe("a request whose client has left", function()
  -- Sends it, and leaves when the application has it. Returns when that was sent.
  local function leave(r, commands, before_leaving)
    local client = http.open(r.address)
    local begun = socket.gettime()
    client:send({ path = rig.target(commands) })
    r:wait_started(commands, 1)
    if before_leaving then
      before_leaving()
    end
    client.conn:reset()
    r.server:wait_access(commands .. ' HTTP/1.1" 499 ')
    return begun
  end

  -- The seconds until another one has the only place.
  local function time_place(r, ...)
    local begun = leave(r, ...)
    assert.equal(200, r:get("").status)
    return socket.gettime() - begun
  end

  for _, workers in ipairs({ 1, 2 }) do
    it(("keeps its place until the application answers (%d workers)"):format(workers), function()
      local r = rig.start({ workers = workers, backend = "max_conns = 1, keepalive = 1" })
      finally(function() r:stop() end)
      local took = time_place(r, "noread=2000")
      assert.is_true(took >= 2 and took < 20, took)
    end)
  end

  it("keeps it for read_timeout at most", function()
    local r = rig.start({ backend = [[max_conns = 1, read_timeout = "2s"]] })
    finally(function() r:stop() end)
    local took = time_place(r, "noread=600000")
    assert.is_true(took >= 2 and took < 20, took)
  end)

  it("gives it back when the application hangs up, which it is told to", function()
    local r = rig.start({ backend = "max_conns = 1" })
    finally(function() r:stop() end)
    assert.is_true(time_place(r, "fail=hang") < 20)
    r:wait_connections(0)
  end)

  it("counts for its tenant where nothing else is limited", function()
    local r = rig.start({ backend = "per_tenant = 1", on_request = BY_TENANT })
    finally(function() r:stop() end)
    assert.is_true(time_place(r, "noread=2000") >= 2)
  end)

  it("counts no more where nothing is limited", function()
    local r = rig.start({ control = true, backend = "keepalive = 1" })
    finally(function() r:stop() end)
    leave(r, "noread=600000")
    poll.wait(function()
      return r:status().backends[1].servers[1].active == 0
    end, "nothing in use")
  end)

  it("does not keep its generation, and keeps its place without it", function()
    local r = rig.start({ control = true, backend = "max_conns = 1" })
    finally(function() r:stop() end)
    local took = time_place(r, "noread=4000", function()
      r.server:reload(r:route({ settings = "script_timeout = 2" }))
    end)
    assert.is_true(took >= 4, took)
    poll.wait(function()
      return r:status().generations == 1
    end, "the old generation to be gone")
  end)

  it("ends with its server, and with the worker", function()
    local r = rig.start({
      control = true, backend = "max_conns = 1", responder = { count = 2 },
      servers = function(addresses) return ("%q"):format(addresses[1]) end,
    })
    local stopped
    finally(function()
      if not stopped then
        r:stop()
      end
    end)
    leave(r, "noread=600000", function()
      r.server:reload(r:route({
        servers = function(addresses) return ("%q"):format(addresses[2]) end,
      }))
    end)
    poll.wait(function()
      return r:status().generations == 1
    end, "the old generation to be gone")
    assert.equal("2", r:get("who").headers["x-listener"])
    leave(r, "noread=600000&again")
    local begun = socket.gettime()
    stopped = true
    r:stop()
    assert.is_true(socket.gettime() - begun < 20)
  end)
end)

describe("a worker that is killed", function()
  it("gives back the places it had, used and waited for", function()
    local r = rig.start({
      workers = 2, dies = true, before = TELL_WORKER, settings = WORKER_HEADER,
      backend = [[max_conns = 2, queue = 1, queue_timeout = "10s"]],
    })
    finally(function() r:stop() end)
    local each = client_of_each(r)
    r:wait_connections(0)
    for _, one in ipairs(each) do
      one.client:send({ path = rig.target("fail=hang") })
    end
    r:wait_connections(2)
    process.signal(each[1].pid, "KILL")
    assert.is_truthy(each[1].client.conn:closes(5))
    assert.equal(200, r:get("").status)
    assert.is_true(each[2].client.conn:silent(0.05)) -- the other's request is still there
    assert.same({ [200] = 1 }, receive_all(send_many(r, 1, "")))
    assert.equal(2, r:open_max())
    close_each(each)
  end)

  it("while all of them work costs its own clients alone", function()
    local r = rig.start({
      workers = 2, dies = true, backend = "max_conns = 4, keepalive = 2",
      before = TELL_WORKER, settings = WORKER_HEADER,
    })
    finally(function() r:stop() end)
    local run = load.start(r.address, {
      { clients = 30, path = rig.target("delay=5&" .. TOKEN) },
    })
    finally(function()
      run:abandon()
      r:stop()
    end)
    poll.wait(function()
      return #r:events("REQUEST") > 50
    end, "the load")
    process.signal(r.workers[1], "KILL")
    local before = #r:events("REQUEST")
    poll.wait(function()
      return #r:events("REQUEST") > before + 100
    end, "the load to go on")
    local all = run:stop().all
    assert.is_true(all.failed > 0 and all.failed <= 40, all.text)
    assert.equal(all.requests, all[200], all.text)
    assert.is_true(r:open_max() <= 4)
    -- All four places can still be used at once, over both workers.
    r:wait_connections(2)
    local clients = send_many(r, 8, "delay=hold&All")
    r:release(4)
    r:release(4)
    assert.same({ [200] = 8 }, receive_all(clients))
  end)
end)

describe("hold", function()
  it("lets what is in flight finish, closes what is kept, and keeps what comes", function()
    local r = rig.start({
      workers = 2, control = true,
      backend = [[keepalive = 4, keepalive_idle = "60s", queue_timeout = "10s"]],
    })
    finally(function() r:stop() end)
    receive_all(send_many(r, 4, "delay=50"))
    local working = send_many(r, 3, "delay=600&Work")
    r:wait_started("Work", 3)
    r:tell("hold", "app")
    assert.same({ [1] = 3 }, r:shares("Work"))
    r:wait_connections(0)
    local waiting = send_many(r, 5, "Wait")
    assert.is_true(waiting[1].conn:silent(0.2))
    assert.same({}, r:shares("%?Wait"))
    assert.equal(0, r:open_connections())
    r:tell("resume", "app")
    assert.same({ [200] = 3 }, receive_all(working))
    assert.same({ [200] = 5 }, receive_all(waiting))
  end)

  it("under load fails nobody, and nothing reaches the servers meanwhile", function()
    local r = rig.start({
      workers = 2, control = true, backend = "max_conns = 4, keepalive = 2",
    })
    local run = load.start(r.address, {
      { clients = 30, path = rig.target("delay=5&" .. TOKEN) },
    })
    finally(function()
      run:abandon()
      r:stop()
    end)
    for _ = 1, 3 do
      local before = #r:events("REQUEST")
      poll.wait(function()
        return #r:events("REQUEST") > before + 50
      end, "the load")
      r:tell("hold", "app")
      r:wait_connections(0)
      local held = #r:events("OPEN")
      assert.is_nil(poll.try(function()
        return #r:events("OPEN") ~= held
      end, 0.15))
      r:tell("resume", "app")
    end
    load.assert_all(run:stop().all)
  end)

  it("is bounded by the queue and by queue_timeout", function()
    local r = rig.start({
      control = true, backend = [[queue = 3, queue_timeout = "700ms"]],
    })
    finally(function() r:stop() end)
    r:tell("hold", "app")
    local start = socket.gettime()
    local counts, replies = receive_all(send_many(r, 5, ""))
    assert.same({ [503] = 5 }, counts)
    assert.is_true(socket.gettime() - start >= 0.65)
    for _, res in ipairs(replies) do
      assert.is_truthy(tonumber(res.headers["retry-after"]))
    end
    r:tell("resume", "app")
    r.server:reload(r:route({ backend = [[queue = 3, queue_timeout = "60s"]] }))
    r:tell("hold", "app")
    local clients = send_many(r, 5, "Again")
    wait_answered(clients, 2) -- refused at once
    r:tell("resume", "app")
    assert.same({ [200] = 3, [503] = 2 }, receive_all(clients))
    assert.equal(200, r:get("").status)
  end)

  it("survives the death of a worker", function()
    local r = rig.start({ workers = 2, dies = true, control = true })
    finally(function() r:stop() end)
    r:tell("hold", "app")
    for _, pid in ipairs(r.workers) do
      process.signal(pid, "KILL")
    end
    local client
    poll.wait(function()
      client = http.open(r.address)
      return pcall(client.send, client, { path = rig.target("Late") })
        and client.conn:silent(0.2)
    end, "a worker")
    assert.same({}, r:shares("Late"))
    r:tell("resume", "app")
    assert.equal(200, client:receive().status)
    client:close()
  end)

  it("of what does not exist fails, and says so", function()
    local r = rig.start({ control = true })
    finally(function() r:stop() end)
    for _, words in ipairs({
      { "hold", "nobody" }, { "resume", "nobody" }, { "drain", "nobody", "unix:/x" },
      { "drain", "app", "unix:/nobody" }, { "undrain", "app", "unix:/nobody" },
    }) do
      local result = r:command(unpack(words))
      assert.equal(1, result.code, table.concat(words, " "))
      assert.is_truthy(result.stderr:find("nobody", 1, true), result.stderr)
    end
    assert.equal(2, r:command("hold").code)
    assert.equal(200, r:get("").status)
  end)

  it("of a server that does not run fails, and says where it looked", function()
    local path = "unix:" .. process.tempdir() .. "/none.sock"
    local result = server.command({ "hold", "app", "--control", path })
    assert.equal(1, result.code)
    assert.is_truthy(result.stderr:find(path, 1, true), result.stderr)
  end)
end)

describe("drain", function()
  it("sends a server nothing new, closes what is kept, and undrain takes it back", function()
    local r = rig.start({
      workers = 2, control = true, responder = { count = 2 },
      backend = [[keepalive = 4, keepalive_idle = "60s"]],
    })
    finally(function() r:stop() end)
    receive_all(send_many(r, 8, "delay=50"))
    local working = send_many(r, 4, "delay=400&Work")
    r:wait_started("Work", 4)
    r:tell("drain", "app", r.back.addresses[1])
    local drained = r:shares("Work")[1]
    assert.is_true(drained >= 1, "drain returned before its requests were over")
    for _ = 1, 10 do
      assert.equal("2", r:get("who&d").headers["x-listener"])
    end
    assert.same({ [200] = 4 }, receive_all(working))
    r:tell("undrain", "app", r.back.addresses[1])
    receive_all(send_many(r, 10, "delay=20&Back"))
    assert.is_true(r:shares("Back")[1] >= 3)
  end)

  -- A request that has the only place of each server until it is released, and some that wait.
  local function start_full(options)
    local r = rig.start({
      workers = 2, control = true, responder = { count = options.count },
      backend = [[max_conns = 1, queue_timeout = "120s", attempts = 1]],
      settings = options.settings, on_request = options.on_request,
    })
    local working = send_many(r, options.count, "delay=hold&Work")
    r:wait_started("Work", options.count)
    local target = options.named and "s=" .. http.escape(r.back.addresses[1]) or "who&Wait"
    local waiting = send_many(r, 4, target)
    wait_queued(r, 4)
    return r, working, waiting
  end

  -- Far below queue_timeout, and enough for a busy machine.
  local function receive_soon(waiting)
    local begun = socket.gettime()
    local counts, replies = receive_all(waiting)
    assert.is_true(socket.gettime() - begun < 30)
    return counts, replies
  end

  it("of the only server answers those who wait as it does those who come", function()
    local r, working, waiting = start_full({
      count = 1, settings = [[on_error = function(req, err)
        return { status = err.status, headers = { ["Retry-After"] = "1" }, body = err.kind }
      end]],
    })
    finally(function()
      close_each(working)
      r:stop()
    end)
    local mark = r.server:mark()
    -- It does not wait for the one that works.
    assert.equal(1, r:command("drain", "app", r.back.addresses[1], "--wait=50ms").code)
    local counts, replies = receive_soon(waiting)
    assert.same({ [503] = 4 }, counts)
    local new = r:get("New")
    assert.equal(503, new.status)
    for _, res in ipairs(replies) do
      assert.equal(new.body, res.body)
      assert.equal("connect", res.body)
    end
    r.server:wait_log("all servers are drained, or their health checks fail", 5, mark)
    r:tell("undrain", "app", r.back.addresses[1])
    r:release()
    assert.same({ [200] = 1 }, receive_all(working))
    working = {}
    assert.equal(200, r:get("").status)
    assert.is_nil(r:shares("Wait")[1])
  end)

  it("answers those who wait for that server and no other", function()
    local r, working, waiting = start_full({
      count = 2, named = true,
      on_request = [[
        do return { backend = "app", docroot = "/srv/app", server = req.args.s } end
      ]],
    })
    finally(function()
      close_each(working)
      r:stop()
    end)
    r:command("drain", "app", r.back.addresses[1], "--wait=50ms")
    assert.same({ [503] = 4 }, (receive_soon(waiting)))
  end)

  it("of one of two servers leaves those who wait to the other", function()
    local r, working, waiting = start_full({ count = 2 })
    finally(function()
      close_each(working)
      r:stop()
    end)
    r:command("drain", "app", r.back.addresses[1], "--wait=50ms")
    assert.is_true(waiting[1].conn:silent(0.1))
    assert.equal(4, r:status().backends[1].queued)
    r:release(2)
    local counts, replies = receive_all(waiting)
    assert.same({ [200] = 4 }, counts)
    for _, res in ipairs(replies) do
      assert.equal("2", res.headers["x-listener"])
    end
  end)
end)
