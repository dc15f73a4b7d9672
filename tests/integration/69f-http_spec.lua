-- moongate.http: what a server says comes back whole and within bounds, whatever it says, and in
-- whatever pieces. The test is the server.

local lab = require("tests.support.lab")
local process = require("tests.support.process")
local server = require("tests.support.server")
local socket = require("socket")
local stage = require("tests.support.stage")

local l, peer, port

setup(function()
  l = lab.start({ before = [[
    local http = require("moongate.http")
    function ask(options, show)
      local res, reason = http.request(options)
      if not res then
        return nil, reason
      end
      return res.status, show and res.headers[show] or #res.body, res.body:sub(1, 40)
    end
    package.loaded.ask = ask
  ]] })
  peer = assert(socket.bind("127.0.0.1", 0))
  peer:settimeout(30)
  port = select(2, peer:getsockname())
end)

teardown(function()
  l:stop()
  peer:close()
end)

-- The head of the next request that comes, and its connection.
local function accept(kept)
  local conn = kept or assert(peer:accept())
  conn:settimeout(30)
  local lines = {}
  repeat
    local line = assert(conn:receive("*l"))
    lines[#lines + 1] = line
  until line == ""
  local length = table.concat(lines, "\n"):match("\nContent%-Length: (%d+)")
  if length then
    assert(conn:receive(tonumber(length))) -- what is not read would reset the connection
  end
  return conn, table.concat(lines, "\n")
end

local function code(options, show)
  return ("return package.loaded.ask({ url = 'http://127.0.0.1:%d/check?a=b', %s }, %s)"):format(
    port, options or "", show and ("%q"):format(show) or "nil")
end

-- What the script gets of an answer; `pieces` is how many bytes the server writes at a time.
local function answered(text, options, show, pieces)
  local client = l:begin(code(options, show))
  local conn, head = accept()
  for at = 1, #text, pieces or #text do
    conn:send(text:sub(at, at + (pieces or #text) - 1))
  end
  conn:close()
  return l:finish(client), head
end

describe("a request", function()
  it("is one of HTTP/1.1, with what the script says", function()
    local got, head = answered("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-A: b\r\n\r\nhi")
    assert.equal('200, 2, "hi"', got)
    assert.matches("^GET /check%?a=b HTTP/1%.1\nHost: 127%.0%.0%.1:" .. port
      .. "\nUser%-Agent: moongate/[%d.]+\nConnection: close\n", head)
    got, head = answered("HTTP/1.1 201 Made\r\nContent-Length: 0\r\n\r\n",
      "body = 'x=y', headers = { Authorization = 'Bearer z', Host = 'a.test' }")
    assert.equal('201, 0, ""', got)
    assert.matches("^POST ", head)
    for _, line in ipairs({ "Authorization: Bearer z", "Host: a.test", "Content-Length: 3" }) do
      assert.truthy(head:find("\n" .. line .. "\n", 1, true), head)
    end
  end)

  it("goes to a unix socket, and to a real server", function()
    local path = "unix:" .. process.tempdir("http") .. "/http.sock"
    local other = server.start({ address = path, route = [[
      return { on_request = function(req)
        return { headers = { ["X-Method"] = req.method, ["X-Host"] = req.host },
          body = (req:body() or ""):rep(3) }
      end }
    ]] })
    finally(function() other:stop() end)
    for show, expected in pairs({ ["x-method"] = '"PUT"', ["X-HOST"] = '"a.test"' }) do
      local got = l:run(([[return package.loaded.ask({
        url = "http://a.test/", socket = %q, method = "PUT", body = "abc" }, %q)]]):format(path,
        show))
      assert.equal(("200, %s, %q"):format(expected, "abcabcabc"), got)
    end
  end)
end)

describe("an answer", function()
  local CHUNKED = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    .. "5\r\nhello\r\n6 ; a=b\r\n world\r\n0\r\nTrailer: x\r\n\r\n"

  it("may come in any pieces", function()
    for _, pieces in ipairs({ 1, 3, 7, 1000 }) do
      assert.equal('200, 11, "hello world"', (answered(CHUNKED, nil, nil, pieces)))
      assert.equal('200, 3, "abc"', (answered("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\n"
        .. "Link: x\r\n\r\nHTTP/1.0 200 OK\r\n\r\nabc", nil, nil, pieces)))
    end
  end)

  it("may have no body", function()
    for _, text in ipairs({ "204 No Content\r\n\r\n", "304 Not\r\nContent-Length: 5\r\n\r\n" }) do
      assert.matches('^[23]04, 0, ""$', (answered("HTTP/1.1 " .. text)))
    end
    assert.equal('200, "5", ""', (answered("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
      "method = 'HEAD'", "Content-Length")))
    assert.equal('302, "/a, b", ""', (answered("HTTP/1.1 302 F\r\nX: /a\r\nx: \t b\t\r\n\r\n", nil,
      "X")))
  end)

  it("of the largest size that is wanted, and no more", function()
    local body = ("x"):rep(100000)
    local length = "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" .. body
    local chunk = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n186a0\r\n" .. body
      .. "\r\n0\r\n\r\n"
    local ends = "HTTP/1.1 200 OK\r\n\r\n" .. body
    for _, text in ipairs({ length, chunk, ends }) do
      assert.matches("^200, 100000, ", (answered(text, "limit = 100000")))
      assert.equal('nil, "too large"', (answered(text, "limit = 99999")))
    end
  end)

  for _, case in ipairs({
    { "SSH-2.0-OpenSSH\r\n\r\n", "this is no HTTP: " },
    { "HTTP/2 200\r\n\r\n", "this is no HTTP: " },
    { "HTTP/1.1 200 OK\r\nno colon\r\n\r\n", "a header that is none: " },
    { "HTTP/1.1 200 OK\r\n folded: x\r\n\r\n", "a header that is none: " },
    { "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
      "a Content%-Length that is none: " },
    { "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", "a Content%-Length that is none: " },
    { "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", "a transfer coding other than" },
    { "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "a chunk without a length: " },
    { "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n",
      "a chunk that does not end where it should" },
    { "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabcde",
      "a chunk that does not end where it should" },
    { "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab", "closed" },
    { "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab", "closed" },
    { "", "closed" }, { "HTTP/1.1 200 O", "closed" },
    { "HTTP/1.1 101 Switching\r\n\r\n", "the server changes the protocol" },
    { ("HTTP/1.1 100 Continue\r\n\r\n"):rep(10), "too many interim answers" },
    { "HTTP/1.1 200 OK\r\nA: " .. ("x"):rep(200000), "the head of the answer is too large" },
    { "HTTP/1.1 200 OK\r\n" .. ("A: b\r\n"):rep(201) .. "\r\n",
      "the head of the answer is too large" },
  }) do
    it("that is " .. case[2] .. " is none: " .. case[1]:sub(1, 60):gsub("%c", "."), function()
      assert.matches('^nil, "' .. case[2], (answered(case[1])))
    end)
  end

  it("that does not come is waited for as long as the script says", function()
    local client = l:begin(code("timeout = 0.2"))
    local conn = accept()
    assert.equal('nil, "timeout"', l:finish(client))
    conn:close()
    client = l:begin(code("timeout = 0.3"))
    conn = accept()
    conn:send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab")
    assert.equal('nil, "timeout"', l:finish(client))
    conn:close()
    local closed = require("tests.support.net").free_port()
    assert.equal('nil, "connection refused"', l:run(("return package.loaded.ask({ url = "
      .. "'http://127.0.0.1:%d/' })"):format(closed)))
  end)
end)

it("a connection is kept where the script wants it, and another takes its place that was closed",
  function()
    local text = code("keepalive = 60")
    local client = l:begin(text)
    local conn, head = accept()
    assert.is_nil(head:find("Connection", 1, true))
    conn:send("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n1")
    assert.equal('200, 1, "1"', l:finish(client))
    client = l:begin(text)
    accept(conn)
    conn:send("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n2")
    assert.equal('200, 1, "2"', l:finish(client))
    client = l:begin(text)
    accept(conn)
    conn:close() -- without an answer: a server that had just closed it
    conn = accept()
    conn:send("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nConnection: close\r\n\r\n3")
    assert.equal('200, 1, "3"', l:finish(client))
    conn:close()
  end)

it("a wrong request is one sentence with its place", function()
  assert.matches('code:1: http%.request: unknown key \'ulr\'; did you mean \'url\'%?"',
    l:run([[require("moongate.http").request({ ulr = "x" }) return 1]]))
end)

it("commands send nothing", function()
  local dir = stage.files({ ["route.lua"] = [[
    local http = require("moongate.http")
    return { on_request = function()
      local _, reason = http.request({ url = "http://127.0.0.1:1/" })
      return { redirect = "/" .. reason:gsub(" ", "-") }
    end }
  ]] })
  local result = server.command({ "explain", dir .. "/route.lua", "/" })
  assert.equal(0, result.code, result.stderr)
  assert.matches("/commands%-send%-nothing", result.stdout)
end)
