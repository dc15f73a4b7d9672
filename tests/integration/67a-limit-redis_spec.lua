-- moongate.limit over machines: two servers that count in one Redis, which is away for a while.

local http = require("tests.support.http")
local net = require("tests.support.net")
local poll = require("tests.support.poll")
local rig = require("tests.support.rig")
local server = require("tests.support.server")
local stage = require("tests.support.stage")
local store = require("tests.support.store")

local redis, path

setup(function()
  redis, path = store.redis(), store.lua_path()
end)
teardown(function()
  redis:stop()
end)

local BEFORE = [[
local limit = require("moongate.limit")
local function client(req) return req.headers.client end
local redis = { address = %q, timeout = "20s", prefix = %q }
local rate = limit.rate { name = "api", rate = "20/h", key = client, redis = redis }
local closed = limit.rate { name = "logins", rate = "20/h", key = client, redis = redis,
  away = "closed", answer = { status = 503 } }
local places = limit.concurrency { name = "places", limit = 3, key = client, redis = redis }
local wrapped = rate:wrap(function() return { status = 200, body = "wrapped" } end)
]]

local ON_REQUEST = [[
if req.path == "/rate" then
  return rate(req) or { status = 200, body = "ok" }
elseif req.path == "/closed" then
  return closed(req) or { status = 200, body = "ok" }
elseif req.path == "/wrapped" then
  return wrapped(req)
elseif req.path == "/places" then
  local refused = places(req)
  if refused then
    return refused
  end
end
]]

-- Two servers, as if on two machines. `prefix` sets each test's counts apart.
local function two(prefix, options)
  options = options or {}
  local list = {}
  for i = 1, 2 do
    list[i] = rig.start({
      before = BEFORE:format(options.address or redis.address, prefix), on_request = ON_REQUEST,
      workers = 2, server = { env = { LUA_PATH = path } },
    })
  end
  finally(function()
    for i = 1, 2 do
      list[i]:stop()
    end
  end)
  return list
end

local function get(r, target, client)
  return http.get(r.address, target, { Client = client })
end

-- One command for Redis: the first line of what it says.
local function redis_says(...)
  local sock = net.connect(redis.address)
  local words = { ... }
  for i, word in ipairs(words) do
    words[i] = ("$%d\r\n%s\r\n"):format(#word, word)
  end
  sock:send(("*%d\r\n%s"):format(#words, table.concat(words)))
  local text = sock:read_until("\r\n")
  sock:close()
  return text
end

describe("a rate in Redis", function()
  it("holds over all machines", function()
    local both = two("a:")
    local ok, refused = 0, nil
    for i = 1, 50 do
      local res = get(both[i % 2 + 1], "/rate", "a")
      if res.status == 200 then
        ok = ok + 1
      else
        assert.equal(429, res.status)
        refused = res
      end
    end
    assert.equal(20, ok)
    assert.equal('"api";q=20;w=3600', refused.headers["ratelimit-policy"])
    assert.matches('^"api";r=0;t=%d+$', refused.headers.ratelimit)
    local after = tonumber(refused.headers["retry-after"])
    assert.truthy(after > 0 and after <= 180, after)
    assert.equal(200, get(both[1], "/rate", "b").status)
    for left = 18, 15, -1 do
      local res = get(both[left % 2 + 1], "/wrapped", "b")
      assert.truthy(res.headers.ratelimit:find(('"api";r=%d;'):format(left), 1, true))
    end
    assert.matches("^:[1-9]%d*", redis_says("pttl", "a:api a")) -- nothing stays for ever
  end)

  it("forgets its script and is told it again", function()
    local both = two("b:")
    assert.equal(200, get(both[1], "/rate", "a").status)
    assert.matches("^%+OK", redis_says("script", "flush"))
    assert.equal(200, get(both[1], "/rate", "a").status)
    assert.is_nil(both[1].server:errors():find("Redis", 1, true))
  end)
end)

describe("places in Redis", function()
  it("are as many as the limit says, over all machines, and end with their requests", function()
    local both, clients = two("c:"), {}
    for i = 1, 3 do
      clients[i] = http.open(both[i % 2 + 1].address)
      clients[i]:send({ path = "/places?delay=hold", headers = { Client = "a" } })
      poll.wait(function()
        return redis_says("zcard", "c:places a"):find(":" .. i, 1, true)
      end, i .. " places taken")
    end
    for i = 1, 2 do
      assert.equal(429, get(both[i], "/places", "a").status)
      assert.equal(200, get(both[i], "/places", "b").status)
    end
    -- A place that nobody renews ends within two minutes.
    local ttl = tonumber(redis_says("ttl", "c:places a"):match("%d+"))
    assert.truthy(ttl > 60 and ttl <= 121, ttl)
    for _, client in ipairs(clients) do
      client.conn:reset()
    end
    poll.wait(function()
      return redis_says("zcard", "c:places a"):find(":0", 1, true)
    end, "all places to be free")
    assert.equal(200, get(both[1], "/places", "a").status)
  end)
end)

describe("while Redis is away", function()
  it("requests pass or are refused, as the limit says, and count again when it is back", function()
    local both = two("d:")
    local r = both[1]
    assert.equal(200, get(r, "/closed", "a").status)
    redis:kill()
    for _ = 1, 30 do
      local res = get(r, "/wrapped", "a")
      assert.equal(200, res.status)
      assert.is_nil(res.headers.ratelimit)
      assert.equal(200, get(r, "/places", "a").status)
      assert.equal(503, get(r, "/closed", "a").status)
    end
    r.server:wait_log("limit 'api': Redis at 127%.0%.0%.1:%d+: [^;]*; requests are let through")
    r.server:wait_log("limit 'logins': Redis at [^;]*; requests are refused meanwhile")
    redis:restart()
    poll.wait(function()
      return get(r, "/closed", "a").status == 200
    end, "Redis to count again")
    r.server:wait_log("Redis at [%d.:]+ is back")
    local ok = 0
    poll.wait(function() -- each worker finds out for itself
      ok = ok + (get(r, "/rate", "z").status == 200 and 1 or 0)
      return get(r, "/rate", "z").status == 429
    end, "the rate to hold again")
    assert.truthy(ok > 0)
  end)

  it("a login that is wrong is said", function()
    local r = rig.start({
      before = BEFORE:format(redis.address, "e:"):gsub("timeout =", "password = 'x', timeout ="),
      on_request = ON_REQUEST, server = { env = { LUA_PATH = path } },
    })
    finally(function() r:stop() end)
    assert.equal(200, get(r, "/rate", "a").status)
    r.server:wait_log("limit 'api': Redis at [%d.:]+: .*AUTH.*; requests are let through")
  end)
end)

it("without the library a route says so when it is loaded", function()
  local dir = stage.files({ ["route.lua"] = [[
local limit = require("moongate.limit")
return { on_request = limit.rate { name = "a", rate = 1, redis = "127.0.0.1:6379" } }
]] })
  local result = server.command({ "check", dir .. "/route.lua" }, { env = { LUA_PATH = "/?.lua" } })
  assert.equal(1, result.code)
  assert.matches("route.lua:2: limit.rate: redis: the library resty.redis is not on package.path; "
    .. "Debian's package lua%-nginx%-redis has it", result.stderr)
end)
