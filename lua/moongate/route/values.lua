-- moongate.route.values owns what the value of one setting may be: a checker for each kind. A
-- checker takes the script's value and gives the normalized one, or nil and what was expected (or
-- nil, nil and the problem). Called by schema, settings and the command line.

local addr = require("moongate.base.addr")
local fs = require("moongate.base.fs")
local log_format = require("moongate.route.log_format")
local log_target = require("moongate.route.log_target")
local units = require("moongate.base.units")

local M = {}

--- As many as the master has room for (PLAN_WORKERS in core/process/plan.h).
M.WORKERS_MOST = 256

function M.duration(value)
  return units.duration(value), units.DURATION
end

function M.size(value)
  return units.size(value), units.SIZE
end

--- A duration or size of zero would mean "never" in one place and "at once" in another.
function M.above_zero(checker)
  return function(value)
    local normalized, expected = checker(value)
    return normalized ~= 0 and normalized or nil, expected .. ", above zero"
  end
end

function M.integer(low, high)
  local expected = ("a whole number from %d to %d"):format(low, high)
  return function(value)
    local fits = type(value) == "number" and value % 1 == 0 and value >= low and value <= high
    return fits and value or nil, expected
  end
end

--- From 1 MB on: the library below needs some room for itself.
function M.shared_size(value)
  local bytes = units.size(value)
  local fits = bytes and bytes >= 2 ^ 20 and bytes <= 2 ^ 36
  return fits and bytes or nil, 'a size from "1M" to "64G"'
end

--- The library takes some megabytes; what is more than 4 GB can't be collected between requests.
function M.script_memory(value)
  local bytes = units.size(value)
  local fits = bytes and bytes >= 2 ^ 24 and bytes <= 2 ^ 32
  return fits and bytes or nil, 'a size from "16M" to "4G"'
end

function M.boolean(value)
  if type(value) ~= "boolean" then
    return nil, "true or false"
  end
  return value
end

function M.one_of(...)
  local allowed = { ... }
  local quoted = {}
  for i, word in ipairs(allowed) do
    quoted[i] = ('"%s"'):format(word)
  end
  local expected = #quoted > 1
    and table.concat(quoted, ", ", 1, #quoted - 1) .. " or " .. quoted[#quoted] or quoted[1]
  return function(value)
    for _, word in ipairs(allowed) do
      if value == word then
        return value, expected -- those who add to what is expected do so unasked
      end
    end
    return nil, expected
  end
end

function M.text(value)
  local fits = type(value) == "string" and value ~= "" and not value:find("%c")
  return fits and value or nil, "a text"
end

--- Texts by their names.
function M.texts(value)
  local expected = 'a table of texts such as { ["deployment.environment"] = "production" }'
  if type(value) ~= "table" then
    return nil, expected
  end
  local normalized = {}
  for name, text in pairs(value) do
    if type(name) ~= "string" or not M.text(name) or not M.text(text) then
      return nil, expected
    end
    normalized[name] = text
  end
  return normalized
end

--- Headers of requests to a collector.
function M.span_headers(value)
  local normalized = M.texts(value)
  for name in pairs(normalized or {}) do
    if not name:match("^[%w!#$%%&'*+.^_`|~-]+$") then
      normalized = nil
      break
    end
  end
  return normalized, 'a table of headers such as { Authorization = "Bearer ..." }'
end

--- Where spans go: the URL of a collector, or a file.
function M.span_target(value)
  local expected = 'a URL such as "http://127.0.0.1:4318/v1/traces", or an absolute path'
  if type(value) ~= "string" or value:find("[%c ]") then
    return nil, expected
  elseif value:find("^https:") then
    return nil, nil, "there is no TLS for spans: a collector on this machine passes them on"
  elseif value:find("^http://[^/?#]+/?$") then
    return value:gsub("/?$", "/v1/traces", 1)
  elseif value:find("^http://[^/?#]+/") then
    return value
  end
  return M.folder(value), expected
end

--- A part of a whole.
function M.share(value)
  local fits = type(value) == "number" and value >= 0 and value <= 1
  return fits and value or nil, "a number from 0 to 1"
end

function M.account(value)
  local fits = type(value) == "string" and value:match("^[%w_][%w_.-]*%$?$")
  return fits and value or nil, "the name of an account"
end

--- A user by name or number, who owns a socket: both, as far as they are known.
function M.owner(value)
  if type(value) == "number" and value >= 0 and value < 2 ^ 32 - 1 and value % 1 == 0 then
    return { uid = value, name = ("uid %d"):format(value) }
  elseif type(value) ~= "string" or not M.account(value) then
    return nil, 'the name or the number of a user such as "alice" or 1001'
  end
  local uid = fs.user_id(value)
  if not uid then
    return nil, nil, ("there is no user '%s' on this machine"):format(value)
  end
  return { uid = uid, name = value }
end

--- An absolute path without a slash at its end (but "/").
function M.folder(value)
  if type(value) ~= "string" or not value:match("^/") or value:find("%c") then
    return nil, 'an absolute path such as "/srv/www"'
  end
  return value:match("^(.-)/+$") == "" and "/" or value:match("^(.-)/*$")
end

--- The specs of a route: a folder, from the root or from the script's own folder on. `load` looks
--- whether it is there.
function M.spec_folder(value)
  local fits = type(value) == "string" and value ~= "" and not value:find("%c")
  return fits and value or nil, 'a folder such as "spec" or "/srv/spec"'
end

function M.folders(value)
  local list = type(value) == "string" and { value } or value
  if type(list) ~= "table" or #list == 0 then
    return nil, "an absolute path or a list of them"
  end
  local normalized = {}
  for i, item in ipairs(list) do
    local path, expected = M.folder(item)
    if not path then
      return nil, expected
    end
    normalized[i] = path
  end
  return normalized
end

--- Where the lines about errors go.
M.error_target = log_target.checker("error", "stderr", M.folder)
local access_target = log_target.checker("access", "stdout", M.folder)

--- Where the lines of requests go.
function M.access_target(value)
  if value == false then
    return false
  end
  local normalized, expected, problem = access_target(value)
  return normalized, expected and expected .. ", or false", problem
end

M.log_format = log_format.check

function M.header_names(value)
  local expected = 'a list of header names such as { "X_Legacy" }'
  if type(value) ~= "table" then
    return nil, expected
  end
  local normalized = {}
  for key, name in pairs(value) do
    if type(key) ~= "number" or type(name) ~= "string"
      or not name:match("^[%w!#$%%&'*+.^_`|~-]+$") then
      return nil, expected
    end
    normalized[key] = name
  end
  return normalized
end

--- A checker of one value or a list of them.
---@param expected string
---@param item fun(value: any): any, string|nil the normalized one; else nil and the problem, where
--- it isn't only that something else was expected
local function one_or_list(expected, item)
  return function(value)
    local list = type(value) == "string" and { value } or value
    if type(list) ~= "table" then
      return nil, expected
    end
    local normalized = {}
    for key, given in pairs(list) do
      local normal, problem = nil, nil
      if type(key) == "number" then
        normal, problem = item(given)
      end
      if normal == nil then
        return nil, expected, problem
      end
      normalized[key] = normal
    end
    return normalized
  end
end

-- More are a mistake; CDNs have some hundreds.
local MOST_NETWORKS = 10000

local one_or_list_of_networks = one_or_list(addr.NETWORK_EXPECTED .. ", or a list of them",
  function(value)
    local network, problem = addr.network(value)
    return network, problem and ('"%s": %s'):format(value, problem)
      or type(value) == "string" and ('"%s" is neither an address nor a network'):format(value)
      or nil
  end)

function M.networks(value)
  if type(value) == "table" and #value > MOST_NETWORKS then
    return nil, nil, ("%d networks, at most %d can be named"):format(#value, MOST_NETWORKS)
  end
  return one_or_list_of_networks(value)
end

function M.workers(value)
  if value == "auto" then
    return 0
  end
  local count = M.integer(1, M.WORKERS_MOST)(value)
  return count, ('a number of processes from 1 to %d, or "auto"'):format(M.WORKERS_MOST)
end

--- A function, or an object that is called like one.
---@param value any
---@return function|nil
function M.as_function(value)
  if type(value) == "function" then
    return value
  end
  local meta = type(value) == "table" and getmetatable(value)
  if type(meta) == "table" and meta.__call then
    return function(...)
      return value(...)
    end
  end
  return nil
end

--- The policies by name, each a file of lua/moongate/balance/.
M.POLICIES = { "round_robin", "least_conn", "random", "p2c", "hash", "ip_hash", "sticky" }

function M.policy(value)
  local normalized = M.as_function(value)
  if normalized then
    return normalized
  end
  local word, expected = M.one_of(unpack(M.POLICIES))(value)
  return word, expected .. ", or a function"
end

--- A page of PHP-FPM.
function M.page(value)
  local fits = type(value) == "string" and value:match("^/[^%c%s?#]*$")
  return fits and value or nil, 'a path such as "/status"'
end

--- false stands for no signal: fields take no nil.
function M.load_signal(value)
  if value == "none" then
    return false
  elseif value == "status" then
    return "/status"
  end
  return M.page(value), '"none", "status" or a path such as "/status"'
end

--- Several requests at a time on one connection.
function M.multiplex(value)
  if type(value) == "boolean" or value == "auto" then
    return value
  end
  return nil, 'true, false or "auto"'
end

--- A checker of a whole table, by a module that owns what such a table is.
function M.owned(module)
  return function(value)
    local problem = module.problem(value)
    if problem then
      return nil, nil, problem
    end
    return module.list(value)
  end
end

--- One DNS server, by its address: no server could be asked for that of a name.
local function resolver_address(value)
  local given = type(value) == "string" and value or ""
  if given:match("^[%d.]+$") or given:match("^%[.*%]$") then
    given = given .. ":53"
  end
  local address = addr.parse(given, "connect")
  return address and (address:match("^[%d.]+:%d+$") or address:match("^%[.*%]:%d+$")) or nil
end

M.resolvers = one_or_list('the address of a DNS server such as "127.0.0.1:53", or a list of them',
  resolver_address)

return M
