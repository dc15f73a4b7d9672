-- Specs of moongate.canary, over dictionaries of the spec and its clock.

local fake_fs = require("support.fs")
local loaded = require("support.loaded")
local req_of = require("support.req")
local shared = require("support.shared")

describe("moongate.canary", function()
  local load, runtime, now, logged
  local NAMES = {
    "moongate", "moongate.base.clock", "moongate.runtime", "moongate.limit", "moongate.canary",
    "moongate.route.load", "moongate.route.registry", "moongate.headers",
  }

  setup(function()
    loaded.forget(NAMES)
    package.loaded["moongate.base.clock"] = function() return now end
    package.loaded["moongate"] = {
      shared = shared.open,
      log = function(_, format, ...) logged[#logged + 1] = format:format(...) end,
      every = function() end, sleep = function() end,
    }
    load = require("moongate.route.load")
    runtime = require("moongate.runtime")
  end)
  teardown(function()
    loaded.restore()
    shared.forget()
  end)
  before_each(function()
    now, logged = 10000, {}
    shared.clear()
  end)

  --- The hooks of a route with a canary of these options.
  local function route(options, more)
    return load.source(([[local canary = require("moongate.canary")
return { backends = { app = "127.0.0.1:9000", new = "127.0.0.1:9001" }, %s
on_request = canary.split { %s } }]]):format(more or "", options), "route.lua", nil,
      fake_fs.new({})).hooks
  end

  local SIDES = 'name = "x", stable = { backend = "app" }, canary = { backend = "new" }, '

  --- Whose a request is, and the request.
  local function ask(hooks, fields)
    fields = fields or {}
    fields.cookies, fields.ip = fields.cookies or {}, fields.ip or "203.0.113.7"
    local req = req_of.get("/", fields)
    local d = hooks.on_request(req)
    return d.backend, req, d
  end

  it("gives the share to clients who stay there", function()
    local hooks = route(SIDES .. 'share = "25%", sticky = { header = "X-User" }')
    local count, side = 0, {}
    for i = 1, 400 do
      side[i] = ask(hooks, { headers = { ["X-User"] = "user" .. i } })
      count = count + (side[i] == "new" and 1 or 0)
    end
    assert.is_true(count > 70 and count < 130, count)
    assert.is_true(runtime.set("canary.x", "50%"))
    for i = 1, 400 do
      local again = ask(hooks, { headers = { ["X-User"] = "user" .. i } })
      assert.is_true(side[i] == "app" or again == "new")
    end
    assert.is_true(runtime.set("canary.x", "off"))
    assert.equal("app", ask(hooks, { headers = { ["X-User"] = "user1" } }))
    assert.same({ nil, "canary.x: expected \"10%\", \"0.5%\" or \"off\", got '101%'" },
      { runtime.set("canary.x", "101%") })
  end)

  it("knows a client by a header, a cookie, a function, or else the address", function()
    for text, two in pairs({
      ['{ header = "X-User" }'] = function(i) return { headers = { ["X-User"] = i } } end,
      ['{ cookie = "session" }'] = function(i) return { cookies = { session = i } } end,
      ["function(req) return req.host end"] = function(i) return { host = i } end,
      ['"address"'] = function(i) return { ip = "10.0.0." .. i } end,
    }) do
      local hooks = route(SIDES .. 'share = "50%", sticky = ' .. text)
      local seen = {}
      for i = 1, 60 do
        local first = ask(hooks, two(tostring(i)))
        assert.equal(first, (ask(hooks, two(tostring(i)))))
        seen[first] = true
      end
      assert.same({ app = true, new = true }, seen)
    end
  end)

  it("goes by what force says", function()
    local hooks = route(SIDES .. 'force = function(req) return req.query == "new" or nil end')
    assert.equal("app", (ask(hooks)))
    local req = req_of.get("/?new", { cookies = {}, ip = "10.0.0.1" })
    assert.equal("new", hooks.on_request(req).backend)
    -- What the application sends on within the server stays there.
    req.internal, req.query = true, ""
    assert.equal("new", hooks.on_request(req).backend)
  end)

  it("falls back for safe requests, and leaves others to the route", function()
    local own = 'on_error = function(_, err) return { status = 599, body = err.kind } end,'
    local hooks = route(SIDES .. 'share = "100%"', own)
    for _, kind in ipairs({ "connect", "timeout", "closed", "protocol", "busy", "script" }) do
      local _, req = ask(hooks)
      assert.equal("app", hooks.on_error(req, { kind = kind, status = 502 }).backend)
      assert.equal(kind, hooks.on_error(req, { kind = kind, status = 502 }).body) -- stable's
      _, req = ask(hooks, { method = "POST" })
      assert.equal(kind, hooks.on_error(req, { kind = kind, status = 502 }).body)
    end
    local _, req = ask(hooks)
    assert.equal("too_large", hooks.on_error(req, { kind = "too_large", status = 413 }).body)
    assert.is_nil(hooks.on_error(req, { kind = "status", status = 404 }))
    assert.equal("app", hooks.on_error(req, { kind = "status", status = 500 }).backend)
    _, req = ask(hooks, { method = "POST" })
    assert.is_nil(hooks.on_error(req, { kind = "status", status = 500 }))
  end)

  it("leaves the statuses that the canary's decision names to the route", function()
    local hooks = route('name = "x", share = "100%", statuses = { 404 }, '
      .. 'stable = { backend = "app" }, '
      .. 'canary = { backend = "new", intercept_errors = { 503, 404 } }',
      'on_error = function(_, err) return { status = 599, body = err.kind } end,')
    local _, req, d = ask(hooks)
    assert.is_true(d.intercept_errors)
    assert.equal("status", hooks.on_error(req, { kind = "status", status = 503 }).body)
    assert.is_nil(hooks.on_error(req, { kind = "status", status = 500 }))
    assert.equal("app", hooks.on_error(req, { kind = "status", status = 404 }).backend)
  end)

  it("is stopped when the budget is spent, until it is set again", function()
    local hooks = route(SIDES .. 'share = "100%", budget = "10%", window = "1m", least = 20')
    local function request(kind, log)
      local side, req = ask(hooks)
      local d = kind and hooks.on_error(req, { kind = kind, status = 502 })
      hooks.on_log(req, log or { status = 200, backend = d and d.backend or side })
      return side
    end
    for _ = 1, 17 do
      assert.equal("new", request())
    end
    request("closed")
    request("closed")
    request(nil, { status = 499, backend = "new", error = "the client left" })
    assert.equal("100%", runtime.list()["canary.x"]) -- 2 of 20 are no more than 10 %
    request(nil, { status = 200, backend = "new", error = "broken off" })
    assert.equal("stopped at 100%: 3 of 21 requests failed", runtime.list()["canary.x"])
    assert.same({ "route.lua:3: the canary 'x' is stopped at 100%: 3 of 21 requests failed; all "
      .. "requests go to stable, until `moongate set canary.x 100%`" }, logged)
    assert.equal("app", request())
    runtime.set("canary.x", "100%")
    for _ = 1, 30 do
      assert.equal("new", request())
    end
    assert.equal("100%", runtime.list()["canary.x"])
  end)

  it("forgets failures by and by", function()
    local hooks = route(SIDES .. 'share = "100%", budget = "40%", window = "1m", least = 1000')
    local registry = require("moongate.route.registry")
    local function request(failed)
      local _, req = ask(hooks)
      registry.ends[1](req, { status = failed and 500 or 200, backend = "new" })
    end
    for _ = 1, 20 do
      request(true)
    end
    local store = shared.values("moongate.canary")
    assert.equal(20, store["x 166 failed"])
    now = now + 130
    request(true)
    assert.equal(1, store["x 168 failed"])
  end)

  it("says what is wrong, with the line", function()
    for options, expected in pairs({
      ["name = 7"] = "name: expected up to 60 letters, digits, '_' and '-', by which `moongate set "
        .. "canary.NAME 10%` finds it, got 7",
      [SIDES .. "shar = 1"] = "unknown key 'shar'; did you mean 'share'?",
      [SIDES .. "share = 10"] = 'share: expected "10%", "0.5%" or "off", got 10',
      [SIDES .. 'share = "stopped"'] = 'share: expected "10%", "0.5%" or "off", got "stopped"',
      [SIDES .. "budget = 0.1"] = 'budget: expected "10%", "0.5%" or "off", got 0.1',
      [SIDES .. 'window = "1"'] = 'window: expected a duration such as 5, "250ms", "2m" or "1h", '
        .. 'of a second at least, got "1"',
      [SIDES .. "least = 0"] = "least: expected a whole number from 1 on, got 0",
      [SIDES .. "statuses = { 200 }"] = "statuses: expected true, or a list of statuses from 400 "
        .. "to 599, got 200 in it",
      [SIDES .. "force = true"] = "force: expected a function of the request, got true",
      [SIDES .. 'sticky = { headr = "X" }'] = 'sticky: expected "address", "cookie", '
        .. '{ header = "X-User" }, { cookie = "session" } or a function of the request, got a '
        .. "table",
      ['name = "x", stable = { backend = "app" }'] = "canary: expected a decision, a function or a "
        .. "router, got nothing",
    }) do
      local ok, message = pcall(route, options)
      assert.is_false(ok)
      assert.equal("route.lua:3: canary.split: " .. expected, (message:match("^[^\n]*")))
    end
    local ok, message = pcall(route,
      'name = "x", stable = { backend = "ap" }, canary = { status = 200 }')
    assert.is_false(ok)
    assert.equal("route.lua:3: canary: stable: there is no backend 'ap'; did you mean 'app'?",
      (message:match("^[^\n]*")))
    local hooks = route(SIDES .. 'share = "50%", sticky = function() return {} end')
    ok, message = pcall(ask, hooks)
    assert.is_false(ok)
    assert.truthy(message:find("route.lua:3: canary: the function for 'sticky': expected a text or "
      .. "nil, got a table", 1, true), message)
  end)
end)
