-- How each figure is taken: load by wrk with the CPU time of the proxy's processes beside it,
-- system calls by strace, memory of idle connections, instructions by callgrind. Called by
-- main.lua.

local client = require("tests.bench.client")
local generator = require("tests.support.load")
local poll = require("tests.support.poll")
local process = require("tests.support.process")

local measure = {}

local CONNECTIONS = 64

-- Nanoseconds that the threads of these processes have run.
local function cpu_time(pids)
  local sum = 0
  for _, pid in ipairs(pids) do
    local threads = io.popen(("cat /proc/%d/task/*/schedstat 2>/dev/null"):format(pid))
    for line in threads:lines() do
      sum = sum + tonumber(line:match("^%d+"))
    end
    threads:close()
  end
  return sum
end

--- The requests of a case go to this many hosts in turn; the same list as in wrk.lua.
---@param count integer
---@return string[]
function measure.hosts(count)
  local list = {}
  for i = 1, count do
    list[i] = ("t%05d.example"):format(i * (10000 / count))
  end
  return list
end

--- The body of a POST: fields of a form, as wrk.lua sends them.
---@param size integer
---@return string
function measure.form(size)
  return ("a=0123456789&"):rep(math.ceil(size / 13)):sub(1, size)
end

local function wrk(proxy, load, seconds)
  local result = process.run({
    argv = {
      "wrk", "-t1", "-c" .. CONNECTIONS, "-d" .. seconds .. "s", "--timeout", "10s",
      "-s", "tests/bench/wrk.lua", "http://" .. proxy.address .. load.path, "--",
      load.method or "GET", tostring(load.body or 0), tostring(load.hosts),
    },
  }, seconds + 60)
  local figures = {}
  for key, value in result.stdout:gmatch("bench%.(%w+)=([%d.]+)") do
    figures[key] = tonumber(value)
  end
  assert(figures.requests and figures.requests > 0, result.stdout .. result.stderr)
  assert(figures.errors == 0, proxy.name .. ": requests failed\n" .. result.stdout)
  return figures
end

-- The same by the tests' own generator, which lets every client get its last answer: where some
-- clients starve while others are served at once, only that shows.
local function patient(proxy, load, seconds)
  local results = generator.run(proxy.address, {
    seconds = seconds, timeout = 5,
    { clients = CONNECTIONS, host = measure.hosts(load.hosts)[1], path = load.path },
  })
  local all = results.all
  return {
    requests = all.requests, microseconds = seconds * 1e6, -- not the time that starved ones wait
    p50 = all.p50 * 1e6, p99 = all.p99 * 1e6, max = all.max * 1e6,
    failed = all.failed + all.requests - all[200],
  }
end

--- One round of load.
---@param proxy Proxy
---@param load table a case of main.lua
---@param seconds number
---@return { rate: number, cpu: number, p50: number, p99: number, max?: number, failed?: number }
---  requests a second, microseconds of CPU time for a request, milliseconds, requests
function measure.load(proxy, load, seconds)
  local before = cpu_time(proxy.pids)
  local figures = (load.php and patient or wrk)(proxy, load, seconds)
  local spent = cpu_time(proxy.pids) - before
  return {
    rate = figures.requests / figures.microseconds * 1e6,
    cpu = spent / 1000 / figures.requests,
    p50 = figures.p50 / 1000,
    p99 = figures.p99 / 1000,
    max = figures.max and figures.max / 1000,
    failed = figures.failed,
    requests = figures.requests,
  }
end

--- System calls for a request, from a run of its own since tracing slows the proxy down.
---@param proxy Proxy
---@param load table
---@param seconds number
---@return number calls
---@return table<string, number> by_call
function measure.calls(proxy, load, seconds)
  local dir = process.tempdir("strace")
  local tracer = process.spawn({
    argv = { "strace", "-c", "-f", "-p", tostring(proxy.worker), "-o", dir .. "/counts" },
    stderr = dir .. "/stderr",
  })
  poll.wait(function()
    local text = process.read_file(dir .. "/stderr") or ""
    assert(tracer:alive(), "strace: " .. text)
    return text:find("attached", 1, true)
  end, "strace to attach")
  local figures = wrk(proxy, load, seconds)
  tracer:kill("INT")
  assert(tracer:wait(10), "strace did not end")
  local by_call = {}
  for line in io.lines(dir .. "/counts") do
    local count, name = line:match("^%s*[%d.]+%s+[%d.]+%s+%d+%s+(%d+)%s+.-([%w_]+)$")
    if name and name ~= "total" then
      by_call[name] = tonumber(count) / figures.requests
    end
  end
  process.remove(dir)
  local sum = 0
  for _, count in pairs(by_call) do
    sum = sum + count
  end
  assert(sum > 0, "strace counted nothing")
  return sum, by_call
end

-- Memory of a process in bytes. What it shares with others counts in part, so that a page of the
-- master that the worker has not written yet is not taken for the worker's.
local function memory(pid)
  local text = process.read_file(("/proc/%d/smaps_rollup"):format(pid))
  local kilobytes = text and text:match("\nPss:%s+(%d+) kB")
  assert(kilobytes, "cannot read the memory map of process " .. pid)
  return tonumber(kilobytes) * 1024
end

--- Memory that an idle connection costs the worker, each having made one request.
---@param proxy Proxy
---@param count integer
---@return { bytes: number, connections: integer, before: integer, after: integer }
function measure.idle(proxy, count)
  count = math.min(count, client.files_allowed() - 200)
  local hosts = measure.hosts(1000)
  local first = client.open(proxy.address)
  for i = 1, 2000 do
    first:ask("/index.php", hosts[i % #hosts + 1])
  end
  local before = memory(proxy.worker)
  local open = {}
  for i = 1, count do
    open[i] = client.open(proxy.address)
    open[i]:ask("/index.php", hosts[i % #hosts + 1])
  end
  local after = memory(proxy.worker)
  for i = 1, count, 997 do
    open[i]:ask("/index.php", hosts[1]) -- they are alive
  end
  for _, conn in ipairs(open) do
    conn:close()
  end
  first:close()
  return { bytes = (after - before) / count, connections = count, before = before, after = after }
end

-- Instructions of all processes that callgrind wrote down in this folder.
local function counted(folder)
  local sum = 0
  local files = io.popen("cat " .. process.quote(folder) .. "/callgrind.*")
  for line in files:lines() do
    sum = sum + (tonumber(line:match("^totals: (%d+)")) or 0)
  end
  files:close()
  assert(sum > 0, "callgrind counted nothing")
  return sum
end

local function run_counted(start, load, requests, keep)
  local folder = process.tempdir("grind")
  process.chmod(folder, "777") -- a worker that became another user writes its counts there too
  local proxy = start(folder)
  local hosts = measure.hosts(100)
  local body = load.body and measure.form(load.body)
  local conn = client.open(proxy.address)
  for i = 1, requests do
    conn:ask(load.path, hosts[i % #hosts + 1], body)
  end
  conn:close()
  proxy:stop()
  local sum = counted(folder)
  if keep then
    os.execute(("mkdir -p -- %s && cp -- \"$(ls -S %s/callgrind.* | head -n 1)\" %s"):format(
      process.quote(keep:match("^(.*)/") or "."), process.quote(folder), process.quote(keep)))
  end
  process.remove(folder)
  return sum
end

--- User-space instructions of a request: the difference of two runs, so that start, warming up and
--- end do not count.
---@param start fun(folder: string): Proxy starts it under callgrind
---@param load table a case of main.lua
---@param requests integer how many more the second run has
---@param keep string where the longer run's counts are left, for callgrind_annotate; beside it,
---  as `keep.warm`, those of the shorter one
---@return number
function measure.instructions(start, load, requests, keep)
  local warm = 5000
  local short = run_counted(start, load, warm, keep .. ".warm")
  local long = run_counted(start, load, warm + requests, keep)
  return (long - short) / requests
end

local function inclusive(file, name)
  local lines = io.popen(("callgrind_annotate --inclusive=yes --threshold=100 %s 2>/dev/null")
    :format(process.quote(file)))
  local sum = 0
  for line in lines:lines() do
    local count, fn = line:match("^%s*([%d,]+)[^?]*%?*:?.-[:/]([%w_]+)[ %[]")
    if fn == name then
      sum = math.max(sum, tonumber((count:gsub(",", ""))))
    end
  end
  lines:close()
  assert(sum > 0, "callgrind has not seen " .. name)
  return sum
end

--- The share of one function of the core, with all that it calls, of what `instructions` counted.
---@param name string
---@param requests integer as given to `instructions`
---@param keep string likewise
---@return number instructions for each request
function measure.part(name, requests, keep)
  return (inclusive(keep, name) - inclusive(keep .. ".warm", name)) / requests
end

--- Where this was measured.
---@return { cpu: string, cores: integer, kernel: string, date: string }
function measure.machine()
  local info = process.read_file("/proc/cpuinfo") or ""
  local _, cores = info:gsub("processor%s*:", "")
  return {
    cpu = info:match("model name%s*:%s*([^\n]+)") or "unknown",
    cores = cores,
    kernel = (process.read_file("/proc/sys/kernel/osrelease") or "unknown"):match("[^\n]+"),
    date = os.date("!%Y-%m-%dT%H:%M:%SZ"),
  }
end

return measure
