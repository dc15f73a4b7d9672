-- moongate.testing.output owns the forms in which the result of specs is printed: words, TAP for
-- other programs, JUnit's XML for build servers. Called by cli.test.

local M = {}

---@class moongate.testing.output.Case
---@field name string of the test and those around it
---@field file string the spec's path
---@field status "passed"|"failed"|"skipped"
---@field seconds number
---@field message string|nil of one that failed, `FILE:LINE: NAME: text`

--- The last line for people.
---@param result moongate.testing.specs.Result
---@return string
function M.words(result)
  return ("%d passed, %d failed%s\n"):format(result.passed, #result.failed,
    result.skipped > 0 and (", %d not run"):format(result.skipped) or "")
end

local function one_line(text)
  return (text:gsub("[\r\n]+", " "):gsub("#", "\\#"))
end

--- TAP version 13: a line for each test; why it failed stands in lines that begin with #.
---@param result moongate.testing.specs.Result
---@return string
function M.tap(result)
  local lines = { "TAP version 13\n", ("1..%d\n"):format(#result.cases) }
  for i, case in ipairs(result.cases) do
    lines[#lines + 1] = ("%sok %d - %s%s\n"):format(case.status == "failed" and "not " or "", i,
      one_line(case.name), case.status == "skipped" and " # SKIP" or "")
    for line in (case.message or ""):gmatch("[^\n]+") do
      lines[#lines + 1] = "# " .. line .. "\n"
    end
  end
  return table.concat(lines)
end

local ENTITIES = { ["&"] = "&amp;", ["<"] = "&lt;", [">"] = "&gt;", ['"'] = "&quot;" }

--- Text in XML, which has no way to say control bytes.
local function xml(text)
  return (text:gsub("[%z\1-\8\11\12\14-\31\127]", "?"):gsub('[&<>"]', ENTITIES))
end

--- JUnit's XML, one test suite for each file.
---@param result moongate.testing.specs.Result
---@return string
function M.junit(result)
  local files, suites = {}, {}
  for _, case in ipairs(result.cases) do
    local suite = suites[case.file]
    if not suite then
      suite = { file = case.file, failed = 0, skipped = 0, seconds = 0 }
      suites[case.file], files[#files + 1] = suite, suite
    end
    suite[#suite + 1] = case
    suite.failed = suite.failed + (case.status == "failed" and 1 or 0)
    suite.skipped = suite.skipped + (case.status == "skipped" and 1 or 0)
    suite.seconds = suite.seconds + case.seconds
  end
  local lines = { '<?xml version="1.0" encoding="UTF-8"?>\n<testsuites>\n' }
  local function add(text, ...)
    lines[#lines + 1] = text:format(...)
  end
  for _, suite in ipairs(files) do
    add('  <testsuite name="%s" tests="%d" failures="%d" skipped="%d" time="%.3f">\n',
      xml(suite.file), #suite, suite.failed, suite.skipped, suite.seconds)
    for _, case in ipairs(suite) do
      add('    <testcase classname="%s" name="%s" time="%.3f"', xml(case.file), xml(case.name),
        case.seconds)
      if case.status == "failed" then
        add('>\n      <failure message="%s">%s</failure>\n    </testcase>\n',
          xml(case.message:match("^[^\n]*")), xml(case.message))
      elseif case.status == "skipped" then
        add(">\n      <skipped/>\n    </testcase>\n")
      else
        add("/>\n")
      end
    end
    add("  </testsuite>\n")
  end
  add("</testsuites>\n")
  return table.concat(lines)
end

return M
