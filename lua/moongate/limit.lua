-- moongate.limit owns limits over all workers: how often something may come (`rate`), and how many
-- of it may be under way (`concurrency`), for each key, such as the client's address. Called by
-- routes: a limit is a function from request to nil, or to the decision that refuses.
--
-- A bucket is one number in a shared dictionary: when it will be full again (GCRA, the virtual
-- scheduling algorithm of ITU-T I.371). One step of the dictionary reads, compares and writes it.
--
-- Places under way are a number, too. Each worker keeps beside it which of them are its own, under
-- the name of its process: those of a process that has died are given back by another worker.
--
-- What several machines count together lies in a Redis: moongate.limit.redis.

local clock = require("moongate.base.clock")
local counter = require("moongate.base.counter")
local decision = require("moongate.decision")
local describe = require("moongate.base.describe")
local headers_of = require("moongate.decision.headers")
local moongate = require("moongate")
local redis = require("moongate.limit.redis")
local registry = require("moongate.route.registry")
local suggest = require("moongate.base.suggest")
local trace = require("moongate.decision.trace")
local units = require("moongate.base.units")

local M = {}

local ceil, floor, max = math.ceil, math.floor, math.max

local KEY_MOST = 300 -- bytes of a key; a longer one is cut, so that what clients send has a bound

-- Places -----------------------------------------------------------------------------------------

local PLACE_TIME = 300 -- seconds that a place counts without its worker saying so again
local RENEW_TIME = 60
local SWEEP_TIME = 5

-- The key in a request's ctx of what it holds.
local HELD = {}

---@class moongate.limit.Mine what this process, and this generation of the route, holds
---@field route table whose limits these are
---@field held table<string, integer> how many of each key
---@field name string of the process
---@field cell string what the keys of its cells begin with
---@field places table shared: how many of a key are taken
---@field cells table shared: how many of them a process holds
---@field processes table shared: who may hold some

--- Once a limit of places is made.
---@type moongate.limit.Mine
local mine

--- Who a process is, for as long as the system runs: its number and when it began.
---@param pid string|number "self" or a number
---@return string|nil name nil where there is no such process
local function process_name(pid)
  local file = io.open(("/proc/%s/stat"):format(pid), "r")
  local line = file and file:read("*l")
  if file then
    file:close()
  end
  -- The name in brackets may hold anything; 19 fields lie between it and the time (proc(5)).
  local number, rest = (line or ""):match("^(%d+) .*%) (.*)$")
  local began = rest and rest:match("^" .. ("%S+ "):rep(19) .. "(%d+)")
  return began and number .. ":" .. began or nil
end

--- Gives back what a process held that is gone.
local function give_back(name)
  local prefix = name .. " "
  for i, cell in ipairs(mine.cells:keys(1000000) or {}) do
    if cell:sub(1, #prefix) == prefix then
      local count = mine.cells:get(cell)
      local key = cell:match("^%S+ (.*)$", #prefix + 1)
      mine.places:take(key, -(count or 0), 0, math.huge, PLACE_TIME)
      mine.cells:delete(cell)
    end
    if i % 1000 == 0 then
      moongate.sleep(0)
    end
  end
  mine.processes:delete(name)
end

--- Looks for processes that are gone; one worker at a time does it for all.
local function sweep()
  if not mine.processes:add("sweep", true, SWEEP_TIME - 1) then
    return
  end
  for _, name in ipairs(mine.processes:keys(10000) or {}) do
    local pid = name:match("^(%d+):%d+$")
    if pid and process_name(pid) ~= name then
      give_back(name)
    end
  end
end

--- Says again what this process holds.
local function renew()
  local count = 0
  local keys = {}
  for key in pairs(mine.held) do
    keys[#keys + 1] = key
  end
  for _, key in ipairs(keys) do
    if mine.held[key] then
      mine.places:take(key, 0, mine.held[key], math.huge, PLACE_TIME)
    end
    count = count + 1
    if count % 1000 == 0 then
      moongate.sleep(0)
    end
  end
end

--- The dictionaries, opened when a worker begins: in explain and tests by the first request.
local function open_places()
  if not mine.places then
    mine.name = process_name("self") or "?"
    -- Generations of a route in one process hold apart from each other.
    mine.cell = ("%s %x "):format(mine.name, clock() * 1e6)
    mine.cells = moongate.shared("moongate.limit.cells")
    mine.processes = moongate.shared("moongate.limit.processes")
    mine.places = moongate.shared("moongate.limit.places")
  end
  return mine.places
end

local function begin_places()
  open_places()
  mine.processes:set(mine.name, true)
  moongate.every(SWEEP_TIME, sweep)
  moongate.every(RENEW_TIME, renew)
end

--- This process holds so many more places of a key.
local function hold(key, by)
  local count = (mine.held[key] or 0) + by
  local cell = mine.cell .. key
  if count > 0 then
    mine.held[key] = count
    mine.cells:set(cell, count)
  else
    mine.held[key] = nil
    mine.cells:delete(cell)
  end
end

--- A request has ended: its places are free.
local function release(req)
  local list = req.ctx[HELD]
  for i = 1, list and #list or 0 do
    mine.places:take(list[i], -1, 0, math.huge, PLACE_TIME)
    hold(list[i], -1)
  end
end

--- What each route needs once that has a limit of places.
local function prepare_places()
  if not mine or mine.route ~= registry.starts then
    mine = { route = registry.starts, held = {} }
    registry.start(begin_places)
    registry.at_end(release)
  end
end

-- Limits -----------------------------------------------------------------------------------------

---@class moongate.Limit
---@field source string file:line where the route makes it
---@field key fun(req: table): string|nil
---@field dictionary table shared
---@field away "open"|"closed"
---@field answer table decision of a refusal
---@field count_refusal fun()
---@field policy string the header RateLimit-Policy
---@field label string its name in headers, quoted
local Limit = {}

--- Methods; a name that is none is a typing error.
function Limit.__index(_, name)
  local method = Limit[name]
  if method == nil and not decision.is_key(name) then
    error(("limit: there is no method '%s'%s"):format(suggest.name(name),
      suggest.hint(name, { "wrap" })), 2)
  end
  return method
end

--- The client's address as a key: of IPv6 the network that one client is given, which is a /64.
---@param req table
---@return string
function M.address(req)
  local ip = req.ip
  if not ip:find(":", 1, true) or ip == "unix:" then
    return ip
  end
  local head = ip:match("^(.-)::") or ip
  local groups, count = {}, 0
  for group in head:gmatch("%x+") do
    count = count + 1
    groups[count] = group
    if count == 4 then
      break
    end
  end
  while count < 4 do
    count = count + 1
    groups[count] = "0"
  end
  return table.concat(groups, ":", 1, 4) .. "::/64"
end

--- The key of a request in the dictionary; nil where the limit does not hold for it.
local function key_of(self, req)
  local key = self.key(req)
  if key == nil or key == false then
    return nil
  elseif type(key) ~= "string" and type(key) ~= "number" then
    error(("%s: limit: the function for 'key': expected a text or nil, got %s"):format(self.source,
      describe(key)), 0)
  end
  key = self.name .. " " .. key
  return #key > KEY_MOST and key:sub(1, KEY_MOST) or key
end

--- The result where requests can't be counted: the memory is full, or Redis is away.
---@return boolean refused
---@return nil left
---@return number seconds
local function unknown(self, reason)
  local now = clock()
  if now - self.said > 10 then
    self.said = now
    moongate.log("error", "%s: limit '%s': %s; requests are %s meanwhile ('away')", self.source,
      self.name, reason, self.away == "open" and "let through" or "refused")
  end
  return self.away == "closed", nil, 1
end

--- A refusal.
---@param seconds number until another one may succeed
---@param state string|nil the header RateLimit
local function refusal(self, seconds, state)
  local d, answer = {}, self.answer
  self.count_refusal()
  for key, value in pairs(answer) do
    d[key] = value
  end
  d.headers = headers_of.merged({
    ["Retry-After"] = tostring(max(1, ceil(seconds))), ["RateLimit-Policy"] = self.policy,
    RateLimit = state,
  }, answer.headers)
  return d
end

--- The header RateLimit.
---@param left number|nil nil where requests can't be counted
local function state_of(self, left, seconds)
  return left and ("%s;r=%d;t=%d"):format(self.label, max(0, left), max(0, ceil(seconds)))
end

--- Dictionaries are opened when a worker begins, not within its first request.
local function use_dictionary(self, name)
  registry.start(function()
    self.dictionary = moongate.shared(name)
  end)
  function self.open()
    self.dictionary = moongate.shared(name)
    return self.dictionary
  end
end

--- One request of a key: may it pass?
---@return boolean refused
---@return number left how many may follow at once
---@return number seconds until there is room again, where it is refused; else until all is free
local function ask_rate(self, key)
  local now = clock()
  local high = now + self.span
  local dictionary = self.dictionary or self.open()
  local full, reason, at = dictionary:take(key, self.gap, now, high, self.life)
  if full then
    return false, floor((high - full) / self.gap + 1e-6), full - now
  elseif reason == "too much" then
    return true, 0, at + self.gap - high
  end
  return unknown(self, reason)
end

local function ask_places(self, key, req)
  local taken, reason = open_places():take(key, 1, 0, self.most, PLACE_TIME)
  if taken then
    local list = req.ctx[HELD]
    if not list then
      list = {}
      req.ctx[HELD] = list
    end
    list[#list + 1] = key
    hold(key, 1)
    return false, self.most - taken, 0
  elseif reason == "too much" then
    return true, 0, 1
  end
  return unknown(self, reason)
end

--- The same questions to Redis. Commands, such as explain, send nothing: there it is counted here.
local function ask_rate_in_redis(self, key)
  if moongate.worker == 0 then
    return ask_rate(self, key)
  end
  local refused, seconds = self.redis:rate(key, self.gap, self.span)
  if refused == nil then
    return unknown(self, seconds)
  elseif refused then
    return true, 0, seconds + self.gap - self.span
  end
  return false, floor((self.span - seconds) / self.gap + 1e-6), seconds
end

local function ask_places_in_redis(self, key, req)
  if moongate.worker == 0 then
    return ask_places(self, key, req)
  end
  local refused, taken = self.redis:place(key, self.most, req)
  if refused == nil then
    return unknown(self, taken)
  elseif refused then
    return true, 0, 1
  end
  return false, self.most - taken, 0
end

--- May a request pass? A limit is called like a function.
---@param req table
---@return table|nil decision of a refusal; nil: it may
function Limit:__call(req)
  if req.internal then
    return nil -- an application has sent it on: it was counted when it came
  end
  local key = key_of(self, req)
  if key then
    local refused, left, seconds = self.ask(self, key, req)
    if refused then
      trace.decided(req, self.rule)
      return refusal(self, seconds, state_of(self, left, seconds))
    end
  end
  return nil
end

--- A handler behind the limit, whose answers say how much is left.
---@param handler table|fun(req: table, ...): table|nil a decision, a function or a router
---@return fun(req: table, ...): table|nil
function Limit:wrap(handler)
  local meta = type(handler) == "table" and getmetatable(handler)
  local is_function = type(handler) == "function" or type(meta) == "table" and meta.__call ~= nil
  local problem = not is_function and decision.problem(handler)
  if problem then
    error("limit: wrap: " .. problem, 2)
  end
  return function(req, ...)
    local key = not req.internal and key_of(self, req)
    local state
    if key then
      local refused, left, seconds = self.ask(self, key, req)
      state = state_of(self, left, seconds)
      if refused then
        trace.decided(req, self.rule)
        return refusal(self, seconds, state)
      end
    end
    local d = handler
    if is_function then
      d = handler(req, ...)
    end
    if not state or type(d) ~= "table" or d.close then
      return d
    end
    return headers_of.copy_with(d, "headers",
      { ["RateLimit-Policy"] = self.policy, RateLimit = state })
  end
end

-- Making one -------------------------------------------------------------------------------------

local KEYS = {
  rate = { rate = true, burst = true }, concurrency = { limit = true },
}
local COMMON = { key = true, name = true, away = true, answer = true, redis = true }

--- What is wrong with the options that both have.
local function common_problem(what, options)
  local wrong = suggest.options_problem(options, headers_of.merged(COMMON, KEYS[what]))
  if wrong then return wrong end
  local name, answer = options.name, options.answer
  if options.key ~= nil and type(options.key) ~= "function" then
    return "key: expected a function of the request, got " .. describe(options.key)
  elseif name ~= nil and not (type(name) == "string" and name:match("^[%w_.-]+$")
    and #name <= 60) then
    return "name: expected up to 60 letters, digits, '_', '-' and '.', got " .. describe(name)
  elseif options.away ~= nil and options.away ~= "open" and options.away ~= "closed" then
    return 'away: expected "open" or "closed", got ' .. describe(options.away)
  elseif answer ~= nil and decision.problem(answer) then
    return "answer: " .. decision.problem(answer)
  elseif options.redis ~= nil and name == nil then
    return "name: expected one beside 'redis', since other machines find their counts by it"
  end
  return options.redis ~= nil and redis.problem(options.redis) or nil
end

--- The Redis that counts, where the options name one.
---@return moongate.limit.Redis|nil store
---@return string|nil problem
local function redis_of(options)
  if options.redis == nil then
    return nil
  end
  return redis.new(options.redis)
end

local function is_whole(value, most)
  return type(value) == "number" and value % 1 == 0 and value >= 1 and value <= most
end

--- The names of the limits of each route, and where they are made.
local names = setmetatable({}, { __mode = "k" })

--- What stands before the keys of a limit in the dictionary. Without a name of its own it is where
--- the limit is made, and the how many-th there.
---@return string|nil name
---@return string|nil problem
local function name_of(options, place)
  local taken = names[registry.starts] or {}
  names[registry.starts] = taken
  local name = options.name
  if name and taken[name] then
    return nil, ("name: there is a limit '%s' already, at %s"):format(name, taken[name])
  elseif not name then
    local base, count = place:match("[^/]*$"), 1
    name = base
    while taken[name] do
      count = count + 1
      name = ("%s#%d"):format(base, count)
    end
  end
  taken[name] = place
  return name
end

local function new(what, options, place, name)
  local self = setmetatable({
    source = place, name = name, said = -math.huge, dictionary = false,
    key = options.key or M.address, away = options.away or "open",
    answer = options.answer or { status = 429 },
    count_refusal = counter.new(counter.LIMIT_REJECTIONS, name or place),
    rule = trace.known({ text = "limit." .. what, source = place }),
  }, Limit)
  self.label = ('"%s"'):format(options.name or "default")
  registry.add(self.answer, place, "limit." .. what .. ": answer")
  return self
end

--- What is wrong with a rate.
local function rate_problem(options)
  if not units.rate(options.rate) then
    return ("rate: expected %s, got %s"):format(units.RATE, describe(options.rate))
  elseif options.burst ~= nil and not is_whole(options.burst, 1e6) then
    return ("burst: expected a whole number from 1 to 1000000, got %s"):format(
      describe(options.burst))
  end
  return nil
end

--- The name of a limit, and its Redis. A problem is an error of the line that makes the limit.
local function identify(kind, options, problem, place)
  local name, store
  if not problem then
    name, problem = name_of(options, place)
  end
  if not problem then
    store, problem = redis_of(options)
  end
  if problem then
    error(("limit.%s: %s"):format(kind, problem), 3)
  end
  return name, store
end

--- So many requests in so much time, for each key: a token bucket.
---@param options table rate, burst, key, name, away, answer: see docs/library.md
---@return moongate.Limit
function M.rate(options)
  local problem = common_problem("rate", options) or rate_problem(options)
  local place = trace.place(2)
  local name, store = identify("rate", options, problem, place)
  local self = new("rate", options, place, name)
  local count, seconds = units.rate(options.rate)
  local burst = options.burst or max(1, floor(count))
  self.gap = seconds / count
  self.span = burst * self.gap + 1e-6 -- sums of doubles are a little off
  self.life = 2 * self.span + 1
  self.policy = ("%s;q=%d;w=%d"):format(self.label, burst, max(1, ceil(burst * self.gap)))
  self.redis, self.ask = store or false, store and ask_rate_in_redis or ask_rate
  use_dictionary(self, "moongate.limit.rate")
  return self
end

--- So many requests at a time, for each key.
---@param options table limit, key, name, away, answer: see docs/library.md
---@return moongate.Limit
function M.concurrency(options)
  local problem = common_problem("concurrency", options)
  if not problem and not is_whole(options.limit, 1e6) then
    problem = ("limit: expected a whole number from 1 to 1000000, got %s"):format(
      describe(options.limit))
  end
  local place = trace.place(2)
  local name, store = identify("concurrency", options, problem, place)
  local self = new("concurrency", options, place, name)
  self.most, self.redis = options.limit, store or false
  self.ask = store and ask_places_in_redis or ask_places
  self.policy = ("%s;q=%d;qu=\"concurrent-requests\""):format(self.label, self.most)
  prepare_places()
  if store then
    store:prepare_places()
  end
  return self
end

return suggest.strict(M, "moongate.limit")
