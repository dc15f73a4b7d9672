-- moongate.limit.redis owns limits that several machines count together, in a Redis: the scripts
-- that count there, the connections to it, and what is done while it is away. Called by
-- moongate.limit. The client library is OpenResty's resty.redis, unchanged.
--
-- Each question is one script in Redis, by Redis's clock: machines need not agree on the time. A
-- bucket is the number that moongate.limit has in its dictionary. Places under way are a sorted set
-- of leases: a worker renews those of its requests, and those of one that is gone end.

local addr = require("moongate.base.addr")
local clock = require("moongate.base.clock")
local describe = require("moongate.base.describe")
local moongate = require("moongate")
local registry = require("moongate.route.registry")
local suggest = require("moongate.base.suggest")
local units = require("moongate.base.units")

local M = {}

local LEASE = 120 -- seconds that a place counts without being renewed
local RENEW_TIME = 30
local PAUSE = 1 -- seconds without a question after a failure
local BATCH = 100 -- commands that are sent together
local LEAVING_MOST = 10000 -- places to be given back, more are left to the end of their leases

-- Times are exact to the microsecond in both: 17 digits are all that a double has.
local RATE = [[
local t = redis.call("time")
local now, gap, span = t[1] + t[2] / 1e6, tonumber(ARGV[1]), tonumber(ARGV[2])
local full = math.max(tonumber(redis.call("get", KEYS[1]) or 0), now)
if full + gap > now + span then
  return { 1, string.format("%.17g", full - now) }
end
full = full + gap
redis.call("set", KEYS[1], string.format("%.17g", full), "PX", math.ceil((full - now) * 1000))
return { 0, string.format("%.17g", full - now) }]]

local PLACES = [[
local t = redis.call("time")
local now, lease = t[1] + t[2] / 1e6, tonumber(ARGV[3])
redis.call("zremrangebyscore", KEYS[1], "-inf", now)
local count = redis.call("zcard", KEYS[1])
if count >= tonumber(ARGV[2]) then
  return { 1, count }
end
redis.call("zadd", KEYS[1], now + lease, ARGV[1])
redis.call("expire", KEYS[1], lease + 1)
return { 0, count + 1 }]]

---@class moongate.limit.Redis
---@field options table valid
---@field prefix string of all its keys
---@field label string for messages
---@field away string|nil why it did not answer the last time
---@field rest_until number|nil by the clock: until then it is not asked
---@field held table<string, table> token -> place of a request that is under way
---@field leaving table[] places to be given back
---@field giving boolean|nil a function does so
local Redis = {}
Redis.__index = Redis

-- The key in a request's ctx of its places in Redis: a list of { store=, key=, token= }.
local HELD = {}

-- Connections -------------------------------------------------------------------------------------

--- A connection that may be used.
---@return table|nil client
---@return string|nil reason
function Redis:connect()
  local client = self.library:new()
  client:set_timeout(self.timeout * 1000)
  local ok, reason
  if self.path then
    ok, reason = client:connect(self.path, { pool = self.pool })
  else
    ok, reason = client:connect(self.host, self.port, { pool = self.pool })
  end
  if ok and client:get_reused_times() == 0 then
    local options = self.options
    if options.password then
      if options.user then
        ok, reason = client:auth(options.user, options.password)
      else
        ok, reason = client:auth(options.password)
      end
    end
    if ok and options.database then
      ok, reason = client:select(options.database)
    end
  end
  if not ok then
    client:close()
    return nil, reason
  end
  return client
end

--- Runs a function with a connection, which goes back to its pool when that has worked.
---@param fn fun(client: table): any, string|nil returns nil or false, and why, where it failed
---@return any result nil where Redis can't say
---@return string|nil reason
function Redis:with(fn)
  local client, reason = self:connect()
  local result
  if client then
    result, reason = fn(client)
    if result then
      client:set_keepalive(60000, 50)
      return result
    end
    client:close()
  end
  return nil, reason
end

--- Redis did not answer: it is left alone for a moment, so that requests do not all wait for it.
function Redis:fail(reason)
  self.rest_until, self.away = clock() + PAUSE, tostring(reason)
end

--- Asks, unless Redis has been away a moment ago.
---@return any result
---@return string|nil reason
function Redis:ask(fn)
  if self.away then
    local now = clock()
    if now < self.rest_until then
      return nil, ("Redis at %s: %s"):format(self.label, self.away)
    end
    -- One request tries, and others go on as if Redis were away. Should its client leave, another
    -- one tries when this one would have ended.
    self.rest_until = now + self.timeout * 3 + PAUSE
  end
  local result, reason = self:with(fn)
  if result then
    if self.away then
      moongate.log("info", "Redis at %s is back", self.label)
      self.away = nil
    end
    return result
  end
  self:fail(reason)
  return nil, ("Redis at %s: %s"):format(self.label, self.away)
end

--- Runs a script in Redis, by its digest once Redis knows it.
---@param text string
---@param key string
---@param ... any arguments
---@return table|nil answer
---@return string|nil reason
function Redis:run(text, key, ...)
  local arguments, count = { ... }, select("#", ...)
  return self:ask(function(client)
    local digest = self.digests[text]
    local answer, reason
    if digest then
      answer, reason = client:evalsha(digest, 1, key, unpack(arguments, 1, count))
    end
    if not digest or answer == false and tostring(reason):find("NOSCRIPT", 1, true) then
      digest, reason = client:script("load", text)
      if not digest then
        return nil, reason
      end
      self.digests[text] = digest
      answer, reason = client:evalsha(digest, 1, key, unpack(arguments, 1, count))
    end
    if answer and type(answer) ~= "table" then
      return nil, "an answer that is no list"
    end
    return answer, reason
  end)
end

-- Questions ---------------------------------------------------------------------------------------

--- May another one of a key come? As moongate.limit asks its dictionary.
---@param gap number seconds that one takes
---@param span number seconds that a whole burst takes
---@return boolean|nil refused nil: Redis can't say
---@return number|string seconds until the bucket is full again; or the reason
function Redis:rate(key, gap, span)
  local answer, reason = self:run(RATE, self.prefix .. key, ("%.12g"):format(gap),
    ("%.12g"):format(span))
  local seconds = answer and tonumber(answer[2])
  if not seconds then
    return nil, reason or "an answer of another form"
  end
  return answer[1] == 1, seconds
end

--- Is there a place for one more of a key? If so, the request holds it until it ends.
---@param most integer
---@return boolean|nil refused nil: Redis can't say
---@return integer|string taken or the reason
function Redis:place(key, most, req)
  self.count = self.count + 1
  local token = ("%s:%x"):format(self.name(), self.count)
  local list = req.ctx[HELD] or {}
  req.ctx[HELD] = list
  -- Noted before it is asked for: a client may leave meanwhile, and giving back what was never
  -- taken does nothing.
  local place = { store = self, key = self.prefix .. key, token = token }
  list[#list + 1] = place
  local answer, reason = self:run(PLACES, place.key, token, most, LEASE)
  local taken = answer and tonumber(answer[2])
  if not taken then
    return nil, reason or "an answer of another form"
  elseif answer[1] == 1 then
    list[#list] = nil
    return true, taken
  end
  self.held[token] = place
  return false, taken
end

--- Sends commands together.
---@param commands string[][] each its words
---@return table|nil answers
---@return string|nil reason
local function send(client, commands)
  client:init_pipeline(#commands)
  for _, words in ipairs(commands) do
    client[words[1]](client, unpack(words, 2))
  end
  return client:commit_pipeline()
end

--- Gives back what requests have held that have ended.
function Redis:give_back()
  while #self.leaving > 0 do
    local commands = {}
    for i = 1, math.min(#self.leaving, BATCH) do
      local place = self.leaving[i]
      commands[i] = { "zrem", place.key, place.token }
    end
    local rest = {}
    for i = #commands + 1, #self.leaving do
      rest[#rest + 1] = self.leaving[i]
    end
    self.leaving = rest
    self:ask(function(client)
      return send(client, commands)
    end)
  end
end

--- Leases of requests that are still under way begin anew.
function Redis:renew()
  local places = {}
  for _, place in pairs(self.held) do
    places[#places + 1] = place
  end
  for first = 1, #places, BATCH do
    self:ask(function(client)
      local time, reason = client:time()
      if not time then
        return nil, reason
      end
      local till, commands = ("%.0f"):format(time[1] + LEASE), {}
      for i = first, math.min(first + BATCH - 1, #places) do
        local place = places[i]
        if self.held[place.token] then
          commands[#commands + 1] = { "zadd", place.key, "XX", till, place.token }
          commands[#commands + 1] = { "expire", place.key, LEASE + 1 }
        end
      end
      return #commands == 0 or send(client, commands)
    end)
  end
end

--- A request has ended.
local function release(req)
  for _, place in ipairs(req.ctx[HELD] or {}) do
    local self = place.store
    self.held[place.token] = nil
    if #self.leaving < LEAVING_MOST then
      self.leaving[#self.leaving + 1] = place
    end
    if not self.giving then
      self.giving = true
      moongate.spawn(function()
        local ok, problem = pcall(self.give_back, self)
        self.giving = nil
        if not ok then
          error(problem, 0)
        end
      end)
    end
  end
end

-- Making one --------------------------------------------------------------------------------------

local KEYS = {
  address = true, timeout = true, user = true, password = true, database = true, prefix = true,
}

--- What is wrong with `redis` of a limit.
---@param given any
---@return string|nil
function M.problem(given)
  if type(given) == "string" then
    given = { address = given }
  elseif type(given) ~= "table" then
    return "redis: expected an address or a table, got " .. describe(given)
  end
  local wrong = suggest.options_problem(given, KEYS)
  if wrong then
    return "redis: " .. wrong
  elseif not addr.parse(given.address, "connect") then
    return ("redis: expected %s, got %s"):format(addr.EXPECTED, describe(given.address))
  elseif given.timeout ~= nil
    and (not units.duration(given.timeout) or units.duration(given.timeout) == 0) then
    return ("redis.timeout: expected %s, above zero, got %s"):format(units.DURATION,
      describe(given.timeout))
  end
  for _, key in ipairs({ "user", "password", "prefix" }) do
    if given[key] ~= nil and (type(given[key]) ~= "string" or #given[key] > 100) then
      return ("redis.%s: expected a text of at most 100 bytes, got %s"):format(key,
        key == "password" and "a " .. type(given[key]) or describe(given[key]))
    end
  end
  local database = given.database
  if given.user and not given.password then
    return "redis: 'user' needs 'password' beside it"
  elseif database ~= nil
    and not (type(database) == "number" and database % 1 == 0 and database >= 0) then
    return "redis.database: expected a number such as 0, got " .. describe(database)
  end
  return nil
end

--- The client library. It wants the global `ngx`.
---@return table|nil library
---@return string|nil problem
local function find_library()
  require("ngx")
  local ok, library = pcall(require, "resty.redis")
  if not ok then
    return nil, "redis: the library resty.redis is not on package.path; Debian's package "
      .. "lua-nginx-redis has it"
  end
  return library
end

-- One for each address and its options, of the route that is loaded.
local stores, route = {}, nil

local function own_name()
  local name = M.name
  if not name then
    name = require("moongate.random").token(9)
    M.name = name
  end
  return name
end

--- The Redis of a limit. Limits with the same options share one.
---@param given string|table valid
---@return moongate.limit.Redis|nil store
---@return string|nil problem
function M.new(given)
  local options = type(given) == "string" and { address = given } or given
  local library, problem = find_library()
  if not library then
    return nil, problem
  end
  if route ~= registry.starts then
    stores, route = {}, registry.starts
  end
  local words = {}
  for key in pairs(KEYS) do
    words[#words + 1] = key .. "=" .. tostring(options[key])
  end
  table.sort(words)
  local id = table.concat(words, "\n")
  if stores[id] then
    return stores[id]
  end
  local address = options.address
  local host, port = address:match("^%[?(.-)%]?:(%d+)$")
  local self = setmetatable({
    options = options, library = library, label = address, prefix = options.prefix or "moongate:",
    path = address:match("^unix:") and address or nil, host = host ~= "" and host or "127.0.0.1",
    port = tonumber(port), timeout = units.duration(options.timeout or "200ms"), digests = {},
    held = {}, leaving = {}, count = 0, name = own_name,
    pool = ("%s|%s|%s"):format(address, options.user or "", options.database or 0),
  }, Redis)
  stores[id] = self
  return self
end

--- The route has a limit of places in this Redis.
function Redis:prepare_places()
  if self.prepared then
    return
  end
  self.prepared = true
  registry.start(function()
    moongate.every(RENEW_TIME, function()
      self:renew()
    end)
  end)
  if not M.ends or M.ends ~= registry.ends then
    M.ends = registry.ends
    registry.at_end(release)
  end
end

return M
