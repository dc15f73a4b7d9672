-- moongate.canary owns the choice between what serves well and what is to take its place: which
-- share of the clients gets the new one, who falls back when it fails, and when it is stopped.
-- Called by routes: what `split` makes is a handler.
--
-- The share is a value of the route (moongate.runtime), and the counts are in a shared dictionary:
-- all workers agree on both. A client is a number from 0 to 1, made of its key; below the share it
-- is the canary's. So a share that grows keeps all clients of the canary.

local clock = require("moongate.base.clock")
local copy_of = require("moongate.base.copy")
local describe = require("moongate.base.describe")
local decision = require("moongate.decision")
local hash = require("moongate.balance.hash")
local headers = require("moongate.headers")
local limit = require("moongate.limit")
local moongate = require("moongate")
local registry = require("moongate.route.registry")
local runtime = require("moongate.runtime")
local suggest = require("moongate.base.suggest")
local trace = require("moongate.decision.trace")
local units = require("moongate.base.units")

local M = {}

local DICTIONARY = "moongate.canary"
local COOKIE_PLACES = 10000

local PERCENTAGE = '"10%", "0.5%" or "off"'

--- Methods that may be done twice (RFC 9110 §9.2.1).
local SAFE = { GET = true, HEAD = true, OPTIONS = true }

--- What an application, or the way to it, has done wrong. Of what is too large it is the client's.
local FAILURES = {
  connect = true, timeout = true, closed = true, protocol = true, busy = true, script = true,
}

--- A share as a number from 0 to 1.
---@return number|nil share
---@return string expected
local function read_share(text)
  if text == "off" or text:find("^stopped") then
    return 0, PERCENTAGE
  end
  local percent = tonumber(text:match("^(%d+%.?%d*)%%$"))
  return percent and percent <= 100 and percent / 100 or nil, PERCENTAGE
end

---@class moongate.canary.Split
---@field name string
---@field stable fun(req: table, ...): table|nil
---@field canary fun(req: table, ...): table|nil
---@field value moongate.runtime.Value the share
---@field key fun(req: table): string|number|nil what keeps a client on its side
---@field cookie string|nil or the name of a cookie that does
---@field force nil|fun(req: table): boolean|nil
---@field budget number the part of the requests that may fail
---@field window number seconds
---@field least integer
---@field fails fun(status: integer): boolean|nil
---@field rules table<string, moongate.Rule>
---@field counts table|nil shared

---@class moongate.canary.Note what is kept of a request
---@field is_canary boolean
---@field own table|boolean|nil intercept_errors as the canary's own decision has it
---@field failed boolean|nil

-- Sides ------------------------------------------------------------------------------------------

--- A client's number, and a cookie that keeps it.
---@return number place from 0 to 1
---@return string|nil cookie the text of Set-Cookie
local function place_of(self, req)
  if not self.cookie then
    local key = self.key(req) or limit.address(req)
    if type(key) ~= "string" and type(key) ~= "number" then
      error(("%s: canary: the function for 'sticky': expected a text or nil, got %s"):format(
        self.source, describe(key)), 0)
    end
    return hash.of(self.name .. " " .. key) % 2 ^ 32 / 2 ^ 32
  end
  local known = (req.cookies[self.cookie] or ""):match("^%d%d?%d?%d?$")
  if known then
    return tonumber(known) / COOKIE_PLACES
  end
  local place = math.random(0, COOKIE_PLACES - 1)
  local secure = req.scheme == "https" and "; Secure" or ""
  return place / COOKIE_PLACES, ("%s=%d; Path=/; Max-Age=31536000; HttpOnly; SameSite=Lax%s")
    :format(self.cookie, place, secure)
end

--- Is a status in `intercept_errors`?
local function intercepts(own, status)
  if type(own) == "table" then
    for i = 1, #own do
      if own[i] == status then
        return true
      end
    end
    return false
  end
  return own == true
end

--- The canary's decision, so that its errors come to us before a client sees them. What it says
--- of `intercept_errors` itself is noted.
local function watched(d, note)
  if type(d) ~= "table" or d.close then
    return d
  end
  local copy = copy_of.table(d)
  if d.backend ~= nil then
    note.own = d.intercept_errors
    copy.intercept_errors = true
  elseif type(d.try) == "table" and type(d.try[#d.try]) == "table" then
    copy.try = { unpack(d.try) }
    copy.try[#d.try] = watched(d.try[#d.try], note)
  end
  return copy
end

--- Whose is a request? One that an application has sent on within the server stays where it was.
---@return moongate.canary.Note note
---@return string|nil cookie
local function choose(self, req)
  local note = req.internal and req.ctx[self]
  if note then
    return note
  end
  local forced = self.force and self.force(req)
  local is_canary, cookie = forced, nil
  if type(forced) ~= "boolean" then
    local share = self.value:get()
    local place = 1
    if share > 0 or self.cookie then
      place, cookie = place_of(self, req)
    end
    is_canary = place < share
  end
  note = { is_canary = is_canary }
  req.ctx[self] = note
  return note, cookie
end

-- Failures ---------------------------------------------------------------------------------------

local function dictionary(self)
  self.counts = self.counts or moongate.shared(DICTIONARY)
  return self.counts
end

--- Stops the canary after its budget is spent, until `moongate set` gives it a share again.
local function stop(self, failed, count)
  local counts = dictionary(self)
  if not counts:add(self.name .. " stopping", true, 5) then
    return -- another worker does it
  end
  local before = runtime.list()["canary." .. self.name]
  local text = ("stopped at %s: %d of %d requests failed"):format(before, failed, count)
  runtime.set("canary." .. self.name, text)
  for _, key in ipairs(counts:keys(100000) or {}) do
    if key:sub(1, #self.name + 1) == self.name .. " " and key ~= self.name .. " stopping" then
      counts:delete(key)
    end
  end
  moongate.log("error", "%s: the canary '%s' is %s; all requests go to stable, until "
    .. "`moongate set canary.%s %s`", self.source, self.name, text, self.name, before)
end

--- One request of the canary has ended. The window slides: of the one before as much counts as it
--- still reaches into the last `window` seconds.
local function count(self, failed)
  local counts = dictionary(self)
  local now = clock() / self.window
  local number = math.floor(now)
  local life = 2 * self.window
  local key = ("%s %d "):format(self.name, number)
  local all = counts:incr(key .. "all", 1, 0, life)
  if not failed or not all then
    return
  end
  local bad = counts:incr(key .. "failed", 1, 0, life) or 0
  local before, rest = ("%s %d "):format(self.name, number - 1), 1 - (now - number)
  all = all + rest * (counts:get(before .. "all") or 0)
  bad = bad + rest * (counts:get(before .. "failed") or 0)
  if all >= self.least and bad > self.budget * all then
    stop(self, math.floor(bad + 0.5), math.floor(all + 0.5))
  end
end

--- A request has ended.
local function ended(self, req, log)
  local note = req.ctx[self]
  if not note or not (note.failed or note.is_canary and log.backend) or self.value:get() == 0 then
    return
  end
  local status = log.status
  count(self, note.failed or status ~= 499 and (log.error ~= nil or self.fails(status) or false))
end

--- A request has failed. Safe ones are stable's from here on.
local function rescue(self, req, err)
  local note = req.ctx[self]
  if not note or not note.is_canary then
    return nil
  end
  local is_status = err.kind == "status"
  -- What only we have asked for is no business of the route's on_error.
  local over = is_status and not intercepts(note.own, err.status)
  if is_status and not self.fails(err.status) or not is_status and not FAILURES[err.kind] then
    return nil, over
  end
  note.failed = true
  if not SAFE[req.method] then
    return nil, over
  end
  note.is_canary = false
  trace.decided(req, self.rules.fallback)
  return self.stable(req) or { status = 404 }
end

-- Making one -------------------------------------------------------------------------------------

local KEYS = {
  name = true, stable = true, canary = true, share = true, sticky = true, force = true,
  budget = true, window = true, least = true, statuses = true,
}

--- `sticky`: what keeps a client on its side.
---@return nil|fun(req: table): any key nil for a cookie of our own
---@return string|nil problem
local function key_of(sticky)
  if sticky == nil or sticky == "address" then
    return limit.address
  elseif sticky == "cookie" then
    return nil
  elseif type(sticky) == "function" then
    return sticky
  elseif type(sticky) == "table" then
    local header, cookie = sticky.header, sticky.cookie
    local name = header or cookie
    if type(name) == "string" and name ~= "" and next(sticky, (next(sticky))) == nil then
      return header and function(req) return req.headers[header] end
        or function(req) return req.cookies[cookie] end
    end
  end
  return nil, 'sticky: expected "address", "cookie", { header = "X-User" }, { cookie = "session" } '
    .. "or a function of the request, got " .. describe(sticky)
end

local function percent_problem(name, value)
  if type(value) == "string" and not value:find("^stopped") and read_share(value) then
    return nil
  end
  return ("%s: expected %s, got %s"):format(name, PERCENTAGE, describe(value))
end

local function number_problem(options)
  local window, least = options.window, options.least
  if window ~= nil and (units.duration(window) or 0) < 1 then
    return ("window: expected %s, of a second at least, got %s"):format(units.DURATION,
      describe(window))
  elseif least ~= nil and not (type(least) == "number" and least % 1 == 0 and least >= 1) then
    return "least: expected a whole number from 1 on, got " .. describe(least)
  elseif options.statuses ~= nil then
    local problem = decision.key_problem("fastcgi", "intercept_errors", options.statuses)
    return problem and problem:gsub("^intercept_errors", "statuses") or nil
  end
  return nil
end

---@return string|nil problem
local function problem_of(options)
  local wrong = suggest.options_problem(options, KEYS)
  if wrong then
    return wrong
  elseif type(options.name) ~= "string" or not options.name:match("^[%w_-]+$")
    or #options.name > 60 then
    return "name: expected up to 60 letters, digits, '_' and '-', by which `moongate set "
      .. "canary.NAME 10%` finds it, got " .. describe(options.name)
  elseif options.force ~= nil and type(options.force) ~= "function" then
    return "force: expected a function of the request, got " .. describe(options.force)
  end
  return options.share ~= nil and percent_problem("share", options.share)
    or options.budget ~= nil and percent_problem("budget", options.budget)
    or number_problem(options)
end

--- The handlers of both sides, as functions.
local function sides_of(self, options)
  for _, side in ipairs({ "stable", "canary" }) do
    local handler = options[side]
    local decide, problem = headers.as_function(handler)
    if problem then
      return ("%s: %s"):format(side, problem)
    elseif decide ~= handler then
      registry.add(handler, self.source, "canary: " .. side)
    end
    self[side] = decide
  end
  return nil
end

--- A handler that gives a share of the clients to a canary.
---@param options table name, stable, canary, share, sticky, force, budget, window, least, statuses:
--- see docs/library.md
---@return fun(req: table, ...): table|nil
function M.split(options)
  local self = { source = trace.place(2) }
  local problem = problem_of(options) or sides_of(self, options)
  if not problem then
    self.key, problem = key_of(options.sticky)
  end
  if not problem then
    self.name = options.name
    self.value, problem = runtime.new("canary." .. self.name, options.share or "0%", read_share)
  end
  if problem then
    error("canary.split: " .. problem, 2)
  end
  self.cookie = options.sticky == "cookie" and "moongate_canary_" .. self.name or nil
  self.force = options.force
  self.budget, self.least = read_share(options.budget or "5%"), options.least or 20
  self.window = units.duration(options.window or "5m")
  local statuses = options.statuses
  self.fails = function(status)
    if statuses == nil then
      return status >= 500
    end
    return status >= 400 and intercepts(statuses, status)
  end
  self.rules = {}
  for _, word in ipairs({ "stable", "canary", "fallback" }) do
    self.rules[word] = trace.known({ source = self.source,
      text = ("canary.%s: %s"):format(self.name, word == "fallback" and "stable, since the canary "
        .. "has failed" or word) })
  end
  registry.start(function() dictionary(self) end)
  registry.at_end(function(req, log) ended(self, req, log) end)
  registry.rescue(function(req, err) return rescue(self, req, err) end)
  return function(req, ...)
    local note, cookie = choose(self, req)
    local d
    if note.is_canary then
      d = watched(self.canary(req, ...), note)
      trace.decided(req, self.rules.canary)
    else
      d = self.stable(req, ...)
      trace.decided(req, self.rules.stable)
    end
    return cookie and headers.with(d, { ["Set-Cookie"] = cookie }) or d
  end
end

return suggest.strict(M, "moongate.canary")
