-- moongate.health owns what a route may know of its backends: is one up, what are its servers
-- doing, and what answers while a whole one is down. Called by routes.
--
-- Up is a backend to which a request may go with some hope: one of its servers passes its health
-- checks and has not failed too often; or it has, and the time has come to try it again, so that
-- a backend without health checks comes back.

local clock = require("moongate.base.clock")
local describe = require("moongate.base.describe")
local headers = require("moongate.headers")
local moongate = require("moongate")
local registry = require("moongate.route.registry")
local suggest = require("moongate.base.suggest")
local trace = require("moongate.decision.trace")
local units = require("moongate.base.units")

local has_core, core = pcall(require, "moongate.core")

local M = {}

local FIRST_LOOK, LAST_LOOK = 0.05, 0.5 -- seconds between two looks

local ask = has_core and rawget(core, "backend_is_up") or function() end
local tell = has_core and rawget(core, "backend") or function() end

-- What specs say of backends where no server runs.
local assumed = setmetatable({}, { __mode = "k" })

--- The backend of that name in the settings of the route.
---@return table|nil backend
---@return string|nil problem
local function find(name)
  if not registry.settings then
    return nil, "backends can be asked about in hooks, not while the route is loaded"
  elseif type(name) ~= "string" then
    return nil, "expected the name of a backend, got " .. describe(name)
  end
  local known = {}
  for _, backend in ipairs(registry.settings.backends) do
    if backend.name == name then
      return backend
    end
    known[backend.name] = true
  end
  return nil, ("there is no backend '%s'%s"):format(suggest.name(name), suggest.hint(name, known))
end

--- Is it up? Without a running server what a spec has said, else true.
local function is_up(name)
  local up = ask(name)
  if up == nil then
    local said = assumed[registry.starts]
    return not said or said[name] ~= false
  end
  return up
end

--- May requests go to a backend with some hope?
---@param backend string its name
---@return boolean
function M.up(backend)
  local up = type(backend) == "string" and ask(backend)
  if up then
    return true
  end
  local _, problem = find(backend)
  if problem then
    error("health.up: " .. problem, 2)
  end
  return is_up(backend)
end

--- A backend and its servers as they are now.
---@param backend string its name
---@return table state { name, up, held, queued, max_queue, servers }
function M.state(backend)
  local known, problem = find(backend)
  if not known then
    error("health.state: " .. problem, 2)
  end
  local state = tell(backend)
  if state then
    return state
  end
  state = { name = backend, up = is_up(backend), held = false, queued = 0, max_queue = 0,
    servers = {} }
  for i, server in ipairs(known.servers) do
    state.servers[i] = { address = server.address, up = state.up }
  end
  return state
end

--- Waits until a backend is up. Where hooks may wait.
---@param backend string its name
---@param timeout number|string how long at most
---@return boolean up false: the time is over
function M.wait(backend, timeout)
  local _, problem = find(backend)
  local seconds = units.duration(timeout)
  if not problem and not seconds then
    problem = ("expected %s as second argument, got %s"):format(units.DURATION, describe(timeout))
  end
  if problem then
    error("health.wait: " .. problem, 2)
  end
  local deadline, pause = clock() + seconds, FIRST_LOOK
  while not is_up(backend) do
    local left = deadline - clock()
    if left <= 0 then
      return false
    end
    moongate.sleep(math.min(pause, left))
    pause = math.min(pause * 1.5, LAST_LOOK)
  end
  return true
end

--- Where no server runs, as in specs: what `up` says of a backend of the route loaded last.
---@param backend string its name
---@param up boolean
function M.assume(backend, up)
  local _, problem = find(backend)
  if not problem and type(up) ~= "boolean" then
    problem = "expected true or false as second argument, got " .. describe(up)
  elseif not problem and ask(backend) ~= nil then
    problem = "a server runs here, which knows better; this is for specs"
  end
  if problem then
    error("health.assume: " .. problem, 2)
  end
  local said = assumed[registry.starts] or {}
  assumed[registry.starts] = said
  said[backend] = up
end

--- The backend that a decision sends its request to; nil: it does not need one, as far as it says.
local function backend_of(d)
  while type(d) == "table" and d.backend == nil and type(d.try) == "table" do
    d = d.try[#d.try]
  end
  return type(d) == "table" and d.backend or nil
end

---@class moongate.health.Failover
---@field handlers (fun(req: table, ...): table|nil)[]
---@field rules moongate.Rule[] of each
---@field count integer

--- The first handler from `from` on whose decision needs no backend that is down.
---@param self moongate.health.Failover
---@param from integer
---@return table|nil decision
---@return integer|nil at which handler's it is; nil where there is none
local function first_up(self, from, req, ...)
  for i = from, self.count do
    local d = self.handlers[i](req, ...)
    local backend = backend_of(d)
    if type(backend) ~= "string" or ask(backend) or is_up(backend) then
      return d, i
    end
  end
  return nil
end

--- A request has failed: may another handler answer it? Only where no server could be connected
--- to, so that nothing is done twice.
local function rescue(self, req, err)
  local at = req.ctx[self]
  if not at or err.kind ~= "connect" then
    return nil
  end
  local d, found = first_up(self, at + 1, req)
  if found then
    req.ctx[self] = found
    trace.decided(req, self.rules[found])
  end
  return d
end

--- A handler that answers by the first of several whose backend is up: a site, then a spare one,
--- or a page at the end.
---@param ... any handlers: decisions, functions, routers
---@return fun(req: table, ...): table|nil
function M.failover(...)
  local place = trace.place(2)
  local self = { handlers = {}, rules = {}, count = select("#", ...) }
  if self.count < 2 then
    error("health.failover: expected two handlers at least, such as a site and a page, got "
      .. (self.count == 0 and "none" or "one"), 2)
  end
  for i = 1, self.count do
    local handler = (select(i, ...))
    local decide, problem = headers.as_function(handler)
    if problem then
      error(("health.failover: handler %d: %s"):format(i, problem), 2)
    elseif decide ~= handler then
      registry.add(handler, place, ("failover: handler %d"):format(i))
    end
    self.handlers[i] = decide
    self.rules[i] = trace.known({ text = ("failover %d of %d"):format(i, self.count),
      source = place })
  end
  registry.rescue(function(req, err)
    return rescue(self, req, err)
  end)
  return function(req, ...)
    local d, at = first_up(self, 1, req, ...)
    if not at then -- all are down: the first one is tried
      d, at = self.handlers[1](req, ...), 1
    end
    req.ctx[self] = at
    if at > 1 then
      trace.decided(req, self.rules[at])
    end
    return d
  end
end

return suggest.strict(M, "moongate.health")
