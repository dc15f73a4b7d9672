-- moongate.cli.status owns `moongate status`: what a running instance and its backends do. Called
-- by moongate.cli.

local figures = require("moongate.cli.figures")
local log_level = require("moongate.cli.log_level")
local remote = require("moongate.cli.remote")
local rows = require("moongate.cli.rows")
local text = require("moongate.cli.printable")
local sorted_keys = require("moongate.base.keys").sorted

local M = {
  usage = "status [ROUTE.lua] [OPTIONS]", summary = "show what a running instance does",
  help = remote.ROUTE_HELP,
  options = { remote.CONTROL_OPTION, remote.JSON_OPTION },
  min = 0, max = 0, route_at = 1,
}

local count = figures.count

local HEADS = {
  "BACKEND", "STATE", "SERVING", "ACTIVE", "IDLE", "MAX", "QUEUED", "REQUESTS", "FAILS",
  "LATENCY",
}
local WORKER_HEADS = {
  "WORKER", "STATE", "CONNECTIONS", "ACTIVE", "REQUESTS", "LUA MEMORY", "RESTARTS",
}
local TEXTS = 2 -- the columns that are no numbers

local function backend_row(backend)
  local totals = backend.totals
  return {
    backend.name, backend.held and "held" or "", count(totals.serving), count(totals.active),
    count(totals.idle), "",
    backend.queued > 0 and ("%.0f/%.0f"):format(backend.queued, backend.max_queue) or "0",
    count(totals.requests), count(totals.fails), "",
  }
end

local function server_row(server)
  local known_state = server.state or server.draining and "draining" or server.up and "up"
    or "failed" -- an instance of before has no `state`
  local state = known_state == "failed" and "down" or known_state
  local known = server.latency and server.latency > 0
  if server.changed then -- at run time, by `moongate server`
    state = state .. (server.changed == "added" and ", added" or (", weight %.0f"):format(
      server.weight))
  end
  return {
    "  " .. server.address, state .. (server.backup and ", backup" or ""), count(server.serving),
    count(server.active), count(server.idle),
    server.max_conns > 0 and count(server.max_conns) or "",
    (server.named or 0) > 0 and count(server.named) or "", count(server.requests),
    count(server.fails), known and figures.milliseconds(server.latency) or "",
  }
end

--- What `health = { status = … }` has read of the pool of PHP-FPM, as a line below the server's.
--- PHP-FPM says 0 as the queue's size where the system tells none (unix sockets).
local function pool_line(pool)
  local room = pool.listen_queue_size > 0 and "/" .. count(pool.listen_queue_size) or ""
  return ("    PHP-FPM: %s active, %s idle, most active %s; listen queue %s%s, longest %s; "
    .. "max_children reached: %s; slow requests: %s"):format(count(pool.active), count(pool.idle),
    count(pool.max_active), count(pool.listen_queue), room, count(pool.max_listen_queue),
    count(pool.max_children_reached), count(pool.slow_requests))
end

--- A server that was removed at run time.
local function removed_row(server)
  local active = server.active > 0 and count(server.active) or ""
  return { "  " .. server.address, "removed", active, active, "", "", "", "", "", "" }
end

--- One line about the whole.
local function headline(value)
  local workers = #value.workers
  return ("up %s, generation %d, %d worker%s\n"):format(figures.span(value.uptime),
    value.generation, workers, workers == 1 and "" or "s")
end

local function listener_line(value)
  local places = {}
  for i, listener in ipairs(value.listeners) do
    local word = listener.control and "control" or listener.name
    places[i] = listener.address .. (word and word ~= "" and (" (%s)"):format(word) or "")
  end
  return #places > 0 and ("listening on %s\n"):format(table.concat(places, ", ")) or ""
end

--- What `moongate set` changes.
local function values_line(value)
  local list = {}
  for _, name in ipairs(sorted_keys(value.values or {})) do
    list[#list + 1] = ("%s is %s"):format(name, tostring(value.values[name]))
  end
  return #list > 0 and table.concat(list, ", ") .. "\n" or ""
end

--- The level of the error log, where an operator has ordered it.
local function log_line(value)
  return value.log and value.log.ordered and ("log level: %s\n"):format(log_level.words(value.log))
    or ""
end

--- What is to be looked at first.
local function degraded_lines(value)
  local lines = {}
  for _, one in ipairs(value.degraded or {}) do
    lines[#lines + 1] = ("  ! %s\n"):format(text.tame(one.text))
  end
  return table.concat(lines)
end

--- "12:03", with the date where that is another day.
local function moment(seconds)
  local day = "%Y-%m-%d"
  return os.date(os.date(day, seconds) == os.date(day) and "%H:%M:%S" or day .. " %H:%M:%S",
    seconds)
end

--- The last errors of the script, and whether they still hold.
local function errors_lines(value)
  local lines = {}
  for _, one in ipairs(value.errors or {}) do
    local times = one.count > 1 and (", %.0f times"):format(one.count) or ""
    local since = one.holds and "last at " .. moment(one.last)
      or "not since " .. moment(one.last)
    local of = not one.holds and one.generation
      and (", generation %.0f"):format(one.generation) or ""
    lines[#lines + 1] = ("  %s%s%s: %s: %s\n"):format(since, of, times, one.what,
      text.tame(one.text))
  end
  return #lines > 0 and "errors of the script:\n" .. table.concat(lines) or ""
end

--- "12 answers, 40k became 9k".
local function coded_text(coding, one)
  return ("%s %s answers, %s became %s"):format(coding, count(one.answers),
    figures.bytes(one.bytes_in), figures.bytes(one.bytes_out))
end

--- What the response cache and compression have done, where a decision had them.
local function responses_lines(value)
  local cache, lines = value.cache, {}
  if cache then
    local looked = cache.hits + cache.stale + cache.misses
    local share = cache.hit_rate and ("%.1f %% of "):format(100 * cache.hit_rate) or ""
    lines[1] = ("cache: %s%s requests had a kept answer (%s hits, %s stale, %s misses), %s passed "
      .. "by\n"):format(share, count(looked), count(cache.hits), count(cache.stale),
      count(cache.misses), count(cache.bypassed))
    lines[2] = ("  %s answers and %s coded bodies take %s of %s; %s stored, %s evicted, %s "
      .. "purged\n"):format(count(cache.entries), count(cache.coded), figures.bytes(cache.bytes),
      figures.bytes(cache.limit), count(cache.stored), count(cache.evicted), count(cache.purged))
  end
  local codings = {}
  for _, coding in ipairs(sorted_keys(value.compression or {})) do
    codings[#codings + 1] = coded_text(coding, value.compression[coding])
  end
  if #codings > 0 then
    lines[#lines + 1] = ("compression: %s\n"):format(table.concat(codings, "; "))
  end
  return table.concat(lines)
end

local function tenant_rows(value)
  local list = { { "TENANT", "", "ACTIVE", "QUEUED", "REQUESTS", "4XX", "5XX" } }
  for _, one in ipairs(value.tenants or {}) do
    list[#list + 1] = {
      text.printable(one.name), "", count(one.active), count(one.queued), count(one.requests),
      count(one.client_errors), count(one.server_errors),
    }
  end
  return list
end

local function error_line(value)
  local err = value.last_error
  return err and ("last error (%s): %s\n"):format(os.date("%Y-%m-%d %H:%M:%S", err.at), err.text)
    or ""
end

local function worker_rows(value)
  local list = { WORKER_HEADS }
  for _, worker in ipairs(value.workers) do
    local state = worker.leaving and "leaving" or worker.ready and "" or "starting"
    if not worker.leaving and worker.ready and worker.generations > 1 then
      state = ("%d generations"):format(worker.generations)
    end
    list[#list + 1] = {
      "  " .. count(worker.pid), state, count(worker.connections), count(worker.active),
      count(worker.requests), figures.bytes(worker.lua_memory), count(worker.restarts),
    }
  end
  return list
end

---@param args table
---@return integer status, string|nil message
function M.main(args)
  local status, problem, value, address = remote.show(args, "/status")
  if not value then
    return status, problem
  end
  io.stdout:write(("moongate %s at %s\n"):format(value.version, address), headline(value),
    degraded_lines(value), listener_line(value), values_line(value), log_line(value),
    responses_lines(value), error_line(value), errors_lines(value))
  rows.print(worker_rows(value), TEXTS)
  local list = { HEADS }
  for _, backend in ipairs(value.backends) do
    list[#list + 1] = backend_row(backend)
    for _, server in ipairs(backend.servers) do
      list[#list + 1] = server_row(server)
      list[#list + 1] = server.pool and pool_line(server.pool) or nil
    end
    for _, server in ipairs(backend.removed or {}) do
      list[#list + 1] = removed_row(server)
    end
  end
  rows.print(list, TEXTS)
  rows.print(tenant_rows(value), TEXTS)
  return 0
end

return M
