-- What nginx has nothing to compare with: a queue before four places, and tenants that share them.
-- The load generator is the tests' own, since every single request counts. Called by main.lua.

local load = require("tests.support.load")
local proxies = require("tests.bench.proxies")

local engine = {}

local PLACES, DELAY = 4, 20
local PATH = "/index.php?delay=" .. DELAY

local function host(number)
  return ("t%05d.example"):format(number)
end

local function start(application, fair)
  return proxies.start("moongate", application, {
    keepalive = PLACES, backend = "max_conns = " .. PLACES, shares = fair,
  })
end

-- One group's account, as numbers.
local function figures(result, seconds)
  return {
    rate = result.requests / seconds,
    failed = result.failed + result.requests - result[200],
    p50 = result.p50 * 1000,
    p99 = result.p99 * 1000,
  }
end

local function many(proxy, clients, seconds, path)
  local result = load.run(proxy.address, {
    seconds = seconds, { clients = clients, host = host(1), path = path or PATH },
  })
  return figures(result.all, result.seconds)
end

--- 200 clients before four places: nothing fails, no place is idle. What four places can do is what
--- four clients get, who never wait.
---@param application Application
---@param seconds number
---@return table figures with `used`: the share of what four clients get
function engine.queue(application, seconds)
  local proxy = start(application)
  local alone = many(proxy, PLACES, seconds)
  local out = many(proxy, 200, seconds)
  proxy:stop()
  out.alone = alone.rate
  out.used = out.rate / alone.rate
  return out
end

local function share(application, seconds, fair)
  local proxy = start(application, fair)
  local result = load.run(proxy.address, {
    seconds = seconds,
    { name = "big", clients = 100, host = host(1), path = PATH },
    { name = "small", clients = 2, host = host(2), path = PATH },
  })
  proxy:stop()
  return figures(result.big, result.seconds), figures(result.small, result.seconds)
end

--- A tenant with 100 clients and one with 2: as tenants, and in one queue.
---@param application Application
---@param seconds number
---@return table big, small: figures as tenants; one_big, one_small: in one queue
function engine.fair(application, seconds)
  local out = {}
  out.big, out.small = share(application, seconds, true)
  out.one_big, out.one_small = share(application, seconds, false)
  return out
end

local ROW = "%-15s%-28s%14s%10s%12s%12s\n"

local function row(case, who, one)
  return ROW:format(case, who, ("%.1f"):format(one.rate), ("%d"):format(one.failed),
    ("%.1f"):format(one.p50), ("%.1f"):format(one.p99))
end

--- The table for the terminal; empty where neither was measured.
---@param queue table|nil
---@param fair table|nil
---@return string
function engine.table(queue, fair)
  if not (queue or fair) then
    return ""
  end
  local out = { "\n" .. ROW:format("case", "clients", "replies/s", "failed", "p50 ms", "p99 ms") }
  if queue then
    out[#out + 1] = row("queue", "200", queue)
    out[#out + 1] = ("%-15s%.1f %% of the %.1f replies that %d clients get, of %d ms each\n")
      :format("", queue.used * 100, queue.alone, PLACES, DELAY)
  end
  if fair then
    out[#out + 1] = row("fair", "100 of one tenant", fair.big)
    out[#out + 1] = row("", "2 of another", fair.small)
    out[#out + 1] = row("one queue", "100", fair.one_big)
    out[#out + 1] = row("", "2", fair.one_small)
  end
  return table.concat(out)
end

return engine
