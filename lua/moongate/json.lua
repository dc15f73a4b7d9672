-- moongate.json owns JSON for routes: a thin door to lua-cjson (package lua-cjson), with bounds for
-- what comes from outside. Called by routes. What the commands write and read is base.json's.

local describe = require("moongate.base.describe")
local suggest = require("moongate.base.suggest")

local found, cjson = pcall(require, "cjson")
if not found then -- level 2 is require itself
  error("moongate.json needs lua-cjson, which is not installed here: apt-get install lua-cjson", 3)
end

local M = {}

local MAX_DEPTH = 100

-- A state of its own: a script that sets up cjson for itself changes nothing here.
cjson = cjson.new()
cjson.encode_max_depth(MAX_DEPTH)
cjson.decode_max_depth(MAX_DEPTH)
cjson.decode_invalid_numbers(false) -- no NaN, Infinity and 0x10, which are not JSON
cjson.encode_sparse_array(true) -- a list with many gaps becomes an object
cjson.encode_keep_buffer(false)

--- What null is in Lua; ngx.null, too.
M.null = cjson.null

--- A value as JSON, in one line. A table with the keys 1, 2, ... is a list, an empty one an object.
---@param value any
---@return string|nil
---@return string|nil reason such as a function in it, or more than 100 levels
function M.encode(value)
  local ok, text = pcall(cjson.encode, value)
  if not ok then
    return nil, text
  end
  return text
end

--- A value from JSON.
---@param text string
---@return any value null is json.null
---@return string|nil reason where the text is not JSON, or has more than 100 levels
function M.decode(text)
  if type(text) ~= "string" then
    error(("json.decode: expected a text, got %s"):format(describe(text)), 2)
  end
  local ok, value = pcall(cjson.decode, text)
  if not ok then
    return nil, value
  end
  return value
end

return suggest.strict(M, "moongate.json")
