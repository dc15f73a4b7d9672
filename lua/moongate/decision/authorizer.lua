-- moongate.decision.authorizer owns the keys of a decision that name its authorizer, where one
-- decision takes the place of another. Called by decision.complete and php.site.

local copy_of = require("moongate.base.copy")

local M = {}

--- The keys that go together.
local KEYS = { "authorize", "authorize_key", "authorize_ttl" }

--- A copy of a decision with these keys of another table.
local function copy_with(d, from)
  local copy = copy_of.table(d)
  for _, key in ipairs(KEYS) do
    copy[key] = from[key]
  end
  return setmetatable(copy, getmetatable(d))
end

--- The decision that stands in for another one: it has the authorizer of that one, unless it names
--- one itself.
---@param d table
---@param other table
---@return table
function M.inherit(d, other)
  if d.authorize == nil or other.authorize ~= nil or other.close then
    return other
  end
  return copy_with(other, d)
end

--- A decision of a site whose options have these keys, or functions of the request in their place.
---@param d table
---@param options table
---@param req table
---@return table
function M.guard(d, options, req)
  local values = {}
  for _, key in ipairs(KEYS) do
    local value = options[key]
    if type(value) == "function" then
      value = value(req)
    end
    values[key] = value
  end
  if values.authorize == nil then
    return d
  end
  return M.inherit(values, d)
end

return M
