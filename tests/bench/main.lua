-- The benchmark: Moongate with a route that looks a tenant up in Lua against nginx with the same
-- lookup as a `map`, both with one worker, before the same FastCGI application with kept
-- connections. Started by tests/bench/run.
--
-- The two are measured in turns in one run, so that whatever else the machine does hurts both, and
-- every figure is the median of its rounds. CPU time is the kernel's count for the proxy's
-- processes; the load generator and the application are not in it.

local engine = require("tests.bench.engine")
local hooks = require("tests.bench.hooks")
local measure = require("tests.bench.measure")
local php = require("tests.support.php")
local process = require("tests.support.process")
local proxies = require("tests.bench.proxies")
local report = require("tests.bench.report")

local USAGE = [[
usage: tests/bench/run [--quick] [--only LIST] [--proxies LIST] [--rounds N] [--seconds S]
                       [--out FILE] [--strict]
  --only     some of: tiny,plain,root,site,static,64k,1m,post,fpm,fpmkeep,idle,instructions,queue,
             fair,reload,hooks
  --proxies  some of: nginx,moongate
  --quick    short rounds, for a look
  --strict   exit status 1 if an aim is missed
NGINX and MOONGATE name other binaries. Where the instructions go to: callgrind_annotate
build/bench/moongate.tiny.callgrind, or another case's. Another run's load on the machine falsifies
times, not counts.]]

-- PHP-FPM with four children, as an operator would set each proxy up: Moongate keeps as many
-- connections as there are children, and queues before them.
local CHILDREN = 4
local MOONGATE_FPM = { keepalive = CHILDREN, backend = "max_conns = " .. CHILDREN }

--- What wrk does in each case; `hosts` is how many tenants it goes through, `proxies` how each
--- proxy is started where that is not as usual, `route` what they know of a tenant (proxies.start),
--- `php` that the application is PHP-FPM, `counted` that its instructions are, too.
local LOADS = {
  { name = "tiny", title = "tiny GET", path = "/index.php", hosts = 1000, counted = true },
  { name = "plain", title = "tiny, not kept", path = "/index.php", hosts = 1000,
    proxies = { nginx = { keepalive = 0 }, moongate = { keepalive = 0 } } },
  { name = "root", title = "tiny, on disk", path = "/index.php", hosts = 1000, route = "root",
    counted = true },
  { name = "site", title = "front controller", path = "/2026/11/some-post/", hosts = 1000,
    route = "site", counted = true },
  { name = "static", title = "4 KB file", path = "/style.css", hosts = 1000, route = "site",
    counted = true },
  { name = "64k", title = "64 KB reply", path = "/index.php?size=65536", hosts = 1000 },
  { name = "1m", title = "1 MB reply", path = "/index.php?size=1048576", hosts = 1000 },
  { name = "post", title = "POST of 16 KB", method = "POST", path = "/form.php", body = 16384,
    hosts = 50, counted = true },
  { name = "fpm", title = "PHP-FPM", path = "/hello.php", hosts = 1000, php = true,
    proxies = { nginx = { keepalive = 0 }, moongate = MOONGATE_FPM } },
  { name = "fpmkeep", title = "PHP-FPM, kept", path = "/hello.php", hosts = 1000, php = true,
    proxies = { nginx = { keepalive = CHILDREN }, moongate = MOONGATE_FPM } },
}

local function fail(message)
  io.stderr:write(message, "\n")
  os.exit(2)
end

local function list(text)
  local set = {}
  for word in text:gmatch("[^,]+") do
    set[word] = true
  end
  return set
end

local function parse(words)
  local options = {
    rounds = 5, seconds = 4, connections = 10000, requests = 4000, out = "build/bench/result.json",
    only = list("tiny,plain,root,site,static,64k,1m,post,fpm,fpmkeep,idle,instructions,queue,fair,"
      .. "reload,hooks"),
    proxies = list("nginx,moongate"),
  }
  local i = 1
  local function value()
    i = i + 1
    return words[i] or fail(USAGE)
  end
  while words[i] do
    local word = words[i]
    if word == "--quick" then
      options.rounds, options.seconds, options.requests = 3, 1, 1000
    elseif word == "--strict" then
      options.strict = true
    elseif word == "--only" or word == "--proxies" then
      options[word:sub(3)] = list(value())
    elseif word == "--rounds" or word == "--seconds" then
      options[word:sub(3)] = tonumber(value()) or fail(USAGE)
    elseif word == "--out" then
      options.out = value()
    else
      fail(USAGE)
    end
    i = i + 1
  end
  return options
end

local function say(format, ...)
  io.stderr:write(format:format(...), "\n")
end

local function median(values)
  local sorted = { unpack(values) }
  table.sort(sorted)
  local middle = math.floor(#sorted / 2)
  if #sorted % 2 == 1 then
    return sorted[middle + 1]
  end
  return (sorted[middle] + sorted[middle + 1]) / 2
end

-- A, B, then B, A: neither is always the one that comes second.
local function in_turn(names, round)
  if round % 2 == 1 then
    return names
  end
  local reversed = {}
  for i = #names, 1, -1 do
    reversed[#reversed + 1] = names[i]
  end
  return reversed
end

local function medians(rounds)
  local out = { rounds = rounds }
  for key, value in pairs(rounds[1]) do
    if type(value) == "number" then
      local values = {}
      for i, round in ipairs(rounds) do
        values[i] = round[key]
      end
      out[key] = median(values)
    end
  end
  return out
end

-- One case of load over all rounds. Returns name -> medians.
local function bench_load(load, names, started, options)
  local rounds = {}
  for _, name in ipairs(names) do
    rounds[name] = {}
    measure.load(started[name], load, math.min(1, options.seconds)) -- fills caches, compiles traces
  end
  for round = 1, options.rounds do
    for _, name in ipairs(in_turn(names, round)) do
      local result = measure.load(started[name], load, options.seconds)
      rounds[name][round] = result
      say("%-16s round %d  %-9s %8.0f requests/s  %8.2f us CPU", load.title, round, name,
        result.rate, result.cpu)
    end
  end
  local out = {}
  for _, name in ipairs(names) do
    out[name] = medians(rounds[name])
    out[name].calls, out[name].by_call = measure.calls(started[name], load, 2)
  end
  return out
end

-- Starts a proxy for a case. With PHP-FPM, each has one of its own: a connection that the other one
-- keeps would keep a child from it.
local function start_proxy(load, name, application, sites, folder)
  local fpm = load.php and php.start({
    pages = "tests/pages", children = CHILDREN, ini = { ["opcache.enable"] = "1" },
  })
  local copy = { root = fpm and fpm.root or nil, route = load.route, sites = sites,
    folder = folder }
  for key, value in pairs(load.proxies and load.proxies[name] or {}) do
    copy[key] = value
  end
  local proxy = proxies.start(name, fpm or application, copy)
  return proxy, function()
    proxy:stop()
    if fpm then
      fpm:stop()
    end
  end
end

-- Cases without needs of their own share their proxies.
local function bench_loads(names, options, application, sites)
  local cases, usual, stops = {}, {}, {}
  for _, load in ipairs(LOADS) do
    if options.only[load.name] then
      local special = load.proxies or load.route
      local started, own = special and {} or usual, {}
      for _, name in ipairs(names) do
        if not started[name] then
          started[name], own[#own + 1] = start_proxy(load, name, application, sites)
        end
      end
      cases[load.name] = bench_load(load, names, started, options)
      cases[load.name].title = load.title
      for _, stop in ipairs(own) do
        if special then
          stop()
        else
          stops[#stops + 1] = stop
        end
      end
    end
  end
  for _, stop in ipairs(stops) do
    stop()
  end
  return cases
end

-- Each figure comes from processes that did nothing else before.
local function bench_idle(names, options, application)
  local out = { title = "idle" }
  for _, name in ipairs(names) do
    local proxy = proxies.start(name, application)
    out[name] = measure.idle(proxy, options.connections)
    say("%-16s          %-9s %8.0f bytes for each of %d", "idle", name, out[name].bytes,
      out[name].connections)
    proxy:stop()
  end
  return out
end

-- Valgrind 3.19 (Debian 12) knows no openat2, with which files are looked up: under it the cases
-- with files are left out.
local function count_instructions(load, name, application, sites, options)
  local ok, count = pcall(measure.instructions, function(folder)
    return start_proxy(load, name, application, sites, folder)
  end, load, options.requests, ("build/bench/%s.%s.callgrind"):format(name, load.name))
  if not ok and not load.route then
    error(count, 0)
  end
  say("%-16s          %-9s %8s instructions", load.title, name,
    ok and ("%.0f"):format(count) or "no")
  return ok and count or nil
end

local function bench_instructions(names, options, application, sites)
  local out = {}
  for _, load in ipairs(LOADS) do
    local figures = load.counted and { title = load.title }
    for _, name in ipairs(figures and names or {}) do
      local count = count_instructions(load, name, application, sites, options)
      figures[name] = { instructions = count }
    end
    out[load.name] = figures or nil
  end
  return out
end

local function main(words)
  local options = parse(words)
  local names = {}
  for _, name in ipairs({ "nginx", "moongate" }) do
    if options.proxies[name] then
      names[#names + 1] = name
      local problem = proxies.missing(name)
      if problem then
        fail(problem)
      end
    end
  end
  local application = proxies.application(4) -- the proxies use one, some cases all
  local sites = proxies.sites()
  local cases = bench_loads(names, options, application, sites)
  if options.only.idle then
    cases.idle = bench_idle(names, options, application)
  end
  if options.only.instructions then
    cases.instructions = bench_instructions(names, options, application, sites)
  end
  local alone = options.proxies.moongate and not proxies.missing("moongate")
  if alone and options.only.queue then
    cases.queue = engine.queue(application, options.seconds)
  end
  if alone and options.only.fair then
    cases.fair = engine.fair(application, options.seconds)
  end
  if alone and options.only.reload then
    cases.reload = engine.reload(application, options.seconds)
  end
  if alone and options.only.hooks then
    cases.hooks = hooks.bench(application, options, say)
  end
  application:stop()
  process.remove(sites)

  local aims = report.aims(cases)
  for _, aim in ipairs(hooks.aims(cases.hooks)) do
    aims[#aims + 1] = aim
  end
  io.stdout:write(report.table(names, cases), engine.table(cases.queue, cases.fair,
      cases.reload), hooks.table(cases.hooks),
    report.verdict(aims))
  os.execute("mkdir -p -- " .. process.quote(options.out:match("^(.*)/") or "."))
  process.write_file(options.out, report.json({
    machine = measure.machine(),
    versions = proxies.versions(names),
    options = { rounds = options.rounds, seconds = options.seconds },
    cases = cases,
    aims = aims,
  }))
  say("\nwritten to %s", options.out)
  return options.strict and not report.hold(aims) and 1 or 0
end

-- An error must not skip the end of what was started: process.lua sees to that when it is dropped.
local ok, result = xpcall(main, debug.traceback, arg)
if not ok then
  io.stderr:write(result, "\n")
end
os.exit(ok and result or 1, true)
