-- moongate.worker.control owns what the control listener answers: the state of the instance and of
-- its backends, reload and stop, and hold, resume, drain and undrain. Called by core/ in a worker,
-- for requests on that listener. What is done holds for all workers: core/ keeps it in memory that
-- they share with the master.
--
--     GET  /status                            see `status`
--     GET  /backends[?name=B]                 all backends, or one
--     GET  /                                  for browsers the dashboard, see worker/dashboard; the
--                                             paths that GET reads
--     GET  /metrics                           see worker/metrics
--     POST /reload                            { id }
--     GET  /reload                            { requested, done, ok, error, generation, at }, where
--                                             `done` is the id of the last one that has ended
--     GET  /messages                          the last message on STDERR of each script
--     GET  /scripts                           { scripts, others }, see worker/scripts
--     GET  /generations                       what was loaded when, the latest first
--     POST /rollback[?number=N]               { id, to }: /reload from generation N's files
--     GET  /shadow[?name=N]                   what the route's shadows have found
--     POST /shadow[?name=N]                   forgets it
--     POST /stop                              a graceful one
--     GET  /requests                          { requests, more }, see worker/requests
--     GET  /tail?at=N&number=N                { lines, at, number, lost }, see core/shm/tail.h
--     POST /trace?host=&path=&...             { id }, see worker/tracing; ?end=ID ends it
--     GET  /trace?id=ID                       { requests, left, missed }
--     POST /kill?id=ID                        ends a request
--     POST /purge?key=K | prefix=P | tag=T | everything=true    removes kept responses
--     POST /set?name=N&value=V                a value of the route (moongate.runtime)
--     POST /log-level?level=L[&for=TIME] | forget=true      the level of the error log
--     POST /hold?backend=B    /resume?...     keep new requests in the queue; let them go
--     POST /server?backend=B&server=S&action=add|remove|weight[&weight=N]    changes it at run time
--     POST /server?action=forget[&backend=B[&server=S]]   drops such changes
--     POST /drain?backend=B&server=S  /undrain?...    send a server nothing new; take it back
--
-- Who may ask for what is said by worker/access.

local access = require("moongate.worker.access")
local addr = require("moongate.base.addr")
local changes = require("moongate.worker.changes")
local dashboard = require("moongate.worker.dashboard")
local generations = require("moongate.worker.generations")
local json = require("moongate.base.json")
local log_level = require("moongate.worker.log_level")
local metrics = require("moongate.worker.metrics")
local recent = require("moongate.worker.recent")
local report = require("moongate.shadow.report")
local requests = require("moongate.worker.requests")
local responses = require("moongate.worker.responses")
local runtime = require("moongate.runtime")
local scripts = require("moongate.worker.scripts")
local suggest = require("moongate.base.suggest")
local tracing = require("moongate.worker.tracing")

local M = {}

--- A reply in JSON.
local function reply(status, value, headers)
  local all = { ["Content-Type"] = "application/json", ["Cache-Control"] = "no-store" }
  for name, text in pairs(headers or {}) do
    all[name] = text
  end
  return { status = status, headers = all, body = json.encode(value) .. "\n" }
end

local function failure(status, text, ...)
  return reply(status, { error = text:format(...) })
end

-- Looking -----------------------------------------------------------------------------------------

--- A backend with the sums over its servers.
local function with_totals(backend)
  local totals = { active = 0, serving = 0, idle = 0, requests = 0, fails = 0, up = 0 }
  for _, server in ipairs(backend.servers) do
    for _, key in ipairs({ "active", "serving", "idle", "requests", "fails" }) do
      totals[key] = totals[key] + server[key]
    end
    totals.up = totals.up + (server.up and 1 or 0)
    server.state = metrics.state_of(server)
  end
  json.list(backend.servers)
  backend.totals = totals
  return backend
end

local function all_backends(core)
  local list = core.backends()
  for _, backend in ipairs(list) do
    with_totals(backend)
  end
  changes.mark(core, list)
  return json.list(list)
end

--- The backend of a name.
---@return table|nil backend
---@return table|nil decision the answer where there is none
local function find_backend(core, name, key)
  if name == nil or name == "" then
    return nil, failure(400, "'%s' is missing: the name of a backend", key)
  end
  local known = {}
  for _, backend in ipairs(core.backends()) do
    if backend.name == name then
      return backend
    end
    known[#known + 1] = backend.name
  end
  return nil, failure(404, "there is no backend '%s'%s", name, suggest.hint(name, known))
end

--- The address of a backend's server, as the backend writes it.
---@return string|nil address
---@return table|nil decision the answer where there is none
local function find_server(backend, given)
  if given == nil or given == "" then
    return nil, failure(400, "'server' is missing: the address of a server of '%s'", backend.name)
  end
  local address, known = addr.parse(given, "connect") or given, {}
  for _, server in ipairs(backend.servers) do
    if server.address == address then
      return address
    end
    known[#known + 1] = server.address
  end
  return nil, failure(404, "backend '%s' has no server '%s'%s", backend.name, given,
    suggest.hint(given, known))
end

--- How many generations are alive: an old one ends with its last request. A worker that has been
--- replaced has one of its own.
local function count_generations(workers)
  local most, leaving = 0, 0
  for _, worker in ipairs(workers) do
    if worker.leaving then
      leaving = leaving + 1
    else
      most = math.max(most, worker.generations)
    end
  end
  return most + leaving
end

--- The lines of core/shm/board.h: address, name and, of the control listener, what the route says.
local function listeners(text)
  local list = {}
  for address, name, given in (text or ""):gmatch("([^\t\n]+)\t?([^\t\n]*)\t?([^\n]*)") do
    list[#list + 1] = {
      address = address, name = name ~= "" and name or nil, control = given ~= "",
      given = given ~= "" and given or nil,
    }
  end
  return list
end

local function status(_, core)
  local state, counters = core.state(), core.counters()
  local failed = state.last_error_at > 0
  local value = {
    version = core.version, pid = state.pid, uptime = math.max(0, core.now() - state.started),
    generation = state.generation, generations = count_generations(state.workers),
    workers = json.list(state.workers), listeners = json.list(listeners(state.listeners)),
    backends = all_backends(core), changes = changes.list(core), shared = core.shared_info(),
    values = runtime.list(), log = log_level.read(core),
    kept_from = (state.kept_from or 0) > 0 and state.kept_from or nil,
    last_error = failed and { text = state.last_error, at = state.last_error_at } or nil,
    errors = recent.errors(core, state.generation), tenants = recent.tenants(core, counters),
    cache = responses.cache(core, counters), compression = responses.compression(counters),
  }
  value.degraded = recent.degraded(value)
  return reply(200, value)
end

local function messages(_, core)
  return reply(200, { messages = recent.messages(core) })
end

local function show_scripts(_, core)
  local list, others = scripts.list(core)
  return reply(200, { scripts = list, others = others })
end

local function backends(req, core)
  local name = req.args.name
  if name == nil then
    return reply(200, all_backends(core))
  end
  local backend, answer = find_backend(core, name, "name")
  if answer then
    return answer
  end
  changes.mark(core, { backend })
  return reply(200, with_totals(backend))
end

--- What the shadows have found, each with the share of the requests that it gets.
local function shadows(req)
  local reports, problem = report.read(req.args.name)
  if not reports then
    return failure(404, "%s", problem)
  end
  local values = runtime.list()
  for _, one in ipairs(reports) do
    one.sample = values["shadow." .. one.name]
  end
  return reply(200, json.list(reports))
end

local function show_requests(_, core)
  local list, more = requests.list(core)
  return reply(200, { requests = json.list(list), more = more })
end

--- Access lines since a position; without one, where the next line will be.
local function tail(req, core)
  local at, number = tonumber(req.args.at), tonumber(req.args.number)
  if (req.args.at or req.args.number) and not (at and number and at >= 0 and number >= 0) then
    return failure(400, "'at' and 'number' are those of the answer before")
  end
  local lines, next_at, next_number, lost = core.tail(at, number)
  return reply(200, { lines = lines, at = next_at, number = next_number, lost = lost })
end

local function read_trace(req, core)
  local value, problem, code = tracing.read(core, req.args.id)
  return value and reply(200, value) or failure(code, "%s", problem)
end

local function show_metrics(req, core)
  local text, media_type = metrics.render(core, req.headers.Accept)
  return {
    status = 200, headers = { ["Content-Type"] = media_type, ["Cache-Control"] = "no-store" },
    body = text,
  }
end

-- Doing -------------------------------------------------------------------------------------------

--- What the core said about something that it was told to do.
local function outcome(done, problem)
  return done and reply(200, { ok = true }) or failure(500, "%s", tostring(problem))
end

local function reloads(_, core)
  return reply(200, core.reloads())
end

local function reload(_, core)
  local id, problem = core.reload()
  return id and reply(200, { id = id }) or failure(500, "%s", tostring(problem))
end

local function loads(_, core)
  return reply(200, { generations = generations.list(core) })
end

local function rollback(req, core)
  local number, problem, status_code = generations.target(core, req.args.number)
  if not number then
    return failure(status_code, "%s", problem)
  end
  local id
  id, problem = core.reload(number)
  return id and reply(200, { id = id, to = number }) or failure(500, "%s", tostring(problem))
end

local function stop(_, core)
  return outcome(core.stop())
end

local function set(req)
  local name, value = req.args.name, req.args.value
  if not name or not value then
    return failure(400, "'%s' is missing", name and "value" or "name")
  end
  local done, problem, unknown = runtime.set(name, value)
  return done and reply(200, { ok = true }) or failure(unknown and 404 or 400, "%s",
    tostring(problem))
end

local function forget_shadows(req)
  local done, problem = report.clear(req.args.name)
  return done and reply(200, { ok = true }) or failure(404, "%s", problem)
end

local function kill(req, core)
  local done, problem, code = requests.kill(core, req.args.id)
  return done and reply(200, { ok = true }) or failure(code, "%s", tostring(problem))
end

local function trace(req, core)
  local value, problem, code = tracing.order(core, req.args)
  return value and reply(200, value) or failure(code, "%s", problem)
end

local function order_log_level(req, core)
  local value, problem = log_level.order(core, req.args)
  return value and reply(200, value) or failure(400, "%s", problem)
end

--- Removes kept responses.
local function purge(req, core)
  local args = req.args
  for _, kind in ipairs({ "key", "prefix", "tag" }) do
    local text = args[kind]
    if text and text ~= "" then
      return reply(200, { ok = true, purged = core.cache_purge(kind, text) })
    end
  end
  if args.everything == "true" then -- `all` is a method of args
    return reply(200, { ok = true, purged = core.cache_purge("all", "") })
  end
  return failure(400, "one of key, prefix, tag and everything=true is missing")
end

local function holder(on)
  return function(req, core)
    local backend, answer = find_backend(core, req.args.backend, "backend")
    return answer or outcome(core.hold(backend.name, on))
  end
end

--- What the operator is told after a server was drained: that none is left, or no healthy one.
---@return string|nil warning
local function who_is_left(backend, drained)
  local others, up = 0, 0
  for _, server in ipairs(backend.servers) do
    if server.address ~= drained and not server.draining then
      others, up = others + 1, up + (server.up and 1 or 0)
    end
  end
  if others == 0 then
    return ("backend '%s' has no server left: requests are answered 503, those that wait too; "
      .. "`moongate undrain %s %s` takes this one back, `moongate hold %s` lets requests wait")
      :format(backend.name, backend.name, drained, backend.name)
  elseif up == 0 then
    return ("no other server of backend '%s' is up"):format(backend.name)
  end
  return nil
end

local function drainer(on)
  return function(req, core)
    local backend, address, answer
    backend, answer = find_backend(core, req.args.backend, "backend")
    if backend then
      address, answer = find_server(backend, req.args.server)
    end
    if answer then
      return answer
    end
    local done, problem = core.drain(backend.name, address, on)
    if not done then
      return outcome(done, problem)
    end
    return reply(200, { ok = true, warning = on and who_is_left(backend, address) or nil })
  end
end

local function forget_changes(core, args)
  local server = args.server and (addr.parse(args.server, "connect") or args.server) or ""
  return reply(200, { ok = true, count = core.forget_changes(args.backend or "", server) })
end

--- A server is added, removed or weighed while the route serves.
local function change_server(req, core)
  local args = req.args
  if args.action == "forget" then
    return forget_changes(core, args)
  end
  local backend, answer = find_backend(core, args.backend, "backend")
  if answer then
    return answer
  end
  local done, problem, code, address = changes.change(core, backend, args)
  if not done then
    return failure(code, "%s", tostring(problem))
  end
  return reply(200, { ok = true, server = address })
end

-- A request ---------------------------------------------------------------------------------------

-- By path: what answers GET and HEAD, and what a POST does.
local PAGES = {
  ["/status"] = status, ["/backends"] = backends, ["/reload"] = reloads, ["/shadow"] = shadows,
  ["/metrics"] = show_metrics, ["/generations"] = loads,
  ["/messages"] = messages, ["/requests"] = show_requests, ["/tail"] = tail,
  ["/trace"] = read_trace, ["/scripts"] = show_scripts,
}
local ACTIONS = {
  ["/reload"] = reload, ["/rollback"] = rollback, ["/stop"] = stop, ["/set"] = set,
  ["/shadow"] = forget_shadows, ["/kill"] = kill, ["/purge"] = purge, ["/server"] = change_server,
  ["/trace"] = trace, ["/log-level"] = order_log_level,
  ["/hold"] = holder(true), ["/resume"] = holder(false),
  ["/drain"] = drainer(true), ["/undrain"] = drainer(false),
}

--- The paths that GET reads, in order.
local function page_paths()
  local paths = {}
  for path in pairs(PAGES) do
    if path ~= "/" then
      paths[#paths + 1] = path
    end
  end
  table.sort(paths)
  return paths
end

--- What a browser gets is a page that asks for the others, see worker/dashboard; others are told
--- which there are.
PAGES["/"] = function(req, core)
  local paths = page_paths()
  if dashboard.is_asked_for(req) then
    return dashboard.page(paths, core.tokens().token ~= nil)
  end
  return reply(200, { version = core.version, pages = paths })
end

local function wrong_method(req, page, action)
  local allowed = page and action and "GET, HEAD, POST" or page and "GET, HEAD" or "POST"
  return reply(405, { error = ("%s takes %s"):format(req.path, allowed) }, { Allow = allowed })
end

--- The answer to who may not have what he asks for.
---@return table|nil decision
local function refusal(req, core, acts)
  local code, problem = access.problem(req, {
    tokens = core.tokens(), listeners = listeners(core.state().listeners), equal = core.equal,
    log = core.log, acts = acts, open = dashboard.is_asked_for(req),
  })
  return code and reply(code, { error = problem }, {
    ["WWW-Authenticate"] = code == 401 and 'Bearer realm="moongate"' or nil,
    ["Retry-After"] = code == 429 and "1" or nil,
  })
end

--- Answers a request on the control listener.
---@param req table as in on_request
---@param core table `version now shared_info equal log` of moongate.core, and what a script does
--- not get of it: `state tokens reload reloads loads stop backends hold drain requests
--- kill tail log_level order_log_level cache_purge cache_counts order_trace read_trace end_trace
--- changes change forget_changes recent counters`
---@return table decision a reply
function M.handle(req, core)
  local page, action = PAGES[req.path], ACTIONS[req.path]
  local refused = refusal(req, core, action ~= nil and req.method == "POST")
  if refused then
    return refused
  elseif page and (req.method == "GET" or req.method == "HEAD") then
    return page(req, core)
  elseif action and req.method == "POST" then
    return action(req, core)
  elseif page or action then
    return wrong_method(req, page, action)
  end
  local known = {}
  for _, group in ipairs({ PAGES, ACTIONS }) do
    for path in pairs(group) do
      known[#known + 1] = path
    end
  end
  return failure(404, "there is no %s%s", req.path, suggest.hint(req.path, known))
end

return M
