-- moongate.cli.resume owns `moongate resume`: the end of `hold`. Called by cli.commands.

local remote = require("moongate.cli.remote")

local M = {
  usage = "resume BACKEND [ROUTE.lua] [OPTIONS]", summary = "let the requests of a held backend go",
  help = remote.ROUTE_HELP,
  options = { remote.CONTROL_OPTION },
  min = 1, max = 1, route_at = 2,
}

---@param args table
---@return integer status, string|nil message
function M.main(args)
  return remote.post(args, {
    path = "/resume", query = { "backend", args[1] },
    done = ("backend '%s' serves again"):format(args[1]),
  })
end

return M
