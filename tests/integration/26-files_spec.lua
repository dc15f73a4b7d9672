-- Static files in parts: Range, If-Range and what RFC 9110 says about them (sections 13 and 14),
-- for files that are read with the head and for those that are sent by the kernel.

local http = require("tests.support.http")
local process = require("tests.support.process")
local rig = require("tests.support.rig")
local server = require("tests.support.server")
local stage = require("tests.support.stage")

local ROUTE = [[
return {
  control = false,
  on_request = function(req)
    return { root = %q, path = req.path, headers = { ["X-Mine"] = "yes" } }
  end,
}
]]

local SMALL, LARGE = "small.txt", "large.bin"
local content = { [SMALL] = rig.bytes(1000), [LARGE] = rig.bytes(3000000), ["empty.txt"] = "" }

describe("headers of a decision", function()
  local s, root

  setup(function()
    root = stage.files({ ["a.txt"] = "0123456789", ["folder/index.html"] = "the index",
      [".hidden"] = "hidden", ["app.php"] = "<?php", ["errors/gone.html"] = "a page" })
    s = server.start({ route = ([[
      local root = %q
      local headers = { ["X-Mine"] = "yes", ["Access-Control-Allow-Origin"] = "*",
        ["Content-Security-Policy"] = "default-src 'self'", Link = { "</a>", "</b>" },
        ["Cache-Control"] = "max-age=9", ["Content-Type"] = "text/x-mine" }
      local decisions = {
        try = { root = root, try = { "$path", "/nothing" }, headers = headers },
        down = { backend = "down", headers = headers },
        replaced = { backend = "down", headers = headers },
        reply = { status = 410, headers = headers },
        shut = { backend = "down", strip = "/other", headers = headers },
      }
      return { control = false, backends = { down = "unix:/nonexistent/x.sock" },
        on_request = function(req)
          local name = req.args.decision
          return decisions[name] or { root = root, headers = headers }
        end,
        on_error = function(req)
          return req.args.decision == "replaced" and { root = root, path = "/errors/gone.html" }
            or nil
        end }]]):format(root) })
  end)

  teardown(function() s:stop() end)

  it("hold for whatever is answered", function()
    for _, case in ipairs({
      { 200, "/a.txt" }, { 404, "/nothing" }, { 403, "/.hidden" }, { 403, "/app.php" },
      { 404, "/errors/" }, { 200, "/folder/" }, { 301, "/folder" }, { 405, "/a.txt", "POST" },
      { 204, "/a.txt", "OPTIONS" }, { 404, "/nothing", "HEAD" },
      { 416, "/a.txt", "GET", { Range = "bytes=99-" } },
      { 206, "/a.txt", "GET", { Range = "bytes=0-1" } },
      { 412, "/a.txt", "GET", { ["If-Match"] = '"x"' } },
      { 304, "/a.txt", "GET", { ["If-None-Match"] = "*" } },
      { 404, "/a.txt/?decision=try" }, { 503, "/?decision=down" }, { 503, "/?decision=replaced" },
      { 404, "/x?decision=shut" },
    }) do
      local res = http.request(s.address, { path = case[2], method = case[3], headers = case[4] })
      local what = ("%s %s"):format(case[3] or "GET", case[2])
      assert.equal(case[1], res.status, what)
      assert.equal("yes", res.headers["x-mine"], what)
      assert.equal("*", res.headers["access-control-allow-origin"], what)
      assert.equal("default-src 'self'", res.headers["content-security-policy"], what)
      assert.same({ "</a>", "</b>" }, res:all("link"), what)
      -- Of what describes the content nothing holds for another one.
      local own = case[1] < 300 and case[1] ~= 204 or case[1] == 304
      assert.equal(own and "max-age=9" or nil, res.headers["cache-control"], what)
      if not own and case[3] ~= "OPTIONS" and case[1] ~= 301 then
        assert.matches("^text/html", res.headers["content-type"], what)
      end
    end
  end)
end)

describe("a file in the place of an application's answer", function()
  it("is sent whatever the method was, which was the application's", function()
    local root = stage.files({ ["thanks.html"] = "thanks" })
    local r = rig.start({ before = ("local ROOT = %q"):format(root),
      settings = "on_response = function() return { file = ROOT .. '/thanks.html' } end" })
    finally(function() r:stop() end)
    for _, method in ipairs({ "GET", "POST", "PUT", "DELETE", "OPTIONS" }) do
      local res = r:get("", { method = method, body = method == "POST" and "a=b" or nil })
      assert.equal(200, res.status, method)
      assert.equal("thanks", res.body, method)
    end
  end)
end)

describe("a file in the place of an error", function()
  it("is sent whole, with the error's status, whatever the client has", function()
    local root = stage.files({ ["down.html"] = "0123456789", ["folder/index.html"] = "an index" })
    local s = server.start({ route = ([[
      return { control = false, backends = { down = "unix:/nonexistent/x.sock" },
        on_request = function(req)
          return req.query == "page" and { root = %q, path = "/down.html" } or { backend = "down" }
        end,
        on_error = function(req)
          return { root = %q, path = req.query == "folder" and "/folder" or "/down.html",
            headers = { ["X-Page"] = "yes" } }
        end }]]):format(root, root) })
    finally(function() s:stop() end)
    local tag = http.get(s.address, "/x?page").headers.etag
    for _, headers in ipairs({
      {}, { Range = "bytes=0-1" }, { Range = "bytes=99-" }, { ["If-None-Match"] = "*" },
      { ["If-None-Match"] = tag }, { ["If-Match"] = '"other"' },
      { ["If-Modified-Since"] = "Fri, 01 Jan 2100 00:00:00 GMT" },
      { ["If-Unmodified-Since"] = "Sat, 01 Jan 2000 00:00:00 GMT" },
    }) do
      for _, method in ipairs({ "GET", "HEAD", "POST", "OPTIONS" }) do
        local res = http.request(s.address, { path = "/x", method = method, headers = headers })
        assert.equal(503, res.status, next(headers))
        assert.equal(method == "HEAD" and "" or "0123456789", res.body)
        assert.equal("10", res.headers["content-length"])
        assert.equal("yes", res.headers["x-page"])
        for _, name in ipairs({ "etag", "last-modified", "accept-ranges", "content-range" }) do
          assert.is_nil(res.headers[name], name)
        end
      end
    end
    local res = http.get(s.address, "/x?folder")
    assert.equal(503, res.status)
    assert.is_nil(res.headers.location)
  end)
end)

describe("a folder that a decision names without a slash", function()
  it("shows its index where the client's path has the slash, and leads there where it has none",
    function()
      local root = stage.files({ ["site/index.html"] = "the index", ["empty/x"] = "" })
      local s = server.start({ route = ([[
        return { control = false, on_request = function(req)
          return { root = %q, path = req.path:match("empty") and "/empty" or "/site" }
        end }]]):format(root) })
      finally(function() s:stop() end)
      local function get(path)
        return http.get(s.address, path)
      end
      assert.equal("the index", get("/").body)
      assert.equal("the index", get("/any/").body)
      assert.equal(404, get("/empty/").status)
      local res = get("/any")
      assert.equal(301, res.status)
      assert.equal("/any/", res.headers.location)
    end)
end)

describe("an index", function()
  it("that is there and can't be served is not passed over", function()
    local root, outside = stage.files({
      ["none/x"] = "", ["next/b.html"] = "b", ["folder/a.html/x"] = "", ["folder/b.html"] = "b",
      ["locked/a.html"] = "a", ["locked/b.html"] = "b", ["source/x.php"] = "<?php secret",
      ["source/b.html"] = "b", ["out/b.html"] = "b", ["pipe/b.html"] = "b",
      ["within/real.html"] = "a", ["within/b.html"] = "b",
    }), stage.files({ ["secret.html"] = "secret" })
    for _, argv in ipairs({
      { "ln", "-s", "x.php", root .. "/source/a.html" }, { "mkfifo", root .. "/pipe/a.html" },
      { "ln", "-s", outside .. "/secret.html", root .. "/out/a.html" },
      { "ln", "-s", "real.html", root .. "/within/a.html" },
      { "chmod", "000", root .. "/locked/a.html" },
    }) do
      assert.equal(0, process.run({ argv = argv }).code)
    end
    local s = server.start({ route = ([[
      local php = require("moongate.php")
      local index = { "x.php", "a.html", "b.html" }
      local site = php.site { root = %q, backend = "down", index = { "a.html", "b.html" } }
      return { control = false, backends = { down = "unix:/nonexistent/x.sock" },
        on_request = function(req)
          if req.query == "site" then return site(req) end
          return { root = %q, index = index }
        end }]]):format(root, root) })
    finally(function() s:stop() end)
    for folder, want in pairs({
      none = { 404 }, next = { 200, "b" }, folder = { 200, "b" }, locked = { 403 },
      source = { 403 }, out = { 403, nil, 200 }, pipe = { 200, "b" }, within = { 200, "a" },
    }) do
      for _, query in ipairs({ "", "?site" }) do
        local res = http.get(s.address, "/" .. folder .. "/" .. query)
        assert.equal(query == "?site" and want[3] or want[1], res.status, folder .. query)
        assert.is_nil(res.body:find("secret", 1, true))
        if want[2] then
          assert.equal(want[2], res.body, folder .. query)
        end
      end
    end
  end)
end)

describe("a file", function()
  local s, root, client

  setup(function()
    root = process.tempdir("files")
    stage.write(root, content)
    for name in pairs(content) do -- a date is a strong validator once its second is over
      assert.equal(0, process.run({ argv = { "touch", "-d", "2020-02-02T02:02:02Z",
        root .. "/" .. name } }).code)
    end
    s = server.start({ route = ROUTE:format(root) })
    client = http.open(s.address)
  end)

  teardown(function()
    client:close()
    s:stop()
  end)

  local function get(name, headers, method)
    local res = client:request({ path = "/" .. name, headers = headers, method = method })
    client:assert_quiet()
    return res
  end

  -- The parts of a multipart/byteranges body, each { type=, first=, last=, size=, bytes= }.
  local function parts(res)
    local boundary = res.headers["content-type"]:match("^multipart/byteranges; boundary=(%w+)$")
    assert.is_truthy(boundary, res.headers["content-type"])
    local list, at, body = {}, 1, "\r\n" .. res.body
    local mark = "\r\n--" .. boundary
    while body:sub(at, at + #mark + 3) ~= mark .. "--\r\n" do
      assert.equal(mark .. "\r\n", body:sub(at, at + #mark + 1))
      local kind, first, last, size, from = body:match(
        "^Content%-Type: ([^\r\n]+)\r\nContent%-Range: bytes (%d+)%-(%d+)/(%d+)\r\n\r\n()",
        at + #mark + 2)
      assert.is_truthy(from)
      local length = last - first + 1
      list[#list + 1] = { type = kind, first = tonumber(first), last = tonumber(last),
        size = tonumber(size), bytes = body:sub(from, from + length - 1) }
      at = from + length
    end
    assert.equal(#body, at + #mark + 3)
    return list
  end

  for _, name in ipairs({ SMALL, LARGE }) do
    local whole = content[name]
    local size = #whole

    it("says that it can be had in parts: " .. name, function()
      for _, method in ipairs({ "GET", "HEAD" }) do
        local res = get(name, {}, method)
        assert.equal(200, res.status)
        assert.equal("bytes", res.headers["accept-ranges"])
        assert.equal(tostring(size), res.headers["content-length"])
        assert.equal(nil, res.headers["content-range"])
        assert.is_true(res.body == (method == "GET" and whole or ""))
      end
    end)

    for range, want in pairs({
      ["0-0"] = { 0, 0 }, ["0-"] = { 0, size - 1 }, ["-1"] = { size - 1, size - 1 },
      ["-100"] = { size - 100, size - 1 }, ["7-77"] = { 7, 77 }, ["1-"] = { 1, size - 1 },
      ["0-99999999999"] = { 0, size - 1 }, ["-99999999999"] = { 0, size - 1 },
      ["500-" .. size - 2] = { 500, size - 2 }, ["10-20,21-30,5-12"] = { 5, 30 },
      ["3-4, 9999999-"] = { 3, 4 },
    }) do
      it(("is sent in part: %s of %s"):format(range, name), function()
        local res = get(name, { Range = "bytes=" .. range })
        assert.equal(206, res.status)
        assert.equal(("bytes %d-%d/%d"):format(want[1], want[2], size),
          res.headers["content-range"])
        assert.equal(tostring(want[2] - want[1] + 1), res.headers["content-length"])
        assert.is_true(res.body == whole:sub(want[1] + 1, want[2] + 1))
        assert.equal("yes", res.headers["x-mine"])
        assert.is_truthy(res.headers.etag)
        assert.is_truthy(res.headers["last-modified"])
      end)
    end

    it("is sent in several parts: " .. name, function()
      local last = size - 1
      for range, want in pairs({
        ["0-0,-1"] = { { 0, 0 }, { last, last } },
        ["600-699, 0-99 ,300-"] = { { 0, 99 }, { 300, last } },
        ["5-6,1-2,3-3,9-9"] = { { 1, 3 }, { 5, 6 }, { 9, 9 } },
        ["0-" .. size - 400 .. ",-100"] = { { 0, size - 400 }, { size - 100, last } },
      }) do
        local res = get(name, { Range = "bytes=" .. range })
        assert.equal(206, res.status)
        assert.equal(nil, res.headers["content-range"])
        assert.equal("length", res.framing)
        assert.equal("yes", res.headers["x-mine"])
        local list = parts(res)
        assert.equal(#want, #list, range)
        for i, part in ipairs(list) do
          assert.same(want[i], { part.first, part.last })
          assert.equal(size, part.size)
          assert.equal(name == SMALL and "text/plain" or "application/octet-stream",
            part.type:match("^[^;]+"))
          assert.is_true(part.bytes == whole:sub(part.first + 1, part.last + 1), range)
        end
      end
    end)

    it("is sent in up to 16 parts, else whole: " .. name, function()
      local list = {}
      for i = 1, 16 do
        list[i] = ("%d-%d"):format(i * 20, i * 20 + 9)
      end
      local res = get(name, { Range = "bytes=" .. table.concat(list, ",") })
      assert.equal(206, res.status)
      local got = parts(res)
      assert.equal(16, #got)
      for i, part in ipairs(got) do
        assert.is_true(part.bytes == whole:sub(i * 20 + 1, i * 20 + 10))
      end
      list[17] = "0-1"
      res = get(name, { Range = "bytes=" .. table.concat(list, ",") })
      assert.equal(200, res.status)
      assert.is_true(res.body == whole)
      res = get(name, { Range = "bytes=" .. ("0-,"):rep(200) .. "0-" }) -- one, after merging
      assert.equal(206, res.status)
      assert.is_true(res.body == whole)
    end)

    it("of which nothing is wanted is 416: " .. name, function()
      for _, range in ipairs({ size .. "-", size .. "-" .. size + 5, "-0",
        "99999999999999999999-" }) do
        local res = get(name, { Range = "bytes=" .. range })
        assert.equal(416, res.status)
        assert.equal("bytes */" .. size, res.headers["content-range"])
        assert.equal(nil, res.headers.etag)
        assert.is_truthy(res.body:find("<h1>416 ", 1, true))
      end
    end)

    it("is sent whole where the header says nothing: " .. name, function()
      for _, range in ipairs({ "bytes=", "bytes=5-4", "bytes=a-b", "lines=1-2", "0-5",
        "bytes=0-5,x", "bytes=1-2-3", { "bytes=0-1", "bytes=3-4" } }) do
        local res = get(name, { Range = range })
        assert.equal(200, res.status)
        assert.equal(nil, res.headers["content-range"])
        assert.is_true(res.body == whole)
      end
    end)

    it("is sent in part only if it is still the same: " .. name, function()
      local head = get(name, {}, "HEAD").headers
      local tag, date = head.etag, head["last-modified"]
      assert.equal("Sun, 02 Feb 2020 02:02:02 GMT", date)
      for condition, status in pairs({
        [tag] = 206, [date] = 206, ["W/" .. tag] = 200, ['"other"'] = 200, ["*"] = 200,
        [tag .. ", " .. tag] = 200, nonsense = 200,
        ["Sun, 02 Feb 2020 02:02:01 GMT"] = 200, ["Sun, 02 Feb 2020 02:02:03 GMT"] = 200,
      }) do
        local res = get(name, { Range = "bytes=0-9", ["If-Range"] = condition })
        assert.equal(status, res.status, condition)
        assert.is_true(res.body == (status == 206 and whole:sub(1, 10) or whole))
        -- One that does not hold makes no 416 either.
        res = get(name, { Range = "bytes=99999999-", ["If-Range"] = condition })
        assert.equal(status == 206 and 416 or 200, res.status, condition)
      end
    end)

    it("is looked at for the other conditions first: " .. name, function()
      local head = get(name, {}, "HEAD").headers
      local tag, date = head.etag, head["last-modified"]
      local function status(headers)
        headers.Range = headers.Range or "bytes=0-9"
        return get(name, headers).status
      end
      assert.equal(304, status({ ["If-None-Match"] = tag }))
      assert.equal(304, status({ ["If-None-Match"] = tag, ["If-Range"] = tag }))
      assert.equal(304, status({ ["If-Modified-Since"] = date }))
      assert.equal(304, status({ ["If-None-Match"] = "*", Range = "bytes=99999999-" }))
      assert.equal(412, status({ ["If-Match"] = '"other"' }))
      assert.equal(412, status({ ["If-Match"] = '"other"', Range = "bytes=99999999-" }))
      assert.equal(412, status({ ["If-Unmodified-Since"] = "Sun, 02 Feb 2020 02:02:01 GMT" }))
      assert.equal(206, status({ ["If-Match"] = tag, ["If-None-Match"] = '"other"' }))
      assert.equal(206, status({ ["If-Unmodified-Since"] = date }))
      assert.equal(nil, get(name, { ["If-None-Match"] = tag }).headers["content-range"])
    end)

    it("asked for by HEAD has no parts: " .. name, function()
      for _, range in ipairs({ "bytes=0-9", "bytes=0-0,-1", "bytes=99999999-" }) do
        local res = get(name, { Range = range }, "HEAD")
        assert.equal(200, res.status)
        assert.equal(tostring(size), res.headers["content-length"])
        assert.equal(nil, res.headers["content-range"])
      end
    end)
  end

  it("that is empty has no part", function()
    for _, range in ipairs({ "0-", "0-0", "-1" }) do
      local res = get("empty.txt", { Range = "bytes=" .. range })
      assert.equal(416, res.status)
      assert.equal("bytes */0", res.headers["content-range"])
    end
    assert.equal("", get("empty.txt", {}).body)
  end)

  it("is the same by a date in each of its formats", function()
    for date, status in pairs({
      ["Sun, 02 Feb 2020 02:02:02 GMT"] = 304, ["Sunday, 02-Feb-20 02:02:02 GMT"] = 304,
      ["Sun Feb  2 02:02:02 2020"] = 304, ["Sunday, 02-Feb-20 02:02:01 GMT"] = 200,
      ["Sun Feb  2 02:02:01 2020"] = 200, ["Sun Feb  2 02:02:02 2020 GMT"] = 200,
      ["2020-02-02T02:02:02Z"] = 200,
    }) do
      assert.equal(status, get(SMALL, { ["If-Modified-Since"] = date }).status, date)
    end
    for date, status in pairs({
      ["Sunday, 02-Feb-20 02:02:02 GMT"] = 200, ["Sun Feb  2 02:02:01 2020"] = 412,
    }) do
      assert.equal(status, get(SMALL, { ["If-Unmodified-Since"] = date }).status, date)
    end
    assert.equal(206, get(SMALL, { Range = "bytes=0-1",
      ["If-Range"] = "Sun Feb  2 02:02:02 2020" }).status)
  end)

  it("whose date a build has made up is another one when it is replaced", function()
    local path, link = root .. "/built.txt", root .. "/next.txt"
    for _, date in ipairs({ "@0", "@1", "@-1", "1980-01-01T00:00:00Z", "1985-10-26T08:15:00Z" }) do
      local function write(name, text)
        process.write_file(name, text)
        assert.equal(0, process.run({ argv = { "touch", "-d", date, name } }).code)
      end
      write(path, "version 1")
      local first = get("built.txt", {})
      assert.equal("version 1", first.body)
      assert.is_nil(first.headers["last-modified"], date)
      assert.equal(304, get("built.txt", { ["If-None-Match"] = first.headers.etag }).status)
      assert.equal(206, get("built.txt", { Range = "bytes=0-1",
        ["If-Range"] = first.headers.etag }).status)
      write(link, "version 2") -- another inode
      assert.is_true(os.rename(link, path))
      local second = get("built.txt", { ["If-None-Match"] = first.headers.etag,
        ["If-Modified-Since"] = "Sun, 02 Feb 2020 02:02:02 GMT" })
      assert.equal(200, second.status, date)
      assert.equal("version 2", second.body)
      write(path, "version 3") -- the same inode
      assert.equal("version 3", get("built.txt", {
        ["If-None-Match"] = second.headers.etag }).body, date)
      assert.equal(200, get("built.txt", {
        ["If-Modified-Since"] = "Thu, 01 Jan 1970 00:00:01 GMT" }).status)
      assert.equal(200, get("built.txt", {
        ["If-Unmodified-Since"] = "Wed, 01 Jan 1969 00:00:00 GMT" }).status)
      assert.equal(200, get("built.txt", { Range = "bytes=0-1",
        ["If-Range"] = "Thu, 01 Jan 1970 00:00:01 GMT" }).status)
    end
  end)

  it("of a second that is not over has no date to go by", function()
    stage.write(root, { ["new.txt"] = "0123456789" })
    -- In the future it stays so, however long this takes.
    assert.equal(0, process.run({ argv = { "touch", "-d", "2099-01-01T00:00:00Z",
      root .. "/new.txt" } }).code)
    local head = get("new.txt", {}, "HEAD").headers
    local function status(condition)
      return get("new.txt", { Range = "bytes=0-1", ["If-Range"] = condition }).status
    end
    assert.is_nil(head["last-modified"]) -- RFC 9110, section 8.8.2.1
    assert.equal(200, status("Thu, 01 Jan 2099 00:00:00 GMT"))
    assert.equal(206, status(head.etag))
  end)

  it("in parts goes through a slow client's connection, and the next request after it", function()
    local slow = http.open(s.address, { timeout = 20 })
    local whole = content[LARGE]
    local list = { { 0, 999999 }, { 1000001, 1999999 }, { 2000002, 2999999 } }
    local text = {}
    for i, range in ipairs(list) do
      text[i] = range[1] .. "-" .. range[2]
    end
    for _ = 1, 5 do -- more than the kernel keeps
      slow:send({ path = "/" .. LARGE, headers = { Range = "bytes=" .. table.concat(text, ",") } })
    end
    slow:send({ path = "/" .. SMALL })
    assert.equal(content[SMALL], get(SMALL, {}).body) -- others go on
    for _ = 1, 5 do
      local got = parts(slow:receive())
      assert.equal(3, #got)
      for i, part in ipairs(got) do
        assert.is_true(part.bytes == whole:sub(list[i][1] + 1, list[i][2] + 1))
      end
    end
    assert.equal(content[SMALL], slow:receive().body)
    slow:assert_quiet()
    slow:close()
  end)
end)
