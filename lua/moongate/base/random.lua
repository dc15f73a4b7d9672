-- moongate.base.random owns chance: numbers from a generator of its own, so that math.random stays
-- the script's. Each worker seeds it from the system, or all of them would choose alike. Called by
-- the balance policies that throw dice.

local bit = require("bit")

local M = {}

local bxor, lshift, rshift, tobit = bit.bxor, bit.lshift, bit.rshift, bit.tobit

--- Four bytes from the system; without them the clock and an address must do.
local function seed_of_system()
  local file, bytes = io.open("/dev/urandom", "rb"), nil
  if file then
    bytes = file:read(4)
    file:close()
  end
  if bytes and #bytes == 4 then
    local a, b, c, d = bytes:byte(1, 4)
    return a + b * 2 ^ 8 + c * 2 ^ 16 + d * 2 ^ 24
  end
  return os.time() + tonumber(tostring({}):match("0x(%x+)$"), 16) % 2 ^ 32
end

--- A generator: xorshift of 32 bits (Marsaglia, 2003).
---@param seed number|nil default: from the system
---@return fun(): number next at least 0, below 1
function M.new(seed)
  local state = tobit((seed or seed_of_system()) % 2 ^ 32)
  if state == 0 then
    state = 1 -- it would stay there
  end
  return function()
    local x = state
    x = bxor(x, lshift(x, 13))
    x = bxor(x, rshift(x, 17))
    x = bxor(x, lshift(x, 5))
    state = x
    return rshift(x, 8) * 2 ^ -24
  end
end

return M
