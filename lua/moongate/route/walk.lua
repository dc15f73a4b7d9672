-- moongate.route.walk owns the walk through the tables of a route: each is compared with its
-- schema, and the first thing that is wrong ends the load with `FILE:LINE: message`. Called by
-- settings, backends and load. A path is the list of keys that lead to a value.

local addr = require("moongate.base.addr")
local describe = require("moongate.base.describe")
local locate = require("moongate.route.locate")
local suggest = require("moongate.base.suggest")
local upcoming = require("moongate.base.upcoming")
local sorted_keys = require("moongate.base.keys").sorted

local M = {}

---@class moongate.Source
---@field name string the script's file name, for messages
---@field text string its text, to find lines in

--- Ends the validation with `FILE:LINE: message`.
---@param source moongate.Source
---@param path (string|integer)[]
---@param message string
function M.fail(source, path, message)
  error(("%s:%d: %s"):format(source.name, locate.line(source.text, path), message), 0)
end

--- A path in words.
---@param path (string|integer)[]
---@return string dotted as in backends.app.servers[2]
function M.dotted(path)
  local out = ""
  for _, key in ipairs(path) do
    if type(key) == "number" then
      out = ("%s[%d]"):format(out, key)
    else
      out = out == "" and key or out .. "." .. key
    end
  end
  return out
end

--- A path with one key more.
---@param path (string|integer)[]
---@param key string|integer
---@return (string|integer)[]
function M.under(path, key)
  local longer = {}
  for i, part in ipairs(path) do
    longer[i] = part
  end
  longer[#longer + 1] = key
  return longer
end

--- Fails with what was expected at a path.
---@param source moongate.Source
---@param path (string|integer)[]
---@param value any what is there
---@param expected string
---@param problem string|nil what is wrong, where it isn't only that something else was expected
function M.reject(source, path, value, expected, problem)
  if problem then
    M.fail(source, path, ("%s: %s"):format(M.dotted(path), problem))
  end
  M.fail(source, path, ("%s: expected %s, got %s"):format(
    M.dotted(path), expected, describe(value)))
end

--- Rejects every key that is neither in the schema nor among `others`, and those of later releases.
---@param source moongate.Source
---@param path (string|integer)[] of the table
---@param value table
---@param schema table see moongate.route.schema
---@param later table see moongate.base.upcoming
---@param others table<string, true>|nil
function M.check_keys(source, path, value, schema, later, others)
  local prefix = #path > 0 and M.dotted(path) .. ": " or ""
  for _, key in ipairs(sorted_keys(value)) do
    local known = schema[key] ~= nil or (others and others[key] ~= nil)
    local problem = upcoming.problem(later, key, value[key])
    if problem then
      M.fail(source, M.under(path, key), prefix .. problem)
    elseif not known then
      local names = {}
      for _, set in ipairs({ schema, later, others or {} }) do
        for name in pairs(set) do
          names[name] = true
        end
      end
      M.fail(source, M.under(path, key), ("%sunknown key '%s'%s"):format(
        prefix, suggest.name(key), suggest.hint(key, names)))
    end
  end
end

--- Validates the plain keys of a table against a schema.
---@param source moongate.Source
---@param path (string|integer)[] of the table
---@param value table
---@param schema table see moongate.route.schema
---@return table normalized every key of the schema that is set or has a default
function M.fields(source, path, value, schema)
  local normalized = {}
  for key, spec in pairs(schema) do
    local given = value[key]
    if given == nil then
      normalized[key] = spec[2]
    else
      local normal, expected, problem = spec[1](given)
      if normal == nil then
        M.reject(source, M.under(path, key), given, expected, problem)
      end
      normalized[key] = normal
    end
  end
  return normalized
end

--- A nested table of plain keys.
---@param source moongate.Source
---@param path (string|integer)[] of the table
---@param value any nil: nothing is set
---@param schema table see moongate.route.schema
---@param later table see moongate.base.upcoming
---@return table normalized
function M.section(source, path, value, schema, later)
  if value == nil then
    value = {}
  elseif type(value) ~= "table" then
    M.reject(source, path, value, "a table")
  end
  M.check_keys(source, path, value, schema, later)
  return M.fields(source, path, value, schema)
end

--- An address, or a table with an address and more: a listener or a server.
local function endpoint(source, path, value, schema, later, use)
  local is_table = type(value) == "table"
  local given, given_path = value, path
  if is_table then
    M.check_keys(source, path, value, schema, later, { address = true })
    given, given_path = value.address, M.under(path, "address")
  end
  local address, problem = addr.parse(given, use)
  if not address then
    M.reject(source, given_path, given, addr.EXPECTED, problem)
  end
  local normalized = M.fields(source, path, is_table and value or {}, schema)
  normalized.address = address
  return normalized
end

--- Listeners or servers: one endpoint or a list of them, each address once.
---@param source moongate.Source
---@param path (string|integer)[]
---@param value any
---@param schema table of the keys beside the address
---@param later table see moongate.base.upcoming
---@param use "listen"|"connect" what the addresses are for
---@return table[] normalized
function M.endpoints(source, path, value, schema, later, use)
  local list = value
  if type(value) ~= "table" or value.address ~= nil then
    list = { value }
  elseif next(value) == nil then
    M.reject(source, path, nil, addr.EXPECTED, "the list is empty")
  end
  for key in pairs(list) do
    if type(key) ~= "number" then
      M.check_keys(source, path, list, schema, later, { address = true })
      M.fail(source, path, ("%s: 'address' is missing"):format(M.dotted(path)))
    end
  end
  local normalized, seen = {}, {}
  for i, item in ipairs(list) do
    local item_path = list == value and M.under(path, i) or path
    normalized[i] = endpoint(source, item_path, item, schema, later, use)
    local address = normalized[i].address
    if seen[address] then
      M.fail(source, path, ("%s: %s is there twice"):format(M.dotted(path), address))
    end
    seen[address] = true
  end
  return normalized
end

return M
