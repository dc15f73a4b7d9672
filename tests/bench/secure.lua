-- TLS and HTTP/2 beside nginx and h2o: the processor time of a request, of a connection with a full
-- handshake and with a resumed one, and the memory of an idle connection. Called by main.lua.
--
-- All servers run at the same time and are asked in turn, and the median of the rounds counts, so
-- that what else the machine does is in all of them.

local measure = require("tests.bench.measure")
local process = require("tests.support.process")
local proxies = require("tests.bench.proxies")
local secure_client = require("tests.bench.secure_client")
local secure_servers = require("tests.bench.secure_servers")
local socket = require("socket")

local secure = {}

-- What h2load asks for: files, and responses of the FastCGI application.
local TARGETS = {
  { title = "100 bytes", path = "/tiny.css", requests = 20000, bytes = 100 },
  { title = "64 KB", path = "/64k.css", requests = 4000, bytes = 65536 },
  { title = "5 bytes by FastCGI", path = "/index.php?body=hello", requests = 20000, bytes = 5 },
  { title = "64 KB by FastCGI", path = "/index.php?size=65536", requests = 3000, bytes = 65536 },
}

-- By which way: `tls` over TLS, `h1` by HTTP/1.1.
local WAYS = {
  { title = "HTTP/2 without TLS" }, { title = "HTTP/2 over TLS", tls = true },
  { title = "HTTP/1.1 over TLS", tls = true, h1 = true },
}

local LOADS = {}
for _, way in ipairs(WAYS) do
  for _, target in ipairs(TARGETS) do
    LOADS[#LOADS + 1] = {
      title = target.title .. ", " .. way.title, path = target.path, bytes = target.bytes,
      requests = target.requests, tls = way.tls, h1 = way.h1,
    }
  end
end

-- Connections with one request each.
local SHAKES = {
  { title = "a full handshake, TLS 1.3", version = "1.3" },
  { title = "a resumed one, TLS 1.3", version = "1.3", resumed = true },
  { title = "a full handshake, TLS 1.2", version = "1.2" },
  { title = "a resumed one, TLS 1.2", version = "1.2", resumed = true },
}

local IDLES = {
  { title = "HTTP/2 without TLS", http2 = true },
  { title = "HTTP/1.1 over TLS", tls = true },
  { title = "HTTP/2 over TLS", tls = true, http2 = true },
}

local CONNECTIONS, STREAMS = 8, 16 -- of h2load
local SETTLED = 2.5 -- seconds after which an idle connection is given time enough to shrink

local function median(values)
  local sorted = { unpack(values) }
  table.sort(sorted)
  local middle = (#sorted + 1) / 2
  return (sorted[math.floor(middle)] + sorted[math.ceil(middle)]) / 2
end

-- Microseconds of the server's processor time for each of the requests that `run` makes.
local function cost(server, run)
  local pids = server:pids()
  local before = measure.cpu_time(pids)
  local count = run()
  return (measure.cpu_time(pids) - before) / 1000 / count
end

local function h2load(server, load, requests)
  local argv = { "h2load", "-n", tostring(requests), "-c", tostring(CONNECTIONS),
    "-m", tostring(load.h1 and 1 or STREAMS) }
  if load.h1 then
    argv[#argv + 1] = "--h1"
  end
  argv[#argv + 1] = (load.tls and "https://" .. server.secure or "http://" .. server.plain)
    .. load.path
  local result = process.run({ argv = argv }, 120)
  local done = result.stdout:match("(%d+) 2xx")
  local bytes = result.stdout:match("%((%d+)%) data")
  assert(tonumber(done) == requests and tonumber(bytes) >= requests * load.bytes,
    server.name .. ": " .. result.stdout .. result.stderr)
  return requests
end

local function shake(server, case, count)
  local ctx = secure_client.context({ version = case.version })
  local session
  for _ = 1, count do
    local conn = secure_client.open(server.secure, ctx, session)
    conn:get("/tiny.css")
    session = case.resumed and conn:session() or nil
    conn:close()
  end
  return count
end

-- Lists of cases with the median of each server.
local function rounds_of(cases, started, options, say, run)
  local out = {}
  for i, case in ipairs(cases) do
    local values = {}
    for round = 0, options.rounds do -- the first one fills caches
      for at = 1, #started do
        local server = started[(at + round) % #started + 1]
        local value = cost(server, function() return run(server, case) end)
        if round > 0 then
          values[server.name] = values[server.name] or {}
          table.insert(values[server.name], value)
          say("%-38s round %d  %-16s %8.2f us CPU", case.title, round, server.name, value)
        end
      end
    end
    out[i] = { title = case.title, peers = {} }
    for name, list in pairs(values) do
      out[i].peers[name] = median(list)
    end
  end
  return out
end

local function memory(server)
  local sum = 0
  for _, pid in ipairs(server:pids()) do
    sum = sum + measure.memory(pid)
  end
  return sum
end

-- Bytes of a server for each idle connection, of processes that have done nothing else.
local function idle(name, site, case, count)
  local server = secure_servers.start(name, site)
  local ctx = case.tls and secure_client.context({ http2 = case.http2 })
  local address = case.tls and server.secure or server.plain
  local open = {}
  local function connect()
    local conn = secure_client.open(address, ctx)
    conn[case.http2 and "get_by_http2" or "get"](conn, "/tiny.css")
    return conn
  end
  for _ = 1, 100 do
    connect():close()
  end
  socket.sleep(SETTLED)
  local before = memory(server)
  for i = 1, count do
    open[i] = connect()
  end
  socket.sleep(SETTLED)
  local bytes = (memory(server) - before) / count
  for i = 1, count do
    open[i][case.http2 and "get_by_http2" or "get"](open[i], "/tiny.css") -- they are alive
    open[i]:close()
  end
  server:stop()
  return bytes
end

local function idles_of(names, site, options, say)
  local out = {}
  for i, case in ipairs(IDLES) do
    out[i] = { title = case.title, peers = {} }
    for _, name in ipairs(names) do
      local bytes = idle(name, site, case, options.idle or 1000)
      out[i].peers[name] = bytes
      say("idle: %-28s          %-16s %8.0f bytes", case.title, name, bytes)
    end
  end
  return out
end

--- Measures all cases.
---@param options { rounds: integer, quick?: boolean, share?: number, idle?: integer } `share` of
---  the requests are made
---@param say fun(format: string, ...)
---@return { names: string[], loads: table[], shakes: table[], idles: table[], commit: string }
function secure.bench(options, say)
  local names, started, application = secure_servers.names(), {}, proxies.application()
  local site = secure_servers.site("rsa", application)
  local share = options.share or options.quick and 0.2 or 1
  for i, name in ipairs(names) do
    started[i] = secure_servers.start(name, site)
  end
  local out = { names = names, commit = options.commit }
  out.loads = rounds_of(LOADS, started, options, say, function(server, load)
    return h2load(server, load, math.ceil(load.requests * share))
  end)
  out.shakes = rounds_of(SHAKES, started, options, say, function(server, case)
    return shake(server, case, math.ceil((case.resumed and 1000 or 300) * share))
  end)
  for _, server in ipairs(started) do
    server:stop()
  end
  out.idles = idles_of(names, site, options, say)
  application:stop()
  return out
end

local function rows(out, data, list, format)
  for _, case in ipairs(list) do
    local row = "| " .. case.title .. " |"
    for _, name in ipairs(data.names) do
      row = row .. (" " .. format .. " |"):format(case.peers[name])
    end
    out[#out + 1] = row .. "\n"
  end
end

--- The table of docs/http2.md and docs/tls.md; empty where nothing was measured.
---@param data table|nil
---@return string
function secure.table(data)
  if not data then
    return ""
  end
  local out = { "\n| |" }
  for _, name in ipairs(data.names) do
    out[#out + 1] = " " .. name .. " |"
  end
  out[#out + 1] = "\n|---|" .. ("---|"):rep(#data.names) .. "\n"
  rows(out, data, data.loads, "%.1f us")
  rows(out, data, data.shakes, "%.0f us")
  rows(out, data, data.idles, "%.0f bytes")
  return table.concat(out)
end

return secure
