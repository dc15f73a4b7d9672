-- The examples of ways to run PHP, before a real PHP-FPM: what a visitor sees, and what PHP is
-- told.

local http = require("tests.support.http")
local json = require("moongate.base.json")
local multiphp = require("tests.support.multiphp")
local php = require("tests.support.php")
local poll = require("tests.support.poll")
local process = require("tests.support.process")
local responder = require("tests.support.responder")
local rig = require("tests.support.rig")
local server = require("tests.support.server")
local stage = require("tests.support.stage")

-- Starts an example; with `env` in place of a private PHP.
local function start(name, env, args)
  args = args or {}
  if not env then
    args[#args + 1] = "--php"
    args[#args + 1] = "unix:" .. process.tempdir("sock") .. "/php.sock"
  end
  local gate = server.start({
    folder = "examples/" .. name, route = "route.lua", env = env, args = args,
  })
  finally(function() gate:stop() end)
  return gate
end

local function body(gate, path, host)
  return http.request(gate.address, { path = path, host = host }).body
end

describe("an example", function()
  for name in process.run({ argv = { "ls", "examples" } }).stdout:gmatch("[^\n]+") do
    it("has a page, and a spec that passes: " .. name, function()
      assert.matches("^# %a[^\n]+\n\n.* moongate run [^\n]*route%.lua",
        assert(process.read_file("examples/" .. name .. "/README.md")))
      local result = server.command({ "test", stage.copy("examples/" .. name) .. "/route.lua" })
      assert.equal(0, result.code, result.stderr .. result.stdout)
      assert.matches("^[1-9]%d* passed, 0 failed\n$", result.stdout)
    end)
  end
end)

describe("prefix", function()
  it("keeps connections to the application, or not", function()
    local app = responder.start()
    local gate = start("prefix", { MOONGATE_APP = app.address })
    local function connections(prefix)
      local seen, count = {}, 0
      for _ = 1, 3 do
        local res = http.get(gate.address, prefix .. "/any/page?dump&who")
        local params = rig.params(res)
        assert.equal(prefix, params.SCRIPT_NAME)
        assert.equal("/any/page", params.PATH_INFO)
        local connection = res.headers["x-connection"]
        count = count + (seen[connection] and 0 or 1)
        seen[connection] = true
      end
      return count
    end
    assert.equal(3, connections("/shy"))
    assert.equal(1, connections("/myapp"))
    assert.equal(404, http.get(gate.address, "/").status)
    gate:stop()
    app:stop()
  end)
end)

describe("roots", function()
  it("has a folder for the proxy and another one for PHP", function()
    local fpm = php.start({ pages = "examples/roots/public" })
    local gate = start("roots", { MOONGATE_PHP = fpm.address, SHOP_DOCROOT = fpm.root })
    local text = body(gate, "/shop/cart.php/7")
    assert.truthy(text:find("DIR=" .. fpm.root .. "\n", 1, true), text)
    assert.truthy(text:find("DOCUMENT_ROOT=" .. fpm.root .. "\n", 1, true))
    assert.truthy(text:find("PATH_TRANSLATED=" .. fpm.root .. "/cart.php\n", 1, true))
    assert.truthy(text:find("PATH_INFO=/7\n", 1, true))
    stage.write(gate.dir, { ["public/style.css"] = "the proxy's" })
    assert.equal("the proxy's", body(gate, "/shop/style.css"))
    assert.equal("the shop\n", body(gate, "/shop/"))
    assert.equal("/shop/", http.get(gate.address, "/").headers.location)
    gate:stop()
    fpm:stop()
  end)
end)

describe("versions", function()
  it("has each request run by the version that is asked for", function()
    local pools = {}
    for i, name in ipairs({ "php82", "php74" }) do
      pools[i] = php.start({ root = process.cwd(), pool = { "env[POOL] = " .. name } })
    end
    local gate = start("versions",
      { MOONGATE_PHP = pools[1].address, MOONGATE_PHP_2 = pools[2].address })
    local function pool(host, path)
      return body(gate, path, host):match(" in (%w+)\n$")
    end
    assert.equal("php82", pool("new.localhost", "/"))
    assert.equal("php74", pool("old.localhost", "/"))
    assert.equal("php82", pool("old.localhost", "/next/"))
    assert.equal("php82", pool("choice.localhost", "/"))
    assert.equal("php74", pool("choice.localhost", "/legacy/"))
    stage.write(gate.dir, { ["sites/choice/legacy/.php-version"] = "8.2\n" })
    poll.wait(function()
      return pool("choice.localhost", "/legacy/") == "php82"
    end, "the version that the site's file names now")
    gate:stop()
    for _, each in ipairs(pools) do
      each:stop()
    end
  end)
end)

describe("multi-php", function()
  local fpm, site

  setup(function()
    local dir = stage.copy("examples/multi-php")
    -- Pools stand for versions, and a second copy of the sites for the roots that they have.
    local function pool(name)
      return { ("env[POOL] = php%s"):format(name), "pm.max_children = 4" }
    end
    fpm = php.start({
      pages = "examples/multi-php/sites", pool = pool("74"),
      more = { php82 = pool("82"), php84 = pool("84") },
    })
    for _, sites in ipairs({ dir .. "/sites", fpm.root }) do
      multiphp.add_pages(sites)
    end
    site = multiphp.start(dir, fpm.root,
      { php74 = fpm.address, php82 = fpm.more.php82, php84 = fpm.more.php84 })
  end)

  teardown(function()
    site:stop()
    fpm:stop()
  end)

  it("has a version by the host, by the path and by a file of the site", function()
    for _, case in ipairs({
      { "acme.localhost", "/", "php74" }, { "www.acme.localhost", "/", "php74" },
      { "acme.localhost", "/next/", "php84" }, { "wiki.localhost", "/", "php84" },
      { "wiki.localhost", "/archive/", "php82" },
    }) do
      local host, path, pool = unpack(case)
      local answer = site:ask(host, path)
      local docroot = fpm.root .. "/" .. host:match("(%w+)%.localhost$")
      assert.same({ pool, docroot, docroot .. path:gsub("/$", "") },
        { answer.pool, answer.docroot, answer.dir }, host .. path)
    end
    local folder = site.gate.route_path:gsub("route%.lua$", "sites/")
    stage.write(folder, { ["wiki/archive/.php-version"] = "7.4\n" })
    site:wait_pool("wiki.localhost", "/archive/", "php74")
    stage.write(folder, { ["acme/style.css"] = "the proxy's" })
    assert.equal("the proxy's", body(site.gate, "/style.css", "acme.localhost"))
  end)

  it("moves a site to another version, and loses no request", function()
    site:move("7.4", "8.4", function(name)
      stage.write(fpm.root, { ["acme/" .. name] = "" })
    end)
  end)
end)

describe("timeouts", function()
  it("lets PHP end what computes for too long, and ends what only waits", function()
    local gate = start("timeouts")
    assert.equal("done, with 2 s to go by\n", body(gate, "/"))
    assert.equal("done, with 30 s to go by\n", body(gate, "/export.php"))
    assert.equal(504, http.get(gate.address, "/?sleep=60").status)
    -- A busy machine takes its time for two seconds of PHP's.
    local text = process.read_file(gate.route_path)
    gate:reload((text:gsub("BEYOND = 2 ", "BEYOND = 100 ")))
    assert.equal(500, http.request(gate.address,
      { path = "/?seconds=90", timeout = 120 }).status)
    gate:wait_log("Maximum execution time of 2 seconds exceeded")
  end)
end)

describe("framework", function()
  it("has one script, and files", function()
    local gate = start("framework")
    assert.equal("route /articles/7 in production\n", body(gate, "/articles/7"))
    assert.equal(404, http.get(gate.address, "/other.php").status)
    local res = http.get(gate.address, "/build/app.1a2b3c.css")
    assert.equal("public, max-age=31536000, immutable", res.headers["cache-control"])
  end)
end)

describe("wordpress", function()
  it("has permalinks, a dashboard and uploads that do not run", function()
    local gate = start("wordpress")
    assert.equal("permalink /2026/01/hello-world/\n", body(gate, "/2026/01/hello-world/"))
    assert.equal("dashboard\n", body(gate, "/wp-admin/"))
    assert.equal("/wp-admin/", http.get(gate.address, "/wp-admin").headers.location)
    for _, path in ipairs({ "/wp-config.php", "/xmlrpc.php", "/wp-includes/load.php",
      "/wp-content/uploads/evil.php" }) do
      assert.equal(403, http.get(gate.address, path).status, path)
    end
    for i = 1, 11 do
      local res = http.request(gate.address, { path = "/wp-login.php", method = "POST", body = "" })
      assert.equal(i <= 10 and 200 or 429, res.status)
    end
  end)
end)

describe("webdav", function()
  it("passes methods, odd names and bodies on", function()
    local gate = start("webdav")
    local function ask(method, path, headers, text)
      return http.request(gate.address,
        { path = path, method = method, headers = headers, body = text })
    end
    local res = ask("PROPFIND", "/remote.php/dav/files/anna/", { Depth = "1" })
    assert.equal(207, res.status)
    assert.matches("^PROPFIND /dav/files/anna/ 1 ", res.body)
    res = ask("PUT", "/remote.php/dav/files/anna/.config/app.php", {}, "moon")
    -- The MD5 of "moon".
    assert.equal("PUT /dav/files/anna/.config/app.php - 6d4db5ff0c117864a02827bad3c361b9\n",
      res.body)
    assert.equal("/remote.php/dav/", ask("PROPFIND", "/.well-known/carddav").headers.location)
    assert.equal(403, ask("GET", "/config/config.php").status)
    assert.equal("front /apps/files\n", body(gate, "/apps/files"))
  end)
end)

describe("vhosts", function()
  it("has a folder and settings for each host", function()
    local gate = start("vhosts")
    assert.equal("one: www.one.localhost from one with 128M\n",
      body(gate, "/", "www.one.localhost"))
    assert.equal("two: two.localhost from two with 64M\n", body(gate, "/a/b", "two.localhost"))
    assert.equal("users: anna.users.localhost from users with 128M\n",
      body(gate, "/", "anna.users.localhost"))
    local res = http.request(gate.address, { path = "/", host = "other.localhost" })
    assert.equal("http://one.localhost/", res.headers.location)
  end)
end)

describe("two-fronts", function()
  local HOLD = [[<?php
while (!file_exists($_GET['until'])) { usleep(10000); clearstatcache(); }
echo 'done'; ]]
  -- How many compiled copies of the front page PHP keeps.
  local CACHED = [[<?php
echo count(preg_grep('~/index\.php$~', array_keys(opcache_get_status()['scripts'])));]]
  local fpm, gates, controls

  setup(function()
    fpm = php.start({
      pages = "examples/two-fronts/public", children = 8, ini = { ["opcache.enable"] = "1" },
    })
    gates, controls = {}, {}
    for i, name in ipairs({ "one", "two" }) do
      controls[i] = "unix:" .. process.tempdir("control") .. "/control.sock"
      gates[i] = server.start({
        folder = "examples/two-fronts", route = "route.lua", args = { "--control", controls[i] },
        env = { MOONGATE_PHP = fpm.address, PHP_DOCROOT = fpm.root, MOONGATE_NAME = name },
      })
      stage.write(gates[i].dir, { ["public/hold.php"] = "", ["public/cached.php"] = "" })
    end
    stage.write(fpm.root, { ["hold.php"] = HOLD, ["cached.php"] = CACHED })
    -- OPcache keeps nothing that may still be written to.
    local page = process.quote(fpm.root .. "/index.php")
    assert.equal(0, os.execute("touch -d '1 hour ago' " .. page))
  end)

  teardown(function()
    for _, gate in ipairs(gates) do
      gate:stop()
    end
    fpm:stop()
  end)

  local function status(i)
    local result = server.command({ "status", "--json", "--control", controls[i] })
    assert.equal(0, result.code, result.stderr)
    local backend = json.decode(result.stdout).backends[1]
    return { active = backend.servers[1].active, queued = backend.queued,
      up = backend.servers[1].up }
  end

  it("has one session, and one compiled page, through both", function()
    local cookie = http.get(gates[1].address, "/").headers["set-cookie"]:match("^[^;]+")
    for visit = 2, 5 do
      local i = visit % 2 + 1
      local res = http.get(gates[i].address, "/", { Cookie = cookie })
      assert.equal(("visit %d through %s\n"):format(visit, i == 1 and "one" or "two"), res.body)
    end
    assert.equal("1", body(gates[2], "/cached.php"))
  end)

  it("leaves the other front its processes while one is full", function()
    local over = process.tempdir("until") .. "/now"
    assert.equal(0, os.execute("chmod 755 " .. over:match("^(.*)/")))
    local clients = {}
    for i = 1, 6 do
      clients[i] = http.open(gates[1].address)
      clients[i]:send({ path = "/hold.php?until=" .. over })
    end
    poll.wait(function()
      local now = status(1)
      return now.active == 4 and now.queued == 2
    end, "one to be full, with two that wait")
    assert.equal(200, http.get(gates[2].address, "/").status)
    assert.equal(true, status(2).up)
    process.write_file(over, "")
    for i = 1, 6 do
      assert.equal("done", clients[i]:receive().body)
      clients[i]:close()
    end
    assert.equal(true, status(1).up)
  end)
end)

describe("maintenance", function()
  it("is begun and ended by a command", function()
    local control = "unix:" .. process.tempdir("control") .. "/control.sock"
    local gate = start("maintenance", nil, { "--control", control })
    local function set(value)
      local result = server.command({ "set", "maintenance.shop", value, "--control", control })
      assert.equal(0, result.code, result.stderr)
    end
    assert.equal("the shop\n", body(gate, "/"))
    set("on")
    local res = http.get(gate.address, "/")
    assert.equal(503, res.status)
    assert.equal("600", res.headers["retry-after"])
    assert.truthy(res.body:find("back in ten minutes", 1, true))
    assert.equal("the shop\n", body(gate, "/health"))
    set("off")
    assert.equal("the shop\n", body(gate, "/"))
  end)
end)

describe("sticky", function()
  it("keeps a browser with the server that has its session", function()
    local pools = {}
    for i = 1, 2 do
      pools[i] = php.start({ root = process.cwd() })
    end
    local gate = start("sticky",
      { MOONGATE_PHP = pools[1].address, MOONGATE_PHP_2 = pools[2].address })
    local set = http.get(gate.address, "/").headers["set-cookie"]
    local cookies = { set:match("PHPSESSID=[^;,]+"), set:match("moongate_app=[^;,]+") }
    assert.equal(2, #cookies, set)
    for visit = 2, 5 do
      local res = http.get(gate.address, "/", { Cookie = table.concat(cookies, "; ") })
      assert.equal(("visit %d\n"):format(visit), res.body)
    end
    gate:stop()
    for _, each in ipairs(pools) do
      each:stop()
    end
  end)
end)

describe("rate-limit", function()
  it("says how much is left, and when to come again", function()
    local gate = start("rate-limit")
    local function ask()
      return http.get(gate.address, "/api/x", { ["X-Api-Key"] = "k" })
    end
    local res = ask()
    assert.equal("/api/x\n", res.body)
    assert.truthy(res.headers.ratelimit:find('^"api";r=%d+'))
    local refused
    for _ = 1, 40 do -- the bucket fills while a slow machine asks
      refused = refused or ask().status == 429
    end
    assert.is_true(refused)
    assert.equal(200, http.get(gate.address, "/api/x", { ["X-Api-Key"] = "another" }).status)
  end)
end)

describe("mediawiki", function()
  it("finds pages by their title, and runs no part of itself", function()
    local gate = start("mediawiki")
    assert.equal("title AC/DC\n", body(gate, "/wiki/AC/DC"))
    assert.equal("title A.B.css\n", body(gate, "/wiki/A.B.css"))
    assert.equal('{"rest":"\\/v1\\/page\\/Earth"}\n', body(gate, "/w/rest.php/v1/page/Earth"))
    assert.equal("/wiki/Main_Page", http.get(gate.address, "/").headers.location)
    assert.equal(404, http.get(gate.address, "/w/install.php").status)
    assert.equal(403, http.get(gate.address, "/w/images/evil.php").status)
  end)
end)
