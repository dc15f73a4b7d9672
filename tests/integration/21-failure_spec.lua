-- What a client sees when something fails, row by row of the contract: backends that are not there,
-- do not answer, or answer nonsense; hooks that fail; clients that leave. Every scenario ends with
-- the same worker serving as before.

local http = require("tests.support.http")
local net = require("tests.support.net")
local poll = require("tests.support.poll")
local process = require("tests.support.process")
local rig = require("tests.support.rig")
local socket = require("socket")

-- The id on the error page is the one in the error log.
local function assert_explained(r, res)
  for word in res.body:gmatch("[%w-]+") do
    if #word >= 8 and word:find("%d") and r.server:errors():find(word, 1, true) then
      return
    end
  end
  error(("no request id of this page is in the log: %s\n%s"):format(res.body, r.server:errors()), 2)
end

describe("a backend that cannot be connected to", function()
  it("is 503 where nothing was ever listening, and the log says where and why", function()
    local missing = process.tempdir() .. "/none.sock"
    local r = rig.start({ servers = { "unix:" .. missing }, responder = false })
    finally(function() r:stop() end)
    local res = r:get("")
    assert.equal(503, res.status)
    assert.is_truthy(tonumber(res.headers["retry-after"]))
    r.server:wait_log(missing:gsub("%p", "%%%0") .. ".*No such file")
    assert_explained(r, res)
  end)

  it("is 503 where the port is closed", function()
    local address = "127.0.0.1:" .. net.free_port()
    local r = rig.start({ servers = { address }, responder = false })
    finally(function() r:stop() end)
    local res = r:get("", { method = "POST", body = "x" })
    assert.equal(503, res.status)
    assert.is_truthy(res.headers["retry-after"])
    r.server:wait_log(address:gsub("%p", "%%%0") .. ".*refused")
  end)

  it("is 503 where the socket is not for the worker, and the log says who may use it", function()
    local r = rig.start()
    finally(function() r:stop() end)
    local path = r.back.address:match("^unix:(.*)$")
    process.chmod(path, "000")
    local res = r:get("")
    assert.equal(503, res.status)
    local line = r.server:wait_log("[Pp]ermission denied")
    assert.is_truthy(line:find(path, 1, true), line)
    assert.is_truthy(line:find("owner") and line:find("mode"), line)
    process.chmod(path, "666")
    assert.equal(200, r:get("").status)
  end)

  it("is passed over when another server is up", function()
    local r = rig.start()
    finally(function() r:stop() end)
    local two = rig.start({
      servers = { "127.0.0.1:" .. net.free_port(), r.back.address },
      responder = false,
    })
    finally(function()
      two:stop()
      r:stop()
    end)
    for _ = 1, 4 do
      assert.equal(200, two:get("", { method = "POST", body = "x" }).status)
    end
  end)

  it("is not tried again beyond `attempts`", function()
    local down = {}
    for i = 1, 3 do
      down[i] = "127.0.0.1:" .. net.free_port()
    end
    local r = rig.start({ servers = down, backend = "attempts = 2", responder = false })
    assert.equal(503, r:get("").status)
    r:stop() -- by then all lines are in the log
    local tried = 0
    for _, address in ipairs(down) do
      if r.server:errors():find(address, 1, true) then
        tried = tried + 1
      end
    end
    assert.equal(2, tried)
  end)
end)

describe("a listen queue that is full", function()
  -- Linux lets one more connection wait than the backlog says. They must stay open.
  local function fill(address)
    return { net.connect(address), net.connect(address) }
  end

  local function full(options)
    options.responder = { tcp = options.tcp, args = { "--no-accept", "--backlog", "1" } }
    local r = rig.start(options)
    local held = fill(r.back.address)
    local stop = r.stop
    r.stop = function(self)
      for _, conn in ipairs(held) do
        conn:close()
      end
      stop(self)
    end
    return r
  end

  it("of a unix socket is waited out, then 503", function()
    local r = full({ backend = [[queue_timeout = "400ms"]] })
    finally(function() r:stop() end)
    local start = socket.gettime()
    local res = r:get("")
    local took = socket.gettime() - start
    assert.equal(503, res.status)
    assert.is_truthy(res.headers["retry-after"])
    assert.is_true(took > 0.35 and took < 20, took) -- 30 by default
  end)

  it("of a unix socket that gets free in time costs nothing but time", function()
    local r = full({ backend = [[queue_timeout = "60s"]] })
    finally(function() r:stop() end)
    local client = http.open(r.address)
    client:send({ method = "POST", path = rig.target("sum"), body = "once" })
    assert.is_true(client.conn:silent(0.3))
    r.back.process:kill("USR1")
    assert.equal(rig.sum("once"), client:receive().body)
    assert.equal(1, #r:events("REQUEST"))
    client:close()
  end)

  it("of a TCP port is 503 after connect_timeout", function()
    local r = full({ tcp = true, backend = [[connect_timeout = "300ms", attempts = 1]] })
    finally(function() r:stop() end)
    local start = socket.gettime()
    local res = r:get("")
    assert.equal(503, res.status)
    local took = socket.gettime() - start
    assert.is_true(took > 0.25 and took < 4.5, took) -- 5 by default
    r.server:wait_log("no connection within connect_timeout: nothing came back; is that")
  end)
end)

describe("a backend that is too slow", function()
  local r

  setup(function()
    r = rig.start({ backend = [[keepalive = 2, read_timeout = "1s", send_timeout = "1s"]] })
  end)

  teardown(function() r:stop() end)

  it("is 504 without an answer, and the log says how long and how much", function()
    for _, commands in ipairs({ "fail=hang", "stderr=partial&fail=hang-before-end&head=no-end" }) do
      local mark = r.server:mark()
      local start = socket.gettime()
      local res = r:get(commands)
      local took = socket.gettime() - start
      assert.equal(504, res.status)
      assert.is_true(took > 0.9 and took < 30, took) -- 60 by default
      local line = r.server:wait_log("read_timeout", nil, mark)
      assert.is_truthy(line:find("%d+ bytes"), line)
      assert.is_truthy(line:find("%f[%d]1 s"), line)
      assert_explained(r, res)
    end
  end)

  it("is cut where the head was already sent", function()
    rig.assert_cut(r:raw("fail=hang-after-head"))
    rig.assert_cut(r:raw("size=5000&fail=hang-mid-body"))
    rig.assert_cut(r:raw("size=5000&length&fail=hang-mid-body"))
    rig.assert_cut(r:raw("size=5000&fail=hang-before-end"))
  end)

  it("is given the time between two reads, not for the whole", function()
    local own = rig.start({ backend = [[read_timeout = "4s"]] })
    finally(function() own:stop() end)
    local res = own:get("size=800&pieces=8&piece_delay=700") -- 4.9 s in all
    assert.equal(rig.pattern(800), res.body)
  end)

  it("has first_byte_timeout to begin, and read_timeout from there on", function()
    local own = rig.start({ backend = [[first_byte_timeout = "3s", read_timeout = "2m"]] })
    finally(function() own:stop() end)
    local mark = own.server:mark()
    assert.equal(504, own:get("fail=hang").status)
    local line = own.server:wait_log("no answer within first_byte_timeout", nil, mark)
    assert.is_truthy(line:find("(first_byte_timeout 3 s, read_timeout 120 s", 1, true), line)
    assert.is_truthy(line:find("%f[%d]0 bytes had come"), line)
    -- A pause that is longer than it, behind the first byte.
    local res = own:get("size=200&pieces=2&piece_delay=3500")
    assert.equal(rig.pattern(200), res.body)
  end)

  it("may take longer to begin than between two reads", function()
    local own = rig.start({
      backend = [[first_byte_timeout = "1s", read_timeout = "2s"]],
      on_request = [[do return { backend = "app", docroot = "/a", first_byte_timeout = "2m" } end]],
    })
    finally(function() own:stop() end)
    assert.equal(200, own:get("delay=2500").status)
    local mark = own.server:mark()
    rig.assert_cut(own:raw("fail=hang-after-head"))
    own.server:wait_log("no answer within read_timeout", nil, mark)
  end)

  it("may be asked by a decision with another patience", function()
    local patient = rig.start({
      backend = [[read_timeout = "100ms"]],
      on_request = [[do return { backend = "app", docroot = "/a", read_timeout = "30s" } end]],
    })
    finally(function() patient:stop() end)
    assert.equal(200, patient:get("delay=400").status)
  end)

  it("is 504 when it does not take the body", function()
    local res = r:get("noread&fail=hang", { method = "POST", body = rig.bytes(8000000) })
    assert.equal(504, res.status)
  end)

  it("loses its connection", function()
    r:wait_connections(0)
    r:get("")
    r:wait_connections(1)
    assert.equal(504, r:get("fail=hang").status)
    r:wait_connections(0)
  end)
end)

describe("an answer that is none", function()
  local r

  setup(function()
    r = rig.start({ backend = "keepalive = 2" })
  end)

  teardown(function() r:stop() end)

  -- whole: as a FastCGI request it was complete, the connection may go on.
  for _, case in ipairs({
    { "a close before the head", "fail=close-before-head" },
    { "a reset before the head", "fail=close-before-head&rst" },
    { "something else than records", "fail=garbage" },
    { "records of another version", "fail=wrong-version" },
    { "records of another request", "fail=wrong-id" },
    { "a record that clients send", "fail=begin" },
    { "an END_REQUEST and nothing else", "fail=end-only" },
    { "a body without a head", "head=none&body=no%20header%20here" },
    { "an empty head", "head=empty" },
    { "a line without a colon", "head=no-colon" },
    { "a control byte in a header", "head=control" },
    { "a NUL in a header", "head=nul" },
    { "a space in a header's name", "head=space" },
    { "a head that does not end", "head=no-end&body=" },
    { "a head larger than response_header", "big=70000" },
    { "an endless head", "big=3000000" },
    { "a status below 200", "status=99" },
    { "a status above 599", "status=600" },
    { "a status that is no number", "status=fine" },
    { "STDERR and a close", "stderr=x&fail=close-after-head&head=no-end" },
    { "an unknown role", "protocol=3" },
  }) do
    it("is 502: " .. case[1], function()
      local mark = r.server:mark()
      local start = socket.gettime()
      local res = r:get(case[2])
      assert.equal(502, res.status)
      assert.is_true(socket.gettime() - start < 30, "it waited for a timeout") -- of 60 s
      poll.wait(function()
        return r.server:mark() > mark
      end, "a word about it in the error log")
      assert_explained(r, res)
      r:wait_connections(0) -- whoever answers like that is not asked again on this connection
      assert.equal("hello\n", r:get("").body)
      r:wait_connections(1)
    end)
  end

  it("is 502 for every method, and never tried twice", function()
    for _, method in ipairs({ "POST", "PATCH" }) do
      local before = #r:events("REQUEST")
      assert.equal(502, r:get("fail=close-before-head", { method = method, body = "x" }).status)
      assert.equal(before + 1, #r:events("REQUEST"))
    end
  end)
end)

describe("an answer that stops", function()
  local r

  setup(function()
    r = rig.start({ backend = "keepalive = 2" })
  end)

  teardown(function() r:stop() end)

  local endings = {
    "size=100000&fail=close-mid-body", "size=100000&length&fail=close-mid-body",
    "size=100000&fail=no-end", "size=100000&fail=close-mid-body&rst", "size=100000&fail=cut-end",
    "size=100000&fail=short-end", "size=100000&length=+1", "size=100000&length=200000",
    "size=100000&write=40000&fail=no-end", "fail=close-after-head", "body=hello&fail=no-end",
    "fail=cut-end", "fail=short-end", "length=7&body=hello",
  }
  for _, commands in ipairs(endings) do
    it("is cut so that the client can tell: " .. commands, function()
      -- The client has the head before it goes wrong.
      local client = http.open(r.address)
      client:send({ path = rig.target("body_delay=hold&" .. commands) })
      local head = client.conn:read_until("\r\n\r\n")
      r:release()
      local bytes = rig.assert_cut(head .. client.conn:read_all())
      client:close()
      assert.is_truthy(bytes:find("^HTTP/1%.1 200 "))
      assert.is_nil(bytes:find("HTTP/1.1 50", 1, true))
      assert.equal(200, r:get("").status)
    end)

    it("is cut, or 502 where all came at once and the head was still here: " .. commands, function()
      local bytes = r:raw(commands)
      if not bytes:find("^HTTP/1%.1 502 [^\n]*\r\n.*\r\n\r\n.*Request %x+") then
        assert.is_truthy(rig.assert_cut(bytes):find("^HTTP/1%.1 200 "))
      end
      assert.equal(200, r:get("").status)
    end)
  end

  it("is no success in the log", function()
    local logging = rig.start({
      settings = [[on_log = function(req, log)
        return ("logged %s %s"):format(req.query, log.app_status == nil and "none" or "ended")
      end]],
    })
    finally(function() logging:stop() end)
    local client = http.open(logging.address)
    client:send({ path = rig.target("size=100000&body_delay=hold&fail=no-end") })
    local head = client.conn:read_until("\r\n\r\n")
    logging:release()
    rig.assert_cut(head .. client.conn:read_all())
    client:close()
    logging.server:wait_access("no%-end none")
    logging:get("size=10&a")
    logging.server:wait_access("size=10&a ended")
  end)

  it("is cut for an HTTP/1.0 client by a reset, since nothing else could tell", function()
    local client = http.open(r.address)
    client:send({ path = rig.target("size=100000&fail=no-end"), version = "1.0" })
    local bytes = client.conn:read_all()
    assert.is_truthy(bytes:find("^HTTP/1%.[01] 200 ") or bytes:find("^HTTP/1%.[01] 502 "))
    assert.is_truthy(client.conn.ended == "reset" or bytes:find(" 502 "), client.conn.ended)
    client:close()
  end)

  it("longer than its Content-Length is cut there, logged, and spoils nothing", function()
    local client = http.open(r.address)
    local res = client:request({ path = rig.target("size=1000&length=-100") })
    assert.equal(rig.pattern(900), res.body)
    assert.equal("hello\n", client:request({ path = rig.target("") }).body)
    client:close()
    r.server:wait_log("Content%-Length")
  end)
end)

describe("an application that is overloaded", function()
  for protocol, name in pairs({ [1] = "CANT_MPX_CONN", [2] = "OVERLOADED" }) do
    it(("is passed over for every method (%s)"):format(name), function()
      local r = rig.start({ responder = { count = 2 }, backend = "keepalive = 2" })
      finally(function() r:stop() end)
      for _, method in ipairs({ "GET", "POST", "POST", "PUT" }) do
        local body = method ~= "GET" and "some body" or nil
        local commands = ("1.protocol=%d&who&sum"):format(protocol)
        local res = r:get(commands, { method = method, body = body })
        assert.equal(200, res.status)
        assert.equal("2", res.headers["x-listener"])
        assert.equal(rig.sum(body or ""), res.body)
      end
    end)

    it(("is 503 where nobody is left (%s)"):format(name), function()
      local r = rig.start({ backend = [[queue_timeout = "300ms"]] })
      finally(function() r:stop() end)
      local res = r:get("protocol=" .. protocol)
      assert.equal(503, res.status)
      assert.is_truthy(res.headers["retry-after"])
    end)
  end
end)

describe("a hook", function()
  local r

  setup(function()
    r = rig.start({
      before = [[
        local broken = { backend = "app", redirect = "/", }
      ]],
      on_request = [[
        local q = req.args.h
        if q == "raise" then local t = nil; return t.field
        elseif q == "nothing" then return nil
        elseif q == "mixed" then return broken
        elseif q == "unknown" then return { backend = "nobody", docroot = "/a" }
        elseif q == "key" then return { backed = "app" }
        elseif q == "empty" then return {}
        elseif q == "type" then return "app"
        elseif q == "close" then return { close = true }
        elseif q == "reply" then
          return { status = 410, headers = { ["X-A"] = "b" }, body = "gone\n" }
        elseif q == "split" then return { status = 200, headers = { ["X-A"] = "b\r\nX-Evil: c" } }
        elseif q == "redirect" then return { redirect = "/elsewhere?a=b" }
        elseif q == "php_value" then
          return { backend = "app", docroot = "/a", params = { PHP_VALUE = "x=1" } }
        end
      ]],
    })
  end)

  teardown(function() r:stop() end)

  for _, case in ipairs({
    "raise", "mixed", "unknown", "key", "empty", "type", "split", "php_value",
  }) do
    it("that fails is 500, with its place in the log: " .. case, function()
      local client = http.open(r.address)
      local other = http.open(r.address)
      other:send({ path = rig.target("delay=hold") })
      local mark = r.server:mark()
      local res = client:request({ path = rig.target("h=" .. case) })
      assert.equal(500, res.status)
      r.server:wait_log("route%.lua:%d+: ", nil, mark)
      if case == "raise" then
        r.server:wait_log("traceback", nil, mark)
      end
      assert_explained(r, res)
      r:release()
      assert.equal(200, other:receive().status)
      client:close()
      other:close()
    end)
  end

  it("suggests the key that was meant", function()
    r:get("h=key")
    r.server:wait_log("backed.*backend")
  end)

  it("that returns nothing is 404", function()
    assert.equal(404, r:get("h=nothing").status)
  end)

  it("may answer by itself, redirect, or hang up", function()
    local res = r:get("h=reply")
    assert.equal(410, res.status)
    assert.equal("b", res.headers["x-a"])
    assert.equal("gone\n", res.body)
    res = r:get("h=redirect")
    assert.equal(302, res.status)
    assert.is_truthy(res.headers.location:find("/elsewhere?a=b", 1, true))
    local client = http.open(r.address)
    client:send({ path = rig.target("h=close") })
    assert.is_true(client.conn:closes(2))
    client:close()
  end)

  it("on_response that fails costs the client nothing", function()
    local bad = rig.start({
      backend = "keepalive = 2",
      settings = [[on_response = function(req, res)
        if req.args.h == "raise" then error("no response for you") end
        if req.args.h == "replace" then return { status = 203, body = "other\n" } end
        if req.args.h == "change" then
          res.status = 201
          res.headers["X-New"] = "n"
          res.headers["X-Old"] = nil
        end
      end]],
    })
    finally(function() bad:stop() end)
    local whole = bad:get("size=100000&h=raise")
    assert.equal(200, whole.status)
    assert.is_true(rig.pattern(100000) == whole.body)
    bad.server:wait_log("route%.lua:%d+: no response for you")
    local res = bad:get("size=100000&h=replace")
    assert.equal(203, res.status)
    assert.equal("other\n", res.body)
    res = bad:get("size=100000&header=X-Old:%20o&h=change")
    assert.equal(201, res.status)
    assert.equal("n", res.headers["x-new"])
    assert.is_nil(res.headers["x-old"])
    assert.equal(rig.pattern(100000), res.body)
  end)

  it("on_params and on_log that fail are told of, and nobody else notices", function()
    local bad = rig.start({
      settings = [[
        on_params = function(req) if req.args.p then error("params broke") end end,
        on_log = function(req) if req.args.l then error("log broke") end end
      ]],
    })
    finally(function() bad:stop() end)
    assert.equal(500, bad:get("p=1").status)
    bad.server:wait_log("route%.lua:%d+: params broke")
    assert.equal(200, bad:get("l=1").status)
    bad.server:wait_log("route%.lua:%d+: log broke")
    assert.equal(200, bad:get("").status)
  end)
end)

describe("a client that goes away", function()
  local r

  setup(function()
    r = rig.start({ backend = [[keepalive = 2]] })
  end)

  teardown(function() r:stop() end)

  it("by a reset while it waits: the backend's request is dropped, 499 in the log", function()
    local client = http.open(r.address)
    client:send({ path = rig.target("fail=hang") })
    r.back:wait_log("end=hung")
    client.conn:reset()
    r:wait_connections(0)
    r.server:wait_access('fail=hang HTTP/1.1" 499 ')
  end)

  -- An orderly close may be half of one, so it is only known when the reply cannot be delivered.
  it("by a close while it waits: the rest of the reply is not taken", function()
    local client = http.open(r.address)
    client:send({ path = rig.target("delay=200&size=500000000") })
    client:close()
    r.back:wait_log("end=dropped.*delay=200")
    r:wait_connections(0)
    r.server:wait_access('delay=200&size=500000000 HTTP/1.1" 499 ')
  end)

  for how, leave in pairs({
    closing = function(conn) conn:close() end,
    resetting = function(conn) conn:reset() end,
  }) do
    it(how .. " within a reply: the backend's request is dropped", function()
      local client = http.open(r.address)
      client:send({ path = rig.target("size=500000000&a=" .. how) })
      client.conn:read(100000)
      leave(client.conn)
      r.back:wait_log("end=dropped.*size=500000000&a=" .. how)
      r:wait_connections(0)
    end)

    it(how .. " within its body: the backend never sees a whole request", function()
      local client = http.open(r.address)
      client.conn:send(("POST /x.php?sum&b=%s HTTP/1.1\r\nHost: a\r\n"):format(how)
        .. "Content-Length: 1000000\r\n\r\n")
      client.conn:send(rig.bytes(500000))
      leave(client.conn)
      r.server:wait_access("b=" .. how)
      r:wait_connections(0)
      assert.is_nil(r.back:log():find("end=complete[^\n]*b=" .. how))
      assert.equal(200, r:get("").status)
    end)
  end

  it("before its head is complete leaves no trace", function()
    for _ = 1, 20 do
      local conn = net.connect(r.address)
      conn:send("GET / HT")
      conn:close()
    end
    assert.equal(200, r:get("").status)
  end)

  it("half, by closing its sending side, still gets its answer", function()
    local client = http.open(r.address)
    client:send({ path = rig.target("delay=100&size=100000") })
    client.conn:finish()
    assert.equal(rig.pattern(100000), client:receive().body)
    client:close()
  end)
end)
