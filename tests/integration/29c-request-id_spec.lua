-- `request_id`: the id of a request comes from trusted proxies, and is the same in both logs, in
-- scripts, for the application and for the client.

local json = require("moongate.base.json")
local net = require("tests.support.net")
local poll = require("tests.support.poll")
local rig = require("tests.support.rig")
local server = require("tests.support.server")

server.inspect()

local GIVEN = "3f2b8c1e-77aa-4d0e-9f1b-0123456789ab"

local function start(settings)
  return rig.start({
    settings = [[log = { format = "json" }, ]] .. settings,
    on_request = [[if req.args.Id then return { status = 200, body = req.id } end
      if req.args.File then return { root = "/nonexistent" } end]],
  })
end

local function id_of(r, mark)
  return json.decode(r.server:wait_access(mark)).id
end

describe("request_id", function()
  it("takes the id that a trusted proxy sends, and shows it everywhere", function()
    local r = start([[request_id = true, trusted_proxies = "127.0.0.1"]])
    finally(function() r:stop() end)
    local given = { headers = { ["X-Request-Id"] = GIVEN } }
    local res = r:get("dump&stderr=oops&N=1", given)
    assert.equal(GIVEN, res.headers["x-request-id"])
    assert.equal(GIVEN, rig.params(res).HTTP_X_REQUEST_ID)
    assert.equal(GIVEN, id_of(r, "N=1"))
    r.server:wait_log("oops; GET /x%.php.*, request " .. GIVEN:gsub("%-", "%%-") .. ", host")
    res = r:get("Id&N=2", given)
    assert.same({ GIVEN, GIVEN }, { res.body, res.headers["x-request-id"] })
    res = r:get("File&N=3", given)
    assert.same({ 403, GIVEN }, { res.status, res.headers["x-request-id"] })
    assert.truthy(res.body:find("Request " .. GIVEN, 1, true))
    -- The application's own has no place beside it.
    res = r:get("header=X-Request-Id:%20other&N=4", given)
    assert.equal(GIVEN, res.headers["x-request-id"])
  end)

  it("makes one where none is sent, or one that is none", function()
    local r = start([[request_id = true, trusted_proxies = "127.0.0.1"]])
    finally(function() r:stop() end)
    for i, id in ipairs({ "", "a b", 'a"b', "<b>", ("x"):rep(65), "\xc3\xbc" }) do
      local res = r:get("dump&N=" .. i .. "x", { headers = { ["X-Request-Id"] = id } })
      local own = res.headers["x-request-id"]
      assert.matches("^%x+$", own)
      assert.equal(16, #own)
      assert.equal(own, rig.params(res).HTTP_X_REQUEST_ID)
      assert.equal(own, id_of(r, "N=" .. i .. "x"))
    end
    local longest = ("x"):rep(64)
    local res = r:get("dump&N=9x", { headers = { ["X-Request-Id"] = longest } })
    assert.equal(longest, rig.params(res).HTTP_X_REQUEST_ID)
    -- Of two, nobody knows which one the proxy has written.
    local conn = net.connect(r.address)
    conn:send("GET /x.php?dump&N=two HTTP/1.1\r\nHost: a\r\nX-Request-Id: one\r\n"
      .. "X-Request-Id: two\r\nConnection: close\r\n\r\n")
    assert.falsy(conn:read_all():find("X%-Request%-Id: [ot]"))
    conn:close()
  end)

  it("believes no stranger", function()
    for _, trusted in ipairs({ "", [[, trusted_proxies = "192.0.2.0/24"]] }) do
      local r = start("request_id = true" .. trusted)
      finally(function() r:stop() end)
      local res = r:get("dump&N=1", { headers = { ["X-Request-Id"] = GIVEN } })
      local own = id_of(r, "N=1")
      assert.matches("^%x+$", own)
      assert.same({ own, own }, { res.headers["x-request-id"], rig.params(res).HTTP_X_REQUEST_ID })
    end
  end)

  it("is off by default: the header is one like others", function()
    local r = start([[trusted_proxies = "127.0.0.1"]])
    finally(function() r:stop() end)
    local res = r:get("dump&N=1", { headers = { ["X-Request-Id"] = GIVEN } })
    assert.equal(GIVEN, rig.params(res).HTTP_X_REQUEST_ID)
    assert.is_nil(res.headers["x-request-id"])
    assert.matches("^%x+$", id_of(r, "N=1"))
  end)

  it("is what `requests` shows and `kill` takes, beside the server's own id", function()
    local r = rig.start({
      control = true, on_request = [[require("moongate").sleep(3600)]],
      settings = [[log = { format = "json" }, request_id = true, trusted_proxies = "127.0.0.1"]],
    })
    finally(function() r:stop() end)
    local conn = net.connect(r.address)
    conn:send("GET /x.php?N=1 HTTP/1.1\r\nHost: a\r\nX-Request-Id: " .. GIVEN .. "\r\n\r\n")
    local found = poll.wait(function()
      return json.decode(r:tell("requests", "--json")).requests[1]
    end, "the request")
    assert.equal(GIVEN, found.id)
    assert.matches("^%x+$", found.own_id)
    assert.truthy(r:tell("requests"):find("\n" .. GIVEN .. " ", 1, true))
    assert.equal(("request %s is told to end\n"):format(GIVEN), r:tell("kill", GIVEN))
    assert.truthy(conn:read_until("Request " .. GIVEN, poll.PATIENCE))
    conn:close()
    conn = net.connect(r.address)
    conn:send("GET /x.php?N=1 HTTP/1.1\r\nHost: a\r\nX-Request-Id: " .. GIVEN .. "\r\n\r\n")
    local own = poll.wait(function()
      local first = json.decode(r:tell("requests", "--json")).requests[1]
      return first and first.own_id ~= found.own_id and first.own_id
    end, "the second request")
    assert.equal(("request %s is told to end\n"):format(own), r:tell("kill", own))
    assert.truthy(conn:read_until("Request " .. GIVEN, poll.PATIENCE))
    conn:close()
    assert.equal(GIVEN, id_of(r, "N=1"))
  end)

  it("is in the line of a request whose worker was killed", function()
    local s = server.start({ workers = 1, route = [[require("ffi").cdef("void _exit(int status);")
      return { control = false, log = { format = "$id $uri" }, request_id = true,
        trusted_proxies = "127.0.0.1",
        on_request = function() require("ffi").C._exit(3) end }]] })
    finally(function() s:stop() end)
    local conn = net.connect(s.address)
    conn:send("GET /exit HTTP/1.1\r\nHost: a\r\nX-Request-Id: " .. GIVEN .. "\r\n\r\n")
    s:wait_access("^" .. GIVEN:gsub("%-", "%%-") .. " /exit$")
    conn:close()
  end)
end)
