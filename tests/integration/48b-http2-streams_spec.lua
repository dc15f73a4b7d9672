-- HTTP/2 with much to carry and little time: windows, large bodies, fair shares of a connection,
-- timeouts, and the end of connections at stops and reloads, of which no request may notice.

local h2 = require("tests.support.h2")
local poll = require("tests.support.poll")
local process = require("tests.support.process")
local rig = require("tests.support.rig")
local server = require("tests.support.server")
local stage = require("tests.support.stage")

local MEGABYTE = 1024 * 1024
-- What a worker may keep beside. The sanitizers' allocator keeps what was freed.
local ALLOWED = (server.binary():find("asan", 1, true) and 64 or 8) * MEGABYTE

local function start(options)
  local r = rig.start(h2.rig(options))
  finally(function() r:stop() end)
  return r
end

local function curl(...)
  return process.run({ argv = { "curl", "-sS", "--http2-prior-knowledge", ... } }, 120)
end

-- Many requests at a time on a few connections; how many have succeeded.
local function h2load(r, count, target, ...)
  local result = process.run({ argv = { "h2load", "-n", tostring(count), "-c", "2", "-m", "20",
    "http://" .. r.address .. target, ... } }, 120)
  return tonumber(result.stdout:match("(%d+) succeeded")), result.stdout
end

describe("a large body of HTTP/2", function()
  it("goes up in one piece while small requests go by", function()
    local r = start({ backend = "keepalive = 8" })
    local client = h2.open(r.address)
    local body, asked, ids = ("0123456789abcde\n"):rep(100 * MEGABYTE / 16), 0, {}
    local id = client:post_slowly({ method = "POST", path = rig.target("sum") }, body, function()
      if asked < 1000 then
        asked = asked + 1
        ids[asked] = client:send({ path = rig.target("body=" .. asked) })
        if asked > 50 then
          assert.equal(tostring(asked - 50), client:receive(ids[asked - 50]).body)
        end
      end
    end)
    for i = 951, 1000 do
      assert.equal(tostring(i), client:receive(ids[i]).body)
    end
    assert.is_truthy(client:receive(id, 60).body:find("^length=104857600 fnv=%x+\n$"))
    client:close()
  end)

  it("comes down, of an application and of a file, with flat memory", function()
    local r = start({ settings = "limits = { spool = '16M' }",
      on_request = [[
        if req.path:find("^/file") then return { root = os.getenv("TEST_FILES") } end]],
      server = { env = { TEST_FILES = process.tempdir("files"),
        ASAN_OPTIONS = server.MEASURED.ASAN_OPTIONS } } })
    local folder = r.options.server.env.TEST_FILES
    assert.equal(0, os.execute(("truncate -s 1G %s/file"):format(folder)))
    process.chmod(folder, "755")
    local before = r.server:memory()
    for _, path in ipairs({ "/file", rig.target("size=1000000000") }) do
      local result = curl("-o", "/dev/null", "-w", "%{http_code} %{size_download}",
        "http://" .. r.address .. path)
      assert.equal(path == "/file" and "200 1073741824" or "200 1000000000", result.stdout)
    end
    assert.is_true(r.server:memory() - before < ALLOWED, "memory that is flat")
  end)

  it("of a file is what the file has, whole and in ranges", function()
    local folder = process.tempdir("files")
    local content = rig.bytes(2 * MEGABYTE + 17)
    stage.write(folder, { ["large.bin"] = content, ["small.bin"] = content:sub(1, 40000) })
    process.chmod(folder, "755")
    local r = start({ responder = false, servers = { "127.0.0.1:1" },
      on_request = ("do return { root = %q } end"):format(folder) })
    local client = h2.open(r.address)
    for _ = 1, 2 do
      assert.equal(content, client:request({ path = "/large.bin" }).body)
      assert.equal(content:sub(1, 40000), client:request({ path = "/small.bin" }).body)
    end
    local part = client:request({ path = "/large.bin", headers = { { "range", "bytes=5-70004" } } })
    assert.equal(206, part.status)
    assert.equal(content:sub(6, 70005), part.body)
    local parts = client:request({ path = "/small.bin",
      headers = { { "range", "bytes=0-9,20000-29999" } } })
    assert.is_truthy(parts.body:find(content:sub(20001, 30000), 1, true))
    assert.equal(tonumber(parts.headers["content-length"]), #parts.body)
    client:close()
  end)

  it("of files is right for many streams and windows of all sizes", function()
    local folder = process.tempdir("files")
    local content = rig.bytes(3 * MEGABYTE)
    stage.write(folder, { ["a.bin"] = content, ["b.bin"] = content:sub(1, 65536),
      ["c.bin"] = content:sub(1, 16384 * 3 + 1) })
    process.chmod(folder, "755")
    local r = start({ responder = false, servers = { "127.0.0.1:1" },
      on_request = ("do return { root = %q } end"):format(folder) })
    for _, windows in ipairs({ 1, 16384, 16385, 65535, 100000, 2 ^ 24 }) do
      local client = h2.open(r.address, { settings = { [4] = windows } })
      for _, count in ipairs(windows < 16384 and { 1 } or { 1, 2, 5, 20 }) do
        local asked = {}
        for i = 1, count do
          local name = windows < 16384 and "c" or ({ "a", "b", "c" })[i % 3 + 1]
          local first = i * 7 % 20
          asked[i] = { name = name, first = first, id = client:send({ path = "/" .. name .. ".bin",
            headers = { { "range", ("bytes=%d-"):format(first) } } }) }
        end
        for _, one in ipairs(asked) do
          local size = ({ a = #content, b = 65536, c = 16384 * 3 + 1 })[one.name]
          if windows < 16384 then
            client.conn:send(h2.window(one.id, 100000))
          end
          assert.is_true(content:sub(one.first + 1, size) == client:receive(one.id, 60).body,
            ("%s from %d, window %d, %d streams"):format(one.name, one.first, windows, count))
        end
      end
      client:close()
    end
  end)

  it("breaks off where a file has shrunk", function()
    local folder = process.tempdir("files")
    process.chmod(folder, "755")
    stage.write(folder, { ["a.bin"] = rig.bytes(200000) })
    local r = start({ responder = false, servers = { "127.0.0.1:1" },
      on_request = ("do return { root = %q } end"):format(folder) })
    local client = h2.open(r.address, { quiet = true })
    client.conn:send(h2.PREFACE .. h2.settings())
    local id = client:send({ path = "/a.bin" })
    client:until_true(function()
      local res = client.streams[id]
      return res and res.pieces and #table.concat(res.pieces) == 65535
    end, "the window was used up")
    assert.equal(0, os.execute(("truncate -s 120000 %s/a.bin"):format(folder)))
    client.conn:send(h2.window(0, 2 ^ 20) .. h2.window(id, 2 ^ 20))
    assert.is_truthy(client:receive(id, 60).reset)
    client:close()
  end)

  it("waits in the spool for a client that takes nothing, and is whole", function()
    local r = start({ settings = "limits = { response_memory = '8k', spool = '32M' }" })
    local client = h2.open(r.address, { quiet = true })
    client.conn:send(h2.PREFACE .. h2.settings())
    local id = client:send({ path = rig.target("size=20000000") })
    -- The application is done although the client's window has let 64 KB go.
    poll.wait(function() return #r:events("CLOSE") == 1 end, "the application to be done")
    client.quiet = false
    client.conn:send(h2.window(0, 2 ^ 30) .. h2.window(id, 2 ^ 30))
    assert.equal(rig.pattern(20000000), client:receive(id, 60).body)
    client:close()
  end)

  it("stops its application where nothing may be kept", function()
    local r = start({ settings = "limits = { response_memory = '64k', spool = 0 }" })
    local client = h2.open(r.address, { quiet = true })
    client.conn:send(h2.PREFACE .. h2.settings())
    local id = client:send({ path = rig.target("size=30000000") })
    client:until_true(function()
      local res = client.streams[id]
      return res and res.pieces and #table.concat(res.pieces) == 65535
    end, "the window was used up")
    client:sync()
    assert.is_true(r.server:memory() < 64 * MEGABYTE)
    assert.equal(0, #r:events("CLOSE"))
    client.quiet = false
    client.conn:send(h2.window(0, 2 ^ 30) .. h2.window(id, 2 ^ 30))
    assert.equal(30000000, #client:receive(id, 60).body)
    client:close()
  end)

  it("of a request waits for an application that reads slowly", function()
    local r = start({ on_request = [[do return { backend = "app", docroot = "/srv/app",
      request_buffering = false } end]] })
    local client = h2.open(r.address)
    local body = rig.bytes(8 * MEGABYTE)
    local id = client:post_slowly({ method = "POST", path = rig.target("noread=300&sum"),
      headers = { { "content-length", tostring(#body) } } }, body)
    assert.equal(rig.sum(body), client:receive(id, 60).body)
    -- and one whose answer comes first, so that the rest is not wanted
    id = client.next_id
    client.next_id = id + 2
    client.conn:send(h2.headers(id, h2.block(h2.fields({ method = "POST",
      path = rig.target("early&body=x"),
      headers = { { "content-length", "9000" } } })), false))
    client.conn:send(h2.frame(h2.DATA, 0, id, "some"))
    local res = client:receive(id)
    assert.equal("x", res.body)
    client:until_true(function() return res.reset end, "the rest was declined")
    assert.equal(h2.NO_ERROR, res.reset)
    assert.equal("x", client:request({ path = rig.target("body=x") }).body)
    client:close()
  end)
end)

describe("responses on one connection", function()
  it("share it, where the client says nothing", function()
    local r = start()
    local client = h2.open(r.address)
    -- So large that it is under way still when the application is late with the small one.
    local large = client:send({ path = rig.target("size=500000000") })
    client:until_true(function() return (client.streams[large] or {}).status end, "it began")
    local small = client:send({ path = rig.target("size=100000") })
    assert.equal(rig.pattern(100000), client:receive(small).body)
    assert.is_falsy(client.streams[large].ended)
    client.conn:send(h2.reset(large))
    client:close()
  end)

  it("go in the order of their urgency", function()
    local r = start()
    local client = h2.open(r.address, { quiet = true })
    -- The connection's window is 64 KB.
    client.conn:send(h2.PREFACE .. h2.settings({ [4] = 2 ^ 20 }))
    local late = client:send({ path = rig.target("size=200000&a"),
      headers = { { "priority", "u=6" } } })
    client:until_true(function() return (client.streams[late] or {}).status end, "it began")
    local early = client:send({ path = rig.target("size=200000&b"),
      headers = { { "priority", "u=1" } } })
    r:wait_started("b$", 1)
    poll.wait(function() return #r:events("CLOSE") == 2 end, "both answers")
    client:sync()
    client.conn:send(h2.window(0, 2 ^ 30))
    client:receive(early)
    assert.is_falsy(client.streams[late].ended)
    assert.equal(200000, #client:receive(late).body)
    client:close()
  end)
end)

describe("time-outs of HTTP/2", function()
  it("end a stream without a window, and no other", function()
    local r = start({ settings = "limits = { send_timeout = '1s' }" })
    local client = h2.open(r.address, { settings = { [4] = 0 } })
    local id = client:send({ path = rig.target("size=1000") })
    client:until_true(function() return (client.streams[id] or {}).reset end, "RST_STREAM came")
    r.server:wait_access('size=1000 HTTP/2%.0" 200')
    assert.equal("", table.concat(client.streams[id].pieces))
    assert.equal(404, client:request({ method = "HEAD", path = rig.target("status=404") }).status)
    client:close()
  end)

  it("end a body that does not come", function()
    local r = start({ settings = "limits = { body_timeout = '1s' }" })
    local client = h2.open(r.address)
    client.conn:send(h2.headers(1, h2.block(h2.fields({ method = "POST",
      path = rig.target("sum") })), false))
    assert.equal(408, client:receive(1).status)
    client.next_id = 3
    assert.equal("x", client:request({ path = rig.target("body=x") }).body)
    client:close()
  end)

  it("end a connection whose header block does not", function()
    local r = start({ settings = "limits = { header_timeout = '1s' }" })
    local client = h2.open(r.address, { quiet = true })
    client.conn:send(h2.PREFACE .. h2.settings()
      .. h2.frame(h2.HEADERS, 0, 1, h2.field(":method", "GET")))
    client:read_all()
    assert.equal(h2.ENHANCE_YOUR_CALM, client.goaways[1].code)
    client:close()
  end)

  it("end an idle connection, and one that has only begun", function()
    for _, time in ipairs({ "1s", "3s" }) do -- before and after its session is packed
      local r = start({ settings = ("limits = { keepalive_timeout = %q, header_timeout = '1s' }")
        :format(time) })
      local client = h2.open(r.address)
      assert.equal("x", client:request({ path = rig.target("body=x") }).body)
      client:read_all()
      assert.same({ { last = 1, code = 0 } }, client.goaways)
      client:close()
      client = h2.open(r.address, { quiet = true })
      client.conn:send("PRI * HT")
      assert.equal("", client.conn:read_all())
      client:close()
    end
  end)

  it("leave a connection alone that has a stream", function()
    local r = start({ settings = "limits = { keepalive_timeout = '1s' }" })
    local client = h2.open(r.address)
    assert.equal("x", client:request({ path = rig.target("delay=2500&body=x") }).body)
    client:close()
  end)
end)

describe("a connection of HTTP/2 ends", function()
  it("after keepalive_requests, and no request fails", function()
    local r = start({ settings = "limits = { keepalive_requests = 5 }" })
    local client = h2.open(r.address)
    for i = 1, 5 do
      assert.equal(tostring(i), client:request({ path = rig.target("body=" .. i) }).body)
    end
    client:read_all()
    assert.equal(2 ^ 31 - 1, client.goaways[1].last)
    assert.equal(9, client.goaways[#client.goaways].last)
    client:close()
  end)

  it("behind its streams when the server stops", function()
    local r = start({ dies = true })
    local client = h2.open(r.address)
    local id = client:send({ path = rig.target("delay=hold&body=held") })
    r:wait_started("held", 1)
    r.server.process:kill("TERM")
    client:until_true(function() return client.goaways[1] end, "it said that it goes")
    -- What was on its way is served; PINGs are answered by the client.
    local more = client:send({ path = rig.target("body=more") })
    local res = client:receive(more)
    assert.equal("more", res.body, ("%s %s"):format(res.status, res.reset))
    client:until_true(function() return client.goaways[2] end, "it named the last stream")
    assert.same({ last = more, code = 0 }, client.goaways[2])
    r:release()
    assert.equal("held", client:receive(id).body)
    client:read_all()
    client:close()
  end)

  it("with 503 for requests that a stop does not wait for", function()
    local r = start({ settings = "stop_timeout = '1s'", dies = true })
    local client = h2.open(r.address)
    local id = client:send({ path = rig.target("delay=hold&body=held") })
    r:wait_started("held", 1)
    r.server.process:kill("TERM")
    local res = client:receive(id)
    assert.equal(503, res.status)
    client:read_all()
    client:close()
    r:release()
  end)

  it("when a reload replaces its worker; of many requests none fails", function()
    local r = start({ backend = "keepalive = 8" })
    local idle = h2.open(r.address)
    assert.equal("x", idle:request({ path = rig.target("body=x") }).body)
    local client, connections = h2.open(r.address), 1
    local function ask()
      if client.goaways[1] then -- what follows belongs on another connection
        client:close()
        client, connections = h2.open(r.address), connections + 1
      end
      local ids = {}
      for i = 1, 5 do
        ids[i] = client:send({ path = rig.target("size=20000") })
      end
      for i = 1, 5 do
        assert.equal(rig.pattern(20000), client:receive(ids[i]).body)
      end
    end
    for generation = 2, 4 do
      local from = r.server:mark()
      r.server:rewrite(r:route())
      r.server.process:kill("HUP")
      repeat
        ask()
      until r.server:errors():find(("generation %d serves"):format(generation), from, true)
    end
    ask()
    assert.is_true(connections >= 3, connections .. " connections")
    client:close()
    idle:read_all()
    assert.equal(1, idle.goaways[#idle.goaways].last)
    idle:close()
  end)

  it("not at a reload that its worker survives", function()
    local r = start({ workers = 2 })
    local client = h2.open(r.address)
    assert.equal("x", client:request({ path = rig.target("body=x") }).body)
    r.server:reload(r:route())
    assert.equal("y", client:request({ path = rig.target("body=y") }).body)
    assert.same({}, client.goaways)
    client:close()
  end)
end)

describe("commands and limits", function()
  it("see streams as requests", function()
    local r = start({ control = true })
    local client = h2.open(r.address)
    local id = client:send({ path = rig.target("delay=hold&body=held") })
    r:wait_started("held", 1)
    local listed = r:tell("requests")
    assert.is_truthy(listed:find("delay=hold", 1, true), listed)
    r:tell("kill", listed:match("\n(%x+)") or listed:match("(%x%x%x%x%x%x%x%x+)"))
    assert.equal(503, client:receive(id).status)
    r:release()
    assert.equal("x", client:request({ path = rig.target("body=x") }).body)
    client:close()
  end)

  it("hold for a connection, behind the PROXY protocol, too", function()
    local address = "127.0.0.1:" .. require("tests.support.net").free_port()
    local r = rig.start({ settings = ([[trusted_proxies = "127.0.0.1", watch = false, workers = 1,
      listen = { { address = %q, h2c = true, proxy_protocol = true } } ]]):format(address),
      server = { own = true, address = address } })
    finally(function() r:stop() end)
    local conn = require("tests.support.net").connect(address)
    conn:send("PROXY TCP4 192.0.2.7 192.0.2.8 4711 80\r\n")
    local client = h2.over(conn)
    local params = rig.params(client:request({ path = rig.target("dump") }))
    assert.equal("192.0.2.7", params.REMOTE_ADDR)
    client:close()
  end)

  it("do not lose requests of several connections under load", function()
    local r = start({ backend = "keepalive = 8", workers = 2 })
    local count, out = h2load(r, 5000, rig.target("size=3000"))
    assert.equal(5000, count, out)
  end)
end)
