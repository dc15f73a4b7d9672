-- HTTP/1.1 towards the client: connections, pipelining, framings, limits, and what is refused. The
-- application is the responder; what a refused request must not do is reach it.

local http = require("tests.support.http")
local net = require("tests.support.net")
local rig = require("tests.support.rig")
local socket = require("socket")

describe("a connection", function()
  local r

  setup(function()
    r = rig.start({
      backend = "keepalive = 4",
      settings = [[limits = { keepalive_requests = 20 }]],
    })
  end)

  teardown(function() r:stop() end)

  it("carries many requests", function()
    local client = http.open(r.address)
    for i = 1, 15 do
      assert.equal(i .. "\n", client:request({ path = rig.target("body=" .. i .. "%0A") }).body)
      client:assert_quiet()
    end
    client:close()
  end)

  it("ends after keepalive_requests, and says so", function()
    local client = http.open(r.address)
    for i = 1, 20 do
      local res = client:request({ path = rig.target("") })
      assert.equal(i == 20, res.headers.connection == "close")
    end
    assert.is_true(client.conn:closes(2))
    client:close()
  end)

  it("ends when the client says so", function()
    local client = http.open(r.address)
    local res = client:request({ path = rig.target(""), headers = { Connection = "Close" } })
    assert.equal("close", res.headers.connection)
    assert.is_true(client.conn:closes(2))
    client:close()
  end)

  it("of HTTP/1.0 ends after a reply, and is kept when asked for", function()
    local client = http.open(r.address)
    local res = client:request({ path = rig.target("size=3000"), version = "1.0", host = false })
    assert.equal(rig.pattern(3000), res.body)
    assert.is_true(res.framing == "close" or res.framing == "length")
    assert.is_true(client.conn:closes(2))
    client:close()

    client = http.open(r.address)
    for _ = 1, 3 do
      res = client:request({
        path = rig.target("size=3000&length"), version = "1.0",
        headers = { Connection = "keep-alive" },
      })
      assert.equal(rig.pattern(3000), res.body)
      assert.equal("keep-alive", res.headers.connection:lower())
    end
    client:close()
  end)

  it("takes a request in any pieces", function()
    local text = "POST " .. rig.target("sum") .. " HTTP/1.1\r\nHost: a\r\nX-A: b\r\n"
    for _, framing in ipairs({
      "Content-Length: 5\r\n\r\nhello",
      "Transfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3;x=y\r\nllo\r\n0\r\nX-Trailer: t\r\n\r\n",
    }) do
      local bytes = text .. framing
      local client = http.open(r.address)
      for i = 1, #bytes do
        client.conn:send(bytes:sub(i, i))
      end
      assert.equal(rig.sum("hello"), client:receive().body)
      for cut = 1, #bytes - 1, 5 do
        if cut % 50 == 1 then
          client:close()
          client = http.open(r.address)
        end
        client.conn:drip({ bytes:sub(1, cut), bytes:sub(cut + 1) }, 0.002)
        assert.equal(rig.sum("hello"), client:receive().body)
      end
      client:close()
    end
  end)

  it("may begin with empty lines", function()
    local client = http.open(r.address)
    client.conn:send("\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert.equal(200, client:receive().status)
    client:close()
  end)
end)

describe("pipelined requests", function()
  local r

  setup(function()
    r = rig.start({ backend = "keepalive = 4" })
  end)

  teardown(function() r:stop() end)

  it("are answered one after another, in order", function()
    local client = http.open(r.address)
    local all = {}
    for i = 1, 10 do
      -- The earlier ones take longer; bodies lie between the heads.
      local head, body = http.format({
        method = i % 3 == 0 and "POST" or "GET",
        path = rig.target(("sum&header=X-N:%d&delay=%d"):format(i, 40 - i * 4)),
        body = i % 3 == 0 and ("b"):rep(i * 1000) or nil,
        chunked = i % 2 == 0,
      })
      all[i] = head .. body
    end
    client.conn:send(table.concat(all))
    for i = 1, 10 do
      local res = client:receive()
      assert.equal(tostring(i), res.headers["x-n"])
      assert.equal(rig.sum(i % 3 == 0 and ("b"):rep(i * 1000) or ""), res.body)
    end
    client:assert_quiet()
    client:close()
  end)

  it("wait for a long reply before them", function()
    local client = http.open(r.address)
    client:send({ path = rig.target("size=2000000") })
    client:send({ path = rig.target("body=second") })
    assert.equal(rig.pattern(2000000), client:receive().body)
    assert.equal("second", client:receive().body)
    client:close()
  end)

  it("behind a refused one are not looked at", function()
    local before = #r:events("REQUEST")
    local client = http.open(r.address)
    client.conn:send("GET /a b HTTP/1.1\r\nHost: a\r\n\r\nGET /x HTTP/1.1\r\nHost: a\r\n\r\n")
    local bytes = client.conn:read_all()
    assert.is_truthy(bytes:find("^HTTP/1%.1 400 "))
    local _, replies = bytes:gsub("HTTP/1%.1 ", "")
    assert.equal(1, replies)
    assert.equal(before, #r:events("REQUEST"))
    client:close()
  end)
end)

describe("a connection that ends before a pipelined request", function()
  it("still has its last reply for a client that goes on sending", function()
    local r = rig.start({ settings = "limits = { keepalive_requests = 2 }" })
    finally(function() r:stop() end)
    local client = http.open(r.address)
    local get = ("GET %s HTTP/1.1\r\nHost: a\r\n\r\n"):format(rig.target("size=100000"))
    client.conn:send(get:rep(4))
    r.server:wait_access("GET.*\n.*GET") -- the server has written both, and the client reads none
    client.conn:send(get)
    local expected = rig.pattern(100000)
    for _ = 1, 2 do
      assert.is_true(expected == client:receive().body)
    end
    assert.is_true(client.conn:closes(3))
    client:close()
  end)
end)

describe("a reply without a body", function()
  local r

  setup(function()
    r = rig.start({ backend = "keepalive = 4" })
  end)

  teardown(function() r:stop() end)

  it("to HEAD has the head of the GET", function()
    local client = http.open(r.address)
    local list = { "size=70000", "size=70000&length", "size=0", "status=404&size=9" }
    for _, commands in ipairs(list) do
      local get = client:request({ path = rig.target(commands) })
      local head = client:request({ method = "HEAD", path = rig.target(commands) })
      client:assert_quiet()
      assert.equal(get.status, head.status)
      assert.equal("", head.body)
      assert.equal(get.headers["content-type"], head.headers["content-type"])
      if commands:find("length") then
        assert.equal("70000", head.headers["content-length"])
      end
    end
    client:close()
  end)

  it("is that of 204 and 304, whatever the application sends", function()
    local client = http.open(r.address)
    local list = { "status=204", "status=304", "status=204&length", "status=304&size=70000" }
    for _, commands in ipairs(list) do
      local res = client:request({ path = rig.target(commands) })
      assert.equal(tonumber(commands:match("%d+")), res.status)
      assert.equal("", res.body)
      client:assert_quiet()
    end
    assert.equal("hello\n", client:request({ path = rig.target("") }).body)
    client:close()
  end)

  it("of length 0 is complete", function()
    local client = http.open(r.address)
    for _ = 1, 3 do
      assert.equal("", client:request({ path = rig.target("size=0") }).body)
      assert.equal("", client:request({ path = rig.target("size=0&length") }).body)
    end
    client:close()
  end)
end)

describe("a request's body", function()
  local r

  setup(function()
    r = rig.start({ backend = "keepalive = 4", settings = [[limits = { body = 100000 }]] })
  end)

  teardown(function() r:stop() end)

  it("in chunks reaches the application with its CONTENT_LENGTH", function()
    for _, pieces in ipairs({
      { "a" }, { "hello", " ", "world" }, { ("x"):rep(70000), ("y"):rep(29999), "z" }, {},
    }) do
      local whole = table.concat(pieces)
      local res = r:get("dump&sum", { method = "POST", body = pieces })
      assert.equal(200, res.status)
      assert.equal(tostring(#whole), rig.params(res).CONTENT_LENGTH or "0")
      assert.is_truthy(res.body:find(rig.sum(whole), 1, true))
    end
  end)

  it("is asked for by 100 Continue where the client waits for that", function()
    local client = http.open(r.address)
    for _, framing in ipairs({ "Content-Length: 5", "Transfer-Encoding: chunked" }) do
      client.conn:send("POST " .. rig.target("sum") .. " HTTP/1.1\r\nHost: a\r\n"
        .. "Expect: 100-continue\r\n" .. framing .. "\r\n\r\n")
      assert.equal("HTTP/1.1 100 Continue\r\n\r\n", client.conn:read_until("\r\n\r\n", 3))
      client.conn:send(framing:find("chunked") and "5\r\nhello\r\n0\r\n\r\n" or "hello")
      assert.equal(rig.sum("hello"), client:receive().body)
    end
    client:close()
  end)

  it("is asked for by 100 Continue behind another request, with which its head came", function()
    local client = http.open(r.address)
    for _, first in ipairs({ "GET %s HTTP/1.1\r\nHost: a\r\n\r\n",
      "POST %s HTTP/1.1\r\nHost: a\r\nContent-Length: 20000\r\n\r\n" .. ("x"):rep(20000) }) do
      client.conn:send(first:format(rig.target("body=first")) .. "POST " .. rig.target("sum")
        .. " HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n")
      assert.equal("first", client:receive().body)
      assert.equal("HTTP/1.1 100 Continue\r\n\r\n", client.conn:read_until("\r\n\r\n"))
      client.conn:send("hello")
      assert.equal(rig.sum("hello"), client:receive().body)
    end
    client:close()
  end)

  it("is not asked for when it is refused, or for HTTP/1.0", function()
    local conn = net.connect(r.address)
    conn:send("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n"
      .. "Content-Length: 100001\r\n\r\n")
    assert.is_truthy(conn:read_until("\r\n", 3):find("^HTTP/1%.1 413 "))
    conn:close()
    conn = net.connect(r.address)
    conn:send("POST /x.php?sum HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n")
    assert.is_true(conn:silent(0.2))
    conn:send("ab")
    assert.is_truthy(conn:read_all():find("^HTTP/1%.[01] 200 "))
    conn:close()
  end)

  it("over limits.body is 413, before or while it comes, and the connection ends", function()
    local before = #r:events("REQUEST")
    assert.equal(200, r:get("sum", { method = "POST", body = ("x"):rep(100000) }).status)
    local client = http.open(r.address)
    client.conn:send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100001\r\n\r\n")
    assert.equal(413, client:receive("POST").status)
    client:close()
    client = http.open(r.address)
    client.conn:send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
    client.conn:send(http.chunks({ ("x"):rep(60000), ("x"):rep(40001) }))
    assert.equal(413, client:receive("POST").status)
    assert.is_true(client.conn:closes(3))
    client:close()
    client = http.open(r.address)
    client.conn:send("POST / HTTP/1.1\r\nHost: a\r\n"
      .. "Content-Length: 99999999999999999999999\r\n\r\n")
    local status = client:receive("POST").status
    assert.is_true(status == 413 or status == 400)
    client:close()
    assert.equal(before + 1, #r:events("REQUEST"))
  end)

  it("may come with GET, and is passed on", function()
    assert.equal(rig.sum("abc"), r:get("sum", { body = "abc" }).body)
  end)
end)

-- Each is sent as it stands; the lines of a head end in CRLF where nothing else is said.
local GET = "GET / HTTP/1.1\r\nHost: a\r\n"
local POST = "POST / HTTP/1.1\r\nHost: a\r\n"
local CHUNKED = "Transfer-Encoding: chunked\r\n"

local REFUSED = {
  { 400, "a space in the target", "GET /a b HTTP/1.1\r\nHost: a\r\n\r\n" },
  { 400, "no version, which is HTTP/0.9", "GET /\r\n\r\n" },
  { 400, "no method", " / HTTP/1.1\r\nHost: a\r\n\r\n" },
  { 400, "no Host", "GET / HTTP/1.1\r\n\r\n" },
  { 400, "two Hosts", GET .. "Host: b\r\n\r\n" },
  { 400, "a Host that is none", "GET / HTTP/1.1\r\nHost: a b\r\n\r\n" },
  { 400, "a Host with a path", "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n" },
  { 400, "a bare LF", "GET / HTTP/1.1\nHost: a\r\n\r\n" },
  { 400, "a bare LF after a header", "GET / HTTP/1.1\r\nHost: a\nX-A: b\r\n\r\n" },
  { 400, "a bare LF at the end", GET .. "\n" },
  { 400, "a bare CR in a header", GET .. "X-A: b\rc\r\n\r\n" },
  { 400, "a NUL in a header", GET .. "X-A: b\0c\r\n\r\n" },
  { 400, "a control byte in a header", GET .. "X-A: b\1c\r\n\r\n" },
  { 400, "a folded header", GET .. "X-A: b\r\n c\r\n\r\n" },
  { 400, "a space before the colon", GET .. "X-A : b\r\n\r\n" },
  { 400, "a header without a name", GET .. ": b\r\n\r\n" },
  { 400, "a header without a colon", GET .. "X-A\r\n\r\n" },
  { 400, "a name that is no token", GET .. "X(A): b\r\n\r\n" },
  { 400, "both framings",
    POST .. "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" },
  { 400, "both framings, the other way round",
    POST .. "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n" },
  { 400, "two lengths", POST .. "Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc" },
  { 400, "a list of lengths", POST .. "Content-Length: 3, 3\r\n\r\nabc" },
  { 400, "a signed length", POST .. "Content-Length: +3\r\n\r\nabc" },
  { 400, "a negative length", POST .. "Content-Length: -3\r\n\r\nabc" },
  { 400, "a length in hex", POST .. "Content-Length: 0x3\r\n\r\nabc" },
  { 400, "an empty length", POST .. "Content-Length:\r\n\r\n" },
  { 400, "chunked in HTTP/1.0", "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" },
  { 400, "Content-Type twice", GET .. "Content-Type: a\r\nContent-Type: b\r\n\r\n" },
  { 400, "Authorization twice", GET .. "Authorization: a\r\nAuthorization: b\r\n\r\n" },
  { 400, "a climb over the root", "GET /a/../../etc/passwd HTTP/1.1\r\nHost: a\r\n\r\n" },
  { 400, "an encoded climb", "GET /%2e%2e/%2e%2e/x HTTP/1.1\r\nHost: a\r\n\r\n" },
  { 400, "an encoded NUL", "GET /a%00.php HTTP/1.1\r\nHost: a\r\n\r\n" },
  { 400, "a % without digits", "GET /a%zz HTTP/1.1\r\nHost: a\r\n\r\n" },
  { 400, "a raw byte above 0x7f", "GET /\195\164 HTTP/1.1\r\nHost: a\r\n\r\n" },
  { 400, "a fragment", "GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n" },
  { 400, "a target without a slash", "GET a HTTP/1.1\r\nHost: a\r\n\r\n" },
  { 400, "a TLS greeting", "\22\3\1\2\0\1\0\1\252\3\3\r\n\r\n" },
  { 400, "a bad chunk size", POST .. CHUNKED .. "\r\nxyz\r\n" },
  { 400, "a chunk longer than said", POST .. CHUNKED .. "\r\n3\r\nabcd\r\n0\r\n\r\n" },
  { 400, "a bare LF in the chunks", POST .. CHUNKED .. "\r\n3\nabc\r\n0\r\n\r\n" },
  { 400, "a chunk size that overflows", POST .. CHUNKED .. "\r\n10000000000000003\r\nabc\r\n" },
  { 405, "TRACE", "TRACE / HTTP/1.1\r\nHost: a\r\n\r\n" },
  { 417, "another expectation", POST .. "Expect: magic\r\nContent-Length: 1\r\n\r\na" },
  { 501, "CONNECT", "CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n" },
  { 501, "another coding", POST .. "Transfer-Encoding: gzip, chunked\r\n\r\n" },
  { 505, "HTTP/2.0", "GET / HTTP/2.0\r\nHost: a\r\n\r\n" },
  { 505, "HTTP/3.7", "GET / HTTP/3.7\r\nHost: a\r\n\r\n" },
  { 414, "a long request line", "GET /" .. ("a"):rep(8192) .. " HTTP/1.1\r\nHost: a\r\n\r\n" },
  { 414, "an endless request line", "GET /" .. ("a"):rep(100000) },
  { 431, "a large head", GET .. "X-A: " .. ("a"):rep(16384) .. "\r\n\r\n" },
  { 431, "an endless header", GET .. "X-A: " .. ("a"):rep(100000) },
  { 431, "an endless head", GET .. ("X-A: b\r\n"):rep(20000) },
  { 431, "too many headers", GET .. ("X: b\r\n"):rep(101) .. "\r\n" },
}

describe("a request that is refused", function()
  local r

  setup(function()
    r = rig.start({ settings = [[limits = { header_timeout = "10s" }]] })
  end)

  teardown(function() r:stop() end)

  for _, case in ipairs(REFUSED) do
    local status, name, bytes = unpack(case)
    it(("is %d: %s"):format(status, name), function()
      local before = #r:events("OPEN")
      local mark = r.server:mark()
      local conn = net.connect(r.address)
      conn:try_send(bytes) -- it may be refused before all of it was read
      local reply = conn:read_all(5)
      assert.equal(status, tonumber(reply:match("^HTTP/1%.[01] (%d%d%d) ")), reply)
      assert.is_truthy(reply:lower():find("\r\nconnection: close\r\n", 1, true), reply)
      conn:close()
      assert.equal(before, #r:events("OPEN"))
      assert.is_nil(r.server:errors():sub(mark + 1):find("[%z\1-\9\11-\31\127]"))
    end)
  end

  it("does no harm in any prefix", function()
    local bytes = "POST /x.php?sum HTTP/1.1\r\nHost: a\r\nX-A: b\r\n" .. CHUNKED .. "\r\n"
      .. "3;a=b\r\nabc\r\n0\r\nX-T: t\r\n\r\n"
    for i = 1, #bytes do
      local conn = net.connect(r.address)
      conn:send(bytes:sub(1, i))
      conn:finish()
      local reply = conn:read_all(5)
      if i == #bytes then
        assert.is_truthy(reply:find("^HTTP/1%.1 200 "))
      else
        assert.is_nil(reply:find("^HTTP/1%.1 [23]"), i .. " " .. reply)
      end
      conn:close()
    end
    for _, event in ipairs(r:events("REQUEST")) do
      assert.equal("complete", event["end"])
    end
  end)

  it("does no harm with any byte changed", function()
    local bytes = "POST /x.php?sum HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc"
    for i = 1, #bytes do
      for _, byte in ipairs({ 0, 10, 13, 32, 58, 127, 200 }) do
        local conn = net.connect(r.address)
        conn:try_send(bytes:sub(1, i - 1) .. string.char(byte) .. bytes:sub(i + 1))
        conn:finish()
        conn:read_all(5)
        conn:close()
      end
    end
    assert.equal(rig.sum("abc"), r:get("sum", { method = "POST", body = "abc" }).body)
  end)
end)

describe("what servers differ in", function()
  local r

  setup(function()
    r = rig.start({ backend = "keepalive = 4" })
  end)

  teardown(function() r:stop() end)

  local function params(bytes)
    local client = http.open(r.address)
    client.conn:send(bytes)
    local res = client:receive()
    client:close()
    assert.equal(200, res.status)
    return rig.params(res)
  end

  it("an absolute target replaces Host", function()
    local p = params("GET http://other.example:81/x.php?dump HTTP/1.1\r\nHost: a\r\n\r\n")
    assert.equal("other.example", p.SERVER_NAME)
    assert.equal("/x.php?dump", p.REQUEST_URI)
    assert.equal("other.example:81", p.HTTP_HOST)
  end)

  it("a later HTTP/1.x is treated as 1.1", function()
    local p = params("GET /x.php?dump HTTP/1.7\r\nHost: a\r\n\r\n")
    assert.is_truthy(p.SERVER_PROTOCOL:find("^HTTP/1%.[17]$"))
  end)

  it("OPTIONS * is answered by the proxy", function()
    local before = #r:events("REQUEST")
    local res = http.request(r.address, { method = "OPTIONS", path = "*" })
    assert.equal(200, res.status)
    assert.is_truthy(res.headers.allow:find("GET", 1, true))
    assert.equal(before, #r:events("REQUEST"))
  end)

  it("an encoded slash decodes before dot segments go, and the raw target stays", function()
    local p = params("GET /a%2fb/%2e%2e/./c//x.php?dump HTTP/1.1\r\nHost: a\r\n\r\n")
    assert.equal("/a/c/x.php", p.SCRIPT_NAME)
    assert.equal("/a%2fb/%2e%2e/./c//x.php?dump", p.REQUEST_URI)
  end)

  it("the host is lower case, without its final dot", function()
    local p = params("GET /x.php?dump HTTP/1.1\r\nHost: AcMe.Example.:80\r\n\r\n")
    assert.equal("acme.example", p.SERVER_NAME)
  end)

  it("trailers are read and dropped", function()
    local p = params("POST /x.php?dump HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
      .. "1\r\na\r\n0\r\nX-Late: t\r\nHost: evil\r\n\r\n")
    assert.is_nil(p.HTTP_X_LATE)
    assert.equal("a", p.HTTP_HOST)
    assert.equal("1", p.CONTENT_LENGTH)
  end)

  it("an unusual method passes", function()
    for _, method in ipairs({ "PROPFIND", "PATCH", "DELETE", "REPORT" }) do
      local p = params(method .. " /x.php?dump HTTP/1.1\r\nHost: a\r\n\r\n")
      assert.equal(method, p.REQUEST_METHOD)
    end
  end)
end)

describe("timeouts of a client", function()
  local r

  setup(function()
    r = rig.start({
      settings = [[limits = { header_timeout = "1s", body_timeout = "1s",
        keepalive_timeout = "1s", send_timeout = "1s", spool = "1M" }]],
    })
  end)

  teardown(function() r:stop() end)

  local function timed(fn)
    local start = socket.gettime()
    fn()
    local took = socket.gettime() - start
    assert.is_true(took > 0.9 and took < 8, took) -- 10 and 60 by default
  end

  it("a head that does not end is 408", function()
    timed(function()
      local conn = net.connect(r.address)
      conn:send("GET / HTTP/1.1\r\nHo")
      assert.is_truthy(conn:read_all(5):find("^HTTP/1%.1 408 "))
      conn:close()
    end)
  end)

  it("a head that drips is 408 all the same", function()
    local conn = net.connect(r.address)
    local text = "GET / HTTP/1.1\r\nX-A: " .. ("a"):rep(1000)
    local start = socket.gettime()
    for i = 1, #text do
      if not conn:try_send(text:sub(i, i)) or not conn:silent(0.03) then
        break
      end
    end
    assert.is_true(socket.gettime() - start < 8)
    assert.is_truthy(conn:read_all(5):find("^HTTP/1%.1 408 "))
    conn:close()
  end)

  it("a connection on which nothing comes is closed without a word", function()
    timed(function()
      local conn = net.connect(r.address)
      assert.is_true(conn:closes(5))
      conn:close()
    end)
    timed(function() -- from before the answer, from whose end the time counts
      local client = http.open(r.address)
      client:request({ path = rig.target("") })
      assert.is_true(client.conn:closes(5))
      client:close()
    end)
  end)

  it("keepalive_timeout = 0 keeps no connection, and no silent one either", function()
    local own = rig.start({
      settings = [[limits = { header_timeout = "1s", keepalive_timeout = 0 }]],
    })
    finally(function() own:stop() end)
    timed(function()
      local conn = net.connect(own.address)
      assert.is_true(conn:closes(5))
      conn:close()
    end)
    local client = http.open(own.address)
    local res = client:request({ path = rig.target("") })
    assert.same({ 200, "close" }, { res.status, res.headers.connection })
    assert.is_true(client.conn:closes(5))
    client:close()
  end)

  it("a body that stalls is 408", function()
    timed(function()
      local conn = net.connect(r.address)
      conn:send("POST /x.php?sum HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc")
      assert.is_truthy(conn:read_all(5):find("^HTTP/1%.1 408 "))
      conn:close()
    end)
  end)

  it("a body that goes on slowly is taken", function()
    local own = rig.start({ settings = [[limits = { body_timeout = "4s" }]] })
    finally(function() own:stop() end)
    local client = http.open(own.address)
    client.conn:send("POST /x.php?sum HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n")
    client.conn:drip({ "h", "e", "l", "l", "o" }, 1) -- 5 s in all
    assert.equal(rig.sum("hello"), client:receive().body)
    client:close()
  end)

  it("a reply that is not taken ends the connection and the backend's request", function()
    local client = http.open(r.address)
    client:send({ path = rig.target("size=500000000") })
    r.back:wait_log("end=dropped.*size=500000000")
    client:close()
    assert.equal(200, r:get("").status)
  end)

  it("do not run while the application works", function()
    assert.equal(200, r:get("delay=2000").status)
  end)
end)
