-- moongate.route.guard owns what keeps a script from harming the process that runs it with
-- functions of Lua's own library. Called by core/ for each new Lua state, before anything else is
-- loaded, and by load before it runs a route.

local core = require("moongate.core")

local M = {}

-- luacheck: push ignore 122

-- Bounds what takes a part of the C stack for each call in a call. LuaJIT does not: it bounds
-- the Lua stack of each coroutine, and a process whose C stack ends is killed. What is not
-- replaced here (sort, load, tostring, ...) needs less of the C stack than of Lua's.
local function bound_nesting()
  local check, resume, wrap = core.check_nesting, coroutine.resume, coroutine.wrap
  coroutine.resume = function(...)
    check()
    return resume(...)
  end
  coroutine.wrap = function(f)
    local step = wrap(f)
    return function(...)
      check()
      return step(...)
    end
  end
  -- The Lua stack bounds it, but to unwind so many calls of C takes seconds of CPU. Modules that
  -- require others take a few hundred bytes each.
  local load_module = require
  require = function(...) -- luacheck: ignore 121
    check(256 * 1024)
    return load_module(...)
  end
  string.gsub = core.with_bounded_nesting(string.gsub)
end

-- The finalizer, whose errors end in the log. LuaJIT raises the error of a finalizer in whatever
-- allocates, be it another request's hook; that of Debian 12 crashes where compiled code does.
-- Which one runs is known to the core, for one that has no end.
local failed, finalizing = core.finalizer_failed, core.finalizing
local getinfo = debug.getinfo
local function contained(finalizer)
  local at = type(finalizer) == "function" and getinfo(finalizer, "S")
  local place = at and ("%s:%d"):format(at.source:match("^@(.*)") or at.short_src, at.linedefined)
  return function(object)
    finalizing(place)
    local ok, err = pcall(finalizer, object)
    finalizing(nil)
    if not ok and not pcall(failed, err) then
      failed("an error whose __tostring has failed")
    end
  end
end

-- What getmetatable shows of the metatable: all of it, but a finalizer that is set gets contained.
local function show_through_view(meta)
  rawset(meta, "__metatable", setmetatable({}, {
    __index = meta,
    __newindex = function(_, key, value)
      rawset(meta, key, key == "__gc" and value ~= nil and contained(value) or value)
    end,
  }))
end

-- Contains the finalizers of all objects that can have one: proxies, files, and those of FFI.
local function contain_finalizers()
  local new, raw = newproxy, debug.getmetatable
  newproxy = function(like) -- luacheck: ignore 121
    local proxy = new(like)
    if like == true then
      show_through_view(raw(proxy))
    end
    return proxy
  end
  show_through_view(raw(io.stdout))
  debug.getmetatable = function(object)
    return type(object) == "userdata" and getmetatable(object) or raw(object)
  end
  local set = debug.setmetatable
  debug.setmetatable = function(object, meta)
    if type(object) == "userdata" then
      error("debug.setmetatable is not for userdata: its finalizer belongs to who made it", 2)
    end
    return set(object, meta)
  end
  local registry = debug.getregistry()
  debug.getregistry = function()
    error("debug.getregistry is not for a script: the registry is the core's own", 2)
  end
  -- Opened now: a literal such as 1LL would open it later, without a look at package.preload.
  -- LuaJIT crashes in lua_close where its library was collected, as in a sandbox, which drops it.
  local ffi = package.preload.ffi("ffi")
  registry["moongate.ffi"] = ffi
  local gc, metatype = ffi.gc, ffi.metatype
  ffi.gc = function(object, finalizer)
    return gc(object, type(finalizer) == "function" and contained(finalizer) or finalizer)
  end
  ffi.metatype = function(ct, meta)
    local own = {}
    for key, value in pairs(meta) do
      own[key] = key == "__gc" and type(value) == "function" and contained(value) or value
    end
    return metatype(ct, own)
  end
  package.loaded.ffi = nil
  package.preload.ffi = function()
    return ffi
  end
end

--- Keeps each Lua state, that of a command too, from ending its process.
function M.keep_state()
  bound_nesting()
  contain_finalizers()
end

--- Takes away what would hold for the whole process, or for longer than the call that asks for it.
--- The hook of `debug.sethook` is removed by the core when what has set it ends.
function M.keep_process()
  os.exit = function()
    error("os.exit is not for a script: the process serves others, too; an error ends a hook, "
      .. "`moongate stop` the server", 2)
  end
  local setlocale = os.setlocale
  os.setlocale = function(locale, category)
    -- In another locale the core would write 0,5 for 0.5. nil says that it can't be had.
    local has = locale == nil or locale == "" or locale == "C" or locale == "POSIX"
    return has and setlocale(nil, category) or nil
  end
  local collect = collectgarbage
  collectgarbage = function(what, ...) -- luacheck: ignore 121
    if what == "stop" then
      error("collectgarbage: \"stop\" is not for a script: its memory would never be given back", 2)
    end
    return collect(what, ...)
  end
end

-- luacheck: pop

return M
