-- moongate.cli.figures owns numbers as people read them. Called by status, top and screen.

local M = {}

--- "0.31 ms", "1500 ms": three digits that count.
---@param seconds number
---@return string
function M.milliseconds(seconds)
  local ms = seconds * 1000
  return (ms < 1000 and "%.3g ms" or "%.0f ms"):format(ms)
end

---@param number number|nil
---@return string
function M.count(number)
  return ("%.0f"):format(number or 0)
end

--- So many a second: "0.02", "3.5", "1200"; "-" where it is not known.
---@param number number|nil
---@return string
function M.rate(number)
  if not number then
    return "-"
  end
  return (number >= 100 and "%.0f" or number >= 1 and "%.1f" or number > 0 and "%.2f" or "%.0f")
    :format(number)
end

local UNITS = { { "d", 86400, "h", 3600 }, { "h", 3600, "m", 60 }, { "m", 60, "s", 1 } }

--- "3d 4h", "12m 5s".
---@param seconds number
---@return string
function M.span(seconds)
  local left = math.floor(seconds)
  for _, unit in ipairs(UNITS) do
    if left >= unit[2] then
      return ("%d%s %d%s"):format(math.floor(left / unit[2]), unit[1],
        math.floor(left % unit[2] / unit[4]), unit[3])
    end
  end
  return left .. "s"
end

--- "294k", "1.5M".
---@param number number
---@return string
function M.bytes(number)
  return number < 2 ^ 20 and ("%.0fk"):format(number / 1024) or ("%.1fM"):format(number / 2 ^ 20)
end

return M
