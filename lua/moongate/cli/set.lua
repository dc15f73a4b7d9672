-- moongate.cli.set owns `moongate set`: values of a route that are changed while it serves, such as
-- that of moongate.maintenance. Called by cli.commands.

local remote = require("moongate.cli.remote")

local M = {
  usage = "set NAME VALUE [ROUTE.lua] [OPTIONS]",
  summary = "change a value of the route that serves",
  help = [[
Values are what modules of the route have, such as `maintenance.shop`, which is on or off. What is
set holds for all workers and outlives reloads, but not the instance. `moongate status` lists them.
]] .. remote.ROUTE_HELP,
  options = { remote.CONTROL_OPTION },
  min = 2, max = 2, route_at = 3,
}

---@param args table
---@return integer status, string|nil message
function M.main(args)
  return remote.post(args, {
    path = "/set", query = { "name", args[1], "value", args[2] }, waits = false,
    done = ("%s is %s"):format(args[1], args[2]),
  })
end

return M
