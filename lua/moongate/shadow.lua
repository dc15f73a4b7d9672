-- moongate.shadow owns copies of requests for a backend that is to take the place of the one that
-- serves: which requests, when, how many at a time, and that nobody waits for them. Called by
-- routes: what `wrap` makes is a handler.
--
-- A visitor is served as if there were no copy. Behind the answer the same request goes to the
-- other backend, and what comes back is compared with what the visitor got, and dropped. Where
-- something differs the other backend is asked once more: a page that differs from itself says
-- nothing. What was found is counted by moongate.shadow.report.

local compare = require("moongate.shadow.compare")
local describe = require("moongate.base.describe")
local headers = require("moongate.headers")
local health = require("moongate.health")
local messages = require("moongate.base.messages")
local moongate = require("moongate")
local registry = require("moongate.route.registry")
local report = require("moongate.shadow.report")
local runtime = require("moongate.runtime")
local suggest = require("moongate.base.suggest")
local trace = require("moongate.decision.trace")
local units = require("moongate.base.units")

local M = {}

local random = math.random

local PERCENTAGE = '"10%", "0.5%" or "off"'
local HEADERS = { "Content-Type", "Location", "Cache-Control" }
local CONCURRENCY_MOST = 64
local HOLD_MORE = 5 -- seconds that a place is held beyond what two answers may take

--- What may be done twice (RFC 9110 §9.2.1).
local SAFE = { GET = true, HEAD = true, OPTIONS = true }

--- Failures that say nothing about a script: it has not been run.
local NOT_RUN = { connect = true, busy = true, ["the application did not serve it"] = true }

--- A share as a number from 0 to 1.
---@return number|nil share
---@return string expected
local function read_share(text)
  if text == "off" then
    return 0, PERCENTAGE
  end
  local percent = tonumber(text:match("^(%d+%.?%d*)%%$"))
  return percent and percent <= 100 and percent / 100 or nil, PERCENTAGE
end

---@class moongate.shadow.Shadow
---@field name string
---@field to string a backend
---@field sample moongate.runtime.Value
---@field concurrency integer
---@field timeout number seconds
---@field headers string[]
---@field cookies boolean|table<string, boolean> which may go along
---@field when nil|fun(req: table): boolean|nil
---@field source string file:line

---@class moongate.shadow.Job
---@field slot string
---@field params table<string, string>
---@field ini table|nil
---@field request string
---@field old moongate.shadow.Answer
---@field first_byte number|nil seconds

-- Which requests ---------------------------------------------------------------------------------

--- Has a request nothing that belongs to a visitor? PHP locks a session while a page with its
--- cookie is made, so a copy with it could make the visitor's next page wait.
local function is_nobodys(self, req)
  if self.cookies == true then
    return true
  elseif req.headers.Authorization then
    return false
  elseif not req.headers.Cookie then
    return true
  elseif not self.cookies then
    return false
  end
  local harmless = false -- where no name can be read here the application may read one
  for name in req.cookies:each() do
    harmless = self.cookies[name] or false
    if not harmless then
      break
    end
  end
  return harmless
end

--- The decision that asks an application, where there is one.
local function asking(d)
  while type(d) == "table" and d.backend == nil and type(d.try) == "table" do
    d = d.try[#d.try]
  end
  return type(d) == "table" and d.backend and d or nil
end

--- Notes that a request is to be copied when it has ended.
local function pick(self, req, d)
  if not is_nobodys(self, req) then
    report.skipped(self.name, "cookies or a login of the visitor's")
  elseif not self.when or self.when(req) then
    req:observe()
    req.ctx[self] = { ini = d.ini }
  end
end

-- The copy ---------------------------------------------------------------------------------------

--- The word that a reason begins with.
local function kind_of(reason)
  return reason:match("^[^:(]*[^:( ]")
end

---@return moongate.shadow.Answer|nil answer
---@return string|nil reason
---@return boolean|nil not_run the script has not been run
local function ask(self, job)
  local ok, answer, reason = pcall(moongate.fastcgi, self.to, job.params, nil,
    { timeout = self.timeout, digest = true, ini = job.ini, last = true })
  if not ok then -- such as settings of PHP that this backend does not name
    return nil, (tostring(answer):gsub("^.-fastcgi: ", "")), true
  end
  return answer, reason, reason and NOT_RUN[kind_of(reason)]
end

--- What the copy has shown.
local function tell(self, job, answer, again)
  local findings, varies = compare.findings(job.old, answer, again, self.headers, messages)
  report.compared(self.name, {
    script = job.params.SCRIPT_FILENAME or job.params.SCRIPT_NAME or "?", request = job.request,
    findings = findings, varies = varies, old = job.first_byte, new = answer.first_byte,
  })
end

--- The other backend has given no answer.
local function tell_failure(self, job, reason, not_run)
  if not_run then
    report.skipped(self.name, "the other backend: " .. reason)
    return
  end
  report.compared(self.name, {
    script = job.params.SCRIPT_FILENAME or job.params.SCRIPT_NAME or "?", request = job.request,
    findings = { { kind = "failed", text = "no answer: " .. kind_of(reason), detail = reason } },
  })
end

--- Sends a copy, and once more where that is worth it. Runs beside the requests.
---@param self moongate.shadow.Shadow
---@param job moongate.shadow.Job
local function copy(self, job)
  local answer, reason, not_run = ask(self, job)
  local again
  if answer and compare.may_vary(job.old, answer, self.headers) then
    again, reason = ask(self, job)
  end
  -- PHP does not notice the end of the connection: the place counts until its time is over.
  if not (reason and kind_of(reason) == "timeout") then
    report.give_back(job.slot)
  end
  if answer then
    tell(self, job, answer, again)
  else
    tell_failure(self, job, reason, not_run)
  end
end

--- What the other backend is sent.
---@return table|nil params
---@return string|nil problem
local function params_for(self, req)
  local params, problem = req:params_for(self.to)
  if not params then
    return nil, problem
  end
  params.MOONGATE_SHADOW = self.name
  local own = registry.settings.hooks.on_params
  if own then
    setmetatable(params, { __index = { each = function(all) return pairs(all) end } })
    local ok, message = pcall(own, req, params)
    if not ok then
      return nil, "on_params: " .. tostring(message)
    end
  end
  return params
end

--- Why the other backend gets no copy now.
local function obstacle(self, log)
  if log.error or log.status == 499 then
    return "the visitor's answer was not whole"
  elseif log.backend == self.to then
    return "it was served by the other backend"
  end
  local state = health.state(self.to)
  return not state.up and "the other backend is down"
    or state.queued > 0 and "the other backend is busy" or nil
end

--- What is kept of the visitor's answer. It may have been replaced: then its body is not known.
---@return moongate.shadow.Answer
local function kept(req, log, seen)
  local has_body = seen.whole and req.method ~= "HEAD"
  return {
    status = seen.status, headers = seen.headers,
    stderr = log.app_status and seen.stderr or nil, -- else the application goes on
    length = has_body and seen.length or nil, crc32 = has_body and seen.crc32 or nil,
  }
end

--- A request has ended: the visitor has the answer.
local function ended(self, req, log)
  local seen = log.observed
  local note = seen and req.ctx[self]
  if not note or req.internal then
    return
  end
  local problem, params, slot = obstacle(self, log), nil, nil
  if not problem then
    slot = report.take(self.name, self.concurrency, 2 * self.timeout + HOLD_MORE)
    problem = not slot and "as many copies as may be were under way" or nil
  end
  if not problem then
    params, problem = params_for(self, req)
  end
  if problem then
    report.skipped(self.name, problem)
    if slot then
      report.give_back(slot)
    end
    return
  end
  local attempts = log.attempts
  local last = attempts[#attempts]
  moongate.spawn(copy, self, {
    slot = slot, params = params, ini = note.ini, old = kept(req, log, seen),
    first_byte = last and last.first_byte > 0 and last.first_byte or nil,
    request = ("%s %s%s"):format(log.method, log.host or "", log.uri),
  })
end

-- Making one -------------------------------------------------------------------------------------

local KEYS = {
  name = true, to = true, sample = true, concurrency = true, timeout = true, headers = true,
  cookies = true, when = true,
}

--- A list of names, as a set.
---@return table<string, boolean>|nil set
local function names_of(list)
  if type(list) ~= "table" then
    return nil
  end
  local set, count = {}, 0
  for _, name in pairs(list) do
    count = count + 1
    if type(name) ~= "string" or name == "" then
      return nil
    end
    set[name] = true
  end
  return count == #list and set or nil
end

local function number_problem(options)
  local most, timeout = options.concurrency, options.timeout
  if most ~= nil and not (type(most) == "number" and most % 1 == 0 and most >= 1
    and most <= CONCURRENCY_MOST) then
    return ("concurrency: expected a whole number from 1 to %d, got %s"):format(CONCURRENCY_MOST,
      describe(most))
  elseif timeout ~= nil and (units.duration(timeout) or 0) <= 0 then
    return ("timeout: expected %s, got %s"):format(units.DURATION, describe(timeout))
  end
  return nil
end

---@return string|nil problem
local function problem_of(options)
  local sample, cookies = options.sample, options.cookies
  if type(options.name) ~= "string" or not options.name:match("^[%w_-]+$")
    or #options.name > 60 then
    return "name: expected up to 60 letters, digits, '_' and '-', by which `moongate set "
      .. "shadow.NAME 10%` finds it, got " .. describe(options.name)
  elseif type(options.to) ~= "string" then
    return "to: expected the name of a backend, got " .. describe(options.to)
  elseif sample ~= nil and not (type(sample) == "string" and read_share(sample)) then
    return ("sample: expected %s, got %s"):format(PERCENTAGE, describe(sample))
  elseif options.headers ~= nil and not names_of(options.headers) then
    return "headers: expected a list of names, got " .. describe(options.headers)
  elseif cookies ~= nil and type(cookies) ~= "boolean" and not names_of(cookies) then
    return "cookies: expected true, false or a list of names, got " .. describe(cookies)
  elseif options.when ~= nil and type(options.when) ~= "function" then
    return "when: expected a function of the request, got " .. describe(options.when)
  end
  return number_problem(options)
end

--- A handler that answers as another one does, and sends copies of some of its requests to another
--- backend.
---@param handler table|fun(req: table, ...): table|nil
---@param options table name, to, sample, concurrency, timeout, headers, cookies, when: see
--- docs/library.md
---@return fun(req: table, ...): table|nil
function M.wrap(handler, options)
  local source = trace.place(2)
  local decide, problem = headers.as_function(handler)
  problem = problem or suggest.options_problem(options, KEYS) or problem_of(options)
  local sample
  if not problem then
    sample, problem = runtime.new("shadow." .. options.name, options.sample or "1%", read_share)
  end
  if problem then
    error("shadow.wrap: " .. problem, 2)
  elseif decide ~= handler then
    registry.add(handler, source, "shadow: the handler")
  end
  local self = {
    name = options.name, to = options.to, sample = sample, source = source, when = options.when,
    concurrency = options.concurrency or 2, timeout = units.duration(options.timeout or "10s"),
    headers = options.headers or HEADERS,
    cookies = type(options.cookies) == "table" and names_of(options.cookies) or options.cookies,
  }
  registry.add({ backend = self.to }, source, "shadow: to")
  report.declare(self.name, self.to)
  registry.at_end(function(req, log) ended(self, req, log) end)
  return function(req, ...)
    local d = decide(req, ...)
    local share = SAFE[req.method] and sample:get() or 0
    if share > 0 and random() < share and not req.internal then
      local asked = asking(d)
      if asked then
        pick(self, req, asked)
      end
    end
    return d
  end
end

return suggest.strict(M, "moongate.shadow")
