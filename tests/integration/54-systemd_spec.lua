-- What a service manager does with the server, without one: sockets that it hands over
-- (LISTEN_FDS), and what it is told (NOTIFY_SOCKET).

local ffi = require("ffi")
local http = require("tests.support.http")
local load = require("tests.support.load")
local net = require("tests.support.net")
local poll = require("tests.support.poll")
local process = require("tests.support.process")
local server = require("tests.support.server")
local socket = require("socket")
local unix = require("socket.unix")

server.inspect()

-- Each worker has a number of its own.
local function route(settings, word)
  return ([[
local ffi = require("ffi")
ffi.cdef("int getpid(void);")
return {
  control = false, watch = false, %s
  on_request = function(req)
    return { status = 200, body = "%s", headers = { Pid = tostring(ffi.C.getpid()) } }
  end,
}
]]):format(settings, word or "hello")
end

-- Waits until so many workers have answered; which of them the kernel wakes is its affair.
local function wait_workers(address, count)
  local seen, pids = {}, 0
  poll.wait(function()
    local pid = http.get(address, "/").headers.pid
    pids = pids + (seen[pid] and 0 or 1)
    seen[pid] = true
    return pids == count
  end, count .. " workers to answer")
end

describe("sockets that are handed over", function()
  local function bind_tcp()
    local listener = assert(socket.bind("127.0.0.1", 0))
    return listener, "127.0.0.1:" .. select(2, listener:getsockname())
  end

  local function bind_unix(dir)
    local listener = assert(unix.stream())
    assert(listener:bind(dir .. "/handed.sock"))
    assert(listener:listen(64))
    process.chmod(dir .. "/handed.sock", "666")
    return listener, ("unix:%s/handed.sock"):format(dir)
  end

  it("are served by all workers, beside others, and stay when the server ends", function()
    local dir = process.tempdir("handed")
    local tcp, address = bind_tcp()
    local path, local_address = bind_unix(dir)
    local own = "127.0.0.1:" .. net.free_port()
    -- Somebody waits in it since before the server came.
    local early = http.open(address)
    early:send({ path = "/" })
    local s = server.start({
      own = true, address = address, sockets = { tcp:getfd(), path:getfd() },
      route = route(("workers = 2, listen = { %q, %q, %q },"):format(address, local_address, own)),
    })
    finally(function() s:stop() tcp:close() path:close() end)
    assert.equal("hello", early:receive("GET").body)
    early:close()
    for _, one in ipairs({ address, local_address, own }) do
      assert.equal("hello", http.get(one, "/").body)
    end
    -- All of them, not each for itself: the kernel wakes who is there.
    local run = load.run(address, { { clients = 32, requests = 3000, close = true } })
    load.assert_all(run.all)
    wait_workers(address, 2)
    -- Through a reload, too.
    assert.equal(2, s:reload(route(("workers = 3, listen = { %q, %q },"):format(address,
      local_address), "again")))
    assert.equal("again", http.get(address, "/").body)
    assert.equal("again", http.get(local_address, "/").body)
    poll.wait(function() return not net.listening(own) end, "the removed listener's end")
    s:stop()
    -- They belong to somebody else: they listen on, and their clients wait for the next server.
    assert.is_true(net.listening(address))
    assert.is_true(net.listening(local_address))
    assert.truthy(io.popen("ls " .. dir):read("*a"):find("handed.sock", 1, true))
    local waiting = http.open(local_address)
    waiting:send({ path = "/" })
    local again = server.start({
      own = true, address = address, sockets = { tcp:getfd(), path:getfd() },
      route = route(("workers = 1, listen = { %q, %q },"):format(address, local_address), "next"),
    })
    finally(function() again:stop() s:stop() tcp:close() path:close() end)
    assert.equal("next", waiting:receive("GET").body)
    waiting:close()
  end)

  it("that a reload no longer names are closed here, and left alone", function()
    local dir = process.tempdir("handed")
    local path, address = bind_unix(dir)
    local own = "127.0.0.1:" .. net.free_port()
    local s = server.start({
      own = true, address = own, sockets = { path:getfd() },
      route = route(("workers = 2, listen = { %q, %q },"):format(address, own)),
    })
    finally(function() s:stop() path:close() end)
    assert.equal("hello", http.get(address, "/").body)
    s:reload(route(("workers = 2, listen = %q,"):format(own)))
    local function holders()
      local count = 0
      local inode = process.descriptors(process.pid())[path:getfd()]
      for _, pid in ipairs({ s.process.pid, unpack(s:workers()) }) do
        for _, what in pairs(process.descriptors(pid)) do
          count = count + (what == inode and 1 or 0)
        end
      end
      return count
    end
    poll.wait(function() return holders() == 0 end, "nobody to have it")
    assert.is_true(net.listening(address))
    assert.truthy(io.popen("ls " .. dir):read("*a"):find("handed.sock", 1, true))
  end)

  it("are found among more than a thousand", function()
    local other = bind_tcp()
    local tcp, address = bind_tcp()
    local sockets = {}
    for i = 1, 1100 do
      sockets[i] = other:getfd()
    end
    sockets[1101] = tcp:getfd()
    local s = server.start({
      own = true, address = address, sockets = sockets,
      route = route(("workers = 1, listen = %q,"):format(address)),
    })
    finally(function() s:stop() tcp:close() other:close() end)
    assert.equal("hello", http.get(address, "/").body)
  end)

  it("outlive a worker and an upgrade", function()
    process.inherit(true)
    local tcp, address = bind_tcp()
    local s = server.start({
      own = true, address = address, sockets = { tcp:getfd() },
      route = route(("workers = 2, listen = %q,"):format(address)),
    })
    finally(function() s:stop() tcp:close() process.inherit(false) end)
    local killed = s:workers()[1]
    process.signal(killed, "KILL")
    local run = load.start(address, { { clients = 4, close = true } })
    finally(function() run:abandon() s:stop() tcp:close() process.inherit(false) end)
    poll.wait(function() -- the killed one is in the list until its master has asked how it ended
      local now = s:workers()
      return #now == 2 and now[1] ~= killed and now[2] ~= killed
    end, "another worker")
    local old = s.process
    old:kill("USR2")
    local line = s:wait_log("pid %d+ serves in our place")
    s.process = process.adopt(tonumber(line:match("pid (%d+)")), "moongate")
    assert.truthy(old:wait(10))
    wait_workers(address, 2)
    load.assert_all(run:stop().all)
  end)
end)

describe("the service manager", function()
  local dir, manager, told

  before_each(function()
    dir = process.tempdir("notify")
    manager = assert(unix.dgram())
    assert(manager:bind(dir .. "/notify"))
    process.chmod(dir .. "/notify", "666")
    manager:settimeout(0)
    told = {}
  end)

  after_each(function() manager:close() end)

  -- Everything that has come so far, each with the time.
  local function collect()
    while true do
      local text = manager:receive(4096)
      if not text then
        return told
      end
      told[#told + 1] = { text = text, at = socket.gettime() }
    end
  end

  local function wait_told(pattern, from)
    return poll.wait(function()
      local list = collect()
      for i = (from or 0) + 1, #list do
        if ("\n" .. list[i].text .. "\n"):find(pattern) then
          list[i].index = i
          return list[i]
        end
      end
    end, ("the message %q"):format(pattern))
  end

  local function order()
    local words = {}
    for _, message in ipairs(collect()) do
      words[#words + 1] = message.text:match("^%u+")
    end
    return table.concat(words, " ")
  end

  local function start(options)
    local copy = { workers = 2, route = route("") }
    for key, value in pairs(options or {}) do
      copy[key] = value
    end
    copy.env = copy.env or {}
    copy.env.NOTIFY_SOCKET = dir .. "/notify"
    return server.start(copy)
  end

  local function now_usec()
    local t = ffi.new("struct { long s, ns; }[1]")
    ffi.cdef("int clock_gettime(int clock, void *t);")
    assert(ffi.C.clock_gettime(1, t) == 0)
    return tonumber(t[0].s) * 1e6 + tonumber(t[0].ns) / 1e3
  end

  it("is told when all serve, of each reload, and of the end", function()
    process.write_file(dir .. "/wait", "")
    local s = start({ wait = false, route = route(([[on_start = function()
      while io.open(%q) do collectgarbage() end end,]]):format(dir .. "/wait")) })
    finally(function() s:stop() end)
    poll.wait(function() return #s:workers() == 2 end, "both workers")
    assert.equal("", order())
    os.remove(dir .. "/wait")
    local ready = wait_told("\nREADY=1\n")
    assert.truthy(ready.text:find("MAINPID=" .. s.process.pid, 1, true), ready.text)
    assert.equal("hello", http.get(s.address, "/").body)
    local before = now_usec()
    s:reload(route("", "again"))
    local reloading = wait_told("\nRELOADING=1\n")
    local usec = tonumber(reloading.text:match("\nMONOTONIC_USEC=(%d+)"))
    assert.is_true(usec >= before and usec <= now_usec(), reloading.text)
    poll.wait(function() return order() == "READY RELOADING READY" end, "READY again: " .. order())
    -- One that fails is over as well.
    s:reload_fails("return {")
    poll.wait(function() return order() == "READY RELOADING READY RELOADING READY" end,
      "READY again: " .. order())
    s.process:kill("TERM")
    wait_told("\nSTOPPING=1\n")
    s:stop()
    assert.equal("READY RELOADING READY RELOADING READY STOPPING", order())
  end)

  it("hears the watchdog at half of its period, and not from a server that is stuck", function()
    local s = start({ env = { WATCHDOG_USEC = "6000000", WATCHDOG_PID = false } })
    finally(function() s:stop() end)
    wait_told("\nWATCHDOG=1\n")
    local first = wait_told("\nWATCHDOG=1\n", #collect()).index -- read as it came
    poll.wait(function() return #collect() >= first + 2 end, "2 more")
    for i = first + 1, first + 2 do
      local gap = told[i].at - told[i - 1].at
      assert.is_true(gap > 0.5 and gap < 6, ("%.3f s between two"):format(gap))
    end
    process.signal(s.process.pid, "STOP")
    collect()
    local count = #told
    assert.is_nil(poll.try(function() return #collect() > count end, 4))
    process.signal(s.process.pid, "CONT")
    poll.wait(function() return #collect() > count end, "it to go on")
  end)

  it("does not hear a watchdog that is another process's", function()
    local s = start({ env = { WATCHDOG_USEC = "100000", WATCHDOG_PID = "1" } })
    finally(function() s:stop() end)
    wait_told("\nREADY=1\n")
    assert.is_nil(poll.try(function() return order():find("WATCHDOG") end, 0.5))
  end)

  it("hears it while a script is being loaded", function()
    local s = start({ env = { WATCHDOG_USEC = "3000000", WATCHDOG_PID = false } })
    finally(function() s:stop() end)
    wait_told("\nREADY=1\n")
    local from = s:mark()
    s:rewrite("local t = os.time() while os.time() < t + 5 do end " .. route(""))
    s.process:kill("HUP")
    poll.wait(function()
      collect()
      return s:errors():find("generation 2 serves", from, true)
    end, "the reload", 20)
    for i = 2, #told do
      local gap = told[i].at - told[i - 1].at
      assert.is_true(gap < 3, ("%.3f s without a word"):format(gap))
    end
  end)

  it("that does not listen to what it is told keeps nobody waiting", function()
    local s = start()
    finally(function() s:stop() end)
    local room = tonumber(process.read_file("/proc/sys/net/unix/max_dgram_qlen"))
    -- Two for each reload: more than the socket takes.
    for i = 1, math.min(room, 600) / 2 + 2 do
      assert.equal(1 + i, s:reload(route("", "w" .. i)))
    end
  end)

  it("learns the pid of a successor", function()
    process.inherit(true)
    local s = start()
    finally(function() s:stop() process.inherit(false) end)
    local old = s.process
    old:kill("USR2")
    local line = s:wait_log("pid %d+ serves in our place")
    local pid = tonumber(line:match("pid (%d+)"))
    s.process = process.adopt(pid, "moongate")
    wait_told("\nMAINPID=" .. pid .. "\n")
    assert.truthy(old:wait(10))
    -- The end of the old one is not the end of the service.
    local last
    for i, message in ipairs(collect()) do
      if message.text:find("MAINPID=" .. pid, 1, true) then
        last = i
      end
    end
    for i = last + 1, #told do
      assert.is_nil(told[i].text:find("STOPPING", 1, true), "STOPPING after the new MAINPID")
    end
  end)

  it("may be one in the abstract namespace, or none", function()
    local s = server.start({ route = route(""), env = { NOTIFY_SOCKET = "/nowhere/notify" } })
    assert.equal("hello", http.get(s.address, "/").body)
    s:stop()
    s = server.start({ route = route(""), env = { NOTIFY_SOCKET = "@mg-nobody-listens" } })
    assert.equal("hello", http.get(s.address, "/").body)
    s:stop()
  end)
end)
