-- moongate.decision.certificate owns what on_certificate returns: a certificate for a name, or nil.
-- Called by load, which wraps the hook.

local describe = require("moongate.base.describe")
local sorted_keys = require("moongate.base.keys").sorted
local suggest = require("moongate.base.suggest")
local units = require("moongate.base.units")

local M = {}

-- As core/tls/pem.h has room for.
local BYTES = 1024 ^ 2

local KEYS = { cert = true, key = true, ttl = true }

--- The certificate or the key: PEM, or the path of a file that has it.
local function text_problem(answer, key)
  local value = answer[key]
  local is_text = type(value) == "string"
  if is_text and #value > BYTES then
    return ("%s: more than %d bytes"):format(key, BYTES)
  elseif is_text and (value:find("-----BEGIN ", 1, true) or value:find("^/[^%c]+$")) then
    return nil
  elseif key == "key" and is_text then -- not shown: it may be a part of a key
    return "key: expected PEM or an absolute path, got neither"
  end
  return ("%s: expected PEM or an absolute path, got %s"):format(key, describe(value))
end

--- Why an answer can't be used.
---@param answer any what the hook has returned, but nil
---@return string|nil problem
function M.problem(answer)
  if type(answer) ~= "table" then
    return ("expected { cert = ..., key = ... } or nil, got %s"):format(describe(answer))
  end
  for _, key in ipairs(sorted_keys(answer)) do
    if not KEYS[key] then
      return ("unknown key '%s'%s"):format(suggest.name(key), suggest.hint(key, KEYS))
    end
  end
  local ttl = answer.ttl
  if ttl ~= nil and not units.duration(ttl) then
    return ("ttl: expected %s, got %s"):format(units.DURATION, describe(ttl))
  end
  return text_problem(answer, "cert") or text_problem(answer, "key")
end

--- Wraps on_certificate for core/script/certificate.c.
---@param hook fun(name: string): table|nil
---@param ttl number seconds for which an answer is kept that does not say so itself
---@return fun(name: string): string|nil, string|nil, number|nil cert, key, seconds
function M.wrap(hook, ttl)
  return function(name)
    local answer = hook(name)
    if answer == nil then
      return nil
    end
    local problem = M.problem(answer)
    if problem then
      error("it returned a certificate that can't be used: " .. problem, 0)
    end
    return answer.cert, answer.key, answer.ttl and units.duration(answer.ttl) or ttl
  end
end

return M
