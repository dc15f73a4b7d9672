-- moongate.worker.asking owns the options of moongate.fastcgi. Called by the core, where a script
-- gives some.

local describe = require("moongate.base.describe")
local ini = require("moongate.decision.ini")
local suggest = require("moongate.base.suggest")
local units = require("moongate.base.units")

local M = {}

local KEYS = { ini = true, timeout = true, digest = true, last = true }

--- The settings of PHP for a request: what the backend names, with the script's values.
---@return string|nil problem
---@return string|nil text of PHP_VALUE; nil where the backend is none of the route's
local function settings_text(settings, name, backends)
  local problem = ini.problem(settings)
  if problem then
    return "ini: " .. problem
  end
  for _, backend in ipairs(backends) do
    if backend.name == name then
      problem = ini.foreign(settings, backend)
      return problem and "ini: " .. problem, not problem and ini.text(backend.ini, settings) or nil
    end
  end
  return nil
end

--- Reads them.
---@param options any the fourth argument
---@param backend string the name of whom is asked
---@param normalized table the route's settings
---@return string|nil problem
---@return string|nil php_value
---@return number timeout seconds, 0 for none
---@return boolean digest
---@return boolean last
function M.options(options, backend, normalized)
  if type(options) ~= "table" then
    return "expected a table of options such as { timeout = \"5s\" } as fourth argument, got "
      .. describe(options)
  end
  local problem = suggest.options_problem(options, KEYS)
  local seconds, text = 0, nil
  if not problem and options.timeout ~= nil then
    seconds = units.duration(options.timeout)
    problem = not (seconds and seconds > 0) and ("timeout: expected %s, got %s"):format(
      units.DURATION, describe(options.timeout)) or nil
  end
  for _, key in ipairs({ "digest", "last" }) do
    if not problem and options[key] ~= nil and type(options[key]) ~= "boolean" then
      problem = ("%s: expected true or false, got %s"):format(key, describe(options[key]))
    end
  end
  if not problem and options.ini ~= nil then
    problem, text = settings_text(options.ini, backend, normalized.backends)
  end
  return problem, text, seconds or 0, options.digest == true, options.last == true
end

return M
