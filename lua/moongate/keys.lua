-- moongate.keys owns the order in which tables are shown: the same from run to run. Called by
-- settings, decision and explain.

local M = {}

--- The keys of a table, by their text.
---@param t table
---@return any[]
function M.sorted(t)
  local keys = {}
  for key in pairs(t) do
    keys[#keys + 1] = key
  end
  table.sort(keys, function(a, b)
    return tostring(a) < tostring(b)
  end)
  return keys
end

return M
