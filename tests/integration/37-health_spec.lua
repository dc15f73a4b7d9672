-- Which servers are asked at all: those that failed are left alone for a while, those that do not
-- answer a ping are down, and one that is merely busy is not. Pings are steered by a file that the
-- responder reads at each of them.

local http = require("tests.support.http")
local load = require("tests.support.load")
local metrics = require("tests.support.metrics")
local net = require("tests.support.net")
local php = require("tests.support.php")
local poll = require("tests.support.poll")
local process = require("tests.support.process")
local responder = require("tests.support.responder")
local rig = require("tests.support.rig")
local socket = require("socket")

local function get_many(r, count, commands, status)
  for _ = 1, count do
    assert.equal(status or 200, r:get(commands).status)
  end
end

-- The same, but no more after so many seconds: what is looked at lasts longer.
local function get_within(r, seconds, count, commands)
  local begun = socket.gettime()
  for _ = 1, count do
    get_many(r, 1, commands)
    if socket.gettime() - begun > seconds then
      return
    end
  end
end

describe("a server that has failed max_fails times", function()
  for _, workers in ipairs({ 1, 2 }) do
    it(("gets nothing for fail_timeout, then one probe (%d workers)"):format(workers), function()
      local r = rig.start({
        workers = workers, responder = { count = 2 },
        backend = [[max_fails = 2, fail_timeout = "5s"]],
      })
      finally(function() r:stop() end)
      local bad = "2.fail=close-before-head"
      get_within(r, 4, 30, bad) -- GET is tried again elsewhere: nobody notices
      assert.equal(2, r:shares()[2])
      r.server:wait_log(r.back.addresses[2]:gsub("%p", "%%%0"))
      poll.wait(function()
        return r:get(bad).status == 200 and r:shares()[2] == 3
      end, "the probe", 8)
      get_within(r, 3, 20, bad)
      assert.equal(3, r:shares()[2]) -- it has failed: down again
      poll.wait(function()
        return r:get("").status == 200 and r:shares()[2] >= 4
      end, "the next probe", 8)
      local before = r:shares()[2]
      get_many(r, 20, "")
      assert.is_true(r:shares()[2] - before >= 8) -- each worker has an order of its own
    end)
  end

  it("because nothing listens is passed over, too, and comes back", function()
    local other = responder.start()
    local r = rig.start({
      servers = function(addresses) return ("%q, %q"):format(addresses[1], other.address) end,
      backend = [[max_fails = 1, fail_timeout = "400ms"]],
    })
    finally(function()
      r:stop()
      other:stop()
    end)
    get_many(r, 4, "")
    other:stop()
    local result = load.run(r.address, {
      seconds = 1, { clients = 8, method = "POST", body = 10, path = rig.target("delay=2") },
    })
    load.assert_all(result.all)
    other = responder.start({ addresses = other.addresses })
    poll.wait(function()
      return r:get("").status == 200 and other:log():find("REQUEST", 1, true)
    end, "the server to be asked again", 15)
  end)

  it("long ago is not down: what counts is fail_timeout", function()
    local r = rig.start({
      responder = { count = 2 }, backend = [[max_fails = 2, fail_timeout = "200ms"]],
    })
    finally(function() r:stop() end)
    for i = 1, 4 do
      poll.wait(function()
        return r:get("2.fail=close-before-head").status == 200 and r:shares()[2] == i
      end, "another failure", 3)
      local start = socket.gettime() -- longer apart than fail_timeout
      poll.wait(function()
        return socket.gettime() - start > 0.3
      end, "time")
      assert.is_nil(r.server:errors():find(" is down", 1, true))
    end
  end)

  it("is asked all the same when it is the only one", function()
    local r = rig.start({ backend = [[max_fails = 1, fail_timeout = "60s"]] })
    finally(function() r:stop() end)
    get_many(r, 5, "fail=close-before-head", 502)
    get_many(r, 3, "")
  end)

  it("is asked all the same when all have failed", function()
    local r = rig.start({
      responder = { count = 3 }, backend = [[max_fails = 1, fail_timeout = "60s", attempts = 3]],
    })
    finally(function() r:stop() end)
    get_many(r, 5, "fail=close-before-head", 502)
    get_many(r, 6, "")
  end)

  it("0 times is never down", function()
    local r = rig.start({
      responder = { count = 2 }, backend = [[max_fails = 0, fail_timeout = "60s"]],
    })
    finally(function() r:stop() end)
    get_many(r, 20, "2.fail=close-before-head")
    assert.equal(10, r:shares()[2])
  end)

  it("by the application's own word (a status) is up", function()
    local r = rig.start({
      responder = { count = 2 }, backend = [[max_fails = 1, fail_timeout = "60s"]],
    })
    finally(function() r:stop() end)
    for _ = 1, 10 do
      r:get("2.status=500&2.stderr=x")
    end
    assert.equal(5, r:shares()[2])
  end)
end)

describe("a health check", function()
  local r, page

  local HEALTH = [[health = { ping = "/ping", expect = "pong", interval = "60ms", timeout = "2s",
    rise = 2, fall = 2 }]]

  -- What the ping page does from now on.
  local function answer(commands)
    process.write_file(page .. ".new", commands)
    assert(os.rename(page .. ".new", page))
  end

  local function start(options)
    page = process.tempdir("page") .. "/ping"
    answer("body=pong")
    options.backend = HEALTH .. (options.backend and ", " .. options.backend or "")
    options.responder = { count = options.count or 2, args = { "--page", "/ping=" .. page } }
    r = rig.start(options)
    return r
  end

  local function pings(listener)
    return r:shares("ping")[listener] or 0
  end

  -- Whether the next requests all go to this address.
  local function all_go_to(listener)
    for _ = 1, 4 do
      if r:get("who").headers["x-listener"] ~= tostring(listener) then
        return false
      end
    end
    return true
  end

  local function both_asked()
    local seen = {}
    for _ = 1, 4 do
      seen[r:get("who").headers["x-listener"]] = true
    end
    return seen["1"] and seen["2"]
  end

  it("speaks FastCGI, and never merely connects", function()
    start({ workers = 2 })
    finally(function() r:stop() end)
    poll.wait(function()
      return pings(1) >= 3 and pings(2) >= 3
    end, "pings")
    for _, event in ipairs(r:events("CLOSE")) do
      assert.is_true(tonumber(event.requests) >= 1, "a bare connection")
    end
    local ping
    for _, event in ipairs(r:events("REQUEST")) do
      ping = event.script == "/ping" and event or ping
    end
    assert.equal("GET", ping.method)
    assert.equal("complete", ping["end"])
  end)

  it("is made once for all workers", function()
    start({ workers = 2 })
    finally(function() r:stop() end)
    poll.wait(function()
      return pings(1) >= 2
    end, "pings")
    local before, begun = pings(1), socket.gettime()
    poll.wait(function()
      return socket.gettime() - begun > 1.2
    end, "time")
    local count = pings(1) - before
    local seconds = socket.gettime() - begun
    assert.is_true(count >= 2 and count <= 1.2 * seconds / 0.06,
      ("%d pings in %.1f s, every 60 ms"):format(count, seconds))
  end)

  for name, commands in pairs({
    ["nothing at all"] = "2.fail=hang&1.body=pong",
    ["something else"] = "2.body=pang&1.body=pong",
    ["a page of an application that says pong"] = "2.status=404&body=pong",
    ["a closed connection"] = "2.fail=close-before-head&1.body=pong",
    ["no FastCGI"] = "2.fail=garbage&1.body=pong",
    ["a reply without its end"] = "2.fail=no-end&body=pong",
    ["too long an answer"] = "2.size=3000000&1.body=pong",
  }) do
    it("that gets " .. name .. " takes the server out, until it answers again", function()
      start({})
      finally(function() r:stop() end)
      assert.is_truthy(both_asked())
      answer(commands)
      -- Nobody asks meanwhile: a ping that times out beside a request says nothing.
      local address = r.back.addresses[2]:gsub("%p", "%%%0")
      r.server:wait_log("server " .. address .. " is out of service")
      for _ = 1, 10 do
        assert.equal("1", r:get("who").headers["x-listener"])
      end
      answer("body=pong")
      r.server:wait_log("server " .. address .. " is in service again")
      assert.is_truthy(both_asked())
    end)
  end

  it("that fails once, with fall = 2, changes nothing", function()
    start({})
    finally(function() r:stop() end)
    answer("2.body=pang&1.body=pong")
    local before = pings(2)
    poll.wait(function()
      return pings(2) > before
    end, "one ping")
    answer("body=pong")
    -- It may have been two by now on a slow machine; then it comes back at once.
    poll.wait(both_asked, "both to be asked", 15)
  end)

  it("finds a server that does not listen, before a client does", function()
    local gone = "127.0.0.1:" .. net.free_port()
    page = process.tempdir("page") .. "/ping"
    answer("body=pong")
    r = rig.start({
      backend = HEALTH .. ", attempts = 1",
      responder = { args = { "--page", "/ping=" .. page } },
      servers = function(addresses) return ("%q, %q"):format(addresses[1], gone) end,
    })
    finally(function() r:stop() end)
    r.server:wait_log(gone:gsub("%p", "%%%0"))
    poll.wait(function()
      for _ = 1, 6 do
        if r:get("").status ~= 200 then
          return false
        end
      end
      return true
    end, "the dead server to be known", 15)
    get_many(r, 20, "")
  end)

  it("takes out even the only server: 503, and the log says that it is down", function()
    start({ count = 1 })
    finally(function() r:stop() end)
    answer("body=pang")
    poll.wait(function()
      return r:get("").status == 503
    end, "the server to be down", 15)
    assert.is_truthy(tonumber(r:get("").headers["retry-after"]))
    answer("body=pong")
    poll.wait(function()
      return r:get("").status == 200
    end, "the server to be back", 15)
  end)

  it("that times out takes out a server that has a request, but room for more", function()
    start({ backend = "max_conns = 8, keepalive = 1" })
    local client
    finally(function()
      client.conn:reset()
      r:stop()
    end)
    client = http.open(r.address)
    client:send({ path = rig.target("fail=hang&Work") })
    r:wait_started("Work", 1)
    local stuck
    for _, event in ipairs(r:events("START")) do
      stuck = event.uri:find("Work") and tonumber(event.listener) or stuck
    end
    answer(("%d.fail=hang&%d.body=pong"):format(stuck, 3 - stuck))
    r.server:wait_log("server " .. r.back.addresses[stuck]:gsub("%p", "%%%0")
      .. " is out of service")
    assert.is_true(all_go_to(3 - stuck))
  end)

  it("that times out while the server is full of our own requests says nothing", function()
    start({ count = 1, backend = "max_conns = 2" })
    finally(function() r:stop() end)
    local clients = {}
    for i = 1, 2 do
      clients[i] = http.open(r.address)
      clients[i]:send({ path = rig.target("delay=hold&Work") })
    end
    r:wait_started("Work", 2)
    answer("fail=hang") -- as of a PHP-FPM all of whose children are busy
    local waiting = http.open(r.address)
    waiting:send({ path = rig.target("After") })
    assert.is_true(waiting.conn:silent(5)) -- two pings in a row would have timed out
    r:release(2)
    for _, client in ipairs(clients) do
      assert.equal(200, client:receive().status)
      client:close()
    end
    answer("body=pong")
    assert.equal(200, waiting:receive().status)
    assert.equal(200, r:get("").status)
    waiting:close()
  end)
end)

describe("a reload without `health`", function()
  for _, workers in ipairs({ 1, 2 }) do
    it(("puts what it had taken out into service (%d workers)"):format(workers), function()
      local r = rig.start({
        workers = workers, control = true, -- there is no page that says pong
        backend = [[health = { interval = "50ms", fall = 1, rise = 2 }]],
      })
      finally(function() r:stop() end)
      r.server:wait_log("is out of service")
      assert.equal(503, r:get("").status)
      r.server:reload_fails(r:route({
        backend = "", settings = [[on_start = function() error("not today") end]],
      }))
      assert.equal(503, r:get("").status) -- a refused reload changes nothing
      r.server:reload(r:route({ backend = "" }))
      get_many(r, 20, "")
      assert.is_true(r:status().backends[1].servers[1].up)
      r.server:reload(r:route())
      poll.wait(function()
        return r:get("").status == 503
      end, "the checks to count again")
    end)
  end
end)

describe("a health check by the status page", function()
  local function page_of(fields)
    return "type=application/json&body=" .. http.escape(
      ('{"pool":"www","process manager":"static","accepted conn":%d,"listen queue":%d,'
        .. '"max listen queue":9,"listen queue len":511,"idle processes":2,"active processes":3,'
        .. '"total processes":5,"max active processes":5,"max children reached":%d,'
        .. '"slow requests":%d}'):format(unpack(fields)))
  end

  local function begin(backend)
    local page = process.tempdir("page") .. "/status"
    local function answer(commands)
      process.write_file(page .. ".new", commands)
      assert(os.rename(page .. ".new", page))
    end
    answer(page_of({ 70, 4, 6, 8 }))
    local one = rig.start({
      control = true, workers = 2, responder = { args = { "--page", "/status=" .. page } },
      backend = [[health = { status = "/status", interval = "60ms", timeout = "9s", rise = 1,
        fall = 1 }, ]] .. (backend or ""),
    })
    return one, answer
  end

  local function server_of(one)
    return one:status().backends[1].servers[1]
  end

  it("keeps the pool's numbers, and no load", function()
    local one, answer = begin()
    finally(function() one:stop() end)
    local pool = poll.wait(function()
      return server_of(one).pool
    end, "the numbers")
    assert.same({
      accepted = 70, listen_queue = 4, max_listen_queue = 9, listen_queue_size = 511, idle = 2,
      active = 3, total = 5, max_active = 5, max_children_reached = 6, slow_requests = 8,
    }, pool)
    assert.is_true(server_of(one).load < 4) -- those who wait are no load: nobody asked for that
    answer(page_of({ 71, 0, 6, 9 }))
    poll.wait(function()
      return server_of(one).pool.slow_requests == 9
    end, "the next numbers")
    assert.matches("\n    PHP%-FPM: 3 active, 2 idle, most active 5; listen queue 0/511, "
      .. "longest 9; max_children reached: 6; slow requests: 9\n", one:tell("status"))
    local samples = metrics.samples((metrics.fetch(one.control)))
    assert.equal(71, samples[('moongate_phpfpm_accepted_connections_total{backend="app",'
      .. 'server=%q}'):format(one.back.address)])
    assert.equal(403, http.get(one.address, "/status").status)
    one.server:reload(one:route({ backend = "health = true" }))
    assert.is_nil(server_of(one).pool)
    assert.is_nil(one:tell("status"):find("PHP-FPM", 1, true))
  end)

  it("is failed by what is no status page, and passed again", function()
    local one, answer = begin()
    finally(function() one:stop() end)
    local function is(state)
      poll.wait(function()
        return server_of(one).state == state
      end, state)
    end
    is("up")
    for _, bad in ipairs({ "body=pong", "body=" .. http.escape('{"error":1}'), "status=404" }) do
      answer(bad)
      is("unhealthy")
      answer(page_of({ 1, 0, 0, 0 }))
      is("up")
    end
    one.server:wait_log("out of service: 1 checks in a row failed, the last: the answer was no "
      .. "status page in JSON")
  end)

  it("counts the load, too, where `load` names the same page", function()
    local one = begin([[load = "/status"]])
    finally(function() one:stop() end)
    poll.wait(function()
      local now = server_of(one)
      return now.pool and now.load >= 4
    end, "the load")
  end)
end)

describe("load = \"status\"", function()
  it("counts no more after a reload without it", function()
    local page = process.tempdir("page") .. "/status"
    process.write_file(page, "body=" .. http.escape('{"listen queue":40,"processes":[]}'))
    local r = rig.start({
      control = true, workers = 2, backend = [[load = "status"]],
      responder = { args = { "--page", "/status=" .. page } },
    })
    finally(function() r:stop() end)
    local function load_of()
      return r:status().backends[1].servers[1].load
    end
    poll.wait(function()
      return load_of() >= 40
    end, "the status to count")
    r.server:reload(r:route({ backend = "" }))
    assert.is_true(load_of() < 40)
  end)

  it("sends more to the server that says it has less to do", function()
    local page = process.tempdir("page") .. "/status"
    -- As PHP-FPM's `json&full`, of which so many processes are at work.
    local function status(first, second)
      local parts = {}
      for i, busy in ipairs({ first, second }) do
        local processes = ('{"pid":7,"state":"Running","requests":9},'):rep(busy)
        parts[i] = ("%d.type=application/json&%d.body=%s"):format(i, i, http.escape(
          ('{"pool":"www","process manager":"static","listen queue":0,"idle processes":%d,'
            .. '"active processes":%d,"total processes":20,"processes":[%s'
            .. '{"pid":8,"state":"Idle","requests":9}]}'):format(20 - busy, busy, processes)))
      end
      process.write_file(page .. ".new", table.concat(parts, "&"))
      assert(os.rename(page .. ".new", page))
    end
    status(15, 1)
    local r = rig.start({
      responder = { count = 2, args = { "--page", "/status=" .. page } },
      backend = [[balance = "least_conn", load = "status",
        health = { ping = "/ping", interval = "100ms", expect = "hello" }]],
    })
    finally(function() r:stop() end)
    local function all_go_to(listener)
      for _ = 1, 8 do
        if r:get("who").headers["x-listener"] ~= tostring(listener) then
          return false
        end
      end
      return true
    end
    poll.wait(function()
      return all_go_to(2)
    end, "the status of the first server to count", 8)
    status(1, 15)
    poll.wait(function()
      return all_go_to(1)
    end, "the new status to count", 8)
    process.write_file(page, "body=no%20JSON%20%7B")
    local before = #r:events("REQUEST")
    poll.wait(function()
      return #r:events("REQUEST") >= before + 4
    end, "a status that is none")
    get_many(r, 10, "")
  end)
end)

describe("PHP-FPM's ping and status pages", function()
  -- The pool has ping.path = /ping and pm.status_path = /status.
  for name, lines in pairs({
    ["as usual"] = {}, ["with cgi.fix_pathinfo = 0"] = { "php_admin_value[cgi.fix_pathinfo] = 0" },
  }) do
    it("are no client's where health or load name them, " .. name, function()
      local fpm = php.start({ pages = "tests/pages", children = 2, pool = lines })
      local ok, r = pcall(rig.start, {
        responder = false, servers = { fpm.address },
        backend = [[health = { ping = "/ping", interval = "60s" }, load = "status"]],
        backends = ("other = %q"):format(fpm.address),
        before = ("local ROOT = %q"):format(fpm.root),
        on_request = [[
          if req.path == "/admin/pool" then
            return { backend = "app", docroot = ROOT, script = "/status" }
          elseif req.args.own then
            local answer = require("moongate").fastcgi("app", { SCRIPT_NAME = "/ping",
              SCRIPT_FILENAME = "/ping", REQUEST_METHOD = "GET" })
            return { body = answer.body }
          end
          do return { backend = req.args.other and "other" or "app", docroot = ROOT,
            strip = req.path:sub(1, 6) == "/strip" and "/strip" or nil } end
        ]],
      })
      if not ok then
        fpm:stop()
        error(r, 0)
      end
      r.back = { stop = function() fpm:stop() end }
      finally(function() r:stop() end)
      for _, path in ipairs({
        "/ping", "/status", "/status?full", "/ping?other=1", "//ping", "/%70ing", "/./ping",
        "/x/../ping", "/%2fping", "/x/%2e%2e/status", "/hello.php/ping", "/hello.php/status",
        "/style.css/z.php/ping123456",
      }) do
        local res = http.request(r.address, { path = path })
        assert.is_nil(res.body:find("pong", 1, true), path)
        assert.is_nil(res.body:find("accepted conn", 1, true), path)
        assert.equal(403, res.status, path)
      end
      assert.equal("Hello from PHP\n", http.request(r.address, { path = "/hello.php" }).body)
      assert.is_nil(http.request(r.address, { path = "/strip/ping" }).body:find("pong", 1, true))
      assert.is_truthy(http.request(r.address, { path = "/admin/pool" }).body
        :find("accepted conn", 1, true)) -- the route's own decision
      assert.equal("pong", http.request(r.address, { path = "/?own=1" }).body)
      r.server:wait_log("answered 403: /ping is PHP%-FPM's own page.*; GET /ping, ")
    end)
  end
end)
