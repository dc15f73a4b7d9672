-- moongate.cli.test owns `moongate test`: the specs of a route. Called by cli.commands.

local common = require("moongate.cli.common")
local core = require("moongate.core.commands")
local fs = require("moongate.base.fs")
local output = require("moongate.testing.output")
local specs = require("moongate.testing.specs")
local suggest = require("moongate.base.suggest")
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
      name = "--filter", value = "PATTERN",
      help = "run the tests whose full name a pattern of Lua matches",
    },
    { name = "--output", value = "FORM", help = "words, tap or junit; the first by default" },
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

local FORMS = { "words", "tap", "junit" }

--- What is wrong with --filter and --output.
---@return string|nil problem
local function check_words(args)
  local form = args.output or "words"
  if form ~= "words" and form ~= "tap" and form ~= "junit" then
    return ("--output: expected words, tap or junit, not '%s'%s"):format(form,
      suggest.hint(form, FORMS))
  end
  local ok, problem = pcall(string.find, "", args.filter or "")
  if not ok then
    return ("--filter: '%s' is no pattern of Lua: %s"):format(args.filter,
      tostring(problem):gsub("^.-:%d+: ", ""))
  end
  return nil
end

--- Prints the result, the failures on stderr first where people read it.
local function print_result(result, form)
  if form == "words" then
    for _, failure in ipairs(result.failed) do
      io.stderr:write(failure, "\n")
    end
  end
  io.stdout:write(output[form](result))
end

---@param args table
---@return integer status, string|nil message
function M.main(args)
  local wrong = check_words(args)
  if wrong then
    return 2, wrong
  end
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
    settings, args.filter)
  if not ended then
    io.stderr:write(tostring(result), "\n")
    return 1
  elseif not result then
    return 1, problem
  end
  print_result(result, args.output or "words")
  if #result.failed == 0 and args.filter and result.passed + result.skipped == 0 then
    return 1, ("--filter: no test has a name that '%s' matches"):format(args.filter)
  end
  return #result.failed == 0 and 0 or 1
end

return M
