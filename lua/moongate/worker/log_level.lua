-- moongate.worker.log_level owns the level of the error log at run time, as the control listener
-- shows and takes it. Called by moongate.worker.control.

local suggest = require("moongate.base.suggest")
local units = require("moongate.base.units")

local M = {}

local LEVELS = { debug = true, info = true, warn = true, error = true }

--- The level of the error log.
---@param core table `log_level` of moongate.core
---@return { level: string, route: string, ordered: boolean, left: number|nil } # `route`: what the
--- route says; `left`: seconds until that holds again, nil where the order has no end
function M.read(core)
  local level, route, left = core.log_level()
  return {
    level = level, route = route, ordered = left ~= nil,
    left = left and left > 0 and left or nil,
  }
end

--- Orders another one: `level`, and `for`, a duration; or `forget=true`.
---@param core table `log_level order_log_level` of moongate.core
---@param args table of the request
---@return table|nil value as of `read`
---@return string|nil problem
function M.order(core, args)
  if args.forget == "true" then
    core.order_log_level(nil)
    return M.read(core)
  end
  local level, seconds = args.level or "", 0
  if not LEVELS[level] then
    return nil, ("'level': expected debug, info, warn or error, got '%s'%s"):format(level,
      suggest.hint(level, LEVELS))
  elseif args["for"] then
    seconds = units.duration(tonumber(args["for"]) or args["for"])
    if not seconds or seconds <= 0 then
      return nil, ("'for': expected %s, got '%s'"):format(units.DURATION, args["for"])
    end
  end
  core.order_log_level(level, seconds)
  return M.read(core)
end

return M
