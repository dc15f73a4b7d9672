-- moongate.cli.drain owns `moongate drain`: a server gets nothing new. Called by cli.commands.

local remote = require("moongate.cli.remote")

local M = {
  usage = "drain BACKEND SERVER [ROUTE.lua] [OPTIONS]",
  summary = "send a server of a backend nothing new",
  help = [[
Returns when that server has no request in flight any more. The other servers of the backend take
its share; where there is none, requests are answered 503 at once, those that wait too, and a
warning says so (`moongate hold` keeps them waiting instead). `moongate undrain` takes it back.
]] .. remote.ROUTE_HELP,
  options = { remote.CONTROL_OPTION, remote.WAIT_OPTION },
  min = 2, max = 2, route_at = 3,
}

---@param args table
---@return integer status, string|nil message
function M.main(args)
  local name, server = args[1], args[2]
  return remote.post(args, {
    path = "/drain", query = { "backend", name, "server", server }, waits = true,
    done = ("server %s of backend '%s' is drained: no request is in flight"):format(server, name),
    still = ("server %s of backend '%s' is draining and stays so"):format(server, name),
    undo = ("moongate undrain %s %s"):format(name, server),
  })
end

return M
