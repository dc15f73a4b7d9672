-- moongate.ini owns the PHP settings that go with a request: `ini` of a backend and of a decision,
-- and the param PHP_VALUE that is made of them. Called by settings, decision, php and explain.
--
-- A child of PHP-FPM keeps the last value of a setting that it was sent, for the requests of others
-- too. So the backend says which settings there are, and every request sends them all: its own
-- values, or the backend's. PHP also keeps the old value where it does not accept the new one; so
-- the backend's value always goes first and the decision's in a line behind it.

local describe = require("moongate.describe")
local suggest = require("moongate.suggest")
local sorted_keys = require("moongate.keys").sorted

local M = {}

--- What `ini` is, for messages.
M.EXPECTED = 'a table from setting to value such as { memory_limit = "128M" }'

-- PHP adds to these when it is sent them, and never takes anything back.
local ADDED = {
  extension = true, zend_extension = true, disable_functions = true, disable_classes = true,
}

--- A value as PHP reads it between single quotes.
---@param value any
---@return string|nil text nil where it cannot stand there
---@return string|nil problem
local function text_of(value)
  local kind = type(value)
  if kind == "boolean" then
    return value and "1" or "0"
  elseif kind == "number" and value == value and value > -math.huge and value < math.huge then
    local whole = value % 1 == 0 and math.abs(value) < 2 ^ 53
    return (whole and "%.0f" or "%.14g"):format(value)
  elseif kind ~= "string" then
    return nil, "expected a text, a number, true or false, got "
      .. describe(value)
  elseif value:find("[%c%z]") then
    return nil, "a control character in its value"
  elseif value:find("'", 1, true) then
    return nil, "a single quote in its value, which PHP would take for its end"
  end
  return value
end

--- What is wrong with a table of settings in itself.
---@param ini any
---@return string|nil message nil where it is valid
function M.problem(ini)
  if type(ini) ~= "table" then
    return ("expected %s, got %s"):format(M.EXPECTED,
      describe(ini))
  end
  for _, name in ipairs(sorted_keys(ini)) do
    if type(name) ~= "string" then
      return 'the keys are names of settings, as in { memory_limit = "128M" }; there is one without'
    elseif not name:match("^[%w_.]+$") then
      return ("'%s' cannot be the name of a setting"):format((name:gsub("%c", "?")))
    elseif ADDED[name] then
      return ("'%s' is refused: PHP can only add to it, and would keep it for every later request")
        :format(name)
    end
    local value, problem = text_of(ini[name])
    if not value then
      return ("'%s': %s"):format(name, problem)
    end
  end
  return nil
end

--- A valid table as a list in order.
---@param ini table
---@return string[][] list of { name, value }
function M.list(ini)
  local list = {}
  for i, name in ipairs(sorted_keys(ini)) do
    list[i] = { name, (text_of(ini[name])) }
  end
  return list
end

--- Why a decision may not set what it sets: the backend does not name it.
---@param ini table a decision's, valid in itself
---@param backend table normalized: `name` and `ini`
---@return string|nil message
function M.foreign(ini, backend)
  local known = {}
  for _, setting in ipairs(backend.ini) do
    known[setting[1]] = true
  end
  for _, name in ipairs(sorted_keys(ini)) do
    if not known[name] then
      return ("'%s' is not in the 'ini' of backend '%s', which must name every setting and its "
        .. "value for other requests, since PHP-FPM's processes keep the last one that they saw%s")
        :format(name, backend.name, suggest.hint(name, known))
    end
  end
  return nil
end

--- The first setting that only one of two backends names.
---@param a string[][] as from `list`
---@param b string[][]
---@return string|nil name nil where both name the same
function M.difference(a, b)
  for i = 1, math.max(#a, #b) do
    local one, other = a[i] and a[i][1], b[i] and b[i][1]
    if one ~= other then
      return (not other or one and one < other) and one or other
    end
  end
  return nil
end

--- The value of the param PHP_VALUE.
---@param list string[][] the backend's settings
---@param ini table|nil a decision's, which the backend knows
---@return string text lines of `name='value'`
function M.text(list, ini)
  local lines, count = {}, 0
  for i = 1, #list do
    local name, default = list[i][1], list[i][2]
    count = count + 1
    lines[count] = name .. "='" .. default .. "'"
    local own = ini and ini[name]
    own = own ~= nil and text_of(own) or default
    if own ~= default then
      count = count + 1
      lines[count] = name .. "='" .. own .. "'"
    end
  end
  return table.concat(lines, "\n")
end

return M
