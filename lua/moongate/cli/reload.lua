-- moongate.cli.reload owns `moongate reload`: the script is read again, and serves if it is valid.
-- Called by cli.commands.

local remote = require("moongate.cli.remote")

local M = {
  usage = "reload [ROUTE.lua] [OPTIONS]", summary = "read the script of a running instance again",
  help = [[
Returns when every worker serves the new script. Where that is not valid, or its specs fail, the old
one goes on serving, and what is wrong is said here; the exit status is 1.
]] .. remote.ROUTE_HELP,
  options = {
    remote.CONTROL_OPTION,
    { name = "--wait", value = "TIME", help = "how long to wait for it (60s)" },
  },
  min = 0, max = 0, route_at = 1,
}

--- Asks for a reload of some kind, and waits until it is over.
---@param args table of the command line
---@param path string of the POST
---@param what string "the reload"
---@param other (fun(outcome: table, told: table): string|nil)|nil what is wrong with an outcome,
--- which may be of a later reload
---@return integer status, string|nil message
function M.run(args, path, what, other)
  local asked
  local status, problem, outcome, seconds = remote.tell(args, path, 60, "/reload",
    function(value, told)
      asked = told
      -- A worker that is going away may not answer: another one does.
      return value and type(value.done) == "number" and value.done >= told.id and value or nil
    end)
  if status ~= 0 then
    return status, problem
  elseif not outcome then
    return 1, ("%s is not done after %g s; `moongate generations` shows how it ends"):format(what,
      seconds)
  end
  local wrong = other and other(outcome, asked)
  if wrong or not outcome.ok then
    io.stderr:write(tostring(wrong or outcome.error or what .. " failed: see the error log"), "\n")
    return 1
  end
  if outcome.error then -- such as a setting that takes a restart
    io.stderr:write("warning: ", outcome.error, "\n")
  end
  io.stdout:write(("generation %d serves\n"):format(outcome.generation))
  return 0
end

---@param args table
---@return integer status, string|nil message
function M.main(args)
  return M.run(args, "/reload", "the reload")
end

return M
