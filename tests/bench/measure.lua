-- How each figure is taken: load by the tests' own generator with the CPU time of the server's
-- processes beside it, system calls by strace, memory, instructions by callgrind. Called by
-- main.lua.

local client = require("tests.bench.client")
local generator = require("tests.support.load")
local poll = require("tests.support.poll")
local process = require("tests.support.process")
local socket = require("socket")

local measure = {}

local CONNECTIONS = 64
local PATH = "/index.php?body=hello"
local RELOAD_EVERY = 0.5 -- seconds

--- Nanoseconds that the threads of these processes have run.
---@param pids integer[]
---@return number
function measure.cpu_time(pids)
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

-- The same of a process, its descendants and those of them that have ended; exact to 10 ms, since
-- the kernel counts ended ones in ticks.
local function cpu_time_of_tree(pid)
  local text = process.read_file(("/proc/%d/stat"):format(pid))
  if not text then
    return 0
  end
  local fields = {}
  for word in text:match("%) (.*)$"):gmatch("%S+") do
    fields[#fields + 1] = tonumber(word) or 0
  end
  local sum = (fields[12] + fields[13] + fields[14] + fields[15]) * 1e7
  for _, child in ipairs(process.children(pid)) do
    sum = sum + cpu_time_of_tree(child)
  end
  return sum
end

--- Memory of a process in bytes. What it shares with others counts in part, so that a page of the
--- master that the worker has not written yet is not taken for the worker's.
---@param pid integer
---@return number
function measure.memory(pid)
  local text = process.read_file(("/proc/%d/smaps_rollup"):format(pid))
  local kilobytes = text and text:match("\nPss:%s+(%d+) kB")
  assert(kilobytes, "cannot read the memory map of process " .. pid)
  return tonumber(kilobytes) * 1024
end

--- Megabytes of all processes of a server.
---@param proxy Proxy
---@return number
function measure.megabytes(proxy)
  local sum = 0
  for _, pid in ipairs(proxy:pids()) do
    sum = sum + measure.memory(pid)
  end
  return sum / 1048576
end

--- Some hosts of these tenants.
---@param count integer
---@param tenants? integer
---@return string[]
function measure.hosts(count, tenants)
  local list = {}
  for i = 1, count do
    list[i] = ("t%05d.example"):format(i * math.floor((tenants or 10000) / count))
  end
  return list
end

--- Cases of the same setup share the server that is started for them.
---@param case Case
---@return string
function measure.setup_of(case)
  local special = case.fresh or case.tenants or case.workers or case.php or case.reload
    or case.crowd
  return special and case.name or case.route
end

-- What the generator does for a case: the same hosts as above.
local function group(proxy, case, more)
  local tenants = proxy.values.tenants
  local count = math.min(case.hosts, tenants)
  local options = {
    clients = CONNECTIONS, host = "t#.example", path = case.path,
    hosts = ("%d:%d"):format(count, math.floor(tenants / count)), method = case.method,
    body = case.body, length = case.length, close = case.close,
    header = case.header
      or case.body and "Content-Type: application/x-www-form-urlencoded" or nil,
  }
  for key, value in pairs(more or {}) do
    options[key] = value
  end
  return options
end

-- Runs the generator, and loads the configuration again meanwhile if the case says so. Where some
-- clients starve while others are served at once, only a generator shows that which lets every
-- client get its last answer.
local function generate(proxy, case, seconds)
  local run = generator.start(proxy.address, { seconds = seconds, timeout = 5, group(proxy, case) })
  local reloads, due = 0, socket.gettime()
  while case.reload and run:running() do
    if socket.gettime() >= due then
      proxy:reload()
      reloads, due = reloads + 1, socket.gettime() + RELOAD_EVERY
    end
    socket.sleep(0.01)
  end
  local results = run:finish(seconds + 60)
  local all = results.all
  assert(all.requests > 0, proxy.name .. " has answered nothing: " .. all.text .. proxy:problem())
  return all, case.php and seconds or results.seconds, reloads
end

--- One round of load. Each answer's status and length are checked.
---@param proxy Proxy
---@param case Case
---@param seconds number
---@return { rate: number, cpu: number, p50: number, p99: number, p999: number, max: number,
---  failed: number, requests: integer, reloads?: integer } requests a second, microseconds of CPU
---  time for a request, milliseconds, requests
function measure.load(proxy, case, seconds)
  local pids = case.reload and proxy.process.pid or proxy:pids()
  local clock = case.reload and cpu_time_of_tree or measure.cpu_time
  local before = clock(pids)
  local all, took, reloads = generate(proxy, case, seconds)
  local spent = clock(pids) - before
  return {
    rate = all.requests / took,
    cpu = spent / 1000 / all.requests,
    p50 = all.p50 * 1000, p99 = all.p99 * 1000, p999 = all.p999 * 1000, max = all.max * 1000,
    failed = all.failed + all.requests - all[200],
    requests = all.requests,
    reloads = case.reload and reloads or nil,
    text = all.text,
  }
end

--- Ten thousand clients that keep an idle connection, and a thousand that send a request slowly.
---@param proxy Proxy
---@param case Case
---@param idle integer
---@param slow integer
---@return Load to be abandoned by the caller
function measure.crowd(proxy, case, idle, slow)
  local run = generator.start(proxy.address, {
    timeout = 60,
    group(proxy, case, { name = "idle", clients = idle, idle = true }),
    group(proxy, case, { name = "slow", clients = slow, slow = 2000 }),
  })
  local ok, problem = pcall(run.wait_idle, run)
  assert(ok, ("%s: %s"):format(proxy.name, problem))
  return run
end

--- System calls for a request, from a run of its own since tracing slows the server down.
---@param proxy Proxy
---@param case Case
---@param seconds number
---@return number calls
---@return table<string, number> by_call
function measure.calls(proxy, case, seconds)
  local dir = process.tempdir("strace")
  local argv = { "strace", "-c", "-f", "-o", dir .. "/counts" }
  local pids = proxy:pids()
  for i = #pids, math.min(2, #pids), -1 do -- not the master, if there is one
    argv[#argv + 1] = "-p"
    argv[#argv + 1] = tostring(pids[i])
  end
  local tracer = process.spawn({ argv = argv, stderr = dir .. "/stderr" })
  poll.wait(function()
    local text = process.read_file(dir .. "/stderr") or ""
    assert(tracer:alive(), "strace: " .. text)
    return text:find("attached", 1, true)
  end, "strace to attach", 30)
  local all = generate(proxy, case, seconds)
  tracer:kill("INT")
  assert(tracer:wait(30), "strace did not end")
  local by_call = {}
  for line in io.lines(dir .. "/counts") do
    local count, name = line:match("^%s*[%d.]+%s+[%d.]+%s+%d+%s+(%d+)%s+.-([%w_]+)$")
    if name and name ~= "total" then
      by_call[name] = tonumber(count) / all.requests
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

--- Memory that an idle connection costs the worker, each having made one request.
---@param proxy Proxy
---@param count integer
---@return { bytes: number, connections: integer, before: integer, after: integer }
function measure.idle(proxy, count)
  count = math.min(count, client.files_allowed() - 200)
  local hosts = measure.hosts(1000)
  local first = client.open(proxy.address)
  for i = 1, 2000 do
    first:ask(PATH, hosts[i % #hosts + 1])
  end
  local pids = proxy:pids()
  local before = measure.memory(pids[#pids])
  local open = {}
  for i = 1, count do
    open[i] = client.open(proxy.address)
    open[i]:ask(PATH, hosts[i % #hosts + 1])
  end
  local after = measure.memory(pids[#pids])
  for i = 1, count, 997 do
    open[i]:ask(PATH, hosts[1]) -- they are alive
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

-- The body of a POST: what load.c sends, and the responder's `check` wants.
local function pattern(size)
  local lines = {}
  for i = 1, size / 16 do
    lines[i] = ("%015d\n"):format(i - 1)
  end
  return table.concat(lines)
end

-- One client asks for what no case of load is.
local function ask_by_one(proxy, load, requests)
  local hosts = measure.hosts(100)
  local count = load.hosts and math.min(load.hosts, #hosts) or #hosts
  local body = load.body and pattern(load.body)
  local conn = client.open(proxy.address)
  local headers = load.headers
  if type(headers) == "function" then
    headers = headers(conn)
  end
  for i = 1, requests do
    conn:ask(load.path, hosts[i % count + 1], body, headers)
  end
  conn:close()
end

-- The clients of a case ask for it, as in its rounds: what a turn of the loop costs is shared by
-- the requests in it. Every hundredth tenant is there.
local function ask_by_many(proxy, case, requests)
  local hosts = ("%d:100"):format(math.min(case.hosts, 100))
  local all = generator.run(proxy.address, {
    seconds = 400, timeout = 120, group(proxy, case, { requests = requests, hosts = hosts }),
  }).all
  assert(all.failed == 0 and all[200] == requests, proxy.name .. ": " .. all.text)
end

local function run_counted(start, load, requests, keep)
  local folder = process.tempdir("grind")
  process.chmod(folder, "777") -- a worker that became another user writes its counts there too
  local proxy = start(folder)
  local ask = load.name and ask_by_many or ask_by_one
  ask(proxy, load, requests)
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
---@param load table a case of main.lua, or what one client asks for: path, hosts, body and
---  `headers`, lines of the head or a function of the connection that gives them
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
