-- Specs of moongate.limit: what is refused, what is said about it, and whose fault a wrong use is.
-- What holds over workers is in tests/integration/67-limit_spec.lua.

local loaded = require("support.loaded")
local req_of = require("support.req")

local NAMES = { "moongate", "moongate.base.clock", "moongate.limit", "moongate.limit.redis" }

describe("moongate.limit", function()
  local limit, registry, now, dictionaries, logged

  --- A shared dictionary made of a table; `full` makes it fail.
  local function dictionary()
    local values = {}
    return {
      values = values,
      take = function(self, key, by, low, high)
        if self.full then
          return nil, "no memory"
        end
        local from = math.max(values[key] or low, low)
        if from + by > high then
          return nil, "too much", from
        end
        values[key] = from + by
        return from + by
      end,
      set = function(_, key, value) values[key] = value return true end,
      delete = function(_, key) values[key] = nil return true end,
    }
  end

  setup(function()
    loaded.forget(NAMES)
    package.loaded["moongate.base.clock"] = function() return now end
    package.loaded["moongate"] = {
      shared = function(name)
        dictionaries[name] = dictionaries[name] or dictionary()
        return dictionaries[name]
      end,
      log = function(level, format, ...)
        logged[#logged + 1] = level .. ": " .. format:format(...)
      end,
    }
    limit = require("moongate.limit")
    registry = require("moongate.route.registry")
  end)
  teardown(loaded.restore)
  before_each(function()
    now, dictionaries, logged = 1000, {}, {}
    registry.begin()
  end)
  after_each(function()
    registry.done()
  end)

  local function client(ip, more)
    local fields = { ip = ip or "10.0.0.1" }
    for key, value in pairs(more or {}) do
      fields[key] = value
    end
    return req_of.get("/", fields)
  end

  it("lets a burst pass, and then one for each that the rate gives", function()
    local api = limit.rate { name = "api", rate = "2/s", burst = 3 }
    for _ = 1, 3 do
      assert.is_nil(api(client()))
    end
    local d = api(client())
    assert.same({ status = 429, headers = {
      ["Retry-After"] = "1", ["RateLimit-Policy"] = '"api";q=3;w=2', RateLimit = '"api";r=0;t=1',
    } }, d)
    assert.is_nil(api(client("10.0.0.2")))
    now = now + 0.5
    assert.is_nil(api(client()))
    assert.equal(429, api(client()).status)
    now = now + 100
    for _ = 1, 3 do
      assert.is_nil(api(client()))
    end
    assert.equal(429, api(client()).status)
  end)

  it("reads rates", function()
    for rate, case in pairs({
      ["10/s"] = { 10, "1" }, ["100/m"] = { 100, "1" }, ["60/h"] = { 60, "60" },
      ["24/d"] = { 24, "3600" },
    }) do
      local api = limit.rate { rate = rate }
      for _ = 1, case[1] do
        assert.is_nil(api(client()), rate)
      end
      assert.equal(case[2], api(client()).headers["Retry-After"], rate)
      now = now + 1
    end
    local slow = limit.rate { rate = 0.5 }
    assert.is_nil(slow(client()))
    assert.equal("2", slow(client()).headers["Retry-After"])
  end)

  it("are told apart where they are made", function()
    local made = {}
    for i = 1, 2 do
      made[i] = limit.rate { rate = 1 }
      assert.is_nil(made[i](client()))
    end
    assert.equal(429, made[1](client()).status)
    limit.rate { rate = 1, name = "mine" }
    local ok, message = pcall(function()
      local again = limit.concurrency { limit = 1, name = "mine" }
      return again
    end)
    assert.is_false(ok)
    assert.matches("limit_spec.lua:%d+: limit.concurrency: name: there is a limit 'mine' already, "
      .. "at .*limit_spec.lua:%d+$", message)
  end)

  it("counts by its key; none is no limit, and a long one is cut", function()
    local api = limit.rate { rate = 1, key = function(r) return r.headers.Token end }
    for _ = 1, 5 do
      assert.is_nil(api(client()))
    end
    local long = client(nil, { headers = { Token = ("x"):rep(5000) } })
    assert.is_nil(api(long))
    assert.equal(429, api(long).status)
    for key in pairs(dictionaries["moongate.limit.rate"].values) do
      assert.is_true(#key <= 300)
    end
  end)

  it("counts what an application sends on once", function()
    local api = limit.rate { rate = 1 }
    assert.is_nil(api(client()))
    assert.is_nil(api(client(nil, { internal = true })))
    assert.equal(429, api(client()).status)
  end)

  it("takes an IPv6 client's network for its address", function()
    for ip, key in pairs({
      ["10.1.2.3"] = "10.1.2.3", ["unix:"] = "unix:",
      ["2001:db8:1:2:3:4:5:6"] = "2001:db8:1:2::/64", ["2001:db8::1"] = "2001:db8:0:0::/64",
      ["::1"] = "0:0:0:0::/64",
    }) do
      assert.equal(key, limit.address({ ip = ip }))
    end
  end)

  it("answers as it is told, and says on answers what is left", function()
    local api = limit.rate {
      name = "api", rate = "2/s", answer = { status = 503, body = "later", headers = { A = "b" } },
    }
    local handler = api:wrap(function(r) return { status = 200, body = r.path } end)
    local d = handler(client())
    assert.same({ status = 200, body = "/", headers = {
      ["RateLimit-Policy"] = '"api";q=2;w=1', RateLimit = '"api";r=1;t=1' } }, d)
    assert.equal('"api";r=0;t=1', handler(client()).headers.RateLimit)
    d = handler(client())
    assert.equal(503, d.status)
    assert.equal("later", d.body)
    assert.equal("b", d.headers.A)
    now = now + 10
    assert.is_nil(api:wrap(function() end)(client()))
    assert.same({ close = true }, api:wrap({ close = true })(client()))
  end)

  it("lets through where it cannot tell, or refuses if told so, and says so once in a while",
    function()
      local open = limit.rate { name = "a", rate = 1 }
      local closed = limit.rate { name = "b", rate = 1, away = "closed" }
      assert.is_nil(open(client()))
      dictionaries["moongate.limit.rate"].full = true
      assert.is_nil(open(client()))
      assert.equal(429, closed(client()).status)
      assert.equal(2, #logged)
      assert.matches("limit_spec.lua:%d+: limit 'a': no memory; requests are let through meanwhile",
        logged[1])
      now = now + 11
      assert.is_nil(open(client()))
      assert.equal(3, #logged)
    end)

  it("lets so many be under way at a time", function()
    local downloads = limit.concurrency { name = "d", limit = 2 }
    local first, second = client(), client()
    assert.is_nil(downloads(first))
    assert.is_nil(downloads(second))
    local d = downloads(client())
    assert.equal(429, d.status)
    assert.equal('"d";q=2;qu="concurrent-requests"', d.headers["RateLimit-Policy"])
    assert.is_nil(downloads(client("10.0.0.2")))
    assert.equal(1, #registry.ends)
    registry.ends[1](first)
    assert.is_nil(downloads(client()))
    registry.ends[1](client()) -- one that holds nothing
    assert.equal(429, downloads(client()).status)
  end)

  for _, case in ipairs({
    { "rate", {}, 'rate: expected a rate such as 5 (in a second), "10/s", "100/m", "1000/h" or '
      .. '"5000/d", got nothing' },
    { "rate", { rate = "10/y" }, 'rate: expected a rate such as 5 (in a second), "10/s", "100/m", '
      .. '"1000/h" or "5000/d", got "10/y"' },
    { "rate", { rate = 1, burst = 0 }, "burst: expected a whole number from 1 to 1000000, got 0" },
    { "rate", { rate = 1, brust = 0 }, "unknown key 'brust'; did you mean 'burst'?" },
    { "rate", { rate = 1, key = "ip" }, 'key: expected a function of the request, got "ip"' },
    { "rate", { rate = 1, name = 'a"' },
      "name: expected up to 60 letters, digits, '_', '-' and '.', got \"a\"\"" },
    { "rate", { rate = 1, away = "ajar" }, 'away: expected "open" or "closed", got "ajar"' },
    { "rate", { rate = 1, answer = { statsu = 1 } },
      "answer: unknown key 'statsu' in a decision; did you mean 'status'?" },
    { "rate", 5, "expected a table of options, got 5" },
    { "concurrency", { limit = "5" },
      'limit: expected a whole number from 1 to 1000000, got "5"' },
  }) do
    it("says: " .. case[3], function()
      local ok, message = pcall(function()
        local made = limit[case[1]](case[2])
        return made
      end)
      assert.is_false(ok)
      assert.equal(("limit.%s: %s"):format(case[1], case[3]),
        message:match("^[^:]+limit_spec.lua:%d+: (.*)$"))
    end)
  end

  it("says what a wrong key, method or handler is", function()
    local api = limit.rate { rate = 1, key = function() return {} end }
    local ok, message = pcall(api, client())
    assert.is_false(ok)
    assert.matches("limit_spec.lua:%d+: limit: the function for 'key': expected a text or nil, "
      .. "got a table$", message)
    assert.has_error(function() return api.warp end,
      "limit: there is no method 'warp'; did you mean 'wrap'?")
    ok, message = pcall(function() return api:wrap({ statsu = 1 }) end)
    assert.is_false(ok)
    assert.matches("limit: wrap: unknown key 'statsu'", message)
  end)
end)
