-- moongate.cli.kill owns `moongate kill`: the end of one request. Called by cli.commands.

local remote = require("moongate.cli.remote")

local M = {
  usage = "kill ID [ROUTE.lua] [OPTIONS]",
  summary = "end a request that is under way",
  help = [[
ID is the request's, as `moongate requests`, the logs and error pages have it, or its `own_id` in
`moongate requests --json`, which differs where a proxy has sent the id. Its client gets a 503, or
its connection is closed where a part of the response has left; the server is told that nobody waits
any more. The access log says that an operator has killed the request.
]] .. remote.ROUTE_HELP,
  options = { remote.CONTROL_OPTION },
  min = 1, max = 1, route_at = 2,
}

---@param args table
---@return integer status, string|nil message
function M.main(args)
  return remote.post(args, {
    path = "/kill", query = { "id", args[1] }, waits = false,
    done = ("request %s is told to end"):format(args[1]),
  })
end

return M
