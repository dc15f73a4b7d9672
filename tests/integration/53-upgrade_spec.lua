-- USR2: another binary takes the place of the one that serves, on the same sockets. Nobody who asks
-- meanwhile notices; if the new one does not come to serve, the old one goes on.

local http = require("tests.support.http")
local load = require("tests.support.load")
local net = require("tests.support.net")
local poll = require("tests.support.poll")
local process = require("tests.support.process")
local rig = require("tests.support.rig")
local server = require("tests.support.server")

-- A server whose binary is a copy that can be replaced, with listeners of both kinds.
local function start(changes)
  local dir = process.tempdir("upgrade")
  local r
  local self = {
    dir = dir, binary = dir .. "/moongate", pid_file = dir .. "/pid",
    tcp = "127.0.0.1:" .. net.free_port(), unix = ("unix:%s/site.sock"):format(dir),
  }
  local function install(path)
    assert(os.execute(("cp %s %s.new && mv %s.new %s"):format(process.quote(path), self.binary,
      self.binary, self.binary)) == 0)
  end
  local options = {
    control = true, dies = true,
    settings = ("listen = { %q, %q }, workers = 2, watch = false"):format(self.tcp, self.unix),
    server = {
      own = true, address = self.tcp, binary = self.binary, args = { "--pid", self.pid_file },
    },
  }
  for key, value in pairs(changes or {}) do
    options[key] = value
  end
  install(server.binary())
  r = rig.start(options)
  self.rig, self.install = r, install
  return self
end

-- Writes a program in the binary's place.
local function install_text(u, text)
  process.write_file(u.dir .. "/program", text)
  process.chmod(u.dir .. "/program", "755")
  u.install(u.dir .. "/program")
end

-- USR2, and the new master is this test's; raises an error if it does not come.
local function upgrade(u, from)
  local s = u.rig.server
  local old = s.process
  from = from or s:mark()
  old:kill("USR2")
  local line = s:wait_log("pid %d+ serves in our place", 20, from)
  local successor = process.adopt(tonumber(line:match("pid (%d+) serves")), "moongate")
  assert.truthy(old:wait(20), "the old master goes on")
  assert.equal("exit status 0", old:ending(), s:errors())
  s.process = successor
  poll.wait(function()
    return #s:workers() >= 1 and process.read_file(u.pid_file) == successor.pid .. "\n"
  end, "its pid file")
  return successor
end

-- An upgrade that comes to nothing.
local function refused(u, timeout)
  local s = u.rig.server
  local from = s:mark()
  s.process:kill("USR2")
  s:wait_log("this one goes on", timeout or 10, from)
  assert.is_true(s.process:alive())
  assert.equal(s.process.pid .. "\n", process.read_file(u.pid_file))
  assert.equal("x", u.rig:get("body=x").body)
  assert.equal("x", http.request(u.unix, { path = rig.target("body=x") }).body)
  assert.equal(s.process.pid, u.rig:status().pid)
  return s:errors():sub(from + 1)
end

server.inspect() -- descriptors are looked at

setup(function() process.inherit(true) end)
teardown(function() process.inherit(false) end)

describe("an upgrade", function()
  it("under load loses no request", function()
    local u = start()
    local r = u.rig
    local run = load.start(u.tcp, {
      timeout = 20,
      { name = "kept", clients = 24, path = rig.target("body=token=@;") },
      { name = "calm", clients = 8, pause = 20, path = rig.target("body=token=@;") },
      { name = "new", clients = 4, close = true, path = rig.target("body=token=@;") },
      { name = "post", clients = 4, method = "POST", body = 20000, path = rig.target("check") },
    })
    finally(function() run:abandon() r:stop() end)
    poll.wait(function() return #r:events("REQUEST") > 1000 end, "1000 requests")
    for _ = 1, 3 do
      upgrade(u)
      local before = #r:events("REQUEST")
      poll.wait(function() return #r:events("REQUEST") > before + 500 end, "500 requests")
    end
    local result = run:stop()
    for _, name in ipairs({ "kept", "calm", "new", "post" }) do
      load.assert_all(result[name])
    end
  end)

  it("lets what is under way finish, and clients that are idle come back", function()
    local u = start()
    local r = u.rig
    finally(function() r:stop() end)
    local slow, local_slow, idle = http.open(u.tcp), http.open(u.unix), http.open(u.tcp)
    assert.equal("x", idle:request({ path = rig.target("body=x") }).body)
    slow:send({ path = rig.target("delay=hold&body=slow") })
    local_slow:send({ path = rig.target("delay=hold&body=local") })
    r:wait_started("delay=hold", 2)
    local from, old = r.server:mark(), r.server.process
    local old_workers = r.server:workers()
    old:kill("USR2")
    local line = r.server:wait_log("pid %d+ serves in our place", 20, from)
    local successor = process.adopt(tonumber(line:match("pid (%d+)")), "moongate")
    -- The new one answers while the old one still works.
    assert.equal("new", http.request(u.tcp, { path = rig.target("body=new") }).body)
    assert.equal("new", http.request(u.unix, { path = rig.target("body=new") }).body)
    assert.equal(successor.pid, r:status().pid)
    assert.is_true(old:alive())
    -- Who is idle may be sending just now: one more is served, and says that it is the last.
    local res = idle:request({ path = rig.target("body=once") })
    assert.equal("once", res.body)
    assert.equal("close", res.headers.connection)
    r:release(2)
    assert.equal("slow", slow:receive("GET").body)
    assert.equal("local", local_slow:receive("GET").body)
    assert.truthy(old:wait(10))
    assert.equal("exit status 0", old:ending())
    for _, pid in ipairs(old_workers) do
      poll.wait(function() return process.gone(pid) end, "the end of an old worker")
    end
    r.server.process = successor
    assert.equal(successor.pid .. "\n", process.read_file(u.pid_file))
    for _, client in ipairs({ slow, local_slow, idle }) do
      client:close()
    end
    -- The unix sockets have outlived the old master, and go with the new one.
    assert.equal("x", http.request(u.unix, { path = rig.target("body=x") }).body)
    r:tell("stop")
    assert.truthy(successor:wait(5))
    assert.is_nil(io.open(u.pid_file))
    assert.is_nil(io.open((u.unix:gsub("^unix:", ""))))
  end)

  it("takes the script, the listeners and the workers as they are by now", function()
    local u = start()
    local r = u.rig
    finally(function() r:stop() end)
    local more = "127.0.0.1:" .. net.free_port()
    local run = load.start(u.tcp, {
      { clients = 8, path = rig.target("body=token=@;") },
      { name = "new", clients = 4, close = true, path = rig.target("body=token=@;") },
    })
    finally(function() run:abandon() r:stop() end)
    local function change(workers, ...)
      r.server:rewrite(r:route({ settings = ("listen = { '%s' }, workers = %d, watch = false,"
        .. "on_response = function(req, res) res.headers.W = %d end"):format(
        table.concat({ ... }, "', '"), workers, workers) }))
      upgrade(u)
      poll.wait(function() return #r.server:workers() == workers end, workers .. " workers")
      assert.equal(tostring(workers), r:get("body=x").headers.w)
    end
    change(3, u.tcp, more)
    assert.equal("x", http.request(more, { path = rig.target("body=x") }).body)
    poll.wait(function() return not net.listening(u.unix) end, "the removed listener's end")
    change(1, u.tcp, u.unix)
    assert.equal("x", http.request(u.unix, { path = rig.target("body=x") }).body)
    poll.wait(function() return not net.listening(more) end, "the other removed listener's end")
    change(2, u.tcp)
    local result = run:stop()
    load.assert_all(result.all)
    load.assert_all(result.new)
  end)

  it("leaves the pipe of the two masters to them", function()
    local u = start()
    finally(function() u.rig:stop() end)
    upgrade(u)
    for _, pid in ipairs(u.rig.server:workers()) do
      for fd, what in pairs(process.descriptors(pid)) do
        assert.is_falsy(fd > 2 and what:match("^pipe:"), fd)
      end
    end
  end)

  it("that is asked for twice happens once", function()
    local u = start()
    local r = u.rig
    finally(function() r:stop() end)
    local from = r.server:mark()
    for _ = 1, 5 do
      r.server.process:kill("USR2")
    end
    upgrade(u, from)
    for _ = 1, 3 do
      assert.equal("x", r:get("body=x").body)
    end
    assert.equal(1, select(2, r.server:errors():sub(from + 1):gsub("serves in our place", "")))
    assert.equal("x", r:get("body=x").body)
  end)

  it("ends with the server that is stopped meanwhile: nobody is left", function()
    local u = start()
    local r, s = u.rig, u.rig.server
    finally(function() r.back:stop() s:stop() end)
    process.write_file(u.dir .. "/wait", "")
    s:rewrite(r:route({ settings = r.options.settings .. ([[, on_start = function()
      while io.open(%q) do collectgarbage() end end]]):format(u.dir .. "/wait") }))
    local from = s:mark()
    s.process:kill("USR2")
    local line = s:wait_log("starting .-%(pid %d+%) to take our place", 5, from)
    local successor = process.adopt(tonumber(line:match("pid (%d+)")), "moongate")
    poll.wait(function() return #process.children(successor.pid) >= 2 end, "its workers")
    s.process:kill("TERM")
    assert.truthy(s.process:wait(10))
    os.remove(u.dir .. "/wait")
    local ended = successor:wait(5)
    successor:stop(5)
    assert.truthy(ended, "the server was stopped, and its successor serves")
    assert.is_false(net.listening(u.tcp))
    assert.is_nil(io.open(u.pid_file))
  end)

  it("can be followed by a reload, a lost worker, a stop", function()
    local u = start()
    local r = u.rig
    finally(function() r:stop() end)
    upgrade(u)
    r.server:reload(r:route({ on_request = "if true then return { status = 204 } end" }))
    assert.equal(204, r:get("body=x").status)
    local killed = r.server:workers()[1]
    process.signal(killed, "KILL")
    poll.wait(function() -- the killed one is in the list until its master has asked how it ended
      local now = r.server:workers()
      return #now == 2 and now[1] ~= killed and now[2] ~= killed
    end, "another worker")
    for _ = 1, 8 do
      assert.equal(204, r:get("body=x").status)
    end
    assert.equal("stopped\n", r:tell("stop"))
    assert.truthy(r.server.process:wait(5))
  end)
end)

describe("an upgrade to what does not serve", function()
  local u

  setup(function() u = start() end)
  teardown(function() u.rig:stop() end)

  after_each(function()
    u.install(server.binary())
    u.rig.server:rewrite(u.rig:route())
  end)

  it("because it is no program is refused", function()
    install_text(u, "no program at all\n")
    assert.truthy(refused(u):find(u.binary, 1, true))
  end)

  it("because it isn't there is refused", function()
    assert(os.remove(u.binary))
    assert.truthy(refused(u):find(u.binary, 1, true))
  end)

  it("because it exits with 1 is refused, under load without a failure", function()
    install_text(u, "#!/bin/sh\nexit 1\n")
    local run = load.start(u.tcp, { { clients = 8, path = rig.target("body=token=@;") } })
    for _ = 1, 3 do
      refused(u)
    end
    load.assert_all(run:stop().all)
  end)

  it("because the route is broken by now is refused, and says so", function()
    u.rig.server:rewrite("return {\n  listen = \n}\n")
    assert.truthy(refused(u):find("route.lua:3:", 1, true))
  end)

  it("because its on_start fails is refused", function()
    u.rig.server:rewrite(u.rig:route({ settings = u.rig.options.settings
      .. ", on_start = function() error('no database') end" }))
    assert.truthy(refused(u):find("no database", 1, true))
  end)

  it("because its pid file can't be written is refused, and leaves our sockets", function()
    local s = u.rig.server
    assert(os.remove(u.pid_file))
    assert.equal(0, os.execute("mkdir " .. u.pid_file))
    local from = s:mark()
    s.process:kill("USR2")
    s:wait_log("this one goes on", 10, from)
    assert.truthy(s:errors():find("pid file " .. u.pid_file, from, true))
    assert.equal(0, os.execute("rmdir " .. u.pid_file))
    process.write_file(u.pid_file, s.process.pid .. "\n")
    assert.equal("x", http.request(u.unix, { path = rig.target("body=x") }).body)
    assert.equal(s.process.pid, u.rig:status().pid)
  end)

  it("because its on_start fails costs no client that comes meanwhile", function()
    local s = u.rig.server
    local from = s:mark()
    s:rewrite(u.rig:route({ settings = (u.rig.options.settings:gsub("workers = 2", "workers = 5"))
      .. ([[, on_start = function()
        local moongate = require("moongate")
        if moongate.worker == 1 then return end
        io.stderr:write("starting\n")
        while not io.open(%q) do moongate.sleep(0.02) end
        error("no database")
      end]]):format(u.dir .. "/go") }))
    local run = load.start(u.tcp, { { clients = 12, close = true,
      path = rig.target("body=token=@;") } })
    finally(function() run:abandon() end)
    s.process:kill("USR2")
    poll.wait(function()
      return select(2, s:errors():sub(from + 1):gsub("starting\n", "")) == 4
    end, "four workers that start")
    local before = #u.rig:events("REQUEST")
    poll.wait(function() return #u.rig:events("REQUEST") > before + 500 end, "500 requests")
    process.write_file(u.dir .. "/go", "")
    s:wait_log("this one goes on", 10, from)
    before = #u.rig:events("REQUEST")
    poll.wait(function() return #u.rig:events("REQUEST") > before + 500 end, "500 more requests")
    load.assert_all(run:stop().all)
  end)

  it("leaves no process, also one that does not end by itself", function()
    for _, text in ipairs({ "exit 1", "eval \"exec $MOONGATE_SUCCESSOR>&-\"; exec sleep 1000" }) do
      install_text(u, "#!/bin/bash\n" .. text .. "\n")
      refused(u)
      assert.equal(2, #process.children(u.rig.server.process.pid), text)
    end
  end)

  it("because it hangs does not keep the old one from anything", function()
    install_text(u, "#!/bin/sh\nexec sleep 1000\n")
    local s = u.rig.server
    local from = s:mark()
    s.process:kill("USR2")
    local line = s:wait_log("starting .-%(pid %d+%) to take our place", 5, from)
    local pid = tonumber(line:match("pid (%d+)"))
    assert.equal("x", u.rig:get("body=x").body)
    s:reload()
    s.process:kill("USR2")
    s:wait_log("no upgrade: one is under way", 5, from)
    process.signal(pid, "TERM")
    s:wait_log("this one goes on", 5, from)
    -- Now a good one.
    u.install(server.binary())
    upgrade(u)
    assert.equal("x", u.rig:get("body=x").body)
  end)
end)
