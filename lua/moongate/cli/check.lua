-- moongate.cli.check owns `moongate check`: is a route valid? Called by cli.commands.

local common = require("moongate.cli.common")
local core = require("moongate.core.commands")
local probes = require("moongate.testing.probes")
local warnings = require("moongate.route.warnings")

local M = {
  usage = "check ROUTE.lua", summary = "load and validate a route",
  help = [[
on_request and on_params are run for requests that every site gets: /, /index.php, /index.php/x, a
folder, an unknown host, and no host. Nothing is sent. A hook that waits is not followed.
]],
  options = {
    { name = "--user", value = "NAME[:GROUP]", help = "whom to load it as when started as root" },
    { name = "--sandbox", help = "as in `moongate run --sandbox`" },
  },
  min = 1, max = 1,
}

---@param args table
---@return integer status
function M.main(args)
  local settings = common.load(args)
  if not settings then
    return 1
  end
  local ok, list = core.limited("loading", nil, settings.source, warnings.of, settings)
  if not ok then
    io.stderr:write(tostring(list), "\n")
    return 1
  end
  for _, warning in ipairs(list) do
    io.stderr:write(("%s: warning: %s\n"):format(args[1], warning))
  end
  local problems
  ok, problems = core.limited("hook", settings.script_timeout, settings.hook_source.on_request,
    probes.problems, settings)
  if not ok then
    problems = { tostring(problems) }
  end
  if #problems > 0 then
    io.stderr:write(table.concat(problems, "\n"), "\n")
    return 1
  end
  io.stdout:write("ok\n")
  return 0
end

return M
