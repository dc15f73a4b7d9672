-- moongate.upcoming owns the list of what the contract names and this release does not do yet.
-- Such a name is an error that says so: a setting is never ignored. Called by settings,
-- decision, php, init and cli. To enable one, remove its word here.

local M = {}

M.RELEASE = "moongate 0.1"

-- Stands for "no value of it is accepted yet". Any other value in the tables below is the one
-- value that already is what this release does, and therefore accepted.
local NONE = {}

M.settings = {
  test = NONE, control = false, watch = false, script_timeout = NONE,
}
M.hooks = { on_balance = NONE, on_error = NONE, on_stderr = NONE }
M.listener = { protocol = "http", proxy_protocol = false }
M.limits = { connections = 0, per_ip = 0 }
M.server = { weight = 1, backup = false, max_conns = 0 }
M.backend = {
  balance = "round_robin", max_conns = 0, queue = NONE, max_fails = NONE, fail_timeout = NONE,
  slow_start = 0,
  health = NONE, multiplex = false, per_tenant = 0, ini = NONE, load = "none", resolve = NONE,
  internal = NONE,
}
M.decision = {
  role = "responder", authorize = NONE, hash_key = NONE, ini = NONE, intercept_errors = NONE,
  response_buffering = false, internal = NONE,
}

-- Names in `require "moongate"`.
M.library = {
  sleep = NONE, every = NONE, spawn = NONE, worker = NONE, shared = NONE, tcp = NONE,
  fastcgi = NONE,
}

-- Options of `run`; the other spelling of each is accepted.
M.options = { watch = false, control = "off" }

-- Words of the command line.
M.commands = {
  test = NONE, reload = NONE, stop = NONE, status = NONE, drain = NONE, undrain = NONE,
  hold = NONE, resume = NONE, top = NONE,
}

--- Why a key that the contract knows cannot be used yet.
---@param group table<string, any> one of the tables above
---@param key string
---@param value any what the script gave
---@return string|nil message nil where the key or its value is available
function M.problem(group, key, value)
  local accepted = group[key]
  if accepted == nil or accepted == value then
    return nil
  end
  return M.message(key, accepted ~= NONE and value or nil)
end

--- The one sentence about something that is not available yet.
---@param name string
---@param value any|nil named too where only this value of it is missing
---@return string
function M.message(name, value)
  local kind = type(value)
  if kind == "string" or kind == "number" or kind == "boolean" then
    local text = kind == "string" and ('"%s"'):format(value) or tostring(value)
    return ("'%s = %s' is not available in %s yet"):format(name, text, M.RELEASE)
  end
  return ("'%s' is not available in %s yet"):format(name, M.RELEASE)
end

return M
