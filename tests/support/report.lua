-- How busted tells what happened (tools/test gives it to --output): failures at once and in full,
-- one line for each file, and at the end the line that tools/test adds up. A pending test counts as
-- failed, since it has not shown anything.

local BASE = "busted.outputHandlers.base"

return function()
  local busted = require("busted")
  local handler = require(BASE)()
  local file_start, counted = { passed = 0, failed = 0 }, 0

  local function write(...)
    io.write(...)
    io.flush()
  end

  local function totals()
    return handler.successesCount,
      handler.failuresCount + handler.errorsCount + handler.pendingsCount
  end

  local function describe(found, word)
    local trace = found.trace or found.element.trace or {}
    local message = found.message
    if type(message) ~= "string" then
      message = message == nil and "" or require("pl.pretty").write(message)
    end
    local place = ("%s:%s"):format(trace.short_src or "?", tostring(trace.currentline or "?"))
    write(("%s: %s: %s\n    %s\n"):format(place, word, found.name, (message:gsub("\n", "\n    "))))
  end

  -- Writes the failures that have come since the last call.
  local function flush()
    local known = #handler.failures + #handler.errors + #handler.pendings
    if known == counted then
      return
    end
    counted = known
    for _, list in ipairs({ handler.failures, handler.errors, handler.pendings }) do
      for _, found in ipairs(list) do
        if not found.told then
          found.told = true
          describe(found, list == handler.pendings and "not run" or "failed")
        end
      end
    end
  end

  handler.testEnd = function()
    flush()
    return nil, true
  end

  handler.fileStart = function()
    file_start.passed, file_start.failed = totals()
    return nil, true
  end

  handler.fileEnd = function(file)
    flush()
    local passed, failed = totals()
    write(("%-52s %3d passed, %d failed, %.1f s\n"):format(
      file.name, passed - file_start.passed, failed - file_start.failed, file.duration or 0))
    return nil, true
  end

  handler.suiteEnd = function()
    flush()
    write(("%d passed, %d failed\n"):format(totals()))
    return nil, true
  end

  busted.subscribe({ "test", "end" }, handler.testEnd)
  busted.subscribe({ "file", "start" }, handler.fileStart)
  busted.subscribe({ "file", "end" }, handler.fileEnd)
  busted.subscribe({ "suite", "end" }, handler.suiteEnd)
  return handler
end
