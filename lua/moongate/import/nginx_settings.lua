-- moongate.import.nginx_settings owns nginx's settings that inner blocks inherit: roots, indexes,
-- params, headers,
-- access, limits, time-outs. Called by moongate.import.nginx.

local addr = require("moongate.base.addr")
local Model = require("moongate.import.model")
local responses = require("moongate.import.nginx_responses")
local values = require("moongate.import.nginx_values")

local M = {}

-- What the main part and events have; nothing of it is about requests.
local MAIN = Model.names([[
  user worker_processes pid error_log events daemon master_process load_module env
  worker_rlimit_nofile worker_priority worker_cpu_affinity pcre_jit thread_pool timer_resolution
  worker_shutdown_timeout
]])

-- What is needless here, since Moongate does it, does it by itself, or has no such thing to tune.
local IDLE = Model.names([[
  sendfile tcp_nopush tcp_nodelay types_hash_max_size types_hash_bucket_size
  server_names_hash_bucket_size server_names_hash_max_size variables_hash_max_size
  fastcgi_buffers fastcgi_buffer_size fastcgi_busy_buffers_size fastcgi_temp_file_write_size
  fastcgi_max_temp_file_size fastcgi_temp_path fastcgi_index client_body_temp_path
  fastcgi_ignore_client_abort types log_format include open_file_cache open_file_cache_valid
  open_file_cache_min_uses open_file_cache_errors reset_timedout_connection log_not_found
  server_name_in_redirect port_in_redirect absolute_redirect output_buffers postpone_output aio
  directio sendfile_max_chunk client_body_buffer_size client_header_buffer_size access_log
  error_log rewrite_log fastcgi_pass_header server_tokens etag if_modified_since max_ranges
  merge_slashes recursive_error_pages charset proxy_buffers proxy_buffer_size proxy_temp_path
  uwsgi_temp_path scgi_temp_path fastcgi_param_hash limit_req_log_level limit_conn_log_level
  lingering_close chunked_transfer_encoding gzip_vary gzip_proxied gzip_disable gzip_http_version
  gzip_buffers gzip_window gzip_hash brotli_buffers brotli_window zstd_buffers gunzip
  gunzip_buffers fastcgi_cache_revalidate fastcgi_cache_background_update
  fastcgi_cache_lock_timeout fastcgi_cache_lock_age fastcgi_cache_max_range_offset
]])

local WHY = {
  ["^ssl_"] = "TLS ends in a proxy in front", ["^http2"] = "HTTP/2 ends in a proxy in front",
  ["^gzip"] = "this value of it", ["^brotli"] = "this value of it",
  ["^zstd"] = "this value of it", ["^proxy_"] = "Moongate speaks FastCGI only",
  ["^uwsgi_"] = "Moongate speaks FastCGI only", ["^scgi_"] = "Moongate speaks FastCGI only",
  ["^fastcgi_cache_purge"] = "`moongate purge`, moongate.cache or X-Cache-Purge",
  ["^fastcgi_cache_methods"] = "responses to GET and HEAD alone are kept",
  ["^fastcgi_cache_min_uses"] = "a response is kept at once; those not asked for again go first",
  ["^fastcgi_hide_header"] = "on_response: res.headers[NAME] = nil",
  ["^autoindex"] = "there are no listings of folders", ["^map$"] = "write a table or a function",
  ["^geo$"] = "moongate.net.cidr", ["^split_clients$"] = "choose by a hash in on_request",
  ["_by_lua"] = "Lua of OpenResty: see docs/api.md", ["^sub_filter"] = "bodies are not rewritten",
  ["^expires$"] = "only a time, epoch, max and off", ["^auth_request"] = "ask in on_request",
}

local S = {}

for name, reader in pairs(responses.READERS) do
  S[name] = reader
end

local function assign(key, convert)
  return function(_, ctx, directive)
    local value = directive.args[1]
    if convert and value then
      value = convert(value)
    end
    if value == nil then
      return false
    end
    ctx[key] = value
    return true
  end
end

local function of_values(key, convert)
  return function(_, ctx, directive)
    local value = convert(directive.args[1] or "")
    if value == nil then
      return false
    end
    ctx.values = setmetatable({ [key] = value }, { __index = ctx.values })
    ctx.value_keys[key] = true
    return true
  end
end

local function flag(text)
  return text == "on" or (text ~= "off" and nil)
end

local function folder(text)
  return text:find("^/") and not text:find("$", 1, true)
    and (text:gsub("//+", "/"):gsub("(.)/$", "%1")) or nil
end

S.root = function(self, ctx, directive)
  local path = folder(directive.args[1] or "")
  if not path and directive.args[1] and not directive.args[1]:find("$", 1, true) then
    path = folder(self.model.prefix .. "/" .. directive.args[1])
  end
  if not path then
    return false
  end
  ctx.root = path
  return true
end
S.alias = function(_, ctx, directive)
  local path = folder(directive.args[1] or "")
  if not path then
    return false
  end
  ctx.alias, ctx.alias_text = path, directive.args[1]
  return true
end
S.index = function(_, ctx, directive)
  ctx.index = { unpack(directive.args) }
  return true
end
S.default_type = assign("default_type")
S.internal = function(_, ctx)
  ctx.internal = true
  return true
end
S.try_files = function(_, ctx, directive)
  ctx.try = directive
  return #directive.args > 1
end
S.fastcgi_pass = function(_, ctx, directive)
  ctx.pass = directive
  return directive.args[1] ~= nil
end
S.fastcgi_split_path_info = function(_, ctx, directive)
  ctx.split = directive.args[1]
  return true
end
S.fastcgi_param = function(_, ctx, directive)
  local own = rawget(ctx, "params") or {}
  ctx.params = own
  own[#own + 1] = directive
  return directive.args[2] ~= nil
end
S.add_header = function(_, ctx, directive)
  local own = rawget(ctx, "headers") or {}
  ctx.headers = own
  own[#own + 1] = directive
  return directive.args[2] ~= nil
end
S.expires = function(_, ctx, directive)
  local text = directive.args[1]
  local seconds = text == "max" and 315360000 or text and values.time(text)
  if text == "off" then
    ctx.expires = false
  elseif text == "epoch" or text == "-1" then
    ctx.expires = "no-cache"
  elseif seconds then
    ctx.expires = "max-age=" .. seconds
  else
    return false
  end
  return #directive.args == 1
end
S.error_page = function(_, ctx, directive)
  local page = directive.args[#directive.args]
  local own = rawget(ctx, "errors") or setmetatable({}, { __index = ctx.errors })
  ctx.errors = own
  for i = 1, #directive.args - 1 do
    local status = tonumber(directive.args[i])
    if not status or status < 400 or status > 599 or not page:find("^/") or page:find("[$?]") then
      return false
    end
    own[status] = page
    ctx.error_codes[status] = true
  end
  return true
end
local function access(kind)
  return function(_, ctx, directive)
    local own = rawget(ctx, "access") or {}
    ctx.access = own
    own[#own + 1] = { kind, directive.args[1], directive }
    return directive.args[1] ~= nil
  end
end
S.allow, S.deny = access("allow"), access("deny")
S.auth_basic = function(_, ctx, directive)
  ctx.realm = directive.args[1] ~= "off" and directive.args[1] or false
  return true
end
S.auth_basic_user_file = assign("users")
S.satisfy = assign("satisfy")
S.client_max_body_size = function(self, ctx, directive)
  local size = values.size(directive.args[1] or "")
  if not size then
    return false
  end
  size = size == 0 and "1024G" or size
  if not self.server then
    self.model.limits.body, self.model.said_body = size, true
    return true
  end
  ctx.values = setmetatable({ body_limit = size }, { __index = ctx.values })
  ctx.value_keys.body_limit = true
  return true
end
S.fastcgi_read_timeout = of_values("read_timeout", values.time)
S.fastcgi_send_timeout = of_values("send_timeout", values.time)
S.fastcgi_connect_timeout = of_values("connect_timeout", values.time)
S.fastcgi_buffering = of_values("response_buffering", flag)
S.fastcgi_request_buffering = of_values("request_buffering", flag)
S.fastcgi_intercept_errors = of_values("intercept_errors", flag)
S.fastcgi_next_upstream_tries = of_values("attempts", function(text)
  local count = tonumber(text)
  return count and count > 0 and count or nil
end)
S.fastcgi_next_upstream = function(_, ctx, directive)
  if directive.args[1] == "off" then
    ctx.values = setmetatable({ attempts = 1 }, { __index = ctx.values })
    ctx.value_keys.attempts = true
    return true
  end
  return false
end
S.fastcgi_keep_conn = function(self, _, directive)
  if directive.args[1] == "on" then
    self.model:trap(directive.where,
      "fastcgi_keep_conn: kept connections hold PHP-FPM's processes; a backend's "
      .. "`keepalive` says how many, and is 0 by itself")
  end
  return true
end
S.limit_req_zone = function(self, _, directive)
  local key, zone, rate = unpack(directive.args)
  zone, rate = (zone or ""):match("^zone=([%w_]+)"), (rate or ""):match("^rate=(%d+r/[sm])$")
  if not zone or not rate or not (key == "$binary_remote_addr" or key == "$remote_addr") then
    return false
  end
  self.model.zones = self.model.zones or {}
  self.model.zones[zone] = (rate:gsub("r/", "/"))
  return true
end
S.limit_conn_zone = function(self, _, directive)
  local key, zone = unpack(directive.args)
  zone = (zone or ""):match("^zone=([%w_]+)")
  if not zone or not (key == "$binary_remote_addr" or key == "$remote_addr") then
    return false
  end
  self.model.zones = self.model.zones or {}
  self.model.zones[zone] = true
  return true
end
local function limit(_, ctx, directive)
  local own = rawget(ctx, "limits") or {}
  ctx.limits = own
  own[#own + 1] = directive
  return true
end
S.limit_req, S.limit_conn = limit, limit
S.limit_req_status, S.limit_conn_status = assign("limit_status", tonumber), assign("limit_status",
  tonumber)
S.disable_symlinks = function(_, _, directive)
  return directive.args[1] == "off" or nil
end
S.set_real_ip_from = function(self, _, directive)
  local from = directive.args[1]
  self.model.trusted = self.model.trusted or {}
  table.insert(self.model.trusted, from)
  return from ~= nil
end
S.real_ip_header = function(_, _, directive)
  local name = (directive.args[1] or ""):lower()
  return name == "x-forwarded-for" or name == "proxy_protocol"
end
S.real_ip_recursive = function() return true end
S.resolver = function(_, _, directive)
  local address = directive.args[1] or ""
  if not addr.parse(address:find(":%d+$") and address or address .. ":53", "connect") then
    return false
  end
  return nil
end
S.keepalive_timeout = function(self, _, directive)
  local seconds = values.time(directive.args[1] or "")
  if not seconds or self.server then
    return false
  end
  self.model.limits.keepalive_timeout = seconds
  return true
end
local function of_limits(key, convert)
  return function(self, _, directive)
    local value = convert(directive.args[1] or "")
    if not value or self.server then
      return false
    end
    self.model.limits[key] = value
    return true
  end
end
S.keepalive_requests = of_limits("keepalive_requests", tonumber)
S.client_header_timeout = of_limits("header_timeout", values.time)
S.client_body_timeout = of_limits("body_timeout", values.time)
S.send_timeout = of_limits("send_timeout", values.time)
S.underscores_in_headers = function(_, _, directive)
  return directive.args[1] == "off"
end

--- A directive that is needless, unless it reads a variable of `set`: then its author wanted more
--- than what there is by itself.
local function idle(self, directive, notes)
  local name = values.reads(directive, self.model.set)
  if name then
    self.model:note(notes, directive, ("$%s is of `set`: in on_log and log.format it is %s"):format(
      name, values.variable(name)))
  else
    self.model:idle(directive)
  end
end

--- Reads the settings among directives into `ctx`; what is none goes to `other`, and is noted where
--- that
--- returns nothing.
function M.read(self, ctx, directives, notes, other)
  for _, directive in ipairs(directives) do
    local known = S[directive.name]
    if known and known(self, ctx, directive) then
      self.model.translated = self.model.translated + 1
    elseif known then
      self.model:note(notes, directive, Model.reason(WHY, directive.name))
    elseif IDLE[directive.name] then
      idle(self, directive, notes)
    elseif not other(directive) then
      self.model:note(notes, directive, Model.reason(WHY, directive.name))
    end
  end
end

function M.is_known(name)
  return S[name] ~= nil and name ~= "add_header"
end

function M.is_main(name)
  return MAIN[name] == true
end

-- Not for locations within: each says them itself.
local OWN = { pass = true, try = true, internal = true, location = true, alias = true,
  alias_text = true }

--- What a block within begins with.
function M.child(parent)
  local ctx = setmetatable({}, {
    __index = function(_, key)
      if OWN[key] then
        return nil
      end
      return parent[key]
    end,
  })
  rawset(ctx, "value_keys", setmetatable({}, { __index = parent.value_keys }))
  return ctx
end

--- What holds before all blocks: nginx's defaults.
function M.root(opened)
  return {
    index = { "index.html" }, params = {}, headers = {}, errors = {}, error_codes = {}, access = {},
      values = {},
    value_keys = {}, limits = {}, root = "/usr/share/nginx/html", opened = opened,
  }
end

--- What is of the whole route.
function M.finish(model)
  if not model.said_body then
    local own = false
    for _, server in ipairs(model.servers) do
      own = own or server.has_body_limit
    end
    model.limits.body = "1M" -- nginx's default
  end
end

return M
