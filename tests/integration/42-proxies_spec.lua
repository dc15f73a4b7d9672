-- What the proxies in front say of a request's client: from trusted ones all of it is believed,
-- from others nothing. By hand here; 43-fronts has the real ones.

local http = require("tests.support.http")
local net = require("tests.support.net")
local poll = require("tests.support.poll")
local process = require("tests.support.process")
local rig = require("tests.support.rig")
local server = require("tests.support.server")
local socket = require("socket")

local ECHO = [[
  on_request = function(req)
    return { status = 200, body = table.concat({ req.ip, tostring(req.client_port), req.scheme,
      tostring(req.host), req.port, req.server_port, req.server_ip }, " ") }
  end,
]]

-- A server that says who it thinks is asking.
local function echo(settings, options)
  local start = { route = ("return { %s,\n%s }"):format(settings, ECHO) }
  for key, value in pairs(options or {}) do
    start[key] = value
  end
  return server.start(start)
end

-- Listens on an address with the PROXY protocol; `settings` beside it.
local function announced(settings, options)
  local address = "127.0.0.1:" .. net.free_port()
  local start = { own = true, address = address }
  for key, value in pairs(options or {}) do
    start[key] = value
  end
  return echo(("listen = { { address = %q, proxy_protocol = true, name = 'lb' } }, workers = 1, "
    .. "watch = false, control = false, %s"):format(address, settings), start)
end

local REQUEST = "GET /x HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n"
local SIGNATURE = "\r\n\r\n\0\r\nQUIT\n"
local V1 = "PROXY TCP4 192.0.2.7 198.51.100.1 56324 443\r\n"
local V2 = SIGNATURE .. "\33\17\0\12\192\0\2\7\198\51\100\1\220\4\1\187"

-- The body of the one answer to these bytes.
local function answer(address, ...)
  local conn = net.connect(address)
  for _, piece in ipairs({ ... }) do
    conn:send(piece)
  end
  local bytes = conn:read_all()
  conn:close()
  return bytes:match("\r\n\r\n(.*)$"), bytes
end

describe("trusted_proxies", function()
  it("tell applications, scripts and the access log who asks, and for what", function()
    local r = rig.start({ settings = [[trusted_proxies = { "127.0.0.1" }]] })
    finally(function() r:stop() end)
    local params = rig.params(r:get("dump", {
      host = "internal:8080",
      headers = {
        ["X-Forwarded-For"] = "1.1.1.1, 192.0.2.7:4711", ["X-Forwarded-Proto"] = "https",
        ["X-Forwarded-Host"] = "Shop.example",
      },
    }))
    assert.equal("192.0.2.7", params.REMOTE_ADDR)
    assert.equal("4711", params.REMOTE_PORT)
    assert.equal("on", params.HTTPS)
    assert.equal("https", params.REQUEST_SCHEME)
    assert.equal("shop.example", params.SERVER_NAME)
    assert.equal("443", params.SERVER_PORT)
    assert.equal("127.0.0.1", params.SERVER_ADDR)
    assert.equal("Shop.example", params.HTTP_HOST)
    r.server:wait_access("^192%.0%.2%.7 %- %- ")

    params = rig.params(r:get("dump", { headers = {
      Forwarded = 'for=6.6.6.6;host=evil.test, for="[2001:db8::7]";proto=https;host="a.test:8443"',
    } }))
    assert.equal("2001:db8::7", params.REMOTE_ADDR)
    assert.is_nil(params.REMOTE_PORT)
    assert.equal("a.test", params.SERVER_NAME)
    assert.equal("8443", params.SERVER_PORT)
    assert.equal("a.test:8443", params.HTTP_HOST)
    assert.equal("on", params.HTTPS)
  end)

  it("are asked for each request, whatever the one before it said", function()
    local s = echo([[trusted_proxies = { "127.0.0.0/8" }]])
    finally(function() s:stop() end)
    local port = tonumber(s.address:match(":(%d+)$"))
    local client = http.open(s.address)
    for _ = 1, 2 do
      local res = client:request({
        host = "a.test", headers = { ["X-Forwarded-For"] = "192.0.2.7" },
      })
      assert.equal(("192.0.2.7 nil http a.test %d %d 127.0.0.1"):format(port, port), res.body)
      res = client:request({ host = "a.test", headers = { ["X-Forwarded-Proto"] = "https" } })
      assert.matches("^127%.0%.0%.1 %d+ https a%.test 443 443 127%.0%.0%.1$", res.body)
      res = client:request({ host = "a.test" })
      assert.matches(("^127%%.0%%.0%%.1 %%d+ http a%%.test %d %d 127"):format(port, port), res.body)
    end
    client:close()
  end)

  it("that contradict themselves, or name no host, are refused with a reason", function()
    local s = echo([[trusted_proxies = { "127.0.0.1" }]])
    finally(function() s:stop() end)
    assert.equal(400, http.request(s.address, { headers = {
      ["X-Forwarded-For"] = "192.0.2.7", Forwarded = "for=10.0.0.1",
    } }).status)
    s:wait_log("contradict each other")
    local from = s:mark()
    assert.equal(400, http.request(s.address, {
      method = "POST", body = ("x"):rep(1000), headers = { ["X-Forwarded-Host"] = "../a" },
    }).status)
    s:wait_log("X%-Forwarded%-Host", nil, from)
    assert.equal(200, http.get(s.address, "/").status)
  end)

  it("are the only ones: headers of other peers reach neither scripts nor applications", function()
    local r = rig.start({ settings = [[trusted_proxies = { "127.0.0.2" }]] })
    finally(function() r:stop() end)
    local port = r.address:match(":(%d+)$")
    local params = rig.params(r:get("dump", { host = "a.test", headers = {
      ["X-Forwarded-For"] = "127.0.0.2", ["X-Forwarded-Proto"] = "https",
      ["X-Forwarded-Host"] = "evil.test", ["X-Forwarded-Port"] = "1", ["X-Real-IP"] = "1.2.3.4",
      Forwarded = "for=10.0.0.1;proto=https", Accept = "text/plain",
    } }))
    assert.equal("127.0.0.1", params.REMOTE_ADDR)
    assert.is_nil(params.HTTPS)
    assert.equal("http", params.REQUEST_SCHEME)
    assert.equal("a.test", params.SERVER_NAME)
    assert.equal(port, params.SERVER_PORT)
    assert.equal("text/plain", params.HTTP_ACCEPT)
    for name in pairs(params) do
      assert.is_nil(name:match("FORWARDED") or name:match("REAL_IP"), name)
    end
  end)

  it("are nobody without the setting: headers pass as in nginx, none is believed", function()
    local r = rig.start()
    finally(function() r:stop() end)
    local params = rig.params(r:get("dump", { headers = {
      ["X-Forwarded-For"] = "192.0.2.7", ["X-Forwarded-Proto"] = "https",
    } }))
    assert.equal("127.0.0.1", params.REMOTE_ADDR)
    assert.is_nil(params.HTTPS)
    assert.equal("192.0.2.7", params.HTTP_X_FORWARDED_FOR)
  end)

  it("may come through a unix socket", function()
    local dir = process.tempdir("listen")
    local s = echo([[trusted_proxies = "unix:"]], { address = "unix:" .. dir .. "/http.sock" })
    finally(function() s:stop() end)
    assert.equal("192.0.2.7 nil https a.test 443 443 unix:", http.request(s.address, {
      host = "a.test",
      headers = { ["X-Forwarded-For"] = "192.0.2.7", ["X-Forwarded-Proto"] = "https" },
    }).body)
    assert.equal("unix: nil http a.test 80 80 unix:",
      http.request(s.address, { host = "a.test" }).body)
  end)

  it("change with a reload, for connections that are open as well", function()
    local route = ("return { trusted_proxies = %%s,\n%s }"):format(ECHO)
    local s = server.start({ route = route:format("{}") })
    finally(function() s:stop() end)
    local client = http.open(s.address)
    local function ip()
      local res = client:request({ headers = { ["X-Forwarded-For"] = "192.0.2.7" } })
      return res.body:match("^%S+")
    end
    assert.equal("127.0.0.1", ip())
    s:reload(route:format('{ "127.0.0.1" }'))
    assert.equal("192.0.2.7", ip())
    client:close()
  end)

  it("are no single client for limits.per_ip: each of theirs is", function()
    local r = rig.start({
      settings = [[trusted_proxies = { "127.0.0.1" }, limits = { per_ip = 2 }]],
    })
    finally(function() r:stop() end)
    local clients = {}
    local function ask(ip, commands)
      local client = http.open(r.address)
      clients[#clients + 1] = client
      client:send({ path = rig.target(commands), headers = { ["X-Forwarded-For"] = ip } })
      return client
    end
    for i = 1, 2 do
      ask("192.0.2.7", "delay=30000&a=" .. i)
      ask("192.0.2.8", "delay=30000&b=" .. i)
    end
    r:wait_started("delay", 4)
    assert.equal(503, ask("192.0.2.7", "c"):receive().status)
    assert.equal(200, ask("192.0.2.9", "d"):receive().status)
    table.remove(clients, 1).conn:reset() -- its place is free once the worker has seen that
    poll.wait(function()
      return ask("192.0.2.7", "e"):receive().status == 200
    end, "a place for 192.0.2.7")
    for _, client in ipairs(clients) do
      client.conn:reset()
    end
  end)

  it("choose no server for ip_hash, their clients do", function()
    local r = rig.start({
      responder = { count = 4 }, backend = [[balance = "ip_hash"]],
      settings = [[trusted_proxies = { "127.0.0.1" }]],
    })
    finally(function() r:stop() end)
    for i = 1, 64 do
      local res = r:get("n=1", { headers = { ["X-Forwarded-For"] = "192.0.2." .. i } })
      assert.equal(200, res.status)
    end
    local servers = 0
    for _ in pairs(r:shares()) do
      servers = servers + 1
    end
    assert.equal(4, servers)
  end)
end)

describe("a listener with the PROXY protocol", function()
  local EXPECTED = "192.0.2.7 56324 http a.test 443 443 198.51.100.1"

  it("takes both versions, in one piece or in many, and a request behind them", function()
    local s = announced([[trusted_proxies = { "127.0.0.1" }]])
    finally(function() s:stop() end)
    for _, header in ipairs({ V1, V2 }) do
      assert.equal(EXPECTED, (answer(s.address, header .. REQUEST)))
      assert.equal(EXPECTED, (answer(s.address, header, REQUEST)))
      local conn = net.connect(s.address)
      for i = 1, #header do
        conn:send(header:sub(i, i))
      end
      conn:send(REQUEST)
      assert.equal(EXPECTED, conn:read_all():match("\r\n\r\n(.*)$"))
      conn:close()
    end
    s:wait_access("^192%.0%.2%.7 ")
  end)

  it("holds for all requests of the connection", function()
    local s = announced([[trusted_proxies = { "127.0.0.1" }]])
    finally(function() s:stop() end)
    local client = http.open(s.address)
    client.conn:send(V1)
    for _ = 1, 3 do
      assert.equal(EXPECTED, client:request({ host = "a.test" }).body)
    end
    client:close()
  end)

  it("tells applications where the client connected to", function()
    local address = "127.0.0.1:" .. net.free_port()
    local r = rig.start({
      settings = ("listen = { { address = %q, proxy_protocol = true } }, watch = false, "
        .. "workers = 1, trusted_proxies = '127.0.0.1'"):format(address),
      server = { own = true, address = address },
    })
    finally(function() r:stop() end)
    local _, bytes = answer(address,
      V2 .. "GET /x.php?dump HTTP/1.0\r\n\r\n")
    local params = rig.params({ body = bytes })
    assert.equal("192.0.2.7", params.REMOTE_ADDR)
    assert.equal("56324", params.REMOTE_PORT)
    assert.equal("198.51.100.1", params.SERVER_ADDR)
    assert.equal("443", params.SERVER_PORT)
    assert.equal("198.51.100.1", params.SERVER_NAME)
  end)

  it("speaks for itself with LOCAL and UNKNOWN, as a health check does", function()
    local s = announced([[trusted_proxies = { "127.0.0.1" }]])
    finally(function() s:stop() end)
    for _, header in ipairs({ SIGNATURE .. "\32\0\0\0", "PROXY UNKNOWN\r\n",
      SIGNATURE .. "\33\0\0\3abc" }) do
      assert.matches("^127%.0%.0%.1 %d+ http a%.test %d+ %d+ 127%.0%.0%.1$",
        (answer(s.address, header .. REQUEST)))
    end
  end)

  it("believes X-Forwarded-For of the balancer itself, not of whom it does not know", function()
    local s = announced([[trusted_proxies = { "127.0.0.1" }]])
    finally(function() s:stop() end)
    local request = REQUEST:gsub("Host", "X-Forwarded-For: 1.2.3.4\r\nHost")
    assert.matches("^1%.2%.3%.4 ", (answer(s.address, SIGNATURE .. "\32\0\0\0" .. request)))
    for _, header in ipairs({ "PROXY UNKNOWN\r\n", SIGNATURE .. "\33\0\0\0" }) do
      assert.matches("^127%.0%.0%.1 ", (answer(s.address, header .. request)))
    end
  end)

  -- How often the log has a line.
  local function lines(s, pattern)
    return select(2, s:errors():gsub(pattern, ""))
  end

  local BAD = "listener lb: client 127%.0%.0%.1: [^\n]*PROXY"

  it("closes connections that begin otherwise, and says so without filling the log", function()
    local s = announced([[trusted_proxies = { "127.0.0.1" }]])
    finally(function() s:stop() end)
    local kinds = { REQUEST, "PROXY TCP4 1.2.3.4\r\n" .. REQUEST,
      SIGNATURE .. "\33\17\255\255", "\22\3\1\2\0", ("PROXY "):rep(100) }
    local sent, began = 0, socket.gettime()
    local function send()
      local conn = net.connect(s.address)
      conn:try_send(kinds[sent % #kinds + 1])
      sent = sent + 1
      assert.equal("", conn:read_all())
      conn:close()
    end
    for _ = 1, #kinds do
      send()
    end
    s:wait_log(BAD)
    assert(lines(s, BAD) == 1 or socket.gettime() - began > 10)
    poll.wait(function()
      send()
      return lines(s, BAD) >= 2
    end, "a second line about bad headers", 30)
    -- The count stands in the second line, or in one of its own, whichever comes first.
    local text = s:wait_log("%d+ more [sl][^\n]*")
    local more = tonumber(text:match("(%d+) more [sl]"))
    assert(more >= 1 and more <= sent - 2, ("%d of %d"):format(more, sent))
  end)

  it("says how many distrusted headers there were, in one line", function()
    local s = announced([[trusted_proxies = { "127.0.0.2" }]])
    finally(function() s:stop() end)
    local began, pattern = socket.gettime(), "is not believed"
    for _ = 1, 5 do
      answer(s.address, V1 .. REQUEST)
    end
    s:wait_log(pattern)
    assert(lines(s, pattern) == 1 or socket.gettime() - began > 10)
    poll.wait(function()
      answer(s.address, V1 .. REQUEST)
      return lines(s, pattern) >= 2
    end, "a second line about distrusted headers", 30)
    -- The count stands in the second line, or in one of its own, whichever comes first.
    s:wait_log("%d+ more [sl]")
  end)

  it("does not wait longer for the header than header_timeout", function()
    local s = announced([[trusted_proxies = { "127.0.0.1" },
      limits = { header_timeout = "2s", keepalive_timeout = "1h" }]])
    finally(function() s:stop() end)
    local silent, partial = net.connect(s.address), net.connect(s.address)
    partial:send("PROXY TCP4 ")
    local whole = http.open(s.address)
    whole.conn:send(V1)
    assert.equal("", silent:read_all())
    assert.equal("", partial:read_all())
    -- Whose header has come is an idle client, for which keepalive_timeout holds.
    assert.equal(EXPECTED, whole:request({ host = "a.test" }).body)
    silent:close()
    partial:close()
    whole:close()
  end)

  it("asks a stranger for the header, too, and does not believe it", function()
    local s = announced([[trusted_proxies = { "127.0.0.2" }]])
    finally(function() s:stop() end)
    assert.matches("^127%.0%.0%.1 %d+ http a%.test", (answer(s.address, V1 .. REQUEST)))
    s:wait_log("listener lb: the PROXY header of 127%.0%.0%.1 is not believed")
  end)

  it("goes on to X-Forwarded-For only where the announced client is trusted", function()
    local s = announced([[trusted_proxies = { "127.0.0.1", "203.0.113.0/24" }]])
    finally(function() s:stop() end)
    local request = REQUEST:gsub("Host", "X-Forwarded-For: 1.2.3.4\r\nHost")
    assert.equal(EXPECTED, (answer(s.address, V1 .. request)))
    assert.matches("^1%.2%.3%.4 nil ",
      (answer(s.address, (V1:gsub("192.0.2.7", "203.0.113.9")) .. request)))
  end)

  it("counts the announced client for limits.per_ip", function()
    local s = announced([[trusted_proxies = { "127.0.0.1" }, limits = { per_ip = 2 }]])
    finally(function() s:stop() end)
    local held = {}
    for _, ip in ipairs({ "192.0.2.7", "192.0.2.7", "192.0.2.8", "192.0.2.8" }) do
      local client = http.open(s.address)
      client.conn:send((V1:gsub("192.0.2.7", ip)))
      assert.equal(200, client:request({}).status)
      held[#held + 1] = client
    end
    local _, bytes = answer(s.address, V1 .. REQUEST)
    assert.matches("^HTTP/1.1 503 ", bytes)
    s:wait_log("limits%.per_ip: 2 connections of client 192%.0%.2%.7")
    held[1]:close()
    poll.wait(function()
      return answer(s.address, V1 .. REQUEST) == EXPECTED
    end, "a place for 192.0.2.7")
    for _, client in ipairs(held) do
      client:close()
    end
  end)

  it("comes and goes with a reload", function()
    local s = announced([[trusted_proxies = { "127.0.0.1" }]])
    finally(function() s:stop() end)
    local text = process.read_file(s.route_path)
    s:reload((text:gsub("proxy_protocol = true", "proxy_protocol = false")))
    assert.equal(200, http.get(s.address, "/").status)
    s:reload(text)
    assert.equal(EXPECTED, (answer(s.address, V1 .. REQUEST)))
    local conn = net.connect(s.address)
    conn:send(REQUEST)
    assert.equal("", conn:read_all())
    conn:close()
  end)
end)

describe("explain and specs of a route", function()
  local ROUTE = [[
    return {
      trusted_proxies = { "10.0.0.1", "unix:" }, listen = { "127.0.0.1:8080", "unix:/run/x.sock" },
      backends = { app = "127.0.0.1:9" },
      on_request = function() return { backend = "app", docroot = "/app" } end,
    }]]

  it("know whom the route trusts", function()
    local dir = process.tempdir("route")
    process.write_file(dir .. "/route.lua", ROUTE)
    local function param(name, ...)
      local result = server.command({ "explain", dir .. "/route.lua", "http://a.test/a.php",
        ... })
      assert.equal(1, result.code, result.stderr) -- nobody listens at the backend's address
      return result.stdout:match(name .. "%s+(%S+)")
    end
    local headers = { "-H", "X-Forwarded-For: 192.0.2.7", "-H", "X-Forwarded-Proto: https" }
    assert.equal("127.0.0.1", param("REMOTE_ADDR", unpack(headers)))
    assert.equal("192.0.2.7", param("REMOTE_ADDR", "--from", "10.0.0.1", unpack(headers)))
    assert.equal("443", param("SERVER_PORT", "--from", "10.0.0.1", unpack(headers)))
    assert.equal("192.0.2.7", param("REMOTE_ADDR", "--from", "unix:", unpack(headers)))
    local wrong = server.command({ "explain", dir .. "/route.lua", "/a.php", "--from",
      "10.0.0.0/8" })
    assert.equal(2, wrong.code)
    assert.matches("%-%-ip: '10%.0%.0%.0/8': expected an address", wrong.stderr)

    process.write_file(dir .. "/route_spec.lua", [[
      local route = require("moongate.testing").load()
      local function ask(ip, listener)
        return route:request({ url = "/a.php", ip = ip, listener = listener, headers = {
          ["X-Forwarded-For"] = "1.1.1.1, 192.0.2.7", ["X-Forwarded-Host"] = "shop.test" } }).params
      end
      it("tells", function()
        assert.equal("192.0.2.7", ask("10.0.0.1").REMOTE_ADDR)
        assert.equal("shop.test", ask("10.0.0.1").SERVER_NAME)
        assert.equal("10.0.0.2", ask("10.0.0.2").REMOTE_ADDR)
        assert.is_nil(ask("10.0.0.2").HTTP_X_FORWARDED_FOR)
        assert.equal("192.0.2.7", ask(nil, "unix:/run/x.sock").REMOTE_ADDR)
        assert.equal("80", ask(nil, "unix:/run/x.sock").SERVER_PORT)
      end)]])
    local result = server.command({ "test", dir .. "/route.lua", dir .. "/route_spec.lua" })
    assert.equal(0, result.code, result.stdout .. result.stderr)
  end)
end)
