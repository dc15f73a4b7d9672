-- Everything at once: clients of all manners on all listeners, backends that fail in every phase,
-- PHP-FPM whose processes retire and die, and an operator who reloads, drains, holds and upgrades
-- meanwhile. Then nothing is left behind: no connection, no place, no descriptor, no line missing.
-- TRIAL=1 has it last for minutes, with SEED and SECONDS as wanted; best with sanitizers.
--
-- Runs alone: it takes all of the machine that it gets.

local crowd = require("tests.support.crowd")
local http = require("tests.support.http")
local json = require("moongate.base.json")
local net = require("tests.support.net")
local php = require("tests.support.php")
local poll = require("tests.support.poll")
local process = require("tests.support.process")
local responder = require("tests.support.responder")
local server = require("tests.support.server")
local stage = require("tests.support.stage")
local storm = require("tests.support.storm")

local TRIAL = os.getenv("TRIAL") ~= nil
local SECONDS = tonumber(os.getenv("STORM_SECONDS")) or TRIAL and 60 or 2
local CLIENTS = TRIAL and 40 or 24
local EPOLL = "anon_inode:[eventpoll]"
local GROWTH = 64 * 1024 * 1024 -- of all workers together: what a sanitizer keeps is among it
local SEED = tonumber(os.getenv("SEED")) or TRIAL and os.time() or 1

local ROUTE = [[
local moongate = require("moongate")
local ROOT, SITE = %q, %q
local function calm(more)
  local d = { backend = "calm", docroot = "/srv/app" }
  for key, value in pairs(more or {}) do
    d[key] = value
  end
  return d
end
local function to_php(req, backend)
  return { backend = backend, docroot = ROOT, script = req.path:match("/[^/]*$") }
end
local site = require("moongate.php").site { root = SITE, backend = "php", strip = "/site" }
local ROUTES = {
  calm = function() return calm() end,
  stream = function() return calm({ request_buffering = false }) end,
  raw = function() return calm({ response_buffering = false }) end,
  tcp = function() return { backend = "tcp", docroot = "/srv/app" } end,
  php = function(req) return to_php(req, "php") end,
  dying = function(req) return to_php(req, "dying") end,
  inner = function(req) return req.internal and to_php(req, "php") or { status = 404 } end,
  site = function(req) return site(req) end,
  bad = function() return { backend = "bad", docroot = "/srv/app" } end,
  badtcp = function() return { backend = "badtcp", docroot = "/srv/app" } end,
  badstream = function()
    return { backend = "bad", docroot = "/srv/app", request_buffering = false }
  end,
  reply = function() return { status = 200, body = "here" } end,
  hook = function(req)
    local token = req.args.Token
    moongate.spawn(function() moongate.sleep(0.01) end)
    moongate.sleep(tonumber(req.args.ms) / 1000)
    local answer, reason = moongate.fastcgi("calm", { SCRIPT_FILENAME = "/srv/app/x.php",
      SCRIPT_NAME = "/x.php", QUERY_STRING = "sum&header=X-Token:%%20" .. token,
    }, "a body of " .. token)
    return { status = answer and 200 or 503, body = answer and answer.body or reason,
      headers = { ["X-Token"] = answer and answer.headers["X-Token"] } }
  end,
}
return {
  listen = { %q, { address = %q, proxy_protocol = true }, %q },
  control = %q, workers = %d, watch = false, stop_timeout = %d,
  trusted_proxies = { "127.0.0.1" },
  limits = { per_ip = %d, connections = %d, request_memory = "32k", response_memory = "64k",
    body_timeout = 20, send_timeout = 20, keepalive_timeout = 20 },
  log = { format = "json" },
  backends = {
    calm = { servers = { %q, %q }, max_conns = %d, keepalive = %d, per_tenant = %d,
      queue_timeout = 30, internal = { ["/inner/"] = true, ["/files/"] = SITE } },
    tcp = { servers = %q, max_conns = 3, keepalive = 2, queue_timeout = 30 },
    bad = { servers = %q, max_conns = 5, keepalive = 3, read_timeout = 1, send_timeout = 1,
      queue_timeout = 2 },
    badtcp = { servers = %q, max_conns = 4, keepalive = 2, read_timeout = 1, send_timeout = 1,
      queue_timeout = 2 },
    php = { servers = %q, max_conns = 4, keepalive = %d, queue_timeout = 30 },
    dying = { servers = %q, max_conns = 2, keepalive = 1, read_timeout = 5, queue_timeout = 30 },
  },
  on_request = function(req)
    local name = req.path:match("^/(%%w+)")
    local decision = ROUTES[name] and ROUTES[name](req) or { status = 404 }
    if decision.backend then
      decision.tenant = "tenant " .. (tonumber(req.args.Token) or 0) %% 5
    end
    decision.headers = decision.headers or {}
    decision.headers["X-Mine"], decision.headers["X-Ip"] = req.args.Token or "none", req.ip
    return decision
  end,
  on_response = function(req)
    if req.args.Swap and not req.ctx.swapped then
      req.ctx.swapped = true
      return { backend = "php", docroot = ROOT, script = "/storm.php" }
    end
  end,
  on_error = function(req, err)
    if req.args.Or == "php" then
      if req.args.Late then
        moongate.sleep(0.02)
      end
      return { backend = "php", docroot = ROOT, script = "/storm.php",
        headers = { ["X-Fallback"] = err.kind } }
    end
  end,
}
]]

server.inspect() -- descriptors are counted

-- All of it: backends of two kinds, and a server that can have another route and another binary.
local function start(workers, stop_timeout)
  local self = { workers = workers, dir = process.tempdir("storm") }
  self.fpm = php.start({ pages = "tests/pages", children = 4, pool = { "pm.max_requests = 5" },
    global = { "process_control_timeout = 3s" },
    more = { dying = { "pm.max_requests = 5", "pm.max_children = 2" } } })
  self.back = responder.start({ addresses = {
    ("unix:%s/1"):format(self.dir), ("unix:%s/2"):format(self.dir),
    "127.0.0.1:" .. net.free_port(), ("unix:%s/4"):format(self.dir),
    "127.0.0.1:" .. net.free_port(),
  } })
  self.files = {
    ["small.txt"] = "a small file\n", ["large.bin"] = ("0123456789abcde\n"):rep(40000),
  }
  self.site = process.tempdir("site")
  stage.write(self.site, self.files)
  self.control = ("unix:%s/control"):format(self.dir)
  self.plain = "127.0.0.1:" .. net.free_port()
  self.announced = "127.0.0.1:" .. net.free_port()
  self.unix = ("unix:%s/http"):format(self.dir)
  function self.route(more)
    local a, o = self.back.addresses, setmetatable(more or {}, { __index = {
      max_conns = 2, keepalive = 2, per_tenant = 0, workers = workers, per_ip = 1000,
      connections = 2000,
    } })
    return ROUTE:format(self.fpm.root, self.site, self.plain, self.announced, self.unix,
      self.control, o.workers, stop_timeout or 20, o.per_ip, o.connections, a[1], a[2],
      o.max_conns, o.keepalive, o.per_tenant, a[3], a[4], a[5], self.fpm.address, o.keepalive,
      self.fpm.more.dying)
  end
  self.server = server.start({ own = true, address = self.plain, route = self.route(),
    -- To look for leaks takes longer than a worker has for its end once it has cut its requests.
    env = { ASAN_OPTIONS = ("detect_leaks=%d:abort_on_error=0:quarantine_size_mb=16"):format(
      stop_timeout and 0 or 1) } })
  return self
end

-- A request on the control listener; a member of the crowd does not hold up the others by it.
local function control(self, method, path, open)
  local client = (open or crowd.open)(self.control) -- closed with the member if that fails
  local res = client:request({ method = method, path = path, headers = {
    ["Moongate-Control"] = method == "POST" and "1" or nil,
  } })
  client:close()
  return res.status == 200 and json.decode(res.body) or nil, res
end

-- The same until it has been done, where the worker that was told may have been killed.
local function insist(self, path)
  local last
  local done = crowd.try(function()
    local ok, value, res = pcall(control, self, "POST", path)
    last = ok and res.body or value
    return ok and value
  end, 60)
  assert(done, last)
end

-- The operator ------------------------------------------------------------------------------------

-- Now and then there are more workers than at the end, or fewer.
local function workers_of(self, turn)
  return turn % 8 < 5 and self.workers or turn % 8 < 7 and self.workers + 1 or 1
end

local function disturb(self, s, seconds)
  local addresses = self.back.addresses
  s:repeatedly("reload", seconds, 0.2, function(turn)
    self.server:rewrite(turn % 7 == 0 and not self.upgrading
      and "return { listen = 1 }\n" or self.route({
      max_conns = 1 + turn % 5, keepalive = turn % 4, per_tenant = turn % 3,
      workers = workers_of(self, turn),
    }))
    self.server.process:kill("HUP")
  end)
  s:repeatedly("drain", seconds, 0.05, function(turn)
    if self.upgrading then
      return
    end
    local query = "?backend=calm&server=" .. addresses[1 + turn % 2]
    insist(self, "/drain" .. query)
    crowd.sleep(0.05)
    insist(self, "/undrain" .. query)
  end)
  s:repeatedly("hold", seconds, 0.15, function(turn)
    if self.upgrading then
      return
    end
    local name = turn % 3 == 0 and "php" or "calm"
    insist(self, "/hold?backend=" .. name)
    crowd.sleep(0.05)
    insist(self, "/resume?backend=" .. name)
  end)
  s:repeatedly("kill", seconds, 0.1, function()
    for _, pid in ipairs(self.fpm:children()) do
      local name = process.read_file(("/proc/%d/cmdline"):format(pid)) or ""
      if name:find("pool dying", 1, true) and math.random() < 0.5 then
        process.signal(pid, "KILL")
      end
    end
  end)
end

-- A worker dies now and then, with all that it has under way.
local function kill_workers(self, s, seconds)
  s:repeatedly("worker killed", seconds, 0.7, function()
    local workers = self.server:workers()
    if #workers > 0 then
      process.signal(workers[math.random(#workers)], "KILL")
    end
  end)
end

-- Another binary takes the place of this one.
local function upgrade(self, s, after)
  s.crowd:add("upgrade", function()
    crowd.sleep(after)
    self.upgrading = true -- what is held or drained then stays so in the old one
    crowd.sleep(0.5)
    local from = self.server:mark()
    self.server.process:kill("USR2")
    local pid = crowd.try(function()
      return tonumber(self.server:errors():sub(from):match("pid (%d+) serves in our place"))
    end, 30)
    assert(pid, "no upgrade")
    self.server.process = process.adopt(pid, "moongate")
    self.upgrading = false
    s:count("upgrade")
  end)
end

-- After it ----------------------------------------------------------------------------------------

local function is_quiet(status)
  for _, backend in ipairs(status.backends) do
    if backend.queued ~= 0 or backend.totals.active ~= 0 then
      return false
    end
  end
  local clients = 0
  for _, worker in ipairs(status.workers) do
    if worker.generations ~= 1 then
      return false
    end
    clients = clients + worker.connections
  end
  return clients <= 1
end

-- The two servers of `calm` know of as many connections as the ledger does.
local function agrees(self, status)
  local open, listener = { ["1"] = 0, ["2"] = 0 }, {}
  for event, conn, rest in self.back:log():gmatch("(%u+) conn=(%d+)([^\n]*)") do
    if event == "OPEN" then
      listener[conn] = rest:match("listener=(%d+)")
    end
    local count = open[listener[conn]]
    if count and (event == "OPEN" or event == "CLOSE") then
      open[listener[conn]] = count + (event == "OPEN" and 1 or -1)
    end
  end
  for _, backend in ipairs(status.backends) do
    if backend.name == "calm" then
      return backend.servers[1].idle == open["1"] and backend.servers[2].idle == open["2"]
    end
  end
end

-- Waits until nothing is under way, and has the connections closed that are kept.
local function calm_down(self)
  local last
  local ok = poll.try(function()
    last = control(self, "GET", "/status", http.open)
    return last and #last.workers == self.workers and is_quiet(last) and agrees(self, last)
  end, 30)
  if not ok then
    error(("something is still under way: %s\n%s"):format(json.encode(last),
      self.server:errors():sub(-3000)), 0)
  end
  for _, backend in ipairs(last.backends) do
    control(self, "POST", "/hold?backend=" .. backend.name, http.open)
    control(self, "POST", "/resume?backend=" .. backend.name, http.open)
  end
  poll.wait(function()
    last = control(self, "GET", "/status", http.open)
    for _, backend in ipairs(last.backends) do
      if backend.totals.idle ~= 0 then
        return false
      end
    end
    return true
  end, "kept connections to be closed")
  return last
end

-- What the descriptors of each worker stand for, without what changes from reload to reload.
local function descriptors(self)
  local list = {}
  for i, pid in ipairs(self.server:workers()) do
    local kinds, text = {}, {}
    for _, what in pairs(process.descriptors(pid)) do
      local kind = what:gsub("%[?%d+%]?", "N")
      kinds[kind] = (kinds[kind] or 0) + 1
    end
    -- A worker makes its second epoll when it needs one, and keeps it.
    kinds[EPOLL] = math.max(kinds[EPOLL], 2)
    for kind, count in pairs(kinds) do
      text[#text + 1] = kind .. "=" .. count
    end
    table.sort(text)
    list[i] = table.concat(text, " ")
  end
  table.sort(list)
  return table.concat(list, "\n")
end

-- Nobody counts any more for limits.per_ip and limits.connections: one is let in everywhere, as
-- soon as the server has seen that the one before has gone.
local function check_census(self)
  self.server:reload(self.route({ per_ip = 1, connections = 2 }))
  local function wait_for_room(address, prefix, headers)
    poll.wait(function()
      local client = http.open(address)
      client.conn:send(prefix)
      local ok, res = pcall(client.request, client, { path = "/reply", headers = headers })
      client:close()
      return ok and res.status == 200
    end, "room for " .. (prefix ~= "" and prefix or headers["X-Forwarded-For"]))
  end
  for i = 1, 9 do
    wait_for_room(self.announced, ("PROXY TCP4 192.0.2.%d 198.51.100.1 4711 443\r\n"):format(i))
    wait_for_room(self.plain, "", { ["X-Forwarded-For"] = "198.51.100." .. i })
  end
end

local function rage(self, s, seconds)
  s.crowd.problems = {}
  disturb(self, s, seconds)
  s:clients(CLIENTS, seconds)
  local ok, problem = pcall(s.crowd.run, s.crowd, seconds + 150)
  if not ok then
    error(("%s\n%s\n%s"):format(problem, s:summary(), self.server:errors():sub(-6000)), 0)
  end
  -- The operator's last reload may still be under way, with the script that is no good.
  poll.wait(function()
    return pcall(self.server.reload, self.server, self.route())
  end, "a reload")
  self.server:reload(self.route()) -- no worker is one that has had no reload yet
  calm_down(self)
end

local function begin(workers, lossy, stop_timeout)
  local self = start(workers, stop_timeout)
  local s = storm.new({ seed = SEED + workers, plain = self.plain, announced = self.announced,
    unix = self.unix, files = self.files, lossy = lossy })
  return self, s, function()
    self.server:stop(30)
    self.back:stop({ violations = true }) -- those that are none are sorted out
    self.fpm:stop()
  end
end

-- When all is over.
local function check(self, s)
  self.server:stop(30)
  assert.is_nil(storm.violation(self.back:log()))
  s:check_lines(self.server:access())
  if TRIAL then
    print(SEED, s:summary())
  end
end

-- The descriptors, once files that were sent lately are closed, a second or two later.
local function settled(self)
  poll.wait(function()
    return not descriptors(self):find("/site-", 1, true)
  end, "files to be closed", 10)
  return descriptors(self)
end

setup(function() process.inherit(true) end)
teardown(function() process.inherit(false) end)

describe("after a storm", function()
  for _, workers in ipairs(TRIAL and { 2, 3 } or { 2 }) do
    it("nothing is left behind by " .. workers .. " workers", function()
      local self, s, stop = begin(workers)
      finally(stop)
      upgrade(self, s, SECONDS / 6)
      self.server:reload(self.route({ workers = workers + 1 })) -- so many sockets stay
      rage(self, s, SECONDS / 3)
      local before, memory = settled(self), self.server:memory()
      rage(self, s, SECONDS)
      assert.equal(before, settled(self))
      assert.is_true(self.server:memory() < memory + GROWTH, self.server:memory() - memory)
      check_census(self)
      check(self, s)
    end)
  end

  it("nothing is left of workers that were killed, and their requests are in the log", function()
    local self, s, stop = begin(3, true)
    finally(stop)
    kill_workers(self, s, SECONDS)
    rage(self, s, SECONDS)
    check_census(self)
    check(self, s)
  end)

  it("a stop in the middle of it has ended, and logged, all that was begun", function()
    local self, s, stop = begin(3, true, 1)
    finally(stop)
    s:clients(CLIENTS, SECONDS)
    s.crowd:add("stop", function()
      crowd.sleep(SECONDS / 2)
      self.server.process:kill("TERM")
    end)
    s.crowd:run(SECONDS + 90)
    check(self, s)
  end)
end)
