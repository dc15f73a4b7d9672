-- moongate.decision.compress owns `compress` of routes and decisions: which responses are sent in a
-- content coding, and in which. Called by schema, decision and core/ (script/compressing).

local describe = require("moongate.base.describe")
local features = require("moongate.base.features")
local suggest = require("moongate.base.suggest")
local units = require("moongate.base.units")
local sorted_keys = require("moongate.base.keys").sorted

local M = {}

--- The codings that this build makes, the preferred one first.
M.ENCODINGS = {}
for _, name in ipairs({ "zstd", "br", "gzip" }) do
  if features.has(name) then
    M.ENCODINGS[#M.ENCODINGS + 1] = name
  end
end

--- Media types whose texts are worth it. What is compressed already (pictures, films, archives,
--- WOFF) is not among them.
M.TYPES = {
  "text/*", "application/javascript", "application/json", "application/ld+json",
  "application/manifest+json", "application/problem+json", "application/xml",
  "application/xhtml+xml", "application/rss+xml", "application/atom+xml", "application/wasm",
  "application/vnd.ms-fontobject", "font/ttf", "font/otf", "image/svg+xml", "image/bmp",
}

--- Smaller bodies become larger, or no packet less.
M.MIN = 1024

--- The bytes wait in memory until there are so many (COMPRESS_MIN_MOST in core/http/settings.h).
M.MIN_MOST = 65536

--- Larger files are rare among those that are worth it, and take the room of many responses.
M.KEEP = 1048576

M.LEVELS = { gzip = 5, br = 4, zstd = 3 }

local KEYS = { types = true, min = true, levels = true, encodings = true, keep = true }

local function known(name)
  return type(name) == "string" and M.LEVELS[name] ~= nil
end

local function list_of(value)
  return type(value) == "string" and { value } or value
end

local function types_problem(value)
  local list = list_of(value)
  local expected = 'a media type such as "text/html" or "text/*", or a list of them'
  if type(list) ~= "table" or #list == 0 or #list > 100 then
    return ("types: expected %s, got %s"):format(expected, describe(value))
  end
  for key, item in pairs(list) do
    if type(key) ~= "number" or type(item) ~= "string"
      or not (item == "*" or item:match("^[%w!#$&^_.+-]+/[%w!#$&^_.+-]*%*?$")) then
      return ("types: expected %s, got %s in it"):format(expected, describe(item))
    end
  end
  return nil
end

local function levels_problem(value)
  if type(value) ~= "table" then
    return ("levels: expected a table such as { gzip = 6, br = 5 }, got %s"):format(describe(value))
  end
  for _, name in ipairs(sorted_keys(value)) do
    local level = value[name]
    if not known(name) then
      return ("levels: unknown encoding '%s'%s"):format(suggest.name(name),
        suggest.hint(name, M.LEVELS))
    elseif type(level) ~= "number" or level % 1 ~= 0 or level < 1 or level > 9 then
      return ("levels: %s: expected a whole number from 1 to 9, got %s"):format(name,
        describe(level))
    end
  end
  return nil
end

local function encodings_problem(value)
  local list = list_of(value)
  if type(list) ~= "table" or #list == 0 then
    return ('encodings: expected a list such as { "zstd", "br", "gzip" }, got %s'):format(
      describe(value))
  end
  local seen = {}
  for key, name in pairs(list) do
    if type(key) ~= "number" or not known(name) then
      return ("encodings: unknown encoding '%s'%s"):format(suggest.name(name),
        suggest.hint(name, M.LEVELS))
    elseif seen[name] then
      return ("encodings: '%s' is there twice"):format(name)
    end
    seen[name] = true
  end
  return nil
end

local function min_problem(value)
  local bytes = units.size(value)
  if not bytes or bytes > M.MIN_MOST then
    return ('min: expected a size up to "64k", got %s'):format(describe(value))
  end
  return nil
end

local function keep_problem(value)
  if value ~= false and not units.size(value) then
    return ('keep: expected false or a size such as "1M", got %s'):format(describe(value))
  end
  return nil
end

--- false: no file is kept.
local function keep_bytes(value)
  return value and units.size(value) or value == false and 0 or nil
end

local CHECKS = {
  types = types_problem, levels = levels_problem, encodings = encodings_problem, min = min_problem,
  keep = keep_problem,
}

--- What is wrong with such a value.
---@param value any
---@return string|nil message nil where it is valid
function M.problem(value)
  if type(value) == "boolean" then
    return nil
  elseif type(value) ~= "table" then
    return ('expected true, false or a table such as { min = "2k" }, got %s'):format(
      describe(value))
  end
  for _, key in ipairs(sorted_keys(value)) do
    local check = CHECKS[key]
    local problem = check and check(value[key])
      or not check and ("unknown key '%s'%s"):format(suggest.name(key), suggest.hint(key, KEYS))
    if problem then
      return problem
    end
  end
  return nil
end

--- What a valid value asks for, and this build can't make.
---@param value any
---@return string|nil message nil where it can make all of it
function M.unmade(value)
  local named = type(value) == "table" and value.encodings and list_of(value.encodings) or {}
  local left, lost = {}, {}
  for _, name in ipairs(named) do
    local list = features.has(name) and left or lost
    list[#list + 1] = name
  end
  if #lost == 0 then
    return nil
  end
  return ("compress: this build of moongate can't make %s, as with `make MINIMAL=1`, so %s; one "
    .. "that was built with libbrotlienc and libzstd can"):format(table.concat(lost, " and "),
    #left > 0 and "the others are used: " .. table.concat(left, ", ")
      or "no response is compressed")
end

--- A table with what the value says; nil where it is not valid.
---@param value any
---@return table|nil
function M.partly(value)
  if M.problem(value) then
    return nil
  elseif type(value) == "boolean" then
    return { on = value }
  end
  return {
    on = true, types = list_of(value.types), min = value.min and units.size(value.min),
    levels = value.levels, encodings = list_of(value.encodings), keep = keep_bytes(value.keep),
  }
end

--- A valid value with what it does not say.
---@param value boolean|table
---@param base table|nil the route's, for a decision's value
---@return table
function M.list(value, base)
  local own, levels = M.partly(value), {}
  base = base or { types = M.TYPES, min = M.MIN, levels = M.LEVELS, encodings = M.ENCODINGS,
    keep = M.KEEP }
  for name, level in pairs(base.levels) do
    levels[name] = own.levels and own.levels[name] or level
  end
  return {
    on = own.on, types = own.types or base.types, min = own.min or base.min, levels = levels,
    encodings = own.encodings or base.encodings, keep = own.keep or base.keep,
  }
end

return M
