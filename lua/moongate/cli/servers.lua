-- moongate.cli.servers owns the look at one server from a command: whether it takes connections,
-- and what to check where it does not. Called by explain and doctor.

local core = require("moongate.core.commands")
local fs = require("moongate.base.fs")

local M = {}

local LOOK_TIMEOUT = 1 -- seconds in which a server takes a connection

--- Why a server can't be used from here. Connects, and sends nothing.
---@param address string
---@param owner { name: string, uid: integer }|nil whose socket it must be
---@return string|nil problem
function M.problem(address, owner)
  local path = address:match("^unix:(.*)$")
  local what, reason = "socket", nil
  if path then
    what, reason = core.stat(path)
  end
  if not what then
    return ("%s (is PHP-FPM running, and is this its 'listen'?)"):format(reason)
  elseif what ~= "socket" then
    return ("this is a %s, not a socket"):format(what == "directory" and "folder" or what)
  end
  local done, problem = core.look(address, LOOK_TIMEOUT, owner and owner.uid)
  if done then
    return nil
  elseif problem == "Permission denied" then
    problem = ("the user '%s' may not connect (see listen.owner, listen.group and listen.mode of "
      .. "PHP-FPM, or 'user' of the route)"):format(fs.user_name())
  elseif problem:find("`owner`", 1, true) then
    problem = ("%s, %s; its file is of uid %s (see listen.owner of PHP-FPM)"):format(problem,
      owner.name, tostring(fs.owner("/", path)))
  elseif problem == "Connection refused" then
    problem = "nobody listens there (is PHP-FPM running?)"
  elseif not path then
    problem = ("%s (is that machine up, and does a firewall let this one connect to that port?)")
      :format(problem)
  end
  return problem
end

return M
