-- A listener with `protocol = "fastcgi"`: what a web server may send, byte by byte, and what it
-- gets. The real web servers are in 45a.

local gateway = require("tests.support.gateway")
local http = require("tests.support.http")
local json = require("moongate.base.json")
local net = require("tests.support.net")
local poll = require("tests.support.poll")
local process = require("tests.support.process")
local rig = require("tests.support.rig")
local server = require("tests.support.server")

server.inspect()

-- A rig whose route listens for web servers (`web`), and for HTTP beside that.
local function start(options)
  options = options or {}
  local address, web = "127.0.0.1:" .. net.free_port(), "127.0.0.1:" .. net.free_port()
  if options.unix then
    web = "unix:" .. process.tempdir("web") .. "/fastcgi.sock"
  end
  local settings = options.settings and options.settings .. ", " or ""
  options.settings = settings .. ([[listen = { %q, { address = %q, protocol = "fastcgi", %s } },
    workers = %d, watch = false]]):format(address, web, options.listener or "",
    options.workers or 1)
  options.server = { own = true, address = address }
  local r = rig.start(options)
  r.web = web
  finally(function() r:stop() end)
  return r
end

local function open(r)
  return gateway.open(r.web)
end

-- One request on a connection of its own: the commands of the responder, and more keys.
local function ask(r, commands, request)
  request = request or {}
  request.params = request.params or {}
  if request.params.REQUEST_URI == nil then
    request.params.REQUEST_URI = rig.target(commands)
  end
  local web = open(r)
  local res = web:request(request)
  web:close()
  return res
end

describe("a request of a web server", function()
  it("is answered in the form of CGI, on any kind of socket", function()
    for _, unix in ipairs({ false, true }) do
      local r = start({ unix = unix })
      local web = open(r)
      for i = 1, 3 do
        local res = web:request({ params = {
          REQUEST_URI = rig.target("status=404&body=gone&header=X-A:%20b"),
        } })
        assert.equal(404, res.status, "request " .. i)
        assert.equal("404 Not Found", res.headers.status)
        assert.equal("b", res.headers["x-a"])
        assert.equal("gone", res.body)
        assert.equal("4", res.headers["content-length"])
        assert.equal(0, res.app_status)
        assert.equal(gateway.COMPLETE, res.protocol_status)
        assert.is_nil(res.headers.server)
      end
      web:close()
      r.server:wait_access('^192%.0%.2%.7 .*"GET /x%.php%?status=404&body=gone.* 404 4 ')
    end
  end)

  it("passes its params on, but for what the decision says", function()
    local r = start()
    local res = ask(r, "dump", { params = {
      HTTPS = "on", REQUEST_SCHEME = "https", SERVER_PROTOCOL = "HTTP/2.0", MY_OWN = "yes",
      HTTP_X_FORWARDED_FOR = "6.6.6.6", HTTP_PROXY = "evil:1", PATH_INFO = "/web/info",
      PHP_VALUE = "memory_limit=1G", HTTP_X_UNDER_SCORE = "1", AUTH_TYPE = "Basic",
      REMOTE_USER = "ann", EMPTY = "",
    } })
    local params = rig.params(res)
    assert.equal("/srv/app/x.php", params.SCRIPT_FILENAME)
    assert.equal("/srv/app", params.DOCUMENT_ROOT)
    assert.equal("/x.php", params.SCRIPT_NAME)
    assert.is_nil(params.PATH_INFO)
    for name, value in pairs({
      HTTPS = "on", REQUEST_SCHEME = "https", SERVER_PROTOCOL = "HTTP/2.0", MY_OWN = "yes",
      REMOTE_ADDR = "192.0.2.7", REMOTE_PORT = "4711", SERVER_NAME = "shop.test",
      SERVER_PORT = "81", SERVER_ADDR = "10.0.0.1", SERVER_SOFTWARE = "web/1",
      HTTP_HOST = "Shop.test:81", HTTP_X_FORWARDED_FOR = "6.6.6.6", AUTH_TYPE = "Basic",
      PHP_VALUE = "memory_limit=1G", REMOTE_USER = "ann", REQUEST_METHOD = "GET", EMPTY = "",
      QUERY_STRING = "dump", REQUEST_URI = "/x.php?dump", HTTP_X_UNDER_SCORE = "1",
    }) do
      assert.equal(value, params[name], name)
    end
    assert.is_nil(params.HTTP_PROXY)
    r.server:wait_access("^192%.0%.2%.7 %- ann ")
  end)

  it("leaves the script to the web server where nothing else says which it is", function()
    local r = start({ on_request = 'if req.path ~= "/named.php" then '
      .. 'return { backend = "app" } end '
      .. 'do return { backend = "app", script = "/front.php" } end' })
    local params = rig.params(ask(r, "dump", { params = {
      PATH_INFO = "/info", PATH_TRANSLATED = "/web/info", REQUEST_URI = "/pretty?dump",
    } }))
    assert.equal("/web/x.php", params.SCRIPT_FILENAME)
    assert.equal("/x.php", params.SCRIPT_NAME)
    assert.equal("/info", params.PATH_INFO)
    assert.equal("/web/info", params.PATH_TRANSLATED)
    assert.equal("/web", params.DOCUMENT_ROOT)
    assert.equal("/pretty?dump", params.REQUEST_URI)
    -- A script that the hook names lies in the web server's root.
    params = rig.params(ask(r, "dump", { params = {
      PATH_INFO = "/info", REQUEST_URI = "/named.php?dump",
    } }))
    assert.equal("/web/front.php", params.SCRIPT_FILENAME)
    assert.equal("/front.php", params.SCRIPT_NAME)
    assert.equal("/web", params.DOCUMENT_ROOT)
    assert.is_nil(params.PATH_INFO)
  end)

  it("may carry no REQUEST_URI, no Host and no CONTENT_LENGTH", function()
    local r = start()
    local res = ask(r, "", { stdin = "abc", params = {
      REQUEST_URI = false, SCRIPT_NAME = "/a b", PATH_INFO = "/x.php", QUERY_STRING = "dump&sum",
      HTTP_HOST = false, CONTENT_LENGTH = false,
    } })
    local params = rig.params(res)
    assert.equal("/a%20b/x.php?dump&sum", params.REQUEST_URI)
    assert.equal("3", params.CONTENT_LENGTH)
    assert.is_nil(params.HTTP_HOST)
    assert.is_nil(params.HTTP_CONTENT_LENGTH)
    assert.equal("shop.test", params.SERVER_NAME)
  end)

  it("is seen by the hooks as one of HTTP is, and as it came", function()
    local r = start({ on_request = [[
      if req.path == "/seen" then
        local names = {}
        for name in req.params:each() do names[#names + 1] = name end
        table.sort(names)
        return { status = 200, body = table.concat({
          req.method, req.scheme, req.host, req.port, req.path, req.query, req.ip, req.client_port,
          req.server_ip, req.server_port, req.headers["x-thing"], req.headers.Cookie,
          req.cookies.a, req.params.MY_OWN, tostring(req.params.NOT_THERE), req.listener,
          req.version,
          table.concat(names, ","), tostring(pcall(function() req.params.X = "1" end)),
        }, "|") }
      elseif req.path == "/http" then
        return { status = 200, body = tostring(req.params) }
      end]], listener = 'name = "web"' })
    local res = ask(r, "", { params = {
      REQUEST_URI = "/seen?q=1", HTTPS = "on", HTTP_X_THING = "thing", HTTP_COOKIE = "a=b; c=d",
      MY_OWN = "own",
    } })
    assert.equal(200, res.status)
    assert.equal("GET|https|shop.test|81|/seen|q=1|192.0.2.7|4711|10.0.0.1|81|thing|a=b; c=d|b|own|"
      .. "nil|web|1.1|CONTENT_LENGTH,DOCUMENT_ROOT,HTTPS,HTTP_COOKIE,HTTP_HOST,HTTP_X_THING,MY_OWN,"
      .. "QUERY_STRING,REMOTE_ADDR,REMOTE_PORT,REQUEST_METHOD,REQUEST_URI,SCRIPT_FILENAME,"
      .. "SCRIPT_NAME,SERVER_ADDR,SERVER_NAME,SERVER_PORT,SERVER_PROTOCOL,SERVER_SOFTWARE|false",
      res.body)
    assert.equal("nil", http.get(r.address, "/http").body)
  end)

  it("brings a body of any size, in records of any size", function()
    local r = start()
    for _, size in ipairs({ 1, 65536, 3000000 }) do
      local body = rig.pattern(size)
      for _, split in ipairs({ 65535, size > 100000 and 8192 or 1000 }) do
        local res = ask(r, "sum", { stdin = body, split = split })
        assert.equal(rig.sum(body), res.body)
      end
    end
    -- Split at every byte, with padding.
    local web = open(r)
    for byte in gateway.format({ stdin = "abc", split = 2, params = {
      REQUEST_URI = rig.target("echo") } }):gmatch(".") do
      web:send(byte)
    end
    assert.equal("abc", web:answer().body)
    web:close()
  end)

  it("gets a large answer whole, though it reads slowly", function()
    local r = start({ settings = "limits = { response_memory = '64k', spool = '1M' }" })
    local size = 8 * 1024 * 1024
    local web = open(r)
    web:send(gateway.format({ params = { REQUEST_URI = rig.target("size=" .. size) } }))
    r.back:wait_log("^START")
    local res = web:answer()
    assert.equal(200, res.status)
    assert.is_true(res.body == rig.pattern(size))
    web:close()
  end)

  it("gets files, pages for errors and what on_error says", function()
    local dir = process.tempdir("files")
    process.write_file(dir .. "/a.txt", rig.pattern(300000))
    process.chmod(dir, "755")
    local r = start({ on_request = ([[
      if req.path == "/file" then return { file = "%s/a.txt" } end
      if req.path == "/none" then return nil end
      if req.path == "/go" then return { redirect = "/there" } end]]):format(dir) })
    local web = open(r)
    local function get(uri, params)
      params = params or {}
      params.REQUEST_URI = uri
      return web:request({ params = params })
    end
    local file = get("/file")
    assert.equal(200, file.status)
    assert.equal("300000", file.headers["content-length"])
    assert.is_true(file.body == rig.pattern(300000))
    local part = get("/file", { HTTP_RANGE = "bytes=10-19" })
    assert.equal(206, part.status)
    assert.equal(rig.pattern(20):sub(11), part.body)
    assert.equal(304, get("/file", { HTTP_IF_NONE_MATCH = file.headers.etag }).status)
    assert.equal("", get("/file", { REQUEST_METHOD = "HEAD" }).body)
    assert.equal(404, get("/none").status)
    local away = get("/go")
    assert.equal(302, away.status)
    assert.equal("/there", away.headers.location)
    assert.equal(502, get(rig.target("head=no-colon")).status)
    web:close()
  end)

  it("is sent elsewhere by the application as over HTTP", function()
    local r = start({ on_request = [[
      if req.path == "/two" then
        return { backend = "app", docroot = "/srv/app", script = "/x.php",
          params = { QUERY_STRING = "dump&sum" } }
      end]] })
    local res = ask(r, "header=Location:%20/two", { stdin = "body", params = {
      CONTENT_TYPE = "text/plain", HTTP_CONTENT_TYPE = "text/plain", HTTP_CONTENT_LENGTH = "4",
      PATH_INFO = "/old", DOCUMENT_URI = "/x.php",
    } })
    local params = rig.params(res)
    assert.equal("GET", params.REQUEST_METHOD)
    assert.equal("/two", params.REQUEST_URI)
    assert.equal("/two", params.DOCUMENT_URI)
    for _, name in ipairs({ "CONTENT_TYPE", "HTTP_CONTENT_TYPE", "HTTP_CONTENT_LENGTH",
      "PATH_INFO" }) do
      assert.is_nil(params[name], name)
    end
  end)
end)

describe("a connection of a web server", function()
  it("is kept or closed as it says", function()
    local r = start()
    local web = open(r)
    assert.equal(200, web:request({ params = { REQUEST_URI = rig.target("body=a") } }).status)
    assert.equal("b", web:request({ id = 300, keep = false, params = {
      REQUEST_URI = rig.target("body=b") } }).body)
    assert.is_true(web.conn:closes())
    web:close()
  end)

  it("carries many requests at a time, and a slow one holds up no other", function()
    local r = start({ backend = "max_conns = 0", settings =
      "limits = { response_memory = '64k', spool = '64M' }" })
    local web = open(r)
    web:send(gateway.format({ id = 1, params = { REQUEST_URI = rig.target("delay=600000") } }))
    web:send(gateway.format({ id = 2, params = { REQUEST_URI = rig.target("size=5000000") } }))
    -- One whose body nobody wants yet: its server takes nothing of it.
    web:send(gateway.head({ id = 3, stdin = ("x"):rep(1000000), params = {
      REQUEST_URI = rig.target("noread=600000") } }))
    web:send(gateway.stream(gateway.STDIN, 3, ("x"):rep(1000000), 65535))
    for id = 4, 60 do
      web:send(gateway.format({ id = id, stdin = "n" .. id, params = {
        REQUEST_URI = rig.target("echo") } }))
    end
    local seen = {}
    while #seen < 58 do
      local res = web:answer(0)
      assert.is_nil(seen["id" .. res.id])
      seen["id" .. res.id] = res
      seen[#seen + 1] = res.id
      if res.id > 3 then
        assert.equal("n" .. res.id, res.body)
      end
    end
    assert.is_true(seen.id2.body == rig.pattern(5000000))
    -- The big one did not have to be read whole before the small ones.
    assert.is_true(seen[1] ~= 2)
    web:send(gateway.record(gateway.ABORT, 1))
    assert.equal(gateway.COMPLETE, web:answer(1, { bare = true }).protocol_status)
    web:close()
    r.server:wait_access(' 499 ')
  end)

  it("is told how many it may make, and what is not known", function()
    local r = start()
    local web = open(r)
    web:send(gateway.record(gateway.GET_VALUES, 0, gateway.pair("FCGI_MPXS_CONNS", "")
      .. gateway.pair("FCGI_MAX_CONNS", "") .. gateway.pair("OTHER", "")))
    local record = web:record()
    assert.equal(gateway.VALUES, record.kind)
    assert.equal(0, record.id)
    assert.equal(gateway.pair("FCGI_MPXS_CONNS", "1") .. gateway.pair("FCGI_MAX_CONNS", "65535"),
      record.content)
    web:send(gateway.record(99, 0, "what"))
    record = web:record()
    assert.equal(gateway.UNKNOWN, record.kind)
    assert.equal(99, record.content:byte(1))
    assert.equal(200, web:request({ params = { REQUEST_URI = rig.target("body=a") } }).status)
    web:close()
  end)

  it("is refused with the status of the protocol", function()
    local r = start()
    local web = open(r)
    for _, role in ipairs({ 0, 4, 65535 }) do
      web:send(gateway.format({ id = 9, role = role, stdin = "abc" }))
      assert.equal(gateway.UNKNOWN_ROLE, web:answer(9, { bare = true }).protocol_status)
    end
    for id = 1, 129 do
      web:send(gateway.begin(id))
    end
    assert.equal(gateway.OVERLOADED, web:answer(129, { bare = true }).protocol_status)
    web:send(gateway.record(gateway.ABORT, 1) .. gateway.format({ id = 200, params = {
      REQUEST_URI = rig.target("body=a") } }))
    assert.equal("a", web:answer(200).body)
    web:close()
  end)

  it("asks as an authorizer", function()
    local r = start()
    local res = ask(r, "header=Variable-WHO:%20ann&header=Variable-REMOTE_USER:%20ann",
      { role = 2, params = { CONTENT_LENGTH = "5" } })
    assert.equal(200, res.status)
    assert.equal("ann", res.headers["variable-who"])
    assert.equal("ann", res.headers["variable-remote_user"])
    assert.matches("role=2", r.back:wait_log("^REQUEST"))
  end)

  it("too many are told so, and requests too many of one client", function()
    local r = start({ settings = "limits = { connections = 1, per_ip = 2 }" })
    local first = open(r)
    for id = 1, 3 do
      first:send(gateway.format({ id = id, params = {
        REQUEST_URI = rig.target(id == 3 and "body=a" or "delay=600000") } }))
    end
    assert.equal(503, first:answer(3).status)
    first:send(gateway.format({ id = 4, params = { REQUEST_URI = rig.target("body=a"),
      REMOTE_ADDR = "192.0.2.8" } }))
    assert.equal("a", first:answer(4).body)
    local second = open(r)
    second:send(gateway.format({}))
    assert.equal(gateway.OVERLOADED, second:answer(1, { bare = true }).protocol_status)
    second:close()
    first:send(gateway.record(gateway.ABORT, 1))
    first:answer(1, { bare = true })
    first:send(gateway.format({ id = 5, params = { REQUEST_URI = rig.target("body=b") } }))
    assert.equal("b", first:answer(5).body)
    first:close()
  end)
end)

describe("a web server that leaves", function()
  it("takes its requests with it", function()
    local r = start()
    for _, how in ipairs({ "close", "reset" }) do
      local web = open(r)
      web:send(gateway.format({ params = { REQUEST_URI = rig.target("delay=600000&" .. how) } }))
      r.back:wait_log("^START.*" .. how)
      web.conn[how](web.conn)
      r.server:wait_access('&' .. how .. ' HTTP/1%.1" 499 ')
      r.back:wait_log("^REQUEST.*" .. how)
    end
  end)

  it("is missed when it says nothing for too long", function()
    local r = start({ settings = "limits = { header_timeout = 0.3, body_timeout = 0.3 }" })
    local web = open(r)
    web:send(gateway.begin(1))
    assert.equal(408, web:answer().status)
    web:send(gateway.head({ id = 2, stdin = "abc", params = { REQUEST_URI = rig.target("sum") } }))
    assert.equal(408, web:answer(2).status)
    -- A record that does not come to its end.
    web:send(gateway.begin(1):sub(1, 5))
    assert.is_true(web.conn:closes())
    web:close()
  end)

  it("is missed when it takes nothing for too long", function()
    local r = start({ settings = "limits = { send_timeout = 0.3, response_memory = '64k', "
      .. "spool = '64k' }" })
    local web = open(r)
    web:send(gateway.format({ params = { REQUEST_URI = rig.target("size=50000000") } }))
    r.server:wait_access(' HTTP/1%.1" 499 ')
    web:close()
  end)
end)

describe("what is no request", function()
  local r

  -- Sends bytes and expects this status of HTTP.
  local function refused(status, request)
    local web = open(r)
    local res = web:request(request)
    assert.equal(status, res.status)
    -- The connection is as good as before.
    assert.equal("a", web:request({ id = 2, params = { REQUEST_URI = rig.target("body=a") } }).body)
    web:close()
  end

  it("is refused in words of HTTP where one can answer", function()
    r = start({ settings = "limits = { header = '1k', request_line = 256, headers = 10 }" })
    refused(400, { params = { REQUEST_METHOD = false } })
    refused(400, { params = { REQUEST_METHOD = "G T" } })
    refused(405, { params = { REQUEST_METHOD = "TRACE" } })
    refused(400, { params = { HTTP_HOST = "a b" } })
    refused(400, { params = { HTTP_X = "a\nb" } })
    refused(400, { params = { REQUEST_URI = "/%00" } })
    refused(400, { params = { REQUEST_URI = "/../x" } })
    refused(400, { params = { CONTENT_LENGTH = "abc" } })
    refused(400, { stdin = "abc", params = { CONTENT_LENGTH = "4" } })
    refused(400, { stdin = "abc", params = { CONTENT_LENGTH = "2" } })
    refused(414, { params = { REQUEST_URI = "/" .. ("a"):rep(300) } })
    refused(431, { params = { BIG = ("a"):rep(3000) } })
    local many = {}
    for i = 1, 11 do
      many["HTTP_X" .. i] = "1"
    end
    refused(431, { params = many })
    assert.is_nil(r.server:errors():find("no FastCGI", 1, true))
  end)

  it("ends the connection where the records are broken", function()
    r = start()
    for _, bytes in ipairs({
      "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
      "\2" .. gateway.begin(1):sub(2),
      gateway.record(gateway.BEGIN, 1, "\0\1\1"),
      gateway.begin(1) .. gateway.begin(1),
      gateway.format({ params = { REQUEST_URI = rig.target("delay=600000") } })
        .. gateway.record(gateway.PARAMS, 1, gateway.pair("A", "b")),
    }) do
      local web = open(r)
      web:send(bytes)
      assert.is_true(web.conn:closes())
      web:close()
    end
    r.server:wait_log("what a web server sends is no FastCGI")
    -- A pair that is cut short, and STDIN before its time, are one request's fault.
    local web = open(r)
    web:send(gateway.begin(1) .. gateway.stream(gateway.PARAMS, 1, "\5\200ab", 100))
    assert.equal(400, web:answer().status)
    web:send(gateway.begin(1) .. gateway.record(gateway.STDIN, 1, "x"))
    assert.equal(400, web:answer().status)
    web:close()
  end)

  it("never confuses the worker, however it is mixed", function()
    r = start({ settings = "limits = { header_timeout = 5 }", violations = true })
    math.randomseed(20261129)
    local random = math.random
    local pieces = {
      function(id) return gateway.begin(id, random(0, 4), random() < 0.8) end,
      function(id) return gateway.head({ id = id, params = {
        REQUEST_URI = rig.target("size=" .. random(1, 40000)) } }) end,
      function(id) return gateway.format({ id = id, stdin = ("y"):rep(random(0, 3000)), params = {
        REQUEST_URI = rig.target("echo&delay=" .. random(0, 20)) } }) end,
      function(id) return gateway.record(random(0, 12), id, ("z"):rep(random(0, 100)),
        random(0, 255)) end,
      function(id) return gateway.record(gateway.STDIN, id) end,
      function(id) return gateway.record(gateway.ABORT, id) end,
      function()
        return gateway.record(gateway.GET_VALUES, 0, gateway.pair("FCGI_MPXS_CONNS", ""))
      end,
      function(id) return gateway.head({ id = id }):sub(1, random(1, 60)) end,
    }
    for _ = 1, 300 do
      local web = gateway.open(r.web)
      local list = {}
      for i = 1, random(1, 12) do
        -- The last kinds break what follows.
        list[i] = pieces[random(1, random() < 0.9 and 7 or 8)](random(1, 4))
      end
      local bytes = table.concat(list)
      while #bytes > 0 do
        local n = random(1, 4000)
        if not web.conn:try_send(bytes:sub(1, n)) then
          break
        end
        bytes = bytes:sub(n + 1)
      end
      if random() < 0.5 then
        web.conn:silent(0.01) -- reads what there is
      end
      web:close()
    end
    -- Nothing is left of it.
    local web = gateway.open(r.web)
    assert.equal("a", web:request({ params = { REQUEST_URI = rig.target("body=a") } }).body)
    web:close()
    poll.wait(function()
      return net.connections(r.workers[1], r.web) == 0
    end, "the connections to end", 20)
  end)
end)

describe("an answer that breaks off", function()
  it("ends the connection where it is alone on it, and only itself where it is not", function()
    local r = start()
    local commands = "size=100000&fail=close-mid-body"
    local web = open(r)
    web:send(gateway.format({ params = { REQUEST_URI = rig.target(commands) } }))
    local text = web.conn:read_all()
    assert.is_truthy(text:find("Status: 200", 1, true))
    assert.is_nil(text:find(gateway.record(gateway.END, 1, ("\0"):rep(8)), 1, true))
    web:close()
    web = open(r)
    web:send(gateway.format({ id = 2, params = { REQUEST_URI = rig.target("delay=600000") } }))
    web:send(gateway.format({ params = { REQUEST_URI = rig.target(commands) } }))
    local res = web:answer(1, { bare = true })
    assert.equal(gateway.OVERLOADED, res.protocol_status)
    assert.equal(1, res.app_status)
    web:close()
  end)
end)

describe("a stop and a reload", function()
  it("lose no request of a kept connection", function()
    local r = start({ workers = 2, control = true, dies = true })
    local web = open(r)
    assert.equal("a", web:request({ params = { REQUEST_URI = rig.target("body=a") } }).body)
    for i = 1, 3 do
      web:send(gateway.format({ id = 7, params = {
        REQUEST_URI = rig.target("body_delay=300&body=b") } }))
      r.server:reload(r:route())
      assert.equal("b", web:answer(7).body, "reload " .. i)
      assert.equal("c", web:request({ params = { REQUEST_URI = rig.target("body=c") } }).body)
    end
    web:send(gateway.format({ id = 8, params = {
      REQUEST_URI = rig.target("body_delay=500&body=d") } }))
    r.back:wait_log("^START.*body=d")
    r.server.process:kill("TERM")
    assert.equal("d", web:answer(8).body)
    assert.is_true(web.conn:closes())
    web:close()
  end)

  -- The only worker is replaced, and passes the connection on.
  it("lose none where a single worker serves", function()
    local r = start({ control = true })
    local web = open(r)
    for i = 1, 4 do
      web:send(gateway.format({ id = i, params = {
        REQUEST_URI = rig.target("body_delay=200&body=b" .. i) } }))
      r.back:wait_log("^START.*body=b" .. i)
      r.server:reload(r:route())
      assert.equal("b" .. i, web:answer(i).body)
      local res = web:request({ id = i, stdin = "c", params = {
        REQUEST_URI = rig.target("echo") } })
      assert.equal("c", res.body)
    end
    web:close()
  end)

  it("show the listener", function()
    local r = start({ control = true })
    local found = false
    for _, listener in ipairs(json.decode(r:tell("status", "--json")).listeners) do
      found = found or listener.address == r.web
    end
    assert.is_true(found)
    assert.is_truthy(r.server:errors():find("FastCGI on " .. r.web, 1, true))
  end)
end)
