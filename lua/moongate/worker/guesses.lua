-- moongate.worker.guesses owns the bound on wrong tokens: how many requests with one an address may
-- send to the control listener. Called by moongate.worker.access.
--
-- An address may send BURST wrong tokens at once, and one more each second (GCRA, the virtual
-- scheduling algorithm of ITU-T I.371). Beyond that no token of it is looked at, a right one
-- neither: else the answers would tell which is right. Each worker counts for itself.

local clock = require("moongate.base.clock")

local M = {}

local BURST = 10
local GAP = 1       -- seconds after which an address may send another one
local MOST = 1024   -- addresses that are told apart; all others count as one
local OTHERS = ""

---@class moongate.worker.Guesses
---@field free table<string, number> by address: when nothing of it counts any more
---@field count integer of these
---@field now fun(): number
local Guesses = {}
Guesses.__index = Guesses

--- Forgets addresses of which nothing counts any more.
local function sweep(self, now)
  self.count = 0
  for address, free in pairs(self.free) do
    if free <= now then
      self.free[address] = nil
    else
      self.count = self.count + 1
    end
  end
end

--- The name under which an address is counted.
local function key_of(self, address)
  return self.free[address] and address or self.count < MOST and address or OTHERS
end

--- Whether a token of the address may be looked at.
---@param address string
---@return boolean
function Guesses:may(address)
  local free = self.free[key_of(self, address)]
  return not free or free - self.now() <= (BURST - 1) * GAP
end

--- Counts a wrong token.
---@param address string
---@return boolean last whether from now on none is looked at
function Guesses:wrong(address)
  local now = self.now()
  if self.count >= MOST then
    sweep(self, now)
  end
  local key = key_of(self, address)
  local free = self.free[key]
  if not free then
    self.count = self.count + 1
  end
  self.free[key] = math.max(free or now, now) + GAP
  return not self:may(address)
end

--- A new account.
---@param now? fun(): number seconds of a clock that only goes forward
---@return moongate.worker.Guesses
function M.new(now)
  return setmetatable({ free = {}, count = 0, now = now or clock }, Guesses)
end

return M
