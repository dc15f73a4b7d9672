-- moongate.runtime owns values that an operator changes while the route serves, by
-- `moongate set NAME VALUE`: for all workers, kept over reloads, forgotten with the master. Modules
-- of the library have such values, such as moongate.maintenance; moongate.worker.control lists and
-- sets them.

local moongate = require("moongate")
local registry = require("moongate.route.registry")
local suggest = require("moongate.base.suggest")

local M = {}

local DICTIONARY = "moongate.values"

---@class moongate.runtime.Value
---@field name string
---@field default string
---@field read fun(text: string): any, string|nil a value, or nil and what was expected
---@field text string|nil what `value` was read from
---@field value any
local Value = {}
Value.__index = Value

--- The values of each route, by their names.
local values = setmetatable({}, { __mode = "k" })
local current

--- Those of the route that is loaded, or was last.
local function of_route()
  if registry.starts ~= current then
    current = registry.starts
    values[current] = {}
  end
  return values[current]
end

local dictionary
local function shared()
  dictionary = dictionary or moongate.shared(DICTIONARY)
  return dictionary
end

--- What it is at the moment. Costs one look into a shared dictionary.
---@return any
function Value:get()
  local text = shared():get(self.name) or self.default
  if text ~= self.text then
    local value = self.read(text)
    if value == nil then -- it was set for another script
      value = self.read(self.default)
    end
    self.text, self.value = text, value
  end
  return self.value
end

--- A value that can be set.
---@param name string such as "maintenance.shop"
---@param default string
---@param read fun(text: string): any, string|nil see Value
---@return moongate.runtime.Value|nil value
---@return string|nil problem
function M.new(name, default, read)
  local known = of_route()
  if known[name] then
    return nil, ("there is a '%s' already; give each a name of its own"):format(name)
  end
  known[name] = setmetatable({ name = name, default = default, read = read }, Value)
  registry.start(shared)
  return known[name]
end

--- All values of the route as texts.
---@return table<string, string>
function M.list()
  local list = {}
  for name, value in pairs(of_route()) do
    list[name] = shared():get(name) or value.default
  end
  return list
end

--- Sets one, for all workers.
---@param name string
---@param text string
---@return boolean|nil done
---@return string|nil problem
---@return boolean|nil unknown there is no such value
function M.set(name, text)
  local value = of_route()[name]
  if not value then
    return nil, next(of_route()) and ("the route has no value '%s'%s"):format(suggest.name(name),
      suggest.hint(name, of_route())) or "the route has no value that can be set", true
  end
  local read, expected = value.read(text)
  if read == nil then
    return nil, ("%s: expected %s, got '%s'"):format(name, expected, suggest.name(text))
  end
  return shared():set(name, text)
end

return M
