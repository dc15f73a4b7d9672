-- moongate.cli.stop owns `moongate stop`: a running instance finishes its requests and ends. Called
-- by moongate.cli.

local remote = require("moongate.cli.remote")

local M = {
  usage = "stop [ROUTE.lua] [OPTIONS]",
  summary = "end a running instance when its requests are done",
  help = [[
What is not done within `stop_timeout` of the script is cut. Returns when nobody listens for
commands any more.
]] .. remote.ROUTE_HELP,
  options = {
    remote.CONTROL_OPTION,
    { name = "--wait", value = "TIME", help = "how long to wait for its end (60s)" },
  },
  min = 0, max = 0, route_at = 1,
}

---@param args table
---@return integer status, string|nil message
function M.main(args)
  local status, problem, gone, seconds = remote.tell(args, "/stop", 60, "/status",
    function(_, _, reason)
      return remote.GONE[reason]
    end)
  if status ~= 0 then
    return status, problem
  elseif not gone then
    return 1, ("the instance is told to stop, and has not ended after %g s"):format(seconds)
  end
  io.stdout:write("stopped\n")
  return 0
end

return M
