-- moongate.cli.test owns `moongate test`: the specs of a route. Called by moongate.cli.

local common = require("moongate.cli.common")
local core = require("moongate.core.commands")
local fs = require("moongate.base.fs")
local specs = require("moongate.testing.specs")
local units = require("moongate.base.units")

local M = {
  usage = "test ROUTE.lua [SPEC...] [OPTIONS]", summary = "run the specs of a route",
  help = [[
A SPEC is a file, or a folder in which *_spec.lua are run; without one it is the folder that the
route names by `test`, else `spec` beside the route. busted runs them, in this process:
apt-get install lua-busted. `require("moongate.testing")` gives them requests to the route.
What has not come to its end within --timeout is ended, and the line where it was is said.
]],
  options = {
    {
      name = "--timeout", value = "TIME",
      help = "what all of them may take, default 50s as in a reload",
    },
    { name = "--user", value = "NAME[:GROUP]", help = "whom to run them as when started as root" },
  },
  min = 1, max = 1000,
}

--- Which specs to run.
---@return string[]|nil paths
---@return string|nil problem
local function specs_of(args, settings)
  if #args > 1 then
    local paths = {}
    for i = 2, #args do
      local path = common.absolute(args[i])
      if not fs.stat(path) then
        return nil, ("%s: there is no such file or folder"):format(args[i])
      end
      paths[#paths + 1] = path
    end
    return paths
  elseif settings.test then
    return { settings.test }
  end
  local folder = settings.source:match("^(.*)/") .. "/spec"
  if fs.stat(folder) ~= "directory" then
    return nil, ("%s: it names no folder of specs ('test'), and there is no %s"):format(
      args[1], folder)
  end
  return { folder }
end

---@param args table
---@return integer status, string|nil message
function M.main(args)
  local seconds = args.timeout and units.duration(tonumber(args.timeout) or args.timeout)
  if args.timeout and not (seconds and seconds > 0) then
    return 2, "--timeout: expected " .. units.DURATION
  end
  local settings = common.load(args)
  if not settings then
    return 1
  end
  local paths, problem = specs_of(args, settings)
  if not paths then
    return 1, problem
  end
  local ended, result
  ended, result, problem = core.limited("specs", seconds, settings.source, specs.run, paths,
    settings)
  if not ended then
    io.stderr:write(tostring(result), "\n")
    return 1
  elseif not result then
    return 1, problem
  end
  for _, failure in ipairs(result.failed) do
    io.stderr:write(failure, "\n")
  end
  io.stdout:write(("%d passed, %d failed%s\n"):format(result.passed, #result.failed,
    result.skipped > 0 and (", %d not run"):format(result.skipped) or ""))
  return #result.failed == 0 and 0 or 1
end

return M
