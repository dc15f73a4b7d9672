-- moongate.base.json owns JSON as the commands and the control listener write and read it: keys in
-- order, so that the same answer is the same text. Called by explain, control and remote.

local sorted_keys = require("moongate.base.keys").sorted
local suggest = require("moongate.base.suggest")

local M = {}

local MAX_DEPTH = 100

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

--- Bytes that are not part of valid UTF-8 become U+FFFD: JSON has no other text, nor have metrics.
function M.valid_utf8(text)
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
  return '"' .. M.valid_utf8(text):gsub('[%z\1-\31\127"\\]', function(char)
    return ESCAPES[char] or ("\\u%04x"):format(char:byte())
  end) .. '"'
end

local encode

--- One level deeper. Nothing that is said here has as many; what a route gives may contain itself.
local function deeper(indent)
  return #indent < 2 * MAX_DEPTH and indent .. "  " or nil
end

local function encode_list(list, indent)
  if #list == 0 then
    return "[]"
  end
  local inner, parts = deeper(indent), {}
  if not inner then
    return '"..."'
  end
  for i, item in ipairs(list) do
    parts[i] = inner .. encode(item, inner)
  end
  return "[\n" .. table.concat(parts, ",\n") .. "\n" .. indent .. "]"
end

local function encode_object(object, indent)
  local keys = sorted_keys(object)
  if #keys == 0 then
    return "{}"
  end
  local inner, parts = deeper(indent), {}
  if not inner then
    return '"..."'
  end
  for i, key in ipairs(keys) do
    parts[i] = inner .. quote(type(key) == "string" and key or suggest.name(key))
      .. ": " .. encode(object[key], inner)
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

-- Reading -----------------------------------------------------------------------------------------


local UNESCAPED = { b = "\b", f = "\f", n = "\n", r = "\r", t = "\t" }
local WORDS = { ["true"] = true, ["false"] = false }

--- Ends the reading; `decode` catches it.
local function broken(at, expected)
  error({ problem = ("byte %d: expected %s"):format(at, expected) }, 0)
end

--- A code point as UTF-8.
local function utf8(code)
  if code < 0x80 then
    return string.char(code)
  elseif code < 0x800 then
    return string.char(0xc0 + math.floor(code / 0x40), 0x80 + code % 0x40)
  elseif code < 0x10000 then
    return string.char(0xe0 + math.floor(code / 0x1000), 0x80 + math.floor(code / 0x40) % 0x40,
      0x80 + code % 0x40)
  end
  return string.char(0xf0 + math.floor(code / 0x40000), 0x80 + math.floor(code / 0x1000) % 0x40,
    0x80 + math.floor(code / 0x40) % 0x40, 0x80 + code % 0x40)
end

--- What a backslash stands for.
---@param at integer where the backslash is
---@return string text, integer next
local function read_escape(text, at)
  local char = text:sub(at + 1, at + 1)
  if char ~= "u" then
    if not char:match('["\\/bfnrt]') then
      broken(at, "an escape")
    end
    return UNESCAPED[char] or char, at + 2
  end
  local code = tonumber(text:match("^%x%x%x%x", at + 2) or broken(at, "four hex digits"), 16)
  local low = text:match("^\\u([dD][c-fC-F]%x%x)", at + 6)
  if code >= 0xd800 and code < 0xdc00 and low then
    return utf8(0x10000 + (code - 0xd800) * 0x400 + tonumber(low, 16) - 0xdc00), at + 12
  end
  return utf8(code >= 0xd800 and code < 0xe000 and 0xfffd or code), at + 6
end

---@param at integer behind the first quote
---@return string value, integer next
local function read_string(text, at)
  local parts = {}
  while true do
    local plain, stop = text:match('^([^"\\%c]*)()', at)
    parts[#parts + 1] = plain
    local char = text:sub(stop, stop)
    if char == '"' then
      return table.concat(parts), stop + 1
    elseif char ~= "\\" then
      broken(stop, "the end of a text")
    end
    parts[#parts + 1], at = read_escape(text, stop)
  end
end

local function skip(text, at)
  return text:match("^[ \t\r\n]*()", at)
end

local read_value

--- What stands between two brackets, by a function that reads one item.
---@return integer next
local function read_items(text, at, close, read_item)
  at = skip(text, at)
  if text:sub(at, at) == close then
    return at + 1
  end
  while true do
    at = skip(text, read_item(skip(text, at)))
    local char = text:sub(at, at)
    if char == close then
      return at + 1
    elseif char ~= "," then
      broken(at, "',' or '" .. close .. "'")
    end
    at = at + 1
  end
end

local function read_list(text, at, depth)
  local list, count = M.list({}), 0
  at = read_items(text, at, "]", function(from)
    local next_at
    count = count + 1
    list[count], next_at = read_value(text, from, depth + 1)
    return next_at
  end)
  return list, at
end

--- The members of an object, each to a function.
---@param at integer behind the brace
---@return integer next
local function read_members(text, at, depth, take)
  return read_items(text, at, "}", function(from)
    if text:sub(from, from) ~= '"' then
      broken(from, "a key")
    end
    local key, next_at = read_string(text, from + 1)
    next_at = skip(text, next_at)
    if text:sub(next_at, next_at) ~= ":" then
      broken(next_at, "':'")
    end
    local value
    value, next_at = read_value(text, skip(text, next_at + 1), depth + 1)
    take(key, value)
    return next_at
  end)
end

local function read_object(text, at, depth)
  local object = {}
  at = read_members(text, at, depth, function(key, value)
    object[key] = value
  end)
  return object, at
end

---@return any value, integer next
function read_value(text, at, depth)
  local char = text:sub(at, at)
  if depth > MAX_DEPTH then
    broken(at, "fewer levels")
  elseif char == "{" then
    return read_object(text, at + 1, depth)
  elseif char == "[" then
    return read_list(text, at + 1, depth)
  elseif char == '"' then
    return read_string(text, at + 1)
  end
  local word = text:match("^%l+", at)
  if word and (WORDS[word] ~= nil or word == "null") then
    return WORDS[word], at + #word
  end
  local digits = text:match("^-?%d+%.?%d*[eE]?[+-]?%d*", at)
  local number = digits and tonumber(digits)
  if not number then
    broken(at, "a value")
  end
  return number, at + #digits
end

--- A value from JSON.
---@param text string
---@return any value null is nil
---@return string|nil problem where the text is not JSON
function M.decode(text)
  local ok, value, at = pcall(read_value, text, skip(text, 1), 1)
  if not ok then
    return nil, type(value) == "table" and value.problem or tostring(value)
  end
  at = skip(text, at)
  if at <= #text then
    return nil, ("byte %d: expected the end"):format(at)
  end
  return value
end

--- Goes through the members of the object that a text is, one after the other.
---@param text string
---@param fn fun(key: string, value: any): boolean|nil false ends it. It may wait
---@return string|nil problem where the text is no object, behind the members before that
function M.each(text, fn)
  local at = skip(text, 1)
  local ok, value = pcall(function()
    if text:sub(at, at) ~= "{" then
      broken(at, "'{'")
    end
    at = skip(text, read_members(text, at + 1, 1, function(key, item)
      if fn(key, item) == false then
        error(M, 0)
      end
    end))
    if at <= #text then
      broken(at, "the end")
    end
  end)
  if ok or value == M then
    return nil
  elseif type(value) == "table" and value.problem then
    return value.problem
  end
  error(value, 0) -- of `fn`
end

return M
