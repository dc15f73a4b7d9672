-- /metrics against real requests: what is counted, for whom, over all workers; that it outlives
-- reloads and workers; that clients can't make it grow. promtool looks at every page.

local http = require("tests.support.http")
local metrics = require("tests.support.metrics")
local poll = require("tests.support.poll")
local process = require("tests.support.process")
local rig = require("tests.support.rig")
local server = require("tests.support.server")
local stage = require("tests.support.stage")

--- The page, which promtool has nothing to say about.
local function look(r, accept)
  local text, res = metrics.fetch(r.control, accept)
  local said = metrics.promtool({ "check", "metrics" }, text)
  assert.same({ 0, "", "" }, { said.code, said.stdout, said.stderr })
  return metrics.samples(text), text, res
end

--- The samples, once they say something: a request is counted when its answer has been written,
--- which its client may see before that.
local function wait_for(r, what, condition)
  local samples
  poll.wait(function()
    samples = metrics.samples((metrics.fetch(r.control)))
    return condition(samples)
  end, what)
  return samples
end

local function counted(name, value)
  return function(samples)
    return samples[name] == value
  end
end

--- So many requests have been counted in all, by whichever workers.
local function total(value)
  return function(samples)
    local sum = 0
    for name, count in pairs(samples) do
      sum = sum + (name:find("^moongate_requests_total{") and count or 0)
    end
    return sum == value
  end
end

describe("/metrics", function()
  it("counts requests by backend, tenant, method and class of the status", function()
    local r = rig.start({
      control = true, workers = 2, backend = "keepalive = 2",
      on_request = [[
        if req.path == "/here" then return { status = 204 } end
        local tenant = req.args.Tenant
        do return { backend = "app", docroot = "/srv/app", tenant = tenant } end]],
    })
    finally(function() r:stop() end)
    for _ = 1, 3 do
      r:get("body=x")
    end
    r:get("status=404&Tenant=shop")
    r:get("status=500&Tenant=a%22%5C%0Ab", { method = "POST", body = "12345" })
    r:get("body=x", { method = "BREW" })
    http.request(r.address, { path = "/here", version = "1.0" })
    local samples = wait_for(r, "the requests to be counted", total(7))
    local function requests(labels)
      return samples["moongate_requests_total{" .. labels .. "}"]
    end
    assert.equal(3, requests('backend="app",tenant="",method="GET",code="2xx"'))
    assert.equal(0, requests('backend="app",tenant="",method="GET",code="5xx"'))
    assert.equal(1, requests('backend="app",tenant="shop",method="GET",code="4xx"'))
    assert.equal(1, requests([[backend="app",tenant="a\"\\\nb",method="POST",code="5xx"]]))
    assert.equal(1, requests('backend="app",tenant="",method="other",code="2xx"'))
    assert.equal(6, samples['moongate_request_duration_seconds_count{backend="app"}'])
    assert.equal(1, samples['moongate_request_duration_seconds_count{backend=""}'])
    assert.equal(6, samples['moongate_backend_queue_seconds_count{backend="app"}'])
    assert.equal(6, samples['moongate_backend_first_byte_seconds_count{backend="app"}'])
    local connects = samples['moongate_backend_connect_seconds_count{backend="app"}']
    assert.is_true(connects >= 1 and connects < 6, "connects: " .. connects)
    assert.equal(6, samples['moongate_requests_by_protocol_total{protocol="HTTP/1.1"}'])
    assert.equal(1, samples['moongate_requests_by_protocol_total{protocol="HTTP/1.0"}'])
    assert.equal(0, samples['moongate_requests_by_protocol_total{protocol="FastCGI"}'])
    assert.equal(5, samples['moongate_request_body_bytes_total{backend="app"}'])
    assert.is_true(samples['moongate_response_bytes_total{backend="app"}'] > 6 * 50)
    assert.equal(7, samples["moongate_client_connections_accepted_total"])
    local labels = ('{backend="app",server=%q}'):format(r.back.address)
    assert.equal(6, samples["moongate_server_requests_total" .. labels])
    assert.equal(1, samples["moongate_server_up" .. labels])
    assert.is_true(samples["moongate_server_idle_connections" .. labels] <= 2)
    look(r)
  end)

  it("tells connections that are active from idle ones", function()
    local r = rig.start({ control = true, workers = 2 })
    finally(function() r:stop() end)
    local idle, active = http.open(r.address), http.open(r.address)
    idle:send({ path = rig.target("body=x") })
    assert.equal(200, idle:receive().status)
    active:send({ path = rig.target("body=x&delay=hold") })
    local function clients(open, busy)
      return function(samples)
        return samples["moongate_client_connections"] == open
          and samples["moongate_client_connections_active"] == busy
          and samples["moongate_client_connections_idle"] == open - busy
      end
    end
    wait_for(r, "one of each", clients(2, 1))
    r:release()
    assert.equal(200, active:receive().status)
    wait_for(r, "two idle ones", clients(2, 0))
    idle:close()
    active:close()
    wait_for(r, "none", clients(0, 0))
  end)

  it("counts what limits refuse, by their names", function()
    local r = rig.start({
      control = true, workers = 2, before = [[
        local limit = require("moongate.limit")
        local downloads = limit.rate({ name = "downloads", rate = "2/h", burst = 2 })
        local uploads = limit.concurrency({ name = "uploads", limit = 1 })
      ]],
      on_request = "local refused = req.path == '/d' and downloads(req) or uploads(req) "
        .. "if refused then return refused end",
    })
    finally(function() r:stop() end)
    local refused = 0
    for _ = 1, 6 do
      refused = refused + (http.get(r.address, "/d?body=x").status == 429 and 1 or 0)
    end
    assert.is_true(refused >= 3)
    local samples = wait_for(r, "the refusals",
      counted('moongate_limit_rejections_total{limit="downloads"}', refused))
    assert.equal(0, samples['moongate_limit_rejections_total{limit="uploads"}'])
    look(r)
    r:tell("reload")
    assert.equal(429, http.get(r.address, "/d?body=x").status)
    wait_for(r, "one more", counted('moongate_limit_rejections_total{limit="downloads"}',
      refused + 1))
  end)

  it("tells servers by their state, and what failed", function()
    local r = rig.start({
      control = true, responder = { count = 2 },
      backend = 'balance = "round_robin", max_fails = 1, fail_timeout = 600, attempts = 2',
    })
    finally(function() r:stop() end)
    local first, second = unpack(r.back.addresses)
    r:get("1.fail=close-before-head&body=x")
    r:get("1.fail=close-before-head&body=x")
    r:tell("drain", "app", second)
    local samples = wait_for(r, "the failure",
      counted('moongate_retries_total{backend="app"}', 1))
    local function state(address, name)
      return samples[('moongate_server_state{backend="app",server=%q,state=%q}'):format(address,
        name)]
    end
    assert.same({ 1, 0 }, { state(first, "failed"), state(first, "up") })
    assert.same({ 1, 0 }, { state(second, "draining"), state(second, "up") })
    assert.equal(1, samples[('moongate_server_failures_total{backend="app",server=%q}'):format(
      first)])
    look(r)
  end)

  it("counts on over reloads and workers", function()
    local r = rig.start({ control = true, workers = 2, dies = true })
    finally(function() r:stop() end)
    local name = 'moongate_requests_total{backend="app",tenant="",method="GET",code="2xx"}'
    r:get("body=x")
    r:tell("reload")
    r:get("body=x")
    wait_for(r, "both requests", counted(name, 2))
    process.signal(r.workers[1], "KILL")
    process.signal(r.workers[2], "KILL")
    poll.wait(function()
      local workers = r.server:workers()
      return #workers == 2 and workers[1] ~= r.workers[1] and workers[2] ~= r.workers[2]
    end, "two other workers")
    poll.wait(function()
      local ok, res = pcall(r.get, r, "body=x")
      return ok and res.status == 200
    end, "an answer")
    local restarts = 'moongate_worker_restarts_total{worker="%d"}'
    local samples = wait_for(r, "the third request, and two restarts", function(samples)
      return samples[name] == 3
        and (samples[restarts:format(0)] or 0) + (samples[restarts:format(1)] or 0) == 2
    end)
    assert.equal(1, samples['moongate_reloads_total{result="success"}'])
    assert.equal(2, samples["moongate_generation"])
    assert.equal(1, samples["moongate_last_reload_successful"])
    assert.is_true(samples['moongate_worker_resident_memory_bytes{worker="1"}'] > 2 ^ 20)
    assert.is_true(samples['moongate_worker_lua_memory_bytes{worker="0"}'] > 2 ^ 10)
    look(r)
  end)

  it("says that a reload has failed", function()
    local r = rig.start({ control = true })
    finally(function() r:stop() end)
    process.write_file(r.server.route_path, "return 1")
    assert.equal(1, r:command("reload").code)
    local samples = look(r)
    assert.equal(0, samples["moongate_last_reload_successful"])
    assert.equal(1, samples['moongate_reloads_total{result="failure"}'])
  end)

  it("does not grow by what clients say", function()
    local r = rig.start({
      control = true, backend = "keepalive = 4",
      on_request = [[
        do return { backend = "app", docroot = "/srv/app", tenant = req.host } end]],
    })
    finally(function() r:stop() end)
    for i = 1, 11 do
      local client = http.open(r.address)
      for j = 1, 100 do
        local host = ("host%d-%d.example"):format(i, j)
        client:request({ method = "M" .. j, path = "/x", host = host })
      end
      client:close()
    end
    local other = 'moongate_requests_total{backend="app",tenant="other",method="other",code="2xx"}'
    local samples = wait_for(r, "the requests", function(samples)
      return samples[other] == 1100 - 512
    end)
    assert.equal(1, samples['moongate_requests_total{backend="app",tenant="host1-1.example",'
      .. 'method="other",code="2xx"}'])
    local count = 0
    for _ in pairs(samples) do
      count = count + 1
    end
    assert.is_true(count < 3000, count .. " samples")
    look(r)
    -- The load of one beyond the bound is that of `other`.
    local late = http.open(r.address)
    late:send({ path = rig.target("delay=hold"), host = "host12-1.example" })
    r:wait_started("hold", 1)
    local function other_now()
      for _, one in ipairs(r:status().tenants) do
        if one.name == "other" then
          return one
        end
      end
    end
    assert.equal(1, other_now().active)
    r:release()
    assert.equal(200, late:receive().status)
    late:close()
    poll.wait(function()
      return other_now().active == 0
    end, "the end of the request")
    assert.is_true(other_now().requests >= 1100 - 20)
  end)

  it("speaks OpenMetrics to those who ask for it", function()
    local r = rig.start({ control = true })
    finally(function() r:stop() end)
    r:get("body=x")
    wait_for(r, "the request", counted(
      'moongate_requests_total{backend="app",tenant="",method="GET",code="2xx"}', 1))
    local text, res = metrics.fetch(r.control, "application/openmetrics-text;version=1.0.0;q=0.8,"
      .. "application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,"
      .. "*/*;q=0.1")
    assert.equal("application/openmetrics-text; version=1.0.0; charset=utf-8",
      res.headers["content-type"])
    assert.matches("\n# EOF\n$", text)
    assert.matches("\n# TYPE moongate_requests counter\nmoongate_requests_total{", text)
    local plain, answer = metrics.fetch(r.control)
    assert.equal("text/plain; version=0.0.4; charset=utf-8", answer.headers["content-type"])
    assert.matches("\n# TYPE moongate_requests_total counter\nmoongate_requests_total{", plain)
    assert.equal(405, http.request(r.control, { method = "POST", path = "/metrics" }).status)
  end)

  it("counts what scripts do, and what applications write to STDERR", function()
    local r = rig.start({
      control = true, dies = true, settings = "script_timeout = 1",
      on_request = [[
        if req.args.Fail then error("no") end
        if req.args.Bad then do return { bakcend = "app" } end end
        local texts = {}
        while req.args.Loop do texts[1] = tostring({}) end]],
    })
    finally(function() r:stop() end)
    assert.equal(500, r:get("Fail=1").status)
    assert.equal(500, r:get("Bad=1").status)
    r:get("body=x&stderr=PHP%20message:%20PHP%20Warning:%20%20No%20in%20/a.php%20on%20line%203")
    local samples = wait_for(r, "the message",
      counted('moongate_stderr_messages_total{backend="app",level="warning"}', 1))
    assert.equal(0, samples['moongate_stderr_messages_total{backend="app",level="fatal"}'])
    assert.is_true(samples['moongate_script_errors_total{hook="on_request"}'] >= 2)
    assert.equal(0, samples['moongate_script_errors_total{hook="on_error"}'])
    assert.is_true(samples['moongate_script_runs_total{hook="on_request"}'] >= 3)
    assert.is_true(samples['moongate_script_seconds_total{hook="on_request"}'] > 0)
    assert.is_true(samples['moongate_worker_loop_lag_seconds_count{worker="0"}'] > 0)
    local before = samples['moongate_script_timeouts_total{hook="on_request"}']
    pcall(r.get, r, "Loop=1") -- its worker may have to be killed
    wait_for(r, "the timeout", function(now)
      return now['moongate_script_timeouts_total{hook="on_request"}'] > before
    end)
    look(r)
  end)

  it("shows a route's own metrics, over all workers and reloads", function()
    local r = rig.start({
      control = true, workers = 2, dies = true,
      before = [[
        local metrics = require("moongate.metrics")
        local hits = metrics.counter("hits_total", {
          help = "Hits with \"quotes\".", labels = { "who" }, max_series = 2,
        })
        local level = metrics.gauge("level", { help = "A level." })
        local size = metrics.histogram("size", { help = "A size.", buckets = { 1, 10 } })]],
      on_request = [[
        hits:inc(1, { who = req.args.Who })
        level:set(tonumber(req.args.Level))
        size:observe(tonumber(req.args.Level))]],
    })
    finally(function() r:stop() end)
    assert.equal(0, look(r).level)
    for i = 1, 8 do
      r:get(("body=x&Who=w%d&Level=%d"):format(i % 4, i))
    end
    r:tell("reload")
    process.signal(r.workers[1], "KILL")
    poll.wait(function()
      local workers = r.server:workers()
      return #workers == 2 and workers[1] ~= r.workers[1]
    end, "another worker")
    poll.wait(function()
      local ok, res = pcall(r.get, r, "body=x&Who=w1&Level=20")
      return ok and res.status == 200
    end, "an answer")
    local samples = look(r)
    assert.is_true(samples['hits_total{who="w1"}'] >= 3)
    assert.equal(2, samples['hits_total{who="w2"}'])
    assert.equal(4, samples['hits_total{who="other"}'])
    assert.equal(20, samples.level)
    assert.equal(1, samples['size_bucket{le="1.0"}'])
    assert.equal(8, samples['size_bucket{le="10.0"}'])
    assert.is_true(samples.size_count >= 9)
    -- A route that does not have them any more does not show them.
    r.server:reload(r:route({ before = "", on_request = "" }))
    assert.is_nil(look(r)['hits_total{who="w1"}'])
  end)

  it("takes the route that docs/metrics.md has", function()
    local block = process.read_file("docs/metrics.md")
      :match("\n```lua\n(local metrics = .-)\n```")
    local result = server.command({ "check", stage.files({ ["route.lua"] = block })
      .. "/route.lua" })
    assert.equal(0, result.code, result.stderr)
  end)

  it("says where a route uses metrics wrongly", function()
    local result = server.command({ "check", stage.files({
      ["route.lua"] = [[
local metrics = require("moongate.metrics")
metrics.counter("shop logins", { help = "Logins." })
return { on_request = print }
]],
    }) .. "/route.lua" })
    assert.equal(1, result.code)
    assert.matches("route.lua:2: metrics.counter: expected a name of letters, digits and _ such "
      .. 'as "shop_logins", got "shop logins"', result.stderr, 1, true)
  end)
end)
