-- HTTP/2 towards the client, without TLS: requests, bodies, responses, what is refused, and how
-- connections end. The application is the responder or a real PHP-FPM.

local h2 = require("tests.support.h2")
local http = require("tests.support.http")
local net = require("tests.support.net")
local php = require("tests.support.php")
local process = require("tests.support.process")
local rig = require("tests.support.rig")

local MEGABYTE = 1024 * 1024

-- A rig whose listener speaks both, until the end of the test.
local function start(options)
  local r = rig.start(h2.rig(options))
  finally(function() r:stop() end)
  return r
end

-- One request on a connection of its own.
local function ask(r, commands, request)
  request = request or {}
  request.path = request.path or rig.target(commands)
  local client = h2.open(r.address)
  local res = client:request(request)
  client:close()
  return res
end

local function curl(...)
  local result = process.run({ argv = { "curl", "-sS", "--http2-prior-knowledge", ... } }, 60)
  assert.equal(0, result.code, result.stderr)
  return result.stdout
end

describe("HTTP/2", function()
  local r

  setup(function()
    r = rig.start(h2.rig({ backend = "keepalive = 4", settings = "limits = { body = '1M' }" }))
  end)

  teardown(function() r:stop() end)

  it("carries many requests on one connection, each at its own pace", function()
    local client = h2.open(r.address)
    local slow = client:send({ path = rig.target("delay=hold&body=slow") })
    r:wait_started("body=slow", 1)
    for i = 1, 200 do
      assert.equal(i .. "\n", client:request({ path = rig.target("body=" .. i .. "%0A") }).body)
    end
    r:release()
    assert.equal("slow", client:receive(slow).body)
    client:close()
  end)

  it("has up to 128 of them at the same time", function()
    local client = h2.open(r.address)
    local ids = {}
    for i = 1, 128 do
      ids[i] = client:send({ path = rig.target("delay=hold&W128&body=" .. i) })
    end
    r:wait_started("W128", 128)
    local more = client:receive(client:send({ path = rig.target("body=x") }))
    assert.equal(h2.REFUSED_STREAM, more.reset)
    assert.equal(128, client.settings[3])
    r:release(128)
    for i = 1, 128 do
      assert.equal(tostring(i), client:receive(ids[i]).body)
    end
    assert.equal("x", client:request({ path = rig.target("body=x") }).body)
    client:close()
  end)

  it("sends the params of such a request", function()
    local res = ask(r, "dump", { headers = { { "x-a", "b" }, { "cookie", "a=1" },
      { "cookie", "b=2" }, { "te", "trailers" }, { "x-odd_name", "c" } } })
    local params = rig.params(res)
    assert.equal("HTTP/2.0", params.SERVER_PROTOCOL)
    assert.equal("b", params.HTTP_X_A)
    assert.equal("a=1; b=2", params.HTTP_COOKIE)
    assert.equal("localhost", params.HTTP_HOST)
    assert.equal("http", params.REQUEST_SCHEME)
    assert.is_nil(params.HTTP_TE)
    assert.is_nil(params.HTTP_X_ODD_NAME)
    r.server:wait_access('"GET /x%.php%?dump HTTP/2%.0" 200')
  end)

  it("joins as many cookies as limits.header has room for", function()
    local headers, all = {}, {}
    for i = 1, 400 do
      headers[i], all[i] = { "cookie", "c" .. i .. "=" .. i }, "c" .. i .. "=" .. i
    end
    table.insert(headers, 200, { "x-between", "1" })
    local params = rig.params(ask(r, "dump", { headers = headers }))
    assert.equal(table.concat(all, "; "), params.HTTP_COOKIE)
  end)

  it("passes bodies on, whatever their framing", function()
    for _, size in ipairs({ 0, 1, 16383, 16384, 65535, 65536, 300000 }) do
      local body = rig.bytes(size)
      for _, headers in ipairs({ {}, { { "content-length", tostring(size) } } }) do
        local client = h2.open(r.address)
        local id = client:send({ method = "POST", path = rig.target("sum"), headers = headers,
          body = body:sub(1, 65535) })
        if size > 65535 then -- the stream's window is used up: the rest as it opens
          client:close()
          client = h2.open(r.address)
          id = client:post_slowly({ method = "POST", path = rig.target("sum"),
            headers = headers }, body)
        end
        local res = client:receive(id)
        assert.equal(rig.sum(body), res.body)
        client:close()
      end
    end
  end)

  it("drops trailers", function()
    local res = ask(r, "sum", { method = "POST", body = "hello", trailers = { { "x-a", "b" } } })
    assert.equal(rig.sum("hello"), res.body)
  end)

  it("answers without a body where there is none", function()
    local res = ask(r, "size=5000&length", { method = "HEAD" })
    assert.equal(200, res.status)
    assert.equal("5000", res.headers["content-length"])
    assert.equal("", res.body)
    for _, status in ipairs({ 204, 304 }) do
      res = ask(r, "status=" .. status)
      assert.equal(status, res.status)
      assert.is_nil(res.headers["content-length"])
      assert.equal("", res.body)
    end
  end)

  it("passes heads and bodies of applications on", function()
    local res = ask(r, "status=404&type=text/css&header=X-A:%20b&header=Connection:%20close"
      .. "&header=Keep-Alive:%205&body=gone")
    assert.equal(404, res.status)
    assert.equal("text/css", res.headers["content-type"])
    assert.equal("b", res.headers["x-a"])
    assert.equal("moongate", res.headers.server)
    assert.is_truthy(res.headers.date:find("GMT$"))
    assert.equal("4", res.headers["content-length"])
    assert.equal("gone", res.body)
    for _, size in ipairs({ 0, 1, 8192, 16384, 16385, 65536, 3000000 }) do
      assert.equal(rig.pattern(size), ask(r, "size=" .. size).body)
    end
    assert.equal(60000, #ask(r, "big=60000").headers["x-big"])
  end)

  it("shows an answer that breaks off", function()
    local res = ask(r, "size=50000&fail=close-mid-body&write=9000")
    assert.is_true(res.status == 200 or res.status == 502)
    assert.is_true(res.status == 502 or res.reset == h2.INTERNAL_ERROR)
    assert.equal(502, ask(r, "fail=close-before-head").status)
  end)

  it("takes the preface in any pieces, and HTTP/1 beside it", function()
    local bytes = h2.PREFACE .. h2.settings()
      .. h2.headers(1, h2.block(h2.fields({ path = rig.target("body=x") })), true)
    for cut = 1, 40, 3 do
      local conn = net.connect(r.address)
      conn:drip({ bytes:sub(1, cut), bytes:sub(cut + 1) }, 0.002)
      local client = h2.over(conn, { quiet = true })
      assert.equal("x", client:receive(1).body)
      client:close()
    end
    for _, method in ipairs({ "GET", "PUT", "PRI", "PRINT" }) do
      local client = http.open(r.address)
      client.conn:drip({ method:sub(1, 2), method:sub(3)
        .. " /x.php?body=y HTTP/1.1\r\nHost: a\r\n\r\n" }, 0.002)
      assert.equal("y", client:receive().body)
      assert.equal("y", client:request({ path = rig.target("body=y") }).body)
      client:close()
    end
  end)

  it("is refused by a listener that does not say so", function()
    local plain = rig.start()
    finally(function() plain:stop() end)
    local conn = net.connect(plain.address)
    conn:send(h2.PREFACE .. h2.settings())
    assert.is_truthy(conn:read_all():find("^HTTP/1%.1 505 "))
  end)

  it("is served to curl and nghttp", function()
    local url = "http://" .. r.address .. rig.target("size=100000")
    assert.equal(rig.pattern(100000), curl(url))
    assert.equal("2 200", curl("-o", "/dev/null", "-w", "%{http_version} %{http_code}", url))
    local result = process.run({ argv = { "nghttp", url, url, url } }, 60)
    assert.equal(rig.pattern(100000):rep(1), result.stdout:sub(1, 100000))
    assert.equal(0, result.code)
    result = process.run({ argv = { "h2load", "-n", "3000", "-c", "3", "-m", "30",
      "http://" .. r.address .. rig.target("body=hello") } }, 120)
    assert.is_truthy(result.stdout:find("3000 succeeded, 0 failed, 0 errored"), result.stdout)
  end)

  it("sends 100 Continue to who waits for it", function()
    local client = h2.open(r.address)
    local id = client.next_id
    client.next_id = id + 2
    client.conn:send(h2.headers(id, h2.block(h2.fields({ method = "POST",
      path = rig.target("sum"), headers = { { "expect", "100-continue" } } })), false))
    client:until_true(function()
      return client.streams[id] and client.streams[id].interim[1]
    end, "it sent 100 Continue")
    assert.equal(100, client.streams[id].interim[1].status)
    client.conn:send(h2.frame(h2.DATA, h2.END_STREAM, id, "hello"))
    assert.equal(rig.sum("hello"), client:receive(id).body)
    client:close()
  end)

  it("ends the request of a stream that is reset", function()
    local client = h2.open(r.address)
    local id = client:send({ path = rig.target("delay=hold&cancelled") })
    r:wait_started("cancelled", 1)
    client.conn:send(h2.reset(id))
    r.server:wait_access("cancelled HTTP/2%.0\" 499")
    r:release()
    assert.equal("x", client:request({ path = rig.target("body=x") }).body)
    client:close()
  end)
end)

describe("a request to a real PHP", function()
  it("comes and goes by HTTP/2", function()
    local fpm = php.start({ pages = "tests/pages" })
    finally(function() fpm:stop() end)
    local r = start({ responder = false, servers = { fpm.address },
      on_request = ([[do return { backend = "app", root = %q } end]]):format(fpm.root) })
    local url = "http://" .. r.address
    assert.is_truthy(curl(url .. "/hello.php"):find("%S"))
    assert.is_truthy(curl(url .. "/server.php"):find("SERVER_PROTOCOL=HTTP/2.0", 1, true))
    local file = process.tempdir("upload") .. "/file"
    process.write_file(file, rig.bytes(3 * MEGABYTE))
    assert.is_truthy(curl("-F", "file=@" .. file, url .. "/upload.php"):find("3145728"))
    assert.equal(404, ask(r, nil, { path = "/missing.php" }).status)
  end)
end)

describe("Early Hints", function()
  it("reach a client of HTTP/2", function()
    local r = start({ on_request = [[do return { backend = "app", docroot = "/srv/app",
      early_hints = { "</a.css>; rel=preload" } } end]] })
    local res = ask(r, "body=x")
    assert.equal(103, res.interim[1].status)
    assert.equal("</a.css>; rel=preload", res.interim[1].headers.link)
    assert.equal("x", res.body)
  end)
end)

-- What is refused, over both protocols: a request, the status, and why. `ok`: it is answered.
local LONG = ("x"):rep(9000)
local CASES = {
  { 200, "an ordinary request", {} },
  { 200, "a method of WebDAV", { method = "VERSION-CONTROL" } },
  { 200, "a name with an underscore", { headers = { { "x_a", "b" } } } },
  { 400, "a space in the target", { path = "/a b" }, h1 = "/a b" },
  { 400, "a target without a slash", { path = "a" } },
  { 400, "a raw byte above 0x7f", { path = "/\195\164" } },
  { 400, "a fragment", { path = "/a#b" } },
  { 400, "an encoded NUL", { path = "/a%00.php" } },
  { 400, "a % without digits", { path = "/a%zz" } },
  { 400, "a climb over the root", { path = "/a/../../etc/passwd" } },
  { 400, "an encoded climb", { path = "/%2e%2e/%2e%2e/x" } },
  { 400, "no host", { authority = false } },
  { 400, "a host that is none", { authority = "a b" } },
  { 400, "a host with a path", { authority = "a/b" } },
  { 400, "a host with a user", { authority = "a@b" } },
  { 400, "a method that is no token", { method = "GE(T" } },
  { 405, "TRACE", { method = "TRACE" } },
  { 501, "CONNECT", { method = "CONNECT", path = "/" } },
  { 400, "a NUL in a header", { headers = { { "x-a", "b\0c" } } } },
  { 400, "a control byte in a header", { headers = { { "x-a", "b\1c" } } } },
  { 400, "a CR in a header", { headers = { { "x-a", "b\rc" } } } },
  { 400, "a LF in a header", { headers = { { "x-a", "b\nc" } } } },
  { 400, "a header without a name", { headers = { { "", "b" } } } },
  { 400, "a name that is no token", { headers = { { "x(a)", "b" } } } },
  { 400, "a space in a name", { headers = { { "x a", "b" } } } },
  { 400, "two lengths", { method = "POST", body = "abc",
    headers = { { "content-length", "3" }, { "content-length", "3" } } } },
  { 400, "a list of lengths", { method = "POST", body = "abc",
    headers = { { "content-length", "3, 3" } } } },
  { 400, "a signed length", { method = "POST", body = "abc",
    headers = { { "content-length", "+3" } } } },
  { 400, "a negative length", { method = "POST", body = "abc",
    headers = { { "content-length", "-3" } } } },
  { 400, "a length in hex", { method = "POST", body = "abc",
    headers = { { "content-length", "0x3" } } } },
  { 400, "an empty length", { method = "POST", headers = { { "content-length", "" } } } },
  { 400, "Content-Type twice", { headers = { { "content-type", "a" }, { "content-type", "b" } } } },
  { 400, "Authorization twice",
    { headers = { { "authorization", "a" }, { "authorization", "b" } } } },
  { 417, "an expectation", { headers = { { "expect", "a-miracle" } } } },
  { 414, "a long target", { path = "/" .. LONG } },
  { 431, "a large head", { headers = { { "x-a", LONG }, { "x-b", LONG } } } },
  { 413, "a body larger than limits.body", { method = "POST",
    headers = { { "content-length", "2000000" } }, unfinished = true } },
}

-- The same request as HTTP/1.
local function as_http1(request)
  local lines = { ("%s %s HTTP/1.1"):format(request.method or "GET",
    request.path or "/x.php?body=x") }
  if request.authority ~= false then
    lines[2] = "Host: " .. (request.authority or "localhost")
  end
  for _, field in ipairs(request.headers or {}) do
    lines[#lines + 1] = field[1] .. ": " .. field[2]
  end
  return table.concat(lines, "\r\n") .. "\r\n\r\n" .. (request.body or "")
end

local function many_headers()
  local list = {}
  for i = 1, 101 do
    list[i] = { "x-" .. i, "y" }
  end
  return list
end

-- What only HTTP/2 can say. `status` 400 where there is none.
local function fields(...)
  return { fields = { ... } }
end
local METHOD, SCHEME = { ":method", "GET" }, { ":scheme", "http" }
local HOST, PATH = { ":authority", "localhost" }, { ":path", "/x.php?body=x" }
local OWN_CASES = {
  { "a name in upper case", { headers = { { "X-A", "b" } } } },
  { "a pseudo header behind others", fields(METHOD, SCHEME, HOST, { "x-a", "b" }, PATH) },
  { "an unknown pseudo header", fields(METHOD, SCHEME, HOST, PATH, { ":protocol", "websocket" }) },
  { "a pseudo header of responses", fields(METHOD, SCHEME, HOST, PATH, { ":status", "200" }) },
  { "two methods", fields(METHOD, METHOD, SCHEME, HOST, PATH) },
  { "two schemes", fields(METHOD, SCHEME, SCHEME, HOST, PATH) },
  { "two authorities", fields(METHOD, SCHEME, HOST, HOST, PATH) },
  { "two paths", fields(METHOD, SCHEME, HOST, PATH, PATH) },
  { "no method", fields(SCHEME, HOST, PATH) },
  { "no scheme", fields(METHOD, HOST, PATH) },
  { "no path", fields(METHOD, SCHEME, HOST) },
  { "an empty path", { path = "" } },
  { "an absolute path", { path = "http://other/x.php" } },
  { "a scheme of its own", { scheme = "ftp" } },
  { "Connection", { headers = { { "connection", "close" } } } },
  { "Keep-Alive", { headers = { { "keep-alive", "5" } } } },
  { "Proxy-Connection", { headers = { { "proxy-connection", "close" } } } },
  { "Transfer-Encoding", { method = "POST", body = "x",
    headers = { { "transfer-encoding", "chunked" } } } },
  { "Upgrade", { headers = { { "upgrade", "h2c" } } } },
  { "TE with codings", { headers = { { "te", "gzip" } } } },
  { "a Host that says something else", { headers = { { "host", "other" } } } },
  { "two Hosts", fields(METHOD, SCHEME, PATH, { "host", "a" }, { "host", "a" }) },
  { "a blank before a value", { headers = { { "x-a", " b" } } } },
  { "a tab behind a value", { headers = { { "x-a", "b\t" } } } },
  { "a control byte in a second cookie", { headers = { { "cookie", "a" }, { "cookie", "b\1" } } } },
  { "a length without a body", { method = "POST", headers = { { "content-length", "3" } } } },
  { "a body shorter than its length", { method = "POST", body = "ab",
    headers = { { "content-length", "3" } } } },
  { "a body longer than its length", { method = "POST", body = "abcd",
    headers = { { "content-length", "3" } } } },
  { "a pseudo header in trailers", { method = "POST", body = "x",
    trailers = { { ":path", "/" } } } },
  { "a bad name in trailers", { method = "POST", body = "x", trailers = { { "x a", "b" } } } },
  { "large trailers", { method = "POST", body = "x",
    trailers = { { "a", LONG }, { "b", LONG } } }, 431 },
}

describe("a request is refused by both protocols:", function()
  local r

  setup(function()
    r = rig.start(h2.rig({ settings = "limits = { body = '1M' }" }))
  end)

  teardown(function() r:stop() end)

  -- The request over HTTP/2, on a connection that goes on to serve.
  local function over_http2(request)
    local client = h2.open(r.address)
    local res
    request.path = request.path == nil and rig.target("body=x") or request.path
    if request.unfinished then
      local id = client.next_id
      client.next_id = id + 2
      client.conn:send(h2.headers(id, h2.block(h2.fields(request)), false))
      res = client:receive(id)
    else
      res = client:request(request)
    end
    assert.equal("after", client:request({ path = rig.target("body=after") }).body)
    client:close()
    return res
  end

  local function check(status, request)
    local before = #r:events("REQUEST")
    local res = over_http2(request)
    assert.equal(status, res.status)
    assert.equal(before + (status == 200 and 2 or 1), #r:events("REQUEST"))
  end

  CASES[#CASES + 1] = { 431, "more than 100 headers", { headers = many_headers() } }
  for _, case in ipairs(CASES) do
    it(case[2], function()
      local conn = net.connect(r.address)
      conn:send(as_http1(case[3]))
      local status = conn:read_until("\r\n"):match("^HTTP/1%.1 (%d+) ")
      assert.equal(case[1], tonumber(status))
      conn:close()
      check(case[1], case[3])
    end)
  end

  for _, case in ipairs(OWN_CASES) do
    it(case[1] .. " (HTTP/2 alone)", function()
      check(case[3] or 400, case[2])
    end)
  end

  it("and a Host that says the same is none", function()
    local res = over_http2({ path = rig.target("dump"), headers = { { "host", "localhost" } } })
    assert.equal("localhost", rig.params(res).HTTP_HOST)
    res = over_http2(fields(METHOD, SCHEME, { ":path", rig.target("dump") }, { "host", "only" }))
    assert.equal("only", rig.params(res).HTTP_HOST)
  end)

  it("and OPTIONS * is answered", function()
    local res = over_http2({ method = "OPTIONS", path = "*" })
    assert.equal(200, res.status)
    assert.is_truthy(res.headers.allow:find("GET"))
  end)
end)
