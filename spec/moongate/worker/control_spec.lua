-- Specs of moongate.worker.control, with a core made of tables.

local control = require("moongate.worker.control")
local json = require("moongate.base.json")

describe("control", function()
  local core
  before_each(function()
    core = { version = "1.2.3", done = {} }
    function core.tokens()
      return core.route_tokens or {}
    end
    function core.equal(a, b)
      return a == b
    end
    function core.backends()
      local function server(address, fields)
        local one = {
          address = address, serving = 5, active = 2, idle = 1, requests = 10, fails = 1,
          latency = 0.01,
          up = true, backup = false, draining = false, weight = 1, max_conns = 4, named = 0,
        }
        for key, value in pairs(fields or {}) do
          one[key] = value
        end
        return one
      end
      return {
        {
          name = "app", held = false, queued = 3, max_queue = 2048,
          servers = { server("10.0.0.1:9000"), server("127.0.0.1:9000", { up = false }) },
        },
        { name = "my app", held = true, queued = 0, max_queue = 1024,
          servers = { server("unix:/run/a.sock") } },
      }
    end
    core.now = function()
      return 1060.5
    end
    function core.log_level()
      return "info", "info"
    end
    function core.shared_info()
      return { size = 14680064, used = 4096 }
    end
    function core.state()
      return {
        started = 1000, pid = 77, generation = 3,
        workers = {
          { index = 0, pid = 78, ready = true, generations = 1, connections = 5, requests = 99,
            lua_memory = 2 ^ 20, restarts = 0 },
          { index = 1, pid = 79, ready = true, generations = 2, connections = 6, requests = 98,
            lua_memory = 2 ^ 21, restarts = 1 },
        },
        listeners = "127.0.0.1:8080\t\t\nunix:/run/c.sock\tops\tunix:/run/c.sock\n",
        last_error = core.last_error, last_error_at = core.last_error and 1050 or 0,
      }
    end
    function core.reload(from)
      table.insert(core.done, { "reload", from })
      return 4
    end
    function core.reloads()
      return { requested = 4, done = 3, ok = false, error = "r.lua:1: x", generation = 2, at = 9 }
    end
    function core.loads()
      local function load(number, outcome, hash, fields)
        local one = {
          number = number, outcome = outcome, hash = hash, at = 10 + number, ["until"] = 0,
          kept = number > 0, reason = "HUP", error = "", renewals = 0,
        }
        for key, value in pairs(fields or {}) do
          one[key] = value
        end
        return one
      end
      return {
        load(1, "served", "aa", { ["until"] = 12 }), load(2, "served", "bb", { kept = false }),
        load(0, "failed", "", { error = "r.lua:1: x" }), load(3, "served", "cc"),
        load(4, "serving", "cc", { renewals = 2 }),
      }
    end
    core.noted = { errors = {}, messages = {} }
    function core.recent()
      return core.noted
    end
    function core.counters()
      return { series = {
        { backend = "app", tenant = "", methods = { GET = { [0] = 0, 0, 9, 0, 0, 0 } } },
        { backend = "app", tenant = "shop", methods = { GET = { [0] = 0, 0, 5, 0, 1, 2 } } },
        { backend = "my app", tenant = "shop", methods = { POST = { [0] = 0, 0, 1, 0, 0, 0 } } },
        { backend = "app", tenant = "blog", methods = { GET = { [0] = 0, 0, 1, 0, 0, 0 } } },
        { backend = "app", tenant = false, methods = { GET = { [0] = 0, 0, 3, 0, 0, 0 } } },
      }, cached = core.cached, coded = core.coded, refreshed = 5 }
    end
    core.cached = { hit = 0, miss = 0, stale = 0, bypass = 0 }
    core.coded = { gzip = { answers = 0, bytes_in = 0, bytes_out = 0 } }
    core.kept = {
      responses = 0, bytes = 0, limit = 0, stored = 0, evicted = 0, purged = 0,
    }
    function core.cache_counts()
      return core.kept
    end
    function core.tenant(backend, tenant)
      if tenant == "blog" then
        return 0, 1
      end
      return backend == "app" and 2 or 1, backend == "app" and 8 or 0
    end
    core.named = { app = { 5, 12 }, ["my app"] = { 1, 0 } }
    function core.tenants_load(backend)
      return unpack(core.named[backend])
    end
    core.list = {}
    function core.changes()
      return core.list
    end
    function core.change(...)
      table.insert(core.done, { "change", ... })
      return true
    end
    function core.forget_changes(...)
      table.insert(core.done, { "forget", ... })
      return 2
    end
    function core.cache_purge(...)
      table.insert(core.done, { "purge", ... })
      return 3
    end
    function core.stop()
      table.insert(core.done, { "stop" })
      return true
    end
    function core.hold(...)
      table.insert(core.done, { "hold", ... })
      return true
    end
    function core.drain(...)
      table.insert(core.done, { "drain", ... })
      return true
    end
  end)

  local function ask(method, path, args, headers)
    local d = control.handle({
      method = method, path = path, args = args or {}, headers = headers or {},
    }, core)
    assert.equal("application/json", d.headers["Content-Type"])
    assert.equal("no-store", d.headers["Cache-Control"])
    assert.is_nil(require("moongate.decision").problem(d))
    return d.status, assert(json.decode(d.body)), d
  end

  local function post(path, args)
    return ask("POST", path, args, { ["Moongate-Control"] = "1" })
  end

  it("shows what the cache and compression have done, once there is something", function()
    local _, got = ask("GET", "/status")
    assert.same({}, { got.cache, got.compression })
    core.cached.bypass = 2
    _, got = ask("GET", "/status")
    assert.same({ 2, nil }, { got.cache.bypassed, got.cache.hit_rate })
    core.cached = { hit = 6, miss = 1, stale = 1, bypass = 2 }
    core.kept = {
      responses = 3, coded = 6, bytes = 8192, limit = 65536, stored = 9, evicted = 4, purged = 2,
    }
    core.coded.br = { answers = 2, bytes_in = 900, bytes_out = 300 }
    _, got = ask("GET", "/status")
    assert.same({
      hits = 6, misses = 1, stale = 1, bypassed = 2, hit_rate = 0.875, refreshed = 5,
      entries = 3, coded = 6, bytes = 8192, limit = 65536, stored = 9, evicted = 4, purged = 2,
    }, got.cache)
    assert.same({ br = core.coded.br }, got.compression)
    function core.cache_counts() end
    assert.is_nil(select(2, ask("GET", "/status")).cache)
  end)

  it("shows its state", function()
    local status, got = ask("GET", "/status")
    assert.equal(200, status)
    assert.equal("1.2.3", got.version)
    assert.equal("app", got.backends[1].name)
    assert.same({ serving = 10, active = 4, idle = 2, requests = 20, fails = 2, up = 1 },
      got.backends[1].totals)
    assert.equal("127.0.0.1:9000", got.backends[1].servers[2].address)
    assert.is_false(got.backends[1].servers[2].up)
    assert.equal(200, (ask("HEAD", "/status")))
    assert.equal(60.5, got.uptime)
    assert.equal(77, got.pid)
    assert.equal(3, got.generation)
    assert.equal(2, got.generations)
    assert.equal(79, got.workers[2].pid)
    assert.same({
      { address = "127.0.0.1:8080", control = false },
      { address = "unix:/run/c.sock", name = "ops", control = true, given = "unix:/run/c.sock" },
    }, got.listeners)
    assert.is_nil(got.last_error)
    assert.same({ size = 14680064, used = 4096 }, got.shared)
    core.last_error = "r.lua:1: x"
    core.now = function()
      return 999 -- the clock was set back
    end
    core.shared_info = function()
      return nil, "there is no room for it"
    end
    status, got = ask("GET", "/status")
    assert.equal(200, status)
    assert.equal(0, got.uptime)
    assert.is_nil(got.shared)
    assert.same({ text = "r.lua:1: x", at = 1050 }, got.last_error)
  end)

  it("reloads, and says how that went", function()
    local status, got = post("/reload")
    assert.equal(200, status)
    assert.same({ id = 4 }, got)
    assert.same({ { "reload" } }, core.done)
    status, got = ask("GET", "/reload")
    assert.equal(200, status)
    assert.same(core.reloads(), got)
    assert.same({ { "reload" } }, core.done)
    core.reload = function()
      return nil, "the master is gone"
    end
    status, got = post("/reload")
    assert.equal(500, status)
    assert.equal("the master is gone", got.error)
  end)

  it("shows the last errors and messages of all workers as one, and what is degraded", function()
    local function note(what, text, first, last, count, generation)
      return {
        what = what, text = text, first = first, last = last, count = count,
        generation = generation,
      }
    end
    core.noted = {
      errors = {
        note("on_request", "r.lua:3: x", 5, 9, 2, 2), note("on_request", "r.lua:3: x", 3, 8, 4, 3),
        note("on_log", "r.lua:9: y", 10, 11, 1, 2),
      },
      messages = { note("/a.php", "old", 1, 2, 3, 1), note("/a.php", "new", 4, 5, 1, 1) },
    }
    local body = select(2, ask("GET", "/status"))
    local first = note("on_request", "r.lua:3: x", 3, 9, 6, 3)
    first.holds = true
    assert.same(first, body.errors[1])
    local words = {}
    for i, one in ipairs(body.errors) do
      words[i] = one.what .. " " .. tostring(one.holds)
    end
    assert.same({ "on_request true", "on_log false", "HUP false" }, words)
    assert.same({
      {
        name = "shop", active = 3, queued = 8, requests = 9, client_errors = 1, server_errors = 2,
      },
      {
        name = "other", active = 3, queued = 3, requests = 3, client_errors = 0, server_errors = 0,
      },
      {
        name = "blog", active = 0, queued = 1, requests = 1, client_errors = 0, server_errors = 0,
      },
    }, body.tenants)
    local texts = {}
    for _, one in ipairs(body.degraded) do
      texts[#texts + 1] = one.text
    end
    assert.same({
      "backend 'app': server 127.0.0.1:9000 is down: it has failed too often",
      "backend 'my app' is held: its requests wait",
    }, texts)
    local message = note(nil, "new", 1, 5, 4, 1)
    message.script = "/a.php"
    assert.same({ messages = { message } }, select(2, ask("GET", "/messages")))
  end)

  it("changes servers at run time", function()
    local headers = { ["Moongate-Control"] = "1" }
    local function change(args)
      core.done = {}
      local status, body = ask("POST", "/server", args, headers)
      return status, body, core.done
    end
    local status, body, done = change({
      backend = "app", server = ":9000", action = "weight", weight = "3",
    })
    assert.equal(200, status)
    assert.same({ ok = true, server = "127.0.0.1:9000" }, body)
    assert.same({ { "change", "app", "127.0.0.1:9000", "weight", 3 } }, done)
    done = select(3, change({ backend = "app", server = "10.0.0.3:1", action = "add" }))
    assert.same({ { "change", "app", "10.0.0.3:1", "add", 1 } }, done)
    done = select(3, change({ backend = "app", server = ":9000", action = "remove" }))
    assert.same({ { "change", "app", "127.0.0.1:9000", "remove" } }, done)
    status, body, done = change({ backend = "app", action = "forget", server = ":9000" })
    assert.same({ 200, { ok = true, count = 2 } }, { status, body })
    assert.same({ { "forget", "app", "127.0.0.1:9000" } }, done)
    for _, case in ipairs({
      { 404, "no backend", backend = "web", server = ":9000", action = "add" },
      { 400, "'action' is", backend = "app", server = ":9000", action = "grow" },
      { 400, "already", backend = "app", server = ":9000", action = "add" },
      { 400, "of backend 'my app'", backend = "app", server = "unix:/run/a.sock", action = "add" },
      { 400, "from 1 to 1000", backend = "app", server = ":9000", action = "weight",
        weight = "1001" },
      { 404, "has no server", backend = "app", server = ":9001", action = "remove" },
      { 400, "no server left", backend = "my app", server = "unix:/run/a.sock",
        action = "remove" },
    }) do
      status, body, done = change(case)
      assert.equal(case[1], status)
      assert.matches(case[2], body.error, 1, true)
      assert.same({}, done)
    end
  end)

  it("shows which servers are different from the script", function()
    core.list = {
      { backend = "app", server = "127.0.0.1:9000", action = "weight", weight = 3, at = 1,
        active = 2 },
      { backend = "app", server = "10.0.0.9:1", action = "remove", at = 1, active = 1 },
    }
    local body = select(2, ask("GET", "/backends", { name = "app" }))
    assert.equal("weight", body.servers[2].changed)
    assert.is_nil(body.servers[1].changed)
    assert.same({ { address = "10.0.0.9:1", active = 1 } }, body.removed)
    assert.equal(2, #select(2, ask("GET", "/status")).changes)
  end)

  it("sums as `other` the tenants that are not listed", function()
    function core.counters()
      local series = {}
      for i = 1, 30 do
        series[i] = {
          backend = "app", tenant = "t" .. i,
          methods = { GET = { [0] = 0, 0, i, 0, i == 1 and 1 or 0, 0 } },
        }
      end
      series[31] = { backend = false, tenant = false,
        methods = { GET = { [0] = 0, 0, 0, 0, 0, 7 } } }
      return { series = series, cached = core.cached, coded = core.coded }
    end
    function core.tenant(_, tenant)
      return tenant == "t1" and 4 or 0, 0
    end
    core.named = { app = { 10, 1 }, ["my app"] = { 0, 0 } }
    local list = select(2, ask("GET", "/status")).tenants
    assert.equal(21, #list)
    assert.same({ -- t2 to t11, and what no series has
      name = "other", active = 6, queued = 1, requests = 7 + (2 + 11) * 10 / 2, client_errors = 0,
      server_errors = 7,
    }, list[1])
    assert.same({ "t1", 4, 1 }, { list[2].name, list[2].active, list[2].client_errors })
    assert.same({ "t30", "t12" }, { list[3].name, list[21].name })
  end)

  it("has no `other` where all tenants are listed", function()
    core.named = { app = { 2, 9 }, ["my app"] = { 0, 0 } } -- a moment before the last request ended
    function core.counters()
      return { series = {
        { backend = "app", tenant = "shop", methods = { GET = { [0] = 0, 0, 5, 0, 1, 2 } } },
        { backend = "app", tenant = "blog", methods = { GET = { [0] = 0, 0, 5, 0, 1, 2 } } },
      }, cached = core.cached, coded = core.coded }
    end
    local list = select(2, ask("GET", "/status")).tenants
    assert.same({ "shop", "blog" }, { list[1].name, list[2].name })
    assert.is_nil(list[3])
  end)

  it("lists what was loaded, the latest first", function()
    local status, body = ask("GET", "/generations")
    assert.equal(200, status)
    local list = body.generations
    assert.equal(5, #list)
    assert.same({
      number = 4, outcome = "serving", serving = true, at = 14, hash = "cc", kept = true,
      reason = "HUP", renewals = 2,
    }, list[1])
    assert.same({
      outcome = "failed", serving = false, at = 10, kept = false, reason = "HUP",
      error = "r.lua:1: x",
    }, list[3])
    assert.equal(12, list[5]["until"])
  end)

  it("rolls back: to the latest with other files that are kept, or to the one that is named",
    function()
      local headers = { ["Moongate-Control"] = "1" }
      local status, body = ask("POST", "/rollback", nil, headers)
      assert.equal(200, status)
      assert.same({ id = 4, to = 1 }, body)
      assert.equal(3, select(2, ask("POST", "/rollback", { number = "3" }, headers)).to)
      assert.same({ { "reload", 1 }, { "reload", 3 } }, core.done)
      for _, case in ipairs({
        { "4", 400, "generation 4 serves already" }, { "0", 404, "not kept" },
        { "2", 404, "generation 2 are not kept; there are those of 1, 3" },
        { "x", 400, "'x' is no number of a generation" },
      }) do
        status, body = ask("POST", "/rollback", { number = case[1] }, headers)
        assert.equal(case[2], status)
        assert.matches(case[3], body.error, 1, true)
      end
    end)

  it("answers only to hosts of its own: a name may be pointed at any address", function()
    core.state = function()
      return { listeners = "site.test:8080\t\t\nadmin.test:9901\tcontrol\tadmin.test:9901\n"
        .. "[::]:9902\t\t[::]:9902\nunix:/run/c.sock\t\tunix:/run/c.sock\n"
        .. "10.7.7.7:9903\t\tOps.test:9903\n" }
    end
    local function status(host, server_ip, headers)
      local d = control.handle({
        method = "GET", path = "/backends", args = {}, headers = headers or {}, host = host,
        server_ip = server_ip,
      }, core)
      return d.status, d.body
    end
    for _, host in ipairs({ "localhost", "x.localhost", "127.0.0.1", "127.9.8.7", "[::1]",
      "127.0.0.9", "admin.test", "ops.test" }) do
      assert.equal(200, (status(host, "127.0.0.9")), host)
    end
    assert.equal(200, (status("[::1]", "::1")))
    assert.equal(200, (status(nil, "127.0.0.9")))
    assert.equal(200, (status("", "127.0.0.9")))
    for _, host in ipairs({ "evil.test", "site.test", "localhost.evil.test", "127.0.0.1.evil.test",
      "10.0.0.8", "[2001:db8::2]", "evil127.0.0.1", "127.0.0.1x" }) do
      local code, body = status(host, "127.0.0.9")
      assert.equal(421, code, host)
      assert.truthy(body:find(host, 1, true) or body:find("2001:db8::2", 1, true))
      assert.truthy(body:find("127.0.0.9", 1, true))
    end
    -- A listener that other machines reach, after a reload whose route has no token any more.
    local code, body = status("10.0.0.9", "10.0.0.9")
    assert.equal(403, code)
    assert.matches("the route that serves has no token", body, 1, true)
    -- Who has the token is no page that a browser was led to.
    core.route_tokens = { token = "operator-token-1" }
    assert.equal(200, (status("web1.test", "10.0.0.9",
      { Authorization = "Bearer operator-token-1" })))
    assert.equal(401, (status("web1.test", "10.0.0.9")))
    core.route_tokens = nil
    -- What ssh -L passes on to a unix socket comes from browsers, too.
    assert.equal(421, (status("evil.test", "unix:")))
    for _, host in ipairs({ "localhost", "127.0.0.1", "[::1]", "moongate", "x" }) do
      assert.equal(200, (status(host, "unix:")), host)
    end
  end)

  it("stops", function()
    local status, got = post("/stop")
    assert.equal(200, status)
    assert.same({ ok = true }, got)
    assert.same({ { "stop" } }, core.done)
  end)

  it("shows lists that are empty as lists", function()
    core.backends = function()
      return {}
    end
    local _, _, d = ask("GET", "/status")
    assert.matches('"backends": %[%]', d.body)
    core.backends = function()
      return { { name = "app", held = false, queued = 0, max_queue = 0, servers = {} } }
    end
    _, _, d = ask("GET", "/backends")
    assert.matches('"servers": %[%]', d.body)
  end)

  it("shows one backend", function()
    local status, got = ask("GET", "/backends", { name = "my app" })
    assert.equal(200, status)
    assert.equal("my app", got.name)
    assert.is_true(got.held)
    assert.equal(2, got.totals.active)
    status, got = ask("GET", "/backends")
    assert.equal(200, status)
    assert.equal(2, #got)
  end)

  it("holds and resumes, drains and undrains", function()
    for _, case in ipairs({
      { "/hold", { backend = "app" }, { "hold", "app", true } },
      { "/resume", { backend = "my app" }, { "hold", "my app", false } },
      { "/drain", { backend = "app", server = "10.0.0.1:9000" },
        { "drain", "app", "10.0.0.1:9000", true }, "no other server of backend 'app' is up" },
      { "/undrain", { backend = "app", server = ":9000" },
        { "drain", "app", "127.0.0.1:9000", false } },
      { "/drain", { backend = "my app", server = "unix:/run/a.sock" },
        { "drain", "my app", "unix:/run/a.sock", true },
        "backend 'my app' has no server left: requests are answered 503, those that wait too; "
        .. "`moongate undrain my app unix:/run/a.sock` takes this one back, `moongate hold my app` "
        .. "lets requests wait" },
    }) do
      core.done = {}
      local status, got = post(case[1], case[2])
      assert.equal(200, status)
      assert.same({ ok = true, warning = case[4] }, got)
      assert.same({ case[3] }, core.done)
    end
  end)

  it("names what it does not know", function()
    for _, case in ipairs({
      { "/hold", { backend = "ap" }, 404, "there is no backend 'ap'; did you mean 'app'?" },
      { "/hold", {}, 400, "'backend' is missing: the name of a backend" },
      { "/drain", { backend = "app", server = "10.0.0.2:9000" }, 404,
        "backend 'app' has no server '10.0.0.2:9000'; did you mean '10.0.0.1:9000'?" },
      { "/drain", { backend = "app" }, 400,
        "'server' is missing: the address of a server of 'app'" },
      { "/drain", { backend = "%s", server = "x" }, 404, "there is no backend '%s'" },
    }) do
      local status, got = post(case[1], case[2])
      assert.equal(case[3], status)
      assert.same({ error = case[4] }, got)
      assert.same({}, core.done)
    end
    local status, got = ask("GET", "/backends", { name = "nope" })
    assert.equal(404, status)
    assert.equal("there is no backend 'nope'", got.error)
    status, got = ask("GET", "/statsu")
    assert.equal(404, status)
    assert.equal("there is no /statsu; did you mean '/status'?", got.error)
  end)

  it("says what the core says", function()
    core.hold = function()
      return nil, "100% wrong"
    end
    local status, got = post("/hold", { backend = "app" })
    assert.equal(500, status)
    assert.equal("100% wrong", got.error)
  end)

  it("takes each path's own method", function()
    for _, case in ipairs({
      { "POST", "/status", "GET, HEAD" }, { "PUT", "/backends", "GET, HEAD" },
      { "GET", "/hold", "POST" }, { "HEAD", "/drain", "POST" }, { "OPTIONS", "/resume", "POST" },
      { "GET", "/stop", "POST" }, { "PUT", "/reload", "GET, HEAD, POST" },
    }) do
      local status, got, d = ask(case[1], case[2], { backend = "app" })
      assert.equal(405, status)
      assert.equal(case[3], d.headers.Allow)
      assert.equal(case[2] .. " takes " .. case[3], got.error)
      assert.same({}, core.done)
    end
  end)

  it("does nothing for a web page", function()
    for _, headers in ipairs({
      {}, { ["Moongate-Control"] = "0" },
      { ["Moongate-Control"] = "1", Origin = "http://evil.test" },
      { ["Moongate-Control"] = "1", Origin = "null" },
      { ["Moongate-Control"] = "1", Origin = "http://localhost:8000", Host = "localhost:9500" },
      { ["Moongate-Control"] = "1", Origin = "http://localhost:9500" },
      { Origin = "http://localhost:9500", Host = "localhost:9500" },
    }) do
      for _, path in ipairs({ "/hold", "/reload", "/stop" }) do
        local status, got = ask("POST", path, { backend = "app" }, headers)
        assert.equal(403, status)
        assert.matches("web page", got.error)
        assert.same({}, core.done)
      end
    end
    -- But for one of its own origin.
    local status = ask("POST", "/stop", {}, {
      ["Moongate-Control"] = "1", Origin = "http://localhost:9500", Host = "LOCALHOST:9500",
    })
    assert.equal(200, status)
  end)

  it("asks for its token, and lets that of metrics read /metrics alone", function()
    core.route_tokens = { token = "operator-token-1", metrics_token = "metrics-token-12" }
    local compared = {}
    function core.equal(a, b)
      compared[#compared + 1] = { a, b }
      return a == b
    end
    local function with(method, path, authorization)
      return ask(method, path, { backend = "app" }, {
        ["Moongate-Control"] = "1", Authorization = authorization,
      })
    end
    for _, given in ipairs({
      false, "", "Bearer", "Bearer ", "Bearer operator-token-2", "Basic operator-token-1",
      "operator-token-1", "Bearer operator-token-1 x",
    }) do
      for _, path in ipairs({ "/status", "/metrics", "/nothing" }) do
        local status, got, d = with("GET", path, given or nil)
        assert.equal(401, status)
        assert.equal('Bearer realm="moongate"', d.headers["WWW-Authenticate"])
        assert.matches("token", got.error)
      end
    end
    assert.equal(401, (with("POST", "/stop", "Bearer x")))
    assert.same({ "x", "operator-token-1" }, compared[#compared - 1])
    assert.equal(200, (with("GET", "/status", "Bearer operator-token-1")))
    assert.equal(200, (with("POST", "/hold", "bearer  operator-token-1 ")))
    assert.same({ { "hold", "app", true } }, core.done)
    for _, case in ipairs({
      { "GET", "/status" }, { "POST", "/stop" }, { "POST", "/metrics" }, { "GET", "/" },
      { "GET", "/metrics/" },
    }) do
      local status, got = with(case[1], case[2], "Bearer metrics-token-12")
      assert.same({ 403, "this token is for GET /metrics alone" }, { status, got.error })
    end
    assert.same({ { "hold", "app", true } }, core.done)
  end)
end)
