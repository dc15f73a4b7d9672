-- moongate.testing.specs owns the running of specs by busted, inside this process: `moongate test`,
-- and a reload that looks at the specs of its route first. Called by cli.test, by core/ in the
-- loader, and by testing, which asks which route it is.
--
-- busted is put together here as its own command line does it, since that one reads the options, a
-- `.busted` of whatever folder this is, and ends the process.

local M = {}

--- The path of the route whose specs are run; nil while none are.
---@type string|nil
M.route = nil

--- How to get busted.
M.INSTALL = "busted is not installed; on Debian: apt-get install lua-busted"

---@class moongate.testing.specs.Result
---@field passed integer
---@field skipped integer pending ones
---@field failed string[] `FILE:LINE: NAME: message`, in their order
---@field cases moongate.testing.output.Case[] every test, and every file that could not be read

--- The names of a test and of those around it.
local function full_name(busted, element)
  local names = {}
  local at = element
  while at and at.descriptor ~= "file" and at.descriptor ~= "suite" do
    if type(at.name) == "string" then
      table.insert(names, 1, at.name)
    end
    at = busted.context.parent(at)
  end
  return table.concat(names, " ")
end

--- One failure, `FILE:LINE: NAME: message`.
local function describe(busted, element, message, trace)
  message = type(message) == "string" and message or tostring(message)
  local name = full_name(busted, element)
  local place, text = message:match("^([^\n]-:%d+): (.*)$")
  if not place then
    return (name ~= "" and name .. ": " or "") .. message
  end
  local file, line = place:match("^(.*):(%d+)$")
  -- Lua shortens long names of files; the trace has them in full.
  if type(trace) == "table" and trace.short_src == file and trace.source then
    file = trace.source:gsub("^@", "")
  end
  return ("%s:%s: %s%s"):format(file, line, name ~= "" and name .. ": " or "", text)
end

--- The file that a test is in.
local function file_of(busted, element)
  local at = element
  while at and at.descriptor ~= "file" do
    at = busted.context.parent(at)
  end
  return at and type(at.name) == "string" and at.name or "?"
end

--- Counts what happens.
---@return moongate.testing.specs.Result
local function listen(busted)
  local result = { passed = 0, skipped = 0, failed = {}, cases = {} }
  local problem -- of the test at hand
  local function add_case(element, status, message)
    local name = full_name(busted, element)
    table.insert(result.cases, {
      name = name ~= "" and name or "?", file = file_of(busted, element), status = status,
      seconds = tonumber(element.duration) or 0, message = message,
    })
  end
  local function failed(element, _, message, trace)
    local text = describe(busted, element, message, trace)
    table.insert(result.failed, text)
    if element.descriptor == "it" then
      problem = problem or text
    else -- outside of a test: of a file, or of what a `describe` sets up
      add_case(element, "failed", text)
    end
    return nil, true
  end
  busted.subscribe({ "failure" }, failed)
  busted.subscribe({ "error" }, failed)
  busted.subscribe({ "test", "end" }, function(element, _, status)
    if problem then
      add_case(element, "failed", problem)
    elseif status == "success" then
      result.passed = result.passed + 1
      add_case(element, "passed")
    elseif status == "pending" then
      result.skipped = result.skipped + 1
      add_case(element, "skipped")
    end
    problem = nil
    return nil, true
  end)
  return result
end

--- Leaves out the tests whose names, with those around them, a pattern does not match.
local function select_tests(busted, pattern)
  require("busted.modules.filter_loader")()(busted, {
    tags = {}, excludeTags = {}, filter = { pattern }, filterOut = {}, name = {},
  })
end

--- A busted of our own.
---@return table|nil busted
---@return string|nil problem
local function load_busted()
  local ok, make = pcall(require, "busted.core")
  if not ok then
    local missing = tostring(make):find("module 'busted.core' not found", 1, true)
    return nil, missing and M.INSTALL or "busted cannot be loaded: " .. tostring(make)
  end
  local busted = make()
  require("busted")(busted)
  require("busted.languages.en")
  require("busted.luajit")()
  busted.randomseed = os.time()
  return busted
end

--- Runs the specs of a route: once in a process, since busted has one state.
---@param paths string[] files, and folders in which *_spec.lua are looked for
---@param settings table of the route, normalized
---@param pattern string|nil of the names of the tests that are run; nil: all
---@return moongate.testing.specs.Result|nil result
---@return string|nil problem why nothing was run
function M.run(paths, settings, pattern)
  M.route = settings.source
  local ok, busted, problem = pcall(load_busted)
  if not ok or not busted then
    return nil, problem or tostring(busted)
  end
  local result = listen(busted)
  if pattern then
    select_tests(busted, pattern)
  end
  require("busted.modules.test_file_loader")(busted, { "lua" })(paths, { "_spec" }, {
    excludes = {}, recursive = true,
  })
  require("busted.execute")(busted)(1, {})
  busted.publish({ "exit" })
  return result
end

-- How much a refused reload says.
local MOST, LINES = 10, 8

--- The first lines of a text.
local function shortened(text)
  local lines = {}
  for line in text:gmatch("[^\n]+") do
    lines[#lines + 1] = line
    if #lines == LINES then
      break
    end
  end
  return table.concat(lines, "\n  ")
end

--- Runs the specs that the setting `test` names: a route that does not pass them is not served.
---@param settings table of the route, normalized
---@return string|nil problem nil where all pass, or there are none; else the first failures,
--- `FILE:LINE: message` each
function M.check(settings)
  if not settings.test then
    return nil
  end
  local result, problem = M.run({ settings.test }, settings)
  if not result then
    return ("%s: test: %s"):format(settings.source, problem)
  elseif #result.failed == 0 then
    return nil
  end
  local lines = {}
  for i = 1, math.min(#result.failed, MOST) do
    lines[i] = shortened(result.failed[i])
  end
  if #result.failed > MOST then
    lines[#lines + 1] = ("and %d more"):format(#result.failed - MOST)
  end
  return table.concat(lines, "\n")
end

return M
