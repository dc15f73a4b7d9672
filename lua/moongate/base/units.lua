-- moongate.base.units owns how durations and sizes are written: 5, "250ms", "16k".
-- Called by settings, decision and cli; core/ looks up what decisions say.

local M = {}

local SECONDS = { ms = 0.001, s = 1, m = 60, h = 3600 }
local BYTES = { k = 1024, m = 1024 ^ 2, g = 1024 ^ 3 }

-- Beyond this a double no longer counts single bytes.
local MAX_BYTES = 2 ^ 53
-- A bit more than a year: longer is a typing error, and timers count in doubles.
local MAX_SECONDS = 400 * 24 * 3600

M.DURATION = 'a duration such as 5, "250ms", "2m" or "1h"'
M.SIZE = 'a size such as 4096, "16k", "1M" or "1G"'

local PER = { s = 1, m = 60, h = 3600, d = 86400 }

M.RATE = 'a rate such as 5 (in a second), "10/s", "100/m", "1000/h" or "5000/d"'

--- How many in how many seconds.
---@param value any a number in a second, or a whole one and a unit: "10/s", also m, h, d
---@return number|nil count nil where value is no rate
---@return number|nil seconds
function M.rate(value)
  if type(value) == "number" and value > 0 and value < 1e6 then
    return value, 1
  end
  local count, unit = (type(value) == "string" and value or ""):match("^(%d+)/(%l)$")
  if count and PER[unit] and tonumber(count) > 0 and tonumber(count) < 1e6 then
    return tonumber(count), PER[unit]
  end
  return nil
end

--- A duration in seconds.
---@param value any seconds as a number, or a string with a unit: ms, s, m, h
---@return number|nil seconds nil where value is no duration
function M.duration(value)
  local seconds
  if type(value) == "number" then
    seconds = value
  elseif type(value) == "string" then
    local digits, unit = value:match("^(%d+%.?%d*)(%l+)$")
    if not digits or not SECONDS[unit] then
      return nil
    end
    seconds = tonumber(digits) * SECONDS[unit]
  end
  -- The comparisons are false for NaN too.
  if seconds and seconds >= 0 and seconds <= MAX_SECONDS then
    return seconds
  end
  return nil
end

--- A size in bytes.
---@param value any bytes as a whole number, or a string with a unit: k, M, G (powers of 1024)
---@return integer|nil bytes nil where value is no size
function M.size(value)
  local bytes
  if type(value) == "number" then
    bytes = value
  elseif type(value) == "string" then
    local digits, unit = value:match("^(%d+)(%a)$")
    if not digits or not BYTES[unit:lower()] then
      return nil
    end
    bytes = tonumber(digits) * BYTES[unit:lower()]
  end
  if bytes and bytes >= 0 and bytes <= MAX_BYTES and bytes % 1 == 0 then
    return bytes
  end
  return nil
end

-- What a route writes is a handful of texts; what it makes of clients' words is not kept.
local REMEMBERED = 100

--- A table from texts to what a reader makes of them, or false.
local function remembering(read)
  local count = 0
  return setmetatable({}, {
    __index = function(known, text)
      local value = read(text) or false
      if count < REMEMBERED then
        count = count + 1
        known[text] = value
      end
      return value
    end,
  })
end

--- For core/script/decision.c: text -> seconds or bytes, or false.
---@type table<string, number|false>
M.seconds, M.bytes = remembering(M.duration), remembering(M.size)

return M
