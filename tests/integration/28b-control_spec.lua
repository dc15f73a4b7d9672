-- Who may ask the control listener for what, against real instances: tokens, the read-only one of
-- metrics, names that are pointed at the loopback (DNS rebinding), forms of other sites.

local http = require("tests.support.http")
local json = require("moongate.base.json")
local net = require("tests.support.net")
local poll = require("tests.support.poll")
local process = require("tests.support.process")
local server = require("tests.support.server")
local stage = require("tests.support.stage")

local TOKEN, METRICS = "operator-0123456789abcdef", "metrics-0123456789abcdef"

local ROUTE = [[
return {
  control = %s, script_timeout = 20,
  backends = { app = { servers = { "unix:/nonexistent/app.sock" } } },
  on_request = function() return { status = 204 } end,
}
]]

--- A server whose control listener is at a port of the loopback.
---@param control string the setting, with %d for the port
---@return Server
---@return string address of the control listener
local function start(control, files)
  local port = net.free_port()
  local s = server.start({ route = ROUTE:format(control:format(port)), files = files })
  finally(function() s:stop() end)
  return s, "127.0.0.1:" .. port
end

local function ask(address, method, path, headers, host, body)
  local res = http.request(address, {
    method = method, path = path, headers = headers, host = host,
    body = body or method == "POST" and "" or nil,
  })
  return res.status, res
end

local function bearer(token, headers)
  headers = headers or {}
  headers.Authorization = "Bearer " .. token
  return headers
end

local function is_held(address, headers)
  local _, res = ask(address, "GET", "/backends?name=app", headers)
  return json.decode(res.body).held
end

describe("the control listener on TCP", function()
  it("does nothing for a form of another site, and for none that has its origin", function()
    local _, address = start('"127.0.0.1:%d"')
    local form = { ["Content-Type"] = "application/x-www-form-urlencoded" }
    local origin = { Origin = "http://evil.test" }
    for _, headers in ipairs({
      form, origin, { Origin = "null" },
      { Origin = "http://evil.test", ["Moongate-Control"] = "1" },
      { Origin = "http://127.0.0.1:1", ["Moongate-Control"] = "1" },
      { Origin = "http://localhost", ["Moongate-Control"] = "1", ["Sec-Fetch-Site"] = "same-site" },
    }) do
      local status, res = ask(address, "POST", "/hold?backend=app", headers, address, "a=1")
      assert.equal(403, status)
      assert.is_string(json.decode(res.body).error)
      assert.is_false(is_held(address))
    end
    -- What a browser asks before it sends such a header elsewhere.
    local status, res = ask(address, "OPTIONS", "/hold?backend=app", {
      Origin = "http://evil.test", ["Access-Control-Request-Method"] = "POST",
      ["Access-Control-Request-Headers"] = "moongate-control",
    }, address)
    assert.equal(405, status)
    assert.is_nil(res.headers["access-control-allow-origin"])
    assert.is_false(is_held(address))
    assert.equal(200, (ask(address, "POST", "/hold?backend=app",
      { Origin = "http://" .. address, ["Moongate-Control"] = "1" }, address)))
    assert.is_true(is_held(address))
  end)

  it("does not answer to a name that is pointed at it", function()
    local _, address = start('"127.0.0.1:%d"')
    local port = address:match(":(%d+)$")
    for _, host in ipairs({ "evil.test", "evil.test:" .. port, "127.0.0.1.evil.test:" .. port }) do
      for _, path in ipairs({ "/status", "/metrics", "/backends", "/nothing" }) do
        assert.equal(421, (ask(address, "GET", path, nil, host)), path)
      end
      assert.equal(421, (ask(address, "POST", "/hold?backend=app",
        { Origin = "http://" .. host, ["Moongate-Control"] = "1" }, host)))
    end
    assert.is_false(is_held(address))
  end)

  it("asks for its token, whoever connects, and shows a scraper the metrics alone", function()
    local dir = process.tempdir("token")
    stage.write(dir, { metrics = METRICS .. "\n" })
    local s, address = start(('{ address = ":%%d", token = %q, metrics_token_file = %q }'):format(
      TOKEN, dir .. "/metrics"))
    for _, headers in ipairs({
      {}, bearer("x"), bearer(TOKEN .. "x"), { Authorization = "Basic " .. TOKEN },
    }) do
      for _, path in ipairs({ "/status", "/metrics", "/nothing" }) do
        local status, res = ask(address, "GET", path, headers)
        assert.equal(401, status)
        assert.equal('Bearer realm="moongate"', res.headers["www-authenticate"])
      end
      headers["Moongate-Control"] = "1"
      assert.equal(401, (ask(address, "POST", "/stop", headers)))
    end
    assert.equal(200, (ask(address, "GET", "/metrics", bearer(METRICS))))
    for _, path in ipairs({ "/status", "/backends", "/reload", "/" }) do
      assert.equal(403, (ask(address, "GET", path, bearer(METRICS))), path)
    end
    assert.equal(403, (ask(address, "POST", "/hold?backend=app",
      bearer(METRICS, { ["Moongate-Control"] = "1" }))))
    assert.is_false(is_held(address, bearer(TOKEN)))
    -- Who has the token may call this machine what he likes; a page of another site has not.
    assert.equal(200, (ask(address, "GET", "/status", bearer(TOKEN), "web1.test")))
    assert.equal(401, (ask(address, "GET", "/status", nil, "web1.test")))
    assert.equal(403, (ask(address, "POST", "/hold?backend=app",
      bearer(TOKEN, { ["Moongate-Control"] = "1", Origin = "http://evil.test" }))))
    assert.is_nil(s:errors():find(TOKEN, 1, true))
    -- A reload brings another token.
    s:reload((process.read_file(s.route_path):gsub("operator%-", "another-operator-")))
    assert.equal(401, (ask(address, "GET", "/status", bearer(TOKEN))))
    assert.equal(200, (ask(address, "GET", "/status", bearer("another-" .. TOKEN))))
  end)

  it("looks at no token of an address that has sent too many wrong ones, for a second", function()
    local s, address = start(('{ address = ":%%d", token = %q }'):format(TOKEN))
    local refused
    for i = 1, 100 do
      local status, res = ask(address, "GET", "/status", bearer("guess-number-" .. i))
      if status == 429 then
        refused = i
        assert.equal("1", res.headers["retry-after"])
        assert.matches("too many wrong tokens have come from 127.0.0.1", res.body, 1, true)
        break
      end
      assert.equal(401, status)
    end
    assert.is_true(refused and refused > 10, "guesses: " .. tostring(refused))
    -- More guesses keep it so: the right one among them is not told apart.
    local answers = {}
    for i = 1, 50 do
      ask(address, "GET", "/status", bearer("guess-" .. i))
      answers[(ask(address, "GET", "/status", bearer(TOKEN)))] = true
    end
    assert.is_true(answers[429])
    assert.matches("127.0.0.1 has sent too many wrong tokens", s:errors(), 1, true)
    assert.equal(401, (ask(address, "GET", "/status"))) -- who brings none has guessed nothing
    poll.wait(function()
      return ask(address, "GET", "/status", bearer(TOKEN)) == 200
    end, "an answer to the right token")
  end)

  it("has its token from the command line, and the commands bring it", function()
    local dir, port = process.tempdir("token"), net.free_port()
    stage.write(dir, { token = TOKEN .. "\n", other = "other-" .. TOKEN })
    local address = "127.0.0.1:" .. port
    local s = server.start({
      route = ROUTE:format("nil"),
      args = { "--control", "0.0.0.0:" .. port, "--token-file", dir .. "/token" },
    })
    finally(function() s:stop() end)
    local function status(args, token)
      local words = { "status", "--control", address, unpack(args) }
      return server.command(words, { env = { MOONGATE_TOKEN = token } })
    end
    local result = status({})
    assert.equal(1, result.code)
    assert.matches("this needs the token of the control listener", result.stderr, 1, true)
    assert.equal(0, status({}, TOKEN).code)
    assert.equal(0, status({ "--token-file", dir .. "/token" }).code)
    result = status({ "--token-file", dir .. "/other" }, TOKEN)
    assert.equal(1, result.code)
    assert.matches("is not this listener's; --token-file, MOONGATE_TOKEN or the route",
      result.stderr, 1, true)
    -- A command that asks more than once.
    result = server.command({ "hold", "app", "--control", address },
      { env = { MOONGATE_TOKEN = TOKEN } })
    assert.same({ 0, "" }, { result.code, result.stderr })
    result = server.command({ "reload", "--control", address },
      { env = { MOONGATE_TOKEN = TOKEN } })
    assert.equal(0, result.code, result.stderr)
  end)

  it("is found by the route, with its token", function()
    local s, address = start(('{ address = ":%%d", token = %q }'):format(TOKEN))
    local result = server.command({ "status", s.route_path })
    assert.equal(0, result.code, result.stderr)
    assert.matches("at " .. address, result.stdout, 1, true)
    assert.is_nil(result.stdout:find(TOKEN, 1, true))
    assert.is_nil(server.command({ "status", "--json", s.route_path }).stdout:find(TOKEN, 1, true))
  end)

  it("is not opened for other machines without a token", function()
    local dir = process.tempdir("open")
    stage.write(dir, {
      ["open.lua"] = ROUTE:format('":9500"'), ["named.lua"] = ROUTE:format('"admin.test:9500"'),
      ["plain.lua"] = ROUTE:format("nil"),
    })
    for _, case in ipairs({
      { { "check", dir .. "/open.lua" }, "open%.lua:2: control: 0%.0%.0%.0:9500 is no address" },
      { { "check", dir .. "/named.lua" }, "named%.lua:2: control: admin%.test:9500 is no address" },
      { { "run", dir .. "/plain.lua", "--control", ":9500" },
        "%-%-control: 0%.0%.0%.0:9500 is no address" },
      { { "run", dir .. "/plain.lua" }, "MOONGATE_CONTROL: 0%.0%.0%.0:9500 is no address" },
      { { "serve", dir, "--backend", "unix:/nonexistent", "--control", ":9500" },
        "%-%-control: 0%.0%.0%.0:9500 is no address" },
    }) do
      local result = server.command(case[1], { env = { MOONGATE_CONTROL = ":9500" } })
      assert.equal(1, result.code)
      assert.matches(case[2], result.stderr)
      assert.matches("it needs a token", result.stderr, 1, true)
    end
    assert.equal(0, server.command({ "check", dir .. "/plain.lua" }).code)
  end)
end)

describe("moongate serve", function()
  it("takes commands, at the usual place or where it is told", function()
    local dir = process.tempdir("served")
    stage.write(dir, { ["index.html"] = "hello" })
    local control = "unix:" .. process.tempdir("control") .. "/control.sock"
    local function status(address)
      local result = server.command({ "status", "--control", address })
      assert.equal(0, result.code, result.stderr)
      assert.matches(address .. " (control)", result.stdout, 1, true)
    end
    local args = { "--backend", "unix:/nonexistent/php.sock" }
    local s = server.start({ serve = dir, args = args, env = { MOONGATE_CONTROL = control } })
    finally(function() s:stop() end)
    status(control)
    local address = "127.0.0.1:" .. net.free_port()
    local other = server.start({ serve = dir, args = { args[1], args[2], "--control", address } })
    finally(function() other:stop() end)
    status(address)
    local result = server.command({ "stop", "--control", address })
    assert.equal(0, result.code, result.stderr)
  end)
end)
