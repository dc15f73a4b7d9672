-- What a listener is says where a request comes from and what it may ask: unix sockets have no
-- addresses, and commands are taken on the control listener alone.

local http = require("tests.support.http")
local net = require("tests.support.net")
local process = require("tests.support.process")
local rig = require("tests.support.rig")
local server = require("tests.support.server")

describe("a unix listener", function()
  it("tells applications no address and no port that are none", function()
    local dir = process.tempdir("listen")
    local r = rig.start({ server = { address = "unix:" .. dir .. "/http.sock" } })
    finally(function() r:stop() end)
    local params = rig.params(r:get("dump", { host = "shop.example:8443" }))
    assert.is_nil(params.REMOTE_ADDR)
    assert.is_nil(params.REMOTE_PORT)
    assert.is_nil(params.SERVER_ADDR)
    assert.equal("shop.example", params.SERVER_NAME)
    assert.equal("8443", params.SERVER_PORT)
    params = rig.params(r:get("dump", { host = "shop.example" }))
    assert.equal("80", params.SERVER_PORT)
    params = rig.params(r:get("dump", { host = false, version = "1.0" }))
    assert.equal("localhost", params.SERVER_NAME)
    assert.equal("80", params.SERVER_PORT)
    assert.is_nil(params.REMOTE_ADDR)
  end)

  it("is seen as such by scripts and by the access log", function()
    local dir = process.tempdir("listen")
    local s = server.start({
      address = "unix:" .. dir .. "/http.sock",
      route = [[
        return {
          on_request = function(req)
            return { status = 200, body = table.concat({ req.ip, tostring(req.client_port),
              req.server_ip, req.server_port, req.port }, " ") }
          end,
        }]],
    })
    finally(function() s:stop() end)
    assert.equal("unix: nil unix: 80 80", http.get(s.address, "/").body)
    assert.equal("unix: nil unix: 81 81",
      http.request(s.address, { host = "a.test:81" }).body)
    s:wait_access("^unix: %- %- ")
  end)
end)

describe("the control listener", function()
  local function start(options)
    options.own = true
    options.address = "127.0.0.1:" .. net.free_port()
    options.control = "127.0.0.1:" .. net.free_port()
    options.route = ([[
      return {
        listen = %s, control = %q, watch = false, workers = 1,
        on_request = function(req) return { status = 200, body = "page of " .. req.listener } end,
      }]]):format(options.listen:format(options.address), options.control)
    local s = server.start(options)
    return s, options.control
  end

  it("is not what a listener of the route is called", function()
    local s, control = start({ listen = [[{ { address = %q, name = "control" } }]] })
    finally(function() s:stop() end)
    for _ = 1, 2 do
      assert.equal("page of control", http.get(s.address, "/status").body)
      assert.equal(200, http.get(control, "/status").status)
      assert.truthy(http.get(control, "/status").body:find('"generations"', 1, true))
      s:reload() -- and not the one that was updated last
    end
    local shown = server.command({ "status", "--control", control })
    assert.equal(0, shown.code, shown.stderr)
  end)

  it("on a TCP address answers only to its own hosts", function()
    local s, control = start({ listen = "%q" })
    finally(function() s:stop() end)
    local port = control:match(":(%d+)$")
    for _, host in ipairs({ control, "localhost:" .. port, "[::1]:" .. port, "127.0.0.1" }) do
      assert.equal(200, http.request(control, { path = "/status", host = host }).status, host)
    end
    for _, request in ipairs({
      { path = "/status", host = "rebound.test:" .. port },
      { path = "/backends", host = "10.1.2.3" },
      { path = "http://rebound.test/status", host = control },
      { path = "/stop", method = "POST", host = "rebound.test",
        headers = { ["Moongate-Control"] = "1" } },
    }) do
      local res = http.request(control, request)
      assert.equal(421, res.status)
      assert.falsy(res.body:find("generations", 1, true))
    end
    assert.equal(0, server.command({ "status", "--control", control }).code)
  end)

  it("spends no time on names that are far too long", function()
    local s, control = start({ listen = "%q" })
    finally(function() s:stop() end)
    local long = ("a"):rep(7900)
    local function ticks() -- of the worker, in hundredths of a second
      local stat = process.read_file(("/proc/%d/stat"):format(s:workers()[1]))
      local user, system = stat:match("%) %S+" .. (" %S+"):rep(10) .. " (%d+) (%d+)")
      return tonumber(user) + tonumber(system)
    end
    local client, before = http.open(control), ticks()
    for _ = 1, 50 do
      assert.equal(404, client:request({ path = "/" .. long }).status)
      assert.equal(404, client:request({ path = "/backends?name=" .. long }).status)
    end
    client:close()
    local spent = ticks() - before
    assert.truthy(spent < 100, ("%d hundredths of a second for 100 requests"):format(spent))
  end)
end)
