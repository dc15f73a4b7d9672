-- moongate.cli.server owns `moongate server`: servers of backends that are added, removed and
-- weighed while the route serves. Called by cli.commands.

local json = require("moongate.base.json")
local remote = require("moongate.cli.remote")
local rows = require("moongate.cli.rows")

local M = {
  usage = "server list|add|remove|weight [BACKEND ADDR [N]] [ROUTE.lua] [OPTIONS]",
  summary = "add, remove and weigh servers of a backend without a reload",
  help = [=[
  server list                       what is different from the script
  server weight BACKEND ADDR N      that server gets N times the share of one with weight 1
  server add BACKEND ADDR           a server more, with the settings of its backend
  server remove BACKEND ADDR        one less; returns when it has no request in flight any more
  server --forget [BACKEND [ADDR]]  as the script has it again: all, of a backend, of a server
ADDR is numeric or a unix socket. A change holds for all workers, and outlives workers and reloads.
It ends with the instance, by --forget, and when the script that is loaded says the same.
]=] .. remote.ROUTE_HELP,
  options = {
    { name = "--weight", value = "N", help = "of a server that is added (1)" },
    { name = "--forget", help = "drop changes" },
    { name = "--json", help = "the list as JSON" }, remote.CONTROL_OPTION, remote.WAIT_OPTION,
  },
  min = 0, max = 4,
}

--- How many arguments each action has, itself among them.
local COUNT = { list = 1, add = 3, remove = 3, weight = 4 }

--- A route may stand behind what the action takes.
function M.route_at(args)
  if not args.forget then
    return (COUNT[args[1]] or 1) + 1
  end
  -- The address of a unix socket has slashes, too.
  return args[#args] and not args[#args]:match("^unix:") and #args or nil
end

local HEADS = { "BACKEND", "SERVER", "CHANGE", "SINCE" }
local WORDS = { add = "added", remove = "removed", weight = "weight" }

local function what(change)
  local text = WORDS[change.action] or change.action
  if change.action == "weight" then
    return ("weight %.0f"):format(change.weight)
  elseif change.action == "add" and change.weight ~= 1 then
    return ("added, weight %.0f"):format(change.weight)
  end
  return text
end

local function list(args)
  local status, problem, value = remote.get(args, "/status")
  if not value then
    return status, problem
  elseif args.json then
    io.stdout:write(json.encode(value.changes), "\n")
    return 0
  end
  local lines = { HEADS }
  for _, change in ipairs(value.changes) do
    lines[#lines + 1] = {
      change.backend, change.server, what(change), os.date("%Y-%m-%d %H:%M:%S", change.at),
    }
  end
  if not lines[2] then
    io.stdout:write("all servers are as the script has them\n")
  end
  rows.print(lines, #HEADS)
  return 0
end

local function forget(args)
  if #args > 2 then
    return 2, "--forget takes a BACKEND and an ADDR at most"
  end
  local query = { "action", "forget" }
  for i, key in ipairs({ "backend", "server" }) do
    if args[i] then
      query[#query + 1] = key
      query[#query + 1] = args[i]
    end
  end
  return remote.post(args, {
    path = "/server", query = query, waits = false, done = "servers are as the script has them"
      .. (args[2] and (": %s of backend '%s'"):format(args[2], args[1])
        or args[1] and (": backend '%s'"):format(args[1]) or ""),
  })
end

--- The server, as the POST names it, behind the words of the action; `remote.post` looks for it at
--- the place of a command's arguments.
local function change(args)
  local action, backend, server, weight = args[1], args[2], args[3], args[4] or args.weight
  local query = { "backend", backend, "server", server, "action", action }
  if weight then
    query[#query + 1] = "weight"
    query[#query + 1] = weight
  end
  local done = {
    add = ("server %s is a server of backend '%s'"):format(server, backend),
    remove = ("server %s of backend '%s' is removed: no request is in flight"):format(server,
      backend),
    weight = ("server %s of backend '%s' has weight %s"):format(server, backend, tostring(weight)),
  }
  local words = { backend, server, control = args.control, route = args.route, wait = args.wait }
  words.token_file = args.token_file
  return remote.post(words, {
    path = "/server", query = query, waits = action == "remove", done = done[action],
    still = ("server %s of backend '%s' is removed"):format(server, backend),
    undo = ("moongate server --forget %s %s"):format(backend, server),
  })
end

---@param args table
---@return integer status, string|nil message
function M.main(args)
  if args.forget then
    return forget(args)
  end
  local action = args[1] or "list"
  if not COUNT[action] then
    return 2, ("'%s' is no action: list, add, remove or weight"):format(action)
  elseif #args ~= COUNT[action] and not (action == "list" and #args == 0) then
    return 2, ("%s takes %s"):format(action, ({ list = "no more", add = "BACKEND and ADDR",
      remove = "BACKEND and ADDR", weight = "BACKEND, ADDR and N" })[action])
  elseif args.weight and action ~= "add" then
    return 2, "--weight is for a server that is added"
  elseif action == "list" then
    return list(args)
  end
  return change(args)
end

return M
