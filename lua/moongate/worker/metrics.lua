-- moongate.worker.metrics owns /metrics: which metrics there are, and where their numbers come
-- from. Called by worker/control; docs/metrics.md has the list.

local counter = require("moongate.base.counter")
local exposition = require("moongate.base.exposition")
local own = require("moongate.metrics")
local sorted_keys = require("moongate.base.keys").sorted

local label = exposition.label

local M = {}

--- A name of a backend or a tenant; `false` stands for all that have no place of their own.
local function name_of(name)
  return name or "other"
end

local function of_backend(name)
  return label("backend", name_of(name))
end

-- Requests ----------------------------------------------------------------------------------------

local CLASSES = { [0] = "other", "1xx", "2xx", "3xx", "4xx", "5xx" }

--- Classes that hardly any request has are left out until one has; the others begin with 0, so that
--- rate() sees the first one.
local function requests(page, counters)
  local family = page:family("counter", "moongate_requests",
    "Requests that have been answered or given up, by the class of their status.")
  for _, series in ipairs(counters.series) do
    local names = of_backend(series.backend) .. "," .. label("tenant", name_of(series.tenant))
    for _, method in ipairs(sorted_keys(series.methods)) do
      for class = 0, 5 do
        local count = series.methods[method][class]
        if count > 0 or class >= 2 then
          family:add(names .. "," .. label("method", method) .. ',code="' .. CLASSES[class] .. '"',
            count)
        end
      end
    end
  end
end

local function protocols(page, counters)
  local family = page:family("counter", "moongate_requests_by_protocol",
    "Requests by the protocol that their client speaks.")
  for _, name in ipairs(sorted_keys(counters.protocols)) do
    family:add(label("protocol", name), counters.protocols[name])
  end
end

local function handshakes(page, counters)
  local family = page:family("counter", "moongate_tls_handshakes",
    "Handshakes of TLS that have succeeded, by version, and whether they resumed a session.")
  for _, version in ipairs(sorted_keys(counters.tls)) do
    for _, session in ipairs({ "full", "resumed" }) do
      family:add(label("version", version) .. "," .. label("session", session),
        counters.tls[version][session])
    end
  end
  page:family("counter", "moongate_tls_kernel_connections",
    "Connections whose TLS records the kernel makes (kTLS)."):add("", counters.ktls)
  family = page:family("counter", "moongate_tls_handshake_failures",
    "Handshakes of TLS that have failed.")
  for _, reason in ipairs(sorted_keys(counters.handshake_failures)) do
    family:add(label("reason", reason), counters.handshake_failures[reason])
  end
end

local PHASES = {
  { "total", "moongate_request_duration_seconds",
    "Time from a request's head to the last byte of its answer." },
  { "queue", "moongate_backend_queue_seconds",
    "Time that an attempt waited for a connection to a server." },
  { "connect", "moongate_backend_connect_seconds",
    "Time that new connections to servers took." },
  { "first_byte", "moongate_backend_first_byte_seconds",
    "Time from the connection to the first byte of the answer." },
}

local function count_of(histogram)
  local total = 0
  for _, count in ipairs(histogram) do
    total = total + count
  end
  return total
end

local function durations(page, counters)
  for _, phase in ipairs(PHASES) do
    local key, name, help = unpack(phase)
    local family = page:family("histogram", name, help)
    for _, backend in ipairs(counters.backends) do
      local histogram = backend.phases[key]
      if count_of(histogram) > 0 or (backend.name and backend.name ~= "") then
        family:histogram(of_backend(backend.name), counters.bounds, histogram, histogram.sum)
      end
    end
  end
end

local SUMS = {
  { "bytes_in", "moongate_request_body_bytes", "Bytes of the bodies of requests." },
  { "bytes_out", "moongate_response_bytes", "Bytes sent to clients, heads included." },
  { "retries", "moongate_retries", "Attempts that followed one that had failed." },
}

local function sums(page, counters)
  for _, sum in ipairs(SUMS) do
    local key, name, help = unpack(sum)
    local family = page:family("counter", name, help)
    for _, backend in ipairs(counters.backends) do
      if backend.name or backend[key] > 0 then
        family:add(of_backend(backend.name), backend[key])
      end
    end
  end
  local family = page:family("counter", "moongate_stderr_messages",
    "Messages that applications wrote to STDERR, by level.")
  for _, backend in ipairs(counters.backends) do
    for _, level in ipairs(sorted_keys(backend.messages)) do
      if backend.messages[level] > 0 or (backend.name and backend.name ~= "") then
        family:add(of_backend(backend.name) .. "," .. label("level", level),
          backend.messages[level])
      end
    end
  end
end

-- Backends and servers ----------------------------------------------------------------------------

local function number_of(value)
  return value == true and 1 or value == false and 0 or value
end

-- Kind, key, name (a counter's stands without _total) and help.
local BACKEND_METRICS = {
  { "gauge", "up", "moongate_backend_up", "1 while a server of the backend can be used." },
  { "gauge", "held", "moongate_backend_held", "1 while an operator holds the backend." },
  { "gauge", "queued", "moongate_backend_queued_requests", "Requests that wait for a server." },
  { "gauge", "max_queue", "moongate_backend_queue_limit", "Requests that may wait." },
}

local SERVER_METRICS = {
  { "gauge", "up", "moongate_server_up",
    "1 while requests go to the server: not failed too often, and its health checks pass." },
  { "gauge", "serving", "moongate_server_active_requests", "Requests that the server has." },
  { "gauge", "active", "moongate_server_active_connections",
    "Connections that a request is on." },
  { "gauge", "idle", "moongate_server_idle_connections", "Connections that are kept open." },
  { "gauge", "named", "moongate_server_queued_requests",
    "Requests that wait for this server and no other." },
  { "gauge", "max_conns", "moongate_server_connections_limit",
    "max_conns of the server; 0: no limit." },
  { "gauge", "weight", "moongate_server_weight", "Weight of the server." },
  { "gauge", "latency", "moongate_server_latency_seconds",
    "Moving average of the time to the first byte; 0: not known." },
  { "counter", "requests", "moongate_server_requests", "Requests that were given to the server." },
  { "counter", "failures", "moongate_server_failures",
    "Failures that count against the server." },
}

local POOL_METRICS = {
  { "gauge", "active", "moongate_phpfpm_active_processes", "Active processes of the pool." },
  { "gauge", "idle", "moongate_phpfpm_idle_processes", "Idle processes of the pool." },
  { "gauge", "total", "moongate_phpfpm_processes", "Processes of the pool." },
  { "gauge", "max_active", "moongate_phpfpm_max_active_processes",
    "Most processes that were active at a time." },
  { "gauge", "listen_queue", "moongate_phpfpm_listen_queue",
    "Connections that wait to be accepted." },
  { "gauge", "max_listen_queue", "moongate_phpfpm_max_listen_queue",
    "Most connections that waited at a time." },
  { "gauge", "listen_queue_size", "moongate_phpfpm_listen_queue_limit",
    "Connections that may wait." },
  { "counter", "accepted", "moongate_phpfpm_accepted_connections", "Connections accepted." },
  { "counter", "max_children_reached", "moongate_phpfpm_max_children_reached",
    "Times that the pool had no process left to start." },
  { "counter", "slow_requests", "moongate_phpfpm_slow_requests",
    "Requests beyond request_slowlog_timeout." },
}

--- Calls fn(labels, server) for each server of all backends.
local function each_server(backends, fn)
  for _, backend in ipairs(backends) do
    for _, server in ipairs(backend.servers) do
      fn(of_backend(backend.name) .. "," .. label("server", server.address), server)
    end
  end
end

local STATES = { "up", "draining", "unhealthy", "failed" }

--- What keeps requests away from a server, the strongest reason first.
---@param server table of core.backends()
---@return "up"|"draining"|"unhealthy"|"failed"
function M.state_of(server)
  return server.draining and "draining" or server.sick and "unhealthy"
    or not server.up and "failed" or "up"
end

--- Adds families of one number each; each(fn) calls fn(labels, values) for all that have them.
---@param about string what their help begins with
local function add_each(page, metrics, each, about)
  for _, metric in ipairs(metrics) do
    local kind, key, name, help = unpack(metric)
    local family = page:family(kind, name, about .. help)
    each(function(names, values)
      family:add(names, number_of(values[key]))
    end)
  end
end

local function servers(page, backends)
  add_each(page, BACKEND_METRICS, function(fn)
    for _, backend in ipairs(backends) do
      fn(of_backend(backend.name), backend)
    end
  end, "")
  local states = page:family("gauge", "moongate_server_state",
    "1 for the state that the server is in.")
  each_server(backends, function(names, server)
    for _, state in ipairs(STATES) do
      states:add(names .. "," .. label("state", state), state == M.state_of(server) and 1 or 0)
    end
  end)
  add_each(page, SERVER_METRICS, function(fn)
    each_server(backends, fn)
  end, "")
  add_each(page, POOL_METRICS, function(fn)
    each_server(backends, function(names, server)
      if server.pool then
        fn(names, server.pool)
      end
    end)
  end, "What PHP-FPM's status page says: ")
end

-- Scripts -----------------------------------------------------------------------------------------

local RUN_METRICS = {
  { "count", "moongate_script_runs",
    "Times that a function of the script ran; one that has waited runs again." },
  { "seconds", "moongate_script_seconds", "Time that functions of the script ran." },
  { "errors", "moongate_script_errors",
    "Errors of the script, decisions that can't be used among them." },
  { "timeouts", "moongate_script_timeouts", "Runs that were ended by script_timeout." },
}

local function scripts(page, core, counters)
  for _, metric in ipairs(RUN_METRICS) do
    local family = page:family("counter", metric[2], metric[3])
    for _, hook in ipairs(sorted_keys(counters.runs)) do
      family:add(label("hook", hook), counters.runs[hook][metric[1]])
    end
  end
  local shared = core.shared_info()
  if shared then
    page:family("gauge", "moongate_shared_used_bytes",
      "Memory that entries of shared dictionaries take."):add("", shared.used)
    page:family("gauge", "moongate_shared_size_bytes",
      "Memory that shared dictionaries may take."):add("", shared.size)
  end
  page:family("counter", "moongate_shared_full",
    "Writes to shared dictionaries that found no room."):add("", counters.shared_full)
  page:family("counter", "moongate_spans_exported",
    "Spans of traces that a collector, or the file, has taken."):add("", counters.spans.exported)
  local dropped = page:family("counter", "moongate_spans_dropped",
    "Spans of traces that were lost: too many waited, they could not be sent, or were refused.")
  for _, reason in ipairs({ "full", "failed", "rejected" }) do
    dropped:add(label("reason", reason), counters.spans[reason])
  end
end

-- The instance ------------------------------------------------------------------------------------

local WORKER_METRICS = {
  { "gauge", "connections", "moongate_worker_connections", "Connections of clients." },
  { "gauge", "generations", "moongate_worker_generations",
    "Generations of the script that the worker still has." },
  { "gauge", "lua_memory", "moongate_worker_lua_memory_bytes",
    "Memory of the worker's Lua state." },
  { "counter", "restarts", "moongate_worker_restarts", "Workers that ended and were replaced." },
}

--- The workers that serve; one that only finishes its requests has the number of its successor.
local function serving(state)
  local list = {}
  for _, worker in ipairs(state.workers) do
    if not worker.leaving then
      list[#list + 1] = worker
    end
  end
  return list
end

local function of_worker(worker)
  return label("worker", ("%d"):format(worker.index))
end

local function workers(page, core, counters, state)
  local list = serving(state)
  for _, metric in ipairs(WORKER_METRICS) do
    local family = page:family(metric[1], metric[3], metric[4])
    for _, worker in ipairs(list) do
      family:add(of_worker(worker), worker[metric[2]])
    end
  end
  local resident = page:family("gauge", "moongate_worker_resident_memory_bytes",
    "Memory of the worker's process.")
  local lag = page:family("histogram", "moongate_worker_loop_lag_seconds",
    "Time that a turn of the worker's event loop took, in which nothing else was heard.")
  for _, worker in ipairs(list) do
    local bytes = core.resident(worker.pid)
    if bytes then
      resident:add(of_worker(worker), bytes)
    end
    local turns = counters.turns[worker.index]
    if turns then
      lag:histogram(of_worker(worker), counters.bounds, turns, turns.sum)
    end
  end
end

local function clients(page, counters, state)
  local open, active = 0, 0
  for _, worker in ipairs(state.workers) do
    open, active = open + worker.connections, active + worker.active
  end
  page:family("gauge", "moongate_client_connections", "Connections of clients that are open.")
    :add("", open)
  page:family("gauge", "moongate_client_connections_active",
    "Connections on which a request is under way, or begins."):add("", active)
  page:family("gauge", "moongate_client_connections_idle",
    "Connections that wait for a request."):add("", math.max(0, open - active))
  page:family("counter", "moongate_client_connections_accepted",
    "Connections of clients that were accepted."):add("", counters.accepted)
  local refused = page:family("counter", "moongate_client_connections_refused",
    "Connections of clients that were answered 503, by the limit that they were beyond.")
  for _, name in ipairs(sorted_keys(counters.refused)) do
    refused:add(label("limit", name), counters.refused[name])
  end
  local limited = page:family("counter", "moongate_requests_refused",
    "Requests that were refused because of the route's limits, or a backend's queue.")
  for _, name in ipairs(sorted_keys(counters.limited)) do
    limited:add(label("limit", name), counters.limited[name])
  end
  local rejections = page:family("counter", counter.LIMIT_REJECTIONS.name,
    "Requests that a limit of the route (moongate.limit) has refused, by its name.")
  counter.each(counter.LIMIT_REJECTIONS, function(name, count)
    rejections:add(label("limit", name), count)
  end)
end

local function instance(page, core, state)
  local reloads = core.reloads()
  page:family("gauge", "moongate_build_info", "1; the version is its label.")
    :add(label("version", core.version), 1)
  page:family("gauge", "moongate_start_time_seconds", "When the instance began, since 1970.")
    :add("", state.started)
  page:family("gauge", "moongate_generation", "Number of the generation that serves.")
    :add("", state.generation)
  page:family("gauge", "moongate_generation_start_time_seconds",
    "When that generation began to serve, since 1970."):add("", state.generation_at)
  local family = page:family("counter", "moongate_reloads", "Reloads that have ended.")
  family:add(label("result", "success"), state.reloads)
  family:add(label("result", "failure"), state.reloads_failed)
  page:family("gauge", "moongate_last_reload_successful",
    "0 while the last reload has failed, so an earlier script serves.")
    :add("", (state.reloads + state.reloads_failed == 0 or reloads.ok) and 1 or 0)
end

-- The response cache ------------------------------------------------------------------------------

local CACHE_METRICS = {
  { "gauge", "responses", "moongate_cache_responses", "Responses that are kept." },
  { "gauge", "coded", "moongate_cache_coded",
    "Bodies in a content coding and newer heads of responses that are kept." },
  { "gauge", "bytes", "moongate_cache_bytes", "Bytes that they take." },
  { "gauge", "limit", "moongate_cache_limit_bytes",
    "Bytes that they may take; 0: nothing was to be kept yet." },
  { "counter", "stored", "moongate_cache_stored", "Responses that were put into the cache." },
  { "counter", "evicted", "moongate_cache_evicted", "Responses that went to make room." },
  { "counter", "purged", "moongate_cache_purged", "Responses that a purge has removed." },
}

local function cache(page, core, counters)
  local counts = core.cache_counts()
  if not counts then
    return
  end
  local family = page:family("counter", "moongate_cache_requests",
    "Requests with `cache` in their decision, by what came of it.")
  for _, result in ipairs({ "hit", "miss", "stale", "bypass" }) do
    family:add(label("result", result), counters.cached[result])
  end
  page:family("counter", "moongate_cache_refreshes",
    "Requests to applications in the background, for stale responses that were sent at once.")
    :add("", counters.refreshed)
  for _, metric in ipairs(CACHE_METRICS) do
    page:family(metric[1], metric[3], metric[4]):add("", counts[metric[2]])
  end
end

-- Compression -------------------------------------------------------------------------------------

local CODED_METRICS = {
  { "answers", "moongate_compression_responses", "Responses that were compressed." },
  { "bytes_in", "moongate_compression_input_bytes",
    "Bytes of the bodies of such responses before they were compressed." },
  { "bytes_out", "moongate_compression_output_bytes",
    "Bytes that these bodies have become." },
}

local function compression(page, counters)
  for _, metric in ipairs(CODED_METRICS) do
    local family = page:family("counter", metric[2], metric[3])
    for _, coding in ipairs(sorted_keys(counters.coded)) do
      family:add(label("encoding", coding), counters.coded[coding][metric[1]])
    end
  end
end

-- The route's own ---------------------------------------------------------------------------------

local function of_route(page)
  for _, metric in ipairs(own.list()) do
    local family = page:family(metric.kind, metric.name, metric.help)
    for _, series in ipairs(own.series(metric)) do
      local names = {}
      for i, name in ipairs(metric.labels) do
        names[i] = label(name, series.values[i] or "")
      end
      local numbers, labels = series.numbers, table.concat(names, ",")
      if metric.kind == "histogram" then
        family:histogram(labels, metric.buckets, numbers, numbers[#numbers])
      else
        family:add(labels, numbers[1])
      end
    end
  end
end

--- The page.
---@param core table moongate.core, and what worker/control gets beside it
---@param accept string|nil what the client accepts
---@return string text
---@return string media_type
function M.render(core, accept)
  local page, counters = exposition.page(), core.counters()
  local state, backends = core.state(), core.backends()
  instance(page, core, state)
  clients(page, counters, state)
  requests(page, counters)
  protocols(page, counters)
  handshakes(page, counters)
  durations(page, counters)
  sums(page, counters)
  servers(page, backends)
  scripts(page, core, counters)
  workers(page, core, counters, state)
  cache(page, core, counters)
  compression(page, counters)
  of_route(page)
  local openmetrics = exposition.wants_openmetrics(accept)
  return page:text(openmetrics), openmetrics and exposition.OPENMETRICS or exposition.PROMETHEUS
end

return M
