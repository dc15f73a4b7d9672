-- moongate.cli.tail owns `moongate tail`: the access log live, whatever the log's format is. Called
-- by cli.commands.
--
-- The instance keeps lines for ten seconds after each question, so this command asks again and
-- again for what has come since.

local core = require("moongate.core.commands")
local follow = require("moongate.cli.follow")
local remote = require("moongate.cli.remote")
local text = require("moongate.cli.printable")

local M = {
  usage = "tail [ROUTE.lua] [OPTIONS]",
  summary = "show requests as they end",
  help = [[
Shows a line for each request that ends from now on, in any worker, until it is interrupted or the
instance ends; also where the route logs nothing, or elsewhere. Lines that come faster than they are
read are dropped, and their number is said. --status takes a status, or a class such as 5xx; --host
the name of a host, or `*.example.com` for all below it.
]] .. remote.ROUTE_HELP,
  options = {
    { name = "--host", value = "HOST", help = "only requests to this host" },
    { name = "--status", value = "STATUS", help = "only these: 404, or 5xx" },
    { name = "--count", value = "N", help = "end after so many lines" },
    { name = "--wait", value = "TIME", help = "end after this time" },
    { name = "--json", help = "as JSON, a line each" }, remote.CONTROL_OPTION,
  },
  min = 0, max = 0, route_at = 1,
}

--- Whether a request's host is the one asked for.
local function is_host(wanted, host)
  if wanted:sub(1, 2) == "*." then
    local suffix = wanted:sub(2)
    return #host > #suffix and host:sub(-#suffix) == suffix
  end
  return host == wanted
end

--- What a line must have to be shown.
---@param args table
---@return (fun(line: table): boolean)|nil
---@return string|nil problem
function M.filter(args)
  local class = args.status and args.status:match("^([1-5])xx$")
  local status = args.status and args.status:match("^%d%d%d$")
  if args.status and not class and not status then
    return nil, ("--status: '%s': expected a status such as 404, or a class such as 5xx"):format(
      args.status)
  end
  local host = args.host and args.host:lower()
  return function(line)
    return (not host or is_host(host, line.host or ""))
      and (not class or math.floor((line.status or 0) / 100) == tonumber(class))
      and (not status or line.status == tonumber(status))
  end
end

--- A line as text: when, who, what, and how it ended.
---@param line table fields of the access log
---@return string
function M.text(line)
  local parts = {
    os.date("%H:%M:%S", line.time or 0), line.client or "-",
    ("%d"):format(line.status or 0),
    text.printable(("%s %s%s"):format(line.method or "-", line.host or "", line.uri or "")),
    ("%.3f s"):format(line.duration or 0), ("%.0f bytes"):format(line.bytes_out or 0),
  }
  if line.backend then
    parts[#parts + 1] = line.backend .. (line.server and " " .. line.server or "")
  end
  if line.error then
    parts[#parts + 1] = text.printable("(" .. line.error .. ")")
  end
  return table.concat(parts, "  ")
end

---@param args table
---@return integer status, string|nil message
function M.main(args)
  local passes, problem = M.filter(args)
  local left, seconds = follow.bounds(args, math.huge, math.huge)
  if not passes or not left then
    return 2, problem or seconds
  end
  local target, deadline = "/tail", core.now() + seconds
  while left > 0 do
    local status, failure, value = remote.get(args, target)
    if status ~= 0 then
      return target == "/tail" and status or 1, failure
    end
    follow.say_lost(value.lost, "lines")
    left = left - follow.print(value.lines, {
      json = args.json, text = M.text, passes = passes, most = left,
    })
    target = remote.target_of("/tail", { "at", ("%.0f"):format(value.at),
      "number", ("%.0f"):format(value.number) })
    if core.now() >= deadline then
      break
    end
    if value.lines == "" then
      core.pause(follow.INTERVAL)
    end
  end
  return 0
end

return M
