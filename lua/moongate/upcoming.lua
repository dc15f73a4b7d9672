-- moongate.upcoming owns the list of what the contract names and this release does not do yet.
-- Such a name is an error that says so: a setting is never ignored. Called by settings,
-- decision, php, init, load and cli. To enable one, remove its word here.

local addr = require("moongate.addr")
local units = require("moongate.units")

local M = {}

M.RELEASE = "moongate 0.1"

--- Only some values of a key come later. What is neither available nor among them is an ordinary
--- error: for example a word with a letter missing.
---@param is_later fun(value: any): boolean
local function some(is_later)
  return { is_later = is_later }
end

--- These values come later.
local function values(...)
  local list = { ... }
  return some(function(value)
    for _, later in ipairs(list) do
      if value == later then
        return true
      end
    end
    return false
  end)
end

--- Numbers above this one come later.
local function above(number)
  return some(function(value)
    return type(value) == "number" and value > number
  end)
end

-- Durations are numbers or texts.
local A_DURATION = some(function(value)
  return value ~= 0 and units.duration(value) ~= nil
end)
local POLICIES = values("least_conn", "random", "p2c", "hash", "ip_hash", "sticky")
local A_POLICY = some(function(value)
  return type(value) == "function" or POLICIES.is_later(value)
end)
local A_LIST = some(function(value)
  return type(value) == "table" and next(value) ~= nil
end)
local AN_ADDRESS = some(function(value)
  return addr.parse(value, "listen") ~= nil
end)

-- Stands for "no value of it is accepted yet".
local NONE = some(function()
  return true
end)

M.settings = {
  test = NONE, control = AN_ADDRESS, watch = values(true), script_timeout = NONE,
  trusted_proxies = A_LIST,
}
M.hooks = { on_balance = NONE, on_error = NONE, on_stderr = NONE }
M.listener = { protocol = values("fastcgi"), proxy_protocol = values(true) }
M.limits = { connections = above(0), per_ip = above(0) }
M.server = { weight = above(1), backup = values(true), max_conns = above(0) }
M.backend = {
  balance = A_POLICY, max_conns = above(0), queue = NONE, max_fails = NONE, fail_timeout = NONE,
  slow_start = A_DURATION, health = NONE, multiplex = values(true, "auto"), per_tenant = above(0),
  ini = NONE, load = values("status"), resolve = NONE, internal = NONE,
}
M.decision = {
  role = values("authorizer", "filter"), authorize = NONE, hash_key = NONE, ini = NONE,
  intercept_errors = NONE, response_buffering = values(true), internal = NONE,
}

-- Modules that `require` does not find yet; a name that ends in a dot stands for all below it.
M.modules = {
  ["moongate.tenants"] = NONE, ["moongate.balance"] = NONE, ["moongate.balance."] = NONE,
  ["moongate.health"] = NONE, ["moongate.limit"] = NONE, ["moongate.canary"] = NONE,
  ["moongate.testing"] = NONE, ngx = NONE,
}

-- Names in `require "moongate"`.
M.library = {
  sleep = NONE, every = NONE, spawn = NONE, worker = NONE, shared = NONE, tcp = NONE,
  fastcgi = NONE,
}

-- Options of `run`.
M.options = { watch = values(true), control = AN_ADDRESS }

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
  local entry = group[key]
  if entry == nil or not entry.is_later(value) then
    return nil
  end
  return M.message(key, entry ~= NONE and value or nil)
end

--- Why a module cannot be required yet.
---@param name string
---@return string|nil message
function M.module_problem(name)
  local group = name:match("^(moongate%.%w+%.).")
  return (M.modules[name] or M.modules[group]) and M.message(name) or nil
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
