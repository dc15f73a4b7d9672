-- moongate.testing owns what specs of a route use: requests to it without a socket, a server or
-- PHP, through the code that serves. Required by specs, which `moongate test` and reloads run.
--
--     local route = require("moongate.testing").load("route.lua")
--     local out = route:request { url = "http://acme.example/cart.php" }
--     assert.equal("php82", out.backend)

local filesystem = require("moongate.base.fs")
local load = require("moongate.route.load")
local messages = require("moongate.base.messages")
local specs = require("moongate.testing.specs")
local suggest = require("moongate.base.suggest")
local sorted_keys = require("moongate.base.keys").sorted

local M = {}

---@class moongate.testing.Out what has become of a request
---@field kind "fastcgi"|"file"|"reply"|"redirect"|"close" reply too where an error page is sent
---@field decision table|nil as the hook has returned it; { status = 404 } where that was nil
---@field rule string|nil which rule of a router or site decided, else where the hook is
---@field backend string|nil its name
---@field servers string[]|nil addresses that may get the request
---@field params table<string, string>|nil what the application gets, after on_params
---@field authorize table|nil who is asked first (backend, servers, params); the rest follows a 200
---@field file string|nil the path of a file decision
---@field status integer|nil what the client gets; nil where the application says
---@field headers table<string, any>|nil likewise; found in lower and upper case
---@field body string|nil of a reply
---@field redirect string|nil where to
---@field logged string[]|nil after `stderr`: lines for the error log
---@field error string|nil what went wrong in a hook, with FILE:LINE, or with the request

---@class moongate.testing.Route
---@field settings table as the server has them
local Route = {}
Route.__index = Route

-- What an `out` came from: { req, found, server }. Nothing to compare with, so it is no field.
local states = setmetatable({}, { __mode = "k" })

local KINDS = {
  connect = 503, busy = 503, timeout = 504, closed = 502, protocol = 502, too_large = 502,
  script = 500,
}

local REQUEST_KEYS = {
  url = "string", method = "string", headers = "table", body = "string", ip = "string",
  listener = "string", https = "boolean",
}

--- The module that does the work. It needs the program's core.
local function simulate()
  if not pcall(require, "moongate.core") then
    error("requests can be made only inside the moongate program: run the specs by `moongate test`",
      0)
  end
  return require("moongate.testing.simulate")
end

-- What a spec does wrong is said at its own line: thrown as a table, and again from `guarded`.
local MISUSE = {}

local function misuse(text, ...)
  error(setmetatable({ text = select("#", ...) > 0 and text:format(...) or text }, MISUSE))
end

--- A method that specs call.
local function guarded(fn)
  return function(...)
    local ok, result = pcall(fn, ...)
    if not ok and getmetatable(result) == MISUSE then
      error(result.text, 2)
    elseif not ok then
      error(result, 0)
    end
    return result
  end
end

-- Tables of headers -------------------------------------------------------------------------------

--- Finds a header whatever the case of its name.
local ANY_CASE = {
  __index = function(headers, name)
    name = type(name) == "string" and name:lower() or name
    for key, value in next, headers do
      if type(key) == "string" and key:lower() == name then
        return value
      end
    end
    return nil
  end,
}

--- Headers of a spec, from name to text, number or list of them, in an order.
---@param headers table|nil
---@return string[][] list of { name, value }
local function header_list(headers)
  local list = {}
  for _, name in ipairs(sorted_keys(headers or {})) do
    local value = headers[name]
    if type(name) ~= "string" then
      misuse("headers: expected a table from name to value, such as { Cookie = \"a=b\" }")
    end
    for _, item in ipairs(type(value) == "table" and value or { value }) do
      if (type(item) ~= "string" and type(item) ~= "number") or tostring(item):find("[\r\n%z]")
        or not name:match("^[^%s:%z]+$") then
        misuse("headers: '%s' cannot be sent", name)
      end
      list[#list + 1] = { name, tostring(item) }
    end
  end
  return list
end

--- The application's headers, where the decision has put its own in their place.
local function with_standing(list, standing)
  local names, merged = {}, {}
  for _, header in ipairs(standing) do
    local name = header[1]:lower()
    names[name] = name ~= "set-cookie" and name ~= "vary"
  end
  for _, header in ipairs(list) do
    if not names[header[1]:lower()] then
      merged[#merged + 1] = header
    end
  end
  for _, header in ipairs(standing) do
    merged[#merged + 1] = header
  end
  return merged
end

--- A table of headers, repeated ones as lists.
local function header_table(list)
  local headers, names = setmetatable({}, ANY_CASE), {}
  for name, value in list:each() do
    local first = names[name:lower()] or name
    local old = rawget(headers, first)
    names[first:lower()] = first
    if type(old) == "table" then
      table.insert(old, value)
    else
      headers[first] = old and { old, value } or value
    end
  end
  return headers
end

--- The headers of a decision, and those that its other keys stand for.
local function decision_headers(d)
  local headers = setmetatable({}, ANY_CASE)
  for name, value in pairs(d.headers or {}) do
    headers[name] = value
  end
  if d.redirect then
    headers.Location = d.redirect
  elseif d.cache_control then
    headers["Cache-Control"] = d.cache_control
  end
  return headers
end

-- What becomes of a request -----------------------------------------------------------------------

--- Which rule decided.
local function rule_of(found)
  local parts = {}
  for i, rule in ipairs(found.rules) do
    parts[i] = rule.source .. " " .. rule.text
  end
  return #parts > 0 and table.concat(parts, " > ") or found.source
end

--- An error page.
local function refused(out, status, problem)
  out.kind, out.status, out.error = "reply", status, problem
  out.decision, out.backend, out.servers, out.params, out.file = nil, nil, nil, nil, nil
  out.authorize = nil
  return out
end

--- The addresses of the servers that may get a request.
local function addresses_of(servers)
  local addresses = {}
  for i, server in ipairs(servers) do
    addresses[i] = server.address
  end
  return addresses
end

--- Who is asked before a decision is carried out.
---@return string|nil problem where a hook has failed
local function follow_authorizer(route, out, req, found)
  local asked, problem = simulate().authorizer(route.settings, req, found)
  if not asked then
    return problem
  end
  out.authorize = {
    backend = asked.backend.name, servers = addresses_of(asked.servers), params = asked.params,
  }
  return nil
end

--- What follows from a decision.
---@param error_status integer|nil the decision stands in for a page of that status
---@return string|nil problem where a hook has failed
local function follow(route, out, req, found, error_status)
  local d = found.decision
  states[out] = { req = req, found = found }
  out.rule, out.kind, out.decision = rule_of(found), found.kind, d
  if d and d.authorize then
    local problem = follow_authorizer(route, out, req, found)
    if problem then
      return problem
    end
  end
  if d == nil then
    out.kind, out.decision, out.status = "reply", { status = 404 }, 404
  elseif found.kind == "fastcgi" then
    local asked, problem = simulate().fastcgi(route.settings, req, found)
    if not asked then
      return problem
    end
    if asked.own_page then
      out.kind, out.decision, out.status = "reply", { status = 403 }, 403
      return
    end
    out.backend, out.params = asked.backend.name, asked.params
    out.servers = addresses_of(asked.servers)
    if #out.servers == 0 then
      out.servers[1] = d.server -- an address of a name: the workers know whether it is one
    end
    states[out].server = out.servers[1]
  elseif found.kind == "file" then
    local method = error_status and "GET" or req.method
    local served = simulate().file(req, found, method, function() end)
    out.file, out.headers = served.file, decision_headers(d)
    out.status = error_status and (served.status == 200 or served.status >= 400) and error_status
      or served.status
  elseif found.kind ~= "close" then
    out.status = d.status or (d.redirect and 302 or 200)
    out.headers, out.body, out.redirect = decision_headers(d), d.body, d.redirect
  end
  return nil
end

--- The text of a failure without its traceback.
local function headline(problem)
  return (problem:gsub("\nstack traceback:.*$", ""))
end

--- Asks on_error, as the server does when something has failed.
---@param state table see states
---@param kind string
---@param status integer what the client gets otherwise
---@param message string
---@param answer? { headers: table, has_body: boolean } the application's, which shall be replaced
---@return moongate.testing.Out|nil out nil: on_error has nothing to say
---@return string|nil problem where on_error has failed
local function ask_on_error(route, state, kind, status, message, answer)
  if not route.settings.hooks.on_error then
    return nil
  end
  local d = state.found and state.found.decision
  local err = { kind = kind, status = status, message = message, attempts = 0 }
  if d and d.backend and kind ~= "script" then -- then one server at least was asked
    err.attempts, err.backend, err.server = 1, d.backend, state.server
  end
  if answer then
    err.headers, err.has_body = answer.headers, answer.has_body
  end
  local found, problem = simulate().decide(route.settings, "on_error", state.req, err)
  if not found then
    return nil, headline(problem)
  elseif found.decision == nil then
    return nil
  end
  local out = {}
  problem = follow(route, out, state.req, found, status)
  if problem then
    return refused(out, 500, headline(problem))
  end
  return out
end

--- A hook has failed: 500, unless on_error knows better.
local function script_failed(route, state, problem)
  problem = headline(problem)
  local out = ask_on_error(route, state, "script", 500, "on_request failed")
  if not out then
    out = refused({}, 500)
    states[out] = state
  end
  out.error = problem
  return out
end

local function is_ip(text)
  local parts = { text:match("^(%d+)%.(%d+)%.(%d+)%.(%d+)$") }
  for _, part in ipairs(parts) do
    if tonumber(part) > 255 then
      return false
    end
  end
  return #parts == 4 or (text:find(":", 1, true) and text:match("^[%x:.]+$")) ~= nil
end

--- Checks the table that describes a request.
local function check_request(what)
  for key, value in pairs(type(what) == "table" and what or {}) do
    local kind = REQUEST_KEYS[key]
    if not kind then
      misuse("unknown key '%s' in a request%s", suggest.name(key),
        suggest.hint(key, REQUEST_KEYS))
    elseif type(value) ~= kind then
      misuse("%s: expected a %s, got a %s", key, kind, type(value))
    end
  end
  if type(what) ~= "table" or not what.url then
    misuse("expected a table with a url, such as { url = \"http://shop.example/cart\" }")
  elseif what.ip and what.ip ~= "unix:" and not is_ip(what.ip) then
    misuse("ip: '%s' is no address", what.ip)
  end
end

--- What becomes of a request, up to the point where the server would connect.
local function send(route, what)
  check_request(what)
  local req, status, problem = simulate().request(route.settings, {
    url = what.url, method = what.method or "GET", headers = header_list(what.headers),
    body = what.body, ip = what.ip, listener = what.listener, https = what.https,
  })
  if not req and not status then
    misuse("%s", problem)
  elseif not req then
    return refused({}, status, problem)
  end
  local found
  found, problem = simulate().decide(route.settings, "on_request", req)
  local out = {}
  if found then
    problem = follow(route, out, req, found)
  end
  return problem and script_failed(route, { req = req, found = found }, problem) or out
end

--- The state of an `out`, or of a request that is made first.
local function state_of(route, given)
  local out = states[given] and given or send(route, given)
  if out.error then
    misuse("the request has failed already: %s", out.error)
  end
  return states[out], out
end

--- Makes a request: on_request, what completes its decision, and on_params.
---@param self moongate.testing.Route
---@param what table url, and method, headers, body, ip, listener
---@return moongate.testing.Out
Route.request = guarded(send)

--- Is a status one that the decision sends to on_error?
local function is_intercepted(d, status)
  if not d.intercept_errors or status < 400 then
    return false
  elseif d.intercept_errors == true then
    return true
  end
  for _, one in ipairs(d.intercept_errors) do
    if one == status then
      return true
    end
  end
  return false
end

--- An `out` that goes on from another one.
local function copied(asked, state)
  local out = {}
  for key, value in pairs(asked) do
    out[key] = value
  end
  states[out] = state
  return out
end

--- The application answers: on_response, or on_error where `intercept_errors` of the decision says
--- so.
---@param self moongate.testing.Route
---@param given table what `request` takes, or what it has returned
---@param status integer|nil default 200
---@param headers table<string, any>|nil of the application's answer
---@param body string|nil of it
---@return moongate.testing.Out kind is "fastcgi" where the answer goes on to the client
Route.respond = guarded(function(self, given, status, headers, body)
  status = status or 200
  local list = header_list(headers)
  local state, asked = state_of(self, given)
  local d, problem = state.found.decision, nil
  if state.found.kind ~= "fastcgi" then
    misuse("no application is asked here, so none can answer")
  end
  local res = require("moongate.core").response(state.req, status,
    with_standing(list, header_list(d.headers)))
  if is_intercepted(d, status) then
    local out
    out, problem = ask_on_error(self, state, "status", status, "the application's status",
      { headers = res.headers, has_body = body ~= nil and body ~= "" })
    if out then
      return out
    end
  end
  local out = copied(asked, state)
  if self.settings.hooks.on_response then
    local found, failed = simulate().decide(self.settings, "on_response", state.req, res)
    problem = problem or failed and headline(failed)
    if found and found.decision ~= nil then
      local replaced = {}
      failed = follow(self, replaced, state.req, found)
      return failed and script_failed(self, state, failed) or replaced
    end
  end
  -- A hook that has failed is in the log; the answer goes on.
  out.status, out.headers, out.error = res.status, header_table(res.headers), problem
  return out
end)

--- The application writes to its standard error, and the client has nothing of its answer:
--- on_stderr, which may replace that.
---@param self moongate.testing.Route
---@param given table what `request` takes, or what it has returned
---@param text string as PHP-FPM sends it, "PHP message: PHP Fatal error:  ..."
---@return moongate.testing.Out `logged`: lines for the error log; kind is "fastcgi" where the
--- answer goes on
Route.stderr = guarded(function(self, given, text)
  local state, asked = state_of(self, given)
  if state.found.kind ~= "fastcgi" then
    misuse("no application is asked here, so none can write to its standard error")
  elseif type(text) ~= "string" then
    misuse("expected the text that the application writes, such as "
      .. "\"PHP message: PHP Warning:  Odd in /srv/a.php on line 3\"")
  end
  local found, failed
  local hook = self.settings.hooks.on_stderr and function(req, list)
    found, failed = simulate().decide(self.settings, "on_stderr", req, list)
    return found and found.other
  end or nil
  local d = state.found.decision
  local root = d.root or simulate().backend(self.settings, d.backend).root
  local ok, lines = pcall(messages.handle, text, asked.params.DOCUMENT_ROOT, root, hook, state.req)
  if not ok then -- the log gets the text as it came
    failed = ("on_stderr (%s): %s"):format(self.settings.hook_source.on_stderr, tostring(lines))
    lines = { text }
  end
  local out
  if found and found.decision ~= nil and ok then
    out = {}
    local problem = follow(self, out, state.req, found)
    out = problem and script_failed(self, state, problem) or out
  else
    out = copied(asked, state)
    out.error = failed and headline(failed)
  end
  out.logged = lines
  return out
end)

--- The application can't be asked, or does not answer: on_error.
---@param self moongate.testing.Route
---@param given table what `request` takes, or what it has returned
---@param kind "connect"|"timeout"|"closed"|"protocol"|"busy"|"too_large"|"script"
---@return moongate.testing.Out
Route.fail = guarded(function(self, given, kind)
  local status = KINDS[kind]
  if not status then
    misuse("unknown kind '%s' of a failure%s", suggest.name(kind), suggest.hint(kind, KINDS))
  end
  local state = state_of(self, given)
  if state.found.kind ~= "fastcgi" and kind ~= "script" then
    misuse("no application is asked here, so none can fail")
  end
  local out, problem = ask_on_error(self, state, kind, status, "the spec says so")
  if not out then
    out = refused({}, problem and 500 or status, problem)
    states[out] = state
  end
  return out
end)

-- Certificates ------------------------------------------------------------------------------------

---@class moongate.testing.Certificate what on_certificate has said of a name
---@field cert string|nil PEM or a path, as returned; nil: it has no certificate for the name
---@field key string|nil likewise
---@field ttl number|nil for how many seconds that is kept
---@field names string[]|nil those of the certificate
---@field expires string|nil when it ends, "2027-01-31 12:00:00 UTC"
---@field problem string|nil why clients would not take it: another name, it has expired, its chain
--- lacks an issuer
---@field error string|nil what went wrong in the hook, with FILE:LINE; why the pair can't be used

--- A client of TLS asks for a name that no certificate of its listener has: on_certificate.
---@param self moongate.testing.Route
---@param name string
---@return moongate.testing.Certificate
Route.certificate = guarded(function(self, name)
  if not self.settings.hooks.on_certificate then
    misuse("the route has no hook on_certificate")
  elseif type(name) ~= "string" then
    misuse("expected the name that a client asks for, such as \"shop.example\"")
  end
  local asked = name:lower():gsub("%.$", "")
  if not simulate().is_host_name(asked) then
    misuse("'%s' is no name of a host, so the hook is not asked for it", suggest.name(name))
  end
  local found, problem = simulate().certificate(self.settings, asked)
  if not found then
    return { error = problem and headline(problem) }
  end
  local facts, names = found.facts, {}
  for one in (facts.names or ""):gmatch("%S+") do
    names[#names + 1] = one
  end
  return {
    cert = found.cert, key = found.key, ttl = found.ttl,
    names = not facts.unusable and names or nil,
    expires = facts.expires, problem = facts.problem,
    error = facts.unusable and ("on_certificate (%s): it returned a pair that can't be used: %s")
      :format(self.settings.hook_source.on_certificate, facts.unusable),
  }
end)

-- Routes and specs --------------------------------------------------------------------------------

--- Where a route is: beside the one whose specs are run, else below the current folder.
local function find(path)
  if path == nil then
    if not specs.route then
      misuse("which route? No other one is under test, so testing.load needs a path")
    end
    return specs.route
  elseif path:sub(1, 1) == "/" then
    return path
  end
  path = path:gsub("^%./+", "")
  local beside = specs.route and specs.route:match("^(.*/)")
  if beside and filesystem.stat(beside .. path) then
    return beside .. path
  end
  local ok, folder = pcall(filesystem.getcwd)
  return ok and folder and folder .. "/" .. path or path
end

--- Loads a route as the server does.
---@param path string|nil the script: absolute, or beside the route whose specs are run, or below
--- the current folder; nil for that route itself
---@return moongate.testing.Route
--- Raises `FILE:LINE: message` where it is not valid.
M.load = guarded(function(path)
  return setmetatable({ settings = load.route(find(path)) }, Route)
end)

--- A route that is loaded already.
---@param settings table normalized
---@return moongate.testing.Route
function M.of(settings)
  return setmetatable({ settings = settings }, Route)
end

return M
