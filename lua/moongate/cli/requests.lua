-- moongate.cli.requests owns `moongate requests`: who is being served now. Called by cli.commands.

local json = require("moongate.base.json")
local remote = require("moongate.cli.remote")
local rows = require("moongate.cli.rows")

local M = {
  usage = "requests [ROUTE.lua] [OPTIONS]",
  summary = "show the requests that are under way",
  help = [[
The oldest come first, 1,000 at most, over all workers. STATE is what a request waits for: `hook` (a
function of the route), `body` (the client's), `queue` (a connection of the backend), `connect`,
`waiting` (the server's answer) or `streaming` (the client takes the response). `moongate kill ID`
ends one.
]] .. remote.ROUTE_HELP,
  options = { remote.CONTROL_OPTION, { name = "--json", help = "as JSON" } },
  min = 0, max = 0, route_at = 1,
}

local HEADS = {
  "ID", "STATE", "CLIENT", "BACKEND", "SERVER", "AGE", "SENT", "REQUEST",
}
local SHOWN = 100 -- bytes of a request's host and URI

--- "0.31 s", "12 s"
local function seconds(age)
  return (age < 10 and "%.2f s" or "%.0f s"):format(age)
end

--- What came from a client, for a terminal: control bytes are shown as such.
local function printable(text)
  text = text:gsub("[%z\1-\31\127-\255]", function(c) return ("\\x%02x"):format(c:byte()) end)
  return #text > SHOWN and text:sub(1, SHOWN - 3) .. "..." or text
end

local function rows_of(list)
  local shown = { HEADS }
  for _, request in ipairs(list) do
    shown[#shown + 1] = {
      request.id, request.state, request.client, request.backend or "-", request.server or "-",
      seconds(request.age), ("%.0f"):format(request.sent),
      printable(("%s %s%s"):format(request.method, request.host, request.uri)),
    }
  end
  return shown
end

---@param args table
---@return integer status, string|nil message
function M.main(args)
  local status, problem, value = remote.get(args, "/requests")
  if status ~= 0 then
    return status, problem
  end
  if args.json then
    io.stdout:write(json.encode(value), "\n")
    return 0
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
