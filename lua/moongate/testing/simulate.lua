-- moongate.testing.simulate owns what would happen to a request: the hooks are run as the server
-- runs them, up to the point where it would connect, and nothing is sent. Called by explain and
-- testing.
--
-- Requests, params and the head of an answer are made by core/, with the code that serves.

local copy_of = require("moongate.base.copy")
local core = require("moongate.core")
local decision = require("moongate.decision")
local fs = require("moongate.base.fs")
local ini = require("moongate.decision.ini")
local suggest = require("moongate.base.suggest")
local trace = require("moongate.decision.trace")

local M = {}

-- Requests ----------------------------------------------------------------------------------------

--- Takes a URL apart: "http://host:port/path", or a path.
---@param url string
---@return string|nil scheme, string|nil host, string|nil target nil where it is neither
local function split_url(url)
  local scheme, rest = url:match("^(%a[%w+.-]*)://(.*)$")
  if not scheme then
    return nil, nil, (url:sub(1, 1) == "/" or url == "*") and url or nil
  end
  local host, target = rest:match("^([^/?#]+)(.*)$")
  scheme = scheme:lower()
  if not host or (scheme ~= "http" and scheme ~= "https") then
    return nil
  elseif target:sub(1, 1) ~= "/" then
    target = "/" .. target
  end
  return scheme, host, target
end

local function port_of(listener)
  return not listener.address:match("^unix:") and tonumber(listener.address:match(":(%d+)$"))
    or nil
end

--- The listener with TLS that a client of this port reaches; else the first with TLS.
---@param port integer
---@return table|nil listener nil: none has TLS
local function find_secure(settings, port)
  local first
  for _, listener in ipairs(settings.listen) do
    if listener.tls and port_of(listener) == port then
      return listener
    end
    first = first or listener.tls and listener
  end
  return first
end

--- Where a request comes in: at the listener of that name or address; else one of https at one with
--- TLS, if there is one, and others at the first that has a port.
---@param secure_port integer|nil of https: the port
---@return table|nil listener
---@return string|nil problem
local function find_listener(settings, name, secure_port)
  local known = {}
  local secure = name == nil and secure_port and find_secure(settings, secure_port)
  if secure then
    return secure
  end
  for _, listener in ipairs(settings.listen) do
    if name == nil and port_of(listener) or name ~= nil
      and (listener.name == name or listener.address == name) then
      return listener
    end
    known[#known + 1] = listener.name or listener.address
  end
  if name ~= nil then
    return nil, ("there is no listener '%s'%s"):format(name, suggest.hint(name, known))
  end
  return settings.listen[1]
end

local function header_of(headers, name)
  for _, header in ipairs(headers) do
    if header[1]:lower() == name then
      return header[2]
    end
  end
  return nil
end

--- The host and the port of a URL of https.
---@param host string as it stands in the URL or in Host
---@return string name without the brackets of an address of IPv6
---@return integer port
local function split_host(host)
  local name, port = host:match("^%[([^%]]*)%]:?(%d*)$")
  if not name then
    name, port = host:match("^(.-):?(%d*)$")
    if not host:find(":", 1, true) then
      name, port = host, ""
    end
  end
  return name, tonumber(port) or 443
end

---@class moongate.testing.simulate.Request
---@field method string
---@field url string a path, or "http://host/path"
---@field headers string[][] { name, value }, in order
---@field body string|nil what req:body() gives to hooks
---@field ip string|nil the client's address, "unix:" for a process on this machine
---@field listener string|nil name or address
---@field https boolean|nil as if it came by https, whatever the URL says
---@field version string|nil "1.0": a request that needs no Host, and gets none; default "1.1"

--- The request that a client would send.
---@param settings table normalized
---@param what moongate.testing.simulate.Request
---@return table|nil req as hooks see it
---@return integer|nil status what the client would get instead; nil: `what` makes no sense
---@return string|nil problem
function M.request(settings, what)
  local scheme, host, target = split_url(what.url)
  if not target then
    return nil, nil, ("'%s': expected a path that begins with \"/\", or a URL such as "
      .. "\"http://shop.example/cart\""):format(what.url)
  end
  scheme = what.https and "https" or scheme
  local _, secure_port = split_host(host or header_of(what.headers, "host") or "")
  local listener, problem = find_listener(settings, what.listener,
    scheme == "https" and secure_port or nil)
  if not listener then
    return nil, nil, problem
  end
  local port, headers = port_of(listener), {}
  if not header_of(what.headers, "host") and what.version ~= "1.0" then
    host = host or (port and port ~= 80 and "localhost:" .. port or "localhost")
    headers[1] = { "Host", host }
  end
  for _, header in ipairs(what.headers) do
    headers[#headers + 1] = header
  end
  if what.body and not header_of(headers, "content-length")
    and not header_of(headers, "transfer-encoding") then
    headers[#headers + 1] = { "Content-Length", tostring(#what.body) }
  end
  -- Only the form with a scheme says that a request came by https.
  host = header_of(headers, "host")
  return core.request({
    method = what.method, headers = headers, settings = settings, port = port, ip = what.ip,
    url = scheme == "https" and ("https://%s%s"):format(host or "localhost", target) or target,
    version = what.version, body = what.body, listener = listener.name or listener.address,
    unix = listener.address:match("^unix:") ~= nil,
  })
end

---@class moongate.testing.simulate.Hello what a client says before it sends a request by https
---@field listener table normalized, with tls
---@field number integer its place in `listen`
---@field name string|nil the name that it asks for; nil: none, the host is an address (RFC 6066)

--- What a client says before it sends the request.
---@param settings table normalized
---@param what moongate.testing.simulate.Request of which `M.request` makes a request
---@return moongate.testing.simulate.Hello|nil hello nil: it does not come to a listener with TLS
function M.hello(settings, what)
  local scheme, host = split_url(what.url)
  if scheme ~= "https" and not what.https then
    return nil
  end
  local name, port = split_host(host or header_of(what.headers, "host") or "localhost")
  local found = find_listener(settings, what.listener, port)
  for number, listener in ipairs(settings.listen) do
    if listener == found and listener.tls then
      local is_address = name:find(":", 1, true) or name:find("^[%d.]+$")
      return {
        listener = listener, number = number,
        name = not is_address and name:lower():gsub("%.$", "") or nil,
      }
    end
  end
  return nil
end

-- Hooks -------------------------------------------------------------------------------------------

--- Calls a hook as the server does: in a coroutine.
---@return boolean ok
---@return any ... up to four results, or the message with a traceback
local function call(hook, ...)
  local co = coroutine.create(hook)
  core.run_is_within(co)
  local results = { coroutine.resume(co, ...) }
  core.run_is_within(nil)
  if not results[1] then
    return false, debug.traceback(co, tostring(results[2]))
  elseif coroutine.status(co) ~= "dead" then
    return false, "the hook yields, which is not available yet"
  end
  return unpack(results, 1, 5)
end

--- The keys of a normalized backend.
local function backend_of(settings, name)
  for _, backend in ipairs(settings.backends) do
    if backend.name == name then
      return backend
    end
  end
  return nil
end

---@class moongate.testing.simulate.Found what a hook has decided
---@field decision table|nil nil: the hook has returned nil
---@field kind string|nil see decision.kind
---@field a any what complete.wrap adds
---@field b any
---@field rules moongate.Rule[] outer ones first
---@field source string where the hook is, file:line
---@field other any of on_stderr: what it returned, where that is no table

--- Runs a hook that may return a decision.
---@param settings table normalized
---@param hook "on_request"|"on_response"|"on_error"|"on_stderr"
---@param req table
---@param more any the hook's second argument
---@return moongate.testing.simulate.Found|nil found
---@return string|nil problem where the client would get 500
function M.decide(settings, hook, req, more)
  local source = settings.hook_source[hook]
  trace.forget(req)
  -- `call` does not fail, so the second value is always true.
  local rules, _, ok, d, a, b = trace.rules_of(call, settings.hooks[hook], req, more)
  if not ok then
    return nil, ("%s (%s): %s"):format(hook, source, tostring(d))
  end
  if hook == "on_stderr" and d ~= nil and type(d) ~= "table" then
    return { rules = rules, source = source, other = d }
  end
  local found = { rules = rules, source = source, decision = d, a = a, b = b }
  if d ~= nil then
    local problem = decision.problem(d, settings)
    if problem then
      return nil, ("%s: %s returned a decision that cannot be used: %s"):format(
        #rules > 0 and rules[#rules].source or source, hook, problem)
    end
    found.kind = decision.kind(d)
  end
  return found
end

--- Whether a name is one that on_certificate is asked for (core/tls/asked.c).
---@param name string in lower case
function M.is_host_name(name)
  return #name <= 255 and name:find("^[%w_-][%w._-]*$") ~= nil
    and not name:find("..", 1, true) and not name:find("%.$")
end

---@class moongate.testing.simulate.Certificate what on_certificate has returned
---@field cert string PEM or a path
---@field key string likewise
---@field ttl number seconds
---@field facts table<string, string> of the pair, see core/tls/facts.h

--- Asks on_certificate for a name.
---@param settings table normalized
---@param name string in lower case
---@return moongate.testing.simulate.Certificate|nil found nil: it has no certificate for the name
---@return string|nil problem where it has failed, with FILE:LINE and a traceback
function M.certificate(settings, name)
  local ok, cert, key, seconds = call(settings.hooks.on_certificate, name)
  if not ok then
    return nil, ("on_certificate (%s): %s"):format(settings.hook_source.on_certificate,
      tostring(cert))
  elseif cert == nil then
    return nil
  end
  return {
    cert = cert, key = key, ttl = seconds, facts = core.certificate_facts(cert, key, name),
  }
end

-- What a decision comes to ------------------------------------------------------------------------

--- The decision as core reads it here, where the text of PHP_VALUE is not at hand.
local function without_ini(d)
  if d.ini == nil then
    return d
  end
  local copy = copy_of.table(d)
  copy.ini = nil
  return copy
end

---@class moongate.testing.simulate.Fastcgi
---@field backend table normalized
---@field servers table[] of the backend, those that may get the request
---@field params table<string, string> after on_params
---@field before table<string, string> the params before on_params
---@field own_page string|nil of PHP-FPM, that no client gets: 403

--- What an application would get.
---@param authorizer boolean the decision is the `authorize` of another one
local function asked(settings, req, d, script, path_info, authorizer)
  local hook = settings.hooks.on_params
  local backend = backend_of(settings, d.backend)
  local params, problem =
    core.params(req, without_ini(d), script, path_info, settings, authorizer)
  if not params then
    return nil, problem
  end
  local before, values, servers = {}, {}, {}
  for name, value in params:each() do
    before[name] = value
  end
  if hook then
    local ok, message = call(hook, req, params)
    if not ok then
      return nil, ("on_params (%s): %s"):format(settings.hook_source.on_params, tostring(message))
    end
  end
  for name, value in params:each() do
    values[name] = value
  end
  values.PHP_VALUE = d.ini and ini.text(backend.ini, d.ini) or backend.ini_text
  for _, server in ipairs(backend.servers) do
    if d.server == nil or server.address == d.server then
      servers[#servers + 1] = server
    end
  end
  return {
    backend = backend, servers = servers, params = values, before = before,
    own_page = backend.own_pages and core.own_page(req, values, backend.own_pages) or nil,
  }
end

--- The settings of the backend that a decision names.
M.backend = backend_of

--- What the application would get.
---@param settings table normalized
---@param req table
---@param found moongate.testing.simulate.Found of a FastCGI decision
---@return moongate.testing.simulate.Fastcgi|nil
---@return string|nil problem where the client would get 500
function M.fastcgi(settings, req, found)
  return asked(settings, req, found.decision, found.a, found.b, false)
end

--- What the authorizer would get that is asked before the decision is carried out.
---@param settings table normalized
---@param req table
---@param found moongate.testing.simulate.Found of a decision with `authorize`
---@return moongate.testing.simulate.Fastcgi|nil
---@return string|nil problem where the client would get 500
function M.authorizer(settings, req, found)
  local d = found.decision.authorize
  return asked(settings, req, d, d.script or req.path, nil, true)
end

--- Is there something at the path of a file decision that core may not serve, since its real path
--- is elsewhere?
local function outside(found)
  local there = found.file and not found.exists and core.stat(found.file)
  return there == "file" or there == "directory"
end

--- What a client gets for a folder: an index, or 404.
local function index_of(d, path, tell)
  local names = type(d.index) == "table" and d.index or { d.index or "index.html" }
  for _, name in ipairs(names) do
    local found = core.resolve_file(d.file and { file = path .. name } or d, path .. name)
    local what = found.refused or outside(found) and "outside of the root"
      or found.exists == "file" and not core.readable(found.file) and "not readable"
      or found.exists or "not there"
    tell(("index %s: %s"):format(found.file, what))
    if what == "file" then
      return 200, "ok: the folder's index " .. name, found
    elseif what == "outside of the root" or what == "not readable" then
      return 403, ("403: the folder's index %s is %s"):format(name, what), found
    end
  end
  return 404, "404: a folder without an index file"
end

--- What a client gets for what lies at a path.
---@param slash boolean the request's path ends in a slash
local function look_at(d, path, found, slash, tell)
  if found.refused then
    return 403, "403: " .. found.refused
  elseif outside(found) then
    return 403, ("403: a symlink leads out of the root: the real path is %s"):format(
      tostring(core.realpath(found.file)))
  elseif path:sub(-1) == "/" then
    return index_of(d, path, tell)
  elseif found.exists == "file" and not core.readable(found.file) then
    return 403, ("403: the user '%s' may not read it"):format(fs.user_name())
  elseif found.exists == "file" then
    return 200, "ok"
  elseif not found.exists and core.stat(found.file) then
    return 403, "403: not a regular file"
  elseif found.exists == "directory" and slash then
    return index_of(d, path .. "/", tell)
  elseif found.exists == "directory" then
    return 301, "301 to its name with a slash: a folder"
  end
  return 404, "404: there is no such file"
end

---@class moongate.testing.simulate.File
---@field status integer what the client gets
---@field verdict string the same in words, "ok" for a file
---@field file string|nil its path
---@field root string|nil
---@field exists string|nil "file" or "directory"
---@field refused string|nil why such a name is never served

--- What a file decision comes to.
---@param req table
---@param found moongate.testing.simulate.Found of a file decision
---@param method string the request's, or GET where the file stands for another answer
---@param tell fun(text: string) told about each index that is looked for
---@return moongate.testing.simulate.File
function M.file(req, found, method, tell)
  local d = found.decision
  if d.status and method ~= "HEAD" then
    method = "GET" -- the file stands for an error, whatever was asked
  end
  -- core fills in the request's path where neither the decision nor `try` names one.
  local path = found.a or d.file or d.path or req.path
  local there = core.resolve_file(d, path)
  local status, verdict, index
  if method == "OPTIONS" then
    status, verdict = 204, "204: OPTIONS"
  elseif method ~= "GET" and method ~= "HEAD" then
    status, verdict = 405, ("405: a file takes GET, HEAD and OPTIONS, not %s"):format(method)
  else
    status, verdict, index = look_at(d, path, there, req.path:sub(-1) == "/", tell)
  end
  there = index or there
  if d.status and (status == 200 or status >= 400) then
    status = d.status
  end
  return {
    status = status, verdict = verdict, file = there.file, root = there.root,
    exists = there.exists, refused = there.refused,
  }
end

return M
