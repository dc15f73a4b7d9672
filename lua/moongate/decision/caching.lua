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
local function texts(expected, fits)
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
  background = boolean,
  vary = texts('a list of headers such as { "Accept-Language" }', function(name)
    return name:match("^[%w!#$%%&'*+.^_`|~-]+$")
  end),
  tags = texts('a list of tags such as { "post-12" }', function()
    return true
  end),
  ignore = texts('a list of "Set-Cookie", "Cache-Control" and "Authorization"', function(name)
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

--- Does a list, or the one text in its place, have this name?
local function lists(list, name)
  for _, item in ipairs(type(list) == "string" and { list } or list or {}) do
    if item:lower() == name then
      return true
    end
  end
  return false
end

--- Why a request passes by the cache: as core/exchange/cached.c says it.
local function obstacle(cache, params)
  local method = params.REQUEST_METHOD
  if cache.bypass then
    return "the decision says `bypass`"
  elseif method ~= "GET" and method ~= "HEAD" then
    return "its method is " .. tostring(method)
  elseif params.CONTENT_LENGTH and params.CONTENT_LENGTH ~= "0" then
    return "it has a body"
  elseif params.HTTP_AUTHORIZATION and not lists(cache.ignore, "authorization")
    and not lists(cache.vary, "authorization") then
    return "it has Authorization"
  elseif params.HTTP_COOKIE and cache.bypass == nil and not lists(cache.vary, "cookie") then
    return "it has a cookie, and the decision does not say `bypass`"
  end
  return nil
end

local function joined(list)
  return type(list) == "table" and table.concat(list, ", ") or list
end

--- What becomes of a request's response, in a line of `moongate explain`.
---@param cache boolean|table a valid one, of the decision
---@param params table<string, string> that the application would get
---@return string
function M.explain(cache, params)
  cache = cache == true and {} or cache
  local why = obstacle(cache, params)
  if why then
    return ("cache: bypass, since %s"):format(why)
  end
  local parts = { ("cache: under the key %s"):format(cache.key or ("%s://%s%s"):format(
    params.REQUEST_SCHEME or "http", params.HTTP_HOST or "", params.REQUEST_URI or "")) }
  parts[#parts + 1] = cache.ttl and ("for %g s"):format(units.duration(cache.ttl))
    or "for as long as the response's headers say"
  parts[#parts + 1] = cache.stale
    and ("stale for %g s more"):format(units.duration(cache.stale)) or nil
  if cache.background ~= nil then
    parts[#parts + 1] = cache.background and "made anew in the background while it is stale"
      or "never made anew in the background"
  end
  parts[#parts + 1] = cache.vary and "by the values of " .. joined(cache.vary) or nil
  parts[#parts + 1] = cache.tags and "with the tags " .. joined(cache.tags) or nil
  return table.concat(parts, ", ")
end

return M
