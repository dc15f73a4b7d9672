-- Shared dictionaries of a spec: tables with the methods of moongate.shared, without times to live.

local M = {}

local stores = {}

--- A dictionary, as moongate.shared gives it; the same name is the same one.
---@param name string
---@return table
function M.open(name)
  stores[name] = stores[name] or {}
  local values = stores[name]
  return {
    get = function(_, key) return values[key] end,
    set = function(_, key, value) values[key] = value return true end,
    add = function(_, key, value)
      if values[key] ~= nil then
        return nil, "exists"
      end
      values[key] = value
      return true
    end,
    incr = function(_, key, by, initial)
      values[key] = (values[key] or initial) + by
      return values[key]
    end,
    delete = function(_, key) values[key] = nil end,
    keys = function()
      local keys = {}
      for key in pairs(values) do
        keys[#keys + 1] = key
      end
      return keys
    end,
  }
end

--- What a dictionary holds.
---@param name string
---@return table<string, any>
function M.values(name)
  return stores[name]
end

--- Empties all of them. Modules may have them open.
function M.clear()
  for _, values in pairs(stores) do
    for key in pairs(values) do
      values[key] = nil
    end
  end
end

--- Forgets all of them, when a spec ends.
function M.forget()
  stores = {}
end

return M
