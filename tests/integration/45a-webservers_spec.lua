-- The configurations of docs/fastcgi-in.md, each in the real web server, with real PHP behind: the
-- route chooses which one runs a request. Only addresses and folders take the place of the page's.

local fronts = require("tests.support.fronts")
local http = require("tests.support.http")
local net = require("tests.support.net")
local pages = require("tests.support.pages")
local php = require("tests.support.php")
local poll = require("tests.support.poll")
local process = require("tests.support.process")
local rig = require("tests.support.rig")
local server = require("tests.support.server")

server.inspect()

local replaced = pages.replaced

local function block(language, which)
  return pages.block("docs/fastcgi-in.md", language, which)
end

local function sha256(text)
  return process.run({ argv = { "sha256sum" }, input = text }).stdout:match("^%x+")
end

local function fields(text)
  local found = {}
  for name, value in text:gmatch("([%w_]+)=([^\n]*)\n") do
    found[name] = value
  end
  return found
end

local ROUTE = [[
local site = require("moongate.php").site
local function to(backend)
  return site { root = %q, backend = backend, params = { CHOSEN = backend } }
end
local new, old = to("new"), to("old")
return {
  listen = { { address = %q, protocol = "fastcgi" }, %q },
  workers = 1, watch = false,
  backends = { new = %q, old = %q },
  limits = { body = "64M" },
  on_request = function(req)
    return (req.host == "old.test" and old or new)(req)
  end,
}
]]

-- Two PHPs, and a server before them that web servers reach at `web`.
local function start(unix)
  local one, two = php.start({ pages = "tests/pages" }), php.start({ pages = "tests/pages" })
  local web = unix and "unix:" .. process.tempdir("web") .. "/fastcgi.sock"
    or "127.0.0.1:" .. net.free_port()
  local address = "127.0.0.1:" .. net.free_port()
  local s = server.start({
    own = true, address = address,
    route = ROUTE:format(one.root, web, address, one.address, two.address),
  })
  return { server = s, web = web, root = one.root, php = { one, two } }
end

-- Stops these at the end of the test, the web server first.
local function ending(front, site)
  finally(function()
    front:stop()
    site.server:stop()
    for _, one in ipairs(site.php) do
      one:stop()
    end
  end)
end

local function get(front, path, options)
  options = options or {}
  local client = http.open(front.address, { from = options.from })
  local res = client:request({
    path = path, host = (options.host or "new.test") .. front.address:match(":%d+$"),
    headers = options.headers,
    method = options.method, body = options.body, timeout = 30,
  })
  client:close()
  return res
end

local function assert_chooses(front)
  for host, backend in pairs({ ["new.test"] = "new", ["old.test"] = "old" }) do
    local res = get(front, "/server.php/a%20b/c?x=1&y=%2F", { host = host, from = "127.0.0.5",
      headers = { ["X-Thing"] = "thing", Cookie = "a=b" } })
    assert.equal(200, res.status, res.body)
    local told = fields(res.body)
    assert.equal(backend, told.CHOSEN)
    assert.equal("/a b/c", told.PATH_INFO)
    assert.equal("/server.php", told.SCRIPT_NAME)
    assert.equal("/server.php/a%20b/c?x=1&y=%2F", told.REQUEST_URI)
    assert.equal("x=1&y=%2F", told.QUERY_STRING)
    assert.equal("127.0.0.5", told.REMOTE_ADDR)
    assert.equal(front.address:match("%d+$"), told.SERVER_PORT)
    assert.equal("thing", told.HTTP_X_THING)
    assert.equal("a=b", told.HTTP_COOKIE)
    assert.equal(host .. front.address:match(":%d+$"), told.HTTP_HOST)
    assert.is_nil(told.HTTPS)
    assert.matches("/server%.php$", told.SCRIPT_FILENAME)
  end
  assert.equal(404, get(front, "/not-there.php").status)
  assert.equal("text/css", get(front, "/style.css").headers["content-type"]:match("^[^;]+"))
end

local function assert_uploads(front, no_chunks)
  local content = rig.pattern(3000077)
  local body, kind = http.multipart({
    { name = "title", content = "the picture" },
    { name = "file", filename = "moon.bin", type = "image/x-raw", content = content },
  })
  for _, sent in ipairs({ body, no_chunks and body
    or { body:sub(1, 1000000), body:sub(1000001) } }) do
    local res = get(front, "/upload.php", {
      method = "POST", body = sent, headers = { ["Content-Type"] = kind },
    })
    local told = fields(res.body)
    assert.equal(200, res.status, res.body)
    assert.equal(tostring(#content), told.size)
    assert.equal(sha256(content), told.sha256)
    assert.equal("the picture", told.title)
  end
  -- A large answer, too.
  local res = get(front, "/big.php?bytes=4000000")
  assert.equal(4000000, #res.body)
  assert.equal(sha256(("0123456789abcdef"):rep(250000)), sha256(res.body))
end

-- A client that leaves takes the request with it, and PHP's process is free again.
local function assert_aborts(front, site)
  local client = http.open(front.address)
  client:send({ path = "/endless.php?gone", host = "new.test" })
  poll.wait(function()
    return client.conn:read_some():find("and on", 1, true)
  end, "the page to begin")
  client.conn:reset()
  site.server:wait_access('/endless%.php%?gone HTTP/1%.%d" ', 15)
  assert.matches('%?gone HTTP/1%.%d" 499 ', site.server:access())
end

-- The connections that the web server keeps to us after some requests.
local function kept(front, site)
  for _ = 1, 20 do
    assert.equal(200, get(front, "/hello.php?name=x").status)
  end
  local count = 0
  for _, pid in ipairs(site.server:workers()) do -- one that a reload has replaced may be among them
    count = count + net.connections(pid, site.web)
  end
  return count
end

-- Everything, and what a reload in the middle of it loses: nothing.
local function assert_works(front, site, no_chunks)
  assert_chooses(front)
  assert_uploads(front, no_chunks)
  assert_aborts(front, site)
  local route = process.read_file(site.server.route_path)
  for i = 1, 3 do
    site.server:reload(route .. "-- " .. i .. "\n")
    for _ = 1, 3 do
      local res = get(front, "/input.php", { method = "POST", body = "once" })
      assert.equal(200, res.status)
      assert.equal("4", fields(res.body).length)
    end
  end
  assert.is_nil(site.server:errors():find("no FastCGI", 1, true))
end

describe("nginx in front", function()
  it("passes everything on, and keeps its connections", function()
    local site = start()
    local front = fronts.nginx(function(address)
      return replaced(block("nginx"), { { "127.0.0.1:9001", site.web },
        { "listen 80", "listen " .. address }, { "/srv/www", site.root } })
    end)
    ending(front, site)
    assert_works(front, site)
    poll.wait(function() -- one of before the reloads may be on its way out
      return kept(front, site) == 1
    end, "the one connection that is kept")
  end)

  it("does so through a unix socket", function()
    local site = start(true)
    local front = fronts.nginx(function(address)
      return replaced(block("nginx"), { { "127.0.0.1:9001", site.web },
        { "listen 80", "listen " .. address }, { "/srv/www", site.root } })
    end)
    ending(front, site)
    assert_works(front, site)
  end)
end)

describe("Apache in front", function()
  it("passes everything on, and keeps its connections", function()
    local site = start()
    local front = fronts.apache(function()
      return replaced(block("apache"), { { "127.0.0.1:9001", site.web },
        { "/srv/www", site.root } })
    end)
    ending(front, site)
    assert_works(front, site)
    poll.wait(function() -- the kernel's table may change while it is read
      return kept(front, site) > 0
    end, "a connection that is kept")
  end)

  it("does so through a unix socket", function()
    local site = start(true)
    local front = fronts.apache(function()
      return replaced(block("apache"), { { "fcgi://127.0.0.1:9001/",
        site.web .. "|fcgi://moongate/" }, { "/srv/www", site.root } })
    end)
    ending(front, site)
    assert_works(front, site)
  end)
end)

describe("lighttpd in front", function()
  it("passes everything on", function()
    local site = start()
    local front = fronts.lighttpd(function(address)
      local host, port = address:match("^(.*):(%d+)$")
      return replaced(block("lighttpd"), { { "9001", site.web:match("%d+$") },
        { "server.port = 80", ('server.bind = "%s"\nserver.port = %s'):format(host, port) },
        { "/srv/www", site.root } })
    end)
    ending(front, site)
    assert_works(front, site)
  end)

  it("asks whether it may serve a file", function()
    local one, auth = php.start({ pages = "tests/pages" }), process.tempdir("auth")
    process.write_file(auth .. "/auth.php", [[<?php
      if (($_GET["who"] ?? "") === "ann") { header("Variable-REMOTE_USER: ann"); exit; }
      http_response_code(403); header("X-Why: stranger"); echo $_SERVER["REQUEST_URI"];]])
    process.chmod(auth, "755")
    local web, address = "127.0.0.1:" .. net.free_port(), "127.0.0.1:" .. net.free_port()
    local s = server.start({ own = true, address = address, route = ([[return {
      listen = { { address = %q, protocol = "fastcgi" }, %q }, workers = 1, watch = false,
      backends = { new = %q },
      on_request = function(req)
        if req.role == "authorizer" then
          return { backend = "new", docroot = %q, script = "/auth.php" }
        end
        return { status = 500 }
      end,
    }]]):format(web, address, one.address, auth) })
    local front = fronts.lighttpd(function(at)
      local host, port = at:match("^(.*):(%d+)$")
      return replaced(block("lighttpd", "authorizer"), { { "9001", web:match("%d+$") },
        { "server.port = 80", ('server.bind = "%s"\nserver.port = %s'):format(host, port) },
        { "/srv/www", one.root } })
    end)
    ending(front, { server = s, php = { one } })
    local res = get(front, "/style.css?who=ann")
    assert.equal(200, res.status, res.body)
    assert.equal(process.read_file("tests/pages/style.css"), res.body)
    assert.is_nil(res.headers["variable-remote_user"])
    res = get(front, "/style.css?who=eve")
    assert.equal(403, res.status)
    assert.equal("stranger", res.headers["x-why"])
    assert.equal("/style.css?who=eve", res.body)
  end)
end)

-- It refuses large chunked bodies itself.
describe("HAProxy in front", function()
  local function config(site, more)
    return function(address)
      return replaced(block("haproxy"), { { "127.0.0.1:9001", site.web },
        { "bind :80", "bind " .. address },
        { "/srv/www", site.root .. (more or "") } })
    end
  end

  it("passes everything on, and keeps its connections", function()
    local site = start()
    local front = fronts.haproxy(config(site))
    ending(front, site)
    assert_works(front, site, true)
    poll.wait(function() -- the kernel's table may change while it is read
      return kept(front, site) > 0
    end, "a connection that is kept")
  end)

  it("may send several requests at a time on one connection", function()
    local site = start()
    local front = fronts.haproxy(config(site, "\n    option mpxs-conns"))
    ending(front, site)
    assert_works(front, site, true)
    -- Each client gets its own answer, whichever comes first.
    local clients = {}
    for i = 1, 8 do
      clients[i] = http.open(front.address)
      clients[i]:send({ path = ("/slow.php?ms=%d&token=t%d"):format((8 - i) * 20, i),
        host = i % 2 == 0 and "old.test" or "new.test" })
    end
    for i, client in ipairs(clients) do
      assert.equal("t" .. i .. ";", fields(client:receive("GET").body).token)
      client:close()
    end
  end)
end)

describe("Caddy in front", function()
  it("passes everything on", function()
    local site = start()
    local front = fronts.caddy(function(address)
      return replaced(block("caddy"), { { "127.0.0.1:9001", site.web },
        { "http://:80", "http://:" .. address:match("%d+$") }, { "/srv/www", site.root } })
    end)
    ending(front, site)
    assert_works(front, site)
  end)
end)

describe("examples/fastcgi-in", function()
  it("chooses the PHP by the host", function()
    local fpm = php.start({ pages = "tests/pages" })
    local web, address = "127.0.0.1:" .. net.free_port(), "127.0.0.1:" .. net.free_port()
    local s = server.start({
      folder = "examples/fastcgi-in", own = true, address = address, route = "route.lua",
      files = { ["route.lua"] = replaced(process.read_file("examples/fastcgi-in/route.lua"),
        { { "127.0.0.1:9001", web }, { "127.0.0.1:8080", address } }) },
      env = { MOONGATE_PHP = fpm.address },
    })
    local front = fronts.nginx(function(listen)
      return replaced(block("nginx"), { { "127.0.0.1:9001", web },
        { "listen 80", "listen " .. listen } })
    end)
    ending(front, { server = s, php = { fpm } })
    for host, name in pairs({ ["new.example"] = "newer", ["any.example"] = "older" }) do
      local res = get(front, "/some/page", { host = host, from = "127.0.0.9" })
      assert.equal(200, res.status, res.body)
      assert.is_truthy(res.body:find("php: " .. name, 1, true), res.body)
      assert.is_truthy(res.body:find("visitor: 127.0.0.9", 1, true), res.body)
      assert.is_truthy(res.body:find("web server: nginx", 1, true), res.body)
    end
  end)
end)
