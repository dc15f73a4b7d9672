-- FastCGI as it should be: params, records in every cut, STDERR, kept connections. The application
-- is the responder, which checks each request strictly; its complaints fail the scenario at `stop`.

local http = require("tests.support.http")
local poll = require("tests.support.poll")
local process = require("tests.support.process")
local rig = require("tests.support.rig")
local socket = require("socket")

-- More seconds than a kept connection must be idle for what can't be sent a second time.
local RESTED = 0.06

describe("a FastCGI request", function()
  for _, transport in ipairs({ "unix", "tcp" }) do
    it("is answered over " .. transport, function()
      local r = rig.start({ responder = { tcp = transport == "tcp" } })
      finally(function() r:stop() end)
      local res = r:get("header=X-From:%20app")
      assert.equal(200, res.status)
      assert.equal("hello\n", res.body)
      assert.equal("text/plain", res.headers["content-type"])
      assert.equal("app", res.headers["x-from"])
      assert.is_truthy(res.headers.date)
      assert.is_truthy(res.headers.server)
    end)
  end
end)

describe("the params", function()
  local r

  setup(function()
    r = rig.start({
      settings = [[limits = { header = "64k", header_names = { "X_Legacy" } }]],
      on_request = [[
        if req.path:find("^/generic") then
          return { backend = "app", docroot = "/srv/app", strip = "/generic" }
        elseif req.path == "/given.php" then
          return { backend = "app", docroot = "/srv/app",
            params = { APP_MODE = "test", APP_LEVEL = 3, REMOTE_PORT = false } }
        elseif req.path:find("^/long") then
          return { backend = "app", docroot = "/srv/app",
            params = { LONG = ("x"):rep(tonumber(req.args.n)) } }
        end
      ]],
    })
  end)

  teardown(function() r:stop() end)

  it("are those of RFC 3875 and what applications expect", function()
    local target = "/shop/cart.php/7/x%20y?dump&a=1"
    local res = http.request(r.address, { path = target, host = "acme.example:8080" })
    local p = rig.params(res)
    local host, port = r.address:match("^(.*):(%d+)$")
    assert.equal("CGI/1.1", p.GATEWAY_INTERFACE)
    assert.equal("HTTP/1.1", p.SERVER_PROTOCOL)
    assert.equal("acme.example", p.SERVER_NAME)
    assert.equal(host, p.SERVER_ADDR)
    assert.equal(port, p.SERVER_PORT)
    assert.equal("127.0.0.1", p.REMOTE_ADDR)
    assert.is_truthy(tonumber(p.REMOTE_PORT))
    assert.equal("GET", p.REQUEST_METHOD)
    assert.equal(target, p.REQUEST_URI)
    assert.equal("http", p.REQUEST_SCHEME)
    assert.equal("dump&a=1", p.QUERY_STRING)
    assert.equal("/shop/cart.php", p.SCRIPT_NAME)
    assert.equal("/srv/app/shop/cart.php", p.SCRIPT_FILENAME)
    assert.equal("/7/x y", p.PATH_INFO)
    assert.equal("/srv/app", p.DOCUMENT_ROOT)
    assert.equal("200", p.REDIRECT_STATUS)
    assert.equal("acme.example:8080", p.HTTP_HOST)
    assert.is_truthy(p.SERVER_SOFTWARE:find("^moongate/"))
    assert.is_nil(p.PATH_TRANSLATED)
    assert.is_true(p.HTTPS == nil or p.HTTPS == "")
  end)

  it("have no PATH_INFO when there is none", function()
    assert.is_nil(rig.params(r:get("dump")).PATH_INFO)
  end)

  it("carry a query of any bytes as it was sent, and an empty one", function()
    local query = "dump&q=%C3%A4+b%00&r=?/"
    assert.equal(query, rig.params(r:get(query)).QUERY_STRING)
    r:get("")
    assert.is_truthy(r.back:wait_log("uri=/x.php%?$"))
    http.get(r.address, "/x.php")
    assert.is_truthy(r.back:wait_log("uri=/x.php$"))
  end)

  it("carry the client's headers", function()
    local p = rig.params(r:get("dump", {
      headers = {
        ["User-Agent"] = "test/1",
        ["Accept"] = { "text/html", "text/plain" },
        ["Cookie"] = { "a=1", "b=2" },
        ["Authorization"] = "Basic YTpi",
        ["X-Empty"] = "",
        ["Content-Type"] = "text/x-odd",
      },
    }))
    assert.equal("test/1", p.HTTP_USER_AGENT)
    assert.equal("text/html, text/plain", p.HTTP_ACCEPT)
    assert.equal("a=1; b=2", p.HTTP_COOKIE)
    assert.equal("Basic YTpi", p.HTTP_AUTHORIZATION)
    assert.equal("", p.HTTP_X_EMPTY)
    assert.equal("text/x-odd", p.CONTENT_TYPE)
    assert.is_nil(p.HTTP_CONTENT_TYPE)
    assert.is_nil(p.HTTP_CONTENT_LENGTH)
  end)

  it("never carry what a client must not set", function()
    local p = rig.params(r:get("dump", {
      headers = {
        ["Proxy"] = "http://evil.example/",
        ["X_Forged"] = "1",
        ["X.Dotted"] = "1",
        ["X_Legacy"] = "kept",
        ["Keep-Alive"] = "timeout=5",
        ["TE"] = "trailers",
        ["Upgrade"] = "h2c",
        ["Proxy-Authorization"] = "Basic x",
        ["X-Hop"] = "secret",
        ["Connection"] = "close, X-Hop",
      },
    }))
    for _, name in ipairs({ "PROXY", "X_FORGED", "X_DOTTED", "KEEP_ALIVE", "TE", "UPGRADE",
      "CONNECTION", "PROXY_AUTHORIZATION", "X_HOP", "TRANSFER_ENCODING" }) do
      assert.is_nil(p["HTTP_" .. name], name)
    end
    assert.equal("kept", p.HTTP_X_LEGACY)
  end)

  it("carry CONTENT_LENGTH and CONTENT_TYPE of a body", function()
    local res = r:get("dump", {
      method = "POST", body = "a=1&b=2",
      headers = { ["Content-Type"] = "application/x-www-form-urlencoded" },
    })
    local p = rig.params(res)
    assert.equal("7", p.CONTENT_LENGTH)
    assert.equal("application/x-www-form-urlencoded", p.CONTENT_TYPE)
    assert.equal("POST", p.REQUEST_METHOD)
  end)

  it("are what the decision adds and removes", function()
    local p = rig.params(http.get(r.address, "/given.php?dump"))
    assert.equal("test", p.APP_MODE)
    assert.equal("3", p.APP_LEVEL)
    assert.is_nil(p.REMOTE_PORT)
  end)

  it("take any size up to a record's", function()
    for _, size in ipairs({ 0, 1, 127, 128, 255, 256, 32700, 32768, 40000, 65000 }) do
      local res = http.get(r.address, "/long.php?dump&n=" .. size)
      assert.equal(200, res.status)
      assert.equal(size, #rig.params(res).LONG)
    end
  end)

  it("beyond that are refused with 431, and nothing is sent", function()
    local before = #r:events("REQUEST")
    assert.equal(431, http.get(r.address, "/long.php?dump&n=65536").status)
    assert.equal(431, http.get(r.address, "/long.php?dump&n=200000").status)
    assert.equal(before, #r:events("REQUEST"))
  end)

  it("may be more than one record holds", function()
    local headers, total = {}, 0
    for i = 1, 12 do
      headers["X-Part-" .. i] = ("v"):rep(4000 + i)
      total = total + 4000 + i
    end
    local p = rig.params(r:get("dump", { headers = headers }))
    for i = 1, 12 do
      assert.equal(4000 + i, #p["HTTP_X_PART_" .. i])
      total = total - #p["HTTP_X_PART_" .. i]
    end
    assert.equal(0, total)
  end)
end)

describe("the profile generic", function()
  it("has the rest of the path in PATH_INFO, and PATH_TRANSLATED", function()
    local r = rig.start({
      backend = [[profile = "generic"]],
      on_request = [[
        if req.path:find("^/generic") then
          return { backend = "app", docroot = "/srv/app", strip = "/generic" }
        end
      ]],
    })
    finally(function() r:stop() end)
    local p = rig.params(http.get(r.address, "/generic/item/7?dump"))
    assert.equal("/generic", p.SCRIPT_NAME)
    assert.equal("/item/7", p.PATH_INFO)
    assert.equal("/srv/app/item/7", p.PATH_TRANSLATED)
    assert.is_truthy(p.SERVER_SOFTWARE:find("^moongate/[^ ]+$"))
    p = rig.params(http.get(r.address, "/item?dump"))
    assert.equal("", p.SCRIPT_NAME)
    assert.equal("/item", p.PATH_INFO)
  end)
end)

describe("an application in a chroot, whose docroot is /,", function()
  it("gets paths as it sees them, and X-Sendfile finds its files", function()
    local root = process.tempdir("jail")
    process.write_file(root .. "/report.bin", "from the jail\n")
    for _, where in ipairs({ "backend", "decision" }) do
      local r = rig.start({
        backend = ("root = %q%s"):format(root, where == "backend" and ', docroot = "/"' or ""),
        on_request = ("do return { backend = 'app'%s } end"):format(
          where == "decision" and ', docroot = "/"' or ""),
      })
      local p = rig.params(r:get("dump"))
      local res = r:get("header=X-Sendfile:%20/report.bin")
      r:stop()
      assert.equal("/x.php", p.SCRIPT_FILENAME)
      assert.equal("/", p.DOCUMENT_ROOT)
      assert.equal("from the jail\n", res.body)
    end
  end)
end)

describe("on_params", function()
  it("reads, rewrites and removes what stands", function()
    local r = rig.start({
      settings = [[on_params = function(req, params)
        params.SEEN = params.SCRIPT_NAME
        params.SERVER_SOFTWARE = "other"
        params.HTTP_USER_AGENT = nil
        local n = 0
        for name, value in params:each() do
          assert(type(name) == "string" and type(value) == "string")
          n = n + 1
        end
        params.COUNT = tostring(n)
      end]],
    })
    finally(function() r:stop() end)
    local p = rig.params(r:get("dump", { headers = { ["User-Agent"] = "x" } }))
    assert.equal("/x.php", p.SEEN)
    assert.equal("other", p.SERVER_SOFTWARE)
    assert.is_nil(p.HTTP_USER_AGENT)
    local count = 0
    for _ in pairs(p) do
      count = count + 1
    end
    assert.equal(count - 1, tonumber(p.COUNT)) -- COUNT itself came after
  end)

  it("may remove and add what it goes through", function()
    local r = rig.start({
      settings = [[on_params = function(req, params)
        for name in params:each() do
          if name:find("^HTTP_") then
            params[name] = nil
            params["NO_" .. name] = "1"
          end
        end
      end]],
    })
    finally(function() r:stop() end)
    local p = rig.params(r:get("dump", {
      headers = { ["X-A"] = "1", ["X-B"] = "2", ["X-C"] = "3" },
    }))
    for _, name in ipairs({ "HTTP_HOST", "HTTP_X_A", "HTTP_X_B", "HTTP_X_C" }) do
      assert.is_nil(p[name], name)
      assert.equal("1", p["NO_" .. name], name)
    end
  end)
end)

describe("a reply", function()
  local r

  setup(function()
    r = rig.start({ backend = "keepalive = 2" })
  end)

  teardown(function() r:stop() end)

  -- The same reply in every cut. `who` shows that the connection was fit to be used again.
  for _, cut in ipairs({
    "record=1", "record=2", "record=7", "record=8", "record=65535", "write=1", "write=7",
    "write=8", "write=9", "pad=1", "pad=7", "pad=255", "record=1&pad=255", "pieces=4",
    "record=3&pad=2&write=5", "pieces=3&piece_delay=5", "eof", "lf", "lf&record=1", "delay=20",
    "body_delay=20", "end_delay=20",
    "stderr=note", "stderr=note&stderr_at=body&pieces=2", "stderr=note&stderr_at=end",
    "stderr=note&record=1&pad=3&write=1", "fail=mgmt",
  }) do
    it("comes through whole with " .. cut, function()
      local first = r:get("who").headers
      local res = r:get("who&header=X-A:%20b&size=300&" .. cut)
      assert.equal(200, res.status)
      assert.equal("b", res.headers["x-a"])
      assert.equal(rig.pattern(300), res.body)
      assert.equal(first["x-connection"], res.headers["x-connection"])
      assert.equal(first["x-connection"], r:get("who").headers["x-connection"])
    end)
  end

  it("keeps its status and reason, its headers and their order", function()
    local res = r:get("status=418%20I%20am&header=Set-Cookie:%20a=1&header=Set-Cookie:%20b=2"
      .. "&header=X-Z:1&header=X-E:")
    assert.equal(418, res.status)
    assert.same({ "a=1", "b=2" }, res:all("set-cookie"))
    assert.equal("1", res.headers["x-z"])
    assert.equal("", res.headers["x-e"])
  end)

  it("keeps the Content-Length that the application gave", function()
    local res = r:get("length&size=5000")
    assert.equal("length", res.framing)
    assert.equal("5000", res.headers["content-length"])
    assert.equal(rig.pattern(5000), res.body)
  end)

  it("is 302 for an absolute Location without a Status, and keeps one that has it", function()
    local res = r:get("header=Location:%20http://other.example/x")
    assert.equal(302, res.status)
    assert.equal("http://other.example/x", res.headers.location)
    assert.equal(301, r:get("status=301&header=Location:%20http://other.example/").status)
    assert.equal(201, r:get("status=201&header=Location:%20/made/7").status)
  end)

  it("loses the framing headers of the application, not the proxy's", function()
    local res = r:get("header=Transfer-Encoding:%20chunked&header=Connection:%20x-odd"
      .. "&header=Keep-Alive:%20a&size=20")
    assert.equal(rig.pattern(20), res.body)
    assert.is_nil(res.headers["keep-alive"])
    assert.is_nil((res.headers.connection or ""):find("odd"))
  end)

  it("may have a head of up to response_header", function()
    assert.equal(60000, #r:get("big=60000").headers["x-big"])
    assert.equal(30000, #r:get("big=30000&record=1000&write=3000").headers["x-big"])
  end)

  it("has an app_status that on_log can see", function()
    local logging = rig.start({
      settings = [[on_log = function(req, log)
        return ("status %d app %s protocol %s"):format(log.status, tostring(log.app_status),
          tostring(log.protocol_status))
      end]],
    })
    finally(function() logging:stop() end)
    assert.equal(200, logging:get("app=3").status)
    logging.server:wait_access("status 200 app 3 protocol 0")
  end)
end)

describe("STDERR", function()
  local r

  setup(function()
    r = rig.start({ backend = "keepalive = 2" })
  end)

  teardown(function() r:stop() end)

  it("goes to the error log", function()
    assert.equal(200, r:get("stderr=PHP%20message:%20something%20odd").status)
    r.server:wait_log("app.: something odd; GET")
  end)

  it("of a kind that would forge lines is escaped", function()
    r:get("stderr=first%0Aforged%20line%1b[31m%0d")
    r.server:wait_log("first")
    poll.wait(function()
      return r.server:errors():find("forged line", 1, true)
    end, "the second line")
    assert.is_nil(r.server:errors():find("\nforged"))
    assert.is_nil(r.server:errors():find("[\27\r]"))
  end)

  it("of any size does not spoil the reply", function()
    for _, at in ipairs({ "head", "body", "end" }) do
      local res = r:get("size=100000&pieces=2&stderr_size=300000&stderr_at=" .. at)
      assert.equal(rig.pattern(100000), res.body)
    end
  end)
end)

describe("connections to a backend", function()
  it("are closed by the proxy as soon as END_REQUEST has come, without keepalive", function()
    local r = rig.start()
    finally(function() r:stop() end)
    for i = 1, 3 do
      local res = r:get("who&close=stay")
      assert.equal(tostring(i), res.headers["x-connection"])
      r:wait_connections(0)
    end
    for _, event in ipairs(r:events("CLOSE")) do
      assert.equal("client", event.by)
    end
    assert.equal("0", r:events("REQUEST")[1].keep)
  end)

  it("are used again with keepalive", function()
    local r = rig.start({ backend = "keepalive = 2" })
    finally(function() r:stop() end)
    for i = 1, 5 do
      local res = r:get("who")
      assert.equal("1", res.headers["x-connection"])
      assert.equal(tostring(i), res.headers["x-request"])
    end
    assert.equal("1", r:events("REQUEST")[1].keep)
    r:wait_connections(1)
  end)

  it("are kept up to the number that was asked for", function()
    local r = rig.start({ backend = "keepalive = 2" })
    finally(function() r:stop() end)
    local clients = {}
    for i = 1, 5 do
      clients[i] = http.open(r.address)
      clients[i]:send({ path = rig.target("delay=hold") })
    end
    r:release(5)
    for i = 1, 5 do
      assert.equal(200, clients[i]:receive().status)
      clients[i]:close()
    end
    assert.equal(5, #r:events("OPEN"))
    r:wait_connections(2)
  end)

  it("are closed when idle for keepalive_idle", function()
    local r = rig.start({ backend = [[keepalive = 2, keepalive_idle = "200ms"]] })
    finally(function() r:stop() end)
    assert.equal("1", r:get("who").headers["x-connection"])
    r.back:wait_log("CLOSE conn=1 by=client requests=1")
    assert.equal("2", r:get("who").headers["x-connection"])
  end)

  it("are closed after keepalive_requests", function()
    local r = rig.start({ backend = "keepalive = 2, keepalive_requests = 3" })
    finally(function() r:stop() end)
    for i = 1, 4 do
      assert.equal(i <= 3 and "1" or "2", r:get("who").headers["x-connection"])
    end
  end)

  for _, case in ipairs({
    { "the application closed it at once", "close=end" },
    { "it was closed while idle", "idle=30" },
    { "bytes came after END_REQUEST", "fail=after-end" },
  }) do
    it("are not used again when " .. case[1], function()
      local r = rig.start({ backend = "keepalive = 2" })
      finally(function() r:stop() end)
      local client = http.open(r.address)
      local res = client:request({ path = rig.target("who&" .. case[2]) })
      assert.equal("1", res.headers["x-connection"])
      r:wait_connections(0)
      for _, method in ipairs({ "POST", "GET" }) do
        local body = method == "POST" and "x" or nil
        assert.equal("2", client:request({ path = rig.target("who"), method = method, body = body })
          .headers["x-connection"])
      end
      client:close()
    end)
  end

  for _, tcp in ipairs({ false, true }) do
    it("that turn out closed are replaced for idempotent methods" .. (tcp and ", TCP" or ""),
      function()
        local r = rig.start({ backend = "keepalive = 2", responder = { tcp = tcp } })
        finally(function() r:stop() end)
        for _, method in ipairs({ "GET", "HEAD", "PUT", "DELETE", "OPTIONS" }) do
          assert.equal(200, r:get("next=close").status)
          local body = method == "PUT" and "x" or nil
          assert.equal(200, r:get("who", { method = method, body = body }).status, method)
        end
      end)
  end

  -- What can't be sent again, and how.
  local ONCE = {
    ["a POST"] = { method = "POST", body = "once" },
    ["a POST without a body"] = { method = "POST", body = "" },
    ["a PATCH"] = { method = "PATCH", body = "once" },
    ["a PUT that is streamed"] = { method = "PUT", body = "once", args = "&S=1" },
    ["a script's own request"] = { args = "&X=1" },
  }
  local ROUTE = [[
    if req.args.X then
      local answer, why = require("moongate").fastcgi("app", {
        SCRIPT_FILENAME = "/x", SCRIPT_NAME = "/x", REQUEST_METHOD = "POST",
        REQUEST_URI = "/x", SERVER_PROTOCOL = "HTTP/1.1", GATEWAY_INTERFACE = "CGI/1.1",
        SERVER_NAME = "x", SERVER_PORT = "80", REMOTE_ADDR = "127.0.0.1", QUERY_STRING = "who",
      })
      return answer and { status = answer.status, headers = answer.headers, body = answer.body }
        or { status = 502, body = why }
    elseif req.args.S then
      return { backend = "app", docroot = "/srv/app", request_buffering = false }
    end
  ]]

  local function start_kept(backend, more)
    local options = { backend = backend, on_request = ROUTE }
    for key, value in pairs(more or {}) do
      options[key] = value
    end
    return rig.start(options)
  end

  local function ask(r, request, query)
    return r:get((query or "who") .. (request.args or ""),
      { method = request.method, body = request.body })
  end

  local function count_of(r, what)
    local count = 0
    for _, event in ipairs(r:events("REQUEST")) do
      count = count + (event["end"] == what and 1 or 0)
    end
    return count
  end

  for name, request in pairs(ONCE) do
    it(("are used for %s at once, and replaced before it can have begun"):format(name), function()
      local r = start_kept("keepalive = 1, max_conns = 1")
      finally(function() r:stop() end)
      poll.wait(function() -- a server that is late with its look is taken for one at work
        local kept = r:get("who").headers["x-connection"]
        local res = ask(r, request)
        assert.equal(200, res.status)
        return request.args and request.args:find("X") or res.headers["x-connection"] == kept
      end, "the kept connection to be used")
      for _ = 1, 5 do
        assert.equal(200, r:get("next=close").status)
        local before = count_of(r, "complete")
        local res = ask(r, request)
        assert.equal(200, res.status, res.body)
        assert.equal(before + 1, count_of(r, "complete"))
      end
      assert.equal(1, r:open_max())
    end)
  end

  it("that are handed over are used for a POST, or replaced", function()
    local r = start_kept("keepalive = 1, max_conns = 1")
    finally(function() r:stop() end)
    poll.wait(function() -- a server that is late with its look is taken for one at work
      local clients, opened, complete = {}, #r:events("OPEN"), count_of(r, "complete")
      for i = 1, 6 do
        clients[i] = http.open(r.address)
        clients[i]:send({ path = rig.target("who&delay=20" .. (i % 3 == 0 and "&next=close" or "")),
          method = "POST", body = "x" })
      end
      for i = 1, 6 do
        assert.equal(200, clients[i]:receive().status)
        clients[i]:close()
      end
      assert.equal(complete + 6, count_of(r, "complete"))
      return #r:events("OPEN") - opened <= 3 -- two of the six are the last on theirs
    end, "kept connections to be used")
    assert.equal(1, r:open_max())
  end)

  for _, close in ipairs({ "", "&close=work" }) do
    it("whose process is still at work are left to it" .. close, function()
      local r = start_kept("keepalive = 3, max_conns = 3")
      finally(function() r:stop() end)
      local clients = {} -- three connections, of which two are at work for ever
      for i, query in ipairs({ "", "&work=600000" .. close, "&work=600000" .. close }) do
        clients[i] = http.open(r.address)
        clients[i]:send({ path = rig.target("who&delay=hold" .. query) })
      end
      r:release(3)
      assert.equal(200, clients[1]:receive().status)
      local working = {}
      for i = 2, 3 do
        working[clients[i]:receive().headers["x-connection"]] = true
      end
      for _ = 1, 10 do
        local res = r:get("who", { method = "POST", body = "x" })
        assert.equal(200, res.status)
        assert.is_nil(working[res.headers["x-connection"]])
      end
      assert.equal(3, r:open_max())
      for i = 1, 3 do
        clients[i]:close()
      end
    end)
  end

  -- The worker sees the end of the connection and the request in one turn of its loop: a script
  -- holds it up meanwhile. libev calls the events of a turn in either order.
  for when, seconds in pairs({ before = 0.02, after = 0.12 }) do
    it("that end in the turn of a PUT lose nothing of its body: sent " .. when, function()
      local body, replaced = rig.bytes(20000), 0
      local r = start_kept("keepalive = 1, max_conns = 1", {
        settings = [[script_timeout = "20s"]], -- on a busy machine the hook takes longer
        on_request = [[
          if req.args.spin then
            local stop = os.clock() + 0.2
            while os.clock() < stop do end
            return { status = 200, body = "spun" }
          end
        ]],
      })
      finally(function() r:stop() end)
      for _ = 1, 5 do
        local opened = #r:events("OPEN")
        local clients = { put = http.open(r.address), spin = http.open(r.address) }
        assert.equal(200, r:get("who&work=60&close=work").status)
        local begin = { put = { path = rig.target("sum"), method = "PUT", body = body },
          spin = { path = rig.target("spin") } }
        clients.spin:send(begin.spin)
        socket.sleep(seconds)
        clients.put:send(begin.put)
        assert.equal("spun", clients.spin:receive().body)
        assert.equal(rig.sum(body), clients.put:receive().body)
        replaced = replaced + #r:events("OPEN") - opened
        clients.put:close()
        clients.spin:close()
      end
      assert.is_true(replaced > 0)
    end)
  end

  it("of which only one side has ended are replaced, too", function()
    local r = start_kept("keepalive = 1, max_conns = 1")
    finally(function() r:stop() end)
    assert.equal(200, r:get("close=deaf&work=600000").status)
    assert.equal(rig.sum("x"), r:get("sum", { method = "POST", body = "x" }).body)
    assert.equal(1, r:open_max())
  end)

  it("take params that are larger than a socket's buffer", function()
    local r = start_kept("keepalive = 1, max_conns = 1", {
      before = "local LARGE = ('x'):rep(60000)",
      on_request = [[
        local params = {}
        for i = 1, 20 do
          params["LARGE" .. i] = LARGE
        end
        do return { backend = "app", docroot = "/srv/app", params = params } end
      ]],
    })
    finally(function() r:stop() end)
    local body = rig.bytes(100000)
    for _, query in ipairs({ "", "next=close", "work=600000" }) do
      r:get(query)
      assert.equal(rig.sum(body), r:get("sum", { method = "POST", body = body }).body)
    end
    assert.equal(1, r:open_max())
  end)

  it("are left at once by a client that goes away before its POST can have begun", function()
    local r = start_kept("keepalive = 1, max_conns = 1")
    finally(function() r:stop() end)
    for _ = 1, 20 do
      local clients = {}
      r:get("who&work=30")
      for i = 1, 3 do
        clients[i] = http.open(r.address)
        clients[i]:send({ path = rig.target("who"), method = "POST", body = "x" })
      end
      clients[1].conn:reset()
      assert.equal(200, clients[2]:receive().status)
      clients[3]:close()
      clients[2]:close()
    end
    r:wait_connections(1)
    assert.equal(1, r:open_max())
  end)

  describe("by TCP", function()
    local POST = { method = "POST", body = "once" }
    local function post(r)
      return r:get("who", POST)
    end

    it("are used for a POST only when they have rested, the longest one first", function()
      local r = rig.start({ backend = "keepalive = 2, max_conns = 2", responder = { tcp = true } })
      finally(function() r:stop() end)
      poll.wait(function()
        local begun = socket.gettime()
        local first, second = post(r), post(r)
        if socket.gettime() - begun < 0.02 then
          assert.is_true(first.headers["x-connection"] ~= second.headers["x-connection"])
          return true
        end
      end, "two requests within 20 ms", 120)
      local clients, seen = {}, {}
      for i, more in ipairs({ "", "&body_delay=hold" }) do -- the first one ends first
        clients[i] = http.open(r.address)
        clients[i]:send({ path = rig.target("who&delay=hold" .. more) })
      end
      for i, held in ipairs({ 2, 1 }) do
        r:release(held)
        seen[i] = clients[i]:receive().headers["x-connection"]
        clients[i]:close()
      end
      socket.sleep(RESTED)
      assert.equal(seen[1], post(r).headers["x-connection"])
      assert.equal(2, r:open_max())
    end)

    it("rest longer where the server was seen to close later", function()
      local r = rig.start({ backend = "keepalive = 1", responder = { tcp = true } })
      finally(function() r:stop() end)
      assert.equal("1", r:get("who&idle=300").headers["x-connection"])
      r:wait_connections(0)
      local last
      poll.wait(function()
        local begun = socket.gettime()
        local first = r:get("who").headers["x-connection"]
        socket.sleep(RESTED)
        last = post(r).headers["x-connection"]
        if socket.gettime() - begun < 0.5 then
          assert.is_true(first ~= last)
          return true
        end
      end, "two requests within half a second", 120)
      -- They rest for twice the 300 ms and what the machine has added to them, for 2 s at most.
      socket.sleep(2.1)
      assert.equal(last, post(r).headers["x-connection"])
    end)

    it("may still turn out closed: a POST is lost then, and never run twice", function()
      local r = rig.start({ backend = "keepalive = 2", responder = { tcp = true } })
      finally(function() r:stop() end)
      assert.equal(200, r:get("next=close").status)
      socket.sleep(RESTED)
      local before = #r:events("REQUEST")
      assert.equal(502, r:get("", POST).status)
      assert.equal(before, #r:events("REQUEST"))
      assert.equal(200, r:get("", POST).status)
    end)
  end)

  it("survive an application's limit of requests", function()
    local r = rig.start({
      backend = "keepalive = 2",
      responder = { args = { "--max-requests", "3" } },
    })
    finally(function() r:stop() end)
    for _ = 1, 10 do
      assert.equal(200, r:get("").status)
    end
    assert.equal(4, #r:events("OPEN"))
    for _ = 1, 10 do
      assert.equal(200, r:get("", { method = "POST", body = "x" }).status)
    end
  end)

  it("are closed, not kept, when the reply came before the body was sent", function()
    local r = rig.start({ backend = "keepalive = 2" })
    finally(function() r:stop() end)
    local body = rig.bytes(3000000)
    assert.equal(200, r:get("early", { method = "POST", body = body }).status)
    assert.equal(rig.sum(body), r:get("sum", { method = "POST", body = body }).body)
  end)

  it("go to the servers in turn", function()
    local r = rig.start({ responder = { count = 3 } })
    finally(function() r:stop() end)
    local seen = {}
    for i = 1, 9 do
      local listener = r:get("who").headers["x-listener"]
      seen[listener] = (seen[listener] or 0) + 1
      if i % 3 == 0 then
        assert.same({ ["1"] = i / 3, ["2"] = i / 3, ["3"] = i / 3 }, seen)
      end
    end
  end)

  it("go to the server that the decision names", function()
    local r = rig.start({
      responder = { count = 2 },
      on_request = [[
        do return { backend = "app", docroot = "/srv/app", server = req.args.s } end
      ]],
    })
    finally(function() r:stop() end)
    for i = 1, 2 do
      for _ = 1, 3 do
        local name = http.escape(r.back.addresses[i])
        assert.equal(tostring(i), r:get("who&s=" .. name).headers["x-listener"])
      end
    end
  end)
end)

describe("a method", function()
  it("is any token, for scripts, files, the log and the application", function()
    local r = rig.start({
      on_request = [[
        if req.method == "LABEL" then return { status = 200, body = "script: " .. req.method } end
        if req.path == "/file" then return { root = "/", path = "/etc/hostname" } end
      ]],
    })
    finally(function() r:stop() end)
    for _, method in ipairs({ "QUERY", "VERSION-CONTROL", "UPDATE", "PROPFIND", "REPORT", "ACL",
      "BASELINE-CONTROL", "X", "get", "!#$%&'*+-.^_`|~" }) do
      local res = r:get("dump", { method = method, body = "x" })
      assert.equal(200, res.status, method)
      assert.equal(method, rig.params(res).REQUEST_METHOD)
      assert.equal("1", rig.params(res).CONTENT_LENGTH)
    end
    assert.equal("script: LABEL", r:get("", { method = "LABEL" }).body)
    r.server:wait_access('"VERSION%-CONTROL /x%.php')
    local res = http.request(r.address, { method = "QUERY", path = "/file" })
    assert.equal(405, res.status)
    assert.is_truthy(res.headers.allow)
  end)

  it("that is unknown is never sent twice", function()
    local r = rig.start({ responder = { count = 2 } })
    finally(function() r:stop() end)
    assert.equal(502, r:get("fail=close-before-head", { method = "QUERY" }).status)
    assert.equal(1, #r:events("START"))
  end)
end)
