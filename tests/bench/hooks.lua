-- What each hook costs: the same tiny request through routes that differ by one hook, in turns. A
-- route without on_request is none, so that one's own cost is what callgrind sees in it. Called by
-- main.lua.

local measure = require("tests.bench.measure")
local proxies = require("tests.bench.proxies")

local hooks = {}

local LOAD = { path = "/index.php", hosts = 1000 }
local LIMIT = 1 -- microseconds that a hook may add

-- One of the tenants that the route has under callgrind too (peers/moongate.lua).
local CONSTANT = 'return tenants["t00100.example"]'

-- What the routes have beside a constant decision; the first is what the others are compared with.
-- A route that is `free` has no aim.
local ROUTES = {
  { name = "bare", title = "on_request: a constant decision" },
  { name = "tenants", title = "on_request: one of 10,000 tenants",
    on_request = "return tenants[req.host]" },
  { name = "params", title = "on_params: five changes", hooks = [[
    on_params = function(req, params)
      params.APP_ENV = "production"
      params.APP_REGION = "north"
      params.SERVER_SOFTWARE = "web"
      params.SERVER_ADMIN = "ops@example.com"
      params.HTTP_COOKIE = nil
    end,
  ]] },
  { name = "reads", title = "on_params: two of them from req.id, req.host", free = true, hooks = [[
    on_params = function(req, params)
      params.APP_ENV = "production"
      params.REQUEST_ID = req.id
      params.TENANT = req.host
      params.SERVER_SOFTWARE = "web"
      params.HTTP_COOKIE = nil
    end,
  ]] },
  { name = "response", title = "on_response: two headers", hooks = [[
    on_response = function(req, res)
      res.headers["X-Powered-By"] = nil
      res.headers["X-Robots-Tag"] = "none"
    end,
  ]] },
  { name = "log", title = "on_log: a line for slow requests", hooks = [[
    on_log = function(req, log)
      if log.status < 400 and log.duration < 1 then
        return false
      end
    end,
  ]] },
  { name = "turn", title = "balance: round_robin of 4 servers", servers = 4 },
  { name = "balance", title = "balance: least_conn of 4 servers", servers = 4,
    backend = 'balance = "least_conn",' },
}

local function start(application, route, folder)
  local servers = {}
  for i = 1, route.servers or 1 do
    servers[i] = application.addresses[i]
  end
  return proxies.start("moongate", application, {
    folder = folder, on_request = route.on_request or CONSTANT, hooks = route.hooks,
    backend = route.backend, servers = servers,
  })
end

local function median(values)
  local sorted = { unpack(values) }
  table.sort(sorted)
  local middle = (#sorted + 1) / 2
  return (sorted[math.floor(middle)] + sorted[math.ceil(middle)]) / 2
end

--- CPU time: what a route needs more than the bare one, round by round, so that a machine that is
--- slow for a while counts once.
local function bench_cpu(application, options, say)
  local started, rounds = {}, {}
  for i, route in ipairs(ROUTES) do
    started[i], rounds[i] = start(application, route), {}
    measure.load(started[i], LOAD, math.min(1, options.seconds))
  end
  for round = 1, options.rounds do
    for at = 1, #ROUTES do
      local i = round % 2 == 1 and at or #ROUTES + 1 - at
      rounds[i][round] = measure.load(started[i], LOAD, options.seconds).cpu
    end
    for i, route in ipairs(ROUTES) do
      say("%-14s round %d  %-9s %8.2f us CPU", "hooks", round, route.name, rounds[i][round])
    end
  end
  local out = {}
  for i, route in ipairs(ROUTES) do
    started[i]:stop()
    local more = {}
    for round = 1, options.rounds do
      more[round] = rounds[i][round] - rounds[1][round]
    end
    out[i] = {
      name = route.name, title = route.title, free = route.free, cpu = median(rounds[i]),
      more = median(more),
    }
  end
  return out
end

--- Measures all routes.
---@param application Application with four addresses
---@param options table of main.lua
---@param say fun(format: string, ...)
---@return table[] list of { name, title, cpu, more, instructions, added }; of the first, `added` is
---  what on_request itself needs
function hooks.bench(application, options, say)
  local out = bench_cpu(application, options, say)
  for i, route in ipairs(ROUTES) do
    local keep = ("build/bench/hook-%s.callgrind"):format(route.name)
    out[i].instructions = measure.instructions(function(folder)
      return start(application, route, folder)
    end, LOAD, options.requests, keep)
    out[i].added = i == 1 and measure.part("script_request", options.requests, keep)
      or out[i].instructions - out[1].instructions
    say("%-14s          %-9s %8.0f instructions, %.0f for the hook", "hooks", route.name,
      out[i].instructions, out[i].added)
  end
  return out
end

--- The table for docs/performance.md; empty where nothing was measured.
---@param list table[]|nil
---@return string
function hooks.table(list)
  if not list then
    return ""
  end
  local out = {
    "\n| route | CPU us/request | more | instructions | more |\n",
    "|---|---|---|---|---|\n",
  }
  for i, one in ipairs(list) do
    out[#out + 1] = ("| %s | %.2f | %s | %.0f | %.0f |\n"):format(one.title, one.cpu,
      i == 1 and "" or ("%.2f"):format(one.more), one.instructions, one.added)
  end
  return table.concat(out)
end

--- Each hook adds less than a microsecond.
---@param list table[]|nil
---@return { title: string, value: number, limit: number, holds: boolean }[]
function hooks.aims(list)
  local aims = {}
  for i = 2, #(list or {}) do
    if not list[i].free then
      aims[#aims + 1] = {
        title = "microseconds of CPU for " .. list[i].title, value = list[i].more, limit = LIMIT,
        holds = list[i].more < LIMIT,
      }
    end
  end
  return aims
end

return hooks
