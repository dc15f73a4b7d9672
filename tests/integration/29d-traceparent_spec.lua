-- `tracing`: the trace of a request goes on or begins here, and applications, scripts and logs know
-- it (W3C Trace Context).

local http = require("tests.support.http")
local json = require("moongate.base.json")
local net = require("tests.support.net")
local php = require("tests.support.php")
local rig = require("tests.support.rig")
local server = require("tests.support.server")
local stage = require("tests.support.stage")

local TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
local GIVEN = ("00-%s-%s-01"):format(TRACE, SPAN)

local function start(settings, others)
  return rig.start({
    settings = [[log = { format = "json" }, ]] .. settings,
    backend = others and others.backend,
    servers = others and others.servers,
    on_request = [[if req.args.Own then
      local body = tostring(req.traceparent) .. " " .. tostring(req.trace_id)
      return { status = 200, body = body }
    end]],
  })
end

local function headers(more)
  local all = { traceparent = GIVEN, tracestate = "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE" }
  for name, value in pairs(more or {}) do
    all[name] = value
  end
  return { headers = all }
end

local function parts(text)
  local trace, span, flags = text:match("^00%-(%x+)%-(%x+)%-(%x%x)$")
  assert.truthy(trace and #trace == 32 and #span == 16, text)
  return trace, span, flags
end

describe("tracing", function()
  it("continues the trace of a trusted proxy, everywhere", function()
    local r = start([[tracing = true, trusted_proxies = "127.0.0.1"]])
    finally(function() r:stop() end)
    local params = rig.params(r:get("dump&N=1x", headers()))
    local trace, span, flags = parts(params.HTTP_TRACEPARENT)
    assert.same({ TRACE, "01" }, { trace, flags })
    assert.not_equal(SPAN, span)
    assert.equal("rojo=00f067aa0ba902b7,congo=t61rcWkgMzE", params.HTTP_TRACESTATE)
    assert.equal(TRACE, json.decode(r.server:wait_access("N=1x")).trace_id)
    local own, id = r:get("Own&N=2x", headers()).body:match("^(%S+) (%S+)$")
    assert.same({ TRACE, TRACE }, { (parts(own)), id })
    -- The decision about sampling is the caller's.
    params = rig.params(r:get("dump&N=3x", headers({ traceparent = GIVEN:gsub("01$", "00") })))
    assert.same({ TRACE, "00" }, { (parts(params.HTTP_TRACEPARENT)),
      (select(3, parts(params.HTTP_TRACEPARENT))) })
  end)

  it("begins one where none is sent, or one that is none", function()
    local r = start([[tracing = {}, trusted_proxies = "127.0.0.1"]])
    finally(function() r:stop() end)
    local seen = {}
    for i, given in ipairs({ false, "", "00-" .. TRACE, GIVEN .. "x", GIVEN:upper() }) do
      local params = rig.params(r:get("dump&N=" .. i .. "x",
        headers({ traceparent = given or nil })))
      if given == false then
        params = rig.params(r:get("dump&N=none", { headers = { tracestate = "a=1" } }))
      end
      local trace, _, flags = parts(params.HTTP_TRACEPARENT)
      assert.falsy(seen[trace])
      seen[trace] = true
      assert.same({ "01", nil }, { flags, params.HTTP_TRACESTATE })
      assert.not_equal(TRACE, trace)
    end
    local conn = net.connect(r.address)
    conn:send("GET /x.php?dump HTTP/1.1\r\nHost: a\r\ntraceparent: " .. GIVEN .. "\r\nTraceParent: "
      .. GIVEN .. "\r\nConnection: close\r\n\r\n")
    local answer = conn:read_all()
    conn:close()
    assert.truthy(answer:find("HTTP_TRACEPARENT", 1, true))
    assert.falsy(answer:find(TRACE, 1, true))
  end)

  it("believes nobody else, unless the route says so", function()
    for settings, continued in pairs({
      [ [[tracing = true]] ] = false,
      [ [[tracing = true, trusted_proxies = "192.0.2.1"]] ] = false,
      [ [[tracing = { believe = "none" }, trusted_proxies = "127.0.0.1"]] ] = false,
      [ [[tracing = { believe = "all" }]] ] = true,
    }) do
      local r = start(settings)
      local params = rig.params(r:get("dump", headers()))
      r:stop()
      assert.equal(continued, parts(params.HTTP_TRACEPARENT) == TRACE, settings)
      assert.equal(continued, params.HTTP_TRACESTATE ~= nil, settings)
    end
  end)

  it("samples a share of the traces that begin here", function()
    local r = start([[tracing = { sample = 0.5 }]])
    finally(function() r:stop() end)
    local sampled = 0
    for _ = 1, 200 do
      local _, _, flags = parts(rig.params(r:get("dump")).HTTP_TRACEPARENT)
      sampled = sampled + (flags == "01" and 1 or 0)
    end
    assert.truthy(sampled > 40 and sampled < 160, sampled .. " of 200") -- 8 standard deviations
  end)

  it("gives each attempt a span of its own", function()
    local r = start([[tracing = true]], {
      servers = function(addresses)
        return ("%q, %q"):format("127.0.0.1:" .. net.free_port(), addresses[1])
      end,
    })
    finally(function() r:stop() end)
    local spans = {}
    for i = 1, 2 do -- round robin: one of the two begins with the server that is not there
      local own = parts(rig.params(r:get("dump&N=" .. i .. "x")).HTTP_TRACEPARENT)
      assert.falsy(spans[own])
      spans[own] = true
    end
  end)

  it("is off by default: the headers are like others", function()
    local r = start("watch = false")
    finally(function() r:stop() end)
    local params = rig.params(r:get("dump&N=1x", headers()))
    assert.equal(GIVEN, params.HTTP_TRACEPARENT)
    assert.equal("nil nil", r:get("Own").body)
    assert.is_nil(json.decode(r.server:wait_access("N=1x")).trace_id)
  end)

  it("is a field of formats", function()
    local r = rig.start({ settings = [[log = { format = "$trace_id $span_id $uri" }, tracing =
      { believe = "all" }]] })
    finally(function() r:stop() end)
    r:get("N=1x", headers())
    local trace, span = r.server:wait_access("N=1x"):match("^(%x+) (%x+) /")
    assert.same({ TRACE, 16 }, { trace, #span })
  end)

  it("reaches PHP", function()
    local fpm = php.start({ pages = "tests/pages" })
    finally(function() fpm:stop() end)
    stage.write(fpm.root, { ["trace.php"] = "<?php echo $_SERVER['HTTP_TRACEPARENT'];" })
    local s = server.start({ env = { TEST_BACKEND = fpm.address, TEST_ROOT = fpm.root }, route = [[
      return { control = false, tracing = { believe = "all" },
        backends = { app = os.getenv("TEST_BACKEND") },
        on_request = require("moongate.php").site { root = os.getenv("TEST_ROOT"),
          backend = "app" } }]] })
    finally(function() s:stop() end)
    local trace, span = parts(http.get(s.address, "/trace.php", headers().headers).body)
    assert.equal(TRACE, trace)
    assert.not_equal(SPAN, span)
  end)
end)
