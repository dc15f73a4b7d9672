-- moongate.decision.caching owns the messages about the `cache` of a decision, which core/ reads
-- itself (core/script/caching.c). Called by moongate.decision.

local describe = require("moongate.base.describe")
local sorted_keys = require("moongate.base.keys").sorted
local suggest = require("moongate.base.suggest")
local units = require("moongate.base.units")

local M = {}

local KEY_MOST, LIST_MOST, TEXT_MOST = 4096, 16, 200
local IGNORED = { ["set-cookie"] = true, ["cache-control"] = true, authorization = true }

local function is_text(value, most)
  return type(value) == "string" and value ~= "" and #value <= most
    and not value:find("[%z\1-\8\10-\31\127]")
end

local function boolean(value)
  return type(value) ~= "boolean" and "true or false" or nil
end

local function duration(value)
  return not units.duration(value) and units.DURATION or nil
end

--- A text or a list of texts that all fit.
local function list(expected, fits)
  return function(value)
    local items = type(value) == "string" and { value } or value
    if type(items) ~= "table" or #items > LIST_MOST then
      return ("%s, %d at most"):format(expected, LIST_MOST)
    end
    for i, item in pairs(items) do
      if type(i) ~= "number" or not is_text(item, TEXT_MOST) or not fits(item) then
        return expected
      end
    end
    return nil
  end
end

local KEYS = {
  key = function(value)
    return not is_text(value, KEY_MOST) and ("a text of 1 to %d bytes"):format(KEY_MOST) or nil
  end,
  ttl = duration, stale = duration, lock = boolean, bypass = boolean,
  vary = list('a list of headers such as { "Accept-Language" }', function(name)
    return name:match("^[%w!#$%%&'*+.^_`|~-]+$")
  end),
  tags = list('a list of tags such as { "post-12" }', function()
    return true
  end),
  ignore = list('a list of "Set-Cookie", "Cache-Control" and "Authorization"', function(name)
    return IGNORED[name:lower()]
  end),
}

--- The keys of the table: moongate.types is compared with them.
---@return string[] sorted
function M.keys()
  return sorted_keys(KEYS)
end

--- What is wrong with the value of `cache`.
---@param value any
---@return string|nil
function M.problem(value)
  if type(value) == "boolean" then
    return nil
  elseif type(value) ~= "table" then
    return ('expected true, false or a table such as { ttl = "5m" }, got %s'):format(
      describe(value))
  end
  for _, key in ipairs(sorted_keys(value)) do
    local checker = KEYS[key]
    if not checker then
      return ("unknown key '%s'%s"):format(suggest.name(key), suggest.hint(key, KEYS))
    end
    local expected = checker(value[key])
    if expected then
      return ("%s: expected %s, got %s"):format(key, expected, describe(value[key]))
    end
  end
  return nil
end

return M
