-- moongate.auth.basic owns logins by HTTP Basic (RFC 7617) against hashes of passwords. Called by
-- moongate.auth: what `new` makes is a guard, a function from request to nil or to the decision
-- that refuses it.
--
-- A check of a password takes tens of milliseconds, so it is done once: what was found out is
-- remembered under an HMAC of name, password and hash, with a key that was drawn when the server
-- began; that a password is right is told to the other workers, too. What is remembered costs no
-- look at the limit of failures either. Requests that come meanwhile with the same credentials wait
-- for the same check.

local checks = require("moongate.auth.checks")
local clock = require("moongate.base.clock")
local decision = require("moongate.decision")
local describe = require("moongate.base.describe")
local fs = require("moongate.base.fs")
local hash = require("moongate.hash")
local headers = require("moongate.headers")
local headers_of = require("moongate.decision.headers")
local htpasswd = require("moongate.auth.htpasswd")
local limit = require("moongate.limit")
local moongate = require("moongate")
local random = require("moongate.random")
local registry = require("moongate.route.registry")
local remembered = require("moongate.auth.remembered")
local suggest = require("moongate.base.suggest")
local trace = require("moongate.decision.trace")
local units = require("moongate.base.units")

local M = {}

local MOST_REMEMBERED = 10000 -- twice as many at most
local WRONG_TIME = 60 -- seconds that a wrong password is known to be wrong
local MOST_BYTES = 1024 -- of a name and its password
local LOOK_TIME = 1 -- seconds between two looks at the file

--- The key in a request's ctx of who has logged in.
M.USER = {}

---@class moongate.auth.Basic
local Basic = {}

function Basic.__index(_, name)
  local method = Basic[name]
  if method == nil and not decision.is_key(name) then
    error(("auth.basic: there is no method '%s'%s"):format(suggest.name(name),
      suggest.hint(name, { "wrap" })), 2)
  end
  return method
end

-- The users ---------------------------------------------------------------------------------------

--- Sets the users of the file. Names that the file does not have are checked against a hash of the
--- same kind, so that the time of an answer does not tell who is.
local function set_users(self, users)
  self.users = users
  local _, any = next(users)
  self.unknown_hash = any or "{SHA}2jmj7l5rSw0yVb/vlWAYkK/YBwk="
end

--- Reads the file again where it has changed. What is no good changes nothing.
local function refresh(self, now)
  self.looked = now
  local stamp = fs.stamp(self.file)
  if stamp == self.stamp then
    return
  end
  self.stamp = stamp
  local users, problem = htpasswd.read(self.file)
  if users then
    set_users(self, users)
  else
    moongate.log("error", "%s: auth.basic: %s; the logins stay as they were", self.source, problem)
  end
end

-- What a request says -----------------------------------------------------------------------------

--- Name and password of a request; nil where there are none, or what is there is no such thing.
local function credentials(req)
  local coded = (req.headers.authorization or ""):match("^[Bb][Aa][Ss][Ii][Cc] +([%w+/=]+)$")
  local text = coded and #coded <= 2 * MOST_BYTES and hash.unbase64(coded)
  if not text or #text > MOST_BYTES or text:find("%c") then
    return nil
  end
  return text:match("^([^:]+):(.*)$")
end

-- Failures ----------------------------------------------------------------------------------------

--- Counts a failure of a client before it is one, so that many guesses at once are as many.
---@return number|nil seconds to wait, where there were too many already
---@return boolean|nil suspect others of its logins have failed lately
local function count_failure(self, client, now)
  local high = now + self.span
  local full, reason, at = self.shared():take("failed " .. client, self.gap, now, high, self.life)
  if full then
    return nil, full - now > 1.5 * self.gap
  elseif reason == "too much" then
    return at + self.gap - high
  end
  if now - self.said > 10 then
    self.said = now
    moongate.log("error", "%s: auth.basic: failed logins can't be counted: %s", self.source, reason)
  end
  return nil, true
end

--- It was none.
local function forgive(self, client, now)
  self.shared():take("failed " .. client, -self.gap, now, math.huge, self.life)
end

-- What is known -----------------------------------------------------------------------------------

--- Notes what was found out. That a password is right holds for all workers.
local function remember(self, key, right, now)
  local till = now + (right and self.remember or WRONG_TIME)
  self.known:set(key, right, till)
  if right and self.remember > 0 then
    self.shared():set("right " .. key, till, self.remember)
  end
end

--- What is known: by this worker, or by another one.
local function recall(self, key, now)
  local right = self.known:get(key, now)
  if right == nil then
    local till = self.shared():get("right " .. key)
    if till and till > now then
      self.known:set(key, true, till)
      return true
    end
  end
  return right
end

-- Checks ------------------------------------------------------------------------------------------

local function sha1_fits(password, known)
  return hash.equal("{SHA}" .. hash.sha1(password, "base64"), known)
end

--- Has a password checked, or waits for who does.
---@return boolean|nil right nil: it can't be said
---@return number|nil seconds after which to come again
---@return integer|nil status where it can't be said
local function check(self, req, key, password, known, is_user)
  local now = clock()
  local pending = self.pending[key]
  if not pending then
    local client = self.prefix .. self.key(req)
    local seconds, suspect = count_failure(self, client, now)
    if seconds then
      return nil, seconds, 429
    end
    pending = { password = password, hash = known, gates = {} }
    function pending.finish(done)
      local at = clock()
      self.pending[key] = nil
      if done.right ~= nil then
        done.right = done.right and is_user
        remember(self, key, done.right, at)
      else
        moongate.log("error", "%s: auth.basic: a password can't be checked: %s", self.source,
          done.problem)
      end
      if done.right ~= false then
        forgive(self, client, at)
      end
    end
    if not checks.add(pending, suspect) then
      forgive(self, client, now)
      return nil, 2, 503
    end
    self.pending[key] = pending
  end
  checks.wait(pending)
  if pending.right == nil then
    return nil, 2, 503
  end
  return pending.right
end

--- Is it the password of that name?
---@return boolean|nil right
---@return number|nil seconds
---@return integer|nil status
local function verify(self, req, name, password)
  local now = clock()
  if self.file and now - self.looked >= LOOK_TIME then
    refresh(self, now)
  end
  local user = self.users[name]
  local known = user or self.unknown_hash
  if moongate.worker == 0 then -- explain and test: no other request waits
    local right = known:byte() == 123 and sha1_fits(password, known)
      or known:byte() ~= 123 and checks.now(password, known)
    return user ~= nil and right
  end
  local key = hash.hmac("sha256", self.secret(),
    ("%s\n%s\n%s"):format(name, user or "", password))
  local right = recall(self, key, now)
  if right ~= nil then
    return right
  elseif known:byte() ~= 123 then -- "{"
    return check(self, req, key, password, known, user ~= nil)
  end
  -- A digest that takes no time; what is slow is the limit.
  local client = self.prefix .. self.key(req)
  local seconds = count_failure(self, client, now)
  if seconds then
    return nil, seconds, 429
  end
  right = sha1_fits(password, known) and user ~= nil
  remember(self, key, right, now)
  if right then
    forgive(self, client, now)
  end
  return right
end

-- The guard ---------------------------------------------------------------------------------------

--- The answer to a client that may try again after so many seconds (RFC 9110 §10.2.3).
local function later(status, seconds)
  return { status = status, headers = {
    ["Retry-After"] = ("%d"):format(math.max(1, math.ceil(seconds))),
  } }
end

---@param req table
---@return table|nil decision of a refusal; nil: it may pass
function Basic:__call(req)
  local name, password = credentials(req)
  local right, seconds, status
  if name then
    right, seconds, status = verify(self, req, name, password)
  end
  if right then
    req.ctx[M.USER] = name
    return nil
  end
  trace.decided(req, self.rule)
  return seconds and later(status, seconds) or self.answer
end

--- A decision whose application is told who it is: REMOTE_USER, which the access log shows, too.
local function for_user(d, name)
  if type(d) ~= "table" or not d.backend then
    return d
  end
  local copy, params = {}, { REMOTE_USER = name, AUTH_TYPE = "Basic" }
  for key, value in pairs(d) do
    copy[key] = value
  end
  for key, value in pairs(d.params or {}) do
    params[key] = value
  end
  copy.params = params
  return copy
end

--- A handler behind the guard.
---@param handler table|fun(req: table, ...): table|nil a decision, a function or a router
---@return fun(req: table, ...): table|nil
function Basic:wrap(handler)
  local decide, problem = headers.as_function(handler)
  if problem then
    error("auth.basic: wrap: " .. problem, 2)
  end
  return function(req, ...)
    return self(req) or for_user(decide(req, ...), req.ctx[M.USER])
  end
end

-- Making one --------------------------------------------------------------------------------------

local KEYS = {
  file = true, users = true, realm = true, remember = true, failures = true, key = true,
  answer = true,
}

--- `users`: a table from names to hashes.
local function users_problem(users)
  for name, value in pairs(users) do
    local problem = type(name) ~= "string" and "expected names, got " .. describe(name)
      or name:find("[%c:]") and "a name has no ':'" or htpasswd.hash_problem(value)
    if problem then
      return ("users: %s%s"):format(type(name) == "string" and suggest.name(name) .. ": " or "",
        problem)
    end
  end
  return nil
end

---@return string|nil problem
local function problem_of(options)
  local wrong = suggest.options_problem(options, KEYS)
  if wrong then return wrong end
  local answer = options.answer
  if (options.file == nil) == (options.users == nil) then
    return "expected one of 'file' (as htpasswd makes it) and 'users' (a table from names to "
      .. "hashes)"
  elseif options.file ~= nil and (type(options.file) ~= "string" or options.file:byte() ~= 47) then
    return "file: expected an absolute path, got " .. describe(options.file)
  elseif options.users ~= nil and type(options.users) ~= "table" then
    return "users: expected a table from names to hashes, got " .. describe(options.users)
  elseif options.realm ~= nil and (type(options.realm) ~= "string" or options.realm:find('[%c"\\]'))
  then
    return "realm: expected a text without quotes, got " .. describe(options.realm)
  elseif options.remember ~= nil and not units.duration(options.remember) then
    return ("remember: expected %s, got %s"):format(units.DURATION, describe(options.remember))
  elseif options.failures ~= nil and not units.rate(options.failures) then
    return ("failures: expected %s, got %s"):format(units.RATE, describe(options.failures))
  elseif options.key ~= nil and type(options.key) ~= "function" then
    return "key: expected a function of the request, got " .. describe(options.key)
  elseif answer ~= nil then
    local problem = decision.problem(answer)
    return problem and "answer: " .. problem or nil
  end
  return options.users and users_problem(options.users) or nil
end

--- Whose failures are counted: what `key` says, as a text of bounded length.
local function key_of(self, fn)
  return function(req)
    local key = fn(req)
    if type(key) ~= "string" and type(key) ~= "number" then
      error(("%s: auth.basic: the function for 'key': expected a text, got %s"):format(self.source,
        describe(key)), 0)
    end
    return tostring(key):sub(1, 200)
  end
end

--- What fn returns, called once.
local function once(fn)
  local value
  return function()
    value = value or fn()
    return value
  end
end

---@param options table see docs/library.md
---@param place string file:line where the route makes it
---@return moongate.auth.Basic|nil
---@return string|nil problem
function M.new(options, place)
  local problem = problem_of(options)
  local users = not problem and options.users or nil
  if not problem and options.file then
    users, problem = htpasswd.read(options.file)
  end
  if problem then
    return nil, problem
  end
  local self = setmetatable({
    source = place, file = options.file or false, looked = -math.huge, said = -math.huge,
    known = remembered.new(MOST_REMEMBERED), pending = {},
    rule = trace.known({ text = "auth.basic", source = place }),
    remember = units.duration(options.remember or "5m"),
    prefix = (options.file or place):match("[^/]*$"):sub(-60) .. " ",
    shared = once(function() return moongate.shared("moongate.auth") end), stamp = false,
    users = false,
  }, Basic)
  local count, seconds = units.rate(options.failures or "20/m")
  self.gap = seconds / count
  self.span = math.max(1, math.floor(count)) * self.gap + 1e-6
  self.life = 2 * self.span + 1
  self.secret = once(function()
    self.shared():add("secret", random.hex(32)) -- the first one counts
    return self.shared():get("secret") or random.hex(32)
  end)
  self.key = key_of(self, options.key or limit.address)
  self.stamp = options.file and fs.stamp(options.file) or false
  set_users(self, users)
  self.answer = {}
  for key, value in pairs(options.answer or { status = 401 }) do
    self.answer[key] = value
  end
  self.answer.headers = headers_of.merged({ ["WWW-Authenticate"] =
    ('Basic realm="%s", charset="UTF-8"'):format(options.realm or "login") }, self.answer.headers)
  registry.add(self.answer, place, "auth.basic: answer")
  registry.start(self.shared)
  return self
end

return M
