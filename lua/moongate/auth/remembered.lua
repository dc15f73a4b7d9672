-- moongate.auth.remembered owns what is known for a time: which credentials are right and which
-- wrong, under a key that says nothing of them. Two tables take turns: when the younger one is full
-- it becomes the older one, and what only that had is forgotten. Called by moongate.auth.basic.

local M = {}

---@class moongate.auth.Remembered
---@field private young table<string, number> until when a key is right; below zero: wrong
---@field private old table<string, number>
---@field private count integer of the young ones
---@field private most integer
local Remembered = {}
Remembered.__index = Remembered

--- What is known of a key.
---@param key string
---@param now number seconds
---@return boolean|nil right nil: nothing, or not any more
function Remembered:get(key, now)
  local value = self.young[key] or self.old[key]
  if not value or (value < 0 and -value or value) <= now then
    return nil
  end
  return value > 0
end

--- Notes it until a time.
---@param key string
---@param right boolean
---@param till number seconds, above zero
function Remembered:set(key, right, till)
  if self.young[key] == nil then
    if self.count >= self.most then
      self.old, self.young, self.count = self.young, {}, 0
    end
    self.count = self.count + 1
  end
  self.young[key] = right and till or -till
end

---@param most integer keys in each of the two tables
---@return moongate.auth.Remembered
function M.new(most)
  return setmetatable({ young = {}, old = {}, count = 0, most = most }, Remembered)
end

return M
