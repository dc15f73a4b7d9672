-- The benchmark: Moongate and its peers with the same tenants, one worker each, before the same
-- FastCGI application with kept connections. Started by tests/bench/run.
--
-- All are measured in turns in one run, so that whatever else the machine does hurts each of them,
-- and every figure is the median of its rounds. CPU time is the kernel's count for the server's
-- processes; the load generator and the application are not in it.

local CASES = require("tests.bench.cases")
local counters = require("tests.bench.counters")
local engine = require("tests.bench.engine")
local hooks = require("tests.bench.hooks")
local json = require("moongate.base.json")
local library = require("tests.bench.library")
local measure = require("tests.bench.measure")
local page = require("tests.bench.page")
local php = require("tests.support.php")
local process = require("tests.support.process")
local proxies = require("tests.bench.proxies")
local report = require("tests.bench.report")
local secure = require("tests.bench.secure")

local FURTHER = { "idle", "instructions", "queue", "fair", "hooks", "library", "counters",
  "secure" }
local RESULTS, PAGE, CHART = "tests/bench/results.json", "docs/performance.md",
  "docs/performance.svg"
local IDLE, SLOW = 10000, 1000 -- clients of the case `crowd`

local function names_of_cases()
  local names = {}
  for i, case in ipairs(CASES) do
    names[i] = case.name
  end
  for _, name in ipairs(FURTHER) do
    names[#names + 1] = name
  end
  return names
end

local USAGE = ([[
usage: tests/bench/run [--quick] [--only LIST] [--proxies LIST] [--rounds N] [--seconds S]
                       [--out FILE] [--page] [--strict]
  --only     some of: %s
  --proxies  some of: %s
  --quick    short rounds, for a look
  --page     what was measured replaces its part of tests/bench/results.json, and the table and the
             chart of docs/performance.md are made of all that is there
  --strict   exit status 1 if an aim is missed
MOONGATE, NGINX, H2O … name other programs. Where the instructions go to: callgrind_annotate
build/bench/moongate.tiny.callgrind, or another case's. Another run's load on the machine falsifies
times, not counts.]]):format(table.concat(names_of_cases(), ","),
  table.concat(proxies.names(), ","))

local function fail(message)
  io.stderr:write(message, "\n")
  os.exit(2)
end

-- The words of a list, all of which must be known.
local function set_of(text, known)
  local valid, set = {}, {}
  for _, name in ipairs(known) do
    valid[name] = true
  end
  for word in text:gmatch("[^,]+") do
    set[word] = valid[word] or fail(("no %q\n%s"):format(word, USAGE))
  end
  return set
end

local function parse(words)
  local known = { only = names_of_cases(), proxies = proxies.names() }
  local options = {
    rounds = 5, seconds = 1.5, connections = 10000, requests = 4000,
    out = "build/bench/result.json",
    only = set_of(table.concat(known.only, ","), known.only),
    proxies = set_of(table.concat(known.proxies, ","), known.proxies),
  }
  local i = 1
  local function value()
    i = i + 1
    return words[i] or fail(USAGE)
  end
  while words[i] do
    local word = words[i]
    if word == "--quick" then
      options.rounds, options.seconds, options.requests, options.quick = 3, 0.4, 1000, true
    elseif word == "--strict" or word == "--page" then
      options[word:sub(3)] = true
    elseif word == "--only" or word == "--proxies" then
      options[word:sub(3)] = set_of(value(), known[word:sub(3)])
      options.chosen = options.chosen or word == "--only"
    elseif word == "--rounds" or word == "--seconds" then
      options[word:sub(3)] = tonumber(value()) or fail(USAGE)
    elseif word == "--out" then
      options.out = value()
    else
      fail(USAGE)
    end
    i = i + 1
  end
  if options.quick and not options.chosen then -- callgrind takes long
    options.only.instructions, options.only.hooks, options.only.library = nil, nil, nil
    options.only.counters = nil
  end
  return options
end

local function say(format, ...)
  io.stderr:write(format:format(...), "\n")
end

-- Everybody is once the first.
local function in_turn(names, round)
  local list, from = {}, (round - 1) % #names
  for i = 1, #names do
    list[i] = names[(from + i - 1) % #names + 1]
  end
  return list
end

-- What is measured: the last commit that has changed the server.
local function commit()
  local function git(...)
    local result = process.run({ argv = { "git", ... } })
    return result.code == 0 and result.stdout:match("%S+") or nil
  end
  local last = git("log", "-1", "--abbrev=7", "--format=%h", "--", "core", "lua") or "unknown"
  return git("status", "--porcelain", "--", "core", "lua") and last .. "-dirty" or last
end

local function load_average()
  return tonumber((process.read_file("/proc/loadavg") or "0"):match("^%S+"))
end

-- Starts a server for a case. With PHP-FPM, each has one of its own: a connection that another one
-- keeps would keep a child from it.
local function start_proxy(case, name, application, sites, folder)
  local fpm = case.php and php.start({
    pages = "tests/pages", children = case.children, ini = { ["opcache.enable"] = "1" },
    pool = case.pool,
  })
  local options = {
    root = fpm and fpm.root or nil, route = case.route, sites = sites, folder = folder,
    keepalive = case.fresh and 0 or case.kept and case.children or nil,
    tenants = case.tenants, case_tenants = case.tenants, workers = case.workers,
    reloads = case.reload, children = case.children,
  }
  for key, value in pairs(name:find("moongate", 1, true) and case.moongate or {}) do
    options[key] = value
  end
  local proxy = proxies.start(name, fpm or application, options)
  return proxy, function()
    proxy:stop()
    if fpm then
      fpm:stop()
    end
  end
end

-- One case over all rounds: the rounds of each server by its name.
local function run_rounds(case, names, started, options)
  local rounds = {}
  for _, name in ipairs(names) do
    rounds[name] = {}
    -- Fills caches, compiles traces.
    measure.load(started[name], case, case.warm or math.min(1, options.seconds))
  end
  for round = 1, options.rounds do
    for _, name in ipairs(in_turn(names, round)) do
      local result = measure.load(started[name], case, options.seconds)
      rounds[name][round] = result
      say("%-30s round %d  %-16s %8.0f requests/s  %8.2f us CPU%s", case.title, round, name,
        result.rate, result.cpu, result.failed > 0 and "  " .. result.text or "")
    end
  end
  return rounds
end

local function start_crowds(case, names, started)
  local crowds = {}
  for i, name in ipairs(case.crowd and names or {}) do
    crowds[i] = measure.crowd(started[name], case, IDLE, SLOW)
  end
  return function()
    for _, crowd in ipairs(crowds) do
      crowd:abandon()
    end
  end
end

local function bench_case(case, names, started, options)
  local before = load_average()
  local end_crowds = start_crowds(case, names, started)
  local rounds = run_rounds(case, names, started, options)
  local peers = {}
  for _, name in ipairs(names) do
    peers[name] = report.summary(rounds[name], rounds.nginx)
    peers[name].memory = measure.megabytes(started[name])
  end
  end_crowds()
  for _, name in ipairs(case.reload and {} or names) do -- strace follows no worker that comes later
    peers[name].calls, peers[name].by_call = measure.calls(started[name], case,
      math.min(1, options.seconds))
  end
  return {
    name = case.name, title = case.title, peers = peers, absent = {}, commit = options.commit,
    load = before,
    rounds = options.rounds, seconds = options.seconds,
  }
end

local function bench_cases(names, options, application, sites)
  local out, setup, started, stops = {}, nil, {}, {}
  local function stop_all()
    for _, stop in pairs(stops) do
      stop()
    end
    started, stops = {}, {}
  end
  for _, case in ipairs(CASES) do
    if options.only[case.name] then
      if setup ~= measure.setup_of(case) then
        stop_all()
        setup = measure.setup_of(case)
      end
      local able, absent = {}, {}
      for _, name in ipairs(names) do
        absent[name] = proxies.cannot(name, case)
        if not absent[name] then
          able[#able + 1] = name
          if not started[name] then
            started[name], stops[name] = start_proxy(case, name, application, sites)
          end
        end
      end
      if #able > 0 then
        out[case.name] = bench_case(case, able, started, options)
        out[case.name].absent = absent
      end
    end
  end
  stop_all()
  return out
end

-- Each figure comes from processes that did nothing else before.
local function bench_idle(names, options, application, sites)
  local out = { peers = {}, commit = options.commit }
  for _, name in ipairs(names) do
    if not proxies.cannot(name, { crowd = true }) then
      local proxy = proxies.start(name, application, { sites = sites, route = "root" })
      local figures = measure.idle(proxy, options.connections)
      out.peers[name] = figures.bytes
      say("%-30s          %-16s %8.0f bytes for each of %d", "idle", name, figures.bytes,
        figures.connections)
      proxy:stop()
    end
  end
  return out
end

-- Valgrind 3.19 (Debian 12) knows no openat2, with which files are looked up: where a server cannot
-- be measured for such a reason, it is left out.
local function count_instructions(case, name, application, sites, options)
  local ok, count = pcall(measure.instructions, function(folder)
    return start_proxy(case, name, application, sites, folder)
  end, case, options.requests, ("build/bench/%s.%s.callgrind"):format(name, case.name))
  say("%-30s          %-16s %8s instructions", case.title, name,
    ok and ("%.0f"):format(count) or "no")
  return ok and count or nil
end

local function bench_instructions(names, options, application, sites)
  local out = {}
  for _, case in ipairs(CASES) do
    if case.counted then
      local figures = { title = case.title, peers = {}, commit = options.commit }
      for _, name in ipairs(names) do
        if not proxies.cannot(name, case) then
          figures.peers[name] = count_instructions(case, name, application, sites, options)
        end
      end
      out[case.name] = figures
    end
  end
  return out
end

-- What only Moongate has.
local function bench_alone(data, options, application)
  if not options.proxies.moongate then
    return
  end
  if options.only.queue then
    data.queue = engine.queue(application, options.seconds)
  end
  if options.only.fair then
    data.fair = engine.fair(application, options.seconds)
  end
  if options.only.hooks then
    data.hooks = hooks.bench(application, options, say)
  end
  if options.only.library then
    data.library = library.bench(application, options, say)
  end
  if options.only.counters then
    data.counters = counters.bench(application, options, say)
  end
end

-- Who is compared: all that are asked for, of which Moongate and nginx must be there.
local function names_of(options)
  local names = {}
  for _, name in ipairs(proxies.names()) do
    if options.proxies[name] then
      names[#names + 1] = name
      local problem = (name == "nginx" or name == "moongate") and proxies.missing(name)
      if problem then
        fail(problem)
      end
    end
  end
  return names
end

-- The new entries, and the old ones that were not measured again.
local function over(old, new)
  local all = {}
  for name, value in pairs(old or {}) do
    all[name] = value
  end
  for name, value in pairs(new or {}) do
    all[name] = value
  end
  return all
end

-- Servers of a case that were left out of this run (--proxies) keep what they had, with the commit
-- that it was measured at; their ratios are those to nginx in that run.
local function keep_others(old, new)
  for name, case in pairs(new or {}) do
    local before = (old or {})[name] or {}
    for peer, figures in pairs(before.peers or {}) do
      if not case.peers[peer] and not case.absent[peer] then
        figures.commit = figures.commit or before.commit
        case.peers[peer] = figures
      end
    end
    case.absent = over(before.absent, case.absent)
  end
end

-- What was measured before on the page, with what was measured now in its place.
local function merged(data)
  local old = json.decode(process.read_file(RESULTS) or "") or {}
  keep_others(old.cases, data.cases)
  local all = over(old, data)
  all.cases = over(old.cases, data.cases)
  all.instructions = over(old.instructions, data.instructions)
  return all
end

local function write_page(data)
  process.write_file(RESULTS, report.json(data))
  -- Of what is in the file, which is rounded.
  data = json.decode(process.read_file(RESULTS))
  process.write_file(PAGE, page.put(process.read_file(PAGE), data))
  process.write_file(CHART, page.svg(data))
  say("%s, %s and %s are renewed", RESULTS, PAGE, CHART)
end

local function measure_all(names, options)
  local application = proxies.application(4) -- the servers use one, some cases all
  local sites = proxies.sites()
  local data = {
    machine = measure.machine(), order = proxies.names(), titles = {}, case_order = {},
    versions = proxies.versions(proxies.names()),
    cases = bench_cases(names, options, application, sites),
  }
  for i, case in ipairs(CASES) do
    data.case_order[i] = case.name
  end
  for _, name in ipairs(data.order) do
    data.titles[name] = proxies.title(name)
  end
  if options.only.idle then
    data.idle = bench_idle(names, options, application, sites)
  end
  if options.only.instructions then
    data.instructions = bench_instructions(names, options, application, sites)
  end
  if options.page then -- an error in what follows doesn't take half an hour's figures with it
    write_page(merged(data))
  end
  bench_alone(data, options, application)
  if options.only.secure then
    data.secure = secure.bench(options, say)
  end
  application:stop()
  process.remove(sites)
  return data
end

local function main(words)
  local options = parse(words)
  options.commit = commit()
  local names = names_of(options)
  local data = measure_all(names, options)
  local aims = report.aims(data)
  for _, list in ipairs({ hooks.aims(data.hooks), counters.aims(data.counters) }) do
    for _, aim in ipairs(list) do
      aims[#aims + 1] = aim
    end
  end
  io.stdout:write(report.table(names, data), engine.table(data.queue, data.fair),
    hooks.table(data.hooks), library.table(data.library), secure.table(data.secure),
    report.verdict(aims))
  os.execute("mkdir -p -- " .. process.quote(options.out:match("^(.*)/") or "."))
  data.aims = aims
  process.write_file(options.out, report.json(data))
  say("\nwritten to %s", options.out)
  return options.strict and not report.hold(aims) and 1 or 0
end

-- An error must not skip the end of what was started: process.lua sees to that when it is dropped.
local ok, result = xpcall(main, debug.traceback, arg)
if not ok then
  io.stderr:write(result, "\n")
end
os.exit(ok and result or 1, true)
