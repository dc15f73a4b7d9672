-- moongate.auth owns who may pass: logins, addresses, signed cookies and URLs. Called by routes:
-- each of these is a guard, a function from request to nil, or to the decision that refuses it.

local basic = require("moongate.auth.basic")
local cidr = require("moongate.net.cidr")
local decision = require("moongate.decision")
local describe = require("moongate.base.describe")
local registry = require("moongate.route.registry")
local signed = require("moongate.auth.signed")
local suggest = require("moongate.base.suggest")
local trace = require("moongate.decision.trace")

local M = {}

--- A login by name and password (RFC 7617).
---@param options table file, users, realm, remember, failures, key, answer: see docs/library.md
---@return moongate.auth.Basic guard
function M.basic(options)
  local guard, problem = basic.new(options, trace.place(2))
  if not guard then
    error("auth.basic: " .. problem, 2)
  end
  return guard
end

--- The name of the user who has logged in.
---@param req table
---@return string|nil name nil without a login
function M.user(req)
  return req.ctx[basic.USER]
end

local ADDRESS_KEYS = { allow = true, deny = true, answer = true }

--- A set of addresses, or what is wrong with it.
local function set_of(options, key)
  if options[key] == nil then
    return nil
  end
  local ok, set = pcall(cidr.set, options[key])
  if not ok then
    return nil, ("%s: %s"):format(key, (set:gsub("^.-cidr%.set: ", "")))
  end
  return set
end

--- Who comes from where.
---@param options table allow, deny, answer: see docs/library.md
---@return fun(req: table): table|nil guard
function M.addresses(options)
  local problem = suggest.options_problem(options, ADDRESS_KEYS)
  local allow, deny
  if not problem and options.allow == nil and options.deny == nil then
    problem = "expected 'allow' or 'deny', or both"
  elseif not problem and options.answer ~= nil then
    problem = decision.problem(options.answer)
    problem = problem and "answer: " .. problem
  end
  if not problem then
    allow, problem = set_of(options, "allow")
  end
  if not problem then
    deny, problem = set_of(options, "deny")
  end
  if problem then
    error("auth.addresses: " .. problem, 2)
  end
  local place = trace.place(2)
  local answer = options.answer or { status = 403 }
  local rule = trace.known({ text = "auth.addresses", source = place })
  registry.add(answer, place, "auth.addresses: answer")
  return function(req)
    if deny and deny:has(req.ip) or allow and not allow:has(req.ip) then
      trace.decided(req, rule)
      return answer
    end
    return nil
  end
end

--- A cookie with a value that we have signed.
---@param options table name, key, lifetime, path, domain, secure, same_site, answer
---@return moongate.auth.SignedCookie guard
function M.signed_cookie(options)
  local guard, problem = signed.cookie(options, trace.place(2))
  if not guard then
    error("auth.signed_cookie: " .. problem, 2)
  end
  return guard
end

--- A URL that we have signed.
---@param options table key, lifetime, answer
---@return moongate.auth.SignedUrl guard
function M.signed_url(options)
  local guard, problem = signed.url(options, trace.place(2))
  if not guard then
    error("auth.signed_url: " .. problem, 2)
  end
  return guard
end

--- Whom one of several guards lets pass. Where none does, the last one's answer counts.
---@param ... fun(req: table): table|nil guards, asked in this order
---@return fun(req: table): table|nil guard
function M.any(...)
  local guards, count = { ... }, select("#", ...)
  for i = 1, math.max(1, count) do
    local meta = type(guards[i]) == "table" and getmetatable(guards[i])
    if type(guards[i]) ~= "function" and not (type(meta) == "table" and meta.__call) then
      error(("auth.any: expected guards such as auth.basic makes, got %s"):format(
        describe(guards[i])), 2)
    end
  end
  return function(req)
    local refused
    for i = 1, count do
      refused = guards[i](req)
      if not refused then
        return nil
      end
    end
    return refused
  end
end

return suggest.strict(M, "moongate.auth")
