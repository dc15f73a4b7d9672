-- moongate.headers owns headers that hold for all that a handler answers, in one place: pages of
-- applications, files, 304, redirects, error pages and refusals. Called by routes, and by
-- moongate.cors.

local decision = require("moongate.decision")
local describe = require("moongate.base.describe")
local headers_of = require("moongate.decision.headers")
local suggest = require("moongate.base.suggest")

local M = {}

--- A decision with further headers; those that it has itself count.
---@param d table|nil nil is what the core makes of it, 404
---@param extra table|nil
---@return table|nil
local function with(d, extra)
  if not extra or d and d.close then
    return d
  elseif not d then
    return { status = 404, headers = headers_of.standing(extra) }
  end
  return headers_of.copy_with(d, "headers", extra)
end

M.with = with

--- Something that decides, as a function.
---@param handler any a decision, a function, a router or anything else that can be called
---@return fun(req: table, ...): table|nil|nil decide
---@return string|nil problem
local function as_function(handler)
  local meta = type(handler) == "table" and getmetatable(handler)
  if type(handler) == "function" or type(meta) == "table" and meta.__call ~= nil then
    return handler
  end
  local problem = type(handler) ~= "table"
    and "expected a decision, a function or a router, got " .. describe(handler)
    or decision.problem(handler)
  if problem then
    return nil, problem
  end
  return function()
    return handler
  end
end

M.as_function = as_function

--- A handler whose answers all have these headers, but where it says others itself.
---@param handler table|fun(req: table, ...): table|nil
---@param headers table|fun(req: table): table|nil
---@return fun(req: table, ...): table|nil
function M.wrap(handler, headers)
  local decide, problem = as_function(handler)
  if not problem and type(headers) ~= "function" then
    problem = decision.key_problem("reply", "headers", headers)
  end
  if problem then
    error("headers.wrap: " .. problem, 2)
  elseif type(headers) ~= "function" then
    return function(req, ...)
      return with(decide(req, ...), headers)
    end
  end
  return function(req, ...)
    return with(decide(req, ...), headers(req))
  end
end

--- A handler whose answers all have these headers, whatever made them, and after all hooks: those
--- about a content too, such as Cache-Control of error pages.
---@param handler table|fun(req: table, ...): table|nil
---@param headers table|fun(req: table): table|nil
---@return fun(req: table, ...): table|nil
function M.always(handler, headers)
  local decide, problem = as_function(handler)
  if not problem and type(headers) ~= "function" then
    problem = decision.key_problem("reply", "always", headers)
  end
  if problem then
    error("headers.always: " .. problem, 2)
  end
  return function(req, ...)
    return headers_of.always(decide(req, ...) or { status = 404 }, headers, req)
  end
end

local SECURE = { hsts = true, csp = true, frame = true, referrer = true }

--- The usual headers that make browsers careful.
---@param options table|nil hsts, csp, frame, referrer: see docs/library.md
---@return fun(req: table): table headers for `wrap`
function M.secure(options)
  options = options or {}
  if type(options) ~= "table" then
    error("headers.secure: expected a table of options, got " .. describe(options), 2)
  end
  for key, value in pairs(options) do
    if not SECURE[key] then
      error(("headers.secure: unknown key '%s'%s"):format(suggest.name(key),
        suggest.hint(key, SECURE)), 2)
    elseif type(value) ~= "string" and value ~= false then
      error(("headers.secure: %s: expected a text or false, got %s"):format(key, describe(value)),
        2)
    end
  end
  local function of(key, usual)
    local value = options[key]
    if value == nil then
      value = usual
    end
    return value or nil
  end
  local plain = {
    ["X-Content-Type-Options"] = "nosniff", ["Content-Security-Policy"] = of("csp"),
    ["X-Frame-Options"] = of("frame", "SAMEORIGIN"),
    ["Referrer-Policy"] = of("referrer", "strict-origin-when-cross-origin"),
  }
  local secure = headers_of.merged(plain, {
    ["Strict-Transport-Security"] = of("hsts", "max-age=31536000"),
  })
  return function(req)
    return req.scheme == "https" and secure or plain -- RFC 6797 §7.2: not over plain HTTP
  end
end

return suggest.strict(M, "moongate.headers")
