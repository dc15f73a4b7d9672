-- moongate.cli.undrain owns `moongate undrain`: the end of `drain`. Called by cli.commands.

local remote = require("moongate.cli.remote")

local M = {
  usage = "undrain BACKEND SERVER [ROUTE.lua] [OPTIONS]", summary = "take a drained server back",
  help = remote.ROUTE_HELP,
  options = { remote.CONTROL_OPTION },
  min = 2, max = 2, route_at = 3,
}

---@param args table
---@return integer status, string|nil message
function M.main(args)
  return remote.post(args, {
    path = "/undrain", query = { "backend", args[1], "server", args[2] },
    done = ("server %s of backend '%s' serves again"):format(args[2], args[1]),
  })
end

return M
