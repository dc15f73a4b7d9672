-- moongate.cli.rollback owns `moongate rollback`: what served before serves again, from the files
-- that it had. Called by cli.commands.

local reload = require("moongate.cli.reload")
local remote = require("moongate.cli.remote")

local M = {
  usage = "rollback [GENERATION] [ROUTE.lua] [OPTIONS]",
  summary = "serve with an earlier script again, whatever is on the disk",
  help = [[
The script and its modules are those that the generation was loaded from; nothing on the disk
changes. Without GENERATION it is the latest one whose files were others than those that serve:
a second `rollback` takes back the first. The route's specs are not run, since the disk may have
those of another version. All else is as in a reload: it becomes a new generation, and where it
can't be loaded or started the one that serves goes on and the exit status is 1. It serves until
the next reload. `moongate generations` lists the numbers.
]] .. remote.ROUTE_HELP,
  options = {
    remote.CONTROL_OPTION,
    { name = "--wait", value = "TIME", help = "how long to wait for it (60s)" },
  },
  min = 0, max = 1, route_at = 2,
}

---@param args table
---@return integer status, string|nil message
function M.main(args)
  local number = args[1]
  if number and not number:match("^%d+$") then
    return 2, ("'%s' is no number of a generation; `moongate generations` lists them"):format(
      number)
  end
  return reload.run(args, remote.target_of("/rollback", number and { "number", number } or {}),
    "the rollback", function(outcome, told)
      return outcome.reason ~= "rollback to " .. ("%.0f"):format(told.to)
        and "a later reload has taken the rollback's place: " .. outcome.reason or nil
    end)
end

return M
