-- Specs of moongate.limit.redis: how often Redis is asked and what is sent, with a client library
-- made of a table. What Redis makes of it is in tests/integration/67a-limit-redis_spec.lua.

local loaded = require("support.loaded")
local req_of = require("support.req")

local NAMES = {
  "moongate", "moongate.base.clock", "moongate.limit", "moongate.limit.redis", "moongate.random",
  "ngx", "resty.redis",
}

describe("moongate.limit.redis", function()
  local limit, registry, now, sent, answers, logged, spawned, timers

  --- A client whose commands are noted, and answered by `answers`: a list, or nil for refusals to
  --- connect.
  local function library()
    local client = { set_timeout = function() end, close = function() end, set_keepalive = print }
    client.set_keepalive = client.close
    function client.connect(_, ...)
      sent[#sent + 1] = "connect " .. tostring((...)):gsub("table.*", "")
      if not answers then
        return nil, "connection refused"
      end
      return 1
    end
    function client.get_reused_times()
      return 0
    end
    function client.init_pipeline() end
    function client.commit_pipeline()
      return {}
    end
    function client:new()
      return setmetatable({}, { __index = function(_, name)
        return self[name] or function(_, ...)
          local words = { name, ... }
          if words[1] == "script" then
            words[3] = nil
          end
          sent[#sent + 1] = table.concat(words, " ")
          if name == "script" then
            return "SHA"
          elseif name == "evalsha" then
            return unpack(table.remove(answers, 1) or { { 0, "1" } })
          end
          return name == "time" and { 1000, 0 } or "OK"
        end
      end })
    end
    return client
  end

  setup(function()
    loaded.forget(NAMES)
    package.loaded["moongate.base.clock"] = function() return now end
    package.loaded["moongate.random"] = { token = function() return "me" end }
    package.loaded["ngx"] = {}
    package.loaded["moongate"] = {
      worker = 1,
      shared = function() return {} end,
      spawn = function(fn) spawned[#spawned + 1] = fn end,
      every = function(_, fn) timers[#timers + 1] = fn end,
      log = function(level, format, ...)
        logged[#logged + 1] = level .. ": " .. format:format(...)
      end,
    }
    package.loaded["resty.redis"] = library()
    limit = require("moongate.limit")
    registry = require("moongate.route.registry")
  end)
  teardown(loaded.restore)
  before_each(function()
    now, sent, answers, logged, spawned, timers = 1000, {}, {}, {}, {}, {}
    registry.begin()
  end)
  after_each(function()
    registry.done()
  end)

  local function request()
    return req_of.get("/", { ip = "10.0.0.1" })
  end

  it("asks by the digest of its script, and tells Redis the script where it does not know it",
    function()
      local api = limit.rate { name = "api", rate = "2/s", redis = "10.0.0.9:6379" }
      assert.is_nil(api(request()))
      assert.same({ "connect 10.0.0.9", "script load",
        "evalsha SHA 1 moongate:api 10.0.0.1 0.5 1.000001" }, sent)
      sent, answers = {}, { { false, "NOSCRIPT No matching script" }, { { 1, "1" } } }
      local d = api(request())
      assert.same({ "connect 10.0.0.9", "evalsha SHA 1 moongate:api 10.0.0.1 0.5 1.000001",
        "script load", "evalsha SHA 1 moongate:api 10.0.0.1 0.5 1.000001" }, sent)
      assert.equal(429, d.status)
      assert.equal("1", d.headers["Retry-After"])
      assert.same({}, logged)
    end)

  it("leaves a Redis alone that is away, but for one request in a second", function()
    local open = limit.rate { name = "a", rate = 1, redis = "unix:/r.sock" }
    local closed = limit.rate { name = "b", rate = 1, redis = "unix:/r.sock", away = "closed" }
    answers = nil
    for _ = 1, 5 do
      assert.is_nil(open(request()))
      local d = closed(request())
      assert.equal(429, d.status)
      assert.is_nil(d.headers.RateLimit)
    end
    assert.same({ "connect unix:/r.sock" }, sent)
    assert.matches("redis_spec.lua:%d+: limit 'a': Redis at unix:/r.sock: connection refused; "
      .. "requests are let through meanwhile", logged[1])
    assert.matches("limit 'b': .*; requests are refused meanwhile", logged[2])
    now, sent = now + 1.1, {}
    assert.is_nil(open(request()))
    assert.is_nil(open(request()))
    assert.equal(1, #sent)
    now, answers = now + 3, {}
    assert.is_nil(closed(request()))
    assert.equal("info: Redis at unix:/r.sock is back", logged[#logged])
  end)

  it("logs in and takes a database, in connections of their own", function()
    local api = limit.rate { name = "api", rate = 1, redis = {
      address = "10.0.0.9:6379", user = "ann", password = "secret", database = 3, prefix = "p:",
    } }
    assert.is_nil(api(request()))
    assert.same({ "connect 10.0.0.9", "auth ann secret", "select 3", "script load",
      "evalsha SHA 1 p:api 10.0.0.1 1 1.000001" }, sent)
  end)

  it("holds a place until its request ends, and renews it meanwhile", function()
    local places = limit.concurrency { name = "d", limit = 2, redis = "10.0.0.9:6379" }
    for _, start in ipairs(registry.starts) do
      pcall(start) -- that of the dictionary fails: there is none here
    end
    answers = { { { 0, 1 } }, { { 1, 2 } } }
    local first, second = request(), request()
    assert.is_nil(places(first))
    assert.equal(429, places(second).status)
    sent = {}
    timers[#timers]()
    assert.same({ "connect 10.0.0.9", "time", "zadd moongate:d 10.0.0.1 XX 1120 me:1",
      "expire moongate:d 10.0.0.1 121" }, sent)
    sent = {}
    local release = registry.ends[#registry.ends]
    release(second)
    assert.equal(0, #spawned)
    release(first)
    spawned[1]()
    assert.same({ "connect 10.0.0.9", "zrem moongate:d 10.0.0.1 me:1" }, sent)
    sent = {}
    timers[#timers]()
    assert.same({}, sent)
  end)

  it("counts nothing in commands, which send nothing", function()
    local moongate = package.loaded["moongate"]
    finally(function()
      moongate.worker, moongate.shared = 1, function() return {} end
    end)
    moongate.worker = 0
    moongate.shared = function()
      return { take = function(_, _, _, low) return low end }
    end
    assert.is_nil(limit.rate({ name = "a", rate = 1, redis = "10.0.0.9:6379" })(request()))
    assert.same({}, sent)
  end)

  for _, case in ipairs({
    { { redis = 6379 }, "redis: expected an address or a table, got 6379" },
    { { redis = "localhost" }, 'redis: expected an address such as "127.0.0.1:8080", ":8080", '
      .. '"[::1]:8080" or "unix:/run/app.sock", got "localhost"' },
    { { redis = { adress = "a:1" } }, "redis: unknown key 'adress'; did you mean 'address'?" },
    { { redis = { address = "a:1", timeout = 0 } }, 'redis.timeout: expected a duration such as 5, '
      .. '"250ms", "2m" or "1h", above zero, got 0' },
    { { redis = { address = "a:1", password = 5 } },
      "redis.password: expected a text of at most 100 bytes, got a number" },
    { { redis = { address = "a:1", user = "ann" } }, "redis: 'user' needs 'password' beside it" },
    { { redis = { address = "a:1", database = "x" } },
      'redis.database: expected a number such as 0, got "x"' },
    { { redis = "a:1", name = false },
      "name: expected one beside 'redis', since other machines find their counts by it" },
  }) do
    it("says: " .. case[2], function()
      local options = { rate = 1, name = "n" }
      for key, value in pairs(case[1]) do
        options[key] = value or nil
      end
      local ok, message = pcall(function()
        local made = limit.rate(options)
        return made
      end)
      assert.is_false(ok)
      assert.equal("limit.rate: " .. case[2], message:match("^[^:]+redis_spec.lua:%d+: (.*)$"))
    end)
  end
end)
