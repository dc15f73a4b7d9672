-- moongate.decision.ini owns the PHP settings that go with a request: `ini` of a backend and of a
-- decision, and the param PHP_VALUE that is made of them. Called by settings, decision, load and
-- simulate.
--
-- A child of PHP-FPM keeps the last value of a setting that it was sent, for the requests of others
-- too. So the backend says which settings there are, and every request sends them all: its own
-- values, or the backend's. PHP also keeps the old value where it does not accept the new one; so
-- the backend's value always goes first and the decision's in a line behind it.
--
-- For the same reason a setting that a reload takes away is reported: no request sends its
-- value any more, and the children go on with the last one.

local describe = require("moongate.base.describe")
local suggest = require("moongate.base.suggest")
local sorted_keys = require("moongate.base.keys").sorted

local M = {}

--- What `ini` is, for messages.
M.EXPECTED = 'a table from setting to value such as { memory_limit = "128M" }'

-- PHP adds to these when it is sent them, and never takes anything back.
local ADDED = {
  extension = true, zend_extension = true, disable_functions = true, disable_classes = true,
}

-- PHP's names for kinds of errors, which it knows in a bare value only: between quotes they are 0.
local KINDS = {}
for name in ("E_ALL E_ERROR E_WARNING E_PARSE E_NOTICE E_CORE_ERROR E_CORE_WARNING E_COMPILE_ERROR "
  .. "E_COMPILE_WARNING E_USER_ERROR E_USER_WARNING E_USER_NOTICE E_STRICT E_RECOVERABLE_ERROR "
  .. "E_DEPRECATED E_USER_DEPRECATED"):gmatch("%S+") do
  KINDS[name] = true
end

-- Longer than any that makes sense, and shorter than what PHP's parser can't nest any more: where
-- that gives up it also drops the settings behind, which then stay those of another request.
local MASK_MAX = 1000

--- Is it an expression such as "E_ALL & ~E_DEPRECATED"? Anything that PHP could not read to its end
--- is none.
---@param text string
---@return boolean
local function is_mask(text)
  if #text > MASK_MAX or not text:find("E_", 1, true) then
    return false
  end
  local left = text:gsub("[%w_]+", function(word)
    return (KINDS[word] or word:match("^%d+$")) and "x" or "?"
  end):gsub(" ", "")
  local before
  repeat
    before = left
    left = left:gsub("%(x%)", "x"):gsub("[~!]x", "x"):gsub("x[|&^]x", "x")
  until left == before
  return left == "x"
end

--- A value as text that PHP_VALUE can hold.
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

--- A line of PHP_VALUE.
---@param name string
---@param text string as from `text_of`
---@return string
local function line_of(name, text)
  if text == "" then
    return name .. '=""' -- PHP does not read two single quotes as a value
  elseif is_mask(text) then
    return name .. "=" .. text
  end
  return name .. "='" .. text .. "'"
end

--- Why PHP would take a text for 0, and tell of no errors at all.
---@param name string
---@param text string as from `text_of`
---@return string|nil message
local function mask_problem(name, text)
  if name ~= "error_reporting" or text:match("^%-?%d+$") or is_mask(text) then
    return nil
  end
  local hint = ""
  for word in text:gmatch("E_[%w_]*") do
    hint = hint == "" and not KINDS[word] and suggest.hint(word, KINDS) or hint
  end
  return ('expected a number or an expression such as "E_ALL & ~E_DEPRECATED", got %s, which PHP '
    .. "would take for 0%s"):format(describe(text), hint)
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
    problem = problem or mask_problem(name, value)
    if problem then
      return ("'%s': %s"):format(name, problem)
    end
  end
  return nil
end

--- A valid table as a list in order.
---@param ini table
---@return string[][] list of { name, value, its line of PHP_VALUE }
function M.list(ini)
  local list = {}
  for i, name in ipairs(sorted_keys(ini)) do
    local text = text_of(ini[name])
    list[i] = { name, text, line_of(name, text) }
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
---@return string text lines of `name='value'`, `name=""` or `name=E_ALL`
function M.text(list, ini)
  local lines, count = {}, 0
  for i = 1, #list do
    local name, default = list[i][1], list[i][2]
    count = count + 1
    lines[count] = list[i][3]
    local own = ini and ini[name]
    own = own ~= nil and text_of(own) or default
    if own ~= default then
      count = count + 1
      lines[count] = line_of(name, own)
    end
  end
  return table.concat(lines, "\n")
end

-- Reloads -----------------------------------------------------------------------------------------

--- Which settings each server is sent: one line, for `dropped` of the next generation.
---@param backends table[] normalized: `ini` and `servers`
---@return string line tab-separated: "=" and names, the addresses of who is sent them, and again
function M.record(backends)
  local words = {}
  for _, backend in ipairs(backends) do
    local names = {}
    for i, setting in ipairs(backend.ini) do
      names[i] = setting[1]
    end
    if #names > 0 then
      words[#words + 1] = "=" .. table.concat(names, " ")
      for _, server in ipairs(backend.servers) do
        words[#words + 1] = server.address
      end
    end
  end
  return table.concat(words, "\t")
end

---@param record string
---@return table<string, string> # address -> names
local function read_record(record)
  local sent, names = {}, nil
  for word in record:gmatch("[^\t]+") do
    local begun = word:match("^=(.*)$")
    if begun then
      names = begun
    else
      sent[word] = names
    end
  end
  return sent
end

--- A list in a sentence, cut where it is long.
local function some(list)
  local more = #list - 3
  return table.concat(list, ", ", 1, math.min(#list, 3))
    .. (more > 0 and (" and %d more"):format(more) or "")
end

--- What the servers of a backend were sent, and will not be any more.
---@param sent table<string, string> servers that have been looked at are taken out
---@return string|nil text
local function dropped_by(backend, sent)
  local known, lost, places = {}, {}, {}
  for _, setting in ipairs(backend.ini) do
    known[setting[1]] = true
  end
  for _, server in ipairs(backend.servers) do
    local address, is_one = server.address, false
    for name in (sent[address] or ""):gmatch("%S+") do
      if not known[name] then
        lost["'" .. name .. "'"], is_one = true, true
      end
    end
    places[#places + 1] = is_one and address or nil
    sent[address] = nil -- backends that share it name the same settings
  end
  return #places > 0 and ("%s (backend '%s' at %s)"):format(some(sorted_keys(lost)), backend.name,
    some(places)) or nil
end

--- What to do where a server is not sent any more what it has been sent so far.
---@param record string of the generation that serves
---@param backends table[] normalized, of the one that comes
---@return string|nil message nil where all settings are still sent
function M.dropped(record, backends)
  local sent, found = read_record(record), {}
  for _, backend in ipairs(backends) do
    found[#found + 1] = dropped_by(backend, sent)
  end
  return #found > 0 and ("'ini' no longer names %s: PHP-FPM's processes there keep the value that "
    .. "they were sent last, for every request; restart PHP-FPM there, or name the setting again "
    .. "with a value for all"):format(some(found)) or nil
end

return M
