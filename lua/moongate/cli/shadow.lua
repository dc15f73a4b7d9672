-- moongate.cli.shadow owns `moongate shadow`: what the copies of moongate.shadow have found, worst
-- first. Called by cli.commands.

local remote = require("moongate.cli.remote")
local sorted_keys = require("moongate.base.keys").sorted

local M = {
  usage = "shadow report|clear [ROUTE.lua] [OPTIONS]",
  summary = "what another backend would answer differently, worst first",
  help = [[
`report` shows what the copies of requests have found (moongate.shadow), of each script how many of
its answers differ and in what, over all workers since the start or the last `clear`, which forgets
it all. A finding is shown with the first request that had it.
]] .. remote.ROUTE_HELP,
  options = {
    { name = "--name", value = "NAME", help = "of one of the route's shadows only" },
    remote.JSON_OPTION, remote.CONTROL_OPTION,
  },
  min = 1, max = 1, route_at = 2,
}

local SHOWN = 40 -- scripts with findings

--- What a kind of finding is called.
local WORDS = {
  failed = "no answer", error = "error", fatal = "PHP fatal", parse = "PHP parse",
  status = "status", header = "header", body = "body", slower = "slower", warning = "PHP warning",
  notice = "PHP notice", deprecated = "deprecated", info = "STDERR", gone = "no more",
}

local function plural(number, word)
  return ("%.0f %s%s"):format(number, word, number == 1 and "" or "s")
end

local function heading(lines, shadow)
  lines[#lines + 1] = ("shadow '%s' to backend '%s', %s of the safe requests: %s compared, %.0f "
    .. "the same"):format(shadow.name, shadow.to, shadow.sample or "?",
    plural(shadow.compared, "request"), shadow.same)
  for _, reason in ipairs(sorted_keys(shadow.skipped)) do
    lines[#lines + 1] = ("  not compared: %.0f, %s"):format(shadow.skipped[reason], reason)
  end
end

local function script_lines(lines, script)
  lines[#lines + 1] = ("\n%s: %s compared%s"):format(script.script, plural(script.seen, "request"),
    script.varies and (", of which %.0f with a body that differs from itself"):format(script.varies)
    or "")
  for _, finding in ipairs(script.findings) do
    lines[#lines + 1] = ("  %-11s %5.0f  %s"):format(WORDS[finding.kind] or finding.kind,
      finding.count, finding.text)
    if finding.such then
      lines[#lines + 1] = (" "):rep(21) .. finding.such
    end
  end
end

--- One shadow's report as lines.
---@param shadow table as worker/control tells it
---@return string
function M.text(shadow)
  local lines, shown, left, same = {}, 0, 0, 0
  heading(lines, shadow)
  for _, script in ipairs(shadow.scripts) do
    if #script.findings == 0 then
      same = same + 1
    elseif shown < SHOWN then
      script_lines(lines, script)
      shown = shown + 1
    else
      left = left + 1
    end
  end
  if left > 0 then
    lines[#lines + 1] = ("\n%s more with differences: --json has all")
      :format(plural(left, "script"))
  end
  if same > 0 then
    lines[#lines + 1] = ("\n%s without any difference"):format(plural(same, "script"))
  end
  return table.concat(lines, "\n") .. "\n"
end

local function clear(args, query)
  return remote.post(args, { path = "/shadow", query = query, waits = false,
    done = "what was found is forgotten" })
end

---@param args table
---@return integer status, string|nil message
function M.main(args)
  local query = args.name and { "name", args.name } or {}
  if args[1] == "clear" then
    return clear(args, query)
  elseif args[1] ~= "report" then
    return 2, ("expected `report` or `clear`, got '%s'"):format(args[1])
  end
  local status, problem, reports = remote.show(args, remote.target_of("/shadow", query))
  if not reports then
    return status, problem
  end
  for i, shadow in ipairs(reports) do
    io.stdout:write(i > 1 and "\n" or "", M.text(shadow))
  end
  return 0
end

return M
