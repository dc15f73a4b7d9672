-- moongate.cors owns who may read a site's answers from pages of other sites (the CORS protocol of
-- the Fetch standard): it answers preflights, and puts its headers on whatever a handler answers.
-- Called by routes.

local describe = require("moongate.base.describe")
local headers_of = require("moongate.decision.headers")
local headers = require("moongate.headers")
local suggest = require("moongate.base.suggest")
local units = require("moongate.base.units")

local M = {}

local KEYS = {
  origins = true, methods = true, headers = true, expose = true, credentials = true,
  max_age = true,
}

--- Tests for origins: "https://app.example", "https://*.app.example", "*".
---@return nil|fun(origin: string): boolean|nil allows
---@return string|nil problem
local function origins_of(origins, credentials)
  if type(origins) == "function" then
    return origins
  end
  local exact, below, all = {}, {}, false
  local list = type(origins) == "table" and origins or { origins }
  for i, origin in ipairs(list) do
    local text = type(origin) == "string" and origin or ""
    local scheme, rest = text:match("^(%a[%w+.-]*://)%*(%..+)$")
    if origin == "*" then
      all = true
    elseif scheme then
      below[#below + 1] = { scheme = scheme:lower(), rest = rest:lower() }
    elseif text:match("^%a[%w+.-]*://[^/*%s]+$") then
      exact[origin:lower()] = true
    else
      return nil, ('origins: expected origins such as "https://app.example", '
        .. '"https://*.app.example" or "*", or a function, got %s%s'):format(describe(origin),
        #list > 1 and (" as number %d"):format(i) or "")
    end
  end
  if #list == 0 then
    return nil, "origins: the list is empty"
  elseif all and credentials then
    return nil, 'origins: "*" with credentials would let every site read what a visitor sees who '
      .. "is logged in; name the origins"
  end
  return function(origin)
    origin = origin:lower()
    if all or exact[origin] then
      return true
    end
    for i = 1, #below do
      local one = below[i]
      if origin:sub(1, #one.scheme) == one.scheme and origin:sub(-#one.rest) == one.rest
        and origin:sub(#one.scheme + 1, -#one.rest - 1):find("^[%w_][%w_.-]*$") then
        return true
      end
    end
    return false
  end
end

--- A list of words as the text of a header.
---@return string|nil text
---@return string|nil problem
local function list_of(key, value)
  if value == nil then
    return nil
  end
  local list = type(value) == "table" and value or { value }
  for _, word in ipairs(list) do
    if type(word) ~= "string" or not word:match("^[%w!#$%%&'*+.^_`|~-]+$") then
      return nil, ("%s: expected names, got %s"):format(key, describe(word))
    end
  end
  return table.concat(list, ", ")
end

local function problem_of(options)
  local wrong = suggest.options_problem(options, KEYS)
  if wrong then
    return wrong
  elseif options.origins == nil then
    return "'origins' is missing: who may read the answers"
  elseif options.credentials ~= nil and type(options.credentials) ~= "boolean" then
    return "credentials: expected true or false, got " .. describe(options.credentials)
  elseif options.max_age ~= nil and not units.duration(options.max_age) then
    return ("max_age: expected %s, got %s"):format(units.DURATION, describe(options.max_age))
  end
  return nil
end

--- A handler that pages of other sites may use.
---@param handler table|fun(req: table, ...): table|nil
---@param options table origins, methods, headers, expose, credentials, max_age
---@return fun(req: table, ...): table|nil
function M.wrap(handler, options)
  local problem = problem_of(options)
  local function try(fn, ...)
    if problem then
      error("cors.wrap: " .. problem, 3)
    end
    local value
    value, problem = fn(...)
    return value
  end
  local decide = try(headers.as_function, handler)
  local allows = try(origins_of, options.origins, options.credentials)
  local methods = try(list_of, "methods", options.methods or { "GET", "HEAD", "POST" })
  local allowed = try(list_of, "headers", options.headers)
  local expose = try(list_of, "expose", options.expose)
  try(tostring, handler)
  local seconds = options.max_age and ("%d"):format(units.duration(options.max_age)) or nil
  local any = options.origins == "*"
  local vary = not any and { Vary = "Origin" } or nil

  --- Headers for an origin that may.
  local function headers_for(origin)
    return {
      ["Access-Control-Allow-Origin"] = any and "*" or origin,
      ["Access-Control-Allow-Credentials"] = options.credentials and "true" or nil,
      ["Access-Control-Expose-Headers"] = expose, Vary = vary and vary.Vary,
    }
  end

  local function preflight(origin)
    local d = { status = 204, headers = vary }
    if origin and allows(origin) then
      d.headers = headers_of.merged({
        ["Access-Control-Allow-Methods"] = methods, ["Access-Control-Allow-Headers"] = allowed,
        ["Access-Control-Max-Age"] = seconds,
      }, headers_for(origin))
      d.headers["Access-Control-Expose-Headers"] = nil
    end
    return d
  end

  return function(req, ...)
    local origin = req.headers.Origin
    if origin and req.method == "OPTIONS" and req.headers["Access-Control-Request-Method"] then
      return preflight(origin)
    end
    -- Without an origin, too: a cache must know that another client may get another answer.
    return headers.with(decide(req, ...), origin and allows(origin) and headers_for(origin) or vary)
  end
end

return suggest.strict(M, "moongate.cors")
