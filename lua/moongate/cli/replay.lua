-- moongate.cli.replay owns `moongate explain --log`: what becomes of the requests of an access log,
-- and what would change from another route, or from what the log says. Called by cli.explain.
--
-- The other route runs in a process of its own, since two routes may have modules of one name. Both
-- read the log line by line, and one line of JSON comes back for each request.

local common = require("moongate.cli.common")
local core = require("moongate.core.commands")
local json = require("moongate.base.json")
local testing = require("moongate.testing")
local sorted_keys = require("moongate.base.keys").sorted

local M = {}

local GROUPS_MAX = 200 -- kinds of changes that are told apart; the rest are counted together
local LINE_MAX = 1024 * 1024

-- Params that differ from one connection to the next.
local VOLATILE = { REMOTE_PORT = true }

-- One request -------------------------------------------------------------------------------------

---@class moongate.cli.replay.Outcome
---@field line integer of the log
---@field kind string|nil
---@field status integer|nil
---@field backend string|nil
---@field file string|nil
---@field redirect string|nil
---@field error string|nil
---@field params table<string, string>|nil

--- The request that a line of the log tells of.
---@return table|nil entry
local function entry_of(text)
  if #text > LINE_MAX then
    return nil
  end
  local entry = json.decode(text)
  if type(entry) ~= "table" or type(entry.method) ~= "string" or type(entry.uri) ~= "string" then
    return nil
  end
  return entry
end

local function string_of(value)
  return type(value) == "string" and value or nil
end

--- What becomes of it.
---@param route moongate.testing.Route
---@return moongate.cli.replay.Outcome
local function outcome_of(route, args, entry, line)
  local host = type(entry.host) == "string" and entry.host ~= "" and entry.host or nil
  local settings = route.settings
  local ok, out = core.limited("hook", settings.script_timeout, settings.hook_source.on_request,
    function()
      return route:request({
        url = entry.uri, method = entry.method,
        headers = {
          Host = host, Referer = string_of(entry.referer),
          ["User-Agent"] = string_of(entry.user_agent),
        },
        ip = type(entry.client) == "string" and entry.client or nil,
        listener = args.listener, https = args.https or entry.scheme == "https",
      })
    end)
  if not ok then
    return { line = line, error = (tostring(out):gsub("\nstack traceback:.*$", "")) }
  end
  local params = {}
  for name, value in pairs(out.params or {}) do
    params[name] = not VOLATILE[name] and value or nil
  end
  return {
    line = line, kind = out.kind, status = out.status, backend = out.backend, file = out.file,
    redirect = out.redirect, error = out.error, params = out.params and params,
  }
end

-- Changes -----------------------------------------------------------------------------------------

local FACETS = { "kind", "status", "backend", "file", "redirect", "error" }

--- The facets that differ, in an order: those that name the change first.
---@return { name: string, old: any, new: any, is_param: boolean|nil }[]
local function differences(old, new)
  local list = {}
  for _, name in ipairs(FACETS) do
    if old[name] ~= new[name] then
      list[#list + 1] = { name = name, old = old[name], new = new[name] }
    end
  end
  if old.params and new.params then
    local names = {}
    for name in pairs(old.params) do
      names[name] = true
    end
    for name in pairs(new.params) do
      names[name] = true
    end
    for _, name in ipairs(sorted_keys(names)) do
      if old.params[name] ~= new.params[name] then
        list[#list + 1] = {
          name = name, old = old.params[name], new = new.params[name], is_param = true,
        }
      end
    end
  end
  return list
end

local function shown(value)
  return value == nil and "(none)" or tostring(value)
end

-- Facets whose values are few: they are part of a change's name.
local NAMED = { kind = true, status = true, backend = true }

--- What a change is called: requests with the same name are one group.
local function name_of(list)
  local parts, params = {}, {}
  for _, one in ipairs(list) do
    if one.is_param then
      params[#params + 1] = one.name
    elseif NAMED[one.name] then
      parts[#parts + 1] = ("%s %s -> %s"):format(one.name, shown(one.old), shown(one.new))
    else
      parts[#parts + 1] = one.name
    end
  end
  if #params > 0 then
    parts[#parts + 1] = "params " .. table.concat(params, " ")
  end
  return table.concat(parts, "; ")
end

--- Counts a change, and keeps the first of its kind as an example.
local function note(report, list, entry, line)
  report.changed = report.changed + 1
  local name = name_of(list)
  local group = report.by_name[name]
  if not group and #report.groups == GROUPS_MAX then
    report.others = report.others + 1
    return
  elseif not group then
    group = { name = name, count = 0, list = list, line = line, entry = entry }
    report.by_name[name] = group
    report.groups[#report.groups + 1] = group
  end
  group.count = group.count + 1
end

--- What the log itself says became of a request; only what a route decides, not what an application
--- answered.
local function logged(entry, new)
  local backend = type(entry.backend) == "string" and entry.backend ~= "" and entry.backend or nil
  return {
    kind = new.kind, file = new.file, redirect = new.redirect, error = new.error,
    params = new.params, backend = backend, status = new.status and entry.status or nil,
  }
end

local function print_report(report)
  table.sort(report.groups, function(a, b)
    if a.count ~= b.count then
      return a.count > b.count
    end
    return a.line < b.line
  end)
  io.stdout:write(("%d requests, %d would change%s\n"):format(report.requests, report.changed,
    report.odd > 0 and (", %d lines are no requests"):format(report.odd) or ""))
  for _, group in ipairs(report.groups) do
    io.stdout:write(("\n%6d  %s\n        line %d: %s %s%s\n"):format(group.count, group.name,
      group.line, group.entry.method, group.entry.host and "http://" .. group.entry.host or "",
      group.entry.uri))
    for _, one in ipairs(group.list) do
      if one.is_param or not NAMED[one.name] then
        io.stdout:write(("          %s: %s -> %s\n"):format(one.name, shown(one.old),
          shown(one.new)))
      end
    end
  end
  if report.others > 0 then
    io.stdout:write(("\n%6d  in other ways\n"):format(report.others))
  end
end

-- The command -------------------------------------------------------------------------------------

local function to_line(value)
  return (json.encode(value):gsub("\n%s*", "")) .. "\n" -- newlines of strings are escaped
end

--- Starts this program with the other route; its output is one line for each request.
---@return file*|nil pipe
---@return string|nil problem
local function other(args)
  local words = { core.realpath("/proc/self/exe"), "explain", "--json", "--log", args.log }
  for _, option in ipairs({ "listener", "user" }) do
    if args[option] then
      words[#words + 1] = "--" .. option
      words[#words + 1] = args[option]
    end
  end
  if args.https then
    words[#words + 1] = "--https"
  end
  words[#words + 1] = "--"
  words[#words + 1] = args.against
  for i, word in ipairs(words) do
    words[i] = "'" .. word:gsub("'", "'\\''") .. "'"
  end
  return io.popen(table.concat(words, " "))
end

--- Reads the log to its end; `each` gets every request, with its line.
---@return integer odd lines that are none
local function read_log(file, each)
  local line, odd = 0, 0
  for text in file:lines() do
    line = line + 1
    local entry = entry_of(text)
    if not entry then
      odd = odd + (text:find("%S") and 1 or 0)
    elseif each(entry, line) == false then
      break
    end
  end
  return odd
end

--- What is wrong with the options.
local function check(args)
  if args[2] or args.curl then
    return "--log: the requests are those of the log; leave the URL out"
  elseif args.headers or args.ip or args.body then
    return "--log: -H, --ip and --body are for one request"
  elseif args.against and args.json then
    return "--against: its report is in words, without --json"
  elseif args.against and args.log == "-" then
    return "--against: both routes read the log, so it must be a file"
  end
  return nil
end

---@param args table of explain, with `log`
---@return integer status 1 where something would change; the shell knows that from diff
---@return string|nil message
function M.main(args)
  local wrong = check(args)
  if wrong then
    return 2, wrong
  end
  local file, problem = io.stdin, nil
  if args.log ~= "-" then
    file, problem = io.open(args.log)
  end
  if not file then
    return 1, "--log: " .. problem
  end
  local pipe
  if args.against then -- before this process becomes another user
    pipe, problem = other(args)
    if not pipe then
      return 1, "--against: " .. tostring(problem)
    end
  end
  local settings = common.load(args)
  if not settings then
    return 1
  end
  local route = testing.of(settings)
  local report = { requests = 0, changed = 0, others = 0, odd = 0, groups = {}, by_name = {} }
  local short = false
  report.odd = read_log(file, function(entry, line)
    report.requests = report.requests + 1
    local new = outcome_of(route, args, entry, line)
    if args.json then
      io.stdout:write(to_line(new))
      return true
    end
    local text = pipe and pipe:read("*l")
    local old = text and json.decode(text) or nil
    if pipe and (not old or old.line ~= line) then
      short = true
      return false
    end
    local list = differences(old or logged(entry, new), new)
    if #list > 0 then
      note(report, list, entry, line)
    end
    return true
  end)
  if pipe then
    pipe:close()
  end
  if short then -- it has said on stderr why
    return 1, ("--against: %s did not come to the end of the log"):format(args.against)
  elseif args.json then
    return 0
  end
  print_report(report)
  return report.changed > 0 and 1 or 0
end

return M
