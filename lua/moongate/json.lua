-- moongate.json owns JSON as the commands write it: keys in order, so that the same answer is the
-- same text. Called by explain. It only encodes.

local M = {}

local LIST = {}

--- Marks a table as a list, which matters where it is empty.
---@param t table
---@return table t
function M.list(t)
  return setmetatable(t, LIST)
end

local ESCAPES = {
  ['"'] = '\\"', ["\\"] = "\\\\", ["\b"] = "\\b", ["\f"] = "\\f", ["\n"] = "\\n", ["\r"] = "\\r",
  ["\t"] = "\\t",
}

--- Bytes that are not part of valid UTF-8 become U+FFFD: JSON has no other text.
local function valid_utf8(text)
  if not text:find("[\128-\255]") then
    return text
  end
  local out, at = {}, 1
  local patterns = {
    "^[\1-\127]+", "^[\194-\223][\128-\191]", "^\224[\160-\191][\128-\191]",
    "^[\225-\236\238\239][\128-\191][\128-\191]", "^\237[\128-\159][\128-\191]",
    "^\240[\144-\191][\128-\191][\128-\191]", "^[\241-\243][\128-\191][\128-\191][\128-\191]",
    "^\244[\128-\143][\128-\191][\128-\191]", "^%z",
  }
  while at <= #text do
    local stop
    for _, pattern in ipairs(patterns) do
      _, stop = text:find(pattern, at)
      if stop then
        break
      end
    end
    out[#out + 1] = stop and text:sub(at, stop) or "\239\191\189"
    at = (stop or at) + 1
  end
  return table.concat(out)
end

local function quote(text)
  return '"' .. valid_utf8(text):gsub('[%z\1-\31\127"\\]', function(char)
    return ESCAPES[char] or ("\\u%04x"):format(char:byte())
  end) .. '"'
end

local encode

local function encode_list(list, indent)
  if #list == 0 then
    return "[]"
  end
  local inner, parts = indent .. "  ", {}
  for i, item in ipairs(list) do
    parts[i] = inner .. encode(item, inner)
  end
  return "[\n" .. table.concat(parts, ",\n") .. "\n" .. indent .. "]"
end

local function encode_object(object, indent)
  local keys = {}
  for key in pairs(object) do
    keys[#keys + 1] = key
  end
  if #keys == 0 then
    return "{}"
  end
  table.sort(keys, function(a, b)
    return tostring(a) < tostring(b)
  end)
  local inner, parts = indent .. "  ", {}
  for i, key in ipairs(keys) do
    parts[i] = inner .. quote(tostring(key)) .. ": " .. encode(object[key], inner)
  end
  return "{\n" .. table.concat(parts, ",\n") .. "\n" .. indent .. "}"
end

function encode(value, indent)
  local kind = type(value)
  if kind == "table" then
    if getmetatable(value) == LIST or #value > 0 then
      return encode_list(value, indent)
    end
    return encode_object(value, indent)
  elseif kind == "string" then
    return quote(value)
  elseif kind == "number" then
    local finite = value == value and value ~= math.huge and value ~= -math.huge
    return not finite and "null" or value % 1 == 0 and ("%.0f"):format(value)
      or ("%.14g"):format(value)
  elseif kind == "boolean" then
    return tostring(value)
  end
  return kind == "nil" and "null" or quote("a " .. kind)
end

--- A value as JSON, two blanks for each level.
---@param value any what JSON cannot say becomes a text such as "a function"
---@return string
function M.encode(value)
  return encode(value, "")
end

return M
