-- Bodies of every size in both directions, whole to the byte, and with bounded memory when one side
-- is slower than the other.

local http = require("tests.support.http")
local net = require("tests.support.net")
local poll = require("tests.support.poll")
local process = require("tests.support.process")
local rig = require("tests.support.rig")
local server = require("tests.support.server")
local socket = require("socket")

local MEGABYTE = 1024 * 1024

describe("a reply", function()
  local r

  setup(function()
    r = rig.start({ backend = "keepalive = 8" })
  end)

  teardown(function() r:stop() end)

  local sizes = { 0, 1, 2, 4095, 4096, 8183, 8184, 8185, 16383, 16384, 32767, 32768, 65527, 65528,
    65529, 65535, 65536, 65537, 131072, 262143, 262144, 1048576, 5000000 }
  for _, size in ipairs(sizes) do
    it(("of %d bytes comes through whole"):format(size), function()
      local expected = rig.pattern(size)
      local client = http.open(r.address)
      for _, how in ipairs({ "", "&length", "&record=1000", "&pad=5&record=8184" }) do
        local res = client:request({ path = rig.target("size=" .. size .. how) })
        assert.is_true(expected == res.body, ("%d bytes, %s"):format(#res.body, how))
      end
      client:assert_quiet()
      client:close()
    end)
  end

  it("of 100 MB comes through whole", function()
    local size, at = 100 * MEGABYTE, 0
    local block = rig.pattern(MEGABYTE)
    local twice = block .. block
    local client = http.open(r.address)
    client:send({ path = rig.target("length&size=" .. size) })
    client.conn:read_until("\r\n\r\n")
    while at < size do
      local bytes = client.conn:read_some(10)
      local from = at % MEGABYTE + 1
      assert.is_true(twice:sub(from, from + #bytes - 1) == bytes, at)
      at = at + #bytes
    end
    assert.equal(size, at)
    assert.equal("hello\n", client:request({ path = rig.target("") }).body)
    client:close()
  end)

  it("comes as it is made, piece by piece", function()
    local client = http.open(r.address)
    local pieces = 0
    client:request({ path = rig.target("size=300&pieces=3&piece_delay=hold") }, function(bytes)
      pieces = pieces + 1
      assert.equal(100, #bytes)
      if pieces < 3 then -- the next one is made when this one has come
        r:release()
      end
    end)
    client:close()
    assert.equal(3, pieces)
  end)

  it("of many at once is each one's own", function()
    local clients = {}
    for i = 1, 40 do
      clients[i] = http.open(r.address)
      clients[i]:send({ path = rig.target(("size=%d&header=X-N:%d"):format(i * 10007, i)) })
    end
    for i = 1, 40 do
      local res = clients[i]:receive()
      assert.equal(tostring(i), res.headers["x-n"])
      assert.is_true(rig.pattern(i * 10007) == res.body, i)
      clients[i]:close()
    end
  end)
end)

describe("an upload", function()
  local r

  setup(function()
    r = rig.start({ backend = "keepalive = 8" })
  end)

  teardown(function() r:stop() end)

  local sizes = { 0, 1, 8191, 8192, 16384, 32767, 32768, 32769, 65535, 65536, 65537, 262144,
    1048576, 20000000 }
  for _, size in ipairs(sizes) do
    it(("of %d bytes arrives whole"):format(size), function()
      local body = rig.bytes(size)
      local expected = rig.sum(body)
      assert.equal(expected, r:get("sum", { method = "POST", body = body }).body)
      if size > 0 then
        local pieces = {}
        for at = 1, size, 50021 do
          pieces[#pieces + 1] = body:sub(at, at + 50020)
        end
        assert.equal(expected, r:get("sum", { method = "POST", body = pieces }).body)
      end
    end)
  end

  it("in tiny chunks arrives whole", function()
    local body, pieces = rig.bytes(20000), {}
    for i = 1, #body do
      pieces[i] = body:sub(i, i)
    end
    local res = r:get("sum", { method = "POST", body = pieces })
    assert.equal(rig.sum(body), res.body)
  end)

  it("comes back the same", function()
    local body = rig.bytes(3000000)
    local res = r:get("echo", { method = "PUT", body = body })
    assert.is_true(body == res.body)
  end)

  it("may be answered while it is still coming", function()
    local body = rig.bytes(3000000)
    local conn = net.connect(r.address)
    conn:send(("PUT %s HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n"):format(
      rig.target("length=3000000&echo=stream"), #body))
    -- Sends and reads in turns, as a client must that is answered early.
    local sent, pieces = 0, {}
    local deadline = socket.gettime() + 60
    local got = 0
    while got < #body and socket.gettime() < deadline do
      if sent < #body then
        conn.timeout = 0.01
        local _, _, upto = conn:try_send(body:sub(sent + 1, sent + 100000))
        sent = sent + (upto or math.min(100000, #body - sent))
      end
      conn:fill(socket.gettime() + 0.01)
      if not pieces[1] and conn.buffer:find("\r\n\r\n", 1, true) then
        conn:read_until("\r\n\r\n")
      end
      if #conn.buffer > 0 then
        pieces[#pieces + 1] = conn:read(#conn.buffer)
        got = got + #pieces[#pieces]
      end
    end
    conn:close()
    assert.is_true(table.concat(pieces) == body)
  end)

  it("of many at once is each one's own", function()
    local clients, bodies = {}, {}
    for i = 1, 20 do
      clients[i] = http.open(r.address)
      bodies[i] = rig.bytes(i * 30011) .. i
      clients[i]:send({ method = "POST", path = rig.target("sum"), body = bodies[i] })
    end
    for i = 1, 20 do
      assert.equal(rig.sum(bodies[i]), clients[i]:receive().body)
      clients[i]:close()
    end
  end)
end)

-- A body that comes whole with its head may stay in the buffer that the client was read into.
describe("an upload that comes in one piece", function()
  local function post(commands, body)
    return table.concat({ http.format({
      method = "POST", path = rig.target(commands), body = body,
    }) })
  end

  local function at_once(r, commands, body)
    local client = http.open(r.address)
    client.conn:send(post(commands, body))
    local res = client:receive("POST")
    client:close()
    return res
  end

  it("of any size is sent on whole, over a new connection and over a kept one", function()
    local r = rig.start({ backend = "keepalive = 8" })
    finally(function() r:stop() end)
    for _, size in ipairs({ 1, 4095, 4096, 5000, 16384, 40000, 65000, 70000 }) do
      local body = rig.bytes(size)
      for _ = 1, 2 do
        assert.equal(rig.sum(body), at_once(r, "sum", body).body)
      end
    end
  end)

  it("is there for the next server", function()
    local r = rig.start({ responder = { count = 3 }, backend = "keepalive = 2, attempts = 3" })
    finally(function() r:stop() end)
    for i = 1, 4 do
      local body = rig.bytes(16000) .. i
      local res = at_once(r, "1.protocol=2&2.protocol=2&who&sum", body)
      assert.equal("3", res.headers["x-listener"])
      assert.equal(rig.sum(body), res.body)
    end
  end)

  it("is there for a connection that takes the place of one that was closed", function()
    local r = rig.start({ backend = "keepalive = 2" })
    finally(function() r:stop() end)
    for i = 1, 4 do
      local body = rig.bytes(16000) .. i
      assert.equal("hello\n", r:get("next=close").body)
      assert.equal(rig.sum(body), at_once(r, "sum", body).body)
    end
  end)

  it("is there for what on_error decides, after an application has had it", function()
    local r = rig.start({
      backend = "keepalive = 2",
      settings = [[on_error = function(req, err)
        if err.kind == "closed" and not req.ctx.again then
          req.ctx.again = true
          return { backend = "app", docroot = "/srv/app", params = { QUERY_STRING = "sum" } }
        end
      end]],
    })
    finally(function() r:stop() end)
    local body = rig.bytes(16000)
    assert.equal(rig.sum(body), at_once(r, "fail=close-before-head", body).body)
  end)

  it("is not asked about twice where it is too large for what on_error decides, too", function()
    local r = rig.start({
      settings = [[limits = { body = 1000 }, on_error = function(req, err)
        req.ctx.asked = (req.ctx.asked or 0) + 1
        require("moongate").log("warn", ("asked %d %s %d"):format(req.ctx.asked, err.kind,
          err.status))
        if req.args.reply then return { status = 413, body = "too large" } end
        return { backend = "app", docroot = "/srv/app" }
      end]],
    })
    finally(function() r:stop() end)
    local function upload(args, size)
      return http.request(r.address, {
        method = "POST", path = "/x.php?body=x" .. args, body = ("x"):rep(size),
      })
    end
    assert.equal(413, upload("", 20000).status)
    -- A decision that needs no body is carried out.
    assert.equal("too large", upload("&reply", 20000).body)
    local twice = "asked 1 too_large 413.*asked 1 too_large 413"
    poll.wait(function() return r.server:errors():find(twice) end, "a line of each request")
    local _, count = r.server:errors():gsub("asked 1 too_large 413", "")
    assert.equal(2, count)
    assert.is_nil(r.server:errors():find("asked 2", 1, true))
  end)

  it("is a hook's text, and the application's body", function()
    local r = rig.start({ on_request = [[
      local body = req:body()
      do
        return { backend = "app", docroot = "/srv/app", params = { X_SIZE = tostring(#body),
          X_END = body:sub(-3) } }
      end]] })
    finally(function() r:stop() end)
    local body = rig.bytes(16000) .. "end"
    assert.equal(rig.sum(body), at_once(r, "sum", body).body)
    local params = rig.params(at_once(r, "dump", body))
    assert.equal("16003", params.X_SIZE)
    assert.equal("end", params.X_END)
  end)

  it("is followed by other requests", function()
    local r = rig.start({ backend = "keepalive = 2" })
    finally(function() r:stop() end)
    local first, second, third = rig.bytes(9000) .. 1, rig.bytes(9000) .. 2, rig.bytes(9000) .. 3
    local client = http.open(r.address)
    client.conn:send(post("sum", first) .. post("sum", second) .. post("sum", third)
      .. http.format({ path = rig.target("body=last") }))
    for _, body in ipairs({ first, second, third }) do
      assert.equal(rig.sum(body), client:receive("POST").body)
    end
    assert.equal("last", client:receive("GET").body)
    client:assert_quiet()
    client:close()
  end)

  it("comes after 100 Continue", function()
    local r = rig.start({ backend = "keepalive = 2" })
    finally(function() r:stop() end)
    local body = rig.bytes(16000)
    local client = http.open(r.address)
    client.conn:send(("POST %s HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n"):format(
      rig.target("sum")) .. "Content-Length: 16000\r\n\r\n")
    assert.equal("HTTP/1.1 100 Continue\r\n\r\n", client.conn:read_until("\r\n\r\n"))
    client.conn:send(body)
    assert.equal(rig.sum(body), client:receive("POST").body)
    client:close()
  end)

  it("is streamed where the decision says so", function()
    local r = rig.start({ backend = "keepalive = 2", on_request = [[
      do
        return { backend = "app", docroot = "/srv/app", request_buffering = false }
      end]] })
    finally(function() r:stop() end)
    for _ = 1, 3 do
      local body = rig.bytes(16000)
      assert.equal(rig.sum(body), at_once(r, "sum", body).body)
    end
  end)

  it("is each one's own where many wait at the same time", function()
    local r = rig.start({ backend = "keepalive = 200" })
    finally(function() r:stop() end)
    local clients, bodies = {}, {}
    for i = 1, 100 do
      clients[i] = http.open(r.address)
      bodies[i] = rig.bytes(8000) .. i
      clients[i].conn:send(post("delay=hold&sum", bodies[i]))
    end
    r:wait_started("hold", 100)
    local other = rig.bytes(16000)
    assert.equal(rig.sum(other), at_once(r, "sum", other).body)
    r:release(100)
    for i = 1, 100 do
      assert.equal(rig.sum(bodies[i]), clients[i]:receive("POST").body)
      clients[i]:close()
    end
  end)

  -- A server whose worker is stopped for a while, so that what is sent meanwhile is one turn's.
  local function start_to_be_held(on_request)
    local r = rig.start({ backend = "keepalive = 200", on_request = on_request })
    local worker = r.workers[1]
    finally(function()
      process.release(worker)
      r:stop()
    end)
    return r, worker
  end

  -- The buffer of the read is given back with the first body, while the second one is still in it.
  it("is each one's own where two of one client come in one read", function()
    local r, worker = start_to_be_held([[do
      local size = #req:body()
      if req.path == "/read" then return { status = 200, body = tostring(size) } end
      require("moongate").sleep(0.05)
      return { backend = "app", docroot = "/srv/app" }
    end]])
    local clients, bodies = {}, {}
    for i = 1, 40 do
      clients[i], bodies[i] = http.open(r.address), rig.bytes(20000) .. i
    end
    process.hold(worker)
    for i, client in ipairs(clients) do
      local function upload(path, body)
        return table.concat({ http.format({ method = "POST", path = path, body = body }) })
      end
      client.conn:send(upload("/read", ("r"):rep(20000)) .. upload(rig.target("sum"), bodies[i]))
    end
    process.release(worker)
    for i, client in ipairs(clients) do
      assert.equal("20000", client:receive("POST").body)
      assert.equal(rig.sum(bodies[i]), client:receive("POST").body)
      client:close()
    end
  end)

  -- The end of the client's side is read while the body waits for its server. There is no telling
  -- which requests that happens to, so there are many.
  it("is whole though its client has closed its side, also where it is streamed", function()
    local r = rig.start({ backend = "keepalive = 4", on_request = [[do
      return { backend = "app", docroot = "/srv/app", request_buffering = false }
    end]] })
    finally(function() r:stop() end)
    for i = 1, 60 do
      local client, body = http.open(r.address), rig.bytes(i * 511)
      client:send({ method = "POST", path = rig.target("sum"), body = body })
      client.conn:finish()
      local res = client:receive("POST")
      assert.equal(200, res.status)
      assert.equal(rig.sum(body), res.body)
      assert.is_true(client.conn:closes(10))
      client:close()
    end
  end)

  -- Bodies wait in the buffers of their reads until all have been decided about.
  it("is each one's own where many come in one turn, also to a script that waits", function()
    local r, worker = start_to_be_held([[
      local early = req.headers["x-early"]
      if early == "refused" then
        return { status = 403, body = "no\n" }
      elseif early == "slept" then
        require("moongate").sleep(0.01)
      elseif early == "read" then
        req.ctx.read = #req:body()
      end
      do
        return { backend = "app", docroot = "/srv/app" }
      end]])
    local clients, bodies, early = {}, {}, { "", "slept", "read", "refused" }
    for i = 1, 120 do
      clients[i] = http.open(r.address)
      bodies[i] = rig.bytes(i * 331) .. i
    end
    for _ = 1, 2 do -- over new connections and over kept ones
      process.hold(worker)
      for i, client in ipairs(clients) do
        local text = table.concat({ http.format({ method = "POST", path = rig.target("sum"),
          body = bodies[i], headers = { ["X-Early"] = early[i % 4 + 1] } }) })
        client.conn:send(text .. http.format({ path = rig.target("body=" .. i) }))
      end
      process.release(worker)
      for i, client in ipairs(clients) do
        local res = client:receive("POST")
        assert.equal(early[i % 4 + 1] == "refused" and "no\n" or rig.sum(bodies[i]), res.body)
        assert.equal(tostring(i), client:receive("GET").body)
      end
    end
    for _, client in ipairs(clients) do
      client:assert_quiet()
      client:close()
    end
  end)
end)

describe("a slow side", function()
  -- What the worker may hold beside buffers of fixed size: far below the bodies.
  local ALLOWED = (server.binary():find("asan", 1, true) and 24 or 8) * MEGABYTE
  local r, before

  setup(function()
    -- Less on disk than the largest reply, so that its connection is cut when its client leaves.
    r = rig.start({
      backend = "keepalive = 2", settings = "limits = { spool = '128M' }",
      server = { env = server.MEASURED },
    })
    r:get("size=1000000") -- what is allocated once
    r:get("sum", { method = "POST", body = rig.bytes(1000000) })
  end)

  before_each(function()
    before = r.server:memory()
  end)

  teardown(function() r:stop() end)

  -- The most that the worker has ever had, from the kernel.
  local function peak()
    local text = process.read_file(("/proc/%d/status"):format(r.server:workers()[1]))
    return tonumber(text:match("VmHWM:%s+(%d+)")) * 1024
  end

  -- Waits until the worker's memory does not grow any more, then looks at what it had.
  local function assert_bounded(allowed)
    local last, same = 0, 0
    poll.wait(function()
      local now = peak()
      same = now == last and same + 1 or 0
      last = now
      return same >= 30
    end, "the worker's memory to settle", 20)
    local more = last - before
    assert.is_true(more < allowed, ("%.1f MB more than before"):format(more / MEGABYTE))
  end

  it("that is a client does not fill the worker's memory", function()
    local client = http.open(r.address)
    client:send({ path = rig.target("length&size=" .. 200 * MEGABYTE) })
    client.conn:read(1000)
    assert_bounded(ALLOWED)
    local other = r:get("size=3000000")
    assert.is_true(rig.pattern(3000000) == other.body) -- the others go on meanwhile
    client:close()
    r:wait_connections(1)
  end)

  it("that is many clients does not either", function()
    local clients = {}
    for i = 1, 20 do
      clients[i] = http.open(r.address)
      clients[i]:send({ path = rig.target("length&size=" .. 50 * MEGABYTE) })
      clients[i].conn:read(1000)
    end
    assert_bounded(4 * ALLOWED)
    for _, client in ipairs(clients) do
      client:close()
    end
    poll.wait(function()
      return r:open_connections() <= 2
    end, "the backend's connections to be given up")
  end)

  it("that is a client gets all of it when it reads on", function()
    local client = http.open(r.address)
    client:send({ path = rig.target("size=5000000") })
    assert_bounded(5 * ALLOWED)
    assert.is_true(rig.pattern(5000000) == client:receive().body)
    client:close()
  end)

  it("that is an application does not fill the worker's memory with an upload", function()
    local body = rig.bytes(100 * MEGABYTE)
    local res = r:get("noread=500&sum", { method = "POST", body = body, timeout = 120 })
    assert.equal(rig.sum(body), res.body)
    assert_bounded(5 * ALLOWED)
  end)
end)
