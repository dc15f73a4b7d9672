-- Specs of moongate.shadow and moongate.shadow.report, over dictionaries of the spec.

local fake_fs = require("support.fs")
local loaded = require("support.loaded")
local req_of = require("support.req")
local shared = require("support.shared")

describe("moongate.shadow", function()
  local load, report, runtime, spawned, answers, asked
  local NAMES = {
    "moongate", "moongate.runtime", "moongate.health", "moongate.shadow", "moongate.shadow.report",
    "moongate.route.load", "moongate.route.registry", "moongate.headers",
  }

  --- What the other backend says where nothing differs.
  local function same(first_byte)
    return { status = 200, headers = {}, length = 3, crc32 = 7, stderr = "",
      first_byte = first_byte or 0.010 }
  end

  setup(function()
    loaded.forget(NAMES)
    package.loaded["moongate"] = {
      shared = shared.open, log = function() end, every = function() end, sleep = function() end,
      spawn = function(fn, ...) spawned[#spawned + 1] = { fn, ... } end,
      fastcgi = function(backend, params, _, options)
        asked[#asked + 1] = { backend = backend, params = params, options = options }
        local answer = table.remove(answers, 1) or same()
        if type(answer) == "table" then
          return answer
        end
        return nil, answer
      end,
    }
    load = require("moongate.route.load")
    report = require("moongate.shadow.report")
    runtime = require("moongate.runtime")
  end)
  teardown(function()
    loaded.restore()
    shared.forget()
  end)
  before_each(function()
    spawned, answers, asked = {}, {}, {}
    shared.clear()
  end)

  local ONE = 'name = "x", to = "new", sample = "100%"'

  local function route(options, more)
    return load.source(([[local shadow = require("moongate.shadow")
return { backends = { app = "127.0.0.1:9000", new = "127.0.0.1:9001" }, %s
on_request = shadow.wrap({ backend = "app", docroot = "/srv" }, { %s }) }]]):format(more or "",
      options), "route.lua", nil, fake_fs.new({})).hooks
  end

  local SEEN = { status = 200, headers = {}, length = 3, crc32 = 7, whole = true, stderr = "" }

  --- A request from its beginning to its end, and what was spawned then.
  local function request(hooks, fields, log)
    fields = fields or {}
    local observed
    fields.observe = function() observed = SEEN end
    fields.params_for = fields.params_for or function()
      return { SCRIPT_FILENAME = "/srv/a.php" }
    end
    local req = req_of.get("/a.php", fields)
    assert.equal("app", hooks.on_request(req).backend)
    local all = { observed = observed, status = 200, backend = "app", app_status = 0,
      method = req.method, uri = "/a.php", host = "a.example",
      attempts = { { first_byte = 0.010 } } }
    for key, value in pairs(log or {}) do
      all[key] = value
    end
    hooks.on_log(req, all)
    for _, call in ipairs(spawned) do
      call[1](unpack(call, 2))
    end
    spawned = {}
    return observed ~= nil
  end

  local function read()
    return report.read("x")[1]
  end

  it("asks the other backend once where the answers are the same", function()
    local hooks = route(ONE .. ', timeout = "3s"')
    answers = { same() }
    assert.is_true(request(hooks))
    assert.same({ { backend = "new", options = { timeout = 3, digest = true, last = true },
      params = { SCRIPT_FILENAME = "/srv/a.php", MOONGATE_SHADOW = "x" } } }, asked)
    local found = read()
    assert.equal(1, found.compared)
    assert.equal(1, found.same)
    for key in pairs(shared.values("moongate.shadow")) do
      assert.is_nil(key:find("slot")) -- it has been given back
    end
  end)

  it("has the route's on_params see what it sends", function()
    local hooks = route(ONE, [[on_params = function(req, params)
      for name in params:each() do params[name] = params[name] .. "!" end
      params.HTTP_X = params.MOONGATE_SHADOW end,]])
    answers = { same() }
    request(hooks)
    assert.same({ SCRIPT_FILENAME = "/srv/a.php!", MOONGATE_SHADOW = "x!", HTTP_X = "x!" },
      asked[1].params)
    hooks = route(ONE, 'on_params = function() error("no", 0) end,')
    request(hooks)
    assert.equal(1, read().skipped["on_params: no"])
  end)

  it("passes over what it can't compare, and says why", function()
    local hooks = route(ONE)
    request(hooks, nil, { status = 499 })
    request(hooks, nil, { error = "closed" })
    request(hooks, nil, { backend = "new" })
    request(hooks, { params_for = function() return nil, "it has a body" end })
    request(hooks, { headers = { Cookie = "a=1" } })
    request(hooks, { headers = { Authorization = "Basic YTpi" } })
    assert.is_false(request(hooks, { method = "POST" }))
    answers = { "connect: Connection refused", "busy: the queue is full" }
    request(hooks)
    request(hooks)
    assert.same({
      ["the visitor's answer was not whole"] = 2, ["it was served by the other backend"] = 1,
      ["it has a body"] = 1, ["cookies or a login of the visitor's"] = 2,
      ["the other backend: connect: Connection refused"] = 1,
      ["the other backend: busy: the queue is full"] = 1,
    }, read().skipped)
    assert.equal(0, read().compared)
    runtime.set("shadow.x", "off")
    assert.is_false(request(hooks))
  end)

  it("sends cookies that belong to nobody", function()
    local hooks = route(ONE .. ', cookies = { "lang" }')
    local function with(...)
      local names = { ... }
      return { headers = { Cookie = "?" }, cookies = { each = function()
        local i = 0
        return function()
          i = i + 1
          return names[i]
        end
      end } }
    end
    assert.is_true(request(hooks, with("lang")))
    assert.is_false(request(hooks, with("lang", "PHPSESSID")))
    assert.is_false(request(hooks, with()))
    assert.is_true(request(route(ONE .. ", cookies = true"), with("PHPSESSID")))
  end)

  it("holds the place of a copy whose time is over", function()
    local hooks = route(ONE .. ", concurrency = 1")
    answers = { "timeout: the answer was not whole in the time given" }
    request(hooks)
    local found = read()
    assert.same({ kind = "failed", text = "no answer: timeout", count = 1,
      such = "GET a.example/a.php (timeout: the answer was not whole in the time given)" },
      found.scripts[1].findings[1])
    request(hooks)
    assert.equal(1, read().skipped["as many copies as may be were under way"])
    report.clear()
    assert.equal(0, read().compared)
    request(hooks) -- what is under way is not forgotten
    assert.equal(1, read().skipped["as many copies as may be were under way"])
  end)

  it("tells slower scripts, and the worst first", function()
    local hooks = route(ONE)
    for i = 1, 10 do
      answers = { same(i * 0.010) }
      request(hooks)
    end
    assert.same({ kind = "slower", count = 10,
      text = "10.0 ms -> 55.0 ms until the first byte, on average" },
      read().scripts[1].findings[1])
    local function compared(script, kind, text)
      report.compared("x", { script = script, request = "GET /",
        findings = { { kind = kind, text = text } } })
    end
    compared("/b.php", "deprecated", "d")
    compared("/c.php", "error", "200 -> 500")
    compared("/d.php", "header", "Location")
    local order = {}
    for i, script in ipairs(read().scripts) do
      order[i] = script.script
    end
    assert.same({ "/c.php", "/d.php", "/srv/a.php", "/b.php" }, order)
  end)

  it("keeps a bounded report", function()
    route(ONE)
    for i = 1, 250 do
      report.compared("x", { script = ("/%d.php"):format(i), request = "GET /",
        findings = { { kind = "body", text = "b" } } })
      report.compared("x", { script = "/1.php", request = "GET /",
        findings = { { kind = "info", text = ("m%d"):format(i) } } })
      report.skipped("x", "reason " .. i)
    end
    local found, others, reasons = read(), nil, 0
    assert.equal(500, found.compared)
    assert.equal(201, #found.scripts)
    for _, script in ipairs(found.scripts) do
      others = script.script == "(others)" and script or others
      if script.script == "/1.php" then
        assert.equal(21, #script.findings)
      end
    end
    assert.equal(50, others.seen)
    for _ in pairs(found.skipped) do
      reasons = reasons + 1
    end
    assert.equal(31, reasons)
    local long = ("/%s/end.php"):format(("x"):rep(1000))
    report.compared("x", { script = long, request = "GET /" .. ("y"):rep(1000),
      findings = { { kind = "info", text = ("z\n"):rep(1000), detail = "d" } } })
    for key, value in pairs(shared.values("moongate.shadow")) do
      assert.is_true(#key <= 437 and #tostring(value) <= 300)
    end
  end)

  it("says what is wrong, with the line", function()
    for options, expected in pairs({
      ["to = 1"] = "name: expected up to 60 letters, digits, '_' and '-', by which `moongate set "
        .. "shadow.NAME 10%` finds it, got nothing",
      ['name = "x"'] = "to: expected the name of a backend, got nothing",
      [ONE .. ", smaple = 1"] = "unknown key 'smaple'; did you mean 'sample'?",
      ['name = "x", to = "new", sample = 5'] = 'sample: expected "10%", "0.5%" or "off", got 5',
      [ONE .. ", concurrency = 65"] = "concurrency: expected a whole number from 1 to 64, got 65",
      [ONE .. ', timeout = "no"'] = 'timeout: expected a duration such as 5, "250ms", "2m" or '
        .. '"1h", got "no"',
      [ONE .. ', headers = "a"'] = 'headers: expected a list of names, got "a"',
      [ONE .. ", cookies = { a = 1 }"] = "cookies: expected true, false or a list of names, got a "
        .. "table",
      [ONE .. ", when = true"] = "when: expected a function of the request, got true",
    }) do
      local ok, message = pcall(route, options)
      assert.is_false(ok)
      assert.equal("route.lua:3: shadow.wrap: " .. expected, (message:match("^[^\n]*")))
    end
    local ok, message = pcall(route, 'name = "x", to = "nwe"')
    assert.is_false(ok)
    assert.equal("route.lua:3: shadow: to: there is no backend 'nwe'; did you mean 'new'?",
      (message:match("^[^\n]*")))
    ok, message = pcall(load.source, [[local shadow = require("moongate.shadow")
return { on_request = shadow.wrap(1, {}) }]], "route.lua", nil, fake_fs.new({}))
    assert.is_false(ok)
    assert.equal("route.lua:2: shadow.wrap: expected a decision, a function or a router, got 1",
      (message:match("^[^\n]*")))
  end)
end)
