-- moongate.cli.explain owns `moongate explain`: what would happen to a request. Called by
-- moongate.cli. It runs the code that serves, hooks included, and sends nothing.

local caching = require("moongate.decision.caching")
local certificate = require("moongate.cli.certificate")
local common = require("moongate.cli.common")
local conditions = require("moongate.cli.conditions")
local core = require("moongate.core.commands")
local fs = require("moongate.base.fs")
local json = require("moongate.base.json")
local file_looks = require("moongate.decision.looks")
local origins = require("moongate.cli.origins")
local request = require("moongate.cli.request")
local replay = require("moongate.cli.replay")
local server_look = require("moongate.cli.servers")
local simulate = require("moongate.testing.simulate")
local trace = require("moongate.decision.trace")
local sorted_keys = require("moongate.base.keys").sorted

local M = {
  usage = "explain ROUTE.lua [METHOD] URL [OPTIONS]",
  summary = "say what would happen to a request, and send nothing",
  help = [[
In place of METHOD and URL a command line of curl may stand, as a browser copies it:
  moongate explain route.lua curl 'https://shop.example/' -H 'Cookie: a=b' --data 'x=y'
For https at a listener with `tls` it names the certificate that the client gets, or why there is
none; on_certificate is called for that.
What --log says is in docs/testing.md: the requests of an access log, and what would change.
]],
  options = {
    { name = "--json", help = "as JSON" },
    { name = "--user", value = "NAME[:GROUP]", help = "whom to load it as when started as root" },
    { name = "--sandbox", help = "as in `moongate run --sandbox`" },
    { name = "--log", value = "FILE", help = "the requests of an access log in JSON" },
    { name = "--against", value = "OLD.lua", help = "with --log: what changes from that route" },
  },
  min = 1, max = 3,
  verbatim = "curl",
}
for i, option in ipairs(request.OPTIONS) do
  table.insert(M.options, i, option)
end

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

-- The hooks ---------------------------------------------------------------------------------------

--- The line of the route that is being run; nil while it is in the library only.
---@param folder string the route's, with a slash at its end
---@return string|nil place FILE:LINE
local function place_in(folder)
  for level = 3, 40 do
    local info = debug.getinfo(level, "Sl")
    if not info then
      return nil
    elseif info.source:sub(2, #folder + 1) == folder and info.currentline > 0 then
      return ("%s:%d"):format(info.source:sub(2), info.currentline)
    end
  end
  return nil
end

--- Runs `fn`, which does not fail, and notes the file tests on the way, each once and with the line
--- of the route that asks for it.
---@return any ... what fn returned
local function recorded(settings, steps, fn)
  local seen = {}
  local folder = settings.source:match("^(.*/)") or ""
  file_looks.begin(function(text)
    if not seen[text] then
      seen[text] = true
      local place = place_in(folder)
      steps[#steps + 1] = place and ("%s (%s)"):format(text, place) or text
    end
  end)
  local result, problem = fn()
  file_looks.stop()
  return result, problem
end

--- The line of the route that has decided.
---@return string place FILE:LINE
local function decided_at(found)
  return #found.rules > 0 and found.rules[#found.rules].source or found.source
end

-- The answer --------------------------------------------------------------------------------------

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
local function add_servers(out, backend, servers, only)
  out.backend = backend.name
  local lines = {}
  for i, server in ipairs(servers) do
    out.servers[i] = server.address
    lines[i] = server.address .. server_words(server)
  end
  if #lines > 1 then
    out.steps[#out.steps + 1] = ("servers by %s: %s"):format(
      backend.balance == "function" and "a function of the route" or backend.balance,
      table.concat(lines, ", "))
  elseif #lines == 0 then -- a name's addresses are known to the workers only
    table.insert(out.servers, only)
  end
end

--- Whose socket a server must be.
---@return table|nil owner
local function owner_of(backend, address)
  for _, server in ipairs(backend.servers) do
    if server.address == address then
      return server.owner
    end
  end
  return nil
end

---@class moongate.explain.Look
---@field at integer behind which step it is told
---@field backend table whose servers they are
---@field servers string[] addresses
---@field place string FILE:LINE of who named them
---@field decides boolean where none takes connections the client would get 503

--- What a look at one server tells.
---@return string|nil text nil where there is nothing to say
---@return boolean|nil failed it can't be used
local function server_step(address, owner)
  local problem = server_look.problem(address, owner)
  if problem then
    return ("server %s: %s"):format(address, problem), true
  end
  return owner and ("server %s: the socket is of %s, as its 'owner' says"):format(address,
    owner.name) or nil
end

--- Looks at the servers that are asked. A look may take as long as a hook may run, so this comes
--- when all hooks have ended.
---@param out table
---@param looks moongate.explain.Look[] in the order of their steps
local function look_at_servers(out, looks)
  for i = #looks, 1, -1 do -- the places of earlier ones stay
    local look, found, count = looks[i], {}, 0
    for _, address in ipairs(look.servers) do
      local text, failed = server_step(address, owner_of(look.backend, address))
      found[#found + 1] = text and ("%s (%s)"):format(text, look.place)
      count = count + (failed and 1 or 0)
    end
    for k = #found, 1, -1 do
      table.insert(out.steps, look.at + 1, found[k])
    end
    if look.decides and count > 0 and count == #look.servers then
      out.unreachable = true
    end
  end
end

--- Adds who is asked before the decision is carried out.
local function explain_authorizer(out, settings, req, found, looks)
  local asked, problem = simulate.authorizer(settings, req, found)
  if not asked then
    return nil, problem
  end
  local first = { backend = asked.backend.name, servers = json.list({}), params = asked.params }
  for i, server in ipairs(asked.servers) do
    first.servers[i] = server.address
  end
  looks[1] = {
    at = #out.steps, backend = asked.backend, servers = first.servers, place = decided_at(found),
  }
  out.authorize = first
  out.steps[#out.steps + 1] = ("authorize: backend '%s' is asked first; what follows is for a 200, "
    .. "any other answer is the client's"):format(asked.backend.name)
  return true
end

--- Adds what a FastCGI decision means.
local function explain_fastcgi(out, settings, req, found, looks)
  local d, script, path_info = found.decision, found.a, found.b
  local asked, problem = simulate.fastcgi(settings, req, found)
  if not asked then
    return nil, problem
  end
  local backend, steps = asked.backend, out.steps
  add_servers(out, backend, asked.servers, d.server)
  looks[#looks + 1] = {
    at = #steps, backend = backend, servers = out.servers, place = decided_at(found),
    decides = true,
  }
  steps[#steps + 1] = ("split: script %s, path info %s"):format(
    script == "" and "none" or script, path_info or "none")
  if d.request_file then
    steps[#steps + 1] = ("request_file: a body is REQUEST_BODY_FILE, a file in %s of mode 0640, "
      .. "and STDIN is empty"):format(d.request_file == true and settings.limits.spool_dir
      or d.request_file)
  end
  for _, step in ipairs(conditions.of_decision(settings, d, backend)) do
    steps[#steps + 1] = step
  end
  if d.cache then
    out.cache = caching.outcome(d.cache, req, d.role)
    steps[#steps + 1] = caching.explain(out.cache)
  end
  if settings.hooks.on_params then
    steps[#steps + 1] = "on_params at " .. settings.hook_source.on_params
  end
  out.params, out.origins = asked.params, {}
  local known = {
    decision = d, backend = backend, before = asked.before,
    source = decided_at(found),
    on_params = settings.hooks.on_params and settings.hook_source.on_params,
  }
  for name, value in pairs(asked.params) do
    out.origins[name] = origins.of(name, value, known)
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
  if asked.own_page then
    out.verdict = ("403: %s is PHP-FPM's own page, which `health` or `load` of a backend with this "
      .. "server names: no client gets it"):format(asked.own_page)
    return true
  end
  out.verdict = backend.profile == "php" and php_verdict(sent, file, exists)
    or "ok: what the application answers is for it to say"
  return true
end

--- Adds what a file decision means.
local function explain_file(out, req, found)
  local served = simulate.file(req, found, req.method, function(text)
    out.steps[#out.steps + 1] = text
  end)
  out.verdict = served.verdict
  out.files = {
    file = served.file, root = served.root, exists = served.exists, refused = served.refused,
  }
  if served.file and not served.exists then
    out.files.deepest_parent = deepest_parent(served.file)
  end
end

--- Gives each step that has no line of the route the one that decided.
local function place_steps(steps, source)
  for i, step in ipairs(steps) do
    if not (step:find("%([^()]+:%d+%)$") or step:find(" at [^ ]+:%d+$")) then
      steps[i] = ("%s (%s)"):format(step, source)
    end
  end
end

--- Everything about a request, but for what only a look at its servers tells.
---@param looks moongate.explain.Look[] gets the servers to look at
---@return table|nil out the keys that contract and --json name
---@return string|nil problem
local function explain(settings, req, looks)
  local out = {
    servers = json.list({}), params = {}, steps = json.list({}), files = {}, verdict = "",
  }
  local steps = out.steps
  local found, problem = recorded(settings, steps, function()
    return simulate.decide(settings, "on_request", req)
  end)
  if not found then
    local instead = conditions.on_failure(settings, "on_request", one_line)
    return nil, instead and problem .. "\n" .. instead or problem
  end
  local d, kind = found.decision, found.kind
  table.insert(steps, 1, "on_request at " .. found.source)
  if #found.rules > 0 then
    table.insert(steps, 2, "rule: " .. trace.shown(found.rules))
  end
  for _, step in ipairs(conditions.of_route(settings, one_line)) do
    steps[#steps + 1] = step
  end
  if d == nil then
    out.decision, out.verdict = { status = 404 }, "404: on_request returned nil"
    return out
  end
  out.decision = d
  if d.authorize then
    local ok
    ok, problem = explain_authorizer(out, settings, req, found, looks)
    if not ok then
      return nil, problem
    end
  end
  if kind == "fastcgi" then
    local ok
    ok, problem = explain_fastcgi(out, settings, req, found, looks)
    if not ok then
      return nil, problem
    end
    place_steps(steps, decided_at(found))
  elseif kind == "file" then
    explain_file(out, req, found)
    place_steps(steps, decided_at(found))
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

--- Adds keys and values in two columns under a heading.
---@param show fun(value: any, key: any): string
local function section(parts, title, t, show)
  local keys, width = sorted_keys(t), 0
  if #keys == 0 then
    return
  end
  for _, key in ipairs(keys) do
    width = math.max(width, #tostring(key))
  end
  parts[#parts + 1] = title .. "\n"
  for _, key in ipairs(keys) do
    local value = show(t[key], key):gsub("\n", "\n" .. (" "):rep(width + 4)) -- PHP_VALUE has lines
    parts[#parts + 1] = ("  %-" .. width .. "s  %s\n"):format(tostring(key), value)
  end
end

---@return string
local function text_of(out)
  local parts = { out.certificate and certificate.text(out.certificate) }
  parts[#parts + 1] = "steps\n"
  for _, step in ipairs(out.steps) do
    parts[#parts + 1] = "  " .. step .. "\n"
  end
  section(parts, "decision", out.decision, one_line)
  if out.authorize then
    parts[#parts + 1] = ("authorizer\n  %s: %s\n"):format(out.authorize.backend,
      table.concat(out.authorize.servers, ", "))
    section(parts, "authorizer's params", out.authorize.params, one_line)
  end
  if out.backend then
    parts[#parts + 1] = ("backend\n  %s: %s\n"):format(out.backend, table.concat(out.servers, ", "))
  end
  section(parts, "params", out.params, function(value, name)
    return ("%s   <- %s"):format(value, out.origins[name])
  end)
  section(parts, "files", out.files, function(value)
    return tostring(value)
  end)
  parts[#parts + 1] = "verdict\n  " .. out.verdict .. "\n"
  return table.concat(parts)
end

--- Runs what calls hooks, or shows what they returned: each hook of a request has script_timeout in
--- the server, and all together have it here.
---@param fn fun(): any
---@return any value what it returned; nil where it has failed
---@return string|nil problem
local function limited(settings, fn)
  local ok, value, problem = core.limited("hook", settings.script_timeout,
    settings.hook_source.on_request, fn)
  if not ok then
    return nil, tostring(value)
  end
  return value, problem
end

--- What would happen, in words.
---@param what moongate.testing.simulate.Request of which `req` was made
---@return table|nil out
---@return string text what is printed, or the problem
local function told(settings, req, what, as_json)
  local looks = {}
  local secure = certificate.of(settings, what)
  local out, problem = limited(settings, function()
    return explain(settings, req, looks)
  end)
  if not out then
    return nil, problem
  end
  look_at_servers(out, looks)
  out.certificate = secure
  local text
  text, problem = limited(settings, function()
    return as_json and json.encode(out) .. "\n" or text_of(out)
  end)
  return text and out, text or problem
end

---@param args table
---@return integer status, string|nil message
function M.main(args)
  if args.log then
    return replay.main(args)
  elseif args.against then
    return 2, "--against: it needs --log FILE"
  elseif not args.curl and not args[2] then
    return 2, "an argument is missing"
  elseif args.curl and (args[2] or args.headers or args.body) then
    return 2, "curl: METHOD, URL, -H and --body are curl's own here; put them behind it"
  end
  common.keep_reader(args)
  local settings = common.load(args)
  if not settings then
    return 1
  end
  local req, status, problem, what = request.make(args, settings)
  if not req then
    return status, problem
  end
  local out, text = told(settings, req, what, args.json)
  if not out then
    io.stderr:write(text, "\n")
    return 1
  end
  io.stdout:write(text)
  if out.certificate and out.certificate.problem then
    return 1, "the certificate: " .. out.certificate.problem
  elseif out.unreachable then
    return 1, ("503: no server of backend '%s' takes connections"):format(out.backend)
  end
  return 0
end

return M
