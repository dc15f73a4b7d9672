-- /metrics about the side of clients: handshakes of TLS by version and session, and why others
-- failed; requests by protocol; requests that limits of the route refuse. promtool looks at each
-- page.

local http = require("tests.support.http")
local metrics = require("tests.support.metrics")
local net = require("tests.support.net")
local poll = require("tests.support.poll")
local process = require("tests.support.process")
local rig = require("tests.support.rig")
local server = require("tests.support.server")
local tls = require("tests.support.tls")

--- The page's samples, once a condition holds; promtool has nothing to say about it.
local function wait_for(control, what, condition)
  local text, samples
  poll.wait(function()
    text = metrics.fetch(control)
    samples = metrics.samples(text)
    return condition(samples)
  end, what)
  local said = metrics.promtool({ "check", "metrics" }, text)
  assert.same({ 0, "", "" }, { said.code, said.stdout, said.stderr })
  return samples
end

describe("/metrics about TLS", function()
  local ca, pair, s, control

  local function start(more)
    local address = "127.0.0.1:" .. net.free_port()
    control = ("unix:%s/control.sock"):format(process.tempdir("control"))
    s = server.start({
      own = true, address = address,
      route = ([[return { listen = { { address = %q, tls = %s } }, workers = 2, watch = false,
        control = %q, limits = { header_timeout = "60s" },
        on_request = function() return { status = 200, body = "ok\n" } end }]]):format(address,
        tls.setting(pair, more), control),
    })
  end

  local function handshakes(samples, version, session)
    return samples[("moongate_tls_handshakes_total{version=%q,session=%q}"):format(version,
      session)]
  end

  local function failures(samples, reason)
    return samples[("moongate_tls_handshake_failures_total{reason=%q}"):format(reason)]
  end

  local function get(...)
    return tls.curl({ "https://site.test/", "--cacert", ca.cert, "--connect-to",
      "site.test:443:" .. s.address, ... })
  end

  local function failed(reason, count)
    return wait_for(control, reason, function(samples)
      return failures(samples, reason) == count
    end)
  end

  setup(function()
    ca = tls.authority()
    pair = ca:issue({ "site.test" })
  end)

  it("counts handshakes by version, and sessions that are resumed", function()
    start()
    finally(function() s:stop() end)
    assert.equal("ok\n", (get("--http1.1")))
    assert.equal("ok\n", (get("--http2")))
    assert.equal("ok\n", (get("--tls-max", "1.2")))
    local samples = wait_for(control, "the requests", function(samples)
      return samples['moongate_requests_by_protocol_total{protocol="HTTP/2.0"}'] == 1
        and samples['moongate_requests_by_protocol_total{protocol="HTTP/1.1"}'] == 2
        or samples['moongate_requests_by_protocol_total{protocol="HTTP/2.0"}'] == 2
    end)
    assert.same({ 2, 0, 1, 0 }, { handshakes(samples, "TLSv1.3", "full"),
      handshakes(samples, "TLSv1.3", "resumed"), handshakes(samples, "TLSv1.2", "full"),
      handshakes(samples, "TLSv1.2", "resumed") })
    for _, version in ipairs({ "1.2", "1.3" }) do
      local file = process.tempdir("session") .. "/session"
      local option = "-tls" .. version:gsub("%.", "_")
      tls.client(s.address, { option, "-sess_out", file })
      local said = tls.client(s.address, { option, "-sess_in", file })
      assert.matches("Reused, TLSv" .. version, said, 1, true)
    end
    samples = wait_for(control, "the resumed sessions", function(now)
      return handshakes(now, "TLSv1.3", "resumed") == 1
        and handshakes(now, "TLSv1.2", "resumed") == 1
    end)
    assert.same({ 3, 2 }, { handshakes(samples, "TLSv1.3", "full"),
      handshakes(samples, "TLSv1.2", "full") })
    for name, count in pairs(samples) do
      assert.is_true(count == 0 or not name:find("^moongate_tls_handshake_failures"), name)
    end
  end)

  it("tells why handshakes fail", function()
    start(('client_ca = %q, verify = "required"'):format(ca.cert))
    finally(function() s:stop() end)
    get() -- without a certificate
    failed("client_certificate", 1)
    get("--cert", pair.cert, "--key", pair.key, "--cacert", tls.authority("Another CA").cert)
    failed("refused_by_client", 1)
    tls.client(s.address, { "-tls1_1", "-cipher", "ALL:@SECLEVEL=0" })
    failed("version", 1)
    tls.client(s.address, { "-tls1_2", "-cipher", "DHE-RSA-AES128-GCM-SHA256" })
    failed("cipher", 1)
    assert.equal(400, http.get(s.address, "/").status)
    failed("no_tls", 1)
    local conn = net.connect(s.address)
    conn:send("\0\0\0\0\0\0\0\0")
    conn:read_all()
    conn:close()
    failed("no_tls", 2)
    conn = net.connect(s.address)
    conn:send("\22\3\1\2\0\1\0\1\252\3\3") -- the first bytes of a ClientHello
    conn:close()
    local samples = failed("client_left", 1)
    net.connect(s.address):close() -- this one has not begun: it is none
    assert.equal(0, failures(samples, "other"))
    assert.equal(0, handshakes(samples, "TLSv1.3", "full"))
    assert.equal("ok\n", (get("--cert", pair.cert, "--key", pair.key)))
    samples = wait_for(control, "the good one", function(now)
      return handshakes(now, "TLSv1.3", "full") == 1
    end)
    assert.equal(1, failures(samples, "client_left"))
  end)
end)

describe("/metrics about limits", function()
  local function refused(r, limit, count)
    return wait_for(r.control, limit, function(samples)
      return samples[("moongate_requests_refused_total{limit=%q}"):format(limit)] == count
    end)
  end

  it("counts the requests that they refuse, by kind", function()
    local r = rig.start({
      control = true, workers = 2,
      settings = [[trusted_proxies = { "127.0.0.1" },
        limits = { request_line = 2000, header = "4k", headers = 20, body = 1000,
          header_timeout = "3s", per_ip = 1 }]],
    })
    finally(function() r:stop() end)
    assert.equal(414, http.get(r.address, "/" .. ("x"):rep(3000)).status)
    refused(r, "request_line", 1)
    assert.equal(431, http.get(r.address, "/", { ["X-Long"] = ("x"):rep(6000) }).status)
    local many = {}
    for i = 1, 30 do
      many["X-" .. i] = "x"
    end
    assert.equal(431, http.get(r.address, "/", many).status)
    refused(r, "header", 2)
    assert.equal(413, r:get("body=x", { method = "POST", body = ("x"):rep(2000) }).status)
    refused(r, "body", 1)
    local slow = http.open(r.address)
    slow.conn:send("GET / HTTP/1.1\r\n")
    assert.equal(408, slow:receive().status)
    slow:close()
    refused(r, "timeout", 1)
    local first = http.open(r.address)
    first:send({ path = rig.target("delay=hold"), headers = { ["X-Forwarded-For"] = "192.0.2.1" } })
    r:wait_started("hold", 1)
    assert.equal(503, r:get("body=x", { headers = { ["X-Forwarded-For"] = "192.0.2.1" } }).status)
    local samples = refused(r, "per_ip", 1)
    r:release()
    assert.equal(200, first:receive().status)
    first:close()
    assert.equal(0, samples['moongate_requests_refused_total{limit="queue"}'])
    assert.equal(1, samples['moongate_requests_refused_total{limit="body"}'])
  end)

  it("counts what a backend's queue refuses, and nothing that an application does", function()
    local r = rig.start({ control = true, backend = "max_conns = 1, queue = 0" })
    finally(function() r:stop() end)
    local first = http.open(r.address)
    first:send({ path = rig.target("delay=hold") })
    r:wait_started("hold", 1)
    assert.equal(503, r:get("body=x").status)
    assert.equal(503, r:get("body=x").status)
    refused(r, "queue", 2)
    r:release()
    assert.equal(200, first:receive().status)
    first:close()
    for _, status in ipairs({ 408, 413, 414, 431, 503 }) do
      assert.equal(status, r:get("status=" .. status).status)
    end
    local samples = wait_for(r.control, "them all", function(now)
      return now['moongate_requests_total{backend="app",tenant="",method="GET",code="4xx"}'] == 4
    end)
    local sum = 0
    for name, count in pairs(samples) do
      sum = sum + (name:find("^moongate_requests_refused_total") and count or 0)
    end
    assert.equal(2, sum)
  end)
end)
