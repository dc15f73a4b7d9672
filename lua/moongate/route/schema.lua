-- moongate.route.schema owns which settings there are and what they default to: for each table of a
-- route a table from key to { checker, default }. The checkers are in moongate.route.values. Called
-- by settings, backends and load.

local compress = require("moongate.decision.compress")
local control = require("moongate.route.control")
local ini = require("moongate.decision.ini")
local internal = require("moongate.decision.internal")
local tls = require("moongate.route.tls")
local values = require("moongate.route.values")

local above_zero, boolean, duration = values.above_zero, values.boolean, values.duration
local integer, one_of, size = values.integer, values.one_of, values.size

local M = {}

--- The default, which is not looked for when a route is loaded.
M.SPOOL_DIR = "/tmp"

M.HOOKS = {
  on_start = true, on_certificate = true, on_request = true, on_params = true, on_balance = true,
  on_response = true, on_error = true, on_stderr = true, on_log = true, on_stop = true,
}

M.LOG = {
  access = { values.access_target, "stdout" },
  format = { values.log_format, "combined" },
  error = { values.error_target, "stderr" },
  level = { one_of("debug", "info", "warn", "error"), "info" },
}

-- Whose `traceparent` is continued, how many traces are recorded, and where their spans go.
M.TRACING = {
  believe = { one_of("trusted", "all", "none"), "trusted" },
  sample = { values.share, 1 },
  export = { values.span_target },
  service = { values.text, "moongate" },
  resource = { values.texts, {} },
  headers = { values.span_headers, {} },
  interval = { above_zero(duration), 1 },
  timeout = { above_zero(duration), 5 },
}

M.LIMITS = {
  request_line = { above_zero(size), 8192 },
  header = { above_zero(size), 16384 },
  headers = { integer(1, 10000), 100 },
  body = { size, 1024 ^ 3 },
  header_timeout = { above_zero(duration), 10 },
  body_timeout = { above_zero(duration), 60 },
  body_deadline = { duration, 0 }, -- 0: none
  send_timeout = { above_zero(duration), 60 },
  keepalive_timeout = { duration, 60 },
  keepalive_requests = { integer(1, 1e9), 10000 },
  connections = { integer(0, 1e9), 0 },
  per_ip = { integer(0, 1e9), 0 },
  streams = { integer(1, 1000), 128 },
  param_size = { above_zero(size), 65536 },
  response_header = { above_zero(size), 65536 },
  request_memory = { above_zero(size), 65536 },
  response_memory = { above_zero(size), 262144 },
  script_memory = { values.script_memory, 256 * 1024 ^ 2 },
  spool = { size, 1024 ^ 3 },
  spool_dir = { values.folder, M.SPOOL_DIR },
  header_names = { values.header_names, {} },
  shared = { values.shared_size, 16 * 1024 ^ 2 },
}

M.CACHE = {
  path = { values.folder, "/dev/shm" },
  size = { above_zero(size), 64 * 1024 ^ 2 },
  memory = { size }, -- else a part of `size`
}

M.LISTENER = {
  protocol = { one_of("http", "fastcgi"), "http" },
  proxy_protocol = { boolean, false },
  h2c = { boolean, false },
  http2 = { boolean }, -- with TLS; default: true
  backlog = { integer(1, 65535), 511 },
  name = { values.text },
  tls = { tls.check },
}

M.SERVER = {
  weight = { integer(1, 1000), 1 },
  backup = { boolean, false },
  max_conns = { integer(0, 1e6) }, -- default: the backend's
  owner = { values.owner }, -- default: any user
}

M.HEALTH = {
  ping = { values.page, "/ping" },
  status = { values.page }, -- in place of ping and expect
  expect = { values.text, "pong" },
  interval = { above_zero(duration), 5 },
  timeout = { above_zero(duration), 1 },
  rise = { integer(1, 1000), 2 },
  fall = { integer(1, 1000), 3 },
}

M.BACKEND = {
  balance = { values.policy, "round_robin" },
  max_conns = { integer(0, 1e6), 0 },
  queue = { integer(0, 1e6), 1024 },
  queue_timeout = { duration, 30 },
  keepalive = { integer(0, 1e5), 0 },
  keepalive_idle = { above_zero(duration), 10 },
  keepalive_requests = { integer(1, 1e9), 1000 },
  connect_timeout = { above_zero(duration), 5 },
  send_timeout = { above_zero(duration), 60 },
  first_byte_timeout = { above_zero(duration), 0 }, -- 0: read_timeout
  read_timeout = { above_zero(duration), 60 },
  deadline = { duration, 0 }, -- 0: none
  attempts = { integer(1, 100), 2 },
  retry = { one_of("safe", "timeout", "never"), "safe" },
  max_fails = { integer(0, 1e6), 3 },
  fail_timeout = { above_zero(duration), 10 },
  slow_start = { duration, 0 },
  multiplex = { values.multiplex, false },
  max_reqs = { integer(2, 1000), 100 },
  per_tenant = { integer(0, 1e6), 0 },
  ini = { values.owned(ini), {} },
  load = { values.load_signal, false },
  resolve = { above_zero(duration), 10 },
  internal = { values.owned(internal), {} },
  profile = { one_of("php", "generic"), "php" },
  root = { values.folder },
  docroot = { values.folder },
  within = { values.folders },
  resolve_root = { boolean, true },
}

-- Where commands come in, and who may send them.
M.CONTROL = control.SCHEMA

M.TOP = {
  resolver = { values.resolvers, {} },
  workers = { values.workers, 0 },
  user = { values.account },
  group = { values.account },
  trusted_proxies = { values.networks, {} },
  request_id = { boolean, false },
  compress = { values.owned(compress), compress.list(false) },
  watch = { boolean },
  test = { values.spec_folder },
  stop_timeout = { duration, 30 },
  script_timeout = { above_zero(duration), 1 },
  sandbox = { boolean, false },
}

-- These and the hooks have shapes of their own.
M.TOP_OTHER = {
  listen = true, log = true, limits = true, backends = true, script_errors = true, control = true,
  tracing = true,
  cache = true,
}

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
  local top = keys_of(M.HOOKS, unpack(keys_of(M.TOP_OTHER)))
  return {
    route = keys_of(M.TOP, unpack(top)), listener = keys_of(M.LISTENER, "address"),
    server = keys_of(M.SERVER, "address"), backend = keys_of(M.BACKEND, "servers", "health"),
    control = keys_of(M.CONTROL, "address"), health = keys_of(M.HEALTH),
    log = keys_of(M.LOG), limits = keys_of(M.LIMITS), cache = keys_of(M.CACHE),
    tracing = keys_of(M.TRACING),
  }
end

return M
