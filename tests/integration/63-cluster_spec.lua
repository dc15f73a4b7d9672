-- examples/cluster as its README has it: two Moongates, two PHP-FPM, one Redis, and each of the
-- five killed in turn.

local http = require("tests.support.http")
local pages = require("tests.support.pages")
local php = require("tests.support.php")
local poll = require("tests.support.poll")
local process = require("tests.support.process")
local server = require("tests.support.server")
local store = require("tests.support.store")

local LIMIT = 12
-- The example waits 0.2 s for Redis, and does without it then: a busy machine may need more.
local SHORT, PATIENT = "local PATIENCE = 0.2 ", "local PATIENCE = 20 "
local redis, pools, gates, patience

local function start_gate(i)
  local address = gates[i] and gates[i].address
  gates[i] = server.start({
    folder = "examples/cluster",
    route = "route.lua",
    address = address,
    files = { ["route.lua"] = pages.replaced(process.read_file("examples/cluster/route.lua"),
      { { SHORT, patience } }) },
    env = {
      LUA_PATH = store.lua_path(), MOONGATE_NAME = "gate" .. i, MOONGATE_LIMIT = tostring(LIMIT),
      MOONGATE_REDIS = i == 1 and redis.address or redis.unix,
      MOONGATE_PHP_1 = pools[1].address, MOONGATE_PHP_2 = pools[2].address,
    },
    args = { "--control", "unix:" .. process.tempdir("control") .. "/control.sock" },
  })
end

-- Ends a process at once, as a crash would. PHP-FPM's children would outlive it for ever.
local function kill(proc, with_children)
  local children = with_children and process.children(proc.pid) or {}
  proc:kill("KILL")
  for _, pid in ipairs(children) do
    process.signal(pid, "KILL")
  end
  poll.wait(function()
    return not proc:alive()
  end, "the process to end")
end

local function start(how_patient)
  redis = store.redis()
  pools, gates, patience = {}, {}, how_patient or PATIENT
  for i = 1, 2 do
    pools[i] = php.start({ pages = "examples/cluster/public" })
  end
  for i = 1, 2 do
    start_gate(i)
  end
end

local function stop()
  for _, gate in ipairs(gates) do
    gate:stop()
  end
  for _, pool in ipairs(pools) do
    pool:stop()
  end
  redis:stop()
end

-- What Redis says to `redis-cli`-like words, of which it takes a line.
local function tell_redis(line)
  local conn = require("tests.support.net").connect(redis.address)
  conn:send(line .. "\r\n")
  local answer = conn:read_some()
  conn:close()
  return answer
end

---@return { status: integer, count: string, gate: string, pool: integer }
local function ask(gate, tenant)
  local res = http.request(gates[gate].address, {
    path = "/", host = (tenant or "blue") .. ".localhost",
  })
  local answer = { status = res.status }
  if res.status == 200 then
    local pid
    answer.count, answer.gate, pid = res.body:match(
      "Request <code>(%w+)</code>.-Moongate <code>(%w+)</code>.-process <code>(%d+)</code>")
    for i, pool in ipairs(pools) do
      for _, child in ipairs(pool.process:alive() and pool:children() or {}) do
        if child == tonumber(pid) then
          answer.pool = i
        end
      end
    end
  end
  return answer
end

local function count_lines(gate, text)
  local _, count = gates[gate]:errors():gsub(text, "")
  return count
end

-- Each gate that is named serves every tenant.
local function assert_served(...)
  for _, gate in ipairs({ ... }) do
    for _, tenant in ipairs({ "blue", "green", "red" }) do
      for _ = 1, 3 do
        tell_redis("DEL requests:127.0.0.1")
        assert.equal(200, ask(gate, tenant).status)
      end
    end
  end
end

describe("the cluster", function()
  it("counts a visitor's requests over both, and knows no other site", function()
    start()
    finally(stop)
    for i = 1, LIMIT do
      local answer = ask(i % 2 + 1)
      assert.equal(200, answer.status)
      assert.equal(tostring(i), answer.count)
      assert.equal("gate" .. i % 2 + 1, answer.gate)
    end
    for gate = 1, 2 do
      assert.equal(429, ask(gate).status)
      assert.equal(404, ask(gate, "nobody").status)
    end
    assert.matches("^:%d", tell_redis("TTL requests:127.0.0.1")) -- it is forgotten by itself
    assert.equal(":1\r\n", tell_redis("DEL requests:127.0.0.1"))
    assert.equal(200, ask(1).status)
  end)

  it("keeps each tenant with its server, through both", function()
    start()
    finally(stop)
    local home = {}
    for round = 1, 3 do
      for i, tenant in ipairs({ "blue", "green", "red" }) do
        local answer = ask((round + i) % 2 + 1, tenant)
        home[tenant] = home[tenant] or answer.pool
        assert.equal(home[tenant], answer.pool, tenant)
      end
    end
    assert.are_not.equal(home.blue, home.green) -- the second went where there was none
  end)

  it("serves pages without any one of the five", function()
    start()
    finally(stop)
    assert_served(1, 2)

    for i = 1, 2 do -- a Moongate
      tell_redis("DEL requests:127.0.0.1")
      local before = tonumber(ask(i).count)
      kill(gates[i].process)
      assert.equal(before + 1, tonumber(ask(3 - i).count)) -- it goes on counting
      assert_served(3 - i)
      start_gate(i)
      assert_served(1, 2)
    end

    for i = 1, 2 do -- a PHP-FPM
      kill(pools[i].process, true)
      assert_served(1, 2)
      os.remove(pools[i].address:match("^unix:(.*)$"))
      pools[i]:restart()
      poll.wait(function() -- somebody's home again
        for _, tenant in ipairs({ "blue", "green", "red" }) do
          tell_redis("DEL requests:127.0.0.1")
          if ask(1, tenant).pool == i then
            return true
          end
        end
      end, "the server to be used again", 10)
    end

    local lines = { count_lines(1, "no limit holds"), count_lines(2, "no limit holds") }
    assert.same({ 0, 0 }, lines)
    redis:kill() -- Redis
    for i = 1, LIMIT * 3 do
      local answer = ask(i % 2 + 1)
      assert.equal(200, answer.status)
      assert.equal("unknown", answer.count)
    end
    for gate = 1, 2 do
      gates[gate]:wait_log("Redis at .*: .*; no limit holds until it is back")
      assert.equal(1, count_lines(gate, "no limit holds"))
    end
    os.remove(redis.unix:match("^unix:(.*)$"))
    redis:restart()
    for gate = 1, 2 do
      poll.wait(function()
        return ask(gate).count ~= "unknown"
      end, "Redis to be asked again")
      gates[gate]:wait_log("Redis at .* is back")
    end
    poll.wait(function()
      return ask(1).status == 429
    end, "the limit to hold again")
  end)

  it("does not wait for a Redis that is silent", function()
    start(SHORT)
    finally(function()
      redis.process:kill("CONT")
      stop()
    end)
    assert.equal("1", ask(1).count)
    redis.process:kill("STOP")
    local socket = require("socket")
    local begun = socket.gettime()
    for _ = 1, 100 do -- which would be 20 s
      assert.equal("unknown", ask(1).count)
    end
    assert.is_true(socket.gettime() - begun < 15)
    gates[1]:wait_log("no limit holds")
    assert.equal(1, count_lines(1, "no limit holds"))
  end)
end)
