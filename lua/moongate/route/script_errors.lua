-- moongate.route.script_errors owns the setting of that name: what a request gets when one of its
-- hooks has failed, for each of these hooks. Called by settings.

local copy_of = require("moongate.base.copy")
local decision = require("moongate.decision")
local suggest = require("moongate.base.suggest")
local walk = require("moongate.route.walk")
local sorted_keys = require("moongate.base.keys").sorted

local M = {}

-- The hooks of which the setting can say something, with what holds where it says nothing.
local DEFAULTS = {
  on_request = "fail", on_params = "fail", on_balance = "fail", on_response = "open",
  on_error = "fail",
}

-- One decision for all hooks is for those that run before a server has the request: behind them it
-- would be sent again, a POST too.
local BEFORE = { "on_request", "on_params", "on_balance" }

local EXPECTED = '"fail", "open" or a decision such as { backend = "app" }'
local NAMED = 'name hooks, as in { on_request = { backend = "app" }, on_params = "open" }'

--- What is wrong with a decision that answers in the place of a hook.
local function decision_problem(value, settings)
  if getmetatable(value) and decision.inherits(value) then
    return "its metatable has __index: the keys of a decision are its own"
  elseif decision.kind(value) == "close" then
    return "close is no answer: name a backend, a file or a reply"
  end
  return decision.problem(value, settings) or decision.backend_problem(value, settings)
end

--- One value, of a hook or of the whole setting.
local function check(source, path, value, settings)
  if type(value) == "table" then
    local problem = decision_problem(value, settings)
    if problem then
      walk.reject(source, path, value, EXPECTED, problem)
    end
  elseif value ~= "fail" and value ~= "open" then
    walk.reject(source, path, value, EXPECTED)
  end
end

--- Is it a table from hooks to values? A decision has no key that begins so.
local function names_hooks(value)
  if type(value) ~= "table" then
    return false
  end
  for key in pairs(value) do
    if type(key) == "string" and key:find("^on_") then
      return true
    end
  end
  return false
end

--- The values of a table from hooks to values.
local function by_hook(source, value, settings, normalized)
  for _, hook in ipairs(sorted_keys(value)) do
    local path = { "script_errors", hook }
    if not DEFAULTS[hook] then
      local why = type(hook) == "string" and hook:find("^on_s[to]") or hook == "on_log"
        or hook == "on_certificate"
      walk.fail(source, path, why
        and ("script_errors: an error in %s changes no answer"):format(hook)
        or ("script_errors: unknown hook '%s'%s"):format(suggest.name(hook),
          suggest.hint(hook, DEFAULTS)))
    end
    check(source, path, value[hook], settings)
    if hook == "on_request" and value[hook] == "open" then
      walk.fail(source, path, 'script_errors.on_request: "open" leaves nothing that says where the '
        .. 'request goes: give a decision such as { backend = "app" }')
    end
    normalized[hook] = value[hook]
  end
  return normalized
end

--- What each of the hooks' errors does.
---@param source moongate.Source
---@param value any nil: nothing is set
---@param settings table normalized; `backends` is read
---@return table<string, "fail"|"open"|table> normalized by hook; a table is a decision
--- Raises `FILE:LINE: message` for what is wrong.
function M.normalize(source, value, settings)
  local normalized = copy_of.table(DEFAULTS)
  if value == nil then
    return normalized
  elseif names_hooks(value) then
    return by_hook(source, value, settings, normalized)
  end
  check(source, { "script_errors" }, value, settings)
  if value == "open" then
    walk.fail(source, { "script_errors" }, 'script_errors: "open" leaves nothing that says where '
      .. "a request goes whose on_request has failed: " .. NAMED)
  elseif value == "fail" then
    normalized.on_response = value
  else
    for _, hook in ipairs(BEFORE) do
      normalized[hook] = value
    end
  end
  return normalized
end

return M
