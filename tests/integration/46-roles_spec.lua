-- The roles of FastCGI beside the responder: authorizers, which are asked before a decision is
-- carried out, and filters, which get a file behind the request's body; for clients of HTTP and for
-- web servers in front.

local gateway = require("tests.support.gateway")
local http = require("tests.support.http")
local net = require("tests.support.net")
local poll = require("tests.support.poll")
local process = require("tests.support.process")
local rig = require("tests.support.rig")
local server = require("tests.support.server")
local stage = require("tests.support.stage")

local MEGABYTE = 1024 * 1024

-- The application at the responder's first address, the authorizer at the second. What the latter
-- does is said in the header X-Auth of the request.
local function start(options)
  options = options or {}
  options.responder = options.responder or { count = 2 }
  options.servers = options.servers or function(addresses) return ("%q"):format(addresses[1]) end
  options.backends = options.backends or function(addresses)
    return ("auth = { servers = { %q }, %s },"):format(addresses[2], options.auth or "")
  end
  options.on_request = options.on_request or ([[
    do return { backend = "app", docroot = "/srv/app", authorize = {
      backend = "auth", docroot = "/srv/auth", script = "/auth.php",
      params = { QUERY_STRING = req.headers["X-Auth"] or "" },
    }, %s } end]]):format(options.more or "")
  local r = rig.start(options)
  finally(function() r:stop() end)
  return r
end

local function get(r, auth, commands, request)
  request = request or {}
  request.headers = request.headers or {}
  request.headers["X-Auth"] = auth
  return r:get(commands or "body=app", request)
end

-- How many requests the application, and the authorizer, have had.
local function counts(r)
  local shares = r:shares()
  return shares[1] or 0, shares[2] or 0
end

describe("an authorizer", function()
  it("lets a request on with 200, and its Variable-* are params of it", function()
    local r = start({ more = 'params = { OURS = "ours", Both = "ours" }' })
    local res = get(r, "header=Variable-REMOTE_USER:%20ann&header=variable-GROUP:%20a%20b"
      .. "&header=Variable-HTTP_X_WHO:%20ann&header=Variable-Both:%20theirs&header=X-Other:%201"
      .. "&header=Set-Cookie:%20a=b&body=secret", "dump", { headers = { ["X-Who"] = "eve" } })
    assert.equal(200, res.status)
    assert.is_nil(res.headers["x-other"])
    assert.is_nil(res.headers["set-cookie"])
    local params = rig.params(res)
    assert.equal("ann", params.REMOTE_USER)
    assert.equal("a b", params.GROUP)
    assert.equal("ann", params.HTTP_X_WHO)
    assert.equal("ours", params.OURS)
    assert.equal("ours", params.Both)
    assert.equal("/x.php", params.SCRIPT_NAME)
    r.server:wait_access("^127%.0%.0%.1 %- ann ")
    local events = r:events("REQUEST")
    assert.same({ "2", "1" }, { events[1].role, events[2].role })
  end)

  it("may not say which script is run, nor set PHP up", function()
    local r = start()
    local said = {}
    for _, name in ipairs({ "SCRIPT_FILENAME", "script_name", "PATH_INFO", "PATH_TRANSLATED",
      "DOCUMENT_ROOT", "CONTENT_LENGTH", "PHP_VALUE", "PHP_ADMIN_VALUE", "HTTP_PROXY" }) do
      said[#said + 1] = ("header=Variable-%s:%%20bad"):format(name)
    end
    local res = get(r, table.concat(said, "&"), "dump")
    assert.equal(200, res.status)
    for name, value in pairs(rig.params(res)) do
      assert.not_equal("bad", value, name)
    end
    r.server:wait_log("an authorizer may not set PHP_VALUE: left out")
  end)

  it("is asked as the specification says, and does not get the client's body", function()
    local r = start()
    local body = rig.bytes(200000)
    local res = get(r, "status=403&dump", "body=app", { method = "POST", body = body })
    assert.equal(403, res.status)
    local params = rig.params(res)
    for _, name in ipairs({ "CONTENT_LENGTH", "PATH_INFO", "PATH_TRANSLATED", "SCRIPT_NAME" }) do
      assert.is_nil(params[name], name)
    end
    assert.equal("POST", params.REQUEST_METHOD)
    assert.equal("/x.php?body=app", params.REQUEST_URI)
    assert.equal("/srv/auth/auth.php", params.SCRIPT_FILENAME)
    assert.equal("127.0.0.1", params.REMOTE_ADDR)
    assert.equal("0", r:events("REQUEST")[1].stdin)
    for _, chunked in ipairs({ false, true }) do
      res = get(r, "status=200", "sum", { method = "POST", body = body, chunked = chunked })
      assert.equal(rig.sum(body), res.body)
    end
  end)

  it("answers the client with any other status, whole, and the application is not asked", function()
    local r = start({ more = "headers = { ['X-Site'] = 'shop' }" })
    local res = get(r, "status=401&header=WWW-Authenticate:%20Basic&header=Variable-WHO:%20x"
      .. "&header=Set-Cookie:%20a=b&body=who%20are%20you%3F")
    assert.equal(401, res.status)
    assert.equal("Basic", res.headers["www-authenticate"])
    assert.equal("a=b", res.headers["set-cookie"])
    assert.equal("shop", res.headers["x-site"])
    assert.is_nil(res.headers["variable-who"])
    assert.equal("who are you?", res.body)
    for _, status in ipairs({ 204, 302, 404, 500 }) do
      assert.equal(status, get(r, "status=" .. status .. "&header=Location:%20/login").status)
    end
    res = get(r, "header=Location:%20/login")
    assert.equal(302, res.status)
    assert.equal("/login", res.headers.location)
    res = get(r, "status=403&header=X-Accel-Redirect:%20/etc/passwd&body=no")
    assert.equal("no", res.body)
    assert.same({ 0, 7 }, { counts(r) })
    for _, event in ipairs(r:events("REQUEST")) do
      assert.equal("2", event.role)
    end
  end)

  it("has at most 1 MB for its answer", function()
    local r = start()
    assert.equal(200, get(r, "status=200&size=" .. MEGABYTE).status)
    assert.equal(502, get(r, "status=200&size=" .. MEGABYTE + 1).status)
    assert.equal(rig.pattern(MEGABYTE), get(r, "status=403&size=" .. MEGABYTE).body)
    local ok, res = pcall(get, r, "status=403&size=" .. 8 * MEGABYTE)
    assert.is_true(not ok or #res.body <= MEGABYTE)
    r.server:wait_log("the answer of an authorizer is larger than 1 MB")
    assert.same({ 1, 4 }, { counts(r) })
  end)

  it("that fails lets nobody on", function()
    local r = start()
    local function fails(commands, status)
      local res = get(r, commands, "body=app", { method = "POST", body = "abc" })
      assert.equal(status, res.status, commands)
    end
    for _, commands in ipairs({
      "fail=close-before-head", "fail=close-after-head", "fail=close-mid-body", "fail=no-end",
      "fail=garbage", "fail=wrong-id", "fail=end-only", "head=none", "head=no-colon",
      "status=200&app=1", "protocol=3", "status=200&output&protocol=3",
    }) do
      fails(commands, 502)
    end
    assert.equal(0, (counts(r)))
    assert.equal("app", get(r, "status=200").body)
    r = start({ auth = "read_timeout = '300ms', queue_timeout = '200ms'" })
    for _, commands in ipairs({ "fail=hang", "fail=hang-after-head", "fail=hang-before-end" }) do
      fails(commands, 504)
    end
    fails("protocol=2", 503)
    assert.equal(0, (counts(r)))
  end)

  it("that can't be reached is 503, unless another server of it can", function()
    local nobody = "unix:" .. process.tempdir("nobody") .. "/none.sock"
    local r = start({ backends = ("auth = %q,"):format(nobody) })
    assert.equal(503, get(r, "status=200").status)
    assert.same({}, r:events("REQUEST"))
    r = start({ backends = function(addresses)
      return ("auth = { %q, %q },"):format(nobody, addresses[2])
    end })
    for _ = 1, 4 do
      assert.equal("app", get(r, "status=200", "body=app", { method = "POST", body = "a" }).body)
    end
  end)

  it("whose kept connection has gone is asked again, whatever the method", function()
    local r = start({ auth = "keepalive = 1" })
    assert.equal("app", get(r, "next=close").body)
    assert.equal("app", get(r, "status=200", "body=app", { method = "POST", body = "a" }).body)
    assert.same({ 2, 2 }, { counts(r) })
  end)

  it("is asked before files, replies and redirects, too", function()
    local root = process.tempdir("www")
    stage.write(root, { ["a.txt"] = "a file" })
    local r = start({ on_request = ([[
      local asked = { backend = "auth", params = { QUERY_STRING = req.headers["X-Auth"] } }
      local d = ({
        ["/a.txt"] = { root = %q },
        ["/reply"] = { status = 201, body = "a reply" },
        ["/redirect"] = { redirect = "/a.txt" },
        ["/try"] = { root = %q, try = { "/b.txt", { status = 202, body = "the end" } } },
        ["/none"] = { root = %q, try = { "/b.txt" } },
      })[req.path]
      d.authorize = asked
      do return d end]]):format(root, root, root) })
    for path, status in pairs({ ["/a.txt"] = 200, ["/reply"] = 201, ["/redirect"] = 302,
      ["/try"] = 202, ["/none"] = 404 }) do
      local function ask(auth)
        return http.request(r.address, { path = path, headers = { ["X-Auth"] = auth } }).status
      end
      assert.equal(status, ask("status=200"), path)
      assert.equal(403, ask("status=403"), path)
      assert.equal(502, ask("fail=no-end"), path)
    end
    r.server:wait_access('"GET /none HTTP/1.1" 404 ')
  end)

  it("guards all of a php.site, whatever an option says about which part", function()
    local root = process.tempdir("www")
    stage.write(root, { ["a.css"] = "a", ["x.php"] = "x", [".env"] = "secret",
      ["sub/index.php"] = "x" })
    local r = start({ before = ([[
      local site = require("moongate.php").site {
        root = %q, backend = "app", errors = { [404] = "/a.css" },
        authorize = function(req)
          if req.path ~= "/open.css" then
            return { backend = "auth", params = { QUERY_STRING = req.headers["X-Auth"] } }
          end
        end,
        authorize_key = function(req) return req.headers["X-Key"] end, authorize_ttl = "1m",
      }]]):format(root), on_request = "do return site(req) end" })
    for _, path in ipairs({ "/a.css", "/x.php?body=app", "/sub", "/.env", "/none", "/open.css" }) do
      local function ask(auth)
        return http.request(r.address, { path = path, headers = { ["X-Auth"] = auth } }).status
      end
      assert.equal(path == "/open.css" and 404 or 401, ask("status=401"), path)
      assert.not_equal(401, ask("status=200"), path)
    end
  end)

  it("is asked once in authorize_ttl for a key, by what it has let on", function()
    local r = start({ more = 'authorize_key = req.headers["X-Key"], authorize_ttl = "1h"' })
    local function ask(auth, key)
      return get(r, auth, "dump", { headers = { ["X-Key"] = key } })
    end
    assert.equal(403, ask("status=403", "k1").status)
    for _ = 1, 3 do
      local params = rig.params(ask("header=Variable-REMOTE_USER:%20ann", "k1"))
      assert.equal("ann", params.REMOTE_USER)
    end
    assert.same({ 3, 2 }, { counts(r) })
    -- Another key, another authorizer's request, and no key are other questions.
    assert.equal(403, ask("status=403", "k2").status)
    assert.equal(403, ask("status=403", "k1").status)
    for _ = 1, 2 do
      assert.equal(200, ask("status=200", "").status)
      assert.equal(200, ask("status=200", nil).status)
    end
    assert.same({ 7, 8 }, { counts(r) })
    r.server:wait_access(" %- ann ", 3)
  end)

  it("is asked again when authorize_ttl is over", function()
    local r = start({ more = 'authorize_key = "all", authorize_ttl = "500ms"' })
    poll.wait(function()
      assert.equal("app", get(r, "status=200").body)
      local app, auth = counts(r)
      return auth >= 3 and app > auth
    end, "grants to be used, and to end")
  end)

  it("is seen by the hooks", function()
    local r = start({ more = "intercept_errors = { 402 }", settings = [[
      on_params = function(req, params) params.ROLE = req.role end,
      on_response = function(req, res)
        res.headers["X-Role"] = req.role
        if req.role == "authorizer" and res.status == 401 then
          return { redirect = "/login" }
        end
      end,
      on_error = function(req, err)
        return { status = err.status, body = err.kind .. " of " .. tostring(err.backend) }
      end,
      on_log = function(req, log)
        local list = {}
        for i, attempt in ipairs(log.attempts) do
          list[i] = tostring(attempt.role)
        end
        return ("%s %d %s %s"):format(req.path, log.status, tostring(log.backend),
          table.concat(list, ","))
      end]] })
    local res = get(r, "status=200", "dump")
    assert.equal("responder", rig.params(res).ROLE)
    assert.equal("responder", res.headers["x-role"])
    res = get(r, "status=403&dump")
    assert.equal("authorizer", rig.params(res).ROLE)
    assert.equal("authorizer", res.headers["x-role"])
    res = get(r, "status=401")
    assert.equal(302, res.status)
    assert.equal("/login", res.headers.location)
    assert.equal("status of auth", get(r, "status=402").body)
    assert.equal("closed of auth", get(r, "fail=no-end").body)
    r.server:wait_access("/x.php 200 app authorizer,nil")
    r.server:wait_access("/x.php 403 auth authorizer")
  end)

  it("is asked before Early Hints are sent", function()
    local r = start({ more = 'early_hints = "</a.css>; rel=preload"' })
    local function lines(auth)
      local conn = net.connect(r.address)
      conn:send("GET /x.php?body=app HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"
        .. ("X-Auth: %s\r\n\r\n"):format(auth))
      local text = conn:read_all()
      conn:close()
      return text
    end
    assert.matches("^HTTP/1%.1 103 ", lines("status=200"))
    assert.matches("^HTTP/1%.1 403 ", lines("status=403"))
  end)

  it("is shown by explain, and is known to specs", function()
    local r = start()
    local result = server.command({ "explain", r.server.route_path, "/x.php" })
    assert.matches("authorize: backend 'auth' is asked first", result.stdout, 1, true)
    assert.matches("authorizer's params", result.stdout, 1, true)
    assert.matches("/srv/auth/auth.php", result.stdout, 1, true)
    assert.equal(0, result.code)
    local dir = process.tempdir("spec")
    stage.write(dir, { ["a_spec.lua"] = ([[
      local route = require("moongate.testing").load(%q)
      it("asks", function()
        local out = route:request { url = "/x.php", headers = { ["X-Auth"] = "status=1" } }
        assert.equal("app", out.backend)
        assert.equal("/x.php", out.params.SCRIPT_NAME)
        assert.equal("auth", out.authorize.backend)
        assert.equal("status=1", out.authorize.params.QUERY_STRING)
        assert.is_nil(out.authorize.params.SCRIPT_NAME)
        assert.is_nil(out.authorize.params.CONTENT_LENGTH)
      end)]]):format(r.server.route_path) })
    result = server.command({ "test", r.server.route_path, dir .. "/a_spec.lua" })
    assert.equal(0, result.code, result.stdout .. result.stderr)
  end)
end)

describe("a filter", function()
  local function site(files)
    local root = process.tempdir("filter")
    stage.write(root, files)
    return root
  end

  -- The file of the request's path, as the decision of a filter; `more` keys of it.
  local function filter(root, more, options)
    options = options or {}
    options.on_request = ('do return { backend = "app", role = "filter", root = %q, '
      .. 'params = { QUERY_STRING = req.query }, %s } end'):format(root, more or "")
    local r = rig.start(options)
    finally(function() r:stop() end)
    return r
  end

  it("gets the file behind the body, with its length and its time", function()
    local data = rig.bytes(3 * MEGABYTE + 7)
    local root = site({ ["a.html"] = data, ["empty"] = "" })
    assert.equal(0, os.execute("touch -d @1700000000 " .. root .. "/a.html"))
    local r = filter(root)
    local res = http.request(r.address, { path = "/a.html?sum" })
    assert.equal(rig.sum("") .. rig.sum(data):gsub("length", "data"), res.body)
    local params = rig.params(http.request(r.address, { path = "/a.html?dump" }))
    assert.equal(tostring(#data), params.FCGI_DATA_LENGTH)
    assert.equal("1700000000", params.FCGI_DATA_LAST_MOD)
    local body = rig.bytes(300000)
    for _, chunked in ipairs({ false, true }) do
      res = http.request(r.address, { path = "/a.html?sum", method = "POST", body = body,
        chunked = chunked })
      assert.equal(rig.sum(body) .. rig.sum(data):gsub("length", "data"), res.body)
    end
    res = http.request(r.address, { path = "/empty?sum" })
    assert.equal(rig.sum("") .. rig.sum(""):gsub("length", "data"), res.body)
    for _, event in ipairs(r:events("REQUEST")) do
      assert.equal("3", event.role)
    end
  end)

  it("is asked from the shell, too", function()
    local root, back = site({ ["a"] = ("x"):rep(100000) }), rig.start()
    finally(function() back:stop() end)
    for path, data in pairs({ ["/a"] = ("x"):rep(100000), [""] = "" }) do
      local args = { "fcgi", back.back.address, "QUERY_STRING=sum", "--role", "filter",
        "--script", "/srv/app/x.php" }
      if path ~= "" then
        args[#args + 1], args[#args + 2] = "--data", root .. path
      end
      local result = server.command(args)
      assert.equal(0, result.code, result.stderr)
      assert.truthy(result.stdout:find((rig.sum(data):gsub("length", "data")), 1, true),
        result.stdout)
    end
  end)

  it("gets it again from another server, and on another connection", function()
    local data = rig.bytes(MEGABYTE)
    local root = site({ ["a"] = data })
    local r = filter(root, "", { responder = { count = 2 } })
    local res = http.request(r.address, { path = "/a?sum&1.fail=close-before-head" })
    assert.equal(rig.sum("") .. rig.sum(data):gsub("length", "data"), res.body)
    r = filter(root, "", { backend = "keepalive = 1" })
    http.request(r.address, { path = "/a?sum&next=close" })
    res = http.request(r.address, { path = "/a?sum" })
    assert.equal(rig.sum("") .. rig.sum(data):gsub("length", "data"), res.body)
  end)

  it("gets no file that is not there, lies outside, or would not be served", function()
    local root = site({ ["www/a"] = "a", ["www/.env"] = "secret", ["www/x.php"] = "secret",
      ["out/b"] = "b", ["www/sub/c"] = "c" })
    assert.equal(0, os.execute(("ln -s ../out/b %s/www/link"):format(root)))
    local r = filter(root .. "/www")
    for path, status in pairs({
      ["/a"] = 200, ["/none"] = 404, ["/sub"] = 404, ["/.env"] = 403, ["/x.php"] = 403,
      ["/link"] = 403, ["/a/b"] = 404,
    }) do
      assert.equal(status, http.request(r.address, { path = path .. "?sum" }).status, path)
    end
    assert.equal(1, #r:events("REQUEST"))
    r = filter(root .. "/www", 'data = "/sub/c"')
    assert.equal(rig.sum("") .. rig.sum("c"):gsub("length", "data"),
      http.request(r.address, { path = "/whatever?sum" }).body)
    r = filter(root .. "/www", ('within = { %q, %q }'):format(root .. "/www", root .. "/out"))
    assert.equal(200, http.request(r.address, { path = "/link?sum" }).status)
  end)
end)

describe("a web server in front", function()
  local function start_gateway(options)
    options = options or {}
    local address, web = "127.0.0.1:" .. net.free_port(), "127.0.0.1:" .. net.free_port()
    options.settings = (options.settings and options.settings .. ", " or "")
      .. ('listen = { %q, { address = %q, protocol = "fastcgi" } }, workers = 1, watch = false')
        :format(address, web)
    options.server = { own = true, address = address }
    local r = rig.start(options)
    r.web = web
    finally(function() r:stop() end)
    return r
  end

  local function send(r, request, data, chunk)
    local web = gateway.open(r.web)
    web:send(gateway.format(request)
      .. gateway.stream(gateway.DATA, request.id or 1, data, chunk or 16000))
    local res = web:answer(request.id)
    web:close()
    return res
  end

  it("asks for a filter, whose data passes on", function()
    local r = start_gateway()
    local data, body = rig.bytes(400000), rig.bytes(100000)
    local expected = rig.sum(data):gsub("length", "data")
    for _, stdin in ipairs({ false, body }) do
      local res = send(r, { role = 3, stdin = stdin or nil, params = {
        REQUEST_URI = rig.target("sum"), FCGI_DATA_LENGTH = tostring(#data),
        FCGI_DATA_LAST_MOD = "1700000000",
      } }, data)
      assert.equal(200, res.status)
      assert.equal(rig.sum(stdin or "") .. expected, res.body)
    end
    -- Without a CONTENT_LENGTH there may be a body, too; an empty file is one.
    local res = send(r, { role = 3, stdin = body, params = {
      REQUEST_URI = rig.target("sum"), CONTENT_LENGTH = false } }, data, 7000)
    assert.equal(rig.sum(body) .. expected, res.body)
    res = send(r, { role = 3, params = { REQUEST_URI = rig.target("sum") } }, "")
    assert.equal(rig.sum("") .. rig.sum(""):gsub("length", "data"), res.body)
    res = send(r, { role = 3, params = { REQUEST_URI = rig.target("dump"),
      FCGI_DATA_LENGTH = "3", FCGI_DATA_LAST_MOD = "1700000000" } }, "abc")
    assert.equal("3", rig.params(res).FCGI_DATA_LENGTH)
    assert.equal("1700000000", rig.params(res).FCGI_DATA_LAST_MOD)
  end)

  it("may mix the data of filters on one connection", function()
    local r = start_gateway()
    local web = gateway.open(r.web)
    local data = {}
    for id = 1, 3 do
      data[id] = rig.bytes(50000 * id)
      web:send(gateway.format({ id = id, role = 3, params = { REQUEST_URI = rig.target("sum") } }))
    end
    for at = 1, 150000, 10000 do
      for id = 3, 1, -1 do
        local piece = data[id]:sub(at, at + 9999)
        if piece ~= "" then
          web:send(gateway.record(gateway.DATA, id, piece, id))
        end
      end
    end
    for id = 1, 3 do
      web:send(gateway.record(gateway.DATA, id))
      assert.equal(rig.sum("") .. rig.sum(data[id]):gsub("length", "data"), web:answer(id).body)
    end
    web:close()
  end)

  it("whose data is not what it has said gets 400, or 413", function()
    local r = start_gateway({ settings = "limits = { body = '100k', spool = '1m' }" })
    local function params(more)
      local list = { REQUEST_URI = rig.target("sum") }
      for name, value in pairs(more or {}) do
        list[name] = value
      end
      return list
    end
    for _, said in ipairs({ "4", "2", "-1", "three", "" }) do
      assert.equal(400, send(r, { role = 3, params = params({ FCGI_DATA_LENGTH = said }) },
        "abc").status, said)
    end
    assert.equal(413, send(r, { role = 3, params = params() }, ("a"):rep(102401)).status)
    assert.equal(200, send(r, { role = 3, params = params() }, ("a"):rep(102400)).status)
    local web = gateway.open(r.web)
    for role = 1, 3, 2 do -- ahead of the end of STDIN; a responder has none
      web:send(gateway.head({ id = role, role = role, params = params({ CONTENT_LENGTH = "3" }) })
        .. gateway.record(gateway.DATA, role, "abc"))
      assert.equal(400, web:answer(role).status)
    end
    web:close()
    assert.equal(1, #r:events("REQUEST"))
  end)

  it("that is too slow with it gets 408, and one that leaves is 499", function()
    local r = start_gateway({ settings = "limits = { body_timeout = '300ms' }" })
    local web = gateway.open(r.web)
    web:send(gateway.format({ role = 3, params = { REQUEST_URI = rig.target("sum") } })
      .. gateway.record(gateway.DATA, 1, "abc"))
    assert.equal(408, web:answer(1).status)
    web:close()
    assert.same({}, r:events("REQUEST"))
    r = start_gateway()
    web = gateway.open(r.web)
    web:send(gateway.format({ id = 2, role = 3, params = { REQUEST_URI = rig.target("sum") } })
      .. gateway.record(gateway.DATA, 2, "abc") .. gateway.record(gateway.ABORT, 2))
    web:answer(2, { bare = true })
    r.server:wait_access(" 499 ")
    web:close()
    assert.same({}, r:events("REQUEST"))
  end)

  it("asks for an authorizer, whose answer passes as it is", function()
    local r = start_gateway()
    for status, body in pairs({ [200] = "", [403] = "no" }) do
      local target = rig.target(("status=%d&body=%s&header=Variable-WHO:%%20ann&header=X-A:%%201")
        :format(status, body))
      local res = send(r, { role = 2,
        params = { CONTENT_LENGTH = "5", REQUEST_URI = target } }, "")
      assert.equal(status, res.status)
      assert.equal("ann", res.headers["variable-who"])
      assert.equal("1", res.headers["x-a"])
      assert.equal(body, res.body)
    end
    local params = rig.params(send(r, { role = 2, params = { REQUEST_URI = rig.target("dump") } },
      ""))
    assert.is_nil(params.SCRIPT_NAME)
    assert.is_nil(params.CONTENT_LENGTH)
    for _, event in ipairs(r:events("REQUEST")) do
      assert.equal("2", event.role)
    end
  end)

  it("has its requests let on, as well", function()
    local r = start_gateway({ responder = { count = 2 }, servers = function(addresses)
      return ("%q"):format(addresses[1])
    end, backends = function(addresses) return ("auth = %q,"):format(addresses[2]) end,
      on_request = [[do return { backend = "app", docroot = "/srv", authorize = {
        backend = "auth", params = { QUERY_STRING = req.params.ASK } } } end]] })
    local web = gateway.open(r.web)
    local res = web:request({ stdin = "abc", params = { REQUEST_URI = rig.target("sum"),
      ASK = "header=Variable-REMOTE_USER:%20ann" } })
    assert.equal(rig.sum("abc"), res.body)
    res = web:request({ stdin = "abc", params = { REQUEST_URI = rig.target("sum"),
      ASK = "status=403&body=no" } })
    assert.equal(403, res.status)
    assert.equal("no", res.body)
    res = web:request({ params = { REQUEST_URI = rig.target("dump"), REMOTE_USER = "eve",
      ASK = "header=Variable-REMOTE_USER:%20ann" } })
    assert.equal("ann", rig.params(res).REMOTE_USER)
    web:close()
  end)
end)
