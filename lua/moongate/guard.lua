-- moongate.guard owns what keeps a script from harming the process that runs it with functions of
-- Lua's own library. Called by core/ for each new Lua state, before anything else is loaded, and by
-- load before it runs a route.

local core = require("moongate.core")

local M = {}

-- luacheck: push ignore 122

--- Bounds what takes a part of the C stack for each call in a call. LuaJIT does not: it bounds
--- the Lua stack of each coroutine, and a process whose C stack ends is killed. What is not
--- replaced here (sort, load, tostring, ...) needs less of the C stack than of Lua's.
function M.bound_nesting()
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
