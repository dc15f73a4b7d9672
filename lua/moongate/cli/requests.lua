-- moongate.cli.requests owns `moongate requests`: who is being served now. Called by cli.commands.

local remote = require("moongate.cli.remote")
local rows = require("moongate.cli.rows")
local text = require("moongate.cli.printable")

local M = {
  usage = "requests [ROUTE.lua] [OPTIONS]",
  summary = "show the requests that are under way",
  help = [[
The oldest come first, 1,000 at most, over all workers. STATE is what a request waits for: `hook` (a
function of the route), `body` (the client's), `queue` (a connection of the backend), `connect`,
`waiting` (the server's answer) or `streaming` (the client takes the response). `moongate kill ID`
ends one.
]] .. remote.ROUTE_HELP,
  options = { remote.CONTROL_OPTION, remote.JSON_OPTION },
  min = 0, max = 0, route_at = 1,
}

local HEADS = {
  "ID", "STATE", "CLIENT", "BACKEND", "SERVER", "AGE", "SENT", "REQUEST",
}

--- "0.31 s", "12 s"
local function seconds(age)
  return (age < 10 and "%.2f s" or "%.0f s"):format(age)
end

local function rows_of(list)
  local shown = { HEADS }
  for _, request in ipairs(list) do
    shown[#shown + 1] = {
      request.id, request.state, request.client, request.backend or "-", request.server or "-",
      seconds(request.age), ("%.0f"):format(request.sent),
      text.printable(("%s %s%s"):format(request.method, request.host, request.uri)),
    }
  end
  return shown
end

---@param args table
---@return integer status, string|nil message
function M.main(args)
  local status, problem, value = remote.show(args, "/requests")
  if not value then
    return status, problem
  end
  rows.print(rows_of(value.requests), #HEADS)
  if #value.requests == 0 then
    io.stdout:write("no request is under way\n")
  end
  if value.more > 0 then
    io.stdout:write(("and %.0f more\n"):format(value.more))
  end
  return 0
end

return M
