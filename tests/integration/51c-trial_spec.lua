-- What a script can do to the processes that load it, and to a loop outside of its hooks: it names
-- its line, and whoever serves goes on.

local http = require("tests.support.http")
local json = require("moongate.base.json")
local load = require("tests.support.load")
local net = require("tests.support.net")
local poll = require("tests.support.poll")
local process = require("tests.support.process")
local server = require("tests.support.server")
local socket = require("socket")
local stage = require("tests.support.stage")

server.inspect()

local TIMEOUT = 1.5
local HELLO = ([[return {
  control = false, stop_timeout = 10, script_timeout = %g,
  on_request = function() return { status = 200, body = "hello" } end,
}]]):format(TIMEOUT)

-- Ends the process as a library in C may: os.exit is not for scripts.
local EXIT = 'local ffi = require("ffi") ffi.cdef("void _exit(int);") ffi.C._exit(%d) '

-- HELLO with an on_start.
local function starting(text)
  local hook = ("on_start = function()\n%s\nend,\n  on_request"):format(text)
  return (HELLO:gsub("on_request", hook, 1))
end

-- Scripts that must not come to serve: what they do, and what is said of it.
local BAD = {
  { "loops compiled in on_start", starting("while true do end"),
    "on_start %(.-route%.lua:%d%): .-route%.lua:%d+: script_timeout" },
  { "catches its end in on_start", starting("while true do pcall(error) end"),
    "route%.lua:%d+: script_timeout" },
  { "blocks in on_start", starting("os.execute('sleep 2.2')"),
    "route%.lua:%d+%)?: script_timeout" },
  { "blocks for long in on_start", starting("os.execute('sleep 30')"),
    "on_start %(.-route%.lua:%d%): script_timeout.-os%.execute" },
  { "exits in on_start", starting(EXIT:format(3)), "status 3" },
  { "crashes in on_start", starting("require('ffi').cast('int *', 0)[0] = 1"), "signal 11" },
  { "raises in on_start", starting("error('no database')"), "route%.lua:4: no database" },
  { "exits at its top", EXIT:format(4) .. HELLO, "status 4" },
  { "crashes at its top", "require('ffi').cast('int *', 0)[0] = 1 " .. HELLO, "signal 11" },
}

describe("a reload to a script that", function()
  local s

  setup(function() s = server.start({ workers = 2, route = HELLO }) end)
  teardown(function() s:stop() end)

  for _, case in ipairs(BAD) do
    local what, text, pattern = unpack(case)
    it(what .. " costs no worker that serves, and is told", function()
      local workers = table.concat(s:workers(), " ")
      local run = load.start(s.address, { { clients = 8, path = "/", pause = 2 } })
      finally(function() run:abandon() end)
      poll.wait(function()
        local clients = 0
        for _, pid in ipairs(s:workers()) do
          clients = clients + net.connections(pid, s.address)
        end
        return clients >= 8
      end, "the clients")
      local said = s:reload_fails(text)
      local result = run:stop().all
      assert.truthy(said:find(pattern), said)
      load.assert_all(result)
      assert.is_true(result.max < TIMEOUT * 0.9, "workers were blocked: " .. result.text)
      assert.equal(workers, table.concat(s:workers(), " "))
    end)
  end

  it("loops compiled at its top is told the line after 10 s, and costs nothing", function()
    local workers, begun = table.concat(s:workers(), " "), socket.gettime()
    local said = s:reload_fails("\nwhile true do end " .. HELLO)
    assert.truthy(said:find("route.lua:2: the script has not come to the end of its loading", 1,
      true), said)
    assert.is_true(socket.gettime() - begun < 30)
    assert.equal(workers, table.concat(s:workers(), " "))
  end)

  it("waits in on_start may do so, in the trial as in the workers", function()
    local dir = process.tempdir("trial")
    process.chmod(dir, "777")
    s:reload(starting(([[
      local moongate = require("moongate")
      for _ = 1, 4 do moongate.sleep(0.2) end
      local file = io.open(%q, "a")
      file:write(moongate.worker, "\n")
      file:close()]]):format(dir .. "/started")))
    local seen = {}
    for number in process.read_file(dir .. "/started"):gmatch("%d+") do
      seen[#seen + 1] = number
    end
    table.sort(seen)
    assert.equal("1 1 2", table.concat(seen, " ")) -- the trial is a worker 1
  end)

  it("takes long to load keeps half of the workers serving", function()
    local from = s:mark()
    local clients = {}
    for i = 1, 16 do -- some for each worker
      clients[i] = http.open(s.address)
      assert.equal("hello", clients[i]:request({ path = "/" }).body)
    end
    finally(function() for _, client in ipairs(clients) do client:close() end end)
    s:rewrite("os.execute('sleep 3') " .. HELLO)
    s.process:kill("HUP")
    local blocked, sockets = 0, {} -- looks at which no worker answered
    for i, client in ipairs(clients) do
      sockets[i] = client.conn.sock
    end
    repeat
      for _, client in ipairs(clients) do
        client:send({ path = "/" })
      end
      blocked = blocked + (#socket.select(sockets, nil, 2) == 0 and 1 or 0)
      for _, client in ipairs(clients) do
        client:receive("GET")
      end
      local done = s:errors():find("generation %d+ serves", from)
    until done
    assert.equal(0, blocked)
  end)
end)

describe("a first start", function()
  local function refused(text)
    local path = stage.files({ ["route.lua"] = text }) .. "/route.lua"
    return server.command({ "run", path, "--listen", "127.0.0.1:" .. net.free_port(),
      "--workers", "2" }, { timeout = 20 })
  end

  for _, case in ipairs({
    { "a script that loops at its top", "\nwhile true do end", "route.lua:2: the script has not" },
    { "an on_start that loops compiled", starting("while true do end"), "on_start (" },
    { "an on_start that exits", starting(EXIT:format(5)), "status 5" },
  }) do
    it("with " .. case[1] .. " ends, and says why", function()
      local result = refused(case[2])
      assert.equal(1, result.code, result.stderr)
      assert.truthy(result.stderr:find(case[3], 1, true), result.stderr)
    end)
  end
end)

describe("a command that looks at a script", function()
  local HOOK = [[return { script_timeout = 1.5, on_request = function(req)
    if req.path == "/caught" then while true do pcall(error) end end
    if req.path == "/blocked" then os.execute("sleep 30") end
    while true do end
  end }]]

  local function run(text, command, path)
    local dir = stage.files({ ["route.lua"] = text })
    return server.command({ command, dir .. "/route.lua", path })
  end

  it("has a bound for its loading", function()
    local result = run("\n\nwhile true do end", "check")
    assert.equal(1, result.code)
    assert.truthy(result.stderr:find("route.lua:3: the script has not come to the end", 1, true),
      result.stderr)
  end)

  for path, pattern in pairs({
    ["/loop"] = "route%.lua:4: script_timeout", ["/caught"] = "route%.lua:2: script_timeout",
    ["/blocked"] = "route%.lua:3: a hook %(.-route%.lua:1%): script_timeout",
  }) do
    it("has one for its hooks: " .. path, function()
      local result = run(HOOK, "explain", path)
      assert.equal(1, result.code, result.stderr)
      assert.truthy(result.stderr:find(pattern), result.stderr)
    end)
  end
end)

describe("a command", function()
  it("has a bound for the finalizers of a script", function()
    local dir = stage.files({ ["route.lua"] = "local proxy = newproxy(true)\n"
      .. "getmetatable(proxy).__gc = function() while true do end end\n"
      .. "return { on_request = function() return { status = 204 } end }" })
    local result = server.command({ "check", dir .. "/route.lua" }, { timeout = 20 })
    assert.equal(1, result.code)
    assert.truthy(result.stderr:find(dir .. "/route.lua:2: finalizers", 1, true), result.stderr)
  end)
end)

describe("a worker whose loop makes no turn", function()
  -- The pid that answers is another one.
  local function replaced(s, victim)
    poll.wait(function() return process.gone(victim) end, "its end", 8 * TIMEOUT + 3)
    poll.wait(function() return #s:workers() == 2 end, "another worker", 5)
    for _ = 1, 8 do
      assert.equal("hello", http.get(s.address, "/").body)
    end
  end

  it("since a signal has stopped it, is noticed and replaced", function()
    local s = server.start({ workers = 2, route = HELLO })
    finally(function() s:stop() end)
    local victim = s:workers()[1]
    process.signal(victim, "STOP") -- it slept
    local line = s:wait_log("worker " .. victim .. " serves nobody", 2 * TIMEOUT + 3)
    assert.truthy(line:find("a signal has stopped it", 1, true), line)
    replaced(s, victim)
  end)

  it("is left alone where it sleeps because nobody asks, or has been continued", function()
    local s = server.start({ workers = 2, route = HELLO })
    finally(function() s:stop() end)
    local workers = table.concat(s:workers(), " ")
    process.signal(s:workers()[1], "STOP")
    process.signal(s:workers()[1], "CONT")
    assert.is_falsy(poll.try(function()
      return table.concat(s:workers(), " ") ~= workers
    end, 6 * TIMEOUT))
    assert.is_nil(s:errors():find("serves nobody", 1, true))
  end)

  it("is not to blame where all were stopped, the master too", function()
    local s = server.start({ workers = 2, route = HELLO })
    finally(function() s:stop() end)
    local workers = s:workers()
    local all = { s.process.pid, unpack(workers) }
    for _, pid in ipairs(all) do
      process.signal(pid, "STOP")
    end
    poll.try(function() return false end, 5 * TIMEOUT)
    for i = #all, 1, -1 do
      process.signal(all[i], "CONT")
    end
    assert.equal("hello", http.get(s.address, "/").body)
    assert.equal(table.concat(workers, " "), table.concat(s:workers(), " "))
  end)
end)

describe("what the log says of a worker that a script has ended", function()
  for path, how in pairs({
    ["/crash?x=1"] = { "was killed by signal 11", [[require("ffi").cast("int *", 0)[0] = 1]] },
    ["/loop?x=1"] = { "its script ran on after script_timeout", "while true do end" },
  }) do
    it("names the hook and the request: " .. path, function()
      if path:find("crash") and server.binary():find("asan", 1, true) then
        return -- the sanitizer takes the signal
      end
      local s = server.start({ workers = 2, route = ([[return {
        control = false, script_timeout = 1.5,
        on_request = function() %s end }]]):format(how[2]) })
      finally(function() s:stop() end)
      local client = http.open(s.address)
      client:send({ path = path, host = "shop.example" })
      local line = s:wait_log("another one takes its place")
      client:close()
      assert.truthy(line:find(how[1], 1, true), line)
      assert.truthy(line:find("in on_request %(.-route%.lua:3%) for GET " ..
        path:gsub("%p", "%%%0") .. ", request %x+, host shop%.example"), line)
    end)
  end
end)

describe("a rule whose handler does not end", function()
  for _, how in ipairs({ "while true do end", "while true do ('x'):gsub('x', 'y') end" }) do
    it("is named beside the hook: " .. how, function()
      local s = server.start({ workers = 2, route = ([[local r = require("moongate.router").new()
        r:path("/shop/*", function() %s end)
        return { control = false, script_timeout = 1.5, on_request = r }]]):format(how) })
      finally(function() s:stop() end)
      local client = http.open(s.address)
      client:send({ path = "/shop/x", host = "shop.example" })
      local line = s:wait_log("script_timeout")
      client:close()
      assert.truthy(line:find("route%.lua:2"), line)
      if how == "while true do end" then
        assert.truthy(line:find("in on_request %(.-%), rule .-route%.lua:2 .-/shop/%*.-, " ..
          "for GET /shop/x, request %x+, host shop%.example"), line)
      end
    end)
  end
end)

describe("the line about a worker that was killed for its script", function()
  it("has method, URI, id, host, hook and rule, however long the URI is", function()
    local s = server.start({ workers = 2, route = [[local r = require("moongate.router").new()
      r:path("/shop/*", function() while true do end end)
      return { control = false, script_timeout = 1.5, on_request = r,
        log = { format = "json" } }]] })
    finally(function() s:stop() end)
    local client = http.open(s.address)
    client:send({ method = "POST", path = "/shop/x?" .. ("long"):rep(1000), body = "a=b",
      host = "shop.example" })
    local line = s:wait_log("its script ran on after script_timeout")
    client:close()
    local parts = {
      line:match("in (%l[%l_]+) %(.-%), rule (.-), for (%u+) (%S+), request (%x+), "
        .. "host ([%w.]+); another one takes its place$"),
    }
    assert.equal(6, #parts, line)
    local hook, rule, method, uri, id, host = unpack(parts)
    assert.same({ "on_request", "POST", "shop.example" }, { hook, method, host })
    assert.matches("route%.lua:2", rule)
    assert.matches("/shop/%*", rule)
    assert.matches("^/shop/x%?longlong[long]*%.%.%.$", uri)
    -- The access log has a line for it, with the same id.
    assert.equal(id, json.decode(s:wait_access('"status":502')).id)
  end)
end)

describe("a page that crashes its worker", function()
  it("asked for twice a second leaves the others served", function()
    local s = server.start({ workers = 2, route = [[return {
      control = false, stop_timeout = 3,
      on_request = function(req)
        if req.path == "/poison" then require("ffi").cast("int *", 0)[0] = 1 end
        return { status = 200, body = "hello" }
      end,
    }]] })
    finally(function() s:stop() end)
    local victims, served, failed = {}, 0, 0
    repeat -- several times where answers take long
      local good, bad = http.ask_beside(s.address, "/", "hello", 6, function()
        victims[#victims + 1] = net.connect(s.address)
        victims[#victims]:send("GET /poison HTTP/1.1\r\nHost: a\r\n\r\n")
      end)
      served, failed = served + good, failed + bad
    until #victims >= 8
    for _, victim in ipairs(victims) do
      victim:close()
    end
    -- A request may lie in the worker that dies, not more.
    local said = ("%d served, %d failed beside %d of the page"):format(served, failed, #victims)
    assert.is_true(failed <= #victims and served > 10 * failed, said)
  end)
end)
