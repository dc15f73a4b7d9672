-- Specs of moongate.health, with backends that the spec makes go and come.

local fake_fs = require("support.fs")
local load = require("moongate.route.load")
local loaded = require("support.loaded")
local req_of = require("support.req")

describe("moongate.health", function()
  local health, up, slept, now
  local NAMES = { "moongate", "moongate.core", "moongate.base.clock", "moongate.health" }

  setup(function()
    loaded.forget(NAMES)
    package.loaded["moongate.core"] = {
      backend_is_up = function(name) return up[name] end,
      backend = function(name)
        return up[name] ~= nil and { name = name, up = up[name], servers = {} } or nil
      end,
    }
    package.loaded["moongate.base.clock"] = function() return now end
    package.loaded["moongate"] = { sleep = function(seconds)
      slept[#slept + 1] = seconds
      now = now + seconds
      if #slept == 5 then
        up.app = true
      end
    end }
    health = require("moongate.health")
  end)
  teardown(loaded.restore)
  before_each(function()
    up, slept, now = { app = true, spare = true }, {}, 1000
  end)

  --- A route with these two backends, made of a text.
  local function route(text)
    return load.source(([[local health = require("moongate.health")
return { backends = { app = "127.0.0.1:9000", spare = "127.0.0.1:9001" },
on_request = %s }]]):format(text), "route.lua", nil, fake_fs.new({}))
  end

  it("says whether a backend is up", function()
    route("function() end")
    assert.is_true(health.up("app"))
    up.app = false
    assert.is_false(health.up("app"))
    assert.is_false(health.state("app").up)
  end)

  it("waits until it is up, looking less and less often", function()
    route("function() end")
    up.app = false
    assert.is_true(health.wait("app", "1m"))
    assert.equal(5, #slept)
    assert.is_true(slept[1] == 0.05 and slept[5] > slept[4] and slept[5] <= 0.5)
    up.spare, slept = false, {}
    assert.is_false(health.wait("spare", 2))
    assert.is_true(now <= 1003 and #slept >= 5)
    slept = {}
    assert.is_false(health.wait("spare", 0))
    assert.same({}, slept)
  end)

  it("takes the word of a spec where no server runs", function()
    route("function() end")
    up = {}
    assert.is_true(health.up("app"))
    health.assume("app", false)
    assert.is_false(health.up("app"))
    assert.is_true(health.up("spare"))
    assert.same({ name = "app", up = false, held = false, queued = 0, max_queue = 0,
      servers = { { address = "127.0.0.1:9000", up = false } } }, health.state("app"))
    route("function() end")
    assert.is_true(health.up("app")) -- of the next route nothing was said
  end)

  describe("failover", function()
    local hooks

    local function begin()
      hooks = route([[health.failover({ backend = "app" },
  function(req) return req.path ~= "/none" and { root = "/srv",
    try = { "$path", { backend = "spare" } } } or nil end, { status = 503, body = "page" })
, on_error = function(req, err) return { status = err.status, body = err.kind } end]]).hooks
    end

    local function ask(path)
      local req = req_of.get(path or "/")
      return req, (hooks.on_request(req))
    end

    it("answers by the first whose backend is up", function()
      begin()
      local _, d = ask()
      assert.equal("app", d.backend)
      up.app = false
      _, d = ask()
      assert.equal("spare", d.backend)
      up.spare = false
      _, d = ask()
      assert.equal("page", d.body)
    end)

    it("answers by the next one where nothing could be connected to", function()
      begin()
      local req = ask()
      assert.equal("spare", hooks.on_error(req, { kind = "connect", status = 503 }).backend)
      assert.equal("page", hooks.on_error(req, { kind = "connect", status = 503 }).body)
      assert.equal("connect", hooks.on_error(req, { kind = "connect", status = 503 }).body)
    end)

    it("leaves other failures, and requests that it has not decided, to on_error", function()
      begin()
      local req = ask()
      for _, kind in ipairs({ "timeout", "closed", "protocol", "busy", "script", "status" }) do
        assert.equal(kind, hooks.on_error(req, { kind = kind, status = 500 }).body)
      end
      assert.equal("connect", hooks.on_error(req_of.get("/"), { kind = "connect", status = 503 })
        .body)
    end)

    it("takes nil for an answer", function()
      begin()
      up.app = false
      local _, d = ask("/none")
      assert.is_nil(d)
    end)

    it("tries the first one when all are down", function()
      hooks = route([[health.failover({ backend = "app" }, { backend = "spare" })]]).hooks
      up = { app = false, spare = false }
      local req, d = ask()
      assert.equal("app", d.backend)
      assert.is_nil(hooks.on_error(req, { kind = "connect", status = 503 }))
    end)
  end)

  it("says what is wrong, with the line", function()
    for text, expected in pairs({
      ['health.failover({ backend = "app" })'] = "health.failover: expected two handlers at least, "
        .. "such as a site and a page, got one",
      ['health.failover({ backend = "app" }, 7)'] = "health.failover: handler 2: expected a "
        .. "decision, a function or a router, got 7",
      ['health.failover({ backend = "ap" }, { status = 503 })'] = "failover: handler 1: there is "
        .. "no backend 'ap'; did you mean 'app'?",
      ['health.up("app")'] = "health.up: backends can be asked about in hooks, not while the route "
        .. "is loaded",
      ["health.failovr()"] = "moongate.health: there is no 'failovr'; did you mean 'failover'?",
    }) do
      up = {}
      local ok, message = pcall(route, text)
      assert.is_false(ok)
      assert.equal("route.lua:3: " .. expected, (message:match("^[^\n]*")))
    end
    up = { app = true }
    route("function() end")
    for call, expected in pairs({
      [function() health.up(7) end] = "health.up: expected the name of a backend, got 7",
      [function() health.wait("app", "soon") end] = "health.wait: expected a duration such as 5, "
        .. '"250ms", "2m" or "1h" as second argument, got "soon"',
      [function() health.state("spar") end] = "health.state: there is no backend 'spar'; did you "
        .. "mean 'spare'?",
      [function() health.assume("app", 1) end] = "health.assume: expected true or false as second "
        .. "argument, got 1",
      [function() health.assume("app", true) end] = "health.assume: a server runs here, which "
        .. "knows better; this is for specs",
    }) do
      local ok, message = pcall(call)
      assert.is_false(ok)
      assert.truthy(message:find("health_spec.lua:%d+: ") and message:find(expected, 1, true),
        message)
    end
  end)
end)
