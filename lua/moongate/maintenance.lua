-- moongate.maintenance owns the page that stands in the place of a site while it is worked on: on
-- and off at run time, and not for everybody. Called by routes: what `new` makes is a function from
-- request to the decision, or to nil where the site is open.

local decision = require("moongate.decision")
local describe = require("moongate.base.describe")
local headers_of = require("moongate.decision.headers")
local networks = require("moongate.base.networks")
local registry = require("moongate.route.registry")
local runtime = require("moongate.runtime")
local suggest = require("moongate.base.suggest")
local trace = require("moongate.decision.trace")
local units = require("moongate.base.units")

local M = {}

local KEYS = {
  name = true, page = true, allow = true, except = true, retry_after = true, on = true,
}
local WORDS = { on = true, off = false }

local function read(text)
  return WORDS[text], '"on" or "off"'
end

--- `except`: Lua patterns that can be used.
local function except_problem(except)
  for _, pattern in ipairs(type(except) == "table" and except or { except }) do
    if type(pattern) ~= "string" or not pcall(string.find, "/", pattern) then
      return ("except: %s is not a Lua pattern"):format(describe(pattern))
    end
  end
  return nil
end

local function page_problem(page)
  if type(page) == "string" then
    local problem = page:byte() ~= 47 and "expected an absolute path, got " .. describe(page)
      or decision.problem({ file = page, status = 503 })
    return problem and "page: " .. problem or nil
  elseif page ~= nil then
    local problem = type(page) ~= "table" and "expected a path or a decision, got "
      .. describe(page) or decision.problem(page)
    return problem and "page: " .. problem or nil
  end
  return nil
end

---@return string|nil problem
local function problem_of(options)
  local wrong = suggest.options_problem(options, KEYS)
  if wrong then return wrong end
  local name, retry = options.name, options.retry_after
  if type(name) ~= "string" or not name:match("^[%w_-]+$") then
    return "name: expected letters, digits, '_' and '-', by which `moongate set maintenance.NAME "
      .. "on` finds it, got " .. describe(name)
  elseif options.on ~= nil and type(options.on) ~= "boolean" then
    return "on: expected true or false, got " .. describe(options.on)
  elseif retry ~= nil and (units.duration(retry) or 0) < 1 then
    return ("retry_after: expected %s, of a second at least, got %s"):format(units.DURATION,
      describe(retry))
  elseif options.allow ~= nil and type(options.allow) ~= "table"
    and type(options.allow) ~= "string" then
    return "allow: expected addresses and networks, got " .. describe(options.allow)
  end
  return except_problem(options.except) or page_problem(options.page)
end

--- The decision that answers while it is on.
local function answer_of(options)
  local page = options.page
  local d = {}
  if type(page) == "string" then
    d.file, d.status = page, 503
  else
    for key, value in pairs(page or { status = 503 }) do
      d[key] = value
    end
  end
  local retry = options.retry_after and units.duration(options.retry_after)
  d.headers = headers_of.merged({
    ["Retry-After"] = retry and ("%d"):format(retry) or nil, ["Cache-Control"] = "no-store",
  }, d.headers)
  return d
end

--- A page for the time of maintenance.
---@param options table name, page, allow, except, retry_after, on: see docs/library.md
---@return fun(req: table): table|nil decide
function M.new(options)
  local problem = problem_of(options)
  local has, value
  if not problem and options.allow ~= nil then
    local allow = type(options.allow) == "table" and options.allow or { options.allow }
    has, problem = networks.new(allow)
    problem = problem and "allow: " .. problem
  end
  if not problem then
    value, problem = runtime.new("maintenance." .. options.name, options.on and "on" or "off", read)
  end
  if problem then
    error("maintenance.new: " .. problem, 2)
  end
  local place = trace.place(2)
  local rule = trace.known({ text = "maintenance." .. options.name, source = place })
  local except = type(options.except) == "table" and options.except or { options.except }
  local d = answer_of(options)
  registry.add(d, place, "maintenance: page")
  return function(req)
    if not value:get() or has and has(req.ip) then
      return nil
    end
    for i = 1, #except do
      if string.find(req.path, except[i]) then
        return nil
      end
    end
    trace.decided(req, rule)
    return d
  end
end

return suggest.strict(M, "moongate.maintenance")
