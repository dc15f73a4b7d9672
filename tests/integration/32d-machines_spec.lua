-- examples/two-dmz: Moongate and PHP-FPM on machines of their own, each in a network namespace.
-- Where there are none, machines.lua says so, and what stands for them.

local http = require("tests.support.http")
local machines = require("tests.support.machines")
local php = require("tests.support.php")
local poll = require("tests.support.poll")
local server = require("tests.support.server")
local stage = require("tests.support.stage")

describe("two-dmz", function()
  local pair
  local started = {} -- what a test has started, in that order

  setup(function()
    pair = machines.start()
  end)

  after_each(function()
    while #started > 0 do
      table.remove(started):stop()
    end
  end)

  teardown(function()
    pair:stop()
  end)

  -- PHP-FPM on its machine, for one client only.
  local function start_php(allowed)
    local fpm = php.start({
      pages = "examples/two-dmz/public", launcher = pair:launcher("php"),
      pool = {
        ("listen = %s:%d"):format(pair.php, pair.port), "listen.allowed_clients = " .. allowed,
      },
    })
    started[#started + 1] = fpm
    return fpm
  end

  local function environment(fpm, address)
    return {
      MOONGATE_PHP = address or ("%s:%d"):format(pair.php, pair.port),
      APP_DOCROOT = fpm and fpm.root or nil,
    }
  end

  -- Moongate on its machine. It is asked by a socket, since that machine's network is its own.
  local function start_gate(env)
    local dir = stage.copy("examples/two-dmz")
    local gate = server.start({
      route = dir .. "/route.lua", address = "unix:" .. dir .. "/site.sock", env = env,
      launcher = pair:launcher("proxy"),
    })
    started[#started + 1] = gate
    return gate
  end

  local function explain(env)
    return pair:run("proxy", {
      argv = { server.binary(), "explain", stage.copy("examples/two-dmz") .. "/route.lua",
        "/cart/7" },
      env = env,
    })
  end

  local function assert_down(gate, status, why)
    local res = http.get(gate.address, "/cart/7")
    assert.equal(status, res.status)
    assert.truthy(res.body:find("Back soon", 1, true), res.body)
    assert.equal(200, http.get(gate.address, "/assets/style.css").status)
    gate:wait_log(why)
  end

  it("has pages from PHP's machine and files from its own", function()
    local fpm = start_php(pair.proxy)
    local env = environment(fpm)
    local gate = start_gate(env)
    local text = http.get(gate.address, "/cart/7").body
    assert.equal(("in %s below %s\n"):format(fpm.root, fpm.root), text:match("in .*$"))
    assert.equal("/cart/7", text:match("^%S+"))
    stage.write(gate.route_path:match("^(.*)/"), { ["public/assets/style.css"] = "the proxy's" })
    assert.equal("the proxy's", http.get(gate.address, "/assets/style.css").body)
    local result = explain(env)
    assert.equal(0, result.code, result.stdout .. result.stderr)
    assert.is_nil(result.stdout:find("server " .. pair.php, 1, true))
    assert.truthy(result.stdout:find(" here is " .. fpm.root .. " for the backend", 1, true))
  end)

  it("is told when PHP-FPM is for other machines only", function()
    local fpm = start_php("192.0.2.7")
    local env = environment(fpm)
    assert_down(start_gate(env), 502, "closed: .*before END_REQUEST; 0 bytes had come")
    assert.equal(0, explain(env).code) -- it takes the connection
    poll.wait(function()
      return fpm:log():find(("IP address '%s' has been dropped"):format(pair.proxy), 1, true)
    end, "PHP-FPM to say whom it has refused")
  end)

  it("is told when nobody listens on PHP's machine", function()
    local env = environment()
    assert_down(start_gate(env), 503, "Connection refused: nothing listens there")
    local result = explain(env)
    assert.equal(1, result.code)
    assert.truthy(result.stdout:find(("server %s: nobody listens there (is PHP-FPM running?)")
      :format(env.MOONGATE_PHP), 1, true), result.stdout)
  end)

  it("is told when PHP's machine does not answer", function()
    local env = environment(nil, pair.silent)
    assert_down(start_gate(env), 503,
      "no connection within connect_timeout: nothing came back; is that machine up,")
    local result = explain(env)
    assert.equal(1, result.code)
    assert.truthy(result.stdout:find(("server %s: no connection within the time (is that machine "
      .. "up, and does a firewall let this one connect to that port?)"):format(env.MOONGATE_PHP), 1,
      true), result.stdout .. result.stderr)
    assert.truthy(result.stderr:find("503: no server of backend 'app' takes connections", 1, true))
  end)
end)
