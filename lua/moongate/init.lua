-- moongate (init) owns what `require "moongate"` gives to a script: the few things a hook needs
-- from the server. Called by routes. What the contract names and this release lacks says so.

local describe = require("moongate.base.describe")
local suggest = require("moongate.base.suggest")
local upcoming = require("moongate.base.upcoming")
local url = require("moongate.base.url")

local has_core, core = pcall(require, "moongate.core")

local LEVELS = { debug = true, info = true, warn = true, error = true }

local M = { escape = url.escape, unescape = url.unescape }

--- The release that runs, such as "0.1.0".
M.version = has_core and core.version or upcoming.RELEASE:match("[%d.]+")

--- Writes a line to the error log. Where the level is off nothing is formatted. Commands (`test`,
--- `check`) format each line, so that a format that does not fit is found there.
---@param level "debug"|"info"|"warn"|"error"
---@param format string as in string.format
---@param ... any
function M.log(level, format, ...)
  if not LEVELS[level] then
    error(('log: expected "debug", "info", "warn" or "error", got %s%s'):format(describe(level),
      type(level) == "string" and suggest.hint(level, LEVELS) or ""), 2)
  elseif select("#", ...) > 0 and type(format) ~= "string" then
    error(("log: expected a format such as \"%%s\" before what it shows, got %s"):format(
      describe(format)), 2)
  end
  if M.worker > 0 and not core.logs(level) then
    return
  end
  local text = tostring(format)
  if select("#", ...) > 0 then
    local ok, result = pcall(string.format, format, ...)
    if not ok then
      local reason = result:gsub("^bad argument #(%d+) to '[^']*' ", function(number)
        return ("value %d: "):format(number - 1)
      end)
      error(("log: what is given does not fit the format %s: %s"):format(describe(format),
        reason), 2)
    end
    text = result
  end
  if has_core then
    core.log(level, text)
  else
    io.stderr:write(level, ": ", text, "\n")
  end
end

--- The time of day.
---@return number seconds since 1970, with fractions
function M.now()
  return has_core and core.now() or os.time()
end

-- What waits is in core/script/timer.c; each function says there what it takes.

--- Waits, while others go on. In on_start, on_certificate, on_request, on_error, timers and what
--- spawn runs.
---@type fun(seconds: number)
M.sleep = has_core and core.sleep or nil

--- Runs a function soon, beside the requests. It may wait.
---@type fun(fn: function, ...: any)
M.spawn = has_core and core.spawn or nil

--- Runs a function again and again, one run at a time, until a reload replaces the script. It may
--- wait.
---@type fun(seconds: number, fn: function)
M.every = has_core and core.every or nil

--- Asks a backend for something of the script's own, and waits for the whole answer.
---@type fun(backend: string, params: table, body?: string): table|nil, string|nil
M.fastcgi = has_core and core.fastcgi or nil

--- The number of the worker that runs the script, from 1 on; 0 in commands and in the loader.
---@type integer
M.worker = has_core and core.worker_number and core.worker_number() or 0

--- A dictionary that all workers have in common, and that outlives reloads; core/script/shared.c
--- says what its methods take.
---@type fun(name: string): moongate.Shared
M.shared = has_core and core.shared or nil

if has_core and core.tcp then
  require("moongate.base.receive")
end

--- A connection to any server, with the methods, results and errors of OpenResty's cosockets
--- (core/script/net/tcp.c, moongate.base.receive): connect, settimeout, settimeouts, send, receive,
--- receiveany, receiveuntil, setkeepalive, getreusedtimes, setoption, close. Where a hook may wait.
---@type fun(): userdata
M.tcp = has_core and core.tcp or nil

-- What scripts get is a table of its own, so that none can replace a function for all others.
setmetatable(M, {
  __index = function(_, name)
    local later = upcoming.problem(upcoming.library, name)
    if later then
      error("moongate: " .. later, 2)
    end
    error(("moongate: there is no '%s'%s"):format(suggest.name(name),
      suggest.hint(name, M)), 2)
  end,
})

return setmetatable({}, {
  __index = M,
  __newindex = function(_, name)
    error(("moongate.%s can't be assigned: the module is the same for all scripts"):format(
      suggest.name(name)), 2)
  end,
})
