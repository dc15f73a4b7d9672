-- Measures what docs/tuning.md shows: how throughput and waiting depend on PHP-FPM's children, and
-- on max_conns, queue and keepalive of a backend, with a real PHP-FPM. Called by `make tuning`.
--
--     LUA_PATH="./?.lua;./lua/?.lua;;" luajit tests/bench/tuning.lua
--
-- The figures go to tests/bench/tuning.json, docs/tuning.md and its pictures (curves.lua). Takes
-- four minutes. All points of a curve are measured in turn, ROUNDS times, and the median counts, so
-- that what else the machine does is in all of them.

local curves = require("tests.bench.curves")
local json = require("moongate.base.json")
local load = require("tests.support.load")
local php = require("tests.support.php")
local process = require("tests.support.process")
local server = require("tests.support.server")
local stage = require("tests.support.stage")

local ROUNDS, SECONDS = 3, 2
local CHILDREN = 8

-- `both` takes 20 ms of the processor, and waits for 50 ms as for a database; `wait` waits only.
local PAGES = {
  ["both.php"] = [[<?php
usleep(50000);
$of = function () {
  $u = getrusage();
  return $u['ru_utime.tv_sec'] * 1e6 + $u['ru_utime.tv_usec'] + $u['ru_stime.tv_sec'] * 1e6
    + $u['ru_stime.tv_usec'];
};
for ($begin = $of(); $of() - $begin < 20000;) {
  for ($i = 0; $i < 1000; $i++) {
    md5((string) $i);
  }
}
echo "ok";
]],
  ["wait.php"] = "<?php usleep(50000); echo 'ok';\n",
  ["tiny.php"] = "<?php echo 'ok';\n",
}

local ROUTE = [[
local php = require("moongate.php")
return {
  listen = "127.0.0.1:8080", log = { access = false },
  backends = { app = { servers = %q, max_conns = %d, queue = %d, keepalive = %d } },
  on_request = php.site({ root = %q, backend = "app", tenant = function(req) return req.host end }),
}
]]

--- The processor time that a master's processes have had, in microseconds.
local function cpu_time(master)
  local sum = 0
  for _, pid in ipairs(process.children(master.pid)) do
    local tasks = assert(io.popen(("cat /proc/%d/task/*/schedstat"):format(pid)))
    for line in tasks:lines() do
      sum = sum + tonumber(line:match("^%d+")) / 1000
    end
    tasks:close()
  end
  return sum
end

--- Runs a load on a backend of these settings, and gives what came of it.
---@param fpm Php
---@param options { max_conns: integer?, queue: integer?, keepalive: integer?, groups: LoadGroup[] }
local function measure(fpm, options)
  local moongate = server.start({
    route = ROUTE:format(fpm.address, options.max_conns or CHILDREN, options.queue or 1024,
      options.keepalive or 0, fpm.root),
    workers = 2,
  })
  local run = { seconds = SECONDS, timeout = 60, unpack(options.groups) }
  local before, before_php = cpu_time(moongate.process), cpu_time(fpm.process)
  local result = load.run(moongate.address, run)
  result.cpu = cpu_time(moongate.process) - before
  result.cpu_php = cpu_time(fpm.process) - before_php
  moongate:stop()
  return result
end

local function start_php(children)
  local dir = process.tempdir("pages")
  stage.write(dir, PAGES)
  return php.start({ root = dir, children = children, pool = { "listen.backlog = 4096" } })
end

local function median(values)
  table.sort(values)
  return values[math.ceil(#values / 2)]
end

--- Measures each point in each round, and keeps the median of each value.
---@param points any[]
---@param measure_point fun(x: any): table<string, number>
---@return table[] of { x =, and a median for each value }
local function curve(points, measure_point)
  local all = {}
  for _ = 1, ROUNDS do
    for i, x in ipairs(points) do
      all[i] = all[i] or {}
      for name, value in pairs(measure_point(x)) do
        all[i][name] = all[i][name] or {}
        table.insert(all[i][name], value)
      end
    end
  end
  local out = {}
  for i, x in ipairs(points) do
    out[i] = { x = x }
    for name, values in pairs(all[i]) do
      out[i][name] = median(values)
    end
    io.stderr:write(json.encode(out[i]):gsub("%s+", " "), "\n")
  end
  return out
end

local function children_curve()
  return curve({ 1, 2, 4, 6, 8, 12, 16 }, function(children)
    local fpm = start_php(children)
    local result = measure(fpm, { max_conns = children,
      groups = { { clients = 32, path = "/both.php" } } })
    fpm:stop()
    return { rate = result.all[200] / result.seconds, p99 = result.all.p99 * 1000 }
  end)
end

-- One site is flooded by 64 clients, another has one client.
local function max_conns_curve(fpm)
  return curve({ 1, 2, 4, 6, 8, 12, 16, 32, 64 }, function(max_conns)
    local result = measure(fpm, { max_conns = max_conns, groups = {
      { name = "flood", clients = 64, path = "/wait.php", host = "flood.example" },
      { name = "quiet", clients = 1, path = "/wait.php", host = "quiet.example" },
    } })
    return { rate = (result.flood[200] + result.quiet[200]) / result.seconds,
      p99 = result.quiet.p99 * 1000 }
  end)
end

local function queue_curve(fpm)
  return curve({ 1, 4, 8, 16, 32, 64, 128 }, function(queue)
    local all = measure(fpm, { queue = queue, groups = {
      { clients = 96, path = "/wait.php", pause = 300 } } }).all
    return { p99 = all.p99 * 1000, refused = 100 * all[503] / all.requests }
  end)
end

local function keepalive_curve(fpm)
  return curve({ 0, 8 }, function(keepalive)
    local result = measure(fpm, { keepalive = keepalive,
      groups = { { clients = 16, path = "/tiny.php" } } })
    return { cpu = result.cpu / result.all[200], cpu_php = result.cpu_php / result.all[200] }
  end)
end

local function read_line(path)
  return (process.read_file(path) or ""):match("^[^\n]*")
end

local data = {
  machine = { cores = tonumber(process.run({ argv = { "nproc" } }, 5).stdout),
    load = tonumber(read_line("/proc/loadavg"):match("^%S+")) },
  children = children_curve(),
}
local fpm = start_php(CHILDREN)
data.max_conns, data.queue = max_conns_curve(fpm), queue_curve(fpm)
data.keepalive = keepalive_curve(fpm)
fpm:stop()
process.write_file("tests/bench/tuning.json", json.encode(data) .. "\n")
process.write_file("docs/tuning.md", curves.page(process.read_file("docs/tuning.md"), data))
for name, text in pairs(curves.pictures(data)) do
  process.write_file("docs/" .. name, text)
end
