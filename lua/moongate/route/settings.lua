-- moongate.route.settings owns the settings of a route: what is allowed, what it defaults to, and
-- the message when it is wrong. Called by load. It reads nothing from disk.
--
-- A schema is a table from key to { checker, default }. A checker takes the script's value and
-- gives the normalized one, or nil and what was expected instead (or nil, nil and the problem).

local addr = require("moongate.base.addr")
local describe = require("moongate.base.describe")
local ini = require("moongate.decision.ini")
local internal = require("moongate.decision.internal")
local locate = require("moongate.route.locate")
local suggest = require("moongate.base.suggest")
local units = require("moongate.base.units")
local upcoming = require("moongate.base.upcoming")
local sorted_keys = require("moongate.base.keys").sorted

local M = {}

--- The default, which is not looked for when a route is loaded.
M.SPOOL_DIR = "/tmp"
--- As many as the master has room for (PLAN_WORKERS in core/process/plan.h).
M.WORKERS_MOST = 256

local HOOKS = {
  on_start = true, on_request = true, on_params = true, on_balance = true, on_response = true,
  on_error = true, on_stderr = true, on_log = true, on_stop = true,
}

-- Checkers ---------------------------------------------------------------------------------------

local function duration(value)
  return units.duration(value), units.DURATION
end

local function size(value)
  return units.size(value), units.SIZE
end

--- A duration or size of zero would mean "never" in one place and "at once" in another.
local function above_zero(checker)
  return function(value)
    local normalized, expected = checker(value)
    return normalized ~= 0 and normalized or nil, expected .. ", above zero"
  end
end

local function integer(low, high)
  local expected = ("a whole number from %d to %d"):format(low, high)
  return function(value)
    local fits = type(value) == "number" and value % 1 == 0 and value >= low and value <= high
    return fits and value or nil, expected
  end
end

--- From 1 MB on: the library below needs some room for itself.
local function shared_size(value)
  local bytes = units.size(value)
  local fits = bytes and bytes >= 2 ^ 20 and bytes <= 2 ^ 36
  return fits and bytes or nil, 'a size from "1M" to "64G"'
end

local function boolean(value)
  if type(value) ~= "boolean" then
    return nil, "true or false"
  end
  return value
end

local function one_of(...)
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

local function text(value)
  local fits = type(value) == "string" and value ~= "" and not value:find("%c")
  return fits and value or nil, "a text"
end

local function account(value)
  local fits = type(value) == "string" and value:match("^[%w_][%w_.-]*%$?$")
  return fits and value or nil, "the name of an account"
end

--- An absolute path without a slash at its end (but "/").
local function folder(value)
  if type(value) ~= "string" or not value:match("^/") or value:find("%c") then
    return nil, 'an absolute path such as "/srv/www"'
  end
  return value:match("^(.-)/+$") == "" and "/" or value:match("^(.-)/*$")
end

--- The specs of a route: a folder, from the root or from the script's own folder on. `load` looks
--- whether it is there.
local function spec_folder(value)
  local fits = type(value) == "string" and value ~= "" and not value:find("%c")
  return fits and value or nil, 'a folder such as "spec" or "/srv/spec"'
end

local function folders(value)
  local list = type(value) == "string" and { value } or value
  if type(list) ~= "table" or #list == 0 then
    return nil, "an absolute path or a list of them"
  end
  local normalized = {}
  for i, item in ipairs(list) do
    local path, expected = folder(item)
    if not path then
      return nil, expected
    end
    normalized[i] = path
  end
  return normalized
end

local function log_target(...)
  local word = one_of(...)
  return function(value)
    if value == "syslog" then
      return nil, nil, upcoming.message(value)
    end
    local normalized, expected = word(value)
    return normalized or folder(value), expected .. " or an absolute path"
  end
end

local function log_format(value)
  if type(value) == "function" then
    return value
  end
  local normalized, expected = one_of("combined", "json")(value)
  return normalized, expected .. ", or a function"
end

local function header_names(value)
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

-- More are a mistake; CDNs have some hundreds.
local MOST_NETWORKS = 10000

local function networks(value)
  local list = type(value) == "string" and { value } or value
  local expected = addr.NETWORK_EXPECTED .. ", or a list of them"
  if type(list) ~= "table" then
    return nil, expected
  elseif #list > MOST_NETWORKS then
    return nil, nil, ("%d networks, at most %d can be named"):format(#list, MOST_NETWORKS)
  end
  local normalized = {}
  for key, item in pairs(list) do
    local network, problem = addr.network(item)
    if type(key) ~= "number" then
      return nil, expected
    elseif not network then
      return nil, expected, problem and ('"%s": %s'):format(item, problem)
        or type(item) == "string" and ('"%s" is neither an address nor a network'):format(item)
        or nil
    end
    normalized[key] = network
  end
  return normalized
end

local function workers(value)
  if value == "auto" then
    return 0
  end
  local count = integer(1, M.WORKERS_MOST)(value)
  return count, ('a number of processes from 1 to %d, or "auto"'):format(M.WORKERS_MOST)
end

---@param value any
---@return function|nil
local function as_function(value)
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

local function policy(value)
  local normalized = as_function(value)
  if normalized then
    return normalized
  end
  local word, expected = one_of("round_robin", "least_conn", "random", "p2c", "hash", "ip_hash",
    "sticky")(value)
  return word, expected .. ", or a function"
end

--- A page of PHP-FPM.
local function page(value)
  local fits = type(value) == "string" and value:match("^/[^%c%s?#]*$")
  return fits and value or nil, 'a path such as "/status"'
end

--- false stands for no signal: fields take no nil.
local function load_signal(value)
  if value == "none" then
    return false
  elseif value == "status" then
    return "/status"
  end
  return page(value), '"none", "status" or a path such as "/status"'
end

--- A checker of a whole table, by a module that owns what such a table is.
local function owned(module)
  return function(value)
    local problem = module.problem(value)
    if problem then
      return nil, nil, problem
    end
    return module.list(value)
  end
end

--- One DNS server. Its address must be one: there is nobody yet to ask for a name's.
local function resolver_address(value)
  local given = type(value) == "string" and value or ""
  if given:match("^[%d.]+$") or given:match("^%[.*%]$") then
    given = given .. ":53"
  end
  local address = addr.parse(given, "connect")
  return address and (address:match("^[%d.]+:%d+$") or address:match("^%[.*%]:%d+$")) or nil
end

local function resolvers(value)
  local expected = 'the address of a DNS server such as "127.0.0.1:53", or a list of them'
  local list = type(value) == "string" and { value } or value
  if type(list) ~= "table" then
    return nil, expected
  end
  local normalized = {}
  for key, item in pairs(list) do
    local address = type(key) == "number" and resolver_address(item)
    if not address then
      return nil, expected
    end
    normalized[key] = address
  end
  return normalized
end

local function control(value)
  if value == false then
    return false
  end
  local address, problem = addr.parse(value, "listen")
  return address, addr.EXPECTED .. ", or false", problem
end

-- Schemas ----------------------------------------------------------------------------------------

local LOG = {
  access = { function(value)
    if value == false then
      return false
    end
    local normalized, expected, problem = log_target("stdout")(value)
    return normalized, expected and expected .. ", or false", problem
  end, "stdout" },
  format = { log_format, "combined" },
  error = { log_target("stderr"), "stderr" },
  level = { one_of("debug", "info", "warn", "error"), "info" },
}

local LIMITS = {
  request_line = { above_zero(size), 8192 },
  header = { above_zero(size), 16384 },
  headers = { integer(1, 10000), 100 },
  body = { size, 1024 ^ 3 },
  header_timeout = { above_zero(duration), 10 },
  body_timeout = { above_zero(duration), 60 },
  send_timeout = { above_zero(duration), 60 },
  keepalive_timeout = { duration, 60 },
  keepalive_requests = { integer(1, 1e9), 10000 },
  connections = { integer(0, 1e9), 0 },
  per_ip = { integer(0, 1e9), 0 },
  param_size = { above_zero(size), 65536 },
  response_header = { above_zero(size), 65536 },
  request_memory = { above_zero(size), 65536 },
  response_memory = { above_zero(size), 262144 },
  spool = { size, 1024 ^ 3 },
  spool_dir = { folder, M.SPOOL_DIR },
  header_names = { header_names, {} },
  shared = { shared_size, 16 * 1024 ^ 2 },
}

local LISTENER = {
  protocol = { one_of("http"), "http" },
  proxy_protocol = { boolean, false },
  backlog = { integer(1, 65535), 511 },
  name = { text },
}

local SERVER = {
  weight = { integer(1, 1000), 1 },
  backup = { boolean, false },
  max_conns = { integer(0, 1e6) }, -- default: the backend's
}

local HEALTH = {
  ping = { page, "/ping" },
  expect = { text, "pong" },
  interval = { above_zero(duration), 5 },
  timeout = { above_zero(duration), 1 },
  rise = { integer(1, 1000), 2 },
  fall = { integer(1, 1000), 3 },
}

local BACKEND = {
  balance = { policy, "round_robin" },
  max_conns = { integer(0, 1e6), 0 },
  queue = { integer(0, 1e6), 1024 },
  queue_timeout = { duration, 30 },
  keepalive = { integer(0, 1e5), 0 },
  keepalive_idle = { above_zero(duration), 10 },
  keepalive_requests = { integer(1, 1e9), 1000 },
  connect_timeout = { above_zero(duration), 5 },
  send_timeout = { above_zero(duration), 60 },
  read_timeout = { above_zero(duration), 60 },
  attempts = { integer(1, 100), 2 },
  retry = { one_of("safe", "timeout", "never"), "safe" },
  max_fails = { integer(0, 1e6), 3 },
  fail_timeout = { above_zero(duration), 10 },
  slow_start = { duration, 0 },
  multiplex = { boolean, false },
  per_tenant = { integer(0, 1e6), 0 },
  ini = { owned(ini), {} },
  load = { load_signal, false },
  resolve = { above_zero(duration), 10 },
  internal = { owned(internal), {} },
  profile = { one_of("php", "generic"), "php" },
  root = { folder },
  docroot = { folder },
  within = { folders },
  resolve_root = { boolean, true },
}

-- `listen`, `log`, `limits`, `backends` and the hooks have shapes of their own, see below.
local TOP = {
  control = { control }, -- default: for `run` to say
  resolver = { resolvers, {} },
  workers = { workers, 0 },
  user = { account },
  group = { account },
  trusted_proxies = { networks, {} },
  watch = { boolean },
  test = { spec_folder },
  stop_timeout = { duration, 30 },
  script_timeout = { above_zero(duration), 1 },
}
local TOP_OTHER = { listen = true, log = true, limits = true, backends = true }

--- All keys of a schema and others beside them.
local function keys_of(schema, ...)
  local keys = { ... }
  for key in pairs(schema) do
    keys[#keys + 1] = key
  end
  table.sort(keys)
  return keys
end

--- Which keys each table of a route may have: moongate.types is compared with them.
---@return table<string, string[]>
function M.keys()
  local top = keys_of(HOOKS, unpack(keys_of(TOP_OTHER)))
  return {
    route = keys_of(TOP, unpack(top)), listener = keys_of(LISTENER, "address"),
    server = keys_of(SERVER, "address"), backend = keys_of(BACKEND, "servers", "health"),
    health = keys_of(HEALTH), log = keys_of(LOG), limits = keys_of(LIMITS),
  }
end

-- The walk ---------------------------------------------------------------------------------------

---@class moongate.Source
---@field name string the script's file name, for messages
---@field text string its text, to find lines in

--- Ends the validation with `FILE:LINE: message`.
---@param source moongate.Source
---@param path (string|integer)[]
---@param message string
function M.fail(source, path, message)
  error(("%s:%d: %s"):format(source.name, locate.line(source.text, path), message), 0)
end
local fail = M.fail

---@param path (string|integer)[]
---@return string dotted as in backends.app.servers[2]
local function dotted(path)
  local out = ""
  for _, key in ipairs(path) do
    if type(key) == "number" then
      out = ("%s[%d]"):format(out, key)
    else
      out = out == "" and key or out .. "." .. key
    end
  end
  return out
end

--- A path with one key more.
local function under(path, key)
  local longer = {}
  for i, part in ipairs(path) do
    longer[i] = part
  end
  longer[#longer + 1] = key
  return longer
end

--- Fails with what was expected at a path.
local function reject(source, path, value, expected, problem)
  if problem then
    fail(source, path, ("%s: %s"):format(dotted(path), problem))
  end
  fail(source, path, ("%s: expected %s, got %s"):format(
    dotted(path), expected, describe(value)))
end

--- Rejects every key that is neither in the schema nor among `others`, and those of later releases.
local function check_keys(source, path, value, schema, later, others)
  local prefix = #path > 0 and dotted(path) .. ": " or ""
  for _, key in ipairs(sorted_keys(value)) do
    local known = schema[key] ~= nil or (others and others[key] ~= nil)
    local problem = upcoming.problem(later, key, value[key])
    if problem then
      fail(source, under(path, key), prefix .. problem)
    elseif not known then
      local names = {}
      for _, set in ipairs({ schema, later, others or {} }) do
        for name in pairs(set) do
          names[name] = true
        end
      end
      fail(source, under(path, key), ("%sunknown key '%s'%s"):format(
        prefix, suggest.name(key), suggest.hint(key, names)))
    end
  end
end

--- Validates the plain keys of a table against a schema.
---@return table normalized every key of the schema that is set or has a default
local function fields(source, path, value, schema)
  local normalized = {}
  for key, spec in pairs(schema) do
    local given = value[key]
    if given == nil then
      normalized[key] = spec[2]
    else
      local normal, expected, problem = spec[1](given)
      if normal == nil then
        reject(source, under(path, key), given, expected, problem)
      end
      normalized[key] = normal
    end
  end
  return normalized
end

--- A nested table of plain keys.
local function section(source, path, value, schema, later)
  if value == nil then
    value = {}
  elseif type(value) ~= "table" then
    reject(source, path, value, "a table")
  end
  check_keys(source, path, value, schema, later)
  return fields(source, path, value, schema)
end

--- An address, or a table with an address and more: a listener or a server.
local function endpoint(source, path, value, schema, later, use)
  local is_table = type(value) == "table"
  local given, given_path = value, path
  if is_table then
    check_keys(source, path, value, schema, later, { address = true })
    given, given_path = value.address, under(path, "address")
  end
  local address, problem = addr.parse(given, use)
  if not address then
    reject(source, given_path, given, addr.EXPECTED, problem)
  end
  local normalized = fields(source, path, is_table and value or {}, schema)
  normalized.address = address
  return normalized
end

--- One endpoint or a list of them, each address once.
local function endpoints(source, path, value, schema, later, use)
  local list = value
  if type(value) ~= "table" or value.address ~= nil then
    list = { value }
  elseif next(value) == nil then
    reject(source, path, nil, addr.EXPECTED, "the list is empty")
  end
  for key in pairs(list) do
    if type(key) ~= "number" then
      check_keys(source, path, list, schema, later, { address = true })
      fail(source, path, ("%s: 'address' is missing"):format(dotted(path)))
    end
  end
  local normalized, seen = {}, {}
  for i, item in ipairs(list) do
    local item_path = list == value and under(path, i) or path
    normalized[i] = endpoint(source, item_path, item, schema, later, use)
    local address = normalized[i].address
    if seen[address] then
      fail(source, path, ("%s: %s is there twice"):format(dotted(path), address))
    end
    seen[address] = true
  end
  return normalized
end

-- As core/process/plan.h has room for, beside the control listener.
local LISTENERS = 64

--- What is wrong with so many listeners; nil: nothing.
local function too_many(count)
  if count > LISTENERS then
    return ("%d addresses, at most %d can be listened on"):format(count, LISTENERS)
  end
end

--- Active health checks: off, on with what is usual, or as a table says.
local function health(source, path, value)
  if value == nil or value == false then
    return nil
  elseif value ~= true and type(value) ~= "table" then
    reject(source, path, value, "a table such as { ping = \"/ping\" }, true or false")
  end
  return section(source, path, value ~= true and value or nil, HEALTH, {})
end

--- What the servers take from their backend, and what they must be together.
local function complete_servers(source, path, normalized)
  local main = 0
  for _, server in ipairs(normalized.servers) do
    server.max_conns = server.max_conns or normalized.max_conns
    main = main + (server.backup and 0 or 1)
  end
  if main == 0 then
    fail(source, path, ("%s: all servers are backups; one at least must not be"):format(
      dotted(path)))
  end
end

--- Who chooses among the servers.
local function set_policy(normalized)
  if type(normalized.balance) == "function" then
    normalized.pick, normalized.balance = normalized.balance, "function"
  else
    normalized.pick = require("moongate.balance." .. normalized.balance).new(normalized)
  end
end

--- One backend: an address, a list of them, or the table of the contract.
local function backend(source, name, value)
  local path = { "backends", name }
  local is_plain = type(value) ~= "table" or value[1] ~= nil
  local options = is_plain and {} or value
  if type(value) == "table" and value[1] ~= nil then
    for key in pairs(value) do
      if type(key) ~= "number" then
        fail(source, under(path, key), ("%s: either a list of addresses, or a table with "
          .. "'servers' and other keys, not both"):format(dotted(path)))
      end
    end
  end
  check_keys(source, path, options, BACKEND, upcoming.backend, { servers = true, health = true })
  local servers, servers_path = value, path
  if not is_plain then
    servers, servers_path = value.servers, under(path, "servers")
    if servers == nil then
      fail(source, path, ("%s: 'servers' is missing: the addresses of its FastCGI servers")
        :format(dotted(path)))
    end
  end
  local normalized = fields(source, path, options, BACKEND)
  normalized.name = name
  normalized.servers = endpoints(source, servers_path, servers, SERVER, {}, "connect")
  complete_servers(source, servers_path, normalized)
  normalized.health = health(source, under(path, "health"), options.health)
  normalized.load = normalized.load or nil
  normalized.ini_text = #normalized.ini > 0 and ini.text(normalized.ini) or nil
  set_policy(normalized)
  return normalized
end

--- Backends that share a server send it the same settings of PHP: its processes would keep those of
--- one for the requests of the other.
local function check_shared_ini(source, list)
  local first = {}
  for _, own in ipairs(list) do
    for _, server in ipairs(own.servers) do
      local other = first[server.address]
      local name = other and ini.difference(other.ini, own.ini)
      if name then
        fail(source, { "backends", own.name, own.ini_text and "ini" }, ("backends.%s: %s is a "
          .. "server of '%s' too, and only one of them has '%s' in its 'ini': PHP's processes "
          .. "there would keep it for the requests of the other; name the same settings in both")
          :format(own.name, server.address, other.name, name))
      end
      first[server.address] = other or own
    end
  end
end

--- PHP-FPM's own pages (ping and status) belong to a server: what one backend names is no client's
--- through another that has the same server, either.
local function set_own_pages(list)
  local pages = {} -- by address: a set
  for _, own in ipairs(list) do
    for _, server in ipairs(own.servers) do
      local known = pages[server.address] or {}
      pages[server.address] = known
      if own.health then
        known[own.health.ping] = true
      end
      if own.load then
        known[own.load] = true
      end
    end
  end
  for _, own in ipairs(list) do
    local all = {}
    for _, server in ipairs(own.servers) do
      for name in pairs(pages[server.address]) do
        all[name] = true
      end
    end
    own.own_pages = next(all) and sorted_keys(all) or nil
  end
end

---@return table[] backends sorted by name
local function backends(source, value)
  if value == nil then
    return {}
  elseif type(value) ~= "table" then
    reject(source, { "backends" }, value, "a table from name to address or settings")
  end
  local list = {}
  for _, name in ipairs(sorted_keys(value)) do
    if type(name) ~= "string" or name == "" or name:find("%c") then
      fail(source, { "backends" }, ("backends: expected names, as in { app = \"%s\" }")
        :format("127.0.0.1:9000"))
    end
    list[#list + 1] = backend(source, name, value[name])
  end
  check_shared_ini(source, list)
  set_own_pages(list)
  return list
end

--- A header of the PROXY protocol is believed from trusted proxies alone, so without any of them it
--- would be asked for and then not used.
local function check_proxy_protocol(source, normalized)
  for i, listener in ipairs(normalized.listen) do
    if listener.proxy_protocol and #normalized.trusted_proxies == 0 then
      fail(source, { "listen", i, "proxy_protocol" }, ("listen[%d]: proxy_protocol needs "
        .. "'trusted_proxies': the addresses of the balancers whose PROXY headers are believed")
        :format(i))
    end
  end
end

--- Where a hook is, for messages: its first line if the script defines it, else where it is named.
local function hook_source(source, name, value)
  local info = type(value) == "function" and debug.getinfo(value, "S")
  local line = info and info.source == "@" .. source.name and info.linedefined > 0
    and info.linedefined or locate.line(source.text, { name })
  return ("%s:%d"):format(source.name, line)
end

---@return table<string, function> hooks
---@return table<string, string> sources file:line of each
---@return table<string, any> originals the hooks as the script gives them
local function hooks(source, value)
  local found, sources, originals = {}, {}, {}
  for name in pairs(HOOKS) do
    local given = value[name]
    if given ~= nil then
      found[name] = as_function(given)
      if not found[name] then
        reject(source, { name }, given, "a function")
      end
      sources[name], originals[name] = hook_source(source, name, given), given
    end
  end
  if not found.on_request then
    fail(source, {}, "on_request is missing: the function that decides about each request")
  end
  return found, sources, originals
end

--- What the command line says instead of the script.
local function apply(normalized, overrides)
  local function take(key, checker, option)
    local given = overrides[key]
    if given == nil then
      return
    end
    local later = upcoming.problem(upcoming.settings, key, given)
    local normal, expected, problem = checker(given)
    if later or normal == nil then
      error(("%s: %s"):format(option, later or problem
        or ("expected %s, got %s"):format(expected, describe(given))), 0)
    end
    normalized[key] = normal
  end
  take("listen", function(list)
    local listeners = {}
    for i, given in ipairs(list) do
      local address, problem = addr.parse(given, "listen")
      if not address then
        return nil, nil, problem
          or ("expected %s, got %s"):format(addr.EXPECTED, describe(given))
      end
      listeners[i] = { address = address, protocol = "http", proxy_protocol = false, backlog = 511 }
    end
    if too_many(#listeners) then
      return nil, nil, too_many(#listeners)
    end
    return listeners
  end, "--listen")
  take("workers", workers, "--workers")
  take("control", control, "--control")
  take("watch", boolean, "--watch")
  take("user", account, "--user")
  take("group", account, "--user")
end

--- Validates what a script returned and brings it into the one form that core/ reads.
---@param value any what the script returned
---@param source moongate.Source
---@param overrides table|nil what the command line says: listen (a list of ADDR), workers, control,
--- watch, user, group
---@return table normalized
--- Raises `FILE:LINE: message` for what is wrong.
function M.normalize(value, source, overrides)
  if type(value) ~= "table" then
    fail(source, {}, ("a route returns a table of settings and hooks, this one returned %s%s")
      :format(describe(value), value == nil and " (is the 'return' missing?)" or ""))
  end
  local others = {}
  for _, set in ipairs({ TOP_OTHER, HOOKS }) do
    for key in pairs(set) do
      others[key] = true
    end
  end
  check_keys(source, {}, value, TOP, upcoming.settings, others)

  local normalized = fields(source, {}, value, TOP)
  normalized.source = source.name
  normalized.listen = endpoints(source, { "listen" },
    value.listen == nil and "127.0.0.1:8080" or value.listen, LISTENER, upcoming.listener, "listen")
  if too_many(#normalized.listen) then
    fail(source, { "listen" }, "listen: " .. too_many(#normalized.listen))
  end
  check_proxy_protocol(source, normalized)
  normalized.log = section(source, { "log" }, value.log, LOG, {})
  normalized.limits = section(source, { "limits" }, value.limits, LIMITS, {})
  normalized.backends = backends(source, value.backends)
  normalized.hooks, normalized.hook_source, normalized.hooks_original = hooks(source, value)
  apply(normalized, overrides or {})
  return normalized
end

return M
