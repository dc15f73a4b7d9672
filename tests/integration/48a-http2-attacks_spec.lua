-- What a client that means harm does with HTTP/2: floods of frames that only cost work, header
-- blocks that never end or that unpack to much, windows that stay shut, bad frames.
-- Each time another client is served meanwhile, and the worker's memory stays where it was.

local h2 = require("tests.support.h2")
local http = require("tests.support.http")
local poll = require("tests.support.poll")
local rig = require("tests.support.rig")
local server = require("tests.support.server")

local MEGABYTE = 1024 * 1024
-- What a worker may keep beside. The sanitizers' allocator keeps what was freed.
local ALLOWED = (server.binary():find("asan", 1, true) and 64 or 8) * MEGABYTE

-- A frame of another type than RFC 9113 has, and padding.
local UNKNOWN = 0xbb

local function four(n)
  return string.char(math.floor(n / 16777216), math.floor(n / 65536) % 256,
    math.floor(n / 256) % 256, n % 256)
end

describe("floods over HTTP/2:", function()
  local r

  setup(function()
    r = rig.start(h2.rig({ backend = "keepalive = 4" }))
    h2.open(r.address):request({ path = rig.target("body=x") })
  end)

  teardown(function() r:stop() end)

  -- A connection that sends so many of these bytes, however the server takes it.
  local function flood(count, bytes, first)
    local client = h2.open(r.address, { quiet = true })
    client.conn:send(h2.PREFACE .. h2.settings() .. (first or ""))
    local piece = {}
    for i = 1, count do
      piece[#piece + 1] = type(bytes) == "function" and bytes(i) or bytes
      if #piece == 500 or i == count then
        if not client.conn:try_send(table.concat(piece)) then
          break
        end
        piece = {}
      end
    end
    return client
  end

  -- The server ends such a connection, and serves others.
  local function ends(count, bytes, first)
    local before, seen = r.server:memory(), #r:events("REQUEST")
    local client = flood(count, bytes, first)
    pcall(client.read_all, client)
    local last = client.goaways[#client.goaways]
    if last then -- a reset of the socket may have overtaken it
      assert.equal(h2.ENHANCE_YOUR_CALM, last.code)
    end
    assert.is_truthy(last or client.conn.ended == "reset")
    client:close()
    assert.equal("y", http.get(r.address, rig.target("body=y")).body)
    assert.is_true(r.server:memory() - before < ALLOWED)
    return #r:events("REQUEST") - seen - 1
  end

  -- The server bears it.
  local function bears(count, bytes, first)
    local client = flood(count, bytes, first)
    client.next_id = 2 * count + 1001
    assert.equal("x", client:request({ path = rig.target("body=x") }).body)
    assert.same({}, client.goaways)
    client:close()
  end

  local BLOCK = h2.block(h2.fields({ path = rig.target("rapid") }))
  local function opened_and_reset(i)
    return h2.headers(2 * i - 1, BLOCK, true) .. h2.reset(2 * i - 1)
  end

  it("streams that are reset as soon as they are opened", function()
    assert.equal(0, ends(20000, opened_and_reset))
    r.server:wait_log("too many frames that only cost work")
    bears(900, opened_and_reset)
  end)

  it("streams that are reset by a fault of the client's own", function()
    -- A window that overflows is an error of the stream, which the server resets.
    ends(20000, function(i)
      return h2.headers(2 * i - 1, BLOCK, false) .. h2.window(2 * i - 1, 2 ^ 31 - 1)
    end)
  end)

  it("CONTINUATION frames without an end", function()
    local piece = h2.frame(h2.CONTINUATION, 0, 1, h2.field("x", ("y"):rep(1000)))
    ends(20000, piece, h2.frame(h2.HEADERS, 0, 1, h2.field(":method", "GET")))
    ends(200000, h2.frame(h2.CONTINUATION, 0, 1),
      h2.frame(h2.HEADERS, 0, 1, h2.field(":method", "GET")))
  end)

  it("SETTINGS", function()
    ends(20000, h2.settings({ [4] = 65535 }))
    bears(50, h2.settings({ [4] = 65535 }))
  end)

  it("PING", function()
    ends(20000, h2.frame(h2.PING, 0, 0, "12345678"))
    bears(500, h2.frame(h2.PING, 0, 0, "12345678"))
  end)

  it("WINDOW_UPDATE", function()
    ends(100000, h2.window(0, 1))
    bears(5000, h2.window(0, 1))
  end)

  it("PRIORITY", function()
    ends(100000, h2.frame(h2.PRIORITY, 0, 1, four(0) .. "\1"))
  end)

  it("frames of unknown types", function()
    ends(20000, h2.frame(UNKNOWN, 0, 0, "x"))
    bears(500, h2.frame(UNKNOWN, 0, 0, "x"))
  end)

  local POST = h2.headers(1, h2.block(h2.fields({ method = "POST", path = rig.target("sum") })),
    false)
  it("DATA without bytes, and with one", function()
    ends(100000, h2.frame(h2.DATA, 0, 1), POST)
    ends(60000, h2.frame(h2.DATA, 0, 1, "x"), POST)
    ends(60000, h2.frame(h2.DATA, h2.PADDED, 1, "\200" .. ("\0"):rep(200)), POST)
  end)

  it("small pieces of a body, of which it bears thousands", function()
    local client = flood(5000, h2.frame(h2.DATA, 0, 1, "abc"), POST)
    client.conn:send(h2.frame(h2.DATA, h2.END_STREAM, 1))
    assert.equal(rig.sum(("abc"):rep(5000)), client:receive(1).body)
    client:close()
  end)

  it("requests that are refused", function()
    local client = flood(3000, function(i)
      return h2.headers(2 * i - 1, h2.block({ { ":method", "GET" } }), true)
    end)
    client.quiet = false
    pcall(client.read_all, client, 0)
    client:close()
    assert.equal("y", http.get(r.address, rig.target("body=y")).body)
  end)
end)

describe("a header block over HTTP/2", function()
  it("that unpacks to much is refused, without the memory for it", function()
    local r = rig.start(h2.rig())
    finally(function() r:stop() end)
    local client = h2.open(r.address)
    assert.equal("x", client:request({ path = rig.target("body=x") }).body)
    local before = r.server:memory()
    -- An entry of 4,000 bytes in the dynamic table, and 16,000 references of one byte to it.
    local bomb = h2.block(h2.fields({ path = rig.target("body=x") }))
      .. h2.field("x", ("y"):rep(3900), true) .. ("\190"):rep(16000)
    for i = 1, 20 do
      local id = client.next_id
      client.next_id = id + 2
      client.conn:send(h2.headers(id, bomb, true))
      assert.equal(431, client:receive(id).status, i)
    end
    assert.is_true(r.server:memory() - before < ALLOWED)
    assert.equal("x", client:request({ path = rig.target("body=x") }).body)
    client:close()
  end)

  it("that HPACK does not allow ends the connection", function()
    local r = rig.start(h2.rig())
    finally(function() r:stop() end)
    for _, block in ipairs({ "\128", "\255\255\255\255\255\255", "\64\127", "\63\255\255\255\255",
      "\16\131\255\255\255\1a" }) do
      local client = h2.open(r.address)
      client.conn:send(h2.headers(1, block, true))
      client:read_all()
      assert.equal(9, client.goaways[1].code, "COMPRESSION_ERROR")
      client:close()
    end
  end)
end)

describe("windows that stay shut", function()
  it("hold response_memory of each stream, and end by send_timeout", function()
    local r = rig.start(h2.rig({
      settings = "limits = { send_timeout = '2s', response_memory = '64k', spool = 0 }" }))
    finally(function() r:stop() end)
    local other = h2.open(r.address)
    assert.equal("x", other:request({ path = rig.target("body=x") }).body)
    local before = r.server:memory()
    local client = h2.open(r.address, { settings = { [4] = 0 } })
    local ids = {}
    for i = 1, 128 do
      ids[i] = client:send({ path = rig.target("size=10000000&shut") })
    end
    r:wait_started("shut", 128)
    assert.equal("x", other:request({ path = rig.target("body=x") }).body)
    -- 64 KB and a read of 256 KB at most for each
    assert.is_true(r.server:memory() - before < 128 * 384 * 1024 + ALLOWED)
    for _, id in ipairs(ids) do
      client:until_true(function() return (client.streams[id] or {}).reset end, "RST_STREAM came")
    end
    assert.equal("x", client:request({ method = "HEAD", path = rig.target("body=x") }).body
      .. "x")
    client:close()
    other:close()
  end)

  it("of bodies hold what the streams' windows let through", function()
    local r = rig.start(h2.rig({ settings = "limits = { body_timeout = '20s' }",
      on_request = [[do return { backend = "app", docroot = "/srv/app", request_buffering = false }
        end]] }))
    finally(function() r:stop() end)
    local client = h2.open(r.address)
    local before = r.server:memory()
    local piece = ("x"):rep(16384)
    for i = 1, 100 do
      local id = 2 * i - 1
      client.conn:send(h2.headers(id, h2.block(h2.fields({ method = "POST",
        path = rig.target("delay=hold&body=held"),
        headers = { { "content-length", "9000000" } } })),
        false) .. h2.frame(h2.DATA, 0, id, piece) .. h2.frame(h2.DATA, 0, id, piece)
        .. h2.frame(h2.DATA, 0, id, piece))
    end
    client:sync()
    assert.is_true(r.server:memory() - before < 100 * 64 * 1024 + ALLOWED)
    client:close()
    poll.wait(function()
      local _, count = r.server:access():gsub('HTTP/2%.0" 499', "")
      return count == 100
    end, "100 lines of the requests that ended")
  end)
end)

describe("a client that reads nothing", function()
  it("is not read either, once enough waits for it, and ends by send_timeout", function()
    local r = rig.start(h2.rig({ settings = "limits = { send_timeout = '1s', spool = '64M' }" }))
    finally(function() r:stop() end)
    local client = h2.open(r.address, { quiet = true })
    client.conn:send(h2.PREFACE .. h2.settings({ [4] = 2 ^ 31 - 1 }) .. h2.window(0, 2 ^ 30))
    client:send({ path = rig.target("size=50000000") })
    local before = r.server:memory()
    local sent = 0
    while client.conn:try_send(h2.frame(h2.PRIORITY, 0, 1, four(0) .. "\1")) and sent < 5000 do
      sent = sent + 1
    end
    r.server:wait_access('size=50000000 HTTP/2%.0" %d%d%d') -- the application is done: 200
    assert.is_true(r.server:memory() - before < ALLOWED + 8 * MEGABYTE)
    client:close()
  end)
end)

describe("frames that break the rules of HTTP/2", function()
  local r

  setup(function() r = rig.start(h2.rig()) end)
  teardown(function() r:stop() end)

  local BLOCK = h2.block(h2.fields({ path = rig.target("body=x") }))
  local CASES = {
    { "DATA on stream 0", h2.frame(h2.DATA, 0, 0, "x"), 1 },
    { "DATA on a stream that is not open", h2.frame(h2.DATA, 0, 5, "x"), 1 },
    { "HEADERS on stream 0", h2.headers(0, BLOCK, true), 1 },
    { "HEADERS on an even stream", h2.headers(2, BLOCK, true), 1 },
    { "a frame inside a header block", h2.frame(h2.HEADERS, h2.END_STREAM, 1, BLOCK)
      .. h2.frame(h2.PING, 0, 0, "12345678"), 1 },
    { "CONTINUATION without HEADERS", h2.frame(h2.CONTINUATION, h2.END_HEADERS, 1, BLOCK), 1 },
    { "PUSH_PROMISE of a client", h2.frame(h2.PUSH_PROMISE, h2.END_HEADERS, 1, four(2) .. BLOCK),
      1 },
    { "a frame that is too long", h2.frame(h2.DATA, 0, 1, ("x"):rep(16385)), 6 },
    { "PING of another length", h2.frame(h2.PING, 0, 0, "1234567"), 6 },
    { "SETTINGS of another length", h2.frame(h2.SETTINGS, 0, 0, "12345"), 6 },
    { "SETTINGS of a stream", h2.frame(h2.SETTINGS, 0, 1), 1 },
    { "a window that is too large", h2.settings({ [4] = 2 ^ 31 }), 3 },
    { "a window that overflows", h2.window(0, 2 ^ 31 - 1), 3 },
    { "a window increment of 0", h2.window(0, 0), 1 },
    { "more padding than the frame has", h2.headers(1, BLOCK, false)
      .. h2.frame(h2.DATA, h2.PADDED, 1, "\9abc"), 1 },
    { "RST_STREAM of a stream that is not open", h2.reset(7), 1 },
  }

  for _, case in ipairs(CASES) do
    it("end the connection: " .. case[1], function()
      local client = h2.open(r.address, { quiet = true })
      client.conn:send(h2.PREFACE .. h2.settings() .. case[2])
      pcall(client.read_all, client)
      assert.equal(case[3], client.goaways[1].code)
      client:close()
      assert.equal("y", http.get(r.address, rig.target("body=y")).body)
    end)
  end

  it("end it: bytes that are none, after the preface", function()
    for _, bytes in ipairs({ "GET / HTTP/1.1\r\n\r\n", ("\255"):rep(100), h2.PREFACE }) do
      local client = h2.open(r.address, { quiet = true })
      client.conn:send(h2.PREFACE .. bytes)
      pcall(client.read_all, client)
      assert.is_truthy(client.conn.ended)
      client:close()
    end
  end)

  it("end their stream: more DATA than its window has", function()
    local slow = rig.start(h2.rig({ before = 'local moongate = require("moongate")',
      on_request = 'if req.path == "/slow" then moongate.sleep(10) end' }))
    finally(function() slow:stop() end)
    local client = h2.open(slow.address)
    client.conn:send(h2.headers(1, h2.block(h2.fields({ method = "POST", path = "/slow" })), false)
      .. h2.frame(h2.DATA, 0, 1, ("x"):rep(16384)):rep(5))
    assert.equal(h2.FLOW_CONTROL_ERROR, client:receive(1).reset)
    client.next_id = 3
    assert.equal("x", client:request({ path = rig.target("body=x") }).body)
    client:close()
  end)

  it("end nothing: trailers of a stream that the server has done with", function()
    local quick = rig.start(h2.rig({ settings = "limits = { header_timeout = '1s' }",
      on_request = 'do return { status = 200, body = "x" } end' }))
    finally(function() quick:stop() end)
    local client = h2.open(quick.address)
    client.conn:send(h2.headers(1, h2.block(h2.fields({ method = "POST" })), false))
    assert.equal("x", client:receive(1).body)
    client:until_true(function() return client.streams[1].reset end, "RST_STREAM came")
    client.conn:send(h2.headers(1, h2.block({ { "x-a", "b" } }), true))
    client.next_id = 3
    for _ = 1, 4 do
      require("socket").sleep(0.5) -- longer than header_timeout in all
      assert.equal("x", client:request({}).body)
    end
    client:close()
  end)
end)
