-- moongate.cli.explain owns `moongate explain`: what would happen to a request. Called by
-- moongate.cli. It runs the code that serves, hooks included, and sends nothing.

local common = require("moongate.cli.common")
local core = require("moongate.core")
local decision = require("moongate.decision")
local fs = require("moongate.fs")
local ini = require("moongate.ini")
local json = require("moongate.json")
local trace = require("moongate.trace")
local sorted_keys = require("moongate.keys").sorted

local M = {
  usage = "explain ROUTE.lua [METHOD] URL [OPTIONS]",
  summary = "say what would happen to a request, and send nothing",
  options = {
    { name = "-H", value = "'Name: value'", key = "headers", many = true, help = "a header" },
    { name = "--json", help = "as JSON" },
    { name = "--user", value = "NAME[:GROUP]", help = "whom to load it as when started as root" },
  },
  min = 2, max = 3,
}

-- The request -------------------------------------------------------------------------------------

--- The headers of the command line.
---@return string[][]|nil headers nil where one is wrong
---@return string|nil host the Host among them
---@return string|nil problem
local function headers_of(args)
  local list, host = {}, nil
  for _, text in ipairs(args.headers or {}) do
    local name, value = text:match("^([^:%s]+):%s*(.-)%s*$")
    if not name then
      return nil, nil, ("-H: '%s': expected 'Name: value'"):format(text)
    end
    host = name:lower() == "host" and value or host
    list[#list + 1] = { name, value }
  end
  return list, host
end

--- The port that such a request comes in at: the first listener's.
local function listener_port(settings)
  for _, listener in ipairs(settings.listen) do
    local port = listener.address:match(":(%d+)$")
    if port and not listener.address:match("^unix:") then
      return tonumber(port)
    end
  end
  return nil
end

--- Takes a URL apart: "http://host:port/path", or a path.
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

--- The request that the command line describes.
---@return table|nil req
---@return integer|nil status for the shell, where there is no request
---@return string|nil problem
local function request_of(args, settings)
  local method, url = args[2], args[3]
  if not url then
    method, url = "GET", args[2]
  end
  local scheme, host, target = split_url(url)
  if not target then
    return nil, 2, ("'%s': expected a path that begins with \"/\", or a URL such as "
      .. "\"http://shop.example/cart\""):format(url)
  end
  local headers, own_host, problem = headers_of(args)
  if not headers then
    return nil, 2, problem
  end
  local port = listener_port(settings)
  host = own_host or host or (port and port ~= 80 and "localhost:" .. port or "localhost")
  if not own_host then
    table.insert(headers, 1, { "Host", host })
  end
  -- Only the form with a scheme says that a request came by https.
  local req, status, reason = core.request({
    method = method, url = scheme == "https" and ("https://%s%s"):format(host, target) or target,
    headers = headers, settings = settings, port = port,
  })
  if not req then
    return nil, 1, ("the client would get %s: %s"):format(tostring(status), tostring(reason))
  end
  return req
end

-- The hooks ---------------------------------------------------------------------------------------

--- Calls a hook as the server does: in a coroutine.
---@return boolean ok, any ... results, or the message
local function call(hook, ...)
  local co = coroutine.create(hook)
  local results = { coroutine.resume(co, ...) }
  if not results[1] then
    return false, debug.traceback(co, tostring(results[2]))
  elseif coroutine.status(co) ~= "dead" then
    return false, "the hook yields, which is not available yet"
  end
  return unpack(results, 1, 4)
end

--- What a look for a file found, in words.
local function finding(root, path, within, what)
  local whole = (root == "/" and "" or root) .. path
  local there = core.stat(whole)
  if what or (there ~= "file" and there ~= "directory") then
    return what or (there and "neither a file nor a folder") or "not there"
  end
  local folders = type(within) == "table" and table.concat(within, ", ") or within or root
  return ("refused: its real path %s is outside of %s"):format(
    tostring(core.realpath(whole)), folders)
end

--- Runs `fn` and notes the file tests, each once, and the rules on the way.
---@return table rules moongate.Rule[]
---@return boolean ok
---@return any ... what fn returned
local function recorded(steps, fn)
  local probe, seen = fs.probe, {}
  local function add(text)
    if not seen[text] then
      seen[text] = true
      steps[#steps + 1] = text
    end
  end
  fs.probe = function(root, path, within)
    local what = probe(root, path, within)
    add(("looked for %s%s: %s"):format(root == "/" and "" or root, path,
      finding(root, path, within, what)))
    return what
  end
  trace.step = add
  local results = { trace.rules_of(fn) }
  fs.probe, trace.step = probe, nil
  return unpack(results, 1, 6)
end

--- The rules of routers and sites that decided, outer ones first.
local function rules_step(rules)
  local parts = {}
  for i, rule in ipairs(rules) do
    parts[i] = ("%s (%s)"):format(rule.text, rule.source)
  end
  return "rule: " .. table.concat(parts, " > ")
end

-- The answer --------------------------------------------------------------------------------------

local function backend_of(settings, name)
  for _, backend in ipairs(settings.backends) do
    if backend.name == name then
      return backend
    end
  end
  return nil
end

--- The nearest folder above a path that is there.
local function deepest_parent(path)
  local parent = path:match("^(.*)/[^/]*$")
  while parent and parent ~= "" do
    if core.stat(parent) then
      return parent
    end
    parent = parent:match("^(.*)/[^/]*$")
  end
  return "/"
end

--- What PHP-FPM will make of a script.
---@param sent string SCRIPT_FILENAME
---@param file string|nil the same script on this machine
---@param exists string|nil
---@return string
local function php_verdict(sent, file, exists)
  if not sent:match("%.php$") and not sent:match("%.phar$") then
    return "PHP-FPM answers 403 \"Access denied.\": security.limit_extensions allows .php only"
  elseif not file then
    return "no local root: whether the script exists is for the backend to see"
  elseif exists == "directory" then
    return "PHP-FPM answers 403 \"Access denied.\": the script is a folder"
  elseif not exists then
    return ("PHP-FPM answers 404 \"File not found.\" (Primary script unknown): %s is not there, "
      .. "the nearest folder that is there is %s"):format(file, deepest_parent(file))
  elseif not core.readable(file) then
    return ("%s is there, but the user '%s' cannot read it; if PHP's user cannot either, the "
      .. "answer is 403"):format(file, fs.user_name())
  end
  return "ok"
end

--- What distinguishes a server from others, in words.
local function server_words(server)
  local words = {}
  if server.weight ~= 1 then
    words[#words + 1] = "weight " .. server.weight
  end
  if server.backup then
    words[#words + 1] = "backup"
  end
  if server.max_conns > 0 then
    words[#words + 1] = "max_conns " .. server.max_conns
  end
  return #words > 0 and (" (%s)"):format(table.concat(words, ", ")) or ""
end

--- Adds the servers that may get the request.
---@param only string|nil the one that the decision names
local function add_servers(out, backend, only)
  out.backend = backend.name
  local lines = {}
  for _, server in ipairs(backend.servers) do
    if only == nil or server.address == only then
      table.insert(out.servers, server.address)
      lines[#lines + 1] = server.address .. server_words(server)
    end
  end
  if #lines > 1 then
    out.steps[#out.steps + 1] = ("servers by %s: %s"):format(
      backend.balance == "function" and "a function of the route" or backend.balance,
      table.concat(lines, ", "))
  elseif #lines == 0 then -- a name's addresses are known to the workers only
    table.insert(out.servers, only)
  end
end

--- Adds what a FastCGI decision means.
local function explain_fastcgi(out, settings, req, d, script, path_info)
  local backend = backend_of(settings, d.backend)
  add_servers(out, backend, d.server)
  local steps = out.steps
  steps[#steps + 1] = ("split: script %s, path info %s"):format(
    script == "" and "none" or script, path_info or "none")
  local params, problem = core.params(req, d, script, path_info, settings)
  if not params then
    return nil, problem
  end
  if settings.hooks.on_params then
    local ok, message = call(settings.hooks.on_params, req, params)
    if not ok then
      return nil, message
    end
    steps[#steps + 1] = "on_params at " .. settings.hook_source.on_params
  end
  for name, value in params:each() do
    out.params[name] = value
  end
  out.params.PHP_VALUE = d.ini and ini.text(backend.ini, d.ini) or backend.ini_text

  local sent = out.params.SCRIPT_FILENAME or ""
  local root = d.root or backend.root
  local docroot = out.params.DOCUMENT_ROOT
  local file = root and script ~= "" and (root == "/" and "" or root) .. script or nil
  if d.script_filename then
    file = d.script_filename
  end
  local exists = file and core.stat(file) or nil
  if root and docroot and root ~= docroot then
    steps[#steps + 1] = ("mapped: root %s here is %s for the backend"):format(root, docroot)
  end
  out.files = {
    root = root, docroot = docroot, script_filename = sent, file = file, exists = exists,
  }
  if file and not exists then
    out.files.deepest_parent = deepest_parent(file)
  end
  out.verdict = backend.profile == "php" and php_verdict(sent, file, exists)
    or "ok: what the application answers is for it to say"
  return true
end

--- Is there something at the path of a file decision that core may not serve, since its real path
--- is elsewhere?
local function outside(found)
  local there = found.file and not found.exists and core.stat(found.file)
  return there == "file" or there == "directory"
end

--- What a client gets for a folder: an index, or 404.
---@return string verdict, table|nil found the index
local function index_verdict(steps, d, path)
  local names = type(d.index) == "table" and d.index or { d.index or "index.html" }
  for _, name in ipairs(names) do
    local found = core.resolve_file(d.file and { file = path .. name } or d, path .. name)
    local what = found.refused or outside(found) and "outside of the root"
      or found.exists or "not there"
    steps[#steps + 1] = ("index %s: %s"):format(found.file, what)
    if what == "file" then
      return "ok: the folder's index " .. name, found
    end
  end
  return "404: a folder without an index file"
end

--- Adds what a file decision means.
local function explain_file(out, req, d, path)
  -- core fills in the request's path where neither the decision nor `try` names one.
  path = path or d.file or d.path or req.path
  local found = core.resolve_file(d, path)
  if req.method == "OPTIONS" then
    out.verdict = "204: OPTIONS"
  elseif req.method ~= "GET" and req.method ~= "HEAD" then
    out.verdict = ("405: a file takes GET, HEAD and OPTIONS, not %s"):format(req.method)
  elseif found.refused then
    out.verdict = "403: " .. found.refused
  elseif outside(found) then
    out.verdict = ("403: a symlink leads out of the root: the real path is %s"):format(
      tostring(core.realpath(found.file)))
  elseif path:sub(-1) == "/" then
    local index
    out.verdict, index = index_verdict(out.steps, d, path)
    found = index or found
  elseif found.exists == "file" and not core.readable(found.file) then
    out.verdict = ("403: the user '%s' may not read it"):format(fs.user_name())
  elseif found.exists == "file" then
    out.verdict = "ok"
  elseif not found.exists and core.stat(found.file) then
    out.verdict = "403: not a regular file"
  elseif found.exists == "directory" then
    out.verdict = "301 to its name with a slash: a folder"
  else
    out.verdict = "404: there is no such file"
  end
  out.files = {
    file = found.file, root = found.root, exists = found.exists, refused = found.refused,
  }
  if found.file and not found.exists then
    out.files.deepest_parent = deepest_parent(found.file)
  end
end

--- Everything about a request.
---@return table|nil out the keys that contract and --json name
---@return string|nil problem
local function explain(settings, req)
  local out = {
    servers = json.list({}), params = {}, steps = json.list({}), files = {}, verdict = "",
  }
  local steps = out.steps
  local source = settings.hook_source.on_request
  -- `call` does not fail, so the second value is always true.
  local rules, _, ok, d, a, b = recorded(steps, function()
    return call(settings.hooks.on_request, req)
  end)
  if not ok then
    return nil, ("on_request (%s): %s"):format(source, tostring(d))
  end
  table.insert(steps, 1, "on_request at " .. source)
  if #rules > 0 then
    table.insert(steps, 2, rules_step(rules))
  end
  if d == nil then
    out.decision, out.verdict = { status = 404 }, "404: on_request returned nil"
    return out
  end
  local problem = decision.problem(d, settings)
  if problem then
    return nil, ("%s: on_request returned a decision that cannot be used: %s"):format(
      #rules > 0 and rules[#rules].source or source, problem)
  end
  out.decision = d
  local kind = decision.kind(d)
  if kind == "fastcgi" then
    ok, problem = explain_fastcgi(out, settings, req, d, a, b)
    if not ok then
      return nil, problem
    end
  elseif kind == "file" then
    explain_file(out, req, d, a)
  elseif kind == "redirect" then
    out.verdict = ("%d to %s"):format(d.status or 302, d.redirect)
  elseif kind == "close" then
    out.verdict = "the connection is closed without an answer"
  else
    out.verdict = ("%d from the route itself"):format(d.status or 200)
  end
  return out
end

-- Printing ----------------------------------------------------------------------------------------

--- A decision's value in one line.
local function one_line(value)
  if type(value) == "table" then
    local parts = {}
    for _, key in ipairs(sorted_keys(value)) do
      parts[#parts + 1] = type(key) == "number" and one_line(value[key])
        or ("%s = %s"):format(tostring(key), one_line(value[key]))
    end
    return "{ " .. table.concat(parts, ", ") .. " }"
  end
  return type(value) == "string" and ("%q"):format(value) or tostring(value)
end

--- Keys and values in two columns under a heading.
local function section(title, t, show)
  local keys, width = sorted_keys(t), 0
  if #keys == 0 then
    return
  end
  for _, key in ipairs(keys) do
    width = math.max(width, #tostring(key))
  end
  io.stdout:write(title, "\n")
  for _, key in ipairs(keys) do
    local value = show(t[key]):gsub("\n", "\n" .. (" "):rep(width + 4)) -- PHP_VALUE has lines
    io.stdout:write(("  %-" .. width .. "s  %s\n"):format(tostring(key), value))
  end
end

local function print_text(out)
  io.stdout:write("steps\n")
  for _, step in ipairs(out.steps) do
    io.stdout:write("  ", step, "\n")
  end
  section("decision", out.decision, one_line)
  if out.backend then
    io.stdout:write(("backend\n  %s: %s\n"):format(out.backend, table.concat(out.servers, ", ")))
  end
  section("params", out.params, tostring)
  section("files", out.files, tostring)
  io.stdout:write("verdict\n  ", out.verdict, "\n")
end

---@param args table
---@return integer status, string|nil message
function M.main(args)
  local settings, problem = common.load(args)
  if not settings then
    io.stderr:write(problem, "\n")
    return 1
  end
  local req, status
  req, status, problem = request_of(args, settings)
  if not req then
    return status, problem
  end
  local out
  out, problem = explain(settings, req)
  if not out then
    io.stderr:write(problem, "\n")
    return 1
  elseif args.json then
    io.stdout:write(json.encode(out), "\n")
  else
    print_text(out)
  end
  return 0
end

return M
