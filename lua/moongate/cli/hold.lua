-- moongate.cli.hold owns `moongate hold`: new requests wait, so that PHP can be restarted. Called
-- by moongate.cli.

local remote = require("moongate.cli.remote")

local M = {
  usage = "hold BACKEND [ROUTE.lua] [OPTIONS]",
  summary = "keep a backend's new requests in its queue",
  help = [[
Returns when no request is in flight any more: now the application can be restarted. What comes
meanwhile waits, up to `queue` and `queue_timeout` of the backend; `moongate resume` lets it go.
]] .. remote.ROUTE_HELP,
  options = { remote.CONTROL_OPTION, remote.WAIT_OPTION },
  min = 1, max = 1, route_at = 2,
}

---@param args table
---@return integer status, string|nil message
function M.main(args)
  local name = args[1]
  return remote.post(args, {
    path = "/hold", query = { "backend", name }, waits = true,
    done = ("backend '%s' is held: no request is in flight"):format(name),
    still = ("backend '%s' is held and stays so"):format(name),
    undo = "moongate resume " .. name,
  })
end

return M
