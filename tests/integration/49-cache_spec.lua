-- The response cache in front of an application: what is kept and what is not, for how long, who
-- gets it, what is sent in place of an application that fails, who asks where many want the same,
-- and what cannot get into it.

local http = require("tests.support.http")
local json = require("moongate.base.json")
local load = require("tests.support.load")
local poll = require("tests.support.poll")
local process = require("tests.support.process")
local responder = require("tests.support.responder")
local rig = require("tests.support.rig")
local server = require("tests.support.server")

local LARGE = 300000

-- A folder in which the workers' user may make another one.
local function folder()
  local path = process.tempdir("cache")
  assert(os.execute("chmod 1777 " .. process.quote(path)) == 0)
  return path
end

-- A server with two workers whose decisions have this `cache`.
local function start(cache, options)
  options = options or {}
  options.workers = options.workers or 2
  options.settings = ("cache = { path = %q, size = '16M' }%s"):format(
    options.path or folder(), options.settings and ", " .. options.settings or "")
  options.on_request = options.on_request or ([[
    do return { backend = "app", docroot = "/srv/app", headers = { ["X-Own"] = req.id },
      cache = %s } end]]):format(cache)
  local r = rig.start(options)
  finally(function() r:stop() end)
  return r
end

-- How often the application was asked for a target that matches.
local function asked(r, pattern)
  local count = 0
  for _, event in ipairs(r:events("REQUEST")) do
    count = count + (event.uri:find(pattern) and 1 or 0)
  end
  return count
end

-- Asks as often as it takes until the cache says so.
local function until_cache_says(r, word, commands, request)
  return poll.wait(function()
    local res = r:get(commands, request)
    return res.headers["x-cache"] == word and res
  end, ("X-Cache: %s for %s"):format(word, commands))
end

describe("a response that may be kept", function()
  it("is the application's once, and everybody's then, over all workers", function()
    local r = start("{ ttl = '1h' }")
    local first = r:get("body=hello&header=ETag:%20%22v1%22&header=X-App:%20yes")
    assert.equal("miss", first.headers["x-cache"])
    for _ = 1, 20 do -- connections of their own, so both workers have some
      local res = r:get("body=hello&header=ETag:%20%22v1%22&header=X-App:%20yes")
      assert.equal(200, res.status)
      assert.equal("hit", res.headers["x-cache"])
      assert.equal("hello", res.body)
      assert.equal('"v1"', res.headers.etag)
      assert.equal("yes", res.headers["x-app"])
      assert.matches("^%d+$", res.headers.age)
      -- A header of the decision is each request's own.
      assert.equal(1, #res:all("x-own"))
      assert.not_equal(first.headers["x-own"], res.headers["x-own"])
    end
    assert.equal(1, asked(r, "hello"))
  end)

  it("serves HEAD, ranges and conditions as a file does", function()
    local r = start("{ ttl = '1h' }")
    for _, size in ipairs({ 1000, LARGE }) do
      local commands = ("size=%d&header=ETag:%%20%%22v%d%%22"):format(size, size)
      local tag, body = ('"v%d"'):format(size), rig.pattern(size)
      assert.equal(body, r:get(commands).body)
      assert.equal(body, r:get(commands).body)
      local function get(headers, method)
        local res = r:get(commands, { headers = headers, method = method })
        if res.status < 400 then
          assert.equal("hit", res.headers["x-cache"])
        end
        return res
      end
      local head = get(nil, "HEAD")
      assert.same({ 200, tostring(size), "" },
        { head.status, head.headers["content-length"], head.body })
      local part = get({ Range = "bytes=16-31" })
      assert.same({ 206, body:sub(17, 32), ("bytes 16-31/%d"):format(size) },
        { part.status, part.body, part.headers["content-range"] })
      local last = get({ Range = "bytes=-10", ["If-Range"] = tag })
      assert.same({ 206, body:sub(-10) }, { last.status, last.body })
      assert.equal(200, get({ Range = "bytes=-10", ["If-Range"] = '"other"' }).status)
      local parts = get({ Range = "bytes=0-1,100-102" })
      assert.equal(206, parts.status)
      assert.matches("^multipart/byteranges", parts.headers["content-type"])
      assert.equal(416, get({ Range = "bytes=9999999-" }).status)
      assert.same({ 304, "" }, { get({ ["If-None-Match"] = tag }).status,
        get({ ["If-None-Match"] = tag }).body })
      assert.equal(304, get({ ["If-None-Match"] = "W/" .. tag }).status)
      assert.equal(200, get({ ["If-None-Match"] = '"other"' }).status)
      assert.equal(412, get({ ["If-Match"] = '"other"' }).status)
      assert.equal(1, asked(r, "size=" .. size .. "&"))
    end
  end)

  it("is a response with another status, too, without conditions", function()
    local r = start("true")
    local commands = "status=404&body=gone&header=Cache-Control:%20max-age=60"
    r:get(commands)
    local res = r:get(commands, { headers = { ["If-None-Match"] = "*", Range = "bytes=0-1" } })
    assert.same({ 404, "gone", "hit" }, { res.status, res.body, res.headers["x-cache"] })
  end)

  it("is kept for as long as the headers say where the script says nothing", function()
    local r = start("true")
    for _, case in ipairs({
      { "hit", "header=Cache-Control:%20max-age=60" },
      { "hit", "header=Cache-Control:%20s-maxage=60,%20max-age=0" },
      { "hit", "header=Expires:%20Sun,%2006%20Nov%202994%2008:49:37%20GMT" },
      { "hit", "header=Last-Modified:%20Sun,%2006%20Nov%201994%2008:49:37%20GMT" },
      { "miss", "body=nothing" },
      { "miss", "header=Cache-Control:%20max-age=0" },
      { "miss", "header=Cache-Control:%20max-age=60&header=Age:%2061" },
      { "miss", "header=Expires:%200" },
    }) do
      r:get(case[2])
      assert.equal(case[1], r:get(case[2]).headers["x-cache"], case[2])
    end
  end)

  it("has the age that it came with", function()
    local r = start("true")
    local commands = "header=Cache-Control:%20max-age=1000&header=Age:%20500"
    r:get(commands)
    local res = r:get(commands)
    assert.equal("hit", res.headers["x-cache"])
    assert.equal(1, #res:all("age"))
    assert.is_true(tonumber(res.headers.age) >= 500)
  end)

  it("survives a reload, and the end of its worker", function()
    local r = start("{ ttl = '1h' }", { workers = 1, dies = true })
    r:get("body=stays")
    assert.equal("hit", r:get("body=stays").headers["x-cache"])
    r.server:reload(r:route())
    assert.equal("hit", r:get("body=stays").headers["x-cache"])
    local before = r.server:workers()[1]
    process.signal(before, "KILL")
    poll.wait(function()
      local now = r.server:workers()[1]
      return now and now ~= before
    end, "another worker")
    assert.equal("hit", r:get("body=stays").headers["x-cache"])
    assert.equal(1, asked(r, "stays"))
  end)

  it("has variants by Vary, and by the script's vary", function()
    local r = start("{ ttl = '1h', vary = 'X-Theme' }")
    local function get(language, theme)
      local res = r:get("dump&header=Vary:%20Accept-Language", {
        headers = { ["Accept-Language"] = language, ["X-Theme"] = theme } })
      local params = rig.params(res)
      return res.headers["x-cache"], params.HTTP_ACCEPT_LANGUAGE, params.HTTP_X_THEME
    end
    for _, word in ipairs({ "miss", "hit" }) do
      assert.same({ word, "de", "dark" }, { get("de", "dark") })
      assert.same({ word, "en", "dark" }, { get("en", "dark") })
      assert.same({ word, "de", "light" }, { get("de", "light") })
    end
    assert.same({ "miss" }, { (get(nil, "dark")) })
  end)

  it("with a coding is only for those who accept it", function()
    local r = start("{ ttl = '1h' }")
    local function get(codings)
      return r:get("dump&header=Content-Encoding:%20gzip", {
        headers = { ["Accept-Encoding"] = codings } }).headers["x-cache"]
    end
    assert.equal("miss", get("gzip"))
    assert.equal("hit", get("gzip"))
    assert.equal("hit", get("unknown, GZIP;q=0.5"))
    assert.equal("miss", get(nil))
    assert.equal("miss", get("gzip;q=0"))
    assert.equal("miss", get("br"))
  end)
end)

describe("what is not kept", function()
  it("is one client's own, broken off, or an error", function()
    local r = start("{ ttl = '1h' }", { settings = [[log = { format = '"$cache_reason" $uri' }]] })
    for commands, reason in pairs({
      ["header=Set-Cookie:%20a=b"] = "Set-Cookie",
      ["header=Cache-Control:%20private"] = "Cache-Control: private",
      ["header=Cache-Control:%20no-store"] = "Cache-Control: no-store",
      ["header=Cache-Control:%20no-cache"] = "Cache-Control: no-cache",
      ["header=Vary:%20*"] = "Vary: *", ["status=500"] = "status", ["status=206"] = "status",
      ["status=403"] = "status", ["big=20&size=3000000"] = "too large",
      ["fail=close-mid-body&size=100"] = "broken off",
      ["fail=close-mid-body&size=3000000"] = "broken off",
      ["size=100&length=200"] = "broken off",
    }) do
      for _ = 1, 2 do
        local ok, res = pcall(r.get, r, commands) -- one that breaks off is an error
        assert.equal("miss", ok and res.headers["x-cache"] or "miss", commands)
      end
      local line = ('"%s" /x.php?%s'):format(reason, commands)
      r.server:wait_access((line:gsub("%p", "%%%0")))
      assert.is_true(asked(r, (commands:gsub("%p", "%%%0"))) >= 2, commands)
    end
  end)

  it("may be kept where the script says so, but a cookie never is", function()
    local r = start("{ ttl = '1h', ignore = { 'Set-Cookie', 'Cache-Control', 'Authorization' } }")
    local commands = "header=Set-Cookie:%20a=b&header=Cache-Control:%20private"
    local request = { headers = { Authorization = "Basic eDp5" } }
    local first, second = r:get(commands, request), r:get(commands, request)
    assert.same({ "miss", "a=b" }, { first.headers["x-cache"], first.headers["set-cookie"] })
    assert.same({ "hit" }, { second.headers["x-cache"], second.headers["set-cookie"] })
  end)

  it("is asked for with a cookie, a login, a body or another method", function()
    local r = start("{ ttl = '1h' }")
    r:get("body=x")
    for _, request in ipairs({
      { headers = { Cookie = "a=b" } }, { headers = { Authorization = "Basic eDp5" } },
      { method = "POST", body = "a=b" }, { method = "GET", body = "a=b" }, { method = "OPTIONS" },
      { method = "PUT" },
    }) do
      local res = r:get("body=x", request)
      assert.same({ 200, "bypass" }, { res.status, res.headers["x-cache"] })
    end
    assert.equal(7, asked(r, "body=x"))
    assert.equal("hit", r:get("body=x").headers["x-cache"])
  end)

  it("is what the script bypasses", function()
    local r = start("{ ttl = '1h', bypass = req.cookies.login ~= nil }")
    r:get("body=x", { headers = { Cookie = "lang=de" } })
    assert.equal("hit", r:get("body=x", { headers = { Cookie = "lang=en" } }).headers["x-cache"])
    assert.equal("bypass", r:get("body=x", { headers = { Cookie = "login=1" } })
      .headers["x-cache"])
  end)

  it("is what a page for errors or a file takes the place of", function()
    local r = start("{ ttl = '1h' }", { settings = [[on_error = function()
      return { status = 503, body = "sorry" } end]] })
    for _ = 1, 2 do
      local res = r:get("fail=close-before-head")
      assert.same({ 503, "sorry" }, { res.status, res.body })
      assert.is_nil(res.headers["x-cache"])
    end
  end)
end)

describe("an attacker", function()
  -- The application writes what it is sent into its page; what another client sees of that is what
  -- has been made for all.
  local function seen(r, path, host)
    local res = http.request(r.address, { path = path, host = host })
    return rig.params(res), res.headers["x-cache"]
  end

  it("gets no header into a page that the key has not", function()
    local r = start("{ ttl = '1h' }", { settings = "trusted_proxies = '127.0.0.9'" })
    for _, name in ipairs({ "X-Forwarded-Host", "X-Forwarded-Proto", "X-Forwarded-For", "Forwarded",
      "X-Host", "X-Original-URL", "X-Rewrite-URL", "X-HTTP-Method-Override", "Referer", "Origin",
      "X-Requested-With", "Client-IP", "True-Client-IP", "X-Forwarded-Prefix", "X-Evil", "Range",
      "If-None-Match", "If-Modified-Since" }) do
      local commands = "dump&x=" .. name:lower()
      r:get(commands, { headers = { [name] = "evil.example" } })
      local res = r:get(commands)
      assert.equal("hit", res.headers["x-cache"], name)
      assert.is_nil(res.body:find("evil%.example"), name)
    end
  end)

  it("gets no host into the page of another one", function()
    local r = start("{ ttl = '1h' }")
    local path = rig.target("dump")
    for _, host in ipairs({ "shop.example:99", "SHOP.example", "shop.example.", "evil.example" }) do
      assert.equal(host, seen(r, path, host).HTTP_HOST)
      local params, word = seen(r, path, "shop.example")
      assert.equal("shop.example", params.HTTP_HOST)
      assert.equal(host == "shop.example:99" and "miss" or "hit", word)
    end
    -- The host of an absolute target is the one that counts.
    local res = http.request(r.address, { path = "http://evil.example" .. path,
      host = "shop.example" })
    assert.same({ "hit", "evil.example" }, { res.headers["x-cache"], rig.params(res).HTTP_HOST })
  end)

  it("gets no other path into a key", function()
    local r = start("{ ttl = '1h' }")
    for _, path in ipairs({ "/x.php?dump", "/x%2ephp?dump", "//x.php?dump", "/a/../x.php?dump",
      "/x.php?dump&", "/x.php/?dump", "/x.php?%64ump&dump" }) do
      local params, word = seen(r, path, "a.example")
      assert.equal("miss", word, path)
      assert.equal(path, params.REQUEST_URI)
    end
  end)

  it("gets no body into a page", function()
    local r = start("{ ttl = '1h' }")
    for _, body in ipairs({ "evil=1", { "evil=1" } }) do
      assert.equal("bypass", r:get("echo", { method = "GET", body = body }).headers["x-cache"])
    end
    local res = r:get("echo")
    assert.same({ "miss", "" }, { res.headers["x-cache"], res.body })
  end)

  it("gets no pages of another application or tenant by the same key", function()
    local r = start(nil, { on_request = [[
      do return { backend = "app", docroot = "/srv/" .. (req.headers["X-Root"] or "app"),
        tenant = req.headers["X-Tenant"], cache = { ttl = "1h", key = "one" } } end]] })
    assert.equal("miss", r:get("body=x").headers["x-cache"])
    assert.equal("hit", r:get("body=y").headers["x-cache"])
    assert.equal("miss", r:get("body=x", { headers = { ["X-Root"] = "b" } }).headers["x-cache"])
    assert.equal("miss", r:get("body=x", { headers = { ["X-Tenant"] = "b" } }).headers["x-cache"])
  end)

  it("gets no page past the authorizer", function()
    local r = start(nil, { responder = { count = 2 },
      servers = function(addresses) return ("%q"):format(addresses[1]) end,
      backends = function(addresses) return ("auth = %q,"):format(addresses[2]) end,
      on_request = [[
        do return { backend = "app", docroot = "/srv/app", cache = { ttl = "1h" },
          authorize = { backend = "auth", docroot = "/srv/auth", script = "/auth.php",
            params = { QUERY_STRING = req.headers["X-Auth"] } } } end]] })
    assert.equal("miss", r:get("body=x", { headers = { ["X-Auth"] = "status=200" } })
      .headers["x-cache"])
    assert.equal("hit", r:get("body=x", { headers = { ["X-Auth"] = "status=200" } })
      .headers["x-cache"])
    local res = r:get("body=x", { headers = { ["X-Auth"] = "status=403" } })
    assert.equal(403, res.status)
    assert.is_nil(res.headers["x-cache"])
  end)
end)

describe("a stale response", function()
  local STALE = "{ ttl = '0.05s', stale = '1h' }"

  it("is sent while the application is down or fails", function()
    local r = start(STALE)
    r:get("body=old")
    r:get("body=old&x=1")
    until_cache_says(r, "miss", "body=old") -- it is not fresh any more
    r.back:stop()
    r.back = nil
    local res = until_cache_says(r, "stale", "body=old")
    assert.same({ 200, "old" }, { res.status, res.body })
    assert.equal(503, r:get("body=never").status)
  end)

  it("is sent in place of a 500, which is not kept", function()
    local r = start("{ ttl = '0.05s', stale = '1h', key = 'one' }")
    r:get("body=old")
    local res = until_cache_says(r, "stale", "status=500&body=broken")
    assert.same({ 200, "old" }, { res.status, res.body })
    assert.equal("new", until_cache_says(r, "miss", "body=new").body)
  end)

  it("is sent while the backend is held or has no room", function()
    local r = start(STALE, { control = true, backend = "max_conns = 1" })
    r:get("body=old")
    r:tell("hold", "app")
    assert.equal("old", until_cache_says(r, "stale", "body=old").body)
    r:tell("resume", "app")
    r:get("body=old")
    local client = http.open(r.address)
    client:send({ path = rig.target("delay=hold") })
    r:wait_started("hold", 1)
    assert.equal("old", until_cache_says(r, "stale", "body=old").body)
    r:release()
    client:receive()
    client:close()
  end)

  it("is sent while the application restarts, and not any longer", function()
    local r = start(STALE)
    r:get("body=old")
    until_cache_says(r, "miss", "body=old") -- it is not fresh any more
    for _ = 1, 2 do
      local addresses = r.back.addresses
      r.back:stop()
      assert.equal("old", until_cache_says(r, "stale", "body=old").body)
      r.back = responder.start({ addresses = addresses })
      assert.equal("old", until_cache_says(r, "miss", "body=old").body)
    end
  end)

  it("is sent while the application is over its limit", function()
    local r = start("{ ttl = '0.05s', stale = '1h', key = 'one' }",
      { backend = "queue_timeout = '0.3s'" })
    r:get("body=old")
    local res = until_cache_says(r, "stale", "protocol=2") -- FCGI_OVERLOADED
    assert.same({ 200, "old" }, { res.status, res.body })
  end)

  it("is sent while another request has a new one made", function()
    local r = start("{ ttl = '0.05s', stale = '1h', key = 'one' }")
    r:get("body=old")
    poll.wait(function() -- the first that comes after its time is held
      local client = http.open(r.address)
      client:send({ path = rig.target("delay=hold&body=new") })
      poll.wait(function()
        return #r:events("HELD") > 0 or not client.conn:silent(0)
      end, "the application to hold it, or an answer")
      if #r:events("HELD") > 0 then
        r.held = client
        return true
      end
      assert.equal("old", client:receive().body)
      client:close()
    end, "a request that the application holds")
    for _ = 1, 10 do
      local res = r:get("body=other")
      assert.same({ "stale", "old" }, { res.headers["x-cache"], res.body })
    end
    r:release()
    assert.equal("new", r.held:receive().body)
    r.held:close()
    assert.equal(0, asked(r, "body=other"))
  end)

  it("is fresh again when the application says that nothing has changed", function()
    local r = start("{ ttl = '0.05s', stale = '1h', key = 'one' }")
    r:get("body=old&header=ETag:%20%22v1%22"
      .. "&header=Last-Modified:%20Sun,%2006%20Nov%201994%2008:49:37%20GMT")
    local res = until_cache_says(r, "miss", "status=304&header=ETag:%20%22v1%22")
    assert.same({ 200, "old", '"v1"' }, { res.status, res.body, res.headers.etag })
    local dump = until_cache_says(r, "miss", "dump")
    assert.equal('"v1"', rig.params(dump).HTTP_IF_NONE_MATCH)
    assert.equal("Sun, 06 Nov 1994 08:49:37 GMT", rig.params(dump).HTTP_IF_MODIFIED_SINCE)
  end)

  it("is not sent when its time is over, too", function()
    local r = start("{ ttl = '0.05s', stale = '0.05s' }")
    r:get("body=old")
    r.back:stop()
    r.back = nil
    poll.wait(function() return r:get("body=old").status == 503 end, "the end of its time")
  end)
end)

describe("many who want the same", function()
  it("ask the application once", function()
    local r = start("{ ttl = '1h' }")
    local clients = {}
    for i = 1, 40 do
      clients[i] = http.open(r.address)
      clients[i]:send({ path = rig.target("delay=hold&body=one") })
    end
    r:wait_started("body=one", 1)
    r:release()
    local words = { hit = 0, miss = 0 }
    for _, client in ipairs(clients) do
      local res = client:receive()
      assert.equal("one", res.body)
      words[res.headers["x-cache"]] = words[res.headers["x-cache"]] + 1
      client:close()
    end
    assert.same({ hit = 39, miss = 1 }, words)
    assert.equal(1, asked(r, "body=one"))
  end)

  it("are a thousand, of a page that takes 200 ms", function()
    local r = start("{ ttl = '1h' }")
    local all = load.run(r.address, { { name = "crowd", clients = 1000, requests = 1000,
      path = rig.target("delay=200&size=1000"), length = 1000 }, timeout = 60 })
    load.assert_all(all.crowd)
    -- Who has waited for five seconds may ask as well.
    local most = 1 + math.floor(all.crowd.max / 5)
    assert.is_true(asked(r, "delay=200") <= most, all.crowd.text)
  end)

  it("do not wait for what can't be kept", function()
    local r = start("{ ttl = '1h', key = 'one' }")
    assert.equal("miss", r:get("header=Set-Cookie:%20a=b").headers["x-cache"])
    local clients = {}
    for i = 1, 5 do
      clients[i] = http.open(r.address)
      clients[i]:send({ path = rig.target("header=Set-Cookie:%20a=b&delay=hold") })
    end
    r:wait_started("hold", 5) -- all at the same time
    r:release(5)
    for _, client in ipairs(clients) do
      assert.equal("miss", client:receive().headers["x-cache"])
      client:close()
    end
  end)

  it("go on with another one when who asks has left", function()
    local r = start("{ ttl = '1h' }")
    local first = http.open(r.address)
    first:send({ path = rig.target("delay=hold&body=left") })
    r:wait_started("left", 1)
    local clients = {}
    for i = 1, 10 do
      clients[i] = http.open(r.address)
      clients[i]:send({ path = rig.target("delay=hold&body=left") })
    end
    first.conn:reset()
    r:wait_started("left", 2)
    r:release(2)
    for _, client in ipairs(clients) do
      assert.equal("left", client:receive().body)
      client:close()
    end
    assert.equal(2, asked(r, "left"))
  end)

  it("each ask by themselves without a lock", function()
    local r = start("{ ttl = '1h', lock = false }")
    local clients = {}
    for i = 1, 3 do
      clients[i] = http.open(r.address)
      clients[i]:send({ path = rig.target("delay=hold&body=own") })
    end
    r:wait_started("own", 3)
    r:release(3)
    for _, client in ipairs(clients) do
      assert.equal("miss", client:receive().headers["x-cache"])
      client:close()
    end
  end)
end)

describe("a purge", function()
  -- Pages of two tags, a and b, and of no tag.
  local function fill(r)
    for _, page in ipairs({ "body=a", "body=b", "body=c" }) do
      r:get(page)
      assert.equal("hit", r:get(page).headers["x-cache"])
    end
  end

  local CACHE = "{ ttl = '1h', tags = req.query:match('^body=([ab])') and { 'all-of-them', "
    .. "req.query:match('^body=([ab])') } or nil }"

  -- Which of the pages are not kept any more.
  local function gone(r)
    local list = {}
    for _, name in ipairs({ "a", "b", "c" }) do
      if r:get("body=" .. name).headers["x-cache"] == "miss" then
        list[#list + 1] = name
      end
    end
    return table.concat(list)
  end

  it("by an operator takes what it names, for all workers", function()
    local r = start(CACHE, { control = true })
    for _, case in ipairs({
      { "a", "1 response removed\n", "--tag", "a" },
      { "ab", "2 responses removed\n", "--tag", "all-of-them" },
      { "b", "1 response removed\n", "--key", "http://localhost/x.php?body=b" },
      { "", "0 responses removed\n", "--key", "http://localhost/x.php?body=" },
      { "abc", "3 responses removed\n", "--prefix", "http://localhost/x.php?body=" },
      { "abc", "3 responses removed\n", "--all" },
    }) do
      fill(r)
      assert.equal(case[2], r:tell("purge", case[3], case[4]))
      assert.equal(case[1], gone(r))
    end
    assert.equal(2, r:command("purge").code)
    assert.equal(2, r:command("purge", "--all", "--tag", "a").code)
    local text = http.request(r.control, { path = "/metrics" }).body
    assert.equal("10", text:match("\nmoongate_cache_purged_total (%d+)\n"))
    assert.equal("3", text:match("\nmoongate_cache_responses (%d+)\n"))
    assert.matches('\nmoongate_cache_requests_total{result="hit"} [1-9]', text)
    assert.matches('\nmoongate_cache_requests_total{result="miss"} [1-9]', text)
  end)

  it("by the application takes what it names, whatever the request was", function()
    local r = start(CACHE)
    fill(r)
    local res = r:get("header=X-Cache-Purge:%20tag:a&header=X-Other:%20yes"
      .. "&header=X-Cache-Purge:%20prefix:http://localhost/x.php%3Fbody%3Dc",
      { method = "POST", body = "x" })
    assert.same({ "yes" }, { res.headers["x-other"], res.headers["x-cache-purge"] })
    assert.equal("ac", gone(r))
    r:get("header=X-Cache-Purge:%20all")
    assert.equal("abc", gone(r))
  end)

  it("by the application is about its own site", function()
    local r = start(nil, { on_request = [[
      do return { backend = "app", docroot = "/srv/app", tenant = req.host,
        cache = { ttl = "1h" } } end]] })
    for _, host in ipairs({ "a.example", "b.example" }) do
      r:get("body=x", { host = host })
    end
    r:get("header=X-Cache-Purge:%20all", { host = "a.example" })
    assert.equal("miss", r:get("body=x", { host = "a.example" }).headers["x-cache"])
    assert.equal("hit", r:get("body=x", { host = "b.example" }).headers["x-cache"])
  end)

  it("by the application has up to 100 words; more are all of the site", function()
    local r = start(CACHE)
    fill(r)
    local words = ("key:x%20"):rep(49) .. "key:x"
    local twice = ("header=X-Cache-Purge:%%20%s&header=X-Cache-Purge:%%20%s"):format(words, words)
    r:get(twice)
    assert.equal("", gone(r))
    r:get(twice .. "&header=X-Cache-Purge:%20key:x")
    assert.equal("abc", gone(r))
  end)

  it("by a client does nothing", function()
    local r = start(CACHE)
    fill(r)
    local res = r:get("dump", { headers = { ["X-Cache-Purge"] = "all", Cookie = "a=b" } })
    assert.is_nil(rig.params(res).HTTP_X_CACHE_PURGE)
    assert.equal("", gone(r))
  end)

  it("by a script holds for all workers", function()
    local r = start(CACHE, { before = "local cache = require('moongate.cache')",
      on_request = ([[
        if req.path == "/purge" then
          return { status = 200, body = tostring(cache.purge({ tag = "a" })) }
        end
        do return { backend = "app", docroot = "/srv/app", cache = %s } end]]):format(CACHE) })
    fill(r)
    assert.equal("1", http.get(r.address, "/purge").body)
    assert.equal("a", gone(r))
  end)

  it("keeps what is being made from being kept", function()
    local r = start(CACHE, { control = true })
    local client = http.open(r.address)
    client:send({ path = rig.target("body=a&delay=hold") })
    r:wait_started("hold", 1)
    r:tell("purge", "--tag", "a")
    r:release()
    assert.equal("a", client:receive().body)
    client:close()
    local again = http.open(r.address)
    again:send({ path = rig.target("body=a&delay=hold") })
    r:release()
    assert.equal("miss", again:receive().headers["x-cache"])
    again:close()
  end)
end)

describe("the folder", function()
  it("is removed at the end", function()
    local path = folder()
    local function folders()
      return process.run({ argv = { "ls", path } }).stdout
    end
    local r = rig.start({ workers = 2, settings = ("cache = { path = %q }"):format(path),
      on_request = "do return { backend = 'app', docroot = '/x', cache = { ttl = 60 } } end" })
    assert.equal("", folders()) -- it is made when it is needed
    r:get("body=x")
    assert.matches("^moongate%-cache%-%x+\n$", folders())
    r:stop()
    assert.equal("", folders())
  end)

  it("that can't be used keeps no request from its answer", function()
    local r = start("{ ttl = '1h' }", { path = "/nonexistent" })
    assert.equal(200, r:get("body=x").status)
    assert.equal(200, r:get("body=x").status)
    r.server:wait_log("cache%.path /nonexistent can't be used, so nothing is kept: No such file")
  end)
end)

describe("moongate explain", function()
  it("says under which key a response would be kept, or why it would not", function()
    local r = start("{ ttl = '1h', tags = 'all-of-them' }")
    local function said(...)
      local result = server.command({ "explain", r.server.route_path, ... })
      assert.equal(0, result.code, result.stderr)
      return result.stdout:match("\n  (cache: [^\n]+) %([^\n]*route%.lua:%d+%)\n")
    end
    assert.equal("cache: under the key http://a.example/x.php?y=1, for 3600 s, with the tags "
      .. "all-of-them", said("http://a.example/x.php?y=1"))
    assert.matches("^cache: bypass, since .* cookie", said("http://a.example/x.php", "-H",
      "Cookie: a=b"))
    -- What it says is what the server does.
    r:get("body=x", { host = "a.example" })
    assert.equal("hit", r:get("body=x", { host = "a.example" }).headers["x-cache"])
    assert.equal("bypass", r:get("body=x", { host = "a.example", headers = { Cookie = "a=b" } })
      .headers["x-cache"])
  end)
end)

describe("moongate explain of a function for `cache`", function()
  it("says what the server does, whatever the application gets", function()
    local r = start(nil, { on_request = [[
      do return { backend = "app", docroot = "/srv/app",
        params = { HTTP_COOKIE = false, REQUEST_URI = "/another" },
        cache = (function(req)
          local own = req.cookies.own ~= nil
          return { key = not own and "page of " .. req.args.body or nil, ttl = 60, bypass = own,
            vary = "Accept-Language", tags = { "all", req.args.body } }
        end)(req) } end]] })
    local function said(query, ...)
      local result = server.command({ "explain", r.server.route_path, "--json",
        "http://localhost/x.php?" .. query, ... })
      assert.equal(0, result.code, result.stderr)
      return json.decode(result.stdout).cache
    end
    assert.same({
      key = "page of one", ttl = 60, tags = { "all", "one" }, keeps = true,
      vary = { { name = "Accept-Language", value = "de" } },
    }, said("body=one", "-H", "Accept-Language: de"))
    assert.equal("the decision says `bypass`", said("body=one", "-H", "Cookie: own=1").bypass)
    assert.is_nil(said("body=one", "-H", "Cookie: other=1").bypass)
    -- The server.
    local function result(query, headers)
      return r:get(query, { headers = headers }).headers["x-cache"]
    end
    until_cache_says(r, "hit", "body=one")
    assert.same({ "hit", "miss", "bypass", "hit" }, {
      result("body=one&other"), result("body=one", { ["Accept-Language"] = "de" }),
      result("body=one", { Cookie = "own=1" }), result("body=one", { Cookie = "other=1" }),
    })
  end)
end)

describe("a compressed response", function()
  it("is one of what is kept, for those who accept it", function()
    local r = start("{ ttl = '1h' }", { settings = "compress = true" })
    local commands = "size=20000&type=text/html&header=ETag:%20%22v1%22"
    local plain = rig.pattern(20000)
    r:get(commands, { headers = { ["Accept-Encoding"] = "gzip" } })
    for _ = 1, 3 do
      local res = r:get(commands)
      assert.same({ "hit", plain }, { res.headers["x-cache"], res.body })
      res = r:get(commands, { headers = { ["Accept-Encoding"] = "gzip" } })
      assert.same({ "hit", "gzip" }, { res.headers["x-cache"], res.headers["content-encoding"] })
      assert.is_true(#res.body < 10000)
      assert.equal(304, r:get(commands, { headers = { ["Accept-Encoding"] = "gzip",
        ["If-None-Match"] = res.headers.etag } }).status)
    end
    assert.equal(1, asked(r, "size=20000"))
  end)
end)

describe("what the cache has done", function()
  it("is in the access log, for on_log, and in moongate status over all workers", function()
    local r = start("{ ttl = '1h', bypass = req.args.Own ~= nil }", { control = true,
      settings = [[log = { format = "$uri|$cache" }, on_log = function(_, log)
        if log.uri:find("body=told") then return "told " .. tostring(log:all().cache) end
      end]] })
    assert.is_nil(r:status().cache)
    until_cache_says(r, "hit", "body=a")
    r:get("body=a&Own")
    r.server:wait_access("body=a|miss$")
    r.server:wait_access("body=a|hit$")
    r.server:wait_access("body=a&Own|bypass$")
    r:get("body=told")
    r.server:wait_access("^told miss$")
    local cache = poll.wait(function() -- an answer is counted when it has been sent
      local now = r:status().cache
      return now.hits + now.misses + now.bypassed >= 4 and now
    end, "the requests to be counted")
    assert.is_true(cache.hits >= 1 and cache.misses >= 2 and cache.bypassed == 1)
    assert.is_near(cache.hits / (cache.hits + cache.misses), cache.hit_rate, 1e-9)
    assert.same({ 2, 0, 0, 16 * 2 ^ 20 },
      { cache.entries, cache.stale, cache.evicted, cache.limit })
    assert.is_true(cache.bytes > 0)
    local text = r:tell("status")
    assert.matches("\ncache: %d+%.%d %% of %d+ requests had a kept answer %(%d+ hits, 0 stale, "
      .. "%d+ misses%), 1 passed by\n  2 answers and 0 coded bodies take %d+k of 16%.0M; "
      .. "2 stored, 0 evicted, 0 purged\n", text)
  end)
end)

describe("a wrong cache", function()
  it("is told at the key", function()
    for text, message in pairs({
      ["cache = { ttl = -1 }"] = "cache: ttl: expected",
      ["cache = { tll = 1 }"] = "cache: unknown key 'tll'; did you mean 'ttl'%?",
      ["cache = 5"] = "cache: expected true, false or a table",
      ["cache = { ignore = 'Cookie' }"] = 'cache: ignore: expected a list of "Set%-Cookie"',
    }) do
      local r = rig.start({ on_request = ([[
        do return { backend = "app", docroot = "/srv/app", %s } end]]):format(text) })
      assert.equal(500, r:get("body=x").status)
      r.server:wait_log(message)
      r:stop()
    end
  end)
end)
