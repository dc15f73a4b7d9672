-- Every example of the project, started as its first comment says and used as its page invites to.

local http = require("tests.support.http")
local php = require("tests.support.php")
local poll = require("tests.support.poll")
local process = require("tests.support.process")
local responder = require("tests.support.responder")
local server = require("tests.support.server")
local stage = require("tests.support.stage")

-- Some are used in files of their own: 32b-sites_spec.lua has ways to run PHP,
-- 32d-machines_spec.lua two-dmz, 32e-wordpress-cache_spec.lua that one, 40-dokuwiki_spec.lua
-- dokuwiki, 44-applications_spec.lua cgit, 45a-webservers_spec.lua fastcgi-in, 63-cluster_spec.lua
-- the cluster, 69d-health_spec.lua failover, 69e-canary_spec.lua canary, 69g-shadow_spec.lua
-- shadow.
local EXAMPLES = {
  "authorizer", "balance", "canary", "certificates", "cgit", "cluster", "dokuwiki", "errors",
  "failover", "fastcgi-in", "framework", "hello", "maintenance", "mediawiki", "multi-php",
  "multiplex", "php-site", "prefix", "queue", "rate-limit", "roots", "shadow", "sticky", "tenants",
  "timeouts", "two-dmz", "two-fronts", "versions", "vhosts", "webdav", "webhook", "wordpress",
  "wordpress-cache",
}

-- Starts an example with a private PHP.
local function start(name)
  local socket = process.tempdir("sock")
  return server.start({
    folder = "examples/" .. name,
    route = "route.lua",
    args = { "--php", "unix:" .. socket .. "/php.sock" },
  })
end

-- Runs a command that speaks to the instance; returns what it printed.
local function tell(control, ...)
  local argv = { ... }
  argv[#argv + 1] = "--control"
  argv[#argv + 1] = control
  local result = server.command(argv)
  assert.equal(0, result.code, result.stderr)
  return result.stdout
end

describe("examples", function()
  it("are all tried here", function()
    local list = process.run({ argv = { "ls", "examples" } }).stdout
    assert.equal(table.concat(EXAMPLES, "\n") .. "\n", list)
  end)

  it("are all valid", function()
    for _, name in ipairs(EXAMPLES) do
      local path = stage.copy("examples/" .. name) .. "/route.lua"
      local result = server.command({ "check", path })
      assert.equal("ok\n", result.stdout, result.stderr)
    end
  end)
end)

describe("moongate init", function()
  it("writes each of them as it is, and the route is valid", function()
    for _, name in ipairs(EXAMPLES) do
      local folder = process.tempdir("init") .. "/a site"
      local result = server.command({ "init", name, folder })
      assert.equal(0, result.code, result.stderr)
      local diff = process.run({ argv = { "diff", "-r", "examples/" .. name, folder } })
      assert.equal("", diff.stdout .. diff.stderr)
      assert.truthy(result.stdout:find(("moongate check '%s/route.lua'"):format(folder), 1, true))
      assert.equal("ok\n", server.command({ "check", folder .. "/route.lua" }).stdout, name)
    end
  end)

  it("writes nothing where a file exists", function()
    local folder = stage.files({ ["public/index.php"] = "mine" })
    local result = server.command({ "init", "hello", folder })
    assert.equal(1, result.code)
    assert.equal(("moongate: %s/public/index.php: it exists, and nothing has been written; name "
      .. "another folder\n"):format(folder), result.stderr)
    assert.is_nil((io.open(folder .. "/route.lua")))
    assert.equal("mine", process.read_file(folder .. "/public/index.php"))
  end)

  it("lists them", function()
    local names = {}
    for name, what in server.command({ "init", "--list" }).stdout:gmatch("(%S+) +(%S[^\n]+)\n") do
      assert.is_true(#what > 10, name)
      names[#names + 1] = name
    end
    assert.same(EXAMPLES, names)
  end)

  it("says which name may be meant", function()
    local result = server.command({ "init", "helo" })
    assert.equal(1, result.code)
    assert.equal("moongate: no example is called 'helo'; did you mean 'hello'? "
      .. "(`moongate init --list` names them)\n", result.stderr)
  end)
end)

describe("authorizer", function()
  local gate

  setup(function()
    gate = start("authorizer")
  end)

  teardown(function()
    gate:stop()
  end)

  local function get(path, headers)
    return http.request(gate.address, { path = path, headers = headers })
  end

  it("refuses pages and files without a login", function()
    for _, path in ipairs({ "/", "/notes.txt", "/none" }) do
      local res = get(path)
      assert.equal(401, res.status, path)
      assert.matches("Log in", res.body)
    end
  end)

  it("lets in who has the right password, and remembers that", function()
    local res = http.request(gate.address, { path = "/", method = "POST",
      body = "name=ann&password=wrong",
      headers = { ["Content-Type"] = "application/x-www-form-urlencoded" } })
    assert.equal(401, res.status)
    res = get("/?name=ann&password=moon")
    assert.equal(303, res.status)
    assert.equal("/", res.headers.location)
    local cookie = { Cookie = res.headers["set-cookie"]:match("^[^;]+") }
    assert.matches("Hello, ann!", get("/", cookie).body)
    assert.equal("for ann and ben\n", get("/notes.txt", cookie).body)
    assert.equal(404, get("/none", cookie).status)
    assert.equal(401, get("/", { Cookie = "session=ann.0000" }).status)
    gate:wait_access(" %- ann .*\"GET /notes.txt")
  end)

  it("has a spec", function()
    local result = server.command({ "test", gate.route_path })
    assert.equal(0, result.code, result.stdout .. result.stderr)
  end)
end)

describe("hello", function()
  local gate

  setup(function()
    gate = start("hello")
  end)

  teardown(function()
    gate:stop()
  end)

  it("greets", function()
    local res = http.get(gate.address, "/?name=Luna+%26+Co")
    assert.equal(200, res.status)
    assert.truthy(res.body:find("Hello, Luna &amp; Co!", 1, true))
    assert.truthy(res.body:find(gate.dir .. "/public/index.php", 1, true))
    assert.equal("text/css", http.get(gate.address, "/style.css").headers["content-type"]
      :match("^[^;]+"))
  end)

  it("shows a changed page at once, though PHP keeps compiled pages", function()
    local page = process.quote(gate.dir .. "/public/index.php")
    assert.equal(0, os.execute("touch -d '1 hour ago' " .. page))
    for _ = 1, 20 do
      assert.equal(200, http.get(gate.address, "/").status)
    end
    stage.write(gate.dir, { ["public/index.php"] = "<?php echo 'changed';" })
    assert.equal("changed", http.get(gate.address, "/").body)
  end)
end)

describe("php-site", function()
  local gate

  setup(function()
    gate = start("php-site")
    stage.write(gate.dir, { ["public/uploads/evil.php"] = "<?php echo 'run';" })
  end)

  teardown(function()
    gate:stop()
  end)

  it("gives every address to the front controller", function()
    for path, status in pairs({
      ["/"] = 200, ["/page/one"] = 200, ["/index.php/two"] = 200, ["/nothing/here"] = 404,
    }) do
      local res = http.get(gate.address, path)
      assert.equal(status, res.status, path)
      assert.truthy(res.body:find("<code>" .. path .. "</code>", 1, true), path)
      assert.truthy(res.body:find("environment: <code>example</code>", 1, true))
      assert.equal("nosniff", res.headers["x-content-type-options"])
    end
    local res = http.get(gate.address, "/index.php/two")
    assert.truthy(res.body:find("PATH_INFO: <code>/two</code>", 1, true))
  end)

  it("serves files with a lifetime", function()
    local res = http.get(gate.address, "/style.css")
    assert.equal("public, max-age=3600", res.headers["cache-control"])
  end)

  it("runs nothing that was uploaded", function()
    assert.equal(200, http.get(gate.address, "/uploads/readme.txt").status)
    for _, path in ipairs({ "/uploads/evil.php", "/uploads/evil.php/x" }) do
      local res = http.get(gate.address, path)
      assert.equal(403, res.status, path)
      assert.is_nil(res.body:find("run", 1, true))
    end
  end)
end)

describe("webhook", function()
  it("passes on what is signed, to whom it concerns", function()
    local gate = start("webhook")
    finally(function() gate:stop() end)
    local function call(body, signature)
      return http.request(gate.address, { path = "/hook", method = "POST", body = body,
        headers = { ["X-Hub-Signature-256"] = "sha256=" .. signature } })
    end
    -- Of openssl dgst -sha256 -hmac, with the secret of the example.
    local res = call('{"action":"push"}',
      "37b5849440ad168e3703fda7f75f5bc82a687bb02e21d1e4a34022a697f4d04d")
    assert.equal("builds has got push\n", res.body)
    res = call('{"action":"star"}',
      "982c321ea8da90715a4fe40c27d80518018738a0a35e00047f61a1e295d4ff68")
    assert.equal("events has got star\n", res.body)
    assert.equal(403, call('{"action":"push"}', ("0"):rep(64)).status)
    assert.equal(404, http.get(gate.address, "/hook").status)
  end)
end)

describe("tenants", function()
  local gate

  setup(function()
    gate = start("tenants")
  end)

  teardown(function()
    gate:stop()
  end)

  it("has a new site without a reload", function()
    local csv = process.read_file(gate.dir .. "/tenants.csv")
    stage.write(gate.dir, {
      ["sites/red/index.php"] = "<?php echo $_SERVER['TENANT'];",
      ["tenants.new"] = csv .. "new.localhost,red,8.2\n",
    })
    assert(os.rename(gate.dir .. "/tenants.new", gate.dir .. "/tenants.csv"))
    poll.wait(function()
      return http.request(gate.address, { path = "/", host = "new.localhost" }).body
        == "new.localhost"
    end, "the new site", 10)
  end)

  it("shows each host its own site", function()
    for _, colour in ipairs({ "blue", "green" }) do
      local host = colour .. ".localhost"
      local res = http.request(gate.address, { path = "/", host = host })
      assert.equal(200, res.status)
      assert.truthy(res.body:find(("The %s site"):format(colour), 1, true))
      assert.truthy(res.body:find(("Tenant <code>%s</code>"):format(host), 1, true))
    end
  end)

  it("knows no other host", function()
    local res = http.request(gate.address, { path = "/", host = "red.localhost" })
    assert.equal(404, res.status)
    assert.equal("There is no site of this name here.\n", res.body)
  end)
end)

describe("balance", function()
  local pools, gate

  setup(function()
    pools = {}
    for i = 1, 2 do
      pools[i] = php.start({ pages = "examples/balance/public" })
    end
    gate = server.start({
      folder = "examples/balance",
      route = "route.lua",
      env = { MOONGATE_PHP = pools[1].address, MOONGATE_PHP_2 = pools[2].address },
    })
  end)

  teardown(function()
    gate:stop()
    for _, pool in ipairs(pools) do
      pool:stop()
    end
  end)

  -- Which of the pools has answered a request.
  local function ask(headers)
    local res = http.get(gate.address, "/", headers)
    assert.equal(200, res.status)
    local pid = tonumber(res.body:match("process <code>(%d+)</code>"))
    for i, pool in ipairs(pools) do
      for _, child in ipairs(pool:children()) do
        if child == pid then
          return i
        end
      end
    end
    error("no pool has process " .. tostring(pid))
  end

  it("shares requests by weight, when nothing runs", function()
    local counts = { 0, 0 }
    for _ = 1, 9 do
      local pool = ask()
      counts[pool] = counts[pool] + 1
    end
    assert.is_true(counts[1] > counts[2], table.concat(counts, ":"))
  end)

  it("asks the second for who wants it", function()
    for _ = 1, 4 do
      assert.equal(2, ask({ Cookie = "pool=second" }))
    end
  end)

  it("goes on with one of them", function()
    pools[2]:stop()
    for _ = 1, 4 do
      assert.equal(1, ask({ Cookie = "pool=second" }))
    end
    gate:wait_log("connect: ")
  end)
end)

describe("multiplex", function()
  local back, gate

  setup(function()
    back = responder.start({ program = "multiplexer" })
    gate = server.start({
      folder = "examples/multiplex",
      route = "route.lua",
      env = { MOONGATE_APP = back.address },
      workers = 1,
    })
  end)

  teardown(function()
    gate:stop()
    back:stop()
  end)

  it("finds out that the application can, and has one connection for all", function()
    assert.equal("token=1;", http.get(gate.address, "/?token=1").body)
    back:wait_log("VALUES")
    gate:wait_log("multiplexes")
    local _, before = back:log():gsub("OPEN ", "")
    local clients = {}
    for i = 1, 30 do
      clients[i] = http.open(gate.address)
      clients[i]:send({ path = "/?delay=1000&token=" .. i })
    end
    for i = 1, 30 do
      assert.equal(("token=%d;"):format(i), clients[i]:receive().body)
      clients[i]:close()
    end
    local _, after = back:log():gsub("OPEN ", "")
    assert.is_true(after - before <= 1)
  end)
end)

describe("queue", function()
  local pool, gate, control

  setup(function()
    pool = php.start({ pages = "examples/queue/public" })
    control = "unix:" .. process.tempdir("control") .. "/control.sock"
    gate = server.start({
      folder = "examples/queue",
      route = "route.lua",
      env = { MOONGATE_PHP = pool.address },
      args = { "--control", control },
    })
  end)

  teardown(function()
    gate:stop()
    pool:stop()
  end)

  -- Waits until the backend's line of `moongate status` is like this.
  local function wait_status(pattern)
    poll.wait(function()
      return tell(control, "status"):match("\n(app [^\n]*)\n"):find(pattern)
    end, pattern .. " in the status")
  end

  it("does not keep one site waiting for the other", function()
    local clients = {}
    for i = 1, 6 do
      clients[i] = http.open(gate.address)
      clients[i]:send({ path = "/?seconds=10", host = "blue.localhost" })
    end
    wait_status("3/100")
    local res = http.request(gate.address, { path = "/", host = "green.localhost" })
    assert.equal(200, res.status)
    assert.truthy(res.body:find("<code>green.localhost</code>", 1, true))
    wait_status("^app +3 +3 .*3/100")
    for _, client in ipairs(clients) do
      client:close()
    end
    wait_status("^app +3 +3 +0 +0 ") -- who has left does not wait any more
  end)

  it("holds requests and lets them go", function()
    assert.equal("backend 'app' is held: no request is in flight\n", tell(control, "hold", "app"))
    local client = http.open(gate.address)
    client:send({ path = "/", host = "blue.localhost" })
    wait_status("held.* 1/100")
    tell(control, "resume", "app")
    assert.equal(200, client:receive().status)
    client:close()
  end)
end)

describe("errors", function()
  local gate

  setup(function()
    gate = start("errors")
  end)

  teardown(function()
    gate:stop()
  end)

  it("shows the application's page", function()
    local res = http.get(gate.address, "/")
    assert.equal(200, res.status)
    assert.truthy(res.body:find("A page of the application", 1, true))
  end)

  it("shows a page of its own for the application's errors", function()
    local res = http.get(gate.address, "/?status=404")
    assert.equal(404, res.status)
    assert.equal("text/html; charset=utf-8", res.headers["content-type"])
    assert.truthy(res.body:find("<h1>There is no such page here</h1>", 1, true))
  end)

  it("shows it for an application that takes too long", function()
    local res = http.get(gate.address, "/?seconds=5")
    assert.equal(504, res.status)
    assert.truthy(res.body:find("This does not work at the moment", 1, true))
    local id = res.body:match("this number: (%x+)")
    gate:wait_log("no answer within read_timeout.*request " .. id)
  end)

  it("asks another backend when one is down", function()
    local res = http.get(gate.address, "/archive")
    assert.equal(200, res.status)
    assert.truthy(res.body:find("A page of the application", 1, true))
    gate:wait_log("backend 'archive'.*archive%.sock: connect: ")
  end)

  it("keeps known messages out of the log", function()
    assert.equal(200, http.get(gate.address, "/?deprecated=1").status)
    assert.equal(200, http.get(gate.address, "/?warning=1").status)
    gate:wait_log("PHP Warning: a new problem")
    assert.is_nil(gate:errors():find("an old way", 1, true))
  end)
end)
