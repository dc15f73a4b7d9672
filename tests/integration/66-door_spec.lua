-- What a script may do in places that nobody thinks of: finalizers that fail, objects as keys,
-- errors of megabytes, recursion that takes the C stack, the process's own settings. Each costs one
-- request at most, and the same worker goes on.

local http = require("tests.support.http")
local poll = require("tests.support.poll")
local process = require("tests.support.process")
local rig = require("tests.support.rig")

local BEFORE = [[
assert(loadstring("return 1LL"))() -- opens ffi by itself, before anything requires it
local moongate = require("moongate")

local function fails(text) return function() error(text) end end
local finalizers = {
  proxy_later = function()
    local meta = getmetatable(newproxy(true))
    meta.__gc = function() end
    meta.__gc = fails("proxy, set twice")
  end,
  proxy_again = function()
    local first = newproxy(true)
    local second = newproxy(first)
    getmetatable(second).__gc = fails("proxy like another")
  end,
  ffi_gc = function()
    local ffi = require("ffi")
    ffi.gc(ffi.new("int[1]"), fails("ffi.gc"))
  end,
  ffi_metatype = function()
    local ffi = require("ffi")
    ffi.metatype(ffi.typeof("struct { int a; }"), { __gc = fails("ffi.metatype") })()
  end,
  file = function()
    local meta = getmetatable(io.stdout)
    local own = meta.__gc
    local file = io.open("/dev/null")
    meta.__gc = fails("of a file")
    file = nil
    collectgarbage()
    collectgarbage()
    meta.__gc = own
  end,
  tostring = function()
    getmetatable(newproxy(true)).__gc = function()
      error(setmetatable({}, { __tostring = function() error("within") end }))
    end
  end,
  debug = function()
    debug.getmetatable(newproxy(true)).__gc = fails("debug.getmetatable")
  end,
}

-- An object that is collected soon; its finalizer calls the function.
local function litter(finalizer)
  local object = newproxy(true)
  getmetatable(object).__gc = finalizer
end

local depth = 0
local how
how = {
  -- each step of the recursion takes a part of the C stack
  wrap = function() depth = depth + 1 return coroutine.wrap(how.wrap)() end,
  resume = function()
    depth = depth + 1
    local ok, err = coroutine.resume(coroutine.create(how.resume))
    if not ok then error(err, 0) end
  end,
  gsub = function() depth = depth + 1 return (("a"):gsub("a", how.gsub)) end,
  gsub_index = function()
    local t = setmetatable({}, { __index = function(t) return (("a"):gsub("a", t)) end })
    return t.a
  end,
  both = function()
    return coroutine.wrap(function() return (("a"):gsub("a", how.both)) end)()
  end,
  sort = function() table.sort({ 1, 2 }, how.sort) return true end,
  -- coroutines within each other, and in each of them what fills its Lua stack
  sort_and_wrap = function()
    depth = depth + 1
    if depth % 1000 == 0 then return coroutine.wrap(how.sort_and_wrap)() end
    table.sort({ 1, 2 }, how.sort_and_wrap)
    return true
  end,
  require = function()
    package.preload.again = function() package.loaded.again = nil return require("again") end
    return require("again")
  end,
  load = function() assert(load(("("):rep(100000))) end,
  pattern = function() return (("a"):rep(100000)):find(("a?"):rep(10000) .. "b") end,
  -- keys and values that are objects, or large
  object_key = function()
    local key = setmetatable({}, { __tostring = function() error("the key's own") end })
    return { status = 200, [key] = 1 }
  end,
  endless_key = function()
    local key = setmetatable({}, { __tostring = function() while true do end end })
    return { status = 200, [key] = 1 }
  end,
  large_key = function() return { status = 200, [("k"):rep(3e6)] = 1 } end,
  large_name = function() return { backend = ("k"):rep(3e6) } end,
  large_global = function() return getfenv(1)[("k"):rep(3e6)] end,
  large_error = function() error(("x"):rep(3e7)) end,
  nested_error = function()
    error(setmetatable({}, { __tostring = function() error(setmetatable({}, {})) end }))
  end,
  inherited = function()
    return setmetatable({ root = "/nowhere" }, { __index = { backend = "app" } })
  end,
  endless_try = function()
    local d = { root = "/nowhere" }
    d.try = { "$path", d }
    return d
  end,
  string_metatable = function()
    local meta = getmetatable("")
    local index = meta.__index
    meta.__index = nil
    moongate.spawn(function() meta.__index = index end)
    return { status = "none" }
  end,
  -- the process's own
  exit = function() os.exit(3) end,
  set_userdata = function() debug.setmetatable(newproxy(), { __gc = error }) end,
  registry = function() debug.getregistry()[1] = nil end,
  stop_collector = function() collectgarbage("stop") end,
}
]]

local ON_REQUEST = [[
  local path = req.path:sub(2)
  if how[path] then
    depth = 0
    return how[path]() or { status = 200 }
  elseif path == "litter" then -- finalizers run where somebody allocates, in a hook or outside
    for i = 1, 100 do litter(function() error("in a finalizer") end) end
    for i = 1, 20 do rubbish = ("x"):rep(50000 + i) .. req.id end
    return { status = 200, headers = { ["X-Text"] = "a text" }, body = tostring({}) }
  elseif path == "collect" or path == "finalizer" then
    if path == "finalizer" then finalizers[req.query]() end
    collectgarbage() -- finds what is garbage
    collectgarbage()
    return { status = 200 }
  elseif path == "sleep" then
    moongate.sleep(0.001)
    return { status = 200, body = req.id }
  elseif path == "app" then
    local answer = moongate.fastcgi("app", {
       SCRIPT_NAME = "/app", SCRIPT_FILENAME = "/srv/app/app", QUERY_STRING = "body=kept",
    })
    return { status = 200, body = answer and answer.body or "" }
  elseif path == "locale" then
    return { status = 200, body = tostring(os.setlocale()) .. " "
      .. tostring(os.setlocale("de_DE.UTF-8")) .. " " .. tostring(os.setlocale("C", "numeric")) }
  elseif path == "hook" then
    local seen = 0
    debug.sethook(function() seen = seen + 1 end, "l")
    hooked = function() return seen end
    return { status = 200 }
  elseif path == "hooked" then
    return { status = 200, body = tostring(hooked()) }
  end
]]

describe("whatever a script does", function()
  local r

  setup(function()
    r = rig.start({
      before = BEFORE .. "\nlocal hooked, rubbish\n",
      on_request = ON_REQUEST,
      backend = "max_fails = 0",
      settings = [[
        script_timeout = 20,
        on_params = function(req, params) params.X = "text " .. req.path end,
        on_response = function(req, res) res.headers["X-Answer"] = "text " .. req.path end,
        on_log = function(req, log) return ("%s %d"):format(log.uri, log.status) end]],
    })
  end)

  teardown(function()
    r:stop() -- the worker is the one that it began with
  end)

  for name, said in pairs({
    wrap = "nested too deeply", resume = "nested too deeply", gsub = "nested too deeply",
    gsub_index = "nested too deeply", both = "nested too deeply", sort = "stack overflow",
    sort_and_wrap = "nested too deeply", require = "nested too deeply",
    load = "too many syntax levels", pattern = "pattern too complex",
    object_key = "unknown key 'a table'", endless_key = "unknown key 'a table'",
    large_key = "unknown key 'k+%.%.%.'", large_name = "there is no backend 'k+",
    large_global = "undeclared global 'k+%.%.%.'", large_error = "route.lua:%d+: x+%.%.%.\n",
    nested_error = "an error whose __tostring has failed", inherited = "its metatable has __index",
    endless_try = "try: more than 10 decisions", string_metatable = "on_request",
    exit = "os%.exit is not for a script", stop_collector = 'collectgarbage: "stop" is not for',
  }) do
    it("is an error in the log and a 500: " .. name, function()
      local mark = r.server:mark()
      assert.equal(500, http.get(r.address, "/" .. name).status)
      r.server:wait_log(said, nil, mark)
      assert.equal(200, r:get("status=200").status)
    end)
  end

  it("does not change the locale of the core", function()
    assert.equal("C nil C", http.get(r.address, "/locale").body)
  end)

  it("sets a hook of the debug library for itself only", function()
    assert.equal(200, http.get(r.address, "/hook").status)
    local lines = http.get(r.address, "/hooked").body
    assert.is_true(tonumber(lines) > 0)
    assert.equal(lines, http.get(r.address, "/hooked").body)
  end)

  it("is not harmed by finalizers that fail, wherever they run", function()
    local mark = r.server:mark()
    local keep = http.open(r.address)
    for i = 1, 1500 do -- enough for compiled code, in which the collector runs, too
      local path = i % 10 == 0 and "/litter" or i % 10 == 5 and "/sleep" or i % 10 == 7 and "/app"
        or "/other?status=200&body=kept"
      assert.equal(200, keep:request({ path = path }).status)
    end
    keep:close()
    assert.equal(200, http.get(r.address, "/collect").status)
    r.server:wait_log("a finalizer %(__gc%): .*in a finalizer", nil, mark)
    local _, lines = r.server:errors():gsub("a finalizer %(__gc%)", "")
    assert.is_true(lines < 10, lines .. " lines") -- the same error is counted
    assert.falsy(r.server:errors():find("ERROR in finalizer", 1, true)) -- of LuaJIT itself
  end)

  it("keeps the error of each kind of finalizer", function()
    for name, said in pairs({
      proxy_later = "proxy, set twice", proxy_again = "proxy like another", ffi_gc = "ffi.gc",
      ffi_metatype = "ffi.metatype", file = "of a file", tostring = "whose __tostring has failed",
      debug = "debug.getmetatable",
    }) do
      local mark = r.server:mark()
      assert.equal(200, http.get(r.address, "/finalizer?" .. name).status, name)
      r.server:wait_log("a finalizer %(__gc%): .*" .. said, nil, mark)
    end
    assert.equal(500, http.get(r.address, "/set_userdata").status)
    assert.equal(500, http.get(r.address, "/registry").status)
  end)
end)

describe("the end of a generation", function()
  -- Finalizers run when its Lua state is closed.
  local function route(finalizer)
    return ([[
      local object = newproxy(true)
      getmetatable(object).__gc = function() %s end
      return {
        script_timeout = 1.5,
        on_request = function() return { status = 200, body = "%s" } end,
      }
    ]]):format(finalizer, finalizer:sub(1, 5))
  end

  it("bears a finalizer that fails", function()
    local server = require("tests.support.server")
    -- Two workers, since a single one is replaced at each reload.
    local s = server.start({ workers = 2, route = route("error('in the end')") })
    finally(function() s:stop() end)
    local before = s:workers()
    s:reload(route("calm = 1"))
    s:wait_log("a finalizer %(__gc%): .*in the end")
    for _ = 1, 20 do
      assert.equal("calm ", http.get(s.address, "/").body)
    end
    assert.same(before, s:workers())
  end)

  it("costs the worker where a finalizer has no end, and says so", function()
    local server = require("tests.support.server")
    local s = server.start({ route = route("while true do end") })
    finally(function() s:stop() end)
    local before = s:workers()[1]
    s:reload(route("calm = 1"))
    s:wait_log("killed by signal 9 %(Killed%).*in a finalizer")
    poll.wait(function()
      local now = s:workers()[1]
      return now and now ~= before and process.gone(before)
    end, "another worker")
    assert.equal("calm ", http.get(s.address, "/").body)
  end)
end)

describe("spawned functions that fail at once", function()
  it("fill no log, and leave the worker time for requests", function()
    local server = require("tests.support.server")
    local s = server.start({ route = [[
      local moongate, count = require("moongate"), 0
      local function again()
        count = count + 1
        moongate.spawn(again)
        error("at once")
      end
      return {
        on_start = function() moongate.spawn(again) end,
        on_request = function() return { status = 200, body = tostring(count) } end,
      }
    ]] })
    finally(function() s:stop() end)
    poll.wait(function()
      return tonumber(http.get(s.address, "/").body) > 10000
    end, "ten thousand runs")
    s:wait_log("moongate.spawn .*at once")
    local _, lines = s:errors():gsub("moongate.spawn %(", "")
    assert.is_true(lines < 10, lines .. " lines")
  end)

  it("are counted, and the last count is said though no more come", function()
    local server = require("tests.support.server")
    local s = server.start({ route = [[
      local moongate = require("moongate")
      return { on_request = function(req)
        local path = req.path
        for i = 1, 5 do moongate.spawn(function() error("of " .. path) end) end
        return { status = 200 }
      end }
    ]] })
    assert.equal(200, http.get(s.address, "/timer").status)
    local COUNT = "4 more lines of this kind were left out in %s seconds: moongate.spawn [^\n]*of /"
    s:wait_log(COUNT:format("1%d") .. "timer", 30)
    assert.equal(200, http.get(s.address, "/end").status)
    s:wait_log("moongate.spawn %(.*of /end")
    s:stop()
    assert.matches(COUNT:format("%d") .. "end", s:errors())
  end)
end)

describe("a function that never lets go", function()
  -- Everybody else is served while it runs, and the worker stays the one that it was.
  local function served(s, path)
    local before = s:workers()[1]
    local busy = http.open(s.address)
    busy:send({ path = path })
    for _ = 1, 20 do
      assert.equal(200, http.get(s.address, "/").status)
    end
    assert.equal(before, s:workers()[1])
    return busy
  end

  local ROUTE = [[
    local moongate = require("moongate")
    local rounds = 0
    local function spin() while true do end end
    require("jit").off(spin) -- compiled code hears of script_timeout only by the worker's end
    local function ask()
      return moongate.fastcgi("dead", { SCRIPT_FILENAME = "/x", SCRIPT_NAME = "/x" })
    end
    return {
      script_timeout = 2,
      backends = { dead = { servers = { "unix:/nowhere/dead.sock" }, max_fails = 0 } },
      on_request = function(req)
        if req.path == "/retry" then
          repeat rounds = rounds + 1 until ask()
        elseif req.path == "/beside" then
          moongate.spawn(function() repeat rounds = rounds + 1 until ask() end)
        elseif req.path == "/spin" then
          spin()
        elseif req.path == "/every" then
          for _ = 1, 20 do
            moongate.every(0.001, function()
              local till = os.clock() + 0.01
              repeat until os.clock() > till
              rounds = rounds + 1
            end)
          end
        end
        return { status = 200, body = tostring(rounds) }
      end,
    }
  ]]

  for path, what in pairs({
    ["/retry"] = "asks a dead server again at once", ["/beside"] = "does so beside the requests",
    ["/every"] = "is called by timers faster than it ends",
  }) do
    it("leaves others their turns where it " .. what, function()
      local s = require("tests.support.server").start({ route = ROUTE })
      finally(function() s:stop() end)
      local busy = served(s, path)
      poll.wait(function()
        return tonumber(http.get(s.address, "/").body) > 50
      end, "fifty rounds")
      local mark = s:mark()
      assert.equal(500, http.get(s.address, "/spin").status) -- script_timeout goes off meanwhile
      s:wait_log("script_timeout: it has run for too long", nil, mark)
      busy:close()
    end)
  end
end)

describe("what would wait where nothing can", function()
  it("is refused before anything is begun", function()
    local r = rig.start({
      before = [[
        local moongate = require("moongate")
        local function ask(name)
          return moongate.fastcgi("app", {
            SCRIPT_FILENAME = "/srv/app/" .. name, SCRIPT_NAME = "/" .. name, QUERY_STRING = "",
          })
        end
      ]],
      on_request = [[
        local ok, message = true, "asked"
        if req.path == "/gsub" then
          ok, message = pcall(string.gsub, "a", "a", function() ask("gsub") end)
        elseif req.path == "/sort" then
          ok, message = pcall(table.sort, { 2, 1 }, function() ask("sort") end)
        elseif req.path == "/coroutine" then
          ok, message = coroutine.resume(coroutine.create(ask), "coroutine")
        elseif req.path == "/itself" then
          ask("itself")
        else
          return { backend = "app", docroot = "/srv/app" }
        end
        do return { status = 200, body = message } end
      ]],
      settings = [[ on_params = function() pcall(ask, "params") end ]],
    })
    finally(function() r:stop() end)
    for _, place in ipairs({ "gsub", "sort", "coroutine" }) do
      assert.matches("can't wait", http.get(r.address, "/" .. place).body)
    end
    assert.equal(200, http.get(r.address, "/params").status)
    assert.equal("asked", http.get(r.address, "/itself").body)
    local seen = r.back:wait_log("itself")
    assert.truthy(seen)
    for _, place in ipairs({ "/app/gsub", "/app/sort", "/app/coroutine" }) do
      assert.is_nil(r.back:log():find(place, 1, true), place)
    end
  end)
end)

describe("chance", function()
  it("is another one in each worker, and after each reload", function()
    local route = [[
      local first = math.random(2 ^ 40)
      return { on_request = function()
        return { status = 200, headers = { Connection = "close" }, body = ("%.0f"):format(first) }
      end }
    ]]
    local server = require("tests.support.server")
    local s = server.start({ route = route, workers = 3 })
    finally(function() s:stop() end)
    local seen, count = {}, 0
    for generation = 1, 2 do
      poll.wait(function()
        local number = http.get(s.address, "/").body
        if not seen[number] then
          seen[number] = true
          count = count + 1
        end
        return count >= 3 * generation
      end, "a number of each worker")
      if generation == 1 then
        s:reload(route)
      end
    end
    assert.equal(6, count)
  end)
end)
