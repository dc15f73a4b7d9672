-- Hot reload: what a client, a backend and an operator see of it. The new script is loaded beside
-- the old one; it serves in all workers or in none; nothing that is under way is hurt.
-- 50a-watch_spec has `watch`, 50b-reloads_spec many reloads, 50c-slots_spec who accepts from which
-- socket.

local http = require("tests.support.http")
local load = require("tests.support.load")
local net = require("tests.support.net")
local poll = require("tests.support.poll")
local process = require("tests.support.process")
local rig = require("tests.support.rig")
local server = require("tests.support.server")

-- A route that answers a word, with more settings and code in front.
local function route(word, settings, before)
  return ([[
%s
return {
  %s
  on_request = function(req)
    return { status = 200, body = "%s\n", headers = { Listener = req.listener } }
  end,
}
]]):format(before or "", settings or "control = false,", word)
end

-- What connections of their own are answered; many, so that every worker is among them.
local function words(address, count)
  local seen, list = {}, {}
  for _ = 1, count or 12 do
    local word = http.get(address, "/").body:gsub("\n", "")
    if not seen[word] then
      seen[word] = true
      list[#list + 1] = word
    end
  end
  return table.concat(list, " ")
end

describe("a reload", function()
  it("serves the new script in every worker, on connections that were there before", function()
    local s = server.start({ route = route("one"), workers = 2 })
    local clients = {}
    for i = 1, 8 do
      clients[i] = http.open(s.address)
      assert.equal("one\n", clients[i]:request({ path = "/" }).body)
    end
    local pids = table.concat(s:workers(), " ")
    assert.equal(2, s:reload(route("two")))
    for i = 1, 8 do
      assert.equal("two\n", clients[i]:request({ path = "/" }).body)
      clients[i]:close()
    end
    assert.equal("two", words(s.address))
    assert.equal(3, s:reload(route("three")))
    assert.equal("three", words(s.address))
    assert.equal(pids, table.concat(s:workers(), " "))
    s:stop()
  end)

  it("is over when no worker answers with the old script any more: 50 are asked at once", function()
    local s = server.start({ route = route("0"), workers = 2 })
    finally(function() s:stop() end)
    local kept = {}
    for i = 1, 4 do
      kept[i] = http.open(s.address)
      assert.equal("0\n", kept[i]:request({ path = "/" }).body)
    end
    for word = 1, 50 do
      s:reload(route(word))
      for i = 1, 4 do
        kept[i]:send({ path = "/" })
      end
      assert.equal(tostring(word), words(s.address, 4))
      for i = 1, 4 do
        assert.equal(word .. "\n", kept[i]:receive("GET").body)
      end
    end
    for i = 1, 4 do
      kept[i]:close()
    end
  end)

  it("is not over while a worker still runs a hook of the old script", function()
    local dir = process.tempdir("switch")
    process.chmod(dir, "777")
    local function text(word) -- worker 2 loads it, and /block ends, when a file says so
      return ([[
        local DIR = %q
        local function wait(began, file)
          io.open(DIR .. began, "w"):close()
          while not io.open(DIR .. file) do os.execute("sleep 0.02") end
        end
        local number = require("moongate").worker
        if number == 2 and %q ~= "one" then wait("/loads", "/go") end
        return {
          control = false, script_timeout = 60,
          on_request = function(req)
            if req.path == "/block" then wait("/blocks", "/end") end
            return { status = 200, body = number .. %q }
          end,
        }]]):format(dir, word, word)
    end
    local function reached(name)
      poll.wait(function() return process.read_file(dir .. name) end, name)
    end
    local s = server.start({ route = text("one"), workers = 2 })
    finally(function() s:stop() end)
    local first -- a connection of worker 1
    repeat
      first = http.open(s.address)
    until first:request({ path = "/" }).body == "1one"
    local from = s:mark()
    s:rewrite(text("two"))
    s.process:kill("HUP")
    reached("/loads")
    first:send({ path = "/block" })
    reached("/blocks")
    process.write_file(dir .. "/go", "")
    assert.is_nil(poll.try(function() return s:errors():find("serves", from + 1, true) end, 0.5))
    process.write_file(dir .. "/end", "")
    assert.equal("1one", first:receive("GET").body)
    assert.equal(2, (s:wait_reloaded(from)))
    assert.equal("1two", first:request({ path = "/" }).body)
    first:close()
  end)

  it("lets requests in flight finish on the generation that they began with", function()
    local function hooks(word)
      return ([[
        on_response = function(req, res) res.headers["X-Generation"] = %q end,
        on_stop = function() io.stderr:write("the end of %s\n") end]]):format(word, word)
    end
    local r = rig.start({ control = true, settings = hooks("one") })
    finally(function() r:stop() end)
    local slow, stream = http.open(r.address), http.open(r.address)
    slow:send({ path = rig.target("delay=hold&body=slow") })
    stream:send({ path = rig.target("size=1000&pieces=2&piece_delay=hold") })
    r:wait_started("x.php", 2)
    r.server:reload(r:route({ settings = hooks("two") }))
    assert.equal("two", r:get("body=new").headers["x-generation"])
    poll.wait(function() return r:status().generations == 2 end, "two generations")
    assert.is_nil(r.server:errors():find("the end of one", 1, true))
    r:release(2)
    local res = slow:receive("GET")
    assert.equal("slow one", res.body .. " " .. res.headers["x-generation"])
    res = stream:receive("GET")
    assert.equal(1000, #res.body)
    assert.equal("one", res.headers["x-generation"])
    -- The very connection goes on with the new one, and the old one ends.
    res = slow:request({ path = rig.target("body=again") })
    assert.equal("two", res.headers["x-generation"])
    r.server:wait_log("the end of one")
    poll.wait(function()
      return r:status().generations == 1
    end, "the old generation to be gone")
    slow:close()
    stream:close()
  end)

  it("takes an upload with it that was half way", function()
    local r = rig.start()
    finally(function() r:stop() end)
    local body = rig.bytes(300000)
    local conn = net.connect(r.address)
    conn:send(("POST %s HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n"):format(
      rig.target("sum"), #body))
    conn:send(body:sub(1, 150000))
    r.server:reload()
    conn:send(body:sub(150001))
    conn:finish()
    assert.truthy(conn:read_all():find(rig.sum(body), 1, true))
    conn:close()
  end)

  it("while stopping is refused, and costs the stop nothing", function()
    local r = rig.start({ dies = true })
    local slow = http.open(r.address)
    slow:send({ path = rig.target("delay=hold&body=slow") })
    r:wait_started("x.php", 1)
    r.server.process:kill("TERM")
    poll.wait(function() return not net.listening(r.address) end, "the stop to have begun")
    r.server.process:kill("HUP")
    r.server:wait_log("no reload while stopping")
    r:release()
    assert.equal("slow", slow:receive("GET").body)
    slow:close()
    r:stop() -- exits with 0
  end)

  it("that is under way does not keep a stop waiting, and leaves no process", function()
    local s = server.start({ route = route("one") })
    local from = s:mark()
    s:rewrite("io.stderr:write('loading\\n') while true do end")
    s.process:kill("HUP")
    s:wait_log("^loading", nil, from)
    local family = process.children(s.process.pid)
    assert.equal(2, #family, "the worker and the loader")
    local begun = load.run(s.address, { { requests = 200, clients = 4 } })
    load.assert_all(begun.all)
    s:stop(5)
    for _, pid in ipairs(family) do
      poll.wait(function() return process.gone(pid) end, "the end of process " .. pid, 3)
    end
  end)

  it("that says what it can't change is no failure", function()
    local r = rig.start({ control = true })
    finally(function() r:stop() end)
    r.server:rewrite(r:route({ settings = "user = 'nobody'" }))
    local result = r:command("reload")
    assert.equal(0, result.code, result.stderr)
    if process.is_root() then
      assert.truthy((result.stdout .. result.stderr):find("user"), result.stdout .. result.stderr)
    end
    assert.equal(200, r:get("body=x").status)
    r.server:rewrite((r:route({ settings = "limits = { shared = '2M' }" }):gsub("control%.sock",
      "other.sock")))
    result = r:command("reload")
    assert.equal(0, result.code, result.stderr)
    for _, name in ipairs({ "control", "limits.shared" }) do
      assert.truthy((result.stdout .. result.stderr):find("'" .. name .. "' can't be changed", 1,
        true), result.stdout .. result.stderr)
    end
    assert.equal(3, r:status().generation) -- where it was
  end)
end)

-- What a script can do to the pipe over which the loader tells the master of it: `%s` for ever.
local PIPES = [[
local ffi = require("ffi")
ffi.cdef("int close(int); long write(int, const char *, size_t);"
  .. "long readlink(const char *, char *, size_t);")
local room, text = ffi.new("char[64]"), ("x"):rep(65536)
while true do
  for fd = 3, 1000 do
    local n = ffi.C.readlink("/proc/self/fd/" .. fd, room, 64)
    if n > 0 and ffi.string(room, n):find("^pipe:") then %s end
  end
end
]]

-- As a library in C may.
local EXIT = "local ffi = require('ffi') ffi.cdef('void _exit(int);') ffi.C._exit(%d)\n"

-- Scripts that must come to nothing: what the message has to say, and what is special.
local BROKEN = {
  { "has a syntax error", "return {\n  listen = \n}\n", "route.lua:3:" },
  { "dies", "local x = nil\nreturn x.y\n", "route.lua:2:" },
  { "has a wrong setting", route("bad", "control = false,\n  workerz = 3,"), "route.lua:",
    "workerz" },
  { "requires what is not there", "\n\nrequire('no_such')\n", "route.lua:3:", "no_such" },
  { "returns nothing", "local x\n", "route.lua" },
  { "has more to say than anybody reads", "error(('x'):rep(3e6))\n", "route.lua:1: xxx" },
  { "never stops talking to the master", PIPES:format("ffi.C.write(fd, text, #text)"),
    "what the loader says of the script has no end" },
  { "does not talk to the master any more", PIPES:format("ffi.C.close(fd)"), "script" },
  { "ends its process", EXIT:format(0), "the script ended the process that loaded it (status 0)" },
  { "ends its process with a status", EXIT:format(3), "(status 3)" },
  { "ends it as Lua does", "os.exit(3)\n", "os.exit is not for a script" },
  { "kills its process", "require('ffi').cdef('void abort(void);') require('ffi').C.abort()\n",
    "script" },
  { "fails in on_start", route("bad", "control = false,\n  on_start = function()\n"
    .. "    error('no database')\n  end,"), "route.lua:5:", "no database" },
  { "loops for ever in on_start", route("bad", "control = false,\n  on_start = function()\n"
    .. "    while true do ('x'):gsub('x', 'y') end\n  end,"), "route.lua:5:", "script_timeout" },
  { "names a port that is taken", "taken", "%TAKEN%", "in use" },
  { "names a folder for its log that is not there",
    route("bad", "control = false, log = { access = '/nowhere/access.log' },"),
    "no folder /nowhere" },
  { "names a folder as its log", route("bad", "control = false, log = { access = '/tmp' },"),
    "/tmp is a folder" },
}

describe("a new script that", function()
  local r, holder, taken, first

  local function settings(...)
    local text = "control = %q, script_timeout = 2, workers = 2, watch = false, listen = { %s },"
    return text:format(r.control, "'" .. table.concat({ ... }, "', '") .. "'")
  end

  setup(function()
    holder = require("socket").bind("127.0.0.1", 0)
    taken = "127.0.0.1:" .. select(2, holder:getsockname())
    r = { dir = process.tempdir("control"), address = "127.0.0.1:" .. net.free_port() }
    r.control = ("unix:%s/c.sock"):format(r.dir)
    first = settings(r.address)
    r.server = server.start({ own = true, address = r.address, route = route("good", first) })
    r.pids = table.concat(r.server:workers(), " ")
  end)

  teardown(function()
    holder:close()
    r.server:stop()
  end)

  local function command(name, ...)
    return server.command({ name, "--control", r.control, ... })
  end

  for _, case in ipairs(BROKEN) do
    it(case[1] .. " changes nothing, and everybody is told", function()
      local text = case[2]
      if text == "taken" then
        text = route("bad", settings(r.address, taken))
      end
      r.server:rewrite(text)
      local from = r.server:mark()
      local result = command("reload")
      assert.equal(1, result.code, result.stderr)
      local status = command("status").stdout
      local log = r.server:errors():sub(from + 1)
      for i = 3, #case do
        local part = case[i]:gsub("%%TAKEN%%", taken)
        for where, said in pairs({ reload = result.stderr, status = status, log = log }) do
          assert.truthy(said:find(part, 1, true), ("%s does not say %q: %s"):format(where, part,
            said))
        end
      end
      assert.truthy(log:find("the old script goes on", 1, true))
      assert.equal("good", words(r.address))
      assert.equal(r.pids, table.concat(r.server:workers(), " "), "processes")
      r.server:rewrite(route("good", first))
      result = command("reload")
      assert.equal(0, result.code, result.stderr)
      assert.truthy(result.stdout:find("generation %d+ serves"))
    end)
  end

  it("fails in on_start of one worker only changes nothing in the others", function()
    process.chmod(r.dir, "777")
    process.write_file(r.dir .. "/lock", "")
    process.chmod(r.dir .. "/lock", "666")
    r.server:rewrite(route("bad", first .. ([[
      on_start = function()
        if os.rename(%q, %q) then error("only in one") end
      end,]]):format(r.dir .. "/lock", r.dir .. "/gone")))
    local result = command("reload")
    assert.equal(1, result.code)
    assert.truthy(result.stderr:find("only in one", 1, true), result.stderr)
    assert.equal("good", words(r.address, 20))
    result = command("reload") -- the lock is gone
    assert.equal(0, result.code, result.stderr)
    assert.equal("bad", words(r.address, 20))
  end)

  it("kills a worker in on_start costs that worker only", function()
    process.write_file(r.dir .. "/kill", "")
    process.chmod(r.dir .. "/kill", "666")
    assert.equal(0, (function()
      r.server:rewrite(route("good", first))
      return command("reload").code
    end)())
    r.server:rewrite(route("bad", first .. ([[
      on_start = function()
        if os.rename(%q, %q) then os.exit(1) end
      end,]]):format(r.dir .. "/kill", r.dir .. "/killed")))
    local result = command("reload")
    assert.equal(1, result.code, result.stdout .. result.stderr)
    r.server:rewrite(route("good", first))
    poll.wait(function()
      return #r.server:workers() == 2 and command("reload").code == 0
    end, "two workers that can reload", 20)
    assert.equal("good", words(r.address, 20))
    r.pids = table.concat(r.server:workers(), " ")
  end)

  it("is broken is not what a worker gets that takes another's place", function()
    r.server:reload_fails("return {")
    local old = r.server:workers()
    process.signal(old[1], "KILL")
    poll.wait(function() return process.gone(old[1]) end, "the worker's end")
    local back = poll.try(function()
      local now = r.server:workers()
      local text = #now == 2 and command("status", "--json").stdout or ""
      return select(2, text:gsub('"ready": true', "")) == 2
    end, poll.PATIENCE)
    local log = r.server:errors()
    r.server:reload(route("good", first))
    r.pids = table.concat(r.server:workers(), " ")
    assert.truthy(back, "no worker took its place: " .. log:sub(-300))
  end)

  it("is written after a reload is not what a worker gets that takes another's place", function()
    r.server:reload(route("second", first))
    r.server:rewrite(route("third", first))
    for _, old in ipairs(r.server:workers()) do
      process.signal(old, "KILL")
      poll.wait(function() return process.gone(old) end, "the worker's end")
    end
    poll.wait(function()
      return select(2, command("status", "--json").stdout:gsub('"ready": true', "")) == 2
    end, "the next workers", 10)
    local seen = words(r.address, 20)
    r.server:reload(route("good", first))
    r.pids = table.concat(r.server:workers(), " ")
    assert.equal("second", seen)
  end)

  it("one worker refuses serves in none, however late that one is", function()
    for refusing = 1, 2 do
      local text = ([[on_start = function()
        local moongate = require("moongate")
        if moongate.worker == %d then
          moongate.sleep(0.2)
          error("no database")
        end
      end,]]):format(refusing)
      local message = r.server:reload_fails(route("new", first .. text))
      assert.truthy(message:find("no database", 1, true), message)
      assert.equal("good", words(r.address, 20))
      assert.equal(r.pids, table.concat(r.server:workers(), " "))
    end
    r.server:rewrite(route("good", first))
  end)
end)

describe("listeners", function()
  local dir, ports

  before_each(function()
    dir = process.tempdir("listen")
    ports = { "127.0.0.1:" .. net.free_port(), "127.0.0.1:" .. net.free_port() }
  end)

  local function listening(...)
    local list = {}
    for i, address in ipairs({ ... }) do
      list[i] = ("%q"):format(address)
    end
    return ("control = false, workers = 2, watch = false, listen = { %s },"):format(
      table.concat(list, ", "))
  end

  -- The workers close theirs a moment after the master has said that they shall.
  local function wait_closed(address)
    poll.wait(function() return not net.listening(address) end, address .. " to be closed")
    assert.is_nil(net.try_connect(address))
  end

  it("that are added are opened, those that are removed are closed", function()
    local path = "unix:" .. dir .. "/two.sock"
    local s = server.start({ own = true, address = ports[1],
      route = route("one", listening(ports[1])) })
    finally(function() s:stop() end)
    local kept = http.open(ports[1])
    assert.equal("one\n", kept:request({ path = "/" }).body)
    s:reload(route("two", listening(ports[1], ports[2], path)))
    for _, address in ipairs({ ports[1], ports[2], path }) do
      assert.equal("two", words(address, 8))
    end
    local client = http.open(ports[2])
    assert.equal(ports[2], client:request({ path = "/" }).headers.listener)
    s:reload(route("three", listening(ports[1])))
    wait_closed(ports[2])
    wait_closed(path)
    assert.is_nil(io.open(dir .. "/two.sock"))
    -- Who had come in through it is served on.
    assert.equal("three\n", client:request({ path = "/" }).body)
    assert.equal("three\n", kept:request({ path = "/" }).body)
    client:close()
    kept:close()
    -- The port is really free, and can be had again.
    local taken = assert(require("socket").bind("127.0.0.1", tonumber(ports[2]:match("%d+$"))))
    assert.truthy(s:reload_fails(route("four", listening(ports[1], ports[2]))):find(ports[2], 1,
      true))
    assert.equal("three", words(ports[1]))
    taken:close()
    s:reload(route("five", listening(ports[1], ports[2])))
    assert.equal("five", words(ports[2]))
  end)

  it("that are removed serve the queue that they have", function()
    local s = server.start({ own = true, address = ports[1],
      route = route("one", listening(ports[1], ports[2])) })
    finally(function() s:stop() end)
    for _, pid in ipairs(s:workers()) do
      process.signal(pid, "STOP")
    end
    local queued = {}
    for i = 1, 20 do
      queued[i] = http.open(ports[2])
      queued[i]:send({ path = "/" })
    end
    local from = s:mark()
    s:rewrite(route("two", listening(ports[1])))
    s.process:kill("HUP")
    -- The workers find the new generation and the queue in one look.
    poll.wait(function() return #process.children(s.process.pid) == 2 end, "the loader's end")
    for _, pid in ipairs(s:workers()) do
      process.signal(pid, "CONT")
    end
    local served = 0
    for i = 1, 20 do
      served = served + (pcall(queued[i].receive, queued[i], "GET") and 1 or 0)
      queued[i]:close()
    end
    s:wait_reloaded(from)
    assert.equal(20, served, ("%d of 20 queued requests were served"):format(served))
    wait_closed(ports[2])
  end)

  it("get another name", function()
    local function named(name)
      return ("control = false, workers = 1, watch = false,\n"
        .. "listen = { { address = %q, name = %q } },"):format(ports[1], name)
    end
    local s = server.start({ own = true, address = ports[1], route = route("x", named("a")) })
    finally(function() s:stop() end)
    assert.equal("a", http.get(ports[1], "/").headers.listener)
    s:reload(route("x", named("b")))
    assert.equal("b", http.get(ports[1], "/").headers.listener)
  end)
end)

describe("the number of workers", function()
  it("goes from 1 to 4 to 1 under load", function()
    local address = "127.0.0.1:" .. net.free_port()
    local function text(count)
      return route("x", ("control = false, watch = false, listen = %q, workers = %d,"):format(
        address, count))
    end
    local s = server.start({ own = true, address = address, route = text(1) })
    finally(function() s:stop() end)
    local run = load.start(address, {
      { name = "kept", clients = 12 }, { name = "new", clients = 4, close = true },
    })
    finally(function() run:abandon() s:stop() end)
    for _, count in ipairs({ 4, 1, 3, 2, 1 }) do
      s:reload(text(count))
      poll.wait(function() return #s:workers() == count end, count .. " workers")
      assert.equal("x", words(address, 20))
    end
    local result = run:stop()
    for _, name in ipairs({ "kept", "new" }) do
      load.assert_all(result[name])
      assert.is_true(result[name].requests > 100, result[name].text)
    end
  end)
end)

describe("backends", function()
  it("are added, removed and changed", function()
    local r = rig.start({
      control = true, responder = { count = 3 },
      servers = function(list) return ("%q"):format(list[1]) end,
    })
    finally(function() r:stop() end)
    local function only(i)
      return function(list) return ("%q"):format(list[i]) end
    end
    local function who()
      return r:get("who&body=x").headers["x-listener"]
    end
    assert.equal("1", who())
    r.server:reload(r:route({ servers = only(2) }))
    assert.equal("2", who())
    -- Another backend, chosen by the request.
    r.server:reload(r:route({
      backends = function(list) return ("other = %q,"):format(list[3]) end,
      on_request = [[if req.args.other then return { backend = "other", docroot = "/" } end]],
    }))
    assert.equal("1", who())
    assert.equal("3", r:get("who&other=1&body=x").headers["x-listener"])
    assert.equal(2, #r:status().backends)
    r.server:reload(r:route())
    poll.wait(function() return #r:status().backends == 1 end, "the removed backend to be gone")
    assert.equal("1", who())
  end)

  it("that are changed still serve the requests that began before", function()
    local r = rig.start({
      responder = { count = 2 }, backend = "max_conns = 1, queue_timeout = '60s'",
      on_request = "if req.path == '/none' then return nil end",
      servers = function(list) return ("%q"):format(list[1]) end,
    })
    finally(function() r:stop() end)
    local body = rig.bytes(100000)
    local active, waiting, upload = http.open(r.address), http.open(r.address),
      net.connect(r.address)
    active:send({ path = rig.target("delay=hold&who&body=active") })
    r:wait_started("body=active", 1)
    waiting:send({ path = rig.target("who&body=waiting") })
    upload:send(("POST %s HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n"):format(
      rig.target("who&sum"), #body) .. "Connection: close\r\n\r\n")
    upload:send(body:sub(1, 50000))
    -- All three are with the worker when it has answered a fourth that came behind them.
    assert.equal(404, http.get(r.address, "/none").status)
    r.server:reload(r:route({ servers = function(list) return ("%q"):format(list[2]) end }))
    assert.equal("2", r:get("who&body=new").headers["x-listener"])
    upload:send(body:sub(50001))
    r:release()
    local said = {}
    for i, client in ipairs({ active, waiting }) do
      local res = client:receive("GET")
      said[i] = ("%d %s %s"):format(res.status, tostring(res.headers["x-listener"]), res.body)
      client:close()
    end
    local bytes = upload:read_all()
    upload:close()
    assert.equal("200 1 active", said[1])
    assert.equal("200 1 waiting", said[2])
    assert.truthy(bytes:find(rig.sum(body), 1, true), "the upload was answered " .. bytes)
    assert.truthy(bytes:find("X-Listener: 1", 1, true), bytes)
  end)

  it("that are new are not for those who wait since before", function()
    local r = rig.start({
      backend = "max_conns = 2, queue = 100", responder = { count = 4 }, control = true,
      servers = function(list) return ("%q"):format(list[1]) end,
    })
    local run = load.start(r.address, {
      { clients = 20, requests = 20, path = rig.target("delay=150&who&body=x") },
    })
    finally(function() run:abandon() r:stop() end)
    r:wait_started("body=x", 4) -- the first ones have been answered, the others wait
    r.server:reload(r:route({
      backend = "max_conns = 2, queue = 100",
      servers = function(list) return ("%q, %q, %q"):format(list[2], list[3], list[4]) end,
    }))
    load.assert_all(run:finish().all, 200)
    assert.equal(200, r:get("who").status)
    assert.is_nil(r.server:errors():find("the queue is full", 1, true))
  end)

  it("keep their limits while a reload is prepared that is refused then", function()
    local limits, dir = "max_conns = 8, queue = 100", process.tempdir("go")
    local r = rig.start({ backend = limits, control = true })
    finally(function() r:stop() end)
    r.server:rewrite(r:route({
      backend = "max_conns = 1, queue = 0",
      before = ("local m, GO = require('moongate'), %q"):format(dir .. "/go"),
      settings = [[on_start = function()
        m.log("info", "it is being prepared")
        while not io.open(GO) do m.sleep(0.02) end
        error("refused")
      end]],
    }))
    r.server.process:kill("HUP")
    r.server:wait_log("it is being prepared")
    local result = load.run(r.address, {
      { clients = 8, requests = 24, path = rig.target("delay=50&body=x") },
    })
    load.assert_all(result.all, 200)
    process.write_file(dir .. "/go", "")
    r.server:wait_log("the reload failed")
    result = load.run(r.address, {
      { clients = 8, requests = 24, path = rig.target("delay=50&body=x") },
    })
    load.assert_all(result.all, 200)
  end)

  it("get more and fewer places under load", function()
    local function limited(places)
      return { backend = ("max_conns = %d, keepalive = %d"):format(places, places) }
    end
    local r = rig.start({ backend = "max_conns = 2, keepalive = 2", workers = 2, control = true })
    local run = load.start(r.address, { { clients = 24, path = rig.target("delay=3&body=x") } })
    finally(function() run:abandon() r:stop() end)
    local function most_since(count)
      local events, most = r:events("OPEN"), 0
      for i = count + 1, #events do
        most = math.max(most, tonumber(events[i].open))
      end
      return most
    end
    poll.wait(function() return r:open_connections() == 2 end, "2 connections")
    assert.equal(2, most_since(0))
    r.server:reload(r:route(limited(4)))
    poll.wait(function() return r:open_connections() == 4 end, "4 connections")
    assert.equal(4, most_since(0))
    r.server:reload(r:route(limited(2)))
    poll.wait(function() return r:open_connections() == 2 end, "2 connections again")
    local function wait_requests(count)
      local before = r:status().backends[1].servers[1].requests
      poll.wait(function()
        return r:status().backends[1].servers[1].requests > before + count
      end, count .. " requests more")
    end
    wait_requests(100) -- by now the responder has accepted what was opened before the reload
    local opened = #r:events("OPEN")
    wait_requests(500)
    assert.is_true(most_since(opened) <= 2, "more than 2 connections at a time")
    assert.is_true(r:open_connections() <= 2)
    local result = run:stop()
    load.assert_all(result.all)
  end)

  it("whose definition is the same keep connections, health and counters", function()
    local dead = "127.0.0.1:" .. net.free_port()
    local r = rig.start({
      control = true, workers = 2,
      backend = "keepalive = 4, keepalive_idle = '60s', max_fails = 1, fail_timeout = '60s'",
      servers = function(list) return ("%q, %q"):format(dead, list[1]) end,
    })
    finally(function() r:stop() end)
    local function one(status, address)
      for _, entry in ipairs(status.backends[1].servers) do
        if entry.address == address then
          return entry
        end
      end
    end
    local client = http.open(r.address) -- all of it in one worker
    local function get()
      assert.equal(200, client:request({ path = rig.target("body=x") }).status)
    end
    for _ = 1, 4 do
      get()
    end
    local before = r:status()
    assert.is_false(one(before, dead).up)
    assert.equal(1, #r:events("OPEN"))
    for i = 1, 5 do
      r.server:reload(r:route({ settings = ("stop_timeout = %d"):format(20 + i) }))
      get()
    end
    local after = r:status()
    client:close()
    assert.equal(1, #r:events("OPEN"), "connections that were opened over 5 reloads")
    assert.equal(0, #r:events("CLOSE"))
    assert.is_false(one(after, dead).up)
    assert.equal(one(before, dead).requests, one(after, dead).requests, "requests to the dead one")
    local address = r.back.address
    assert.equal(one(before, address).requests + 5, one(after, address).requests)
  end)

  it("that are held stay held, and lose no request", function()
    local r = rig.start({ control = true, workers = 2 })
    finally(function() r:stop() end)
    r:tell("hold", "app")
    local early = http.open(r.address)
    early:send({ path = rig.target("body=early") })
    poll.wait(function() return r:status().backends[1].queued == 1 end, "a request that waits")
    r.server:reload()
    assert.is_true(r:status().backends[1].held)
    local late = http.open(r.address)
    late:send({ path = rig.target("body=late") })
    poll.wait(function() return r:status().backends[1].queued == 2 end, "two that wait")
    assert.equal(0, #r:events("START"))
    r:tell("resume", "app")
    assert.equal("early", early:receive("GET").body)
    assert.equal("late", late:receive("GET").body)
    early:close()
    late:close()
  end)

  it("whose server is drained keep that", function()
    local r = rig.start({ control = true, responder = { count = 2 } })
    finally(function() r:stop() end)
    r:tell("drain", "app", r.back.addresses[1])
    r.server:reload()
    for _ = 1, 6 do
      assert.equal("2", r:get("who&body=x").headers["x-listener"])
    end
    r:tell("undrain", "app", r.back.addresses[1])
    for _ = 1, 6 do
      r:get("body=x")
    end
    assert.truthy(r:shares()[1], "the server that was taken back has had no request")
  end)
end)

describe("logs", function()
  local dir

  before_each(function()
    dir = process.tempdir("logs")
    process.chmod(dir, "777") -- logs are opened as the workers' user
  end)

  local function logging(name)
    return ("control = false, log = { access = '%s/%s.access', error = '%s/%s.error' },"):format(
      dir, name, dir, name)
  end

  local function lines(name)
    local text = process.read_file(dir .. "/" .. name) or ""
    return select(2, text:gsub("\n", ""))
  end

  it("move to other files with a reload, and no line is lost", function()
    local s = server.start({ route = route("x", logging("a")), workers = 2 })
    finally(function() s:stop() end)
    s.stderr_path = dir .. "/a.error"
    local run = load.run(s.address, { { clients = 4, requests = 200 } })
    load.assert_all(run.all)
    s:rewrite(route("x", logging("b")))
    s.process:kill("HUP")
    poll.wait(function()
      return (process.read_file(dir .. "/b.error") or ""):find("generation 2 serves", 1, true)
    end, "generation 2 in the new error log")
    load.assert_all(load.run(s.address, { { clients = 4, requests = 300 } }).all)
    poll.wait(function() return lines("b.access") == 300 end, "300 lines in the new access log")
    assert.equal(200, lines("a.access"))
    s.stderr_path = dir .. "/b.error"
  end)

  it("are opened again on USR1 under load, and no line is lost", function()
    local s = server.start({ route = route("x", logging("a")), workers = 2 })
    s.stderr_path = dir .. "/a.error"
    local run = load.start(s.address, { { clients = 4 } })
    finally(function() run:abandon() s:stop() end)
    for i = 1, 5 do
      poll.wait(function() return lines("a.access") > 50 end, "lines in the log")
      assert(os.rename(dir .. "/a.access", ("%s/%d.access"):format(dir, i)))
      s.process:kill("USR1")
      poll.wait(function() return io.open(dir .. "/a.access") end, "another file")
    end
    local result = run:stop()
    load.assert_all(result.all)
    local function total()
      local sum = lines("a.access")
      for i = 1, 5 do
        sum = sum + lines(i .. ".access")
      end
      return sum
    end
    poll.try(function() return total() == result.all.requests end, poll.PATIENCE)
    assert.equal(result.all.requests, total(), "lines in all logs")
  end)

  it("are opened again on USR1 while a reload prepares, for the new script too", function()
    local function waiting(word)
      return route(word, ([[control = false, log = { access = %q },
        on_start = function()
          io.stderr:write("preparing %s\n")
          while io.open(%q) do require("moongate").sleep(0.02) end
        end,]]):format(dir .. "/a.access", word, dir .. "/wait"))
    end
    local s = server.start({ route = waiting("old"), workers = 1 })
    finally(function() s:stop() end)
    process.write_file(dir .. "/wait", "")
    local from = s:mark()
    s:rewrite(waiting("new"))
    s.process:kill("HUP")
    s:wait_log("^preparing new", nil, from)
    assert(os.rename(dir .. "/a.access", dir .. "/1.access"))
    s.process:kill("USR1")
    s:wait_log("the logs are open again", nil, from)
    assert(os.remove(dir .. "/wait"))
    assert.equal(2, (s:wait_reloaded(from)))
    assert.equal("new\n", http.get(s.address, "/").body)
    poll.wait(function() return lines("a.access") + lines("1.access") == 1 end, "the line")
    assert.equal(1, lines("a.access"))
  end)
end)
