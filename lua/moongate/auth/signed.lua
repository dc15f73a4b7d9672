-- moongate.auth.signed owns the two guards that ask for a signature: of a cookie's value, and of a
-- URL. Called by moongate.auth.

local decision = require("moongate.decision")
local describe = require("moongate.base.describe")
local hash = require("moongate.hash")
local moongate = require("moongate")
local registry = require("moongate.route.registry")
local signature = require("moongate.auth.signature")
local suggest = require("moongate.base.suggest")
local trace = require("moongate.decision.trace")
local units = require("moongate.base.units")

local M = {}

local MOST_BYTES = 2000 -- of a cookie's value; browsers take some 4,000 of a whole cookie

--- A class of guards: called with a request, nil or a refusal.
local function class(who, methods)
  local Class = {}
  function Class.__index(_, name)
    local method = Class[name]
    if method == nil and not decision.is_key(name) then
      error(("%s: there is no method '%s'%s"):format(who, suggest.name(name),
        suggest.hint(name, methods)), 2)
    end
    return method
  end
  return Class
end

--- For how long: what is given, or else what the guard was made with.
local function seconds_of(self, lifetime, who)
  local seconds = lifetime == nil and self.lifetime or units.duration(lifetime)
  if not seconds or seconds < 1 then
    error(("%s: expected %s, of a second at least, for how long it counts, got %s"):format(who,
      units.DURATION, describe(lifetime)), 3)
  end
  return seconds
end

local function refuse(self, req)
  trace.decided(req, self.rule)
  return self.answer
end

---@return string|nil problem of what both have
local function common_problem(options, keys)
  local wrong = suggest.options_problem(options, keys)
  if wrong then return wrong end
  if options.lifetime ~= nil and (units.duration(options.lifetime) or 0) < 1 then
    return ("lifetime: expected %s, of a second at least, got %s"):format(units.DURATION,
      describe(options.lifetime))
  elseif options.answer ~= nil then
    local problem = decision.problem(options.answer)
    if problem then
      return "answer: " .. problem
    end
  end
  return signature.key_problem(options.key)
end

local function new(Class, options, place, what, purpose)
  local self = setmetatable({
    answer = options.answer or { status = 403 }, source = place,
    signature = signature.new(options.key, purpose),
    lifetime = options.lifetime and units.duration(options.lifetime) or false,
    rule = trace.known({ text = "auth." .. what, source = place }),
  }, Class)
  registry.add(self.answer, place, ("auth.%s: answer"):format(what))
  return self
end

-- Cookies -----------------------------------------------------------------------------------------

---@class moongate.auth.SignedCookie
local Cookie = class("auth.signed_cookie", { "cookie", "value", "clear" })

--- The value that a request's cookie has.
---@param req table
---@return string|nil value nil where there is none, it is not ours, or counts no more
function Cookie:value(req)
  local cookie = req.cookies[self.name] or ""
  local coded, expires, given = cookie:match("^([%w_-]*)%.(%d+)%.([%w_-]+)$")
  if coded and #coded <= 2 * MOST_BYTES and self.signature:fits(coded, expires, given) then
    return hash.unbase64url(coded)
  end
  return nil
end

--- The header Set-Cookie that gives a client a value.
---@param value string not a secret: the client can read it
---@param lifetime number|string|nil default that of the guard
---@return string
function Cookie:cookie(value, lifetime)
  if type(value) ~= "string" or #value > MOST_BYTES then
    error(("auth.signed_cookie: cookie: expected a text of at most %d bytes, got %s"):format(
      MOST_BYTES, describe(value)), 2)
  end
  local seconds = seconds_of(self, lifetime, "auth.signed_cookie: cookie")
  local coded = hash.base64url(value)
  local expires, made = self.signature:sign(coded, seconds)
  return ("%s=%s.%s.%s; Max-Age=%.0f%s"):format(self.name, coded, expires, made, seconds,
    self.attributes)
end

--- The header Set-Cookie that takes it away.
---@return string
function Cookie:clear()
  return ("%s=; Max-Age=0%s"):format(self.name, self.attributes)
end

---@param req table
---@return table|nil decision of a refusal
function Cookie:__call(req)
  return not self:value(req) and refuse(self, req) or nil
end

local COOKIE_KEYS = {
  name = true, key = true, lifetime = true, path = true, domain = true, secure = true,
  same_site = true, answer = true,
}
local SAME_SITE = { Lax = true, Strict = true, None = true }

local function cookie_problem(options)
  local problem = common_problem(options, COOKIE_KEYS)
  if problem then
    return problem
  elseif type(options.name) ~= "string" or not options.name:match("^[%w_-]+$") then
    return "name: expected letters, digits, '_' and '-', got " .. describe(options.name)
  elseif options.same_site ~= nil and not SAME_SITE[options.same_site] then
    return 'same_site: expected "Lax", "Strict" or "None", got ' .. describe(options.same_site)
  elseif options.secure ~= nil and type(options.secure) ~= "boolean" then
    return "secure: expected true or false, got " .. describe(options.secure)
  end
  for _, key in ipairs({ "path", "domain" }) do
    local value = options[key]
    if value ~= nil and (type(value) ~= "string" or value:find("[%c; ]")) then
      return ("%s: expected a text without blanks and ';', got %s"):format(key, describe(value))
    end
  end
  return nil
end

---@return moongate.auth.SignedCookie|nil
---@return string|nil problem
function M.cookie(options, place)
  local problem = cookie_problem(options)
  if problem then
    return nil, problem
  end
  local self = new(Cookie, options, place, "signed_cookie", "cookie " .. options.name)
  self.name = options.name
  self.lifetime = self.lifetime or units.duration("12h")
  self.attributes = ("; Path=%s%s; HttpOnly%s; SameSite=%s"):format(options.path or "/",
    options.domain and "; Domain=" .. options.domain or "",
    options.secure ~= false and "; Secure" or "", options.same_site or "Lax")
  return self
end

-- URLs --------------------------------------------------------------------------------------------

---@class moongate.auth.SignedUrl
local Url = class("auth.signed_url", { "sign" })

--- What is signed of a URL: the path as the server understands it, and the rest of the query.
local function signed_text(path, query)
  return ("%s\n%s"):format(path, query)
end

--- A URL that counts for a time.
---@param url string path and query, such as "/files/a%20b.pdf?page=2"
---@param lifetime number|string|nil default that of the guard
---@return string
function Url:sign(url, lifetime)
  local path, query = tostring(url):match("^(/[^?#]*)%??([^#]*)$")
  if type(url) ~= "string" or not path then
    error(("auth.signed_url: sign: expected a path, and a query if there is one, got %s"):format(
      describe(url)), 2)
  end
  local seconds = seconds_of(self, lifetime, "auth.signed_url: sign")
  local expires, made = self.signature:sign(signed_text(moongate.unescape(path), query), seconds)
  return ("%s?%s%sexpires=%s&signature=%s"):format(path, query, query ~= "" and "&" or "", expires,
    made)
end

---@param req table
---@return table|nil decision of a refusal
function Url:__call(req)
  local query = req.query or ""
  local before, expires, given = query:match("^(.-)&?expires=(%d+)&signature=([%w_-]+)$")
  if before and self.signature:fits(signed_text(req.path, before), expires, given) then
    return nil
  end
  return refuse(self, req)
end

local URL_KEYS = { key = true, lifetime = true, answer = true }

---@return moongate.auth.SignedUrl|nil
---@return string|nil problem
function M.url(options, place)
  local problem = common_problem(options, URL_KEYS)
  if problem then
    return nil, problem
  end
  local self = new(Url, options, place, "signed_url", "url")
  self.lifetime = self.lifetime or units.duration("1h")
  return self
end

return M
