-- moongate.cli.generations owns `moongate generations`: what was loaded when, and what came of it.
-- Called by cli.commands.

local remote = require("moongate.cli.remote")
local rows = require("moongate.cli.rows")

local M = {
  usage = "generations [ROUTE.lua] [OPTIONS]", summary = "list what was loaded when, and why",
  help = [[
The latest first: the start, reloads and rollbacks, also those that failed, with the first line of
the error. HASH is of the script's files: generations with the same one have the same files. Those
with `kept` can serve again, see `moongate help rollback`.
]] .. remote.ROUTE_HELP,
  options = { remote.CONTROL_OPTION, remote.JSON_OPTION },
  min = 0, max = 0, route_at = 1,
}

local HEADS = { "GENERATION", "OUTCOME", "LOADED", "UNTIL", "HASH", "KEPT", "REASON" }

local function time(seconds)
  return seconds and os.date("%Y-%m-%d %H:%M:%S", seconds) or ""
end

local function reason(load)
  if load.error then
    return load.reason .. ": " .. load.error:match("^[^\n]*")
  elseif load.renewals then
    return ("%s; begun anew %.0f time%s for limits.script_memory"):format(load.reason,
      load.renewals, load.renewals == 1 and "" or "s")
  end
  return load.reason
end

---@param args table
---@return integer status, string|nil message
function M.main(args)
  local status, problem, value = remote.show(args, "/generations")
  if not value then
    return status, problem
  end
  local list = { HEADS }
  for _, load in ipairs(value.generations) do
    list[#list + 1] = {
      load.number and ("%.0f"):format(load.number) or "", load.outcome, time(load.at),
      time(load["until"]), load.hash or "", load.kept and "kept" or "", reason(load),
    }
  end
  rows.print(list, #HEADS)
  return 0
end

return M
