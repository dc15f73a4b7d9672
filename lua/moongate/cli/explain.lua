-- moongate.cli.explain owns `moongate explain`: what would happen to a request. Called by
-- moongate.cli. It runs the code that serves, hooks included, and sends nothing.

local common = require("moongate.cli.common")
local core = require("moongate.core")
local decision = require("moongate.decision")
local fs = require("moongate.fs")
local json = require("moongate.json")
local router = require("moongate.router")
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

--- The headers of the command line, and a Host where there is none.
---@return string[][]|nil headers, string|nil problem
local function headers_of(args, host)
  local list, has_host = {}, false
  for _, text in ipairs(args.headers or {}) do
    local name, value = text:match("^([^:%s]+):%s*(.-)%s*$")
    if not name then
      return nil, ("-H: '%s': expected 'Name: value'"):format(text)
    end
    has_host = has_host or name:lower() == "host"
    list[#list + 1] = { name, value }
  end
  if not has_host then
    table.insert(list, 1, { "Host", host or "localhost" })
  end
  return list
end

--- The request that the command line describes.
---@return table|nil req, string|nil problem
local function request_of(args, settings)
  local method, url = args[2], args[3]
  if not url then
    method, url = "GET", args[2]
  end
  local host, target = url:match("^https?://([^/?]+)(.*)$")
  target = target or url
  if target:sub(1, 1) ~= "/" and target ~= "*" then
    target = "/" .. target
  end
  local headers, problem = headers_of(args, host)
  if not headers then
    return nil, problem
  end
  local req, status, reason = core.request({
    method = method, url = target, headers = headers, settings = settings,
  })
  if not req then
    return nil, ("the client would get %s: %s"):format(tostring(status), tostring(reason))
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

--- Runs `fn` and notes the file tests and router rules on the way.
local function recorded(steps, fn)
  local probe, rules = fs.probe, {}
  fs.probe = function(root, path, within)
    local what = probe(root, path, within)
    steps[#steps + 1] = ("looked for %s%s: %s"):format(root, path, what or "not there")
    return what
  end
  router.trace(function(rule)
    table.insert(rules, 1, ("%s (%s)"):format(rule.text, rule.source))
  end)
  local results = { fn() }
  fs.probe = probe
  router.trace(nil)
  if #rules > 0 then
    steps[#steps + 1] = "router: " .. table.concat(rules, " > ")
  end
  return unpack(results, 1, 4)
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
    return ("%s is there, but this user cannot read it; if PHP's user cannot either, the answer "
      .. "is 403"):format(file)
  end
  return "ok"
end

--- Adds what a FastCGI decision means.
local function explain_fastcgi(out, settings, req, d, script, path_info)
  local backend = backend_of(settings, d.backend)
  out.backend = d.backend
  for _, server in ipairs(d.server and { { address = d.server } } or backend.servers) do
    table.insert(out.servers, server.address)
  end
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

--- Adds what a file decision means.
local function explain_file(out, req, d, path)
  -- core fills in the request's path where neither the decision nor `try` names one.
  local found = core.resolve_file(d, path or d.path or req.path)
  out.files = {
    file = found.file, root = found.root, exists = found.exists, refused = found.refused,
  }
  if found.refused then
    out.verdict = "refused: " .. found.refused
  elseif found.exists == "file" then
    out.verdict = "ok"
  elseif found.exists == "directory" then
    out.verdict = "a folder: its index is served, or 301 to its name with a slash"
  else
    out.files.deepest_parent = found.file and deepest_parent(found.file) or nil
    out.verdict = "404: there is no such file"
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
  local ok, d, a, b = recorded(steps, function()
    return call(settings.hooks.on_request, req)
  end)
  if not ok then
    return nil, ("on_request (%s): %s"):format(settings.hook_source.on_request, tostring(d))
  end
  table.insert(steps, 1, "on_request at " .. settings.hook_source.on_request)
  if d == nil then
    out.decision, out.verdict = { status = 404 }, "404: on_request returned nil"
    return out
  end
  local problem = decision.problem(d, settings)
  if problem then
    return nil, ("%s: on_request returned a decision that cannot be used: %s"):format(
      settings.hook_source.on_request, problem)
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
    io.stdout:write(("  %-" .. width .. "s  %s\n"):format(tostring(key), show(t[key])))
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
  local req
  req, problem = request_of(args, settings)
  if not req then
    return 1, problem
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
