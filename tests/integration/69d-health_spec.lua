-- moongate.health: what a route knows of its backends, over all workers; a whole backend that goes
-- while requests come, in the example of it with two real PHP-FPM.

local http = require("tests.support.http")
local json = require("moongate.base.json")
local php = require("tests.support.php")
local poll = require("tests.support.poll")
local process = require("tests.support.process")
local responder = require("tests.support.responder")
local rig = require("tests.support.rig")
local server = require("tests.support.server")

local HEALTH = [[health = { ping = "/ping", expect = "pong", interval = "60ms", timeout = "2s",
  rise = 1, fall = 1 }]]

local HOOK = [[
  local health = require("moongate.health")
  if req.path == "/up" then
    return { body = tostring(health.up("app")) }
  elseif req.path == "/wait" then
    return { body = tostring(health.wait("app", req.args.for_ or "60s")) }
  elseif req.path == "/state" then
    local s = health.state("app")
    return { body = ("%s %s %d %s %s"):format(s.name, s.up, #s.servers, s.servers[1].address,
      s.servers[1].up) }
  elseif req.path == "/wrong" then
    return { body = tostring(health.up("ap")) }
  elseif req.path == "/assume" then
    health.assume("app", false)
  end
]]

describe("a route", function()
  it("knows of its backend, and waits for it", function()
    local page = process.tempdir("page") .. "/ping"
    local function answer(body)
      process.write_file(page .. ".new", "body=" .. body)
      assert(os.rename(page .. ".new", page))
    end
    answer("pong")
    local r = rig.start({ workers = 2, backend = HEALTH, on_request = HOOK, control = true,
      responder = { args = { "--page", "/ping=" .. page } } })
    finally(function() r:stop() end)
    local function says(path, body)
      for _ = 1, 10 do -- of both workers
        if http.get(r.address, path).body ~= body then
          return false
        end
      end
      return true
    end
    assert.is_true(says("/up", "true"))
    answer("gone")
    poll.wait(function() return says("/up", "false") end, "the backend to be down")
    assert.equal("false", http.get(r.address, "/wait?for_=10ms").body)
    assert.equal(("app false 1 %s false"):format(r.back.address),
      http.get(r.address, "/state").body)
    assert.is_false(r:status().backends[1].up)
    local client = http.open(r.address)
    client:send({ path = "/wait" })
    assert.is_true(says("/up", "false"))
    answer("pong")
    assert.equal("true", client:receive().body)
    client:close()
    assert.equal(("app true 1 %s true"):format(r.back.address), http.get(r.address, "/state").body)
    r:tell("drain", "app", r.back.address)
    assert.is_true(says("/up", "false"))
    r:tell("undrain", "app", r.back.address)
    assert.is_true(says("/up", "true"))
  end)

  it("is told in one sentence what it asks wrongly", function()
    local r = rig.start({ on_request = HOOK })
    finally(function() r:stop() end)
    assert.equal(500, http.get(r.address, "/wrong").status)
    r.server:wait_log("route%.lua:%d+: health%.up: there is no backend 'ap'; did you mean 'app'%?")
    assert.equal(500, http.get(r.address, "/assume").status)
    r.server:wait_log("route%.lua:%d+: health%.assume: a server runs here, which knows better; "
      .. "this is for specs")
  end)
end)

describe("health.failover", function()
  local BEFORE = [[
local health = require("moongate.health")
local over = health.failover({ backend = "app", docroot = "/srv/app" },
  { backend = "spare", docroot = "/srv/spare" }, { status = 503, body = "a page" })
]]

  local function start(options)
    local spare = responder.start()
    options.before = BEFORE
    options.backends = ("spare = %q"):format(spare.address)
    options.on_request = "do return over(req) end"
    options.settings = [[on_error = function(req, err)
      return { status = err.status, body = "own: " .. err.kind } end]]
    local r = rig.start(options)
    finally(function()
      r:stop()
      spare:stop()
    end)
    return r, spare
  end

  local function post(r)
    return http.request(r.address, { path = "/x.php?sum", method = "POST", body = "a=1" })
  end

  it("sends a request that could not connect to the next backend, with its body", function()
    local r, spare = start({})
    r:get("")
    assert.is_nil(spare:log():find("REQUEST", 1, true))
    r.back:stop()
    assert.equal(rig.sum("a=1"), post(r).body)
    assert.equal("/srv/spare", rig.params(r:get("dump")).DOCUMENT_ROOT)
    spare:stop()
    local res = post(r)
    assert.equal(503, res.status)
    assert.equal("a page", res.body)
  end)

  it("leaves what an application has begun to the route", function()
    local r, spare = start({})
    assert.equal("own: closed", r:get("fail=close-before-head").body)
    assert.equal(500, r:get("status=500").status)
    assert.is_nil(spare:log():find("REQUEST", 1, true))
  end)

  it("tries a backend without health checks again by itself", function()
    local other = responder.start()
    local r, spare = start({
      backend = [[max_fails = 1, fail_timeout = "300ms"]],
      servers = function(addresses) return ("%q, %q"):format(addresses[1], other.address) end,
    })
    other:stop()
    r.back:stop()
    poll.wait(function()
      local before = select(2, r.server:errors():gsub("backend 'app'", ""))
      local res = post(r)
      assert.equal(200, res.status)
      return select(2, r.server:errors():gsub("backend 'app'", "")) == before
    end, "a request that does not try it")
    local again = responder.start({ addresses = { r.back.address } })
    poll.wait(function()
      assert.equal(200, post(r).status)
      return again:log():find("REQUEST", 1, true)
    end, "the backend to be asked again")
    again:stop()
    assert.truthy(spare:log():find("REQUEST", 1, true))
  end)
end)

describe("the example failover", function()
  it("loses no visitor while one PHP after the other goes", function()
    local pools = {}
    for i = 1, 2 do
      pools[i] = php.start({ pages = "examples/failover/public" })
    end
    local control = "unix:" .. process.tempdir("control") .. "/control.sock"
    local gate = server.start({
      folder = "examples/failover", route = "route.lua", args = { "--control", control },
      env = { MOONGATE_PHP = pools[1].address, MOONGATE_PHP_2 = pools[2].address },
    })
    finally(function()
      gate:stop()
      for _, pool in ipairs(pools) do
        pool:stop()
      end
    end)
    local function ask(method)
      local res = http.request(gate.address, { path = "/any", method = method,
        body = method == "POST" and "a=1" or nil })
      local pid = tonumber(res.body:match("^process (%d+)\n"))
      for i, pool in ipairs(pools) do
        for _, child in ipairs(res.status == 200 and pool:children() or {}) do
          if child == pid then
            return i
          end
        end
      end
      return res.status, res.body
    end
    local function up(name)
      local result = server.command({ "status", "--json", "--control", control })
      for _, backend in ipairs(json.decode(result.stdout).backends) do
        if backend.name == name then
          return backend.up
        end
      end
    end
    assert.equal(1, ask("GET"))
    pools[1]:stop()
    for _ = 1, 3 do
      assert.equal(2, ask("POST"))
      assert.equal(2, ask("GET"))
    end
    poll.wait(function() return up("main") == false end, "main to be known as down")
    assert.equal(2, ask("GET"))
    pools[2]:stop()
    local status, body = ask("GET")
    assert.equal(503, status)
    assert.equal("We are back in a moment.\n", body)
    local result = server.command({ "test", "examples/failover/route.lua" })
    assert.equal(0, result.code, result.stderr)
  end)
end)
