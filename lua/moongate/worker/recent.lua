-- moongate.worker.recent owns what the control listener says of late troubles: the last errors of
-- the script and since when they no longer hold, the last messages of applications, and what is
-- degraded now. Called by moongate.worker.control.

local json = require("moongate.base.json")

local M = {}

local ERRORS, MESSAGES, TENANTS = 8, 32, 20

--- One list of the tables of all workers: what is the same is one entry.
---@param entries table[] of core.recent()
---@param key fun(entry: table): string
local function merged(entries, key)
  local list, known = {}, {}
  for _, entry in ipairs(entries) do
    local one = known[key(entry)]
    if not one then
      one = entry
      known[key(entry)] = one
      list[#list + 1] = one
    else
      local latest = one.last >= entry.last and one or entry
      one.text, one.generation = latest.text, math.max(one.generation, entry.generation)
      one.first, one.last = math.min(one.first, entry.first), math.max(one.last, entry.last)
      one.count = one.count + entry.count
    end
  end
  return list
end

local function cut(list, most)
  for i = #list, most + 1, -1 do
    list[i] = nil
  end
  return json.list(list)
end

--- Reloads that failed, as errors; one holds until a later load has served.
local function of_loads(loads)
  local list, holds = {}, true
  for i = #loads, 1, -1 do
    local load = loads[i]
    if load.outcome ~= "failed" then
      holds = false
    else
      list[#list + 1] = {
        what = load.reason, text = load.error:match("^[^\n]*"), first = load.at, last = load.at,
        count = 1, holds = holds,
      }
    end
  end
  return merged(list, function(entry)
    entry.generation = entry.generation or 0
    return entry.what .. "\n" .. entry.text
  end)
end

--- The last errors of the script: of hooks and of loads. Those that still hold come first.
---@param core table of moongate.worker.control
---@param generation integer that serves
---@return table[] list of { what, text, first, last, count, generation, holds }
function M.errors(core, generation)
  local list = merged(core.recent().errors, function(entry)
    return entry.what .. "\n" .. entry.text
  end)
  for _, entry in ipairs(list) do
    entry.holds = entry.generation >= generation
  end
  for _, entry in ipairs(of_loads(core.loads())) do
    entry.generation = nil
    list[#list + 1] = entry
  end
  table.sort(list, function(a, b)
    if a.holds ~= b.holds then
      return a.holds
    end
    return a.last > b.last
  end)
  return cut(list, ERRORS)
end

--- The last message of each script of an application, the latest first.
---@param core table
---@return table[] list of { script, text, first, last, count, generation }
function M.messages(core)
  local list = merged(core.recent().messages, function(entry)
    return entry.what
  end)
  for _, entry in ipairs(list) do
    entry.script, entry.what = entry.what, nil
  end
  table.sort(list, function(a, b)
    return a.last > b.last
  end)
  return cut(list, MESSAGES)
end

--- A tenant's load in each backend that it has asked.
local function add_load(core, one, series, known)
  local active, queued = core.tenant(series.backend, series.tenant)
  one.active, one.queued = one.active + active, one.queued + queued
  local sum = known[series.backend] or { active = 0, queued = 0 }
  sum.active, sum.queued = sum.active + active, sum.queued + queued
  known[series.backend] = sum
end

--- What tenants have that no series stands for: those beyond the bound, and those whose first
--- request is under way.
local function add_rest(core, other, known)
  for _, backend in ipairs(core.backends()) do
    local active, queued = core.tenants_load(backend.name)
    local sum = known[backend.name] or { active = 0, queued = 0 }
    other.active = other.active + math.max(0, active - sum.active)
    other.queued = other.queued + math.max(0, queued - sum.queued)
  end
end

local function add_counts(one, methods)
  for _, classes in pairs(methods) do
    for class = 0, 5 do
      one.requests = one.requests + classes[class]
    end
    one.client_errors = one.client_errors + classes[4]
    one.server_errors = one.server_errors + classes[5]
  end
end

local function has_more(a, b)
  local load_a, load_b = a.active + a.queued, b.active + b.queued
  if load_a ~= load_b then
    return load_a > load_b
  elseif a.requests ~= b.requests then
    return a.requests > b.requests
  end
  return a.name < b.name
end

local NUMBERS = { "active", "queued", "requests", "client_errors", "server_errors" }

local function new_tenant(name)
  local one = { name = name }
  for _, key in ipairs(NUMBERS) do
    one[key] = 0
  end
  return one
end

--- The tenants with the most load now, then those with the most requests so far. `other` is the sum
--- of all that are not in the list: those beyond its end, and those without a series of their own.
---@param core table
---@param counters table of core.counters()
---@return table[] list of { name, active, queued, requests, client_errors, server_errors }: the
--- connections to servers in use, the requests that wait, those that have ended
function M.tenants(core, counters)
  local by_name, list, known, other = {}, {}, {}, new_tenant("other")
  for _, series in ipairs(counters.series) do
    local name = series.tenant or "other"
    local one = name == "other" and other or by_name[name]
    if name ~= "" and not one then
      one = new_tenant(name)
      by_name[name] = one
      list[#list + 1] = one
    end
    if name ~= "" then
      add_counts(one, series.methods)
      if series.tenant and series.backend then
        add_load(core, one, series, known)
      end
    end
  end
  add_rest(core, other, known)
  table.sort(list, has_more)
  for i = #list, TENANTS + 1, -1 do
    for _, key in ipairs(NUMBERS) do
      other[key] = other[key] + list[i][key]
    end
    list[i] = nil
  end
  if other.requests + other.active + other.queued > 0 then
    list[#list + 1] = other
    table.sort(list, has_more)
  end
  return json.list(list)
end

-- What is degraded --------------------------------------------------------------------------------

local STATES = {
  draining = "drained", unhealthy = "down: its health checks fail",
  failed = "down: it has failed too often",
}

local function of_backend(add, backend)
  local name = ("backend '%s'"):format(backend.name)
  if backend.held then
    add("held", "%s is held: its requests wait", name)
  end
  if backend.up == false then
    add("down", "%s has no server that is up", name)
  end
  if backend.max_queue > 0 and backend.queued >= backend.max_queue then
    add("queue", "%s: its queue is full (%.0f requests)", name, backend.queued)
  end
  for _, server in ipairs(backend.servers) do
    if server.state ~= "up" then
      add(server.state == "draining" and "draining" or "down", "%s: server %s is %s", name,
        server.address, STATES[server.state])
    end
  end
end

local CHANGED = { add = "was added", remove = "was removed" }

--- What an operator should look at first, as sentences.
---@param status table of /status
---@return table[] list of { what, text }
function M.degraded(status)
  local list = {}
  local function add(what, text, ...)
    list[#list + 1] = { what = what, text = text:format(...) }
  end
  for _, backend in ipairs(status.backends) do
    of_backend(add, backend)
  end
  for _, entry in ipairs(status.errors) do
    if entry.holds and not entry.generation then
      add("load", "the last load failed (%s): %s", entry.what, entry.text)
      break
    end
  end
  for _, worker in ipairs(status.workers) do
    if not worker.ready then
      add("worker", "worker %.0f does not serve yet", worker.pid)
    end
  end
  if status.kept_from then
    add("rollback", "generation %.0f has the files of generation %.0f, not those on the disk, "
      .. "until the next reload", status.generation, status.kept_from)
  end
  for _, change in ipairs(status.changes) do
    add("change", "backend '%s': server %s %s at run time", change.backend, change.server,
      CHANGED[change.action] or ("has weight %.0f"):format(change.weight))
  end
  return json.list(list)
end

return M
