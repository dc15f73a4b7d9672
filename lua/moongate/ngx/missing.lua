-- moongate.ngx.missing owns the names of OpenResty's API that Moongate does not have, and the
-- sentence for who uses one. Called by ngx.
--
-- OpenResty has every name in every phase, and a name that can't be used there is an error when
-- it is used. Libraries count on that: they keep functions in locals when they are loaded, and ask
-- ngx.get_phase before they use one. So functions are there and fail when they are called, tables
-- of values when they are indexed, plain values when they are read. What OpenResty does not have
-- either is nil.

local suggest = require("moongate.base.suggest")

local M = {}

local REPLY = "a hook returns its answer: return { status = 200, headers = {}, body = text }"
local NO_BODY = "a hook does not read or change the body piece by piece: req:body() is all of it"
local NO_CHANGE = "a request is not changed: "
local NO_SUB = "there are no subrequests: moongate.fastcgi asks a backend, moongate.http a server"
local TLS = "a proxy in front ends TLS; see docs/behind-a-proxy.md"
local HTTPS = "tls of a listener and the hook on_certificate; see docs/tls.md"

local FUNCTIONS = {
  say = REPLY, print = REPLY, flush = REPLY, eof = REPLY, send_headers = REPLY,
  exit = "a hook returns its answer: return { status = 403 }, or nil to go on",
  redirect = "a hook returns its answer: return { redirect = url, status = 302 }",
  exec = "call the handler with another path: site(require('moongate.rewrite').to(req, path))",
  on_abort = "a hook whose client leaves is ended; on_log sees status 499",
  run_worker_thread = "a worker has one thread; give the work to a FastCGI application",
  encode_args = "moongate.escape encodes each name and value",
  decode_args = "req.args has the values of the query, decoded",
  decode_base64mime = "ngx.decode_base64 and moongate.hash.unbase64 take one text of base64",
  parse_http_time = "req.time and moongate.now() are numbers",
  quote_sql_str = "let the client library of your database quote texts, or bind values",
  ["location.capture"] = NO_SUB, ["location.capture_multi"] = NO_SUB,
  ["resp.get_headers"] = "use res.headers in on_response",
  ["resp.add_header"] = "use res.headers[name] = { first, second } in on_response",
  ["resp.set_status"] = "use res.status = status in on_response",
  ["thread.kill"] = "a thread ends by returning: let it look at a variable after each wait",
  ["timer.pending_count"] = "count them where they are begun",
  ["timer.running_count"] = "count them where they are begun",
  ["worker.pids"] = "`moongate status --json` has them",
  ["req.is_internal"] = "use req.internal",
  ["req.start_time"] = "use req.time",
  ["req.http_version"] = "use req.version, a text",
  ["req.raw_header"] = "req.method, req.uri and req.headers:each() are its parts",
  ["req.get_method"] = "use req.method",
  ["req.get_headers"] = "use req.headers",
  ["req.get_uri_args"] = "use req.args",
  ["req.get_query_args"] = "use req.args",
  ["req.get_post_args"] = "req:body() is the body as it came",
  ["req.get_body_data"] = "use req:body()",
  ["req.get_body_file"] = "use req:body(), which waits for all of it",
  ["req.read_body"] = "req:body() waits for the body",
  ["req.discard_body"] = "a body that is not read is dropped",
  ["req.socket"] = NO_BODY, ["req.init_body"] = NO_BODY, ["req.append_body"] = NO_BODY,
  ["req.finish_body"] = NO_BODY, ["req.set_body_data"] = NO_BODY, ["req.set_body_file"] = NO_BODY,
  ["req.set_method"] = NO_CHANGE .. "use params = { REQUEST_METHOD = \"GET\" } of the decision",
  ["req.set_uri"] = NO_CHANGE .. "use script or path of the decision, or moongate.rewrite",
  ["req.set_uri_args"] = NO_CHANGE .. "use params = { QUERY_STRING = \"a=b\" } of the decision",
  ["req.set_header"] = NO_CHANGE .. "use params = { HTTP_X_NAME = \"value\" } of the decision",
  ["req.clear_header"] = NO_CHANGE .. "use params = { HTTP_X_NAME = false } of the decision",
}

-- Variables of nginx whose place is not to be guessed.
local VARIABLES = {
  uri = "req.path", request_uri = "req.uri", args = "req.query", query_string = "req.query",
  is_args = "req.query ~= nil", host = "req.host", http_host = "req.headers.Host",
  remote_addr = "req.ip", binary_remote_addr = "req.ip", remote_port = "req.client_port",
  server_addr = "req.server_ip", server_port = "req.server_port", scheme = "req.scheme",
  request_method = "req.method", server_protocol = "req.version", request_id = "req.id",
  request_time = "log.duration in on_log", status = "log.status in on_log",
  remote_user = "log.user in on_log", document_root = "root of the decision",
  request_body = "req:body()", upstream_addr = "log.server in on_log", pid = "ngx.worker.pid()",
}

local PREFIXES = {
  { "^http_(.+)$", 'req.headers["%s"]' }, { "^arg_(.+)$", "req.args.%s" },
  { "^cookie_(.+)$", "req.cookies.%s" },
}

local function variable(name)
  if VARIABLES[name] then
    return "use " .. VARIABLES[name]
  end
  for _, prefix in ipairs(PREFIXES) do
    local rest = type(name) == "string" and name:match(prefix[1])
    if rest then
      local field = prefix[1]:find("http", 1, true) and rest:gsub("_", "-") or rest
      return "use " .. prefix[2]:format(field)
    end
  end
  return "the fields of req are what nginx has in variables; req.ctx is for the script's own"
end

local TABLES = {
  var = variable,
  ctx = "use req.ctx",
  header = "use headers of the decision, or res.headers in on_response",
  arg = "answers pass without the script; on_response may return another one",
}

local VALUES = {
  status = "use status of the decision, or res.status in on_response",
  headers_sent = "on_response runs before the head is sent, on_log after it",
  is_subrequest = "there are no subrequests",
}

-- Methods of ngx.socket.tcp().
local METHODS = {
  bind = "a connection leaves from the address that the kernel chooses",
  getfd = "the descriptor is the worker's own",
  setclientcert = TLS,
}

local MODULES = {
  ["ngx.balancer"] = "backends have policies, and on_balance picks a server",
  ["ngx.base64"] = "moongate.hash has base64url and unbase64url",
  ["ngx.errlog"] = "moongate.log writes to the error log; log.level is a setting",
  ["ngx.ocsp"] = HTTPS, ["ngx.ssl"] = HTTPS, ["ngx.ssl.session"] = HTTPS,
  ["ngx.ssl.clienthello"] = HTTPS,
  ["ngx.pipe"] = "a program is asked over FastCGI (moongate.fastcgi) or a socket (moongate.tcp)",
  ["ngx.process"] = "workers is a setting; ngx.worker knows this one",
  ["ngx.re"] = "ngx.re.gmatch finds what is between separators",
  ["ngx.req"] = "params of the decision change headers",
  ["ngx.resp"] = "res.headers in on_response",
  ["ngx.semaphore"] = "ngx.thread.wait waits for threads of one request",
  ["resty.core"] = "what it replaces in OpenResty is built in: leave the line out",
}

local function sentence(name, instead)
  return ("%s: this is OpenResty's, and not in Moongate; %s (docs/from-openresty.md)")
    :format(name, instead)
end

local function failing(name, instead)
  return function()
    error(sentence(name, instead), 2)
  end
end

-- A table of which every field is an error, read or set.
local function closed(name, instead)
  local function fail(_, key)
    local text = type(instead) == "function" and instead(key) or instead
    error(sentence(("ngx.%s.%s"):format(name, suggest.name(key)), text), 2)
  end
  return setmetatable({}, { __index = fail, __newindex = fail })
end

--- Gives `ngx` the names that it lacks.
---@param ngx table
---@param methods table of sockets
function M.complete(ngx, methods)
  for name, instead in pairs(FUNCTIONS) do
    local group, field = name:match("^(%w+)%.([%w_]+)$")
    if group then
      ngx[group] = ngx[group] or {}
    end
    local place = group and ngx[group] or ngx
    place[field or name] = failing("ngx." .. name, instead)
  end
  for name, instead in pairs(TABLES) do
    ngx[name] = closed(name, instead)
  end
  for name, instead in pairs(METHODS) do
    methods[name] = failing("tcp:" .. name, instead)
  end
  setmetatable(ngx, {
    __index = function(_, name)
      if VALUES[name] then
        error(sentence("ngx." .. name, VALUES[name]), 2)
      end
      return nil
    end,
    __newindex = function(t, name, value)
      if VALUES[name] then
        error(sentence("ngx." .. name, VALUES[name]), 2)
      end
      rawset(t, name, value)
    end,
  })
end

--- What `require` says of a module of OpenResty's that is not there.
---@param name string
---@return string|nil
function M.module(name)
  return MODULES[name] and "\n\t" .. sentence(name, MODULES[name]) or nil
end

--- Every name that is missing, for the page and its test.
---@return string[] sorted
function M.names()
  local names = {}
  for _, set in ipairs({ FUNCTIONS, TABLES, VALUES }) do
    for name in pairs(set) do
      names[#names + 1] = "ngx." .. name
    end
  end
  for name in pairs(METHODS) do
    names[#names + 1] = "tcp:" .. name
  end
  for name in pairs(MODULES) do
    names[#names + 1] = name
  end
  table.sort(names)
  return names
end

return M
