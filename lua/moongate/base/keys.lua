-- moongate.base.keys owns the order in which tables are shown: the same from run to run. Called by
-- settings, decision and explain.

local M = {}

--- What a key is sorted by. An object's __tostring is the script's: it is not called.
local function text(key)
  local kind = type(key)
  return (kind == "string" or kind == "number" or kind == "boolean") and tostring(key) or kind
end

--- The keys of a table, by their text.
---@param t table
---@return any[]
function M.sorted(t)
  local keys = {}
  for key in pairs(t) do
    keys[#keys + 1] = key
  end
  table.sort(keys, function(a, b)
    return text(a) < text(b)
  end)
  return keys
end

return M
