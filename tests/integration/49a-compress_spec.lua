-- compress: responses in a content coding, as clients with decoders of their own see them.

local coding = require("tests.support.coding")
local http = require("tests.support.http")
local metrics = require("tests.support.metrics")
local poll = require("tests.support.poll")
local rig = require("tests.support.rig")

local ALL = "gzip, deflate, br, zstd"
local CODINGS = { "gzip", "br", "zstd" }

-- The path's first word says what the decision has.
local ON_REQUEST = [[
local word = req.path:match("^/(%a+)")
local compress
if word == "off" then compress = false end
if word == "small" then compress = { min = 0 } end
if word == "gzip" then compress = { encodings = "gzip", levels = { gzip = 9 } } end
if word == "css" then compress = { types = { "text/css" } } end
if word == "reply" then
  return { status = 200, body = ("reply "):rep(tonumber(req.query) or 1000), compress = compress,
    headers = { ["Content-Type"] = "text/plain", ETag = '"tag"' } }
elseif word == "unbuffered" then
  return { backend = "app", docroot = "/a", response_buffering = false }
elseif word == "whole" then
  return { backend = "app", docroot = "/a", flush = false }
end
do return { backend = "app", docroot = "/a", compress = compress } end
]]

local function encoded(res, name)
  assert.equal(name, res.headers["content-encoding"])
  return coding.text(res)
end

describe("compress", function()
  local r

  setup(function()
    r = rig.start({ on_request = ON_REQUEST,
      settings = [[compress = true, limits = { response_memory = "64k", spool = "64M" }]]})
  end)

  teardown(function()
    r:stop()
  end)

  local function get(commands, accept, more)
    local request = { path = "/x.php?" .. commands, headers = { ["Accept-Encoding"] = accept } }
    for key, value in pairs(more or {}) do
      request[key] = value
    end
    return http.request(r.address, request)
  end

  for _, name in ipairs(CODINGS) do
    it("sends " .. name, function()
      for _, more in ipairs({ "", "&length", "&pieces=7", "&pieces=40&write=900" }) do
        for _, size in ipairs({ 1024, 70000, 3000000 }) do
          local res = get(("type=text/html&size=%d%s"):format(size, more), name)
          assert.equal(rig.pattern(size), encoded(res, name))
          assert.equal("Accept-Encoding", res.headers.vary)
          assert.is_true(#res.body < size / 3, #res.body)
        end
      end
    end)

    it("sends what " .. name .. " can't shrink", function()
      local bytes = rig.bytes(400000)
      local res = http.request(r.address, { method = "POST", path = "/x.php?type=text/plain&echo",
        body = bytes, headers = { ["Accept-Encoding"] = name } })
      assert.is_true(bytes == encoded(res, name))
    end)

    it("sends each part of an event stream at once by " .. name, function()
      local client = http.open(r.address)
      client:send({ path = "/x.php?type=text/event-stream&body=data:%20first%0A%0A&end_delay=hold",
        headers = { ["Accept-Encoding"] = name } })
      local text = ""
      poll.wait(function()
        text = text .. client.conn:read_some(0.2)
        local head, body = text:match("^(.-\r\n\r\n)(.*)$")
        local chunks = {}
        for size, rest in (body or ""):gmatch("(%x+)\r\n()") do
          chunks[#chunks + 1] = body:sub(rest, rest + tonumber(size, 16) - 1)
        end
        return head and coding.decode(name, table.concat(chunks)) == "data: first\n\n"
      end, "the first event")
      r:release()
      client:close()
    end)

    it("leaves an incomplete response without an end by " .. name, function()
      local conn = http.open(r.address).conn
      conn:send(("GET /x.php?type=text/html&size=200000&fail=close-mid-body HTTP/1.1\r\nHost: a\r\n"
        .. "Accept-Encoding: %s\r\n\r\n"):format(name))
      local raw = conn:read_all(poll.PATIENCE)
      conn:close()
      if raw:find("^HTTP/1.1 200") then
        rig.assert_cut(raw)
      else
        assert.truthy(raw:find("^HTTP/1.1 502"))
      end
    end)
  end

  it("chooses by weight, then by its own order", function()
    for _, case in ipairs({
      { ALL, "zstd" }, { "gzip, br", "br" }, { "gzip;q=1, br;q=0.9", "gzip" }, { "*", "zstd" },
      { "*;q=0.5, gzip", "gzip" }, { "zstd;q=0, *", "br" }, { "GZIP", "gzip" },
      { "x-gzip", "gzip" }, { "gzip;q=0" }, { "identity" }, { "" }, { "deflate" }, { nil },
      { "identity;q=1, gzip;q=0.5" }, { "gzip;q=2" }, { "gzip;q=x" }, { "gzip;q=0.0001" },
      { "*;q=0" }, { "gzip;q=0.001", "gzip" }, { "gzip ; q=1.000", "gzip" }, { ",, gzip", "gzip" },
      { { "br;q=0", "gzip" }, "gzip" },
    }) do
      local res = get("type=text/html&size=3000", case[1])
      assert.equal(case[2], res.headers["content-encoding"], tostring(case[1]))
      assert.equal(rig.pattern(3000), coding.text(res))
      assert.equal("Accept-Encoding", res.headers.vary)
    end
  end)

  it("is for listed types, and from a minimum on", function()
    for _, case in ipairs({
      { "type=text/html&size=3000", true }, { "type=TEXT/HTML;charset=x&size=3000", true },
      { "type=image/png&size=3000", false, "no" }, { "type=textile&size=3000", false, "no" },
      { "type=image/svg%2Bxml&size=3000", true }, { "type=text/html&size=1024", true },
      { "type=text/html&size=1023", false }, { "type=text/html&size=1023&length", false },
      { "type=text/html&size=1024&length", true }, { "type=text/html", false },
      { "type=text/html&size=1023&pieces=10", false },
      { "type=text/html&status=404&size=3000", true },
      { "type=text/html&status=304", false }, { "type=text/html&status=206&size=3000", false },
      { "type=text/html&size=3000&header=Content-Encoding:%20x", false, "no" },
      { "type=text/html&size=3000&header=Cache-Control:%20max-age=1,no-transform", false, "no" },
      { "type=text/html&size=3000&header=Content-Digest:%20a", false, "no" },
    }) do
      local res = get(case[1], "gzip")
      local given = case[1]:find("Content-Encoding", 1, true) and "x" or nil
      assert.equal(case[2] and "gzip" or given, res.headers["content-encoding"], case[1])
      assert.equal(not case[3] and "Accept-Encoding" or nil, res.headers.vary, case[1])
      if case[2] == false then
        assert.falsy(res.framing == "chunked" and #res.body < 1024, case[1])
      end
    end
  end)

  it("compresses what a client refuses without a coding, however small", function()
    local res = get("type=text/html&body=a", "gzip, identity;q=0")
    assert.equal("a", encoded(res, "gzip"))
    assert.is_nil(get("type=text/html&body=", "gzip, identity;q=0").headers["content-encoding"])
  end)

  it("changes the headers that tell of the bytes", function()
    local res = get("type=text/html&size=3000&length&header=ETag:%20%22a%22"
      .. "&header=Accept-Ranges:%20bytes&header=Vary:%20Cookie", "gzip")
    assert.equal(rig.pattern(3000), encoded(res, "gzip"))
    assert.equal('W/"a"', res.headers.etag)
    assert.is_nil(res.headers["accept-ranges"])
    assert.equal("Cookie, Accept-Encoding", res.headers.vary)
    assert.equal(tostring(#res.body), res.headers["content-length"])
    res = get("type=text/html&size=3000&header=ETag:%20W/%22a%22&header=Vary:%20accept-encoding",
      "gzip")
    assert.equal('W/"a"', res.headers.etag)
    assert.equal("accept-encoding", res.headers.vary)
    res = get("type=text/html&size=3000&header=ETag:%20%22a%22", nil)
    assert.equal('"a"', res.headers.etag)
  end)

  it("gives a HEAD the headers of a GET, as far as they are known", function()
    local res = get("type=text/html&length=3000&header=ETag:%20%22a%22", "gzip",
      { method = "HEAD" })
    assert.equal("gzip", res.headers["content-encoding"])
    assert.equal('W/"a"', res.headers.etag)
    assert.is_nil(res.headers["content-length"])
    res = get("type=text/html&length=300", "gzip", { method = "HEAD" })
    assert.is_nil(res.headers["content-encoding"])
    assert.equal("300", res.headers["content-length"])
    assert.equal("Accept-Encoding", get("type=text/html", "gzip", { method = "HEAD" }).headers.vary)
  end)

  it("lets an application find its own tag again", function()
    local headers = { ["Accept-Encoding"] = "gzip", ["If-None-Match"] = 'W/"a", "W/b" , W/"c"' }
    local params = rig.params(http.request(r.address, { path = "/x.php?dump", headers = headers }))
    assert.equal('"a", "W/b" , "c"', params.HTTP_IF_NONE_MATCH)
    params = rig.params(http.request(r.address, { path = "/off.php?dump", headers = headers }))
    assert.equal(headers["If-None-Match"], params.HTTP_IF_NONE_MATCH)
    local res = get("status=304&header=ETag:%20%22a%22", "gzip", { headers = headers })
    assert.equal('W/"a"', res.headers.etag)
    assert.equal("Accept-Encoding", res.headers.vary)
  end)

  it("is what the decision says", function()
    local function of(word, commands)
      return http.request(r.address, { path = "/" .. word .. ".php?" .. commands,
        headers = { ["Accept-Encoding"] = ALL } })
    end
    assert.is_nil(of("off", "type=text/html&size=3000").headers["content-encoding"])
    assert.is_nil(of("off", "type=text/html&size=3000").headers.vary)
    assert.equal("a", encoded(of("small", "type=text/html&body=a"), "zstd"))
    assert.equal(rig.pattern(3000), encoded(of("gzip", "type=text/html&size=3000"), "gzip"))
    assert.is_nil(of("css", "type=text/html&size=3000").headers["content-encoding"])
    assert.equal(rig.pattern(3000), encoded(of("css", "type=text/css&size=3000"), "zstd"))
  end)

  it("holds for a reply of the script, up to 1 MB", function()
    local res = http.request(r.address, { path = "/reply?1000",
      headers = { ["Accept-Encoding"] = "br" } })
    assert.equal(("reply "):rep(1000), encoded(res, "br"))
    assert.equal('W/"tag"', res.headers.etag)
    res = http.request(r.address, { path = "/reply?300000",
      headers = { ["Accept-Encoding"] = "br" } })
    assert.equal(1800000, #encoded(res, nil))
  end)

  it("is not for clients of HTTP/1.0", function()
    local res = get("type=text/html&size=3000&length", "gzip", { version = "1.0" })
    assert.equal(rig.pattern(3000), encoded(res, nil))
    assert.equal("3000", res.headers["content-length"])
    assert.equal("Accept-Encoding", res.headers.vary)
  end)

  it("sends what waits for more bytes once the application pauses", function()
    local client = http.open(r.address)
    client:send({ path = "/x.php?type=text/html&size=600&pieces=2&piece_delay=hold",
      headers = { ["Accept-Encoding"] = "gzip" } })
    assert.is_false(client.conn:silent(poll.PATIENCE))
    r:release()
    local res = client:receive()
    client:close()
    assert.equal(rig.pattern(600), encoded(res, "gzip"))
  end)

  it("keeps a response whole with `flush = false`", function()
    local res = http.request(r.address, { path = "/whole.php?type=text/html&size=30000&pieces=9",
      headers = { ["Accept-Encoding"] = "gzip" } })
    assert.equal(rig.pattern(30000), encoded(res, "gzip"))
    assert.equal("length", res.framing)
  end)

  it("answers 502 where the application fails before enough bytes have come", function()
    local res = get("type=text/html&size=900&length=2000&fail=close-mid-body", "gzip")
    assert.equal(502, res.status)
    assert.is_nil(res.headers["content-encoding"])
    assert.equal(rig.pattern(3000), encoded(get("type=text/html&size=3000", "gzip"), "gzip"))
  end)

  it("survives clients that leave, or read nothing for a while", function()
    for _ = 1, 20 do
      local client = http.open(r.address)
      client:send({ path = "/unbuffered.php?type=text/html&size=20000000",
        headers = { ["Accept-Encoding"] = "zstd" } })
      client.conn:read_some(poll.PATIENCE)
      client.conn:reset()
    end
    local bytes = rig.bytes(8000000)
    local client = http.open(r.address)
    client:send({ method = "POST", path = "/unbuffered.php?type=text/plain&echo", body = bytes,
      headers = { ["Accept-Encoding"] = "gzip" } })
    assert.is_false(client.conn:silent(poll.PATIENCE))
    local res = client:receive()
    client:close()
    assert.is_true(bytes == encoded(res, "gzip"))
  end)

  it("takes no more memory for a longer body", function()
    local function memory()
      return r.server:memory() / 1024
    end
    get("type=text/html&size=1000000", "gzip")
    local before = memory()
    local res = get("type=text/html&size=300000000&length", "gzip")
    assert.equal("gzip", res.headers["content-encoding"])
    assert.is_true(memory() - before < 4096, ("%d KB, before %d"):format(memory(), before))
  end)
end)

describe("what compression has done", function()
  it("is counted by coding, over all workers", function()
    local r = rig.start({ control = true, workers = 2, settings = "compress = true" })
    finally(function() r:stop() end)
    assert.is_nil(r:status().compression)
    local expected, target = {}, "type=text/html&size=70000&length"
    assert.equal(70000, #r:get(target).body)
    for _, name in ipairs(CODINGS) do
      local bytes = 0
      for _ = 1, 2 do
        local res = r:get(target, { headers = { ["Accept-Encoding"] = name } })
        assert.equal(rig.pattern(70000), encoded(res, name))
        bytes = bytes + #res.body
      end
      expected[name] = { answers = 2, bytes_in = 140000, bytes_out = bytes }
    end
    local counts = poll.wait(function() -- an answer is counted when it has been made
      local now = r:status().compression
      local all = 0
      for _, one in pairs(now or {}) do
        all = all + one.answers
      end
      return all == 2 * #CODINGS and now
    end, "the answers to be counted")
    assert.same(expected, counts)
    assert.matches("\ncompression: br 2 answers, 137k became %d+k; gzip 2 answers, ",
      r:tell("status"))
    local samples = metrics.samples((metrics.fetch(r.control)))
    local function sample(name, encoding)
      return samples[("moongate_compression_%s_total{encoding=%q}"):format(name, encoding)]
    end
    for name, one in pairs(expected) do
      assert.same({ 2, one.bytes_in, one.bytes_out }, { sample("responses", name),
        sample("input_bytes", name), sample("output_bytes", name) })
    end
  end)
end)
