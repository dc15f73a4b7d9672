-- moongate.decision.caching owns the messages about the `cache` of a decision, which core/ reads
-- itself (core/script/caching.c). Called by moongate.decision.

local describe = require("moongate.base.describe")
local sorted_keys = require("moongate.base.keys").sorted
local suggest = require("moongate.base.suggest")
local units = require("moongate.base.units")

local M = {}

-- CACHE_TAGS in core/shm/cache.h; the others are in core/script/caching.c, too.
local KEY_MOST, LIST_MOST, TEXT_MOST, TAGS_MOST = 4096, 16, 200, 8
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
local function texts(expected, fits, most)
  most = most or LIST_MOST
  return function(value)
    local items = type(value) == "string" and { value } or value
    if type(items) ~= "table" or #items > most then
      return ("%s, %d at most"):format(expected, most)
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
  end, TAGS_MOST),
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
local function obstacle(cache, req, role)
  local headers = req.headers
  local length = headers["Content-Length"]
  if cache.bypass then
    return "the decision says `bypass`"
  elseif req.method ~= "GET" and req.method ~= "HEAD" then
    return "its method is " .. tostring(req.method)
  elseif length and length ~= "0" or headers["Transfer-Encoding"] then
    return "it has a body"
  elseif role and role ~= "responder" then
    return ("the application is asked as %s"):format(role)
  elseif headers.Authorization and not lists(cache.ignore, "authorization")
    and not lists(cache.vary, "authorization") then
    return "it has Authorization"
  elseif headers.Cookie and cache.bypass == nil and not lists(cache.vary, "cookie") then
    return "it has a cookie, and the decision does not say `bypass`"
  end
  return nil
end

local function list_of(value)
  return type(value) == "string" and { value } or value
end

--- What would become of a request's response.
---@param cache boolean|table a valid one, of the decision
---@param req table
---@param role string|nil of the decision
---@return table outcome { bypass } with the reason, or { key, ttl, stale, background, vary, tags,
--- ignore, lock, keeps }: times in seconds; `vary` has the values of the request, false for none;
--- `keeps`: the response to this request may be kept
function M.outcome(cache, req, role)
  cache = cache == true and {} or cache
  local why = obstacle(cache, req, role)
  if why then
    return { bypass = why }
  end
  local vary
  for _, name in ipairs(list_of(cache.vary) or {}) do
    vary = vary or {}
    vary[#vary + 1] = { name = name, value = req.headers[name] or false }
  end
  return {
    key = cache.key or ("%s://%s%s"):format(req.scheme, req.headers.Host or "", req.uri),
    ttl = cache.ttl and units.duration(cache.ttl), vary = vary,
    stale = cache.stale and units.duration(cache.stale), tags = list_of(cache.tags),
    ignore = list_of(cache.ignore), lock = cache.lock, background = cache.background,
    keeps = req.method == "GET",
  }
end

--- What would become of it, in a line of `moongate explain`.
---@param outcome table of M.outcome
---@return string
function M.explain(outcome)
  if outcome.bypass then
    return ("cache: bypass, since %s"):format(outcome.bypass)
  end
  local parts = {
    ("cache: under the key %s"):format(outcome.key),
    outcome.ttl and ("for %g s"):format(outcome.ttl)
      or "for as long as the response's headers say",
  }
  local function add(text, ...)
    parts[#parts + 1] = text:format(...)
  end
  if outcome.stale then
    add("stale for %g s more", outcome.stale)
  end
  if outcome.background ~= nil then
    add(outcome.background and "made anew in the background while it is stale"
      or "never made anew in the background")
  end
  if outcome.vary then
    local values = {}
    for i, one in ipairs(outcome.vary) do
      values[i] = ("%s (%s)"):format(one.name, one.value and "'" .. one.value .. "'" or "none")
    end
    add("by the values of %s", table.concat(values, ", "))
  end
  if outcome.tags then
    add("with the tags %s", table.concat(outcome.tags, ", "))
  end
  if outcome.ignore then
    add("whatever its %s say", table.concat(outcome.ignore, ", "))
  end
  if outcome.lock == false then
    add("and each request asks by itself")
  end
  if not outcome.keeps then
    add("and a HEAD keeps nothing itself")
  end
  return table.concat(parts, ", ")
end

return M
