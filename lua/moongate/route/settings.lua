-- moongate.route.settings owns the settings of a route as a whole: what a script returned becomes
-- the one table that core/ reads; what the command line says takes the place of what is in it.
-- Called by load. It reads nothing from disk but the tokens of `control`. Which settings there are
-- says moongate.route.schema.

local addr = require("moongate.base.addr")
local backends = require("moongate.route.backends")
local compress = require("moongate.decision.compress")
local control = require("moongate.route.control")
local describe = require("moongate.base.describe")
local features = require("moongate.base.features")
local locate = require("moongate.route.locate")
local schema = require("moongate.route.schema")
local script_errors = require("moongate.route.script_errors")
local tls = require("moongate.route.tls")
local upcoming = require("moongate.base.upcoming")
local values = require("moongate.route.values")
local walk = require("moongate.route.walk")

local M = {}

-- As core/process/plan.h has room for, beside the control listener.
local LISTENERS = 64

-- What a worker has in its memory of kept responses: this part of `cache.size`, and so much at
-- least.
local CACHE_PART, CACHE_MEMORY = 8, 16 * 1024 ^ 2

--- What is wrong with so many listeners; nil: nothing.
local function too_many(count)
  if count > LISTENERS then
    return ("%d addresses, at most %d can be listened on"):format(count, LISTENERS)
  end
end

--- Settings of a listener that need others.
--- A header of the PROXY protocol is believed from trusted proxies alone, so without any of them it
--- would be asked for and then not used.
local function check_listeners(source, normalized)
  for i, listener in ipairs(normalized.listen) do
    if listener.proxy_protocol and #normalized.trusted_proxies == 0 then
      walk.fail(source, { "listen", i, "proxy_protocol" }, ("listen[%d]: proxy_protocol needs "
        .. "'trusted_proxies': the addresses of the balancers whose PROXY headers are believed")
        :format(i))
    elseif listener.proxy_protocol and listener.protocol == "fastcgi" then
      walk.fail(source, { "listen", i, "proxy_protocol" }, ("listen[%d]: proxy_protocol is for "
        .. "HTTP; a web server that speaks FastCGI names the client in its params"):format(i))
    end
    if listener.tls and listener.protocol == "fastcgi" then
      walk.fail(source, { "listen", i, "tls" }, ("listen[%d]: tls is for HTTP, not for "
        .. 'protocol = "fastcgi"'):format(i))
    end
  end
end

--- Certificates of a listener may come from the hook on_certificate alone. What is kept of them is
--- one setting of all listeners.
---@return table kept the keys of tls.KEPT
local function check_certificates(source, normalized)
  local kept = {}
  for i, listener in ipairs(normalized.listen) do
    local problem = listener.tls
      and (tls.complete(listener.tls, normalized.hooks.on_certificate ~= nil, listener.address)
        or tls.keep(kept, listener.tls))
    if problem then
      walk.fail(source, { "listen", i, "tls" }, ("listen[%d]: tls: %s"):format(i, problem))
    end
  end
  for key, value in pairs(tls.KEPT) do
    kept[key] = kept[key] or value
  end
  return kept
end

--- HTTP/2 is for listeners that speak HTTP, and without TLS only where it is asked for by h2c.
local function check_h2c(source, normalized)
  for i, listener in ipairs(normalized.listen) do
    if listener.http2 and not listener.tls then
      walk.fail(source, { "listen", i, "http2" }, ("listen[%d]: http2 is for listeners with tls; "
        .. "without TLS, clients that know of it may speak HTTP/2 where h2c = true"):format(i))
    elseif listener.h2c and listener.protocol == "fastcgi" then
      walk.fail(source, { "listen", i, "h2c" }, ("listen[%d]: h2c is for HTTP; this listener has "
        .. "protocol = \"fastcgi\""):format(i))
    elseif (listener.h2c or listener.http2) and not features.has("http2") then
      walk.fail(source, { "listen", i, listener.h2c and "h2c" or "http2" },
        ("listen[%d]: %s"):format(i, features.problem("http2")))
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
  for name in pairs(schema.HOOKS) do
    local given = value[name]
    if given ~= nil then
      found[name] = values.as_function(given)
      if not found[name] then
        walk.reject(source, { name }, given, "a function")
      end
      sources[name], originals[name] = hook_source(source, name, given), given
    end
  end
  if not found.on_request then
    walk.fail(source, {}, "on_request is missing: the function that decides about each request")
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
      local secure = addr.secure(given)
      local address, problem = addr.parse(secure or given, "listen")
      if not address then
        return nil, nil, problem
          or ("expected %s, got %s"):format(addr.EXPECTED, describe(given))
      end
      listeners[i] = { address = address, protocol = "http", proxy_protocol = false, h2c = false,
        backlog = 511, tls = secure and { pairs = { {
          cert = overrides.tls_cert, key = overrides.tls_key,
        } } } or nil }
    end
    if too_many(#listeners) then
      return nil, nil, too_many(#listeners)
    end
    return listeners
  end, "--listen")
  take("workers", values.workers, "--workers")
  if overrides.control == false then
    normalized.control = false
  else
    take("control", function(given)
      local address, problem = addr.parse(given, "listen")
      return address, addr.EXPECTED .. ", or off", problem
    end, "--control")
  end
  take("watch", values.boolean, "--watch")
  take("user", values.account, "--user")
  take("group", values.account, "--user")
end

--- Reads the tokens, without which commands are taken from this machine alone.
local function read_tokens(source, normalized, overrides)
  local given, problem
  if overrides.token_file then
    given, problem = control.read(overrides.token_file)
    if not given then
      error("--token-file: " .. problem, 0)
    end
  end
  normalized.tokens = control.tokens(source, normalized.tokens, given)
  local address, by = normalized.control, overrides.control and "--control: " or nil
  if address == nil then
    address, by = overrides.control_default, "MOONGATE_CONTROL: "
  end
  problem = control.problem(address, normalized.tokens)
  if problem and by then
    error(by .. problem, 0)
  elseif problem then
    walk.fail(source, { "control" }, "control: " .. problem)
  end
end

--- true is a table without keys.
---@return table|false normalized false: no tracing
local function tracing(source, given)
  if given == nil or given == false then
    return false
  end
  return walk.section(source, { "tracing" }, given == true and {} or given, schema.TRACING, {})
end

--- Validates what a script returned and brings it into the one form that core/ reads.
---@param value any what the script returned
---@param source moongate.Source
---@param overrides table|nil what the command line says: listen (a list of ADDR, and of
--- https://ADDR with the certificate of tls_cert and tls_key), workers, control, control_default
--- (its place if neither says), token_file, watch, user, group
---@return table normalized
---@param refused nil|fun(normalized: table): table|nil, string|nil the path and the problem of what
--- the script may not say, which the command line may
--- Raises `FILE:LINE: message` for what is wrong.
function M.normalize(value, source, overrides, refused)
  if type(value) ~= "table" then
    walk.fail(source, {}, ("a route returns a table of settings and hooks, this one returned %s%s")
      :format(describe(value), value == nil and " (is the 'return' missing?)" or ""))
  end
  local others = {}
  for _, set in ipairs({ schema.TOP_OTHER, schema.HOOKS }) do
    for key in pairs(set) do
      others[key] = true
    end
  end
  walk.check_keys(source, {}, value, schema.TOP, upcoming.settings, others)

  local normalized = walk.fields(source, {}, value, schema.TOP)
  normalized.source = source.name
  normalized.listen = walk.endpoints(source, { "listen" },
    value.listen == nil and "127.0.0.1:8080" or value.listen, schema.LISTENER, upcoming.listener,
    "listen")
  if too_many(#normalized.listen) then
    walk.fail(source, { "listen" }, "listen: " .. too_many(#normalized.listen))
  end
  check_listeners(source, normalized)
  check_h2c(source, normalized)
  normalized.unmade = compress.unmade(value.compress)
  normalized.unmade = normalized.unmade and ("%s:%d: %s"):format(source.name,
    locate.line(source.text, { "compress", "encodings" }), normalized.unmade)
  normalized.control, normalized.tokens = control.normalize(source, value.control)
  normalized.log = walk.section(source, { "log" }, value.log, schema.LOG, {})
  normalized.tracing = tracing(source, value.tracing)
  normalized.limits = walk.section(source, { "limits" }, value.limits, schema.LIMITS, {})
  normalized.cache = walk.section(source, { "cache" }, value.cache, schema.CACHE, {})
  normalized.cache.memory = normalized.cache.memory
    or math.max(normalized.cache.size / CACHE_PART, CACHE_MEMORY)
  normalized.backends = backends.list(source, value.backends)
  normalized.hooks, normalized.hook_source, normalized.hooks_original = hooks(source, value)
  normalized.certificates = check_certificates(source, normalized)
  normalized.script_errors = script_errors.normalize(source, value.script_errors, normalized)
  local path, problem
  if refused then
    path, problem = refused(normalized)
  end
  if path then
    walk.fail(source, path, problem)
  end
  overrides = overrides or {}
  apply(normalized, overrides)
  read_tokens(source, normalized, overrides)
  return normalized
end

return M
