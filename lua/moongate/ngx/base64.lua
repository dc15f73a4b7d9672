-- moongate.ngx.base64 owns base64 (RFC 4648 §4). Called by ngx.

local bit = require("bit")

local M = {}

local ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
local LETTER, VALUE = {}, {}
for i = 0, 63 do
  LETTER[i] = ALPHABET:sub(i + 1, i + 1)
  VALUE[ALPHABET:byte(i + 1)] = i
end

---@param text string
---@param no_padding boolean|nil
---@return string
function M.encode(text, no_padding)
  text = tostring(text)
  local out = {}
  for i = 1, #text, 3 do
    local a, b, c = text:byte(i, i + 2)
    local bits = a * 65536 + (b or 0) * 256 + (c or 0)
    out[#out + 1] = LETTER[bit.rshift(bits, 18)] .. LETTER[bit.band(bit.rshift(bits, 12), 63)]
      .. (b and LETTER[bit.band(bit.rshift(bits, 6), 63)] or no_padding and "" or "=")
      .. (c and LETTER[bit.band(bits, 63)] or no_padding and "" or "=")
  end
  return table.concat(out)
end

---@param text string with padding or without
---@return string|nil bytes nil where it is not base64
function M.decode(text)
  local body = text:match("^(.-)=?=?$")
  if #body % 4 == 1 or (#text ~= #body and #text % 4 ~= 0) then
    return nil
  end
  local out = {}
  for i = 1, #body, 4 do
    local bits, count = 0, math.min(4, #body - i + 1)
    for j = 0, 3 do
      local value = j < count and VALUE[body:byte(i + j)] or j >= count and 0
      if not value then
        return nil
      end
      bits = bits * 64 + value
    end
    out[#out + 1] = string.char(bit.rshift(bits, 16), bit.band(bit.rshift(bits, 8), 255),
      bit.band(bits, 255)):sub(1, count - 1)
  end
  return table.concat(out)
end

return M
