-- Spans: what a request has spent its time on reaches a collector, or a file, as OTLP; nothing that
-- the collector does, or does not do, is felt by requests.

local collector = require("tests.support.collector")
local http = require("tests.support.http")
local net = require("tests.support.net")
local php = require("tests.support.php")
local poll = require("tests.support.poll")
local process = require("tests.support.process")
local rig = require("tests.support.rig")
local server = require("tests.support.server")
local stage = require("tests.support.stage")

local TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
local GIVEN = { headers = { traceparent = ("00-%s-%s-01"):format(TRACE, SPAN) } }

local function start(tracing, options)
  local all = {
    settings = ([[tracing = { believe = "all", interval = "20ms", %s }]]):format(tracing),
    control = true,
  }
  for key, value in pairs(options or {}) do
    all[key] = key == "settings" and all[key] .. value or value
  end
  return rig.start(all)
end

local function export(c, more)
  return ("export = %q, %s"):format(c.url, more or "")
end

-- A counter of /metrics.
local function counter(r, name)
  local text = http.get(r.control, "/metrics").body
  return tonumber(text:match("\n" .. name:gsub("[%-{}]", "%%%0") .. " (%d+)"))
end

local function wait_counter(r, name, least)
  poll.wait(function()
    return (counter(r, name) or 0) >= least
  end, name)
end

describe("a recorded request", function()
  it("has a span for each of its parts", function()
    local c = collector.start()
    local r = start(export(c, [[service = "shop",
      resource = { ["deployment.environment"] = "test" },
      headers = { Authorization = "Bearer x" } ]]), {
      on_request = [[require("moongate").sleep(0.02)]],
      settings = [[, on_params = function() end, on_response = function() end]],
    })
    finally(function() r:stop() c:stop() end)
    r:get("status=200&body=hello", GIVEN)
    local traces, request = c:traces()
    assert.equal("POST /v1/traces HTTP/1.1", request.first)
    assert.same({ "application/json", "Bearer x" },
      { request.headers["content-type"], request.headers.authorization })
    assert.equal(1, #traces)
    local root, spans = traces[1].root, traces[1].spans
    assert.same({ "shop", "test" },
      { traces[1].resource["service.name"], traces[1].resource["deployment.environment"] })
    assert.same({ TRACE, SPAN, "GET", nil },
      { root.traceId, root.parentSpanId, root.name, root.status.code })
    local a = root.attributes
    assert.same({ "GET", "/x.php", "http", 200, "1.1", "127.0.0.1", 5, "app" }, {
      a["http.request.method"], a["url.path"], a["url.scheme"], a["http.response.status_code"],
      a["network.protocol.version"], a["client.address"], a["http.response.body.size"],
      a["moongate.backend"],
    })
    assert.matches("status=200", a["url.query"])
    for _, name in ipairs({ "on_request", "on_params", "on_response", "FastCGI", "send" }) do
      assert.equal(1, #(spans[name] or {}), name)
      assert.equal(root.spanId, spans[name][1].parentSpanId, name)
    end
    local fcgi = spans.FastCGI[1]
    assert.same({ 3, "unix", r.back.address:sub(6) },
      { fcgi.kind, fcgi.attributes["network.transport"], fcgi.attributes["server.address"] })
    local slept = spans.on_request[1] -- the wait belongs to the hook
    assert.truthy(tonumber(slept.endTimeUnixNano:sub(6)) - tonumber(slept.startTimeUnixNano:sub(6))
      >= 15e6)
    wait_counter(r, "moongate_spans_exported_total", 6)
  end)

  it("has an attempt for each server that was tried", function()
    local c = collector.start()
    local dead = "127.0.0.1:" .. net.free_port()
    local r = start(export(c), {
      servers = function(addresses)
        return ("%q, %q"):format(dead, addresses[1])
      end,
      backend = "max_fails = 0,",
    })
    finally(function() r:stop() c:stop() end)
    local found
    for _ = 1, 2 do -- round robin: one of the two begins with the server that is not there
      assert.equal(200, r:get("status=200", GIVEN).status)
      local trace = c:trace("/x.php")
      found = #trace.spans.FastCGI == 2 and trace or found
    end
    local first, second = found.spans.FastCGI[1], found.spans.FastCGI[2]
    assert.same({ 2, "127.0.0.1", tonumber(dead:match("%d+$")), nil }, { first.status.code,
      first.attributes["server.address"], first.attributes["server.port"],
      first.attributes["http.request.resend_count"] })
    assert.same({ nil, 1 }, { second.status.code, second.attributes["http.request.resend_count"] })
    assert.truthy(first.endTimeUnixNano <= second.startTimeUnixNano)
    assert.is_nil(found.root.status.code)
  end)

  it("has the time in the queue, and a failure", function()
    local c = collector.start()
    local r = start(export(c), { backend = "max_conns = 1, queue = 1, queue_timeout = 20," })
    finally(function() r:stop() c:stop() end)
    local held = http.open(r.address)
    held:send({ path = rig.target("delay=hold") })
    poll.wait(function()
      return r:status().backends[1].servers[1].active == 1
    end, "the first request")
    local waiting = http.open(r.address)
    waiting:send({ path = rig.target("status=200&second") })
    poll.wait(function() return r:status().backends[1].queued == 1 end, "the queue")
    assert.equal(503, r:get("status=200&third").status)
    local refused = c:trace("/x.php")
    assert.same({ 2, "503", 2, nil }, { refused.root.status.code,
      refused.root.attributes["error.type"], refused.spans.queue[1].status.code,
      refused.spans.FastCGI })
    r:release()
    held:receive()
    waiting:receive()
    held:close()
    waiting:close()
    local queued
    for _ = 1, 3 do
      for _, trace in ipairs(not queued and c:traces() or {}) do
        queued = trace.spans.queue and trace or queued
      end
    end
    assert.same({ nil, 1 }, { queued.spans.queue[1].status.code, #queued.spans.FastCGI })
  end)

  it("is recorded only if it is sampled", function()
    local c = collector.start()
    local r = start(export(c, "sample = 0"))
    finally(function() r:stop() c:stop() end)
    r:get("status=200&not")
    r:get("status=200", { headers = { traceparent = ("00-%s-%s-00"):format(TRACE, SPAN) } })
    r:get("status=204", GIVEN)
    local traces = c:traces()
    assert.equal(1, #traces)
    assert.equal(204, traces[1].root.attributes["http.response.status_code"])
  end)

  it("is the parent of what PHP does", function()
    local c, fpm = collector.start(), php.start({ pages = "tests/pages" })
    stage.write(fpm.root, { ["trace.php"] = "<?php echo $_SERVER['HTTP_TRACEPARENT'];" })
    local s = server.start({
      env = { TEST_BACKEND = fpm.address, TEST_ROOT = fpm.root, TEST_URL = c.url }, route = [[
      return { control = false, tracing = { export = os.getenv("TEST_URL") },
        backends = { app = os.getenv("TEST_BACKEND") },
        on_request = require("moongate.php").site { root = os.getenv("TEST_ROOT"),
          backend = "app" } }]] })
    finally(function() s:stop() fpm:stop() c:stop() end)
    local trace, parent = http.get(s.address, "/trace.php").body:match("^00%-(%x+)%-(%x+)%-01$")
    local seen = c:trace("/trace.php")
    assert.same({ trace, parent }, { seen.root.traceId, seen.spans.FastCGI[1].spanId })
  end)
end)

describe("a collector", function()
  it("that is busy gets the same spans again", function()
    local c = collector.start()
    local r = start(export(c))
    finally(function() r:stop() c:stop() end)
    r:get("status=200")
    local bodies = {}
    for _, status in ipairs({ 503, 429 }) do
      bodies[#bodies + 1] = c:take().body
      c:answer(status, "Retry-After: 0\r\n")
    end
    bodies[#bodies + 1] = c:take().body
    c:answer(200, nil, [[{"partialSuccess":{"rejectedSpans":"1","errorMessage":"no"}}]])
    assert.same({ bodies[1], bodies[1] }, { bodies[2], bodies[3] })
    wait_counter(r, 'moongate_spans_dropped_total{reason="rejected"}', 1)
    wait_counter(r, "moongate_spans_exported_total", 3)
    assert.equal(3, counter(r, "moongate_spans_exported_total"))
  end)

  it("that refuses them gets them once", function()
    local c = collector.start()
    local r = start(export(c))
    finally(function() r:stop() c:stop() end)
    r:get("status=200")
    c:take()
    c:answer(400)
    wait_counter(r, 'moongate_spans_dropped_total{reason="rejected"}', 4)
    r.server:wait_log("tracing%.export: 4 spans are lost: .*answers 400")
    r:get("status=200&next")
    assert.matches("next", c:take().body)
    c:answer(200)
  end)

  it("that is dead, silent or no collector is not felt by requests", function()
    for _, how in ipairs({ "dead", "silent", "garbage", "endless" }) do
      local c = collector.start()
      local r = start(export(c, "timeout = '100ms'"))
      if how == "dead" then
        c:stop()
      end
      for i = 1, 50 do
        assert.equal(200, r:get("status=200&N=" .. i).status)
      end
      if how == "garbage" then
        c:take()
        c.conn:send("SSH-2.0-OpenSSH\r\n\r\n")
        c:hang_up()
      elseif how == "endless" then
        c:take()
        c.conn:send("HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n" .. ("x"):rep(100000))
        c:hang_up()
      end
      poll.wait(function() return r:get("status=200").status == 200 end, how)
      if how ~= "dead" then
        c:stop()
      end
      r:stop()
    end
  end)

  it("that never answers fills a bounded queue, which counts what is dropped", function()
    local c = collector.start()
    local r = start(export(c, "timeout = 60"), { on_request = "do return { status = 204 } end" })
    local client = http.open(r.address)
    local path = "/" .. ("x"):rep(1500)
    poll.wait(function()
      for _ = 1, 100 do
        assert.equal(204, client:request({ path = path }).status)
      end
      return (counter(r, 'moongate_spans_dropped_total{reason="full"}') or 0) > 0
    end, "a full queue")
    client:close()
    r:stop() -- which waits for two seconds, not for the collector
    c:stop()
  end)
end)

describe("spans that wait", function()
  it("are sent before a worker ends, and by a reload", function()
    local c = collector.start()
    local r = start(export(c, "interval = 20"))
    r:get("status=200&before")
    r.server.process:kill("HUP")
    assert.matches("before", c:take().body)
    c:answer(200)
    r:get("status=200&last")
    r.server.process:kill("TERM")
    assert.matches("last", c:take().body)
    c:answer(200)
    r:stop()
    c:stop()
  end)

  it("are lines of a file, which may be moved away", function()
    local dir = process.tempdir("spans")
    local path = dir .. "/spans.jsonl"
    process.chmod(dir, "777")
    local r = start(("export = %q"):format(path))
    finally(function() r:stop() end)
    local function wait_line()
      local text
      poll.wait(function()
        text = process.read_file(path)
        return text and text:find("\n$")
      end, "a line")
      return text
    end
    r:get("status=200&one", GIVEN)
    local text = wait_line()
    local traces = collector.traces(text:match("^([^\n]+)\n$"))
    assert.same({ 1, TRACE }, { #traces, traces[1].root.traceId })
    assert(os.rename(path, path .. ".1"))
    r:get("status=200&two", GIVEN)
    assert.matches("two", wait_line())
    assert.equal(text, process.read_file(path .. ".1"))
  end)

  it("of a file that can't be written are counted, and said once", function()
    local dir = process.tempdir("spans")
    local r = start(("export = %q"):format(dir .. "/folder"))
    finally(function() r:stop() end)
    assert.equal(0, process.run({ argv = { "mkdir", dir .. "/folder" } }).code)
    r:get("status=200")
    wait_counter(r, 'moongate_spans_dropped_total{reason="failed"}', 4)
    r.server:wait_log("tracing%.export: 4 spans are lost: .*folder: Is a directory")
  end)
end)
