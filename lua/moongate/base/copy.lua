-- moongate.base.copy owns copies: of tables, and of texts with a part replaced. Called by modules
-- that change a decision or options of others, and by those that show messages.

local M = {}

--- A new table with the same keys and values; values that are tables are shared.
---@param t table
---@return table
function M.table(t)
  local copy = {}
  for key, value in pairs(t) do
    copy[key] = value
  end
  return copy
end

--- A text in which each occurrence of another one is replaced; both are plain, not patterns.
---@param text string
---@param from string
---@param to string
---@return string
function M.text(text, from, to)
  local at, stop = text:find(from, 1, true)
  while at do
    text = text:sub(1, at - 1) .. to .. text:sub(stop + 1)
    at, stop = text:find(from, at + #to, true)
  end
  return text
end

return M
