-- moongate.worker.arguments owns req.args and req.cookies: tables without keys of their own that
-- answer by name. Called by core/script/request.c when a script first asks for one.

local describe = require("moongate.base.describe")

local M = {}

local byte, char, find, gsub, match, sub =
  string.byte, string.char, string.find, string.gsub, string.match, string.sub
local next, rawequal, setmetatable, tonumber, type, error =
  next, rawequal, setmetatable, tonumber, type, error
local real_metatable = debug.getmetatable

--- What the metatable keeps: all pairs in their order, and the value that counts of each name.
local PAIRS, VALUES = 1, 2

--- What a table of this module keeps under one of the two; for a method, which may be called on
--- anything.
local function kept(self, what)
  local meta = type(self) == "table" and real_metatable(self)
  if not meta or not rawequal(meta.__metatable, "moongate.pairs") then
    error(('expected a call such as req.args:all("name") or req.cookies:each() (with a colon), '
      .. "got %s"):format(describe(self)), 3)
  end
  return meta[what]
end

--- Methods come before names, so that no client can shadow them.
M.methods = {}

--- A list of all values of a name, in their order.
function M.methods.all(self, name)
  local pairs_of = kept(self, PAIRS)
  if type(name) ~= "string" then
    error("all: expected the name of an argument or cookie, got " .. describe(name), 2)
  end
  local values = {}
  for i = 1, #pairs_of, 2 do
    if pairs_of[i] == name then
      values[#values + 1] = pairs_of[i + 1]
    end
  end
  return values
end

--- for name, value in t:each() do
function M.methods.each(self)
  return next, kept(self, VALUES)
end

local function newindex()
  error("req.args and req.cookies can't be assigned: req is read-only", 2)
end

-- No closures below: LuaJIT compiles none.
local METHODS = { __index = M.methods }

--- Where a name is looked up: the values, and the methods, which come first.
local function index_of(values)
  if values.all == nil and values.each == nil then
    return setmetatable(values, METHODS)
  end
  local index = {}
  for name, value in next, values do
    index[name] = value
  end
  index.all, index.each = M.methods.all, M.methods.each
  return index
end

local function table_of(list, values)
  return setmetatable({}, {
    list, values, __metatable = "moongate.pairs", __newindex = newindex, __index = index_of(values),
  })
end

local function unescape_digits(digits)
  return char(tonumber(digits, 16))
end

--- Decodes %XX. A bad escape stays as it is.
local function decode(text)
  return find(text, "%", 1, true) and gsub(text, "%%(%x%x)", unescape_digits) or text
end

local function decode_query(text)
  return decode(find(text, "+", 1, true) and gsub(text, "+", " ") or text)
end

--- The name and the value of the piece from `at` to `stop` - 1, or to the end; and the first "="
--- from `at` on, false where there is none. It is given to the next call, so that the text is
--- looked through once, however many pieces are without one.
local function split(text, at, stop, equals)
  if equals == nil or (equals and equals < at) then
    equals = find(text, "=", at, true) or false
  end
  local last = stop and stop - 1 or #text
  if not equals or equals > last then
    return sub(text, at, last), "", equals
  end
  return sub(text, at, equals - 1), sub(text, equals + 1, last), equals
end

--- The arguments of a query, as PHP reads them: the last of several values counts.
---@param query string|nil
---@return table
function M.args(query)
  local list, values, count, at = {}, {}, 0, query and 1
  local name, value, equals
  while at do
    local stop = find(query, "&", at, true)
    name, value, equals = split(query, at, stop, equals)
    if name ~= "" then
      name, value = decode_query(name), decode_query(value)
      list[count + 1], list[count + 2], count = name, value, count + 2
      values[name] = value
    end
    at = stop and stop + 1
  end
  return table_of(list, values)
end

local function trimmed(text)
  local first, last = byte(text, 1), byte(text, -1)
  if first == 32 or first == 9 or last == 32 or last == 9 then
    return match(text, "^[ \t]*(.-)[ \t]*$")
  end
  return text
end

--- The cookies of a request, as PHP reads them: the first of several values counts.
---@param header string|nil all Cookie headers, joined by ";"
---@return table
function M.cookies(header)
  local list, values, count, at = {}, {}, 0, header and 1
  local name, value, equals
  while at do
    local stop = find(header, ";", at, true)
    name, value, equals = split(header, at, stop, equals)
    name = trimmed(name)
    if name ~= "" then
      value = decode(trimmed(value))
      list[count + 1], list[count + 2], count = name, value, count + 2
      if values[name] == nil then
        values[name] = value
      end
    end
    at = stop and stop + 1
  end
  return table_of(list, values)
end

return M
