-- cluster: any number of Moongates that share a Redis. Each visitor may ask so often, however many
-- of them he asks, and each tenant keeps the PHP server that it was given, whichever Moongate asks.
-- README.md starts one.
--
--     curl http://blue.localhost:8081/      the count goes on ...
--     curl http://blue.localhost:8082/      ... at the other one
--
-- Without Redis pages are served all the same, without the limit. With one PHP server gone the
-- other one has its tenants.

local moongate = require("moongate")
local php = require("moongate.php")

local REDIS = os.getenv("MOONGATE_REDIS") or "unix:/run/redis/redis-server.sock"
local SERVERS = { -- the same names, and the same order, in every Moongate
  os.getenv("MOONGATE_PHP_1") or "10.0.0.1:9000",
  os.getenv("MOONGATE_PHP_2") or "10.0.0.2:9000",
}
local NAME = os.getenv("MOONGATE_NAME") or "one"
local TENANTS = { ["blue.localhost"] = true, ["green.localhost"] = true, ["red.localhost"] = true }
local LIMIT = tonumber(os.getenv("MOONGATE_LIMIT")) or 20 -- requests of one address
local WINDOW = 10 -- in so many seconds
local PATIENCE = 0.2 -- seconds that a visitor waits for Redis
local PAUSE = 1 -- seconds until Redis is asked again after a failure

-- Run inside Redis, so that two Moongates do not come between one another. A new tenant gets the
-- server that has the fewest.
local COUNT_AND_PLACE = [[
  local count = redis.call("incr", KEYS[1])
  if count == 1 then
    redis.call("expire", KEYS[1], ARGV[1])
  end
  local server = redis.call("hget", "tenants", ARGV[2])
  if not server then
    local fewest
    for i = 3, #ARGV do
      local has = tonumber(redis.call("zscore", "servers", ARGV[i]) or 0)
      if not fewest or has < fewest then
        server, fewest = ARGV[i], has
      end
    end
    redis.call("hset", "tenants", ARGV[2], server)
    redis.call("zincrby", "servers", 1, server)
  end
  return { count, server }
]]

local broken, ask_again = false, 0

-- How many requests there were, and the tenant's server; or nil and why not.
local function ask(address, tenant)
  local client = require("resty.redis"):new()
  client:set_timeout(PATIENCE * 1000)
  local host, port = REDIS:match("^([^/]+):(%d+)$")
  local ok, reason
  if host then
    ok, reason = client:connect(host, tonumber(port))
  else
    ok, reason = client:connect(REDIS)
  end
  if not ok then
    return nil, reason
  end
  local answer
  answer, reason = client:eval(COUNT_AND_PLACE, 1, "requests:" .. address, WINDOW, tenant,
    unpack(SERVERS))
  if not answer then
    client:close()
    return nil, reason
  end
  client:set_keepalive(60000, 10)
  return answer
end

-- The same, but it says only once that Redis is gone, and leaves it alone for a while.
local function ask_if_there(address, tenant)
  if broken and moongate.now() < ask_again then
    return nil
  end
  local answer, reason = ask(address, tenant)
  if not answer then
    ask_again = moongate.now() + PAUSE
    if not broken then
      moongate.log("error", "Redis at %s: %s; no limit holds until it is back", REDIS, reason)
    end
  elseif broken then
    moongate.log("info", "Redis at %s is back", REDIS)
  end
  broken = not answer
  return answer
end

local site = php.site {
  root = "public",
  backend = "app",
  params = function(req)
    return { GATE = NAME, TENANT = req.host, COUNT = req.ctx.count or "unknown" }
  end,
}

return {
  listen = "127.0.0.1:8081",
  backends = {
    app = { servers = SERVERS, max_fails = 1, fail_timeout = "2s", connect_timeout = "1s" },
  },

  on_start = function()
    require("ngx") -- what the library expects
    require("resty.redis") -- so that a worker without it does not start
  end,

  on_request = function(req)
    if not TENANTS[req.host] then
      return { status = 404, body = "There is no site of this name here.\n" }
    end
    local answer = ask_if_there(req.ip, req.host)
    if answer and answer[1] > LIMIT then
      return { status = 429, headers = { ["Retry-After"] = WINDOW }, body = "Not so fast.\n" }
    end
    req.ctx.count, req.ctx.server = unpack(answer or {})
    return site(req)
  end,

  -- Only those are shown that are up: without its own a tenant goes to another.
  on_balance = function(req, servers)
    for _, server in ipairs(servers) do
      if server.address == req.ctx.server then
        return server
      end
    end
  end,
}
