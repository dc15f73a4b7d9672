-- Answers that come before the request's body has: refusals of ours, applications that have seen
-- enough. The client must get them although it goes on sending, and what it still sends is never
-- taken for another request.

local http = require("tests.support.http")
local net = require("tests.support.net")
local process = require("tests.support.process")
local rig = require("tests.support.rig")
local socket = require("socket")

local MEGABYTE = 1024 * 1024
local STREAMED = [[do
  return { backend = "app", docroot = "/srv/app", request_buffering = false }
end]]

-- As http.client of Python and many others: everything is sent before anything is read. Raises an
-- error where that is cut off.
local function send_then_read(r, head, body)
  local conn = net.connect(r.address)
  conn:send(head)
  for from = 1, #body, MEGABYTE do
    conn:send(body:sub(from, from + MEGABYTE - 1))
  end
  local answer = conn:read_all(10)
  local ended = conn.ended
  conn:close()
  assert.equal("closed", ended)
  return answer
end

local function post(target, size)
  return ("POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n"):format(target, size)
end

local function chunked(target)
  return ("POST %s HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n")
    :format(target)
end

local twenty = rig.bytes(20 * MEGABYTE)

describe("a client that sends 20 MB before it reads", function()
  local r

  setup(function()
    r = rig.start({
      settings = [[limits = { body = "1M" }, on_error = function() end]],
      on_request = [[
        if req.args.Streamed then
          return { backend = "app", docroot = "/srv/app", request_buffering = false,
                   body_limit = req.args.Unlimited and 1e9 or nil }
        elseif req.args.Reply then
          return { status = 403, body = "no" }
        end
      ]],
    })
  end)

  teardown(function() r:stop() end)

  for name, case in pairs({
    ["413 by its length"] = { 413, "/x.php", "length" },
    ["413 by its chunks"] = { 413, "/x.php", "chunked" },
    ["413 while it is streamed"] = { 413, "/x.php?Streamed=1", "chunked" },
    ["403 of a script"] = { 403, "/x.php?Reply=1", "length" },
    ["400 of a broken head"] = { 400, "/x.php", "broken" },
    ["an early answer of the application"] =
      { 418, "/x.php?Streamed=1&Unlimited=1&status=418&early", "length" },
    ["an early answer of an application that then closes"] =
      { 418, "/x.php?Streamed=1&Unlimited=1&status=418&early&close=end", "chunked" },
    ["an answer of an application that reads nothing"] =
      { 418, "/x.php?Streamed=1&Unlimited=1&status=418&noread", "length" },
    ["an early answer of 3 MB"] =
      { 200, "/x.php?Streamed=1&Unlimited=1&size=3000000&early", "length" },
    ["502 where the application closes without an answer"] =
      { 502, "/x.php?Streamed=1&Unlimited=1&early&fail=close-before-head", "length" },
  }) do
    it("gets " .. name, function()
      local answer
      if case[3] == "chunked" then
        answer = send_then_read(r, chunked(case[2]), http.chunks({ twenty }))
      elseif case[3] == "length" then
        answer = send_then_read(r, post(case[2], #twenty), twenty)
      else
        answer = send_then_read(r, "POST / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", twenty)
      end
      assert.equal(case[1], tonumber(answer:match("^HTTP/1%.1 (%d+) ")))
      local length = tonumber(answer:match("\r\nContent%-Length: (%d+)"))
      local body = answer:match("\r\n\r\n(.*)$")
      if length then
        assert.equal(length, #body)
      else
        assert.equal("\r\n0\r\n\r\n", body:sub(-7))
      end
    end)
  end

  -- The clients that people use, where they are installed.
  local function installed(name)
    return process.run({ argv = { "sh", "-c", "command -v " .. name } }).code == 0
  end

  if installed("python3") then
    it("gets 413 as Python's http.client", function()
      local host, port = r.address:match("^(.*):(%d+)$")
      local result = process.run({ argv = { "python3", "-c", ([[
import http.client
c = http.client.HTTPConnection(%q, %d)
c.request("POST", "/x.php", body=b"x" * 20000000)
r = c.getresponse()
print(r.status, len(r.read()) == int(r.headers["Content-Length"]))
]]):format(host, port) } }, 20)
      assert.equal("413 True\n", result.stdout .. result.stderr)
    end)
  end

  if installed("curl") then
    for _, extra in ipairs({ "", "Expect:", "Transfer-Encoding: chunked" }) do
      it("gets 413 as curl: " .. extra, function()
        local result = process.run({
          argv = { "curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}", "-H", extra,
            "--data-binary", "@-", "http://" .. r.address .. "/x.php" },
          input = twenty,
        }, 20)
        assert.equal("413", result.stdout .. result.stderr)
      end)
    end
  end
end)

describe("what is dropped behind an answer", function()
  it("is bounded", function()
    local r = rig.start({ settings = [[limits = { body = "1k" }]] })
    finally(function() r:stop() end)
    local conn = net.connect(r.address)
    conn:send(post("/x.php", 1e12))
    local piece, sent = ("x"):rep(4 * MEGABYTE), 0
    while pcall(conn.send, conn, piece) do
      sent = sent + #piece
      assert.is_true(sent < 400 * MEGABYTE, "it is read without an end")
    end
    assert.is_true(sent > 200 * MEGABYTE, sent)
    conn:close()
    assert.equal(200, r:get("").status)
  end)

  it("does not delay a stop for long", function()
    local r = rig.start({ settings = [[limits = { body = "1k" }]] })
    local conn = net.connect(r.address)
    conn:send(post("/x.php", 1e9))
    assert.is_truthy(conn:read_until("\r\n\r\n"):find("413", 1, true))
    local begun = socket.gettime()
    r:stop()
    assert.is_true(socket.gettime() - begun < 20) -- stop_timeout is 30 by default
    conn:close()
  end)
end)

-- A local redirect makes a GET of the request, and nobody wants the body any more.
describe("a body of which the application has seen enough, and redirects", function()
  local FIRST = "/x.php?early&header=Location:%20/y.php?body=second"
  local SMUGGLED = "GET /smuggled.php HTTP/1.1\r\nHost: localhost\r\n\r\n"
  local r

  setup(function()
    r = rig.start({ on_request = STREAMED })
  end)

  teardown(function()
    local log = r.back:log()
    r:stop()
    assert.is_nil(log:find("smuggled", 1, true))
  end)

  for name, framing in pairs({
    chunked = function(body) return chunked(FIRST) .. ("%x\r\n"):format(#body), "\r\n0\r\n\r\n" end,
    ["of a known length"] = function(body) return post(FIRST, #body), "" end,
  }) do
    it("is not read as another request: " .. name, function()
      local body = "some bytes, then " .. SMUGGLED
      local head, tail = framing(body)
      local conn = net.connect(r.address)
      conn:send(head .. "some bytes, then ")
      local answer = conn:read_until("second", 5)
      assert.is_truthy(answer:find("^HTTP/1%.1 200 "))
      conn:send(SMUGGLED .. tail .. "GET /y.php?body=third HTTP/1.1\r\nHost: localhost\r\n"
        .. "Connection: close\r\n\r\n")
      local rest = conn:read_all(5)
      conn:close()
      -- One more answer, to the request behind the body.
      assert.is_truthy(rest:find("^HTTP/1%.1 200 .*third$"), rest)
      assert.equal(1, select(2, rest:gsub("HTTP/1%.1 ", "")))
    end)
  end

  it("that never comes costs the answer nothing", function()
    local slow = rig.start({
      on_request = STREAMED, settings = [[limits = { body_timeout = "300ms" }]],
    })
    finally(function() slow:stop() end)
    local conn = net.connect(slow.address)
    conn:send(chunked("/x.php?early&header=Location:%20/y.php?body=second%26delay=900")
      .. "5\r\nhello\r\n")
    assert.is_truthy(conn:read_until("second", 5):find("^HTTP/1%.1 200 "))
    conn:close()
  end)

  it("is cut like every other one where it is too long to be dropped", function()
    local conn = net.connect(r.address)
    conn:send(post(FIRST, 20 * MEGABYTE) .. "x")
    assert.is_truthy(conn:read_until("second", 5):find("\r\nConnection: close\r\n", 1, true))
    conn:close()
  end)
end)
