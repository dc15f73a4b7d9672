-- moongate.random owns chance that nobody can guess: bytes, texts and numbers from the kernel
-- (getrandom(2)), for tokens and secrets. For dice there is math.random, which each worker has
-- seeded for itself. Called by routes and auth.

local core = require("moongate.core")
local describe = require("moongate.base.describe")
local hash = require("moongate.hash")
local suggest = require("moongate.base.suggest")

local M = {}

local MOST = 1048576

local function bytes(who, count)
  if type(count) ~= "number" or count % 1 ~= 0 or count < 1 or count > MOST then
    error(("random.%s: expected a whole number of bytes from 1 to %d, got %s"):format(who, MOST,
      describe(count)), 3)
  end
  return core.random_bytes(count)
end

---@param count integer
---@return string
function M.bytes(count)
  return (bytes("bytes", count))
end

--- So many bytes as hexadecimal digits.
---@param count integer
---@return string
function M.hex(count)
  return (hash.hex(bytes("hex", count)))
end

--- A text for URLs and cookies that stands for so many bytes.
---@param count integer|nil default 16: 22 characters
---@return string
function M.token(count)
  return (hash.base64url(bytes("token", count == nil and 16 or count)))
end

--- A whole number, each as likely as the others.
---@param low integer
---@param high integer at least low, less than 2^48 above it
---@return integer
function M.integer(low, high)
  for i = 1, 2 do
    local value = select(i, low, high)
    if type(value) ~= "number" or value % 1 ~= 0 or math.abs(value) > 2 ^ 53 then
      error(("random.integer: expected two whole numbers, got %s"):format(describe(value)), 2)
    end
  end
  local count = high - low + 1
  if not (count >= 1 and count <= 2 ^ 48) then
    error(("random.integer: expected the lower number first, and less than 2^48 between them, got "
      .. "%.0f and %.0f"):format(low, high), 2)
  end
  local fair = 2 ^ 48 - 2 ^ 48 % count -- numbers from here on would make the first ones likelier
  local number
  repeat
    number = 0
    for _, byte in ipairs({ core.random_bytes(6):byte(1, 6) }) do
      number = number * 256 + byte
    end
  until number < fair
  return low + number % count
end

return suggest.strict(M, "moongate.random")
