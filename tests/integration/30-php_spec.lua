-- Pages of a real PHP-FPM through php.site: what a browser and an application may expect of each
-- other. The pages are in tests/pages.

local http = require("tests.support.http")
local net = require("tests.support.net")
local php = require("tests.support.php")
local poll = require("tests.support.poll")
local process = require("tests.support.process")
local server = require("tests.support.server")
local stage = require("tests.support.stage")

local ROUTE = [[
-- A site whose files and scripts lie in one folder.
local php = require("moongate.php")

return {
  backends = { app = os.getenv("TEST_BACKEND") },
  on_request = php.site { root = os.getenv("TEST_ROOT"), backend = "app" },
}
]]

-- A server before a PHP-FPM, with that route.
local function serve(fpm)
  return server.start({
    route = ROUTE, env = { TEST_BACKEND = fpm.address, TEST_ROOT = fpm.root },
  })
end

-- "name=value" lines as a table.
local function fields(text)
  local found = {}
  for name, value in text:gmatch("([^\n=]+)=([^\n]*)\n") do
    found[name] = value
  end
  return found
end

-- The checksum of a text by coreutils: what arrived must be what was sent, byte for byte.
local function sha256(text)
  return process.run({ argv = { "sha256sum" }, input = text }).stdout:match("^%x+")
end

-- Bytes without a period that any buffer size divides.
local function noise(size)
  local seed, block = 20220829, {}
  for i = 1, 65537 do
    seed = (seed * 1103515245 + 12345) % 2147483648
    block[i] = string.char(math.floor(seed / 65536) % 256)
  end
  local text = table.concat(block)
  return text:rep(math.ceil(size / #text)):sub(1, size)
end

describe("PHP-FPM", function()
  local fpm, gate

  setup(function()
    fpm = php.start({ pages = "tests/pages" })
    stage.write(fpm.root, {
      ["hello.php~"] = "<?php echo 'a backup';",
      ["hello.php.bak"] = "<?php echo 'a backup';",
      ["page.PHP"] = "<?php echo 'upper case';",
      [".env"] = "SECRET=1\n",
      [".well-known/security.txt"] = "Contact: mailto:security@localhost\n",
      ["with space.php"] = process.read_file(fpm.root .. "/server.php"),
      ["text.txt"] = "plain text\n",
    })
    gate = serve(fpm)
  end)

  teardown(function()
    gate:stop()
    fpm:stop()
  end)

  local function get(path, headers)
    return http.get(gate.address, path, headers)
  end

  describe("a page", function()
    it("says hello", function()
      local res = get("/hello.php")
      assert.equal(200, res.status)
      assert.equal("OK", res.reason)
      assert.equal("Hello from PHP\n", res.body)
      assert.equal("text/html; charset=UTF-8", res.headers["content-type"])
      assert.truthy(res.headers["date"]:match("^%a%a%a, %d%d %a%a%a %d%d%d%d %d%d:%d%d:%d%d GMT$"))
      assert.truthy(res.headers["server"]:find("moongate", 1, true))
      assert.is_nil(res.headers["status"])
    end)

    it("is asked for many times on one connection", function()
      local client = http.open(gate.address)
      for _ = 1, 20 do
        local res = client:request({ path = "/hello.php" })
        assert.equal("Hello from PHP\n", res.body)
      end
      client:assert_quiet()
      client:close()
    end)

    it("has no body for HEAD", function()
      local client = http.open(gate.address)
      local res = client:request({ method = "HEAD", path = "/hello.php" })
      assert.equal(200, res.status)
      assert.equal("text/html; charset=UTF-8", res.headers["content-type"])
      assert.equal("Hello from PHP\n", client:request({ path = "/hello.php" }).body)
      client:close()
    end)

    it("goes to an HTTP/1.0 client without chunks", function()
      local res = http.request(gate.address, { path = "/hello.php", version = "1.0" })
      assert.equal("Hello from PHP\n", res.body)
      assert.is_nil(res.headers["transfer-encoding"])
      local long = http.request(gate.address, { path = "/big.php?bytes=300000", version = "1.0" })
      assert.equal("close", long.framing)
      assert.equal(300000, #long.body)
    end)

    it("may be long, with and without Content-Length", function()
      local expected = ("0123456789abcdef"):rep(5 * 65536)
      local counted = get("/big.php?length=1&bytes=" .. #expected)
      assert.equal("length", counted.framing)
      assert.True(counted.body == expected)
      local chunked = get("/big.php?bytes=" .. #expected)
      assert.equal("chunked", chunked.framing)
      assert.True(chunked.body == expected)
    end)

    it("keeps its headers, and loses those that are not the application's", function()
      local res = get("/headers.php?long=6000")
      assert.same({ "a=1", "b=2; HttpOnly" }, res:all("Set-Cookie"))
      assert.equal(6000, #res.headers["x-long"])
      assert.equal("private, max-age=60", res.headers["cache-control"])
      assert.is_nil(res.headers["connection"]:find("X-Secret", 1, true))
    end)
  end)

  describe("a form", function()
    it("arrives with every character", function()
      local text = "Gr\195\188\195\159e & \226\130\172 100% + 1=2;\r\n\"q\""
      local body = http.form({ text = text, empty = "", ["list[]"] = "one" })
      local res = http.post(gate.address, "/form.php?q=a%20b+c", body, {
        ["Content-Type"] = "application/x-www-form-urlencoded",
        Cookie = "flavour=dark%20oat",
      })
      assert.equal(200, res.status)
      assert.equal("get q=a b c\npost empty=\npost list=one\npost text=" .. text
        .. "\ncookie flavour=dark oat\n", res.body)
    end)

    it("uploads a file of 20 MB", function()
      local content = noise(20 * 1024 * 1024 + 77)
      local body, kind = http.multipart({
        { name = "title", content = "the picture" },
        { name = "file", filename = "m\195\182nd.bin", type = "image/x-raw", content = content },
      })
      local res = http.request(gate.address, {
        method = "POST", path = "/upload.php", body = body,
        headers = { ["Content-Type"] = kind }, timeout = 60,
      })
      local told = fields(res.body)
      assert.equal(200, res.status)
      assert.equal(tostring(#content), told.size)
      assert.equal(sha256(content), told.sha256)
      assert.equal("m\195\182nd.bin", told.name)
      assert.equal("image/x-raw", told.type)
      assert.equal("the picture", told.title)
    end)

    it("is told by PHP when a file is too big for it", function()
      local body, kind = http.multipart({
        { name = "file", filename = "big", content = noise(33 * 1024 * 1024) },
      })
      local res = http.request(gate.address, {
        method = "POST", path = "/upload.php", body = body,
        headers = { ["Content-Type"] = kind }, timeout = 60,
      })
      assert.equal(400, res.status)
      assert.equal("error=1\n", res.body)
    end)
  end)

  describe("a body", function()
    it("that is chunked arrives whole, with its length announced", function()
      local pieces, size = {}, { 1, 15, 16, 4096, 65535, 65536, 131072 }
      for i, length in ipairs(size) do
        pieces[i] = noise(length)
      end
      local whole = table.concat(pieces)
      local res = http.request(gate.address, {
        method = "PUT", path = "/input.php", body = pieces,
        headers = { ["Content-Type"] = "application/octet-stream" },
      })
      assert.same({
        method = "PUT",
        announced = tostring(#whole),
        length = tostring(#whole),
        sha256 = sha256(whole),
        encoding = "none",
      }, fields(res.body))
    end)

    it("that is chunked and trickles in arrives whole", function()
      local client = http.open(gate.address)
      client.conn:send("POST /input.php HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain\r\n"
        .. "Transfer-Encoding: chunked\r\n\r\n")
      client.conn:drip({
        "5\r", "\nhel", "lo\r\n6;x=y\r\n", " moon!", "\r\n0", "\r\n\r", "\n",
      }, 0.02)
      local told = fields(client:receive("POST").body)
      assert.equal("11", told.announced)
      assert.equal(sha256("hello moon!"), told.sha256)
      client:close()
    end)

    it("may be empty", function()
      local told = fields(http.post(gate.address, "/input.php", "").body)
      assert.equal("0", told.length)
    end)

    it("waits for 100 Continue where the client wants that", function()
      local client = http.open(gate.address)
      client.conn:send("POST /input.php HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain\r\n"
        .. "Expect: 100-continue\r\nContent-Length: 5\r\n\r\n")
      assert.equal("HTTP/1.1 100 Continue\r\n\r\n", client.conn:read_until("\r\n\r\n"))
      client.conn:send("hello")
      assert.equal(sha256("hello"), fields(client:receive("POST").body).sha256)
      client:close()
    end)
  end)

  describe("a session", function()
    it("belongs to one browser", function()
      local first = get("/session.php")
      assert.equal("visits=1\n", first.body)
      local cookie = first.headers["set-cookie"]:match("^PHPSESSID=[^;]+")
      assert.equal("visits=2\n", get("/session.php", { Cookie = cookie }).body)
      assert.equal("visits=3\n", get("/session.php", { Cookie = "x=y; " .. cookie }).body)
      assert.equal("visits=1\n", get("/session.php").body)
    end)
  end)

  describe("a redirect", function()
    it("goes to the browser, whatever its form", function()
      for _, to in ipairs({ "http://elsewhere.example/a?b=c", "/hello.php", "hello.php" }) do
        local res = get("/redirect.php?to=" .. http.escape(to))
        assert.equal(302, res.status)
        assert.equal(to, res.headers["location"])
        assert.equal("moved\n", res.body)
      end
    end)

    it("keeps its status", function()
      for _, status in ipairs({ 301, 303, 307, 308 }) do
        assert.equal(status, get("/redirect.php?to=/hello.php&status=" .. status).status)
      end
    end)
  end)

  describe("a status", function()
    it("comes with the application's own page", function()
      for _, status in ipairs({ 201, 400, 403, 404, 410, 500, 503 }) do
        local res = get("/status.php?code=" .. status)
        assert.equal(status, res.status)
        assert.equal(("the page for %d\n"):format(status), res.body)
        assert.equal("own", res.headers["x-page"])
      end
    end)

    it("may have a reason of its own", function()
      local res = get("/status.php?code=418")
      assert.equal(418, res.status)
      assert.equal("I'm a teapot", res.reason)
    end)

    it("may forbid a body, and the connection goes on", function()
      local client = http.open(gate.address)
      for _, status in ipairs({ 204, 304 }) do
        local res = client:request({ path = "/status.php?code=" .. status })
        assert.equal(status, res.status)
        assert.equal("none", res.framing)
      end
      assert.equal("Hello from PHP\n", client:request({ path = "/hello.php" }).body)
      client:assert_quiet()
      client:close()
    end)
  end)

  describe("what PHP flushes", function()
    it("comes at once, piece by piece", function()
      local dir = process.tempdir("flush")
      local client = http.open(gate.address)
      local seen, number = "", 0
      local res = client:request({ path = "/flush.php?dir=" .. dir }, function(bytes)
        seen = seen .. bytes
        if seen:find(("data: piece %d\n\n"):format(number + 1), 1, true) then
          number = number + 1
          process.write_file(("%s/go%d"):format(dir, number), "")
        end
      end)
      assert.equal("data: piece 1\n\ndata: piece 2\n\ndata: piece 3\n\ndata: end\n\n", res.body)
      client:close()
    end)

    it("is answered when the request is finished early, not when the script ends", function()
      local mark, answered = fpm.data .. "/finished", process.tempdir("finish") .. "/answered"
      local res = get(("/finish.php?mark=%s&until=%s"):format(mark, answered))
      assert.equal("answered\n", res.body)
      assert.is_nil(process.read_file(mark))
      process.write_file(answered, "")
      poll.wait(function()
        return process.read_file(mark) == "done"
      end, "the script to go on to its end")
    end)
  end)

  describe("the path", function()
    it("is split into script and PATH_INFO", function()
      local told = fields(get("/server.php/a/b%20c//d?x=1&y=%2F").body)
      assert.equal("/server.php", told.SCRIPT_NAME)
      assert.equal(fpm.root .. "/server.php", told.SCRIPT_FILENAME)
      assert.equal("/a/b c/d", told.PATH_INFO)
      assert.equal("/server.php/a/b c/d", told.PHP_SELF)
      assert.equal("/server.php/a/b%20c//d?x=1&y=%2F", told.REQUEST_URI)
      assert.equal("x=1&y=%2F", told.QUERY_STRING)
      for name in pairs(told) do
        assert.is_nil(name:match("^ORIG_"))
      end
    end)

    it("has no PATH_INFO where there is none", function()
      local told = fields(get("/server.php").body)
      assert.is_nil(told.PATH_INFO)
      assert.is_nil(told.PATH_TRANSLATED)
    end)

    it("is decoded once", function()
      local told = fields(get("/with%20space.php/100%2525").body)
      assert.equal("/with space.php", told.SCRIPT_NAME)
      assert.equal("/100%25", told.PATH_INFO)
    end)

    it("leads to scripts and folders whatever their names are", function()
      local page = "<?php echo $_SERVER['SCRIPT_NAME'], '|', $_SERVER['PATH_INFO'] ?? '';"
      for _, name in ipairs({ "two\nlines", "cr\r", "größe", "\255\254", "50%", "%41", "a?b", "#",
        "semi;colon", "quote'\"<>&", "back\\slash", "x y", "...dots", "a=b&c", ("x"):rep(251),
        "deep" .. ("/d"):rep(400) .. "/x", "tab\t", "*[a]{b}", "name.php5" }) do
        local script = "/odd/" .. name .. ".php"
        stage.write(fpm.root, { [script:sub(2)] = page, ["in/" .. name .. "/index.php"] = page })
        local path = "/odd/" .. http.escape(name):gsub("%%2F", "/") .. ".php"
        if name:match("^%.") then
          assert.equal(403, get(path).status, name) -- a dotfile
        else
          assert.equal(script .. "|", get(path).body, name)
          assert.equal(script .. "|/.x/ö\n", get(path .. "/.x/%C3%B6%0A").body, name)
          local res = get("/in/" .. http.escape(name):gsub("%%2F", "/"))
          assert.equal(301, res.status, name)
          assert.is_nil(res.headers.location:find("[%c\128-\255 ]"))
          assert.equal("/in/" .. name .. "/index.php|", get(res.headers.location).body, name)
        end
      end
    end)

    it("of more than the system takes is 404", function()
      for _, path in ipairs({ "/" .. ("x"):rep(256), "/" .. ("x"):rep(252) .. ".php",
        "/" .. ("x"):rep(5000), ("/d"):rep(3000), ("/d.php"):rep(1000),
        "/hello.php" .. ("x"):rep(5000)
      }) do
        assert.equal(404, get(path).status, path:sub(1, 20))
      end
      assert.equal(200, get("/server.php" .. ("/d.php"):rep(1000)).status)
    end)

    it("finds the index of a folder, and sends one there", function()
      assert.equal("index of the folder\n", get("/folder/").body)
      local res = get("/folder?a=1")
      assert.equal(301, res.status)
      assert.equal("/folder/?a=1", res.headers["location"]:gsub("^http://[^/]+", ""))
    end)
  end)

  describe("$_SERVER", function()
    it("has what applications expect", function()
      local client = http.open(gate.address)
      local _, client_port = client.conn.sock:getsockname()
      local port = gate.address:match("%d+$")
      local told = fields(client:request({
        path = "/server.php?a=b", host = "Acme.Example:8443",
        headers = { ["X-Two-Words"] = "yes", ["Accept"] = { "text/html", "text/plain" } },
      }).body)
      local function expect(expected)
        for name, value in pairs(expected) do
          assert.equal(name .. "=" .. value, name .. "=" .. tostring(told[name]))
        end
      end
      expect({
        GATEWAY_INTERFACE = "CGI/1.1",
        SERVER_PROTOCOL = "HTTP/1.1",
        SERVER_NAME = "acme.example",
        SERVER_ADDR = "127.0.0.1",
        SERVER_PORT = port,
        REMOTE_ADDR = "127.0.0.1",
        REMOTE_PORT = tostring(client_port),
        REQUEST_METHOD = "GET",
        REQUEST_SCHEME = "http",
        REQUEST_URI = "/server.php?a=b",
        DOCUMENT_URI = "/server.php",
        DOCUMENT_ROOT = fpm.root,
        QUERY_STRING = "a=b",
        REDIRECT_STATUS = "200",
        HTTP_HOST = "Acme.Example:8443",
        HTTP_X_TWO_WORDS = "yes",
        HTTP_ACCEPT = "text/html, text/plain",
        FCGI_ROLE = "RESPONDER",
      })
      assert.truthy(told.SERVER_SOFTWARE:match("^moongate/%S+ %(like nginx%)$"))
      assert.is_nil(told.HTTPS)
      client:close()
    end)

    it("has Authorization, and PHP's own parts of it", function()
      local told = fields(get("/server.php", { Authorization = "Basic bW9vbjpnYXRl" }).body)
      assert.equal("Basic bW9vbjpnYXRl", told.HTTP_AUTHORIZATION)
      assert.equal("moon", told.PHP_AUTH_USER)
      assert.equal("gate", told.PHP_AUTH_PW)
    end)

    it("has nothing that a client could use to deceive", function()
      local told = fields(get("/server.php", {
        Proxy = "http://evil.example",
        ["X_Forwarded_For"] = "1.2.3.4",
        ["X.Real.Ip"] = "1.2.3.4",
        ["Connection"] = "close, X-Hop",
        ["X-Hop"] = "secret",
        ["Keep-Alive"] = "timeout=1",
        ["TE"] = "trailers",
      }).body)
      for _, name in ipairs({
        "HTTP_PROXY", "HTTP_X_FORWARDED_FOR", "HTTP_X_REAL_IP", "HTTP_X_HOP", "HTTP_CONNECTION",
        "HTTP_KEEP_ALIVE", "HTTP_TE",
      }) do
        assert.is_nil(told[name], name)
      end
    end)
  end)

  describe("an error of the application", function()
    it("is 500, and the log says where", function()
      local mark = gate:mark()
      local res = get("/exception.php")
      assert.equal(500, res.status)
      assert.is_nil(res.body:find("the moon is not available", 1, true))
      gate:wait_log("Uncaught RuntimeException: the moon is not available", 5, mark)
      gate:wait_log("exception%.php", 5, mark)
      assert.equal("Hello from PHP\n", get("/hello.php").body)
    end)

    it("that is only told goes to the log", function()
      local mark = gate:mark()
      assert.equal("fine\n", get("/warning.php").body)
      gate:wait_log("first message", 5, mark)
      gate:wait_log("second message", 5, mark)
    end)
  end)

  describe("files", function()
    it("beside the scripts are served with their type", function()
      local css = get("/style.css")
      assert.equal(200, css.status)
      assert.equal("text/css", css.headers["content-type"]:match("^[^;]+"))
      assert.equal("body { color: #234; }\n", css.body)
      assert.equal("text/html", get("/plain.html").headers["content-type"]:match("^[^;]+"))
      assert.equal(200, get("/.well-known/security.txt").status)
    end)

    it("are not sent again to who has them", function()
      local first = get("/style.css")
      local again = get("/style.css", { ["If-None-Match"] = first.headers["etag"] })
      assert.equal(304, again.status)
      assert.equal("", again.body)
      local since = get("/style.css", { ["If-Modified-Since"] = first.headers["last-modified"] })
      assert.equal(304, since.status)
    end)

    it("are never the source of a script", function()
      for _, path in ipairs({
        "/hello.php~", "/hello.php.bak", "/page.PHP", "/.env", "/hello.php%20", "/hello.php.",
        "/hello.PHP", "/hello.php%5C", "/folder/../.env", "/hello.php%2F..%2F.env",
      }) do
        local res = get(path)
        assert.truthy(res.status == 403 or res.status == 404 or res.status == 400,
          path .. " gave " .. res.status)
        assert.is_nil(res.body:find("<?php", 1, true), path)
        assert.is_nil(res.body:find("SECRET", 1, true), path)
      end
    end)

    it("of which only the application knows may have a dot in front", function()
      for _, method in ipairs({ "GET", "PUT", "DELETE" }) do
        local res = http.request(gate.address, { method = method,
          path = "/server.php/dav/u/.hidden/.git/x" })
        assert.equal(200, res.status)
        assert.equal("/dav/u/.hidden/.git/x", fields(res.body).PATH_INFO)
      end
      assert.equal(403, get("/.env").status)
      assert.equal(404, get("/.nothing").status)
    end)

    it("are not run as scripts by a made up PATH_INFO", function()
      for _, path in ipairs({ "/text.txt/x.php", "/style.css/hello.php" }) do
        assert.equal(404, get(path).status, path)
      end
    end)

    it("that are not there are 404", function()
      assert.equal(404, get("/nothing.html").status)
      assert.equal(404, get("/nothing.php").status)
      assert.equal(404, get("/nothing.php/x").status)
    end)
  end)

  describe("a child of PHP-FPM", function()
    it("is free again as soon as it has answered, however long the browser stays", function()
      local client = http.open(gate.address)
      assert.equal(200, client:request({ path = "/hello.php" }).status)
      poll.wait(function()
        return fpm:connections() == 0
      end, "the connection to PHP-FPM to be closed", 2)
      client:close()
    end)

    it("serves many clients in turn", function()
      local clients = {}
      for i = 1, 64 do
        clients[i] = http.open(gate.address)
      end
      for i, client in ipairs(clients) do
        client:send({ path = "/form.php?n=" .. i })
      end
      for i, client in ipairs(clients) do
        assert.equal(("get n=%d\n"):format(i), client:receive().body)
        client:close()
      end
    end)

    it("is let go when the browser has left", function()
      local client = http.open(gate.address)
      client:send({ path = "/endless.php" })
      client.conn:read_until("and on\n")
      poll.wait(function() return fpm:connections() == 1 end, "those before it to be closed")
      client.conn:reset()
      poll.wait(function()
        return fpm:connections() == 0
      end, "the request to be given up", 5)
      gate:wait_access("/endless%.php.* 499 ")
    end)

    it("that dies in the middle of a reply leaves a reply that is not whole", function()
      local client = http.open(gate.address)
      client:send({ path = "/endless.php" })
      local head = client.conn:read_until("\r\n\r\n")
      assert.truthy(head:find("200 OK", 1, true))
      local pid = tonumber(client.conn:read_until("and on\n"):match("\n(%d+)\n"))
      local mark = gate:mark()
      process.signal(pid, "KILL")
      local rest = client.conn:read_all()
      assert.is_nil(rest:find("\r\n0\r\n\r\n", 1, true))
      gate:wait_log("closed", 5, mark)
      assert.equal("Hello from PHP\n", get("/hello.php").body)
      client:close()
    end)
  end)
end)

describe("PHP-FPM and a route that names the script itself", function()
  local fpm, gate

  setup(function()
    fpm = php.start({ pages = "tests/pages", children = 1 })
    stage.write(fpm.root, { ["page.inc"] = "<?php echo 'included';" })
    gate = server.start({
      env = { TEST_BACKEND = fpm.address, TEST_ROOT = fpm.root },
      route = [[
local root = os.getenv("TEST_ROOT")
return {
  backends = { app = os.getenv("TEST_BACKEND"), kept = {
    servers = { os.getenv("TEST_BACKEND") }, keepalive = 1, keepalive_idle = "4s",
  } },
  on_request = function(req)
    if req.path == "/missing" then
      return { backend = "app", docroot = root, script = "/lost/missing.php" }
    elseif req.path == "/refused" then
      return { backend = "app", script_filename = root .. "/page.inc" }
    elseif req.path == "/kept" then
      return { backend = "kept", docroot = root, script = "/hello.php" }
    elseif req.path == "/param" then
      return { backend = "app", docroot = root, script = "/server.php",
        params = { APP_ENV = "test", NUMBER = 42, REMOTE_PORT = false } }
    end
    return { backend = "app", docroot = root, script = "/server.php", path_info = req.path }
  end,
  on_params = function(req, params)
    if req.path == "/front" then
      params.HTTP_X_ADDED = "by the hook"
      params.SERVER_ADDR = nil
    end
  end,
  on_response = function(req, res)
    res.headers["X-Powered-By"] = nil
    res.headers["X-Route"] = req.path
  end,
}
]],
    })
  end)

  teardown(function()
    gate:stop()
    fpm:stop()
  end)

  it("takes any path for the application", function()
    local res = http.get(gate.address, "/front")
    local told = fields(res.body)
    assert.equal("/server.php", told.SCRIPT_NAME)
    assert.equal("/front", told.PATH_INFO)
    assert.equal("/front", told.REQUEST_URI)
    assert.equal("by the hook", told.HTTP_X_ADDED)
    assert.is_nil(told.SERVER_ADDR)
    assert.equal("/front", res.headers["x-route"])
    assert.is_nil(res.headers["x-powered-by"])
  end)

  it("adds and removes params", function()
    local told = fields(http.get(gate.address, "/param").body)
    assert.equal("test", told.APP_ENV)
    assert.equal("42", told.NUMBER)
    assert.is_nil(told.REMOTE_PORT)
  end)

  it("explains a script that PHP does not find", function()
    local mark = gate:mark()
    local res = http.get(gate.address, "/missing")
    assert.equal(404, res.status)
    assert.equal("File not found.\n", res.body)
    local line = gate:wait_log("Primary script unknown", 5, mark)
    local log = gate:errors():sub(mark + 1)
    assert.truthy(log:find(fpm.root .. "/lost/missing.php", 1, true), line)
    assert.truthy(log:find("deepest", 1, true) or log:find("exist", 1, true), log)
  end)

  it("quotes what a client has written, for whoever copies the command", function()
    local mark = gate:mark()
    http.get(gate.address, "/missing?a=$(id)&b=`id`';id;'")
    local line = gate:wait_log("Try: moongate explain ROUTE.lua GET ", 5, mark)
    local word = "'http://localhost/missing?a=$(id)&b=`id`%27;id;%27'"
    assert.truthy(line:find("GET " .. word, 1, true), line)
  end)

  it("explains a script that PHP refuses to run", function()
    local mark = gate:mark()
    local res = http.get(gate.address, "/refused")
    assert.equal(403, res.status)
    gate:wait_log("page%.inc", 5, mark)
  end)

  it("may keep its connection for the next request", function()
    local client = http.open(gate.address)
    for _ = 1, 5 do
      assert.equal("Hello from PHP\n", client:request({ path = "/kept" }).body)
      assert.equal(1, fpm:connections())
    end
    client:close()
    poll.wait(function()
      return fpm:connections() == 0
    end, "the idle connection to be given up", 5)
  end)
end)

describe("headers of a site", function()
  it("hold for PHP's answers, files, pages of our own and failures", function()
    local fpm = php.start({ pages = "tests/pages", children = 1 })
    finally(function() fpm:stop() end)
    stage.write(fpm.root, { [".env"] = "SECRET=1\n" })
    local gate = server.start({ route = ([[
      local php = require("moongate.php")
      local headers = { ["Strict-Transport-Security"] = "max-age=1", ["X-From"] = "the site" }
      local site = php.site { root = %q, backend = "app", headers = headers,
        static = { headers = { ["X-Static"] = "yes" }, cache_control = "max-age=9" } }
      local down = php.site { root = %q, backend = "down", headers = headers }
      return { control = false,
        backends = { app = %q, down = "unix:/nonexistent/x.sock" },
        on_request = function(req) return req.args.down and down(req) or site(req) end }]])
      :format(fpm.root, fpm.root, fpm.address) })
    finally(function() gate:stop() end)
    for path, want in pairs({
      ["/hello.php"] = { 200 }, ["/send.php?header=X-Other&value=x"] = { 200 },
      ["/style.css"] = { 200, true }, ["/nothing"] = { 404, true }, ["/folder"] = { 301, true },
      ["/.env"] = { 403, true }, ["/hello.php?down=1"] = { 503 },
    }) do
      local res = http.get(gate.address, path)
      assert.equal(want[1], res.status, path)
      assert.same({ "max-age=1" }, res:all("strict-transport-security"), path)
      assert.same({ "the site" }, res:all("x-from"), path) -- send.php says another
      assert.equal(want[2] and "yes" or nil, res.headers["x-static"], path)
      assert.equal(path == "/style.css" and "max-age=9" or nil, res.headers["cache-control"], path)
    end
  end)
end)

describe("PHP-FPM that is not there", function()
  it("is 503, explained in the log, until it is back", function()
    local fpm = php.start({ pages = "tests/pages" })
    local gate = serve(fpm)
    finally(function()
      fpm:stop()
      gate:stop()
    end)
    assert.equal(200, http.get(gate.address, "/hello.php").status)
    fpm:stop()
    local mark = gate:mark()
    local res = http.get(gate.address, "/hello.php")
    assert.equal(503, res.status)
    assert.truthy(tonumber(res.headers["retry-after"]))
    local path = fpm.address:gsub("^unix:", "")
    gate:wait_log(path:gsub("%p", "%%%0"), 5, mark)
    assert.equal(200, http.get(gate.address, "/style.css").status)
    fpm:restart()
    assert.equal(200, http.get(gate.address, "/hello.php").status)
  end)

  it("is 503 where the socket may not be used, and the log says what to compare", function()
    local fpm = php.start({ pages = "tests/pages", pool = { "listen.mode = 0000" } })
    local gate = serve(fpm)
    finally(function()
      fpm:stop()
      gate:stop()
    end)
    local mark = gate:mark()
    assert.equal(503, http.get(gate.address, "/hello.php").status)
    gate:wait_log("[Pp]ermission denied", 5, mark)
    local log = gate:errors():sub(mark + 1)
    assert.truthy(log:find(fpm.address, 1, true), log)
    assert.truthy(log:find("listen.owner", 1, true), log)
  end)

  it("is 503 where the server's path is no socket, and the log says what it is", function()
    local root = stage.copy("tests/pages")
    for path, kind in pairs({ [root] = "folder", [root .. "/hello.php"] = "file" }) do
      local gate = serve({ address = "unix:" .. path, root = root })
      local mark = gate:mark()
      assert.equal(503, http.get(gate.address, "/hello.php").status)
      gate:wait_log(kind .. ", not a socket", 5, mark)
      gate:stop()
    end
  end)
end)

describe("a connection that sends nothing", function()
  it("does not reach PHP-FPM", function()
    local fpm = php.start({ pages = "tests/pages", children = 1 })
    local gate = serve(fpm)
    finally(function()
      fpm:stop()
      gate:stop()
    end)
    local idle = net.connect(gate.address)
    local half = net.connect(gate.address):send("POST /input.php HTTP/1.1\r\nHost: a\r\n"
      .. "Content-Length: 10\r\n\r\nhalf")
    assert.equal("Hello from PHP\n", http.get(gate.address, "/hello.php").body)
    half:send(" a day")
    assert.truthy(half:read_until("length=10\n"))
    idle:close()
    half:close()
  end)
end)
