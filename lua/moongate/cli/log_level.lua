-- moongate.cli.log_level owns `moongate log-level`: the level of the error log, changed while the
-- route serves. Called by cli.commands.

local figures = require("moongate.cli.figures")
local json = require("moongate.base.json")
local remote = require("moongate.cli.remote")

local M = {
  usage = "log-level [LEVEL] [ROUTE.lua] [OPTIONS]",
  summary = "show the level of the error log, or change it without a reload",
  help = [[
LEVEL is debug, info, warn or error: lines below it are left out. It holds at once, for all workers
and the master, until the next reload, the end of --for, --forget or the end of the instance.
]] .. remote.ROUTE_HELP,
  options = {
    { name = "--for", value = "TIME", help = "how long it holds, such as 10m" },
    { name = "--forget", help = "the level that the route says, at once" },
    remote.JSON_OPTION, remote.CONTROL_OPTION,
  },
  min = 0, max = 1,
}

--- The route is the last argument.
function M.route_at(args)
  return #args > 0 and #args or nil
end

--- The level in words, such as "debug for another 9m 58s; the route says info".
---@param log { level: string, route: string, ordered: boolean, left: number|nil }
---@return string
function M.words(log)
  if not log.ordered then
    return log.level
  end
  return ("%s %s; the route says %s"):format(log.level, log.left
    and "for another " .. figures.span(math.max(1, log.left)) or "until the next reload", log.route)
end

local function show(args, value)
  io.stdout:write(args.json and json.encode(value) or M.words(value), "\n")
  return 0
end

---@param args table
---@return integer status, string|nil message
function M.main(args)
  local level = args[1]
  if args.forget and (level or args["for"]) then
    return 2, "--forget takes no level and no --for"
  elseif args["for"] and not level then
    return 2, "--for needs a LEVEL"
  end
  local status, problem, value
  if not level and not args.forget then
    status, problem, value = remote.get(args, "/status")
    value = value and value.log
    if status == 0 and not value then
      return 1, "the instance is older, and does not know its level"
    end
  else
    local query = args.forget and { "forget", "true" } or { "level", level }
    if args["for"] then
      query[#query + 1] = "for"
      query[#query + 1] = args["for"]
    end
    status, problem, value = remote.order(args, "/log-level", query)
  end
  if not value then
    return status, problem
  end
  return show(args, value)
end

return M
