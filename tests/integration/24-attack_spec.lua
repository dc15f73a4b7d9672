-- What somebody who means harm, or an unlucky moment, tries: bodies that never come, connections
-- that close at the wrong time, answers that nobody asked for, names that lead elsewhere, floods.

local http = require("tests.support.http")
local net = require("tests.support.net")
local poll = require("tests.support.poll")
local process = require("tests.support.process")
local rig = require("tests.support.rig")
local server = require("tests.support.server")
local socket = require("socket")
local stage = require("tests.support.stage")

server.inspect()

local MEGABYTE = 1024 * 1024

-- Looking at a worker -----------------------------------------------------------------------------

local function descriptors(pid)
  local count = 0
  for _ in process.run({ argv = { "ls", ("/proc/%d/fd"):format(pid) } }).stdout:gmatch("%d+") do
    count = count + 1
  end
  return count
end

-- Clock ticks of processor time, of which a second has a hundred.
local function ticks(pid)
  local fields = process.read_file(("/proc/%d/stat"):format(pid)):match("%) (.*)$")
  local list = {}
  for word in fields:gmatch("%S+") do
    list[#list + 1] = tonumber(word) or 0
  end
  return list[12] + list[13] -- utime and stime; the first field here is the third
end

-- Whether TERM waits for a stopped process.
local function term_is_pending(pid)
  local status = process.read_file(("/proc/%d/status"):format(pid))
  local mask = tonumber(status:match("ShdPnd:%s+%x*(%x%x%x%x)\n"), 16)
  return bit.band(mask, 0x4000) ~= 0
end

local function wait_descriptors(pid, count)
  local now
  local reached = poll.try(function()
    now = descriptors(pid)
    return now == count
  end, poll.PATIENCE)
  assert(reached, ("the worker should have %d descriptors, and has %d"):format(count, now))
end

-- The descriptors of a worker that has served and has no client.
local function idle_descriptors(r)
  http.get(r.address, "/own")
  poll.wait(function()
    return net.connections(r.workers[1], r.address) == 0
  end, "the client's connection to be gone")
  return descriptors(r.workers[1])
end

local function count_lines(text, plain)
  local count = 0
  for line in text:gmatch("[^\n]+") do
    count = count + (line:find(plain, 1, true) and 1 or 0)
  end
  return count
end

-- A backend whose every move the scenario makes ---------------------------------------------------

local BEGIN_END, PARAMS, STDIN, STDOUT = 3, 4, 5, 6

local function record(kind, content)
  return string.char(1, kind, 0, 1, math.floor(#content / 256), #content % 256, 0, 0) .. content
end

local function reply(text)
  return record(STDOUT, "Content-Type: text/plain\r\n\r\n" .. text)
    .. record(BEGIN_END, ("\0"):rep(8))
end

-- A listening socket that holds one connection in its queue.
local function listen()
  local listener = assert(socket.tcp())
  assert(listener:bind("127.0.0.1", 0))
  assert(listener:listen(0))
  local _, port = listener:getsockname()
  return listener, tonumber(port)
end

-- One request: its params as they came (nil: none), the bytes of STDIN, and whether that was ended.
local function read_request(conn)
  local params, body = {}, {}
  conn:settimeout(poll.PATIENCE)
  while true do
    local head = conn:receive(8)
    if not head then
      break
    end
    local _, kind, _, _, high, low, padding = head:byte(1, 7)
    local size = high * 256 + low + padding
    local content = size > 0 and conn:receive(size) or "" -- it would wait for a byte of 0, too
    content = content:sub(1, high * 256 + low)
    if kind == PARAMS then
      params[#params + 1] = content
    elseif kind == STDIN and content == "" then
      return table.concat(params), table.concat(body), true
    elseif kind == STDIN then
      body[#body + 1] = content
    end
  end
  return params[1] and table.concat(params), table.concat(body), false
end

-- A server before such a backend, with one connection kept to it.
local function with_kept()
  local listener, port = listen()
  local r = rig.start({
    servers = { "127.0.0.1:" .. port },
    responder = false,
    backend = [[keepalive = 4, connect_timeout = "9s"]],
    on_request = [[
      if req.path == "/own" then return { status = 200, body = "own\n" } end
      do
        return { backend = "app", docroot = "/srv/app", request_buffering = req.method ~= "PUT" }
      end
    ]],
  })
  local client = http.open(r.address)
  client:send({ path = "/x.php" })
  listener:settimeout(poll.PATIENCE)
  local kept = assert(listener:accept())
  read_request(kept)
  kept:send(reply("first\n"))
  assert(client:receive().body == "first\n")
  client:close()
  return r, listener, port, kept
end

-- Fills the listener's queue, so that the next connect has to wait.
local function fill(port)
  local held = {}
  while true do
    local conn = net.try_connect("127.0.0.1:" .. port, { timeout = 0.3 })
    if not conn then
      return held
    end
    held[#held + 1] = conn
    assert(#held < 10, "the queue does not get full")
  end
end

local function is_connecting(port)
  local wanted = (":%04X 02 "):format(port) -- remote address, then SYN_SENT
  return (process.read_file("/proc/net/tcp") or ""):find(wanted, 1, true)
end

-- The next connection that brings a request.
local function accept_request(listener)
  local deadline = socket.gettime() + poll.PATIENCE
  while socket.gettime() < deadline do
    listener:settimeout(deadline - socket.gettime())
    local conn = listener:accept()
    if conn then
      local params, body, whole = read_request(conn)
      if params then
        return conn, params, body, whole
      end
      conn:close()
    end
  end
end

-- Bodies ------------------------------------------------------------------------------------------

describe("a body that never comes", function()
  local r

  setup(function()
    r = rig.start({ on_request = [[do return { status = 200, body = "own\n" } end]] })
  end)

  teardown(function() r:stop() end)

  local HEAD = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n"

  it("holds no connection that its client has closed", function()
    local before = idle_descriptors(r)
    for _ = 1, 10 do
      local client = http.open(r.address)
      client.conn:send(HEAD)
      assert.equal("own\n", client:receive().body)
      client:close()
    end
    wait_descriptors(r.workers[1], before)
  end)

  it("ends the connection when its client stays", function()
    local before = idle_descriptors(r)
    local client = http.open(r.address)
    client.conn:send(HEAD)
    assert.equal("own\n", client:receive().body)
    assert.is_true(client.conn:closes(4))
    wait_descriptors(r.workers[1], before) -- it lingers a while
    client:close()
  end)

  it("that drips does so too", function()
    local client = http.open(r.address)
    client.conn:send(HEAD)
    assert.equal("own\n", client:receive().body)
    local start = socket.gettime()
    -- Its 100 bytes would take 40 s.
    while client.conn:silent(0.4) and socket.gettime() < start + 35 do
      client.conn:try_send("x")
    end
    assert.is_truthy(client.conn.ended)
    client:close()
  end)

  it("that does come leaves the connection to the next request", function()
    local client = http.open(r.address)
    client.conn:send(HEAD)
    assert.equal("own\n", client:receive().body)
    client.conn:send(("x"):rep(100))
    assert.equal("own\n", client:request({ path = "/next" }).body)
    client:close()
  end)
end)

describe("a streamed body", function()
  it("that comes while its backend is connected to anew arrives whole", function()
    local r, listener, port, kept = with_kept()
    finally(function()
      listener:close()
      r:stop()
    end)
    local held = fill(port)
    local body = rig.bytes(300)
    local client = http.open(r.address)
    client.conn:send("PUT /x.php HTTP/1.1\r\nHost: a\r\nContent-Length: 300\r\n\r\n")
    kept:settimeout(poll.PATIENCE)
    assert(kept:receive(8)) -- the request has come on the kept connection, which now ends
    kept:close()
    poll.wait(function()
      return is_connecting(port)
    end, "a second attempt")
    client.conn:send(body)
    for _ = 1, 3 do -- behind these the worker has seen that the body is there
      assert.equal("own\n", http.get(r.address, "/own").body)
    end
    for _, conn in ipairs(held) do
      conn:close()
    end
    local conn, params, received, whole = accept_request(listener)
    assert.is_truthy(conn)
    assert.equal("300", params:match("CONTENT_LENGTH(%d+)"))
    assert.is_true(received == body, ("%d bytes arrived"):format(#received))
    assert.is_true(whole)
    conn:send(reply("whole\n"))
    assert.equal("whole\n", client:receive().body)
    conn:close()
    client:close()
  end)

  it("arrives whole or is an error, whenever the kept connection closes", function()
    local r = rig.start({
      responder = { tcp = true },
      backend = "keepalive = 4",
      on_request = [[do
        return { backend = "app", docroot = "/srv/app", request_buffering = req.method == "GET" }
      end]],
    })
    finally(function() r:stop() end)
    local body = rig.bytes(300)
    local expected = rig.sum(body)
    for i = 1, 30 do
      assert.equal("hello\n", r:get("next=close").body)
      socket.sleep(0.11) -- it is not used for these before
      local client = http.open(r.address)
      client.conn:send(("%s /x.php?sum HTTP/1.1\r\nHost: a\r\nContent-Length: 300\r\n\r\n"):format(
        i % 2 == 0 and "PUT" or "POST"))
      local moment = socket.gettime() + i * 0.0001
      repeat until socket.gettime() >= moment
      client.conn:send(body)
      local res = client:receive()
      if res.status == 200 then
        assert.equal(expected, res.body)
      else
        assert.equal(502, res.status)
      end
      client:close()
    end
  end)
end)

describe("on_response", function()
  local r

  setup(function()
    r = rig.start({
      settings = [[on_response = function(req, res)
        local again = req.args.s
        if req.args.b then return { backed = "app" } end
        if not again or req.ctx.done then return nil end
        req.ctx.done = true
        return { backend = "app", docroot = "/srv/app", request_buffering = again ~= "stream",
          params = { QUERY_STRING = "sum" } }
      end]],
      on_request = [[do
        return { backend = "app", docroot = "/srv/app", request_buffering = req.args.f ~= "stream" }
      end]],
    })
  end)

  teardown(function() r:stop() end)

  for _, again in ipairs({ "stream", "spool" }) do
    it("may send a spooled body once more: " .. again, function()
      for _, size in ipairs({ 0, 300, 50000, 3000000 }) do
        local body = rig.bytes(size)
        local res = r:get("s=" .. again, { method = "POST", body = body })
        assert.equal(200, res.status)
        assert.equal(rig.sum(body), res.body)
      end
    end)

    it("can't send a streamed body once more: " .. again, function()
      local client = http.open(r.address)
      client.conn:send(("PUT /x.php?early&delay=100&f=stream&s=%s HTTP/1.1\r\nHost: a\r\n"):format(
        again) .. "Content-Length: 50000\r\n\r\n" .. rig.bytes(20000))
      assert.equal(500, client:receive().status)
      client:close()
    end)
  end

  it("that returns something wrong leaves a streamed upload alone", function()
    local body = rig.bytes(200000)
    local client = http.open(r.address)
    local mark = r.server:mark()
    client.conn:send("PUT /x.php?echo=stream&f=stream&b=1 HTTP/1.1\r\nHost: a\r\n"
      .. "Content-Length: 200000\r\n\r\n" .. body:sub(1, 100))
    r.server:wait_log("backed", nil, mark)
    client.conn:send(body:sub(101))
    local res = client:receive("PUT", { timeout = 5 })
    assert.equal(200, res.status)
    assert.is_true(res.body == body)
    client:close()
  end)
end)

-- Stopping ----------------------------------------------------------------------------------------

describe("a graceful stop", function()
  local COUNT = 20

  local function finish(r)
    assert.is_truthy(r.server.process:wait(8), "it does not end")
    r.server:stop()
    r.back:stop()
  end

  it("answers what waits in the queue and on connections that were not read yet", function()
    local r = rig.start()
    local worker = r.workers[1]
    finally(function()
      process.release(worker)
      finish(r)
    end)
    local before = idle_descriptors(r)
    local clients = {}
    for i = 1, COUNT do
      clients[i] = http.open(r.address)
    end
    wait_descriptors(worker, before + COUNT)
    process.hold(worker)
    for i = COUNT + 1, 2 * COUNT do
      clients[i] = http.open(r.address)
    end
    for i, client in ipairs(clients) do
      client:send({ path = rig.target("body=" .. i) })
    end
    r.server.process:kill("TERM")
    poll.wait(function()
      return term_is_pending(worker)
    end, "the master to tell the worker")
    process.release(worker)
    for i, client in ipairs(clients) do
      assert.equal(tostring(i), client:receive().body)
      assert.is_true(client.conn:closes(3))
      client:close()
    end
  end)

  it("refuses new connections at once while a request is being answered", function()
    local r = rig.start()
    finally(function() finish(r) end)
    local slow = http.open(r.address)
    slow:send({ path = rig.target("delay=hold&body=slow") })
    r:wait_connections(1)
    r.server.process:kill("TERM")
    poll.wait(function()
      return not net.listening(r.address)
    end, "the port to be closed")
    local conn, problem = net.try_connect(r.address)
    assert.is_nil(conn)
    assert.equal("connection refused", problem)
    assert.is_true(slow.conn:silent(0))
    r:release()
    assert.equal("slow", slow:receive().body)
    slow:close()
  end)
end)

-- Descriptors -------------------------------------------------------------------------------------

describe("a worker out of descriptors", function()
  -- A worker with so many left. Another user's limits are not ours to change, so it stays root.
  local function with_descriptors(count)
    local r = rig.start({
      settings = process.is_root() and [[user = "root", group = "root"]] or nil,
      on_request = [[if req.path == "/own" then return { status = 200, body = "own\n" } end]],
    })
    local worker = r.workers[1]
    r:get("")
    local before = idle_descriptors(r)
    local limit = before + count
    local lowered = process.run({
      argv = { "prlimit", "--pid", tostring(worker), ("--nofile=%d:%d"):format(limit, limit) },
    })
    assert(lowered.code == 0, lowered.stderr)
    return r, worker, before
  end

  it("waits without noise, and accepts again when there are some", function()
    local r, worker, before_clients = with_descriptors(15)
    finally(function() r:stop() end)
    local clients = {}
    for i = 1, 60 do
      clients[i] = http.open(r.address)
    end
    r.server:wait_log("accept on .*descriptors")
    local before = ticks(worker)
    socket.sleep(2) -- what it does in this time is what is looked at
    assert.is_true(ticks(worker) - before < 20, "it is busy with nothing to do")
    assert.is_true(count_lines(r.server:errors(), "accept on ") <= 2)
    for i = 1, 60 do
      clients[i]:close()
    end
    wait_descriptors(worker, before_clients)
    assert.equal("hello\n", r:get("", { timeout = 5 }).body)
  end)

  it("answers those that it has accepted with an error where it can't connect", function()
    local r, worker = with_descriptors(1)
    finally(function() r:stop() end)
    local before = idle_descriptors(r)
    local client, other = http.open(r.address), http.open(r.address)
    client:send({ path = rig.target("") })
    assert.is_true(client:receive().status >= 500)
    client:close()
    other:close()
    wait_descriptors(worker, before)
    assert.equal("own\n", http.get(r.address, "/own").body)
  end)
end)

-- Replies that are cut ----------------------------------------------------------------------------

describe("a reply that only the connection's end ends", function()
  local SIZE = 100 * MEGABYTE

  -- Reads what there is; the reply has to be cut so that the client can tell.
  local function assert_reset(conn, size)
    local bytes = conn:read_all()
    assert.equal("reset", conn.ended)
    assert.is_true(#bytes < size)
  end

  -- A client that has read no more than the head, of a reply which is longer than all buffers.
  local function slow_client(r)
    local client = http.open(r.address)
    client:send({ path = rig.target("size=" .. SIZE), version = "1.0" })
    client.conn:read_until("\r\n\r\n")
    return client.conn
  end

  for _, half in ipairs({ false, true }) do
    it("is cut by a reset when its backend fails"
      .. (half and ", also for a client that has closed its side" or ""), function()
      local r = rig.start()
      finally(function() r:stop() end)
      for _, fail in ipairs({ "close-mid-body", "no-end", "close-mid-body&rst" }) do
        local client = http.open(r.address)
        local commands = "size=100000&body_delay=hold&fail=" .. fail
        client:send({ path = rig.target(commands), version = "1.0" })
        if half then
          client.conn:finish()
        end
        assert.is_truthy(client.conn:read_until("\r\n\r\n"):find("^HTTP/1%.[01] 200 "))
        r:release()
        assert_reset(client.conn, 200000)
        client:close()
      end
    end)
  end

  it("is cut by a reset where its client is too slow", function()
    local r = rig.start({ settings = [[limits = { send_timeout = "300ms" }]] })
    finally(function() r:stop() end)
    local conn = slow_client(r)
    r.server:wait_access("size=" .. SIZE)
    assert_reset(conn, SIZE)
    conn:close()
  end)

  for signal, how in pairs({ INT = "a fast stop", TERM = "stop_timeout" }) do
    it("is cut by a reset by " .. how, function()
      local r = rig.start({ settings = [[stop_timeout = "1s"]] })
      local conn, begun = slow_client(r), socket.gettime()
      r.server.process:kill(signal)
      assert.is_truthy(r.server.process:wait(), "it does not end")
      assert.is_true(socket.gettime() - begun < 20) -- stop_timeout is 30 by default
      assert_reset(conn, SIZE)
      conn:close()
      r.server:stop()
      r.back:stop()
    end)
  end

  it("ends in order when it is whole", function()
    local r = rig.start()
    finally(function() r:stop() end)
    for _, half in ipairs({ false, true }) do
      local client = http.open(r.address)
      client:send({ path = rig.target("size=1000000"), version = "1.0" })
      if half then
        client.conn:finish()
      end
      assert.is_true(client:receive().body == rig.pattern(1000000))
      assert.equal("closed", client.conn.ended)
      client:close()
    end
  end)
end)

describe("a hook's reply larger than all buffers", function()
  it("is whole, and the next reply comes behind it", function()
    local r = rig.start({
      settings = "script_timeout = 20",
      on_request = ([[
        if req.path == "/huge" then return { status = 200, body = ("x"):rep(%d) } end
        if req.path == "/next" then return { status = 200, body = "next\n" } end
      ]]):format(80 * MEGABYTE),
    })
    finally(function() r:stop() end)
    local client = http.open(r.address, { timeout = 60 })
    client.conn:send("GET /huge HTTP/1.1\r\nHost: a\r\n\r\nGET /next HTTP/1.1\r\nHost: a\r\n\r\n")
    local head = client.conn:read_until("\r\n\r\n")
    local missing = tonumber(head:match("Content%-Length: (%d+)"))
    assert.equal(80 * MEGABYTE, missing)
    while missing > 0 do
      local bytes = client.conn:read_some(10)
      if bytes == "" then
        return -- cut: the client can tell
      end
      client.conn.buffer = bytes:sub(missing + 1)
      bytes = bytes:sub(1, missing)
      assert.is_nil(bytes:find("[^x]"))
      missing = missing - #bytes
    end
    assert.equal("next\n", client:receive().body)
    client:assert_quiet()
    client:close()
  end)
end)

-- Names -------------------------------------------------------------------------------------------

describe("a symlink below the root", function()
  local s, site, outside

  local function link(target, name)
    assert.equal(0, process.run({ argv = { "ln", "-s", target, site .. "/" .. name } }).code)
  end

  setup(function()
    site = stage.files({
      ["a.txt"] = "plain\n",
      ["s.php"] = "<?php 'secret';\n",
      ["index.php"] = "<?php 'secret';\n",
      [".env"] = "secret\n",
      ["site.sql.bak"] = "secret\n",
      [".git/config"] = "secret\n",
      ["folder/b.txt"] = "below\n",
    })
    outside = stage.files({ ["c.txt"] = "secret\n" })
    s = server.start({
      route = ([[
        local here, through = %q, %q
        return {
          control = false,
          on_request = function(req)
            return { root = req.query == "through" and through or here }
          end,
        }
      ]]):format(site, outside .. "/current"),
    })
    assert.equal(0, process.run({ argv = { "ln", "-s", site, outside .. "/current" } }).code)
  end)

  teardown(function() s:stop() end)

  for _, case in ipairs({
    { "link.txt", "s.php", 403 },
    { "latest", "index.php", 403 },
    { "twice.txt", "link.txt", 403 },
    { "env.txt", ".env", 403 },
    { "backup.txt", "site.sql.bak", 403 },
    { "git", ".git", 403, "/git/config" },
    { "absolute-script.txt", "%s/s.php", 403 },
    { "outside.txt", "%o/c.txt", 403 },
    { "out", "%o", 403, "/out/c.txt" },
    { "around.txt", "%o/current/s.php", 403 },
    { "plain.txt", "a.txt", 200, "/plain.txt", "plain\n" },
    { "absolute.txt", "%s/a.txt", 200, "/absolute.txt", "plain\n" },
    { "through", "folder", 200, "/through/b.txt", "below\n" },
    { "script-name.php", "a.txt", 403 },
  }) do
    local name, target, status, path, body = unpack(case)
    it(("to %s is %d (%s)"):format(target, status, name), function()
      link(target:gsub("%%s", site):gsub("%%o", outside), name)
      for _, query in ipairs({ "", "?through" }) do
        for _, method in ipairs({ "GET", "HEAD" }) do
          local res = http.request(s.address, {
            method = method,
            path = (path or "/" .. name) .. query,
            headers = { Range = "bytes=0-" },
          })
          assert.equal(status, res.status == 206 and 200 or res.status)
          assert.is_nil(res.body:find("secret", 1, true))
          if method == "GET" and status == 200 then
            assert.equal(body, res.body)
          end
        end
      end
    end)
  end
end)

describe("a redirect to a folder", function()
  it("never leads to another site", function()
    local site = stage.files({ ["dir/a.txt"] = "a\n", ["a b/a.txt"] = "a\n" })
    local s = server.start({
      route = ("return { control = false, on_request = function() return { root = %q } end }")
        :format(site),
    })
    finally(function() s:stop() end)
    for target, location in pairs({
      ["/dir"] = "/dir/",
      ["/dir?a=//b"] = "/dir/?a=//b",
      ["//evil.example/%2e%2e/dir"] = "/dir/",
      ["//evil.example/../dir"] = "/dir/",
      ["///dir"] = "/dir/",
      ["/%2fevil.example/..//dir"] = "/dir/",
      ["/a%20b"] = "/a%20b/",
    }) do
      local res = http.get(s.address, target)
      assert.equal(301, res.status, target)
      local path = res.headers.location:gsub("^http://[^/]*", "")
      assert.equal(location, path)
    end
  end)
end)

-- Logs --------------------------------------------------------------------------------------------

describe("the access log", function()
  for _, format in ipairs({ "combined", "json" }) do
    it("has a line for every request, whatever it carries: " .. format, function()
      local r = rig.start({ settings = ("log = { format = %q }"):format(format) })
      finally(function() r:stop() end)
      for i, byte in ipairs({ "\128", '"', "\\", "\255" }) do
        local bytes = byte:rep(9000)
        assert.equal(200, r:get("a=agent" .. i, { headers = { ["User-Agent"] = bytes } }).status)
        r.server:wait_access("a=agent" .. i)
        assert.equal(200, r:get("a=from" .. i, {
          headers = { Referer = bytes:sub(1, 7000), ["User-Agent"] = bytes:sub(1, 7000) },
        }).status)
        r.server:wait_access("a=from" .. i)
      end
      assert.equal(200, r:get("a=target" .. ('"'):rep(7000)).status)
      r.server:wait_access("a=target")
      assert.equal(9, count_lines(r.server:access(), "a="))
      for line in r.server:access():gmatch("[^\n]+") do
        assert.is_nil(line:find("[%z\1-\31\127]"))
        assert.equal(format == "json", line:find("^{.*}$") ~= nil)
      end
    end)
  end
end)

describe("a header that no application gets", function()
  it("is told of once", function()
    local r = rig.start()
    finally(function() r:stop() end)
    for _, name in ipairs({ "X_Poser", "X_Poser", "x_poser" }) do
      local params = rig.params(r:get("dump", { headers = { [name] = "1" } }))
      assert.is_nil(params.HTTP_X_POSER)
    end
    r:get("", { headers = { ["X_Other"] = "1" } })
    r.server:wait_log("X_Other")
    assert.equal(1, count_lines(r.server:errors():lower(), "x_poser"))
  end)
end)

describe("STDERR without an end", function()
  it("neither stays in the worker's memory nor fills the error log", function()
    local r = rig.start({ server = { env = server.MEASURED } })
    finally(function() r:stop() end)
    local function peak()
      local text = process.read_file(("/proc/%d/status"):format(r.workers[1]))
      return tonumber(text:match("VmHWM:%s+(%d+)")) * 1024
    end
    r:get("stderr_size=1000000")
    local before = peak()
    assert.equal("hello\n", r:get("stderr_size=" .. 40 * MEGABYTE, { timeout = 300 }).body)
    r.server:wait_log("%d+ more messages of /srv/app/x%.php on STDERR in the last %d+ s were left")
    assert.is_true(#r.server:errors() < 4 * MEGABYTE)
    local more = peak() - before
    local allowed = (server.binary():find("asan", 1, true) and 24 or 8) * MEGABYTE
    assert.is_true(more < allowed, ("%.1f MB more than before"):format(more / MEGABYTE))
  end)
end)

-- Requests and answers that do not belong together ------------------------------------------------

describe("requests before a half-close", function()
  local r

  setup(function()
    r = rig.start({
      on_request = [[if req.path == "/own" then return { status = 200, body = req.query } end]],
    })
  end)

  teardown(function() r:stop() end)

  for name, path in pairs({ application = "/x.php?delay=30&body=", hook = "/own?" }) do
    it("are all answered, by " .. name, function()
      local client = http.open(r.address)
      local heads = {}
      for i = 1, 3 do
        heads[i] = ("GET %s%d HTTP/1.1\r\nHost: a\r\n\r\n"):format(path, i)
      end
      client.conn:send(table.concat(heads))
      client.conn:finish()
      for i = 1, 3 do
        assert.equal(tostring(i), client:receive().body)
      end
      assert.is_true(client.conn:closes(3))
      assert.equal("closed", client.conn.ended)
      client:close()
    end)
  end

  it("are answered behind one whose body nobody wants", function()
    local client = http.open(r.address)
    client.conn:send("GET /x.php?delay=30&body=1 HTTP/1.1\r\nHost: a\r\n\r\n"
      .. "POST /own?2 HTTP/1.1\r\nHost: a\r\nContent-Length: 5000\r\n\r\n" .. ("x"):rep(5000)
      .. "GET /own?3 HTTP/1.1\r\nHost: a\r\n\r\n")
    client.conn:finish()
    for i = 1, 3 do
      assert.equal(tostring(i), client:receive().body)
    end
    assert.is_true(client.conn:closes(3))
    client:close()
  end)

  it("are answered up to one that is not whole", function()
    local client = http.open(r.address)
    client.conn:send("GET /x.php?body=1 HTTP/1.1\r\nHost: a\r\n\r\nGET /x.php?body=2 HTTP/1.1\r\n")
    client.conn:finish()
    assert.equal("1", client:receive().body)
    assert.is_true(client.conn:closes(3))
    client:close()
  end)
end)

describe("bytes that nobody asked for", function()
  for _, first in ipairs({ "the application", "the client" }) do
    it(("on a kept connection never become an answer (%s is first)"):format(first), function()
      local r, listener, _, kept = with_kept()
      local worker = r.workers[1]
      finally(function()
        process.release(worker)
        listener:close()
        r:stop()
      end)
      local client = http.open(r.address)
      assert.equal("own\n", client:request({ path = "/own" }).body)
      process.hold(worker)
      local moves = {
        ["the application"] = function() kept:send(reply("stolen\n")) end,
        ["the client"] = function() client:send({ path = "/x.php" }) end,
      }
      moves[first]()
      moves[first == "the client" and "the application" or "the client"]()
      process.release(worker)
      local conn = accept_request(listener)
      assert.is_truthy(conn)
      conn:send(reply("right\n"))
      assert.equal("right\n", client:receive().body)
      kept:close()
      conn:close()
      client:close()
    end)
  end

  it("behind an answer never become the next one", function()
    local r = rig.start({ backend = "keepalive = 2" })
    finally(function() r:stop() end)
    for _ = 1, 20 do
      assert.equal("one", r:get("body=one&fail=after-end").body)
      assert.equal("two", r:get("body=two").body)
    end
  end)
end)

describe("an application", function()
  local r

  setup(function()
    r = rig.start()
  end)

  teardown(function() r:stop() end)

  for _, name in ipairs({ "X-Accel-Redirect", "x-accel-redirect", "X-Sendfile" }) do
    it("that asks for a file it may not have is 502, which the client is not told: " .. name,
      function()
        local mark = r.server:mark()
        local res = r:get(("header=%s:%%20/private/secret"):format(name))
        assert.equal(502, res.status)
        assert.is_nil((res.head .. res.body):lower():find("private", 1, true))
        assert.is_nil(res.head:lower():find(name:lower(), 1, true))
        r.server:wait_log(name == "X-Sendfile" and "X%-Sendfile" or "X%-Accel%-Redirect", nil, mark)
      end)
  end

  it("keeps its other words to the proxy from the client", function()
    local res = r:get("header=X-Accel-Buffering:%20no&header=X-Other:%20a")
    assert.equal(200, res.status)
    assert.is_nil(res.headers["x-accel-buffering"])
    assert.equal("a", res.headers["x-other"])
  end)

  it("is not told of HTTPS by a target that merely says so", function()
    local p = rig.params(r:get("", { path = "https://h/x.php?dump", host = "h" }))
    assert.is_nil(p.HTTPS)
    assert.equal("http", p.REQUEST_SCHEME)
    assert.equal("/x.php?dump", p.REQUEST_URI)
  end)
end)

describe("args and cookies", function()
  it("are listed and read whatever they are called", function()
    local r = rig.start({
      on_request = [[
        local list = {}
        for name, value in req.args:each() do list[#list + 1] = name .. "=" .. value end
        for name, value in req.cookies:each() do list[#list + 1] = name .. ":" .. value end
        for _, value in ipairs(req.args:all("all")) do list[#list + 1] = "all " .. value end
        table.sort(list)
        do return { status = 200, body = table.concat(list, " ") } end
      ]],
    })
    finally(function() r:stop() end)
    local res = http.get(r.address, "/?each=1&all=2&__index=3", { Cookie = "each=4; all=5" })
    assert.equal(200, res.status)
    assert.equal("__index=3 all 2 all:5 all=2 each:4 each=1", res.body)
  end)
end)

describe("the error log", function()
  -- Sends so many bad requests at a time, so that more than a quota comes within its ten seconds on
  -- a busy machine, too.
  local function send(s, count)
    local conns = {}
    for i = 1, count do
      conns[i] = net.connect(s.address)
    end
    for _, conn in ipairs(conns) do
      conn:send("GET / HTTP/1.1\r\nHost: a b\r\n\r\n")
    end
    for _, conn in ipairs(conns) do
      assert.matches("^HTTP/1.1 400 ", conn:read_all())
      conn:close()
    end
    return count
  end

  local function lines_of(s)
    return select(2, s:errors():gsub("client 127%.0%.0%.1: 400", ""))
  end

  it("has a bounded number of lines about what clients get wrong, and their count", function()
    local s = server.start({ workers = 1, route = [[
      return { on_request = function() return { status = 200 } end }
    ]] })
    finally(function() s:stop() end)
    local began = socket.gettime()
    local sent = send(s, 150)
    local seconds = socket.gettime() - began
    -- The ten seconds are those of a clock that has no parts of them.
    assert(lines_of(s) <= 100 * (1 + math.floor((seconds + 1) / 10)), lines_of(s))
    -- The next line has the count, unless the worker says it first: it looks once a second.
    local line
    poll.wait(function()
      sent = sent + send(s, 10)
      line = s:errors():match("[^\n]*more since the last such line[^\n]*\n")
      return line
    end, "the count of lines that were left out", 150)
    local more = tonumber(line:match("and (%d+) more since"))
    assert(more >= 1 and more + lines_of(s) <= sent, line)
  end)

  -- Sends bad requests until lines about them are left out.
  local function flood(s)
    local sent = 0
    repeat
      sent = sent + send(s, 10)
    until sent >= lines_of(s) + 20
    return sent
  end
  local COUNT = "(%d+) more lines of this kind were left out in %d+ seconds: "
    .. "client 127%.0%.0%.1: 400, "

  -- What is written at all and what is counted: all that there were, those of earlier windows too.
  local function counted(s)
    local errors = s:errors()
    local all = select(2, errors:gsub("%] %d+: client 127%.0%.0%.1: 400", ""))
    for _, pattern in ipairs({ COUNT, "and (%d+) more since the last such line" }) do
      for more in errors:gmatch(pattern) do
        all = all + tonumber(more)
      end
    end
    return all
  end

  it("says the last count of a flood that just stops", function()
    local s = server.start({ workers = 1, route = [[
      return { on_request = function() return { status = 200 } end }
    ]] })
    finally(function() s:stop() end)
    local sent = flood(s)
    poll.wait(function() return counted(s) == sent end, "a count of all", 40)
    assert.matches(COUNT, s:errors())
  end)

  it("says it before the process ends, too", function()
    local s = server.start({ workers = 1, route = [[
      return { on_request = function() return { status = 200 } end }
    ]] })
    local sent = flood(s)
    s:stop()
    assert.matches(COUNT, s:errors())
    assert.equal(sent, counted(s))
  end)
end)
