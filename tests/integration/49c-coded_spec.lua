-- Kept responses in content codings: what is coded once, who gets it, and what it goes with.

local coding = require("tests.support.coding")
local http = require("tests.support.http")
local poll = require("tests.support.poll")
local process = require("tests.support.process")
local rig = require("tests.support.rig")

local LARGE = 300000
local CODINGS = { "gzip", "br", "zstd" }

-- A server whose decisions have this `cache`, with a control listener for its counts.
local function start(cache, options)
  options = options or {}
  local path = options.path or process.tempdir("coded")
  if not options.path then
    assert(os.execute("chmod 1777 " .. process.quote(path)) == 0)
  end
  options.workers = options.workers or 2
  options.control = true
  options.settings = ("cache = { path = %q, size = %q }, compress = %s%s"):format(path,
    options.size or "16M", options.compress or "true",
    options.settings and ", " .. options.settings or "")
  options.on_request = options.on_request or ([[
    do return { backend = "app", docroot = "/srv/app", cache = %s } end]]):format(cache)
  local r = rig.start(options)
  finally(function() r:stop() end)
  return r
end

local function metric(r, name)
  local text = http.request(r.control, { path = "/metrics" }).body
  return tonumber(text:match("\n" .. name .. " (%d+)\n"))
end

-- How many coded bodies are kept.
local function kept(r)
  return metric(r, "moongate_cache_coded")
end

local function get(r, commands, accept, headers, method)
  local all = { ["Accept-Encoding"] = accept }
  for name, value in pairs(headers or {}) do
    all[name] = value
  end
  return r:get(commands, { headers = all, method = method })
end

-- A response whose body is coded, with a known length.
local function assert_kept(res, name, body)
  assert.same({ 200, "hit", name, tostring(#res.body), "Accept-Encoding" }, { res.status,
    res.headers["x-cache"], res.headers["content-encoding"], res.headers["content-length"],
    res.headers.vary })
  local text, whole = coding.decode(name, res.body)
  assert.is_true(whole)
  assert.equal(body, text)
end

describe("a kept response", function()
  for _, size in ipairs({ 20000, LARGE }) do
    it(("of %d bytes is coded once for each coding, by its first client"):format(size), function()
      local r = start("{ ttl = '1h' }")
      local commands = ("size=%d&type=text/html&header=ETag:%%20%%22v1%%22"):format(size)
      local plain = rig.pattern(size)
      assert.equal("miss", get(r, commands, "gzip").headers["x-cache"])
      for _, name in ipairs(CODINGS) do
        for i = 1, 6 do -- over both workers
          local res = get(r, commands, name)
          assert.same({ "hit", name, 'W/"v1"' }, { res.headers["x-cache"],
            res.headers["content-encoding"], res.headers.etag })
          assert.is_nil(res.headers["accept-ranges"])
          if i > 1 then
            assert_kept(res, name, plain)
          end
          assert.equal(plain, coding.text(res))
        end
      end
      assert.equal(3, kept(r))
      assert.equal(1, metric(r, "moongate_cache_responses"))
      assert.equal(1, metric(r, "moongate_cache_stored_total"))
      local res = get(r, commands, nil)
      assert.same({ "hit", plain, '"v1"' }, { res.headers["x-cache"], res.body, res.headers.etag })
    end)
  end

  it("is coded by the miss, unless that was flushed on its way", function()
    local r = start("{ ttl = '1h' }")
    local count = 0
    poll.wait(function() -- the application may pause on a busy machine
      count = count + 1
      local commands = "size=20000&type=text/html&x=" .. count
      local before = kept(r)
      local res = get(r, commands, "gzip")
      assert.same({ "miss", rig.pattern(20000) }, { res.headers["x-cache"], coding.text(res) })
      return kept(r) == before + 1
    end, "a coded body of a miss")
  end)

  it("has HEAD, ranges and conditions beside its codings", function()
    local r = start("{ ttl = '1h' }")
    local commands = "size=20000&type=text/html&header=ETag:%20%22v1%22"
    local plain = rig.pattern(20000)
    get(r, commands, "gzip")
    get(r, commands, "gzip")
    local res = get(r, commands, "gzip")
    assert_kept(res, "gzip", plain)
    local head = get(r, commands, "gzip", nil, "HEAD")
    assert.same({ 200, "gzip", tostring(#res.body), 'W/"v1"', "" }, { head.status,
      head.headers["content-encoding"], head.headers["content-length"], head.headers.etag,
      head.body })
    local part = get(r, commands, "gzip", { Range = "bytes=16-31" })
    assert.same({ 206, plain:sub(17, 32) }, { part.status, part.body })
    assert.is_nil(part.headers["content-encoding"])
    assert.equal('"v1"', part.headers.etag)
    -- The tag of a coded body is weak, so If-Range does not hold for it: the whole comes.
    assert_kept(get(r, commands, "gzip", { Range = "bytes=16-31", ["If-Range"] = 'W/"v1"' }),
      "gzip", plain)
    assert.equal(206, get(r, commands, "gzip", { Range = "bytes=16-31", ["If-Range"] = '"v1"' })
      .status)
    for _, tag in ipairs({ 'W/"v1"', '"v1"' }) do
      local same = get(r, commands, "gzip", { ["If-None-Match"] = tag })
      assert.same({ 304, "", tag, "Accept-Encoding" }, { same.status, same.body,
        same.headers.etag, same.headers.vary })
      assert.is_nil(same.headers["content-encoding"])
    end
    assert_kept(get(r, commands, "gzip", { ["If-None-Match"] = '"other"' }), "gzip", plain)
  end)

  it("of another status is coded once, too", function()
    local r = start("true")
    local commands = "status=404&size=5000&type=text/html&header=Cache-Control:%20max-age=60"
    get(r, commands, "br")
    get(r, commands, "br")
    local res = get(r, commands, "br")
    assert.same({ 404, "hit", "br", tostring(#res.body) }, { res.status, res.headers["x-cache"],
      res.headers["content-encoding"], res.headers["content-length"] })
    assert.equal(rig.pattern(5000), coding.text(res))
  end)

  it("is not coded where `compress` would not", function()
    local r = start("{ ttl = '1h' }")
    for _, commands in ipairs({ "size=20000&type=image/png", "size=100&type=text/html",
      "size=20000&type=text/html&header=Cache-Control:%20no-transform",
      "size=20000&type=text/html&header=Content-Encoding:%20x" }) do
      for _ = 1, 3 do
        local coded = get(r, commands, "gzip").headers["content-encoding"]
        assert.is_true(coded == nil or coded == "x", commands)
      end
    end
    assert.equal(0, kept(r))
    get(r, "size=20000&type=text/html", "identity")
    assert.equal(rig.pattern(20000), get(r, "size=20000&type=text/html", "identity").body)
    assert.equal(0, kept(r))
  end)

  it("is coded anew when the response is", function()
    local r = start("{ ttl = '1h', key = 'one', tags = 'page' }")
    get(r, "size=20000&type=text/html", "gzip")
    get(r, "size=20000&type=text/html", "gzip")
    assert_kept(get(r, "size=20000&type=text/html", "gzip"), "gzip", rig.pattern(20000))
    assert.equal("1 response removed\n", r:tell("purge", "--tag", "page"))
    assert.equal(0, kept(r))
    assert.equal(0, metric(r, "moongate_cache_bytes"))
    get(r, "size=30000&type=text/html", "gzip")
    get(r, "size=30000&type=text/html", "gzip")
    assert_kept(get(r, "size=30000&type=text/html", "gzip"), "gzip", rig.pattern(30000))
    assert.equal(1, kept(r))
  end)

  it("is coded anew at another level", function()
    local r = start("{ ttl = '1h' }", { compress = "{ levels = { gzip = 1 } }", workers = 1 })
    local commands = "size=20000&type=text/html"
    get(r, commands, "gzip")
    get(r, commands, "gzip")
    local fast = get(r, commands, "gzip")
    assert_kept(fast, "gzip", rig.pattern(20000))
    r.server:reload((r:route():gsub("gzip = 1", "gzip = 9")))
    get(r, commands, "gzip")
    local small = get(r, commands, "gzip")
    assert_kept(small, "gzip", rig.pattern(20000))
    assert.not_equal(fast.body, small.body)
    assert.equal(1, kept(r))
  end)

  it("that was flushed on its way is coded for its first hit", function()
    local r = start("{ ttl = '1h' }")
    local commands = "size=20000&type=text/html&pieces=2&piece_delay=hold"
    local client = http.open(r.address)
    client:send({ path = rig.target(commands), headers = { ["Accept-Encoding"] = "gzip" } })
    assert.is_false(client.conn:silent(poll.PATIENCE))
    r:release()
    local res = client:receive()
    client:close()
    assert.same({ "miss", "gzip" }, { res.headers["x-cache"], res.headers["content-encoding"] })
    assert.equal(0, kept(r))
    get(r, commands, "gzip")
    assert_kept(get(r, commands, "gzip"), "gzip", rig.pattern(20000))
  end)

  it("is sent coded while it is stale", function()
    local r = start("{ ttl = '0.05s', stale = '1h' }")
    local commands = "size=20000&type=text/html"
    get(r, commands, "gzip")
    r.back:stop()
    r.back = nil
    local res = poll.wait(function()
      local one = get(r, commands, "gzip")
      return one.headers["x-cache"] == "stale" and one.headers["content-length"] and one
    end, "a stale response")
    assert.same({ "gzip", tostring(#res.body) }, { res.headers["content-encoding"],
      res.headers["content-length"] })
    assert.equal(rig.pattern(20000), coding.text(res))
  end)

  it("is coded whole for a client that reads slowly, and for one that leaves", function()
    local r = start("{ ttl = '1h' }", { workers = 1, size = "128M",
      settings = "limits = { response_memory = '64k', spool = 0 }" })
    local commands = "size=12000000&type=text/plain"
    local body = get(r, commands, nil).body
    for _ = 1, 2 do
      local client = http.open(r.address)
      client:send({ path = rig.target(commands), headers = { ["Accept-Encoding"] = "gzip" } })
      client.conn:read_some(poll.PATIENCE)
      client.conn:reset()
    end
    poll.wait(function()
      local res = get(r, commands, "gzip")
      assert.is_true(coding.text(res) == body)
      return res.headers["content-length"] ~= nil
    end, "a kept body")
  end)
end)

describe("a 304 of the application", function()
  local AGAIN = "status=304&header=X-A:%202&header=Cache-Control:%20max-age=1000&header=Age:%2010"
    .. "&header=Expires:%20Sun,%2006%20Nov%202994%2008:49:37%20GMT&header=Content-Length:%200"

  local function begin(headers)
    local r = start("{ stale = '1h', key = 'one' }")
    local commands = "size=20000&type=text/html&header=X-A:%201&header=X-B:%201"
      .. "&header=Cache-Control:%20max-age=1" .. headers
    get(r, commands, "gzip")
    get(r, commands, "gzip")
    return r
  end

  -- Asks until the kept response is not fresh any more, and the application is asked.
  local function until_asked(r, commands)
    return poll.wait(function()
      local res = get(r, commands, nil)
      return res.headers["x-cache"] == "miss" and res
    end, "a miss")
  end

  it("replaces the headers of what is kept, for all workers", function()
    local r = begin("&header=ETag:%20%22v1%22")
    local res = until_asked(r, AGAIN .. "&header=ETag:%20%22v1%22")
    for i = 1, 12 do
      assert.same({ 200, rig.pattern(20000), "2", "1", "max-age=1000", '"v1"', "text/html",
        "Sun, 06 Nov 2994 08:49:37 GMT" }, { res.status, coding.text(res), res.headers["x-a"],
        res.headers["x-b"], res.headers["cache-control"],
        (res.headers.etag:gsub("^W/", "")), res.headers["content-type"], res.headers.expires })
      assert.equal(1, #res:all("age"))
      assert.is_true(tonumber(res.headers.age) >= 10)
      res = get(r, "never", i % 2 == 0 and "gzip" or nil)
      assert.equal("hit", res.headers["x-cache"])
    end
    assert.equal(1, metric(r, "moongate_cache_responses"))
    assert.equal(1, metric(r, "moongate_cache_stored_total"))
    -- A later one replaces them again, and a purge takes all.
    assert.equal("1 response removed\n", r:tell("purge", "--all"))
    assert.equal(0, metric(r, "moongate_cache_bytes"))
  end)

  it("is about another response where its tag is another one", function()
    for _, tags in ipairs({ { "%22v1%22", "%22v2%22" }, { "%22v1%22", "W/%22v2%22" },
      { "W/%22v1%22", "%22v2%22" } }) do
      local r = begin("&header=ETag:%20" .. tags[1])
      local res = until_asked(r, AGAIN .. "&header=ETag:%20" .. tags[2])
      assert.same({ 200, rig.pattern(20000), "1" }, { res.status, res.body, res.headers["x-a"] })
      res = get(r, "body=new", nil)
      assert.same({ "miss", "new" }, { res.headers["x-cache"], res.body })
    end
  end)

  it("is about the same where only one of its tags is weak", function()
    local r = begin("&header=ETag:%20%22v1%22")
    until_asked(r, AGAIN .. "&header=ETag:%20W/%22v1%22")
    assert.equal("hit", get(r, "never", nil).headers["x-cache"])
  end)

  it("does not let a date join a part of a coded body and one of the plain body", function()
    local DATE = "Sun, 06 Nov 1994 08:49:37 GMT"
    local r = start("{ ttl = '1h' }")
    local commands = "size=20000&type=text/html&header=Last-Modified:%20" .. DATE:gsub(" ", "%%20")
    local function status(codings)
      return r:get(commands, { headers = { ["Accept-Encoding"] = codings, Range = "bytes=10-",
        ["If-Range"] = DATE } }).status
    end
    get(r, commands, "gzip")
    assert.equal("hit", get(r, commands, "gzip").headers["x-cache"])
    assert.equal(200, status("gzip"))
    assert.equal(206, status(nil))
  end)

  it("ends what is kept where its headers forbid that", function()
    local r = begin("&header=ETag:%20%22v1%22")
    local res = until_asked(r, "status=304&header=Cache-Control:%20no-store")
    assert.same({ 200, rig.pattern(20000) }, { res.status, res.body })
    assert.equal("miss", get(r, "body=new", nil).headers["x-cache"])
  end)
end)

describe("a file", function()
  local TEXT = ("a line of a text that is worth it\n"):rep(3000)

  -- A server of the files, which are older than a second.
  local function serve(files, options)
    options = options or {}
    local root = process.tempdir("files")
    for name, text in pairs(files) do
      process.write_file(root .. "/" .. name, text)
      assert(os.execute("touch -d '1 hour ago' " .. process.quote(root .. "/" .. name)) == 0)
    end
    options.on_request = ("do return { root = %q } end"):format(root)
    local r = start(nil, options)
    local function ask(path, accept, more, method)
      local headers = { ["Accept-Encoding"] = accept }
      for name, value in pairs(more or {}) do
        headers[name] = value
      end
      return http.request(r.address, { path = path, headers = headers, method = method })
    end
    return r, ask, root
  end

  -- Asks until the body is kept, which a HEAD tells by its length: that of a file which was written
  -- now is not, for a second.
  local function until_kept(ask, path, name)
    poll.wait(function()
      assert.equal(name, ask(path, name).headers["content-encoding"])
      return ask(path, name, nil, "HEAD").headers["content-length"]
    end, "a kept body of " .. path)
    return ask(path, name)
  end

  it("is compressed once for each coding", function()
    local r, ask = serve({ ["a.css"] = TEXT, ["large.txt"] = TEXT:rep(9) })
    for path, text in pairs({ ["/a.css"] = TEXT, ["/large.txt"] = TEXT:rep(9) }) do
      local plain = ask(path, nil)
      for _, name in ipairs(CODINGS) do
        local res = until_kept(ask, path, name)
        assert.equal(text, coding.text(res))
        assert.same({ "W/" .. plain.headers.etag, plain.headers["last-modified"],
          plain.headers["content-type"], "Accept-Encoding" }, { res.headers.etag,
          res.headers["last-modified"], res.headers["content-type"], res.headers.vary })
        assert.is_nil(res.headers["accept-ranges"])
        local head = ask(path, name, nil, "HEAD")
        assert.same({ name, tostring(#res.body) }, { head.headers["content-encoding"],
          head.headers["content-length"] })
        assert.equal(304, ask(path, name, { ["If-None-Match"] = res.headers.etag }).status)
        local part = ask(path, name, { Range = "bytes=5-9" })
        assert.same({ 206, text:sub(6, 10) }, { part.status, part.body })
        assert.is_nil(part.headers["content-encoding"])
      end
    end
    assert.equal(6, kept(r))
    assert.equal(0, metric(r, "moongate_cache_responses"))
  end)

  it("that has changed is compressed anew", function()
    local _, ask, root = serve({ ["a.css"] = TEXT })
    until_kept(ask, "/a.css", "gzip")
    process.write_file(root .. "/a.css", "changed\n" .. TEXT)
    assert.equal("changed\n" .. TEXT, coding.text(ask("/a.css", "gzip")))
    assert.equal("changed\n" .. TEXT, coding.text(until_kept(ask, "/a.css", "gzip")))
  end)

  it("above `keep`, or with keep = false, is compressed each time", function()
    for _, keep in ipairs({ "'64k'", "false" }) do
      local r, ask = serve({ ["a.css"] = TEXT, ["b.css"] = TEXT:rep(9) },
        { compress = ("{ keep = %s }"):format(keep) })
      for _ = 1, 5 do
        assert.equal(TEXT:rep(9), coding.text(ask("/b.css", "gzip")))
        assert.is_nil(ask("/b.css", "gzip", nil, "HEAD").headers["content-length"])
      end
      assert.equal(0, kept(r))
    end
  end)

  it("is compressed each time where the folder can't be used", function()
    local r, ask = serve({ ["a.css"] = TEXT }, { path = "/nonexistent" })
    poll.wait(function()
      assert.equal(TEXT, coding.text(ask("/a.css", "gzip")))
      return r.server:errors():find("cache%.path /nonexistent can't be used")
    end, "the line about the folder")
    assert.equal(TEXT, coding.text(ask("/a.css", "gzip")))
  end)
end)
