-- Processes: what a death costs, how the rest goes on, and how a server ends. 51a-stuck_spec has
-- scripts that never return.

local http = require("tests.support.http")
local json = require("moongate.base.json")
local load = require("tests.support.load")
local net = require("tests.support.net")
local poll = require("tests.support.poll")
local process = require("tests.support.process")
local rig = require("tests.support.rig")
local server = require("tests.support.server")
local socket = require("socket")
local stage = require("tests.support.stage")

server.inspect()

local HELLO = [[return {
  control = false, stop_timeout = 3,
  on_request = function() return { status = 200, body = "hello" } end,
}]]

local function wait_gone(pids, timeout)
  for _, pid in ipairs(pids) do
    poll.wait(function() return process.gone(pid) end, "the end of process " .. pid, timeout or 10)
  end
end

describe("a worker that is killed under load", function()
  for _, signal in ipairs({ "KILL", "SEGV" }) do
    it("by " .. signal .. " costs the requests that it had, and is replaced", function()
      local r = rig.start({ workers = 3, dies = true, backend = "keepalive = 8" })
      local run = load.start(r.address, {
        { name = "kept", clients = 24, path = rig.target("delay=1&body=token=@;") },
      })
      finally(function() run:abandon() r:stop() end)
      poll.wait(function() return #r:events("REQUEST") > 500 end, "500 requests")
      local victim, held
      poll.wait(function() -- the kernel's table may change while it is read
        local all = 0
        victim, held = nil, 0
        for _, pid in ipairs(r.workers) do -- one that has clients: the kernel chose
          local count = net.connections(pid, r.address)
          all = all + count
          if count > held then
            victim, held = pid, count
          end
        end
        return all == 24
      end, "24 connections")
      process.hold(victim)
      process.signal(victim, signal)
      process.signal(victim, "CONT")
      r.server:wait_log("a worker was killed by signal")
      poll.wait(function() return #r.server:workers() == 3 end, "three workers")
      local before = #r:events("REQUEST")
      poll.wait(function() return #r:events("REQUEST") > before + 1000 end, "1000 more requests")
      local result = run:stop().kept
      local said = ("%d requests in flight in that worker, %d of %d failed: %s"):format(held,
        result.failed, result.failed + result.requests, result.text)
      assert.is_true(held > 0 and result.failed > 0, said)
      assert.is_true(result.failed <= held, said)
      assert.equal(result.requests, result[200], said)
    end)
  end

  it("leaves what waits in its queue to the next one", function()
    local s = server.start({ route = HELLO })
    finally(function() s:stop() end)
    local pid = s:workers()[1]
    process.signal(pid, "STOP")
    local clients = {}
    for i = 1, 10 do
      clients[i] = http.open(s.address)
      clients[i]:send({ path = "/" })
    end
    process.signal(pid, "KILL")
    for i = 1, 10 do
      assert.equal("hello", clients[i]:receive("GET").body)
      clients[i]:close()
    end
  end)
end)

describe("workers by themselves", function()
  for cores, text in pairs({ "0", "0-1", "0-2" }) do
    it(("are two at least, on a machine of %d cores"):format(cores), function()
      local address = "127.0.0.1:" .. net.free_port()
      -- Where a program can't be given another machine's look, this one's counts.
      local launcher = stage.replacing("/sys/devices/system/cpu/online", text .. "\n")
      local s = server.start({
        own = true, address = address, launcher = launcher,
        route = ([[return {
          listen = %q, control = false, watch = false,
          on_request = function() return { status = 200, body = "hello" } end,
        }]]):format(address),
      })
      finally(function() s:stop() end)
      local own = tonumber(process.run({ argv = { "getconf", "_NPROCESSORS_ONLN" } }).stdout)
      assert.equal(math.max(2, launcher and cores or own), #s:workers())
    end)
  end
end)

describe("workers that die before they serve", function()
  it("are tried again at growing distances, until it works", function()
    local dir = process.tempdir("dies")
    local s = server.start({
      workers = 2,
      route = ([[return {
        control = false,
        on_start = function() if io.open(%q) then error("not yet") end end,
        on_request = function() return { status = 200, body = "hello" } end,
      }]]):format(dir .. "/die"),
    })
    finally(function() s:stop() end)
    local workers = s:workers()
    process.write_file(dir .. "/die", "")
    local from = s:mark()
    local begun = socket.gettime()
    process.signal(workers[1], "KILL")
    poll.wait(function()
      return select(2, s:errors():sub(from + 1):gsub("ended with status 1 ", "")) >= 4
    end, "the fourth death", 60)
    -- 1, 2 and 4 s, and each time what a worker takes to come so far.
    local took = socket.gettime() - begun
    assert.is_true(took > 6.5, ("the fourth try failed after %.2f s"):format(took))
    assert.is_true(s.process:alive())
    assert.is_false(process.gone(workers[2]), "the other worker")
    assert.is_true(os.remove(dir .. "/die"))
    poll.wait(function()
      local ok = true
      for _ = 1, 16 do
        ok = ok and http.get(s.address, "/").body == "hello"
      end
      return ok and #s:workers() == 2
    end, "both workers", 15)
  end)
end)

describe("when the master is killed", function()
  it("workers finish their requests, end, and leave the place to the next start", function()
    local dir = process.tempdir("unix")
    local path = ("unix:%s/site.sock"):format(dir)
    local address = "127.0.0.1:" .. net.free_port()
    local own = { own = true, address = address }
    local options = {
      workers = 2, server = own, dies = true,
      settings = ("listen = { %q, %q }, workers = 2, watch = false"):format(address, path),
    }
    local r = rig.start(options)
    local run = load.start(address, { { clients = 8, path = rig.target("body=token=@;") } })
    finally(function() run:abandon() r.back:stop() end)
    local slow, parked = http.open(address), http.open(path)
    slow:send({ path = rig.target("delay=600&body=slow") })
    parked:send({ path = rig.target("delay=600&body=parked") })
    r:wait_started("delay=600", 2)
    r:wait_started("token", 50)
    local workers = r.server:workers()
    r.server.process:kill("KILL")
    assert.equal("slow", slow:receive("GET").body)
    assert.equal("parked", parked:receive("GET").body)
    slow:close()
    parked:close()
    wait_gone(workers)
    assert.is_false(net.listening(address))
    -- Clients see replies that are whole; then nobody is there any more.
    local result = run:stop().all
    assert.equal(0, result.timeout + result.broken + result.wrong, result.text)
    assert.is_true(result.requests > 0 and result[200] == result.requests, result.text)
    r.server:check_reports()
    -- The socket's file is still there, and no hindrance.
    local again = rig.start(options)
    finally(function() run:abandon() r.back:stop() again:stop() end)
    assert.equal("x", again:get("body=x").body)
    assert.equal("y", http.request(path, { path = rig.target("body=y") }).body)
  end)

  it("in the middle of a reload, nothing is left", function()
    local s = server.start({ route = HELLO, workers = 2 })
    local from = s:mark()
    s:rewrite("io.stderr:write('loading\\n') local t = os.time() while os.time() < t + 8 do end "
      .. HELLO)
    s.process:kill("HUP")
    s:wait_log("^loading", nil, from)
    local family = process.children(s.process.pid)
    assert.equal(3, #family)
    s.process:kill("KILL")
    wait_gone(family)
  end)

  it("while it loads a script that never comes to an end, nothing is left either", function()
    local s = server.start({ route = HELLO, workers = 2 })
    local workers, loader = s:workers(), nil
    s:rewrite("io.stderr:write('loading\\n') while true do end " .. HELLO)
    s.process:kill("HUP")
    s:wait_log("^loading")
    local family = process.children(s.process.pid)
    for _, pid in ipairs(family) do
      loader = pid ~= workers[1] and pid ~= workers[2] and pid or loader
    end
    -- It has no more rights than workers, and no socket of the master's.
    assert.equal(1, process.status(loader, "NoNewPrivs"))
    for fd, what in pairs(process.descriptors(loader)) do
      assert.is_falsy(fd > 2 and what:find("^socket:"), what)
    end
    s.process:kill("KILL")
    wait_gone(family)
    assert.is_false(net.listening(s.address))
    local again = server.start({ route = HELLO, address = s.address })
    assert.equal("hello", http.get(s.address, "/").body)
    again:stop()
  end)
end)

describe("a stop", function()
  -- A request that the application holds, and a client that is idle.
  local function busy(options)
    local r = rig.start(options)
    local slow, idle = http.open(r.address), http.open(r.address)
    assert.equal("x", idle:request({ path = rig.target("body=x") }).body)
    slow:send({ path = rig.target("delay=hold&body=slow") })
    r:wait_started("delay=", 1)
    return r, slow, idle
  end

  for _, signals in ipairs({ { "TERM" }, { "QUIT" }, { "TERM", "TERM" }, { "TERM", "QUIT" } }) do
    local name = table.concat(signals, ", then ")
    it("by " .. name .. " finishes what is under way", function()
      local r, slow, idle = busy({ dies = true, workers = 2 })
      for _, signal in ipairs(signals) do
        r.server.process:kill(signal)
        poll.wait(function() return not net.listening(r.address) end, "the port to be closed")
      end
      assert.is_true(idle.conn:closes(3))
      r:release()
      local res = slow:receive("GET")
      assert.equal("slow", res.body)
      assert.equal("close", res.headers.connection)
      assert.truthy(r.server.process:wait(3))
      r:stop()
      slow:close()
      idle:close()
    end)
  end

  it("by INT ends at once", function()
    local r, slow, idle = busy({ dies = true, workers = 2 })
    r.server.process:kill("INT")
    assert.truthy(r.server.process:wait(3))
    assert.equal(503, slow:receive("GET").status)
    r:stop()
    slow:close()
    idle:close()
  end)

  it("by TERM, then INT, ends at once", function()
    local r, slow, idle = busy({ dies = true })
    r.server.process:kill("TERM")
    poll.wait(function() return not net.listening(r.address) end, "the port to be closed")
    r.server.process:kill("INT")
    assert.truthy(r.server.process:wait(3))
    assert.equal(503, slow:receive("GET").status)
    slow:close()
    idle:close()
    r:stop()
  end)

  it("cuts what is not done after stop_timeout, and says so", function()
    local r = rig.start({ dies = true, settings = "stop_timeout = 1" })
    local slow = http.open(r.address)
    slow:send({ path = rig.target("fail=hang-after-head&size=10") })
    r:wait_started("hang", 1)
    r.server.process:kill("TERM")
    local begun = socket.gettime()
    assert.truthy(r.server.process:wait(4))
    local took = socket.gettime() - begun
    assert.is_true(took > 0.4 and took < 20, ("it took %.2f s"):format(took)) -- 30 by default
    r.server:wait_log("they are cut")
    slow:close()
    r:stop()
  end)

  it("while a worker has not come to serve ends well too", function()
    local s = server.start({ wait = false, workers = 2, route = [[return {
      control = false,
      on_start = function()
        io.stderr:write("starting\n")
        local t = os.time() while os.time() < t + 2 do end
      end,
      on_request = function() end,
    }]] })
    s:wait_log("^starting")
    s:stop(5)
  end)

  it("by the command says when it is done", function()
    local r, slow, idle = busy({ control = true, dies = true })
    local command = process.spawn({ argv = { server.binary(), "stop", "--control", r.control } })
    poll.wait(function() return not net.listening(r.address) end, "the port to be closed")
    r:release()
    assert.equal("slow", slow:receive("GET").body)
    assert.equal("exit status 0", command:wait(5))
    poll.wait(function() return not r.server.process:alive() end, "the server's end", 1)
    assert.equal(1, r:command("stop").code)
    slow:close()
    idle:close()
    r:stop()
  end)
end)

describe("the pid file", function()
  it("is there when all serve, and gone at the end", function()
    local dir = process.tempdir("pid")
    process.write_file(dir .. "/wait", "")
    local s = server.start({
      workers = 2, wait = false, args = { "--pid", dir .. "/pid" },
      route = ([[return {
        control = false, script_timeout = 30,
        on_start = function() while io.open(%q) do collectgarbage() end end,
        on_request = function() return { status = 200, body = "hello" } end,
      }]]):format(dir .. "/wait"),
    })
    finally(function() s:stop() end)
    poll.wait(function() return #s:workers() == 2 end, "both workers")
    assert.is_nil(io.open(dir .. "/pid"))
    os.remove(dir .. "/wait")
    local text
    poll.wait(function()
      text = process.read_file(dir .. "/pid") or ""
      return text ~= "" -- it is made, then written
    end, "the pid file")
    assert.equal(s.process.pid .. "\n", text)
    assert.equal("hello", http.get(s.address, "/").body)
    s:reload(HELLO)
    assert.equal(text, process.read_file(dir .. "/pid"))
    s:stop()
    assert.is_nil(io.open(dir .. "/pid"))
  end)

  it("that can't be written ends the start", function()
    local s = server.start({ wait = false, route = HELLO, args = { "--pid", "/nowhere/pid" } })
    assert.equal("exit status 1", s.process:wait(5))
    assert.truthy(s:errors():find("/nowhere/pid", 1, true))
  end)
end)

describe("the counts of a worker", function()
  it("are those of its last turn, also when it has made no more since", function()
    local r = rig.start({ workers = 2, control = true,
      on_request = [[
        do return { status = 200, body = tostring(require("moongate").worker) } end]] })
    finally(function() r:stop() end)
    -- One worker has all questions; the other one sleeps when its clients have left.
    local operator, answered = http.open(r.control), { 0, 0 }
    local function are_shown()
      operator:send({ path = "/status" })
      local connections, all = 0, true
      for i, worker in ipairs(json.decode(operator:receive().body).workers) do
        all = all and worker.requests >= answered[i]
        connections = connections + worker.connections
      end
      return all and connections == 1
    end
    for _ = 1, 3 do -- the first ones of a second are shown at once
      for _ = 1, 40 do
        local client = http.open(r.address)
        client:send({ path = "/" })
        local worker = tonumber(client:receive().body)
        answered[worker] = answered[worker] + 1
        client:close()
      end
      poll.wait(are_shown, "all requests to be shown, and one connection")
    end
    operator:close()
  end)
end)
