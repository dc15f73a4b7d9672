-- moongate.cli.trace owns `moongate trace`: the next matching request in full. Called by
-- cli.commands.
--
-- The instance looks for requests as long as this command asks for them, and for ten seconds more:
-- a command that is killed leaves nothing on.

local core = require("moongate.core.commands")
local follow = require("moongate.cli.follow")
local remote = require("moongate.cli.remote")
local text = require("moongate.cli.printable")

local M = {
  usage = "trace [ROUTE.lua] [OPTIONS]",
  summary = "show the next matching request in full",
  help = [[
Waits for a request that begins from now on, in any worker, and shows it when it has ended: the rule
that decided, each step with its time, the attempts at servers, the params of the application, its
STDERR, the head of the response. --path takes the path without the query, or what it begins with
and a star: '/shop/*'. --host, --status: as `moongate tail`. Values of passwords, cookies and the
like are hidden, unless --secrets is given.
]] .. remote.ROUTE_HELP,
  options = {
    { name = "--host", value = "HOST", help = "only requests to this host" },
    { name = "--path", value = "PATH", help = "only this path, or '/shop/*'" },
    { name = "--method", value = "METHOD", help = "only this method" },
    { name = "--status", value = "STATUS", help = "only these: 404, or 5xx" },
    { name = "--count", value = "N", help = "so many requests (1)" },
    { name = "--wait", value = "TIME", help = "end after this time, with exit status 1" },
    { name = "--secrets", help = "show passwords and cookies, too" },
    { name = "--json", help = "as JSON, a line each" }, remote.CONTROL_OPTION,
  },
  min = 0, max = 0, route_at = 1,
}

local MOST = 4096 -- bytes of a value

-- The text ----------------------------------------------------------------------------------------

local function shown(value)
  return text.printable(tostring(value), MOST)
end

local function seconds(value)
  return ("%.6f s"):format(value or 0)
end

--- Lines of names and values, the values below each other.
local function add_pairs(out, list)
  local width = 0
  for _, pair in ipairs(list or {}) do
    width = math.min(math.max(width, #pair.name), 32)
  end
  for _, pair in ipairs(list or {}) do
    local value = pair.hidden and ("(hidden, %.0f bytes; --secrets shows it)"):format(pair.hidden)
      or shown(pair.value)
    if pair.size then
      value = ("%s... (%.0f bytes)"):format(value, pair.size)
    end
    local name = shown(pair.name)
    out[#out + 1] = ("  %s%s  %s"):format(name, (" "):rep(width - #name), value)
  end
end

--- A title and its lines; nothing where there is none.
local function add_section(out, title, list, add)
  if list and #list > 0 then
    out[#out + 1] = title
    add(out, list)
  end
end

--- Lines of moments and texts; further lines of a text stand below its first one.
local function add_steps(out, list)
  for _, step in ipairs(list) do
    local before = seconds(step.at)
    for line in tostring(step.text):gmatch("[^\n]+") do
      out[#out + 1] = ("  %s  %s"):format(before, shown((line:gsub("\t", "    "))))
      before = (" "):rep(#before)
    end
  end
end

local function add_attempts(out, list)
  for i, a in ipairs(list) do
    out[#out + 1] = ("  %d  %s%s  queue %s, connect %s, first byte %s, total %s%s"):format(i,
      a.server ~= "" and shown(a.server) or "no server",
      a.role == "responder" and "" or (" (%s)"):format(shown(a.role)), seconds(a.queue),
      seconds(a.connect), seconds(a.first_byte), seconds(a.total),
      a.error and ": " .. shown(a.error) or "")
  end
end

--- A description as text.
---@param r table see core/exchange/account
---@return string
function M.text(r)
  local out = {
    shown(("%s %s://%s%s"):format(r.method or "-", r.scheme or "http", r.host or "", r.uri or "")),
    shown(("  %s, client %s%s, request %s, generation %.0f"):format(
      os.date("%Y-%m-%d %H:%M:%S", r.time or 0), r.client or "-",
      r.tenant and ", tenant " .. r.tenant or "", r.id or "-", r.generation or 0)),
    ("  %d after %s, %.0f bytes%s"):format(r.status or 0, seconds(r.duration), r.bytes_out or 0,
      r.error and ": " .. shown(r.error) or ""),
  }
  if r.rule then
    out[#out + 1] = "rule: " .. shown(r.rule)
  end
  if r.decision then
    out[#out + 1] = "decision: " .. shown(r.decision)
  end
  if r.cache then
    out[#out + 1] = ("cache: %s%s"):format(shown(r.cache), r.cache_reason
      and (r.cache == "bypass" and ": " or ", not kept: ") .. shown(r.cache_reason) or "")
  end
  add_section(out, "steps", r.steps, add_steps)
  add_section(out, "attempts", r.attempts, add_attempts)
  for _, asked in ipairs(r.asked or {}) do
    add_section(out, ("params of backend '%s' (%s)"):format(shown(asked.backend),
      shown(asked.role)), asked.params, add_pairs)
  end
  add_section(out, "STDERR", r.stderr, add_steps)
  add_section(out, "headers of the request", r.headers, add_pairs)
  if r.response then
    out[#out + 1] = ("response: %d %s"):format(r.response.status or 0,
      shown(r.response.phrase or ""))
    add_pairs(out, r.response.headers)
  end
  if (r.left_out or 0) > 0 then
    out[#out + 1] = ("%.0f more lines were left out: there was no room for them"):format(r.left_out)
  end
  out[#out + 1] = "" -- a blank line behind each
  return table.concat(out, "\n")
end

-- The command -------------------------------------------------------------------------------------

--- The order, as the control listener takes it.
local function query_of(args, count)
  local query = { "count", ("%.0f"):format(count) }
  for _, name in ipairs({ "host", "path", "method", "status" }) do
    if args[name] then
      query[#query + 1] = name
      query[#query + 1] = args[name]
    end
  end
  if args.secrets then
    query[#query + 1] = "secrets"
    query[#query + 1] = "1"
  end
  return query
end

--- Shows requests as they come.
---@return integer status, string|nil message
local function show(args, id, count, deadline)
  local target = remote.target_of("/trace", { "id", ("%.0f"):format(id) })
  local left, missed = count, 0
  while true do
    local status, problem, value = remote.get(args, target)
    if status ~= 0 then
      return 1, problem
    end
    left = left - follow.print(value.requests, { json = args.json, text = M.text })
    follow.say_lost(value.missed - missed, "requests")
    missed = value.missed
    if left <= 0 then
      return 0
    elseif core.now() >= deadline then
      return 1, "no such request has ended in that time"
    end
    core.pause(follow.INTERVAL)
  end
end

---@param args table
---@return integer status, string|nil message
function M.main(args)
  local count, time = follow.bounds(args, 1, 1000)
  if not count then
    return 2, time
  end
  local status, problem, order = remote.order(args, "/trace", query_of(args, count))
  if not order then
    return status, problem
  end
  io.stderr:write(("waiting for %s\n"):format(count == 1 and "a request" or count .. " requests"))
  status, problem = show(args, order.id, count, core.now() + time)
  remote.order(args, "/trace", { "end", ("%.0f"):format(order.id) })
  return status, problem
end

return M
