-- moongate.tenants owns many sites of one shape: which tenant a host belongs to, by a table, a
-- function or a file, and what is special about each. Called by routes: `tenants.site` makes a
-- function from request to decision. What a tenant's site decides is moongate.php.site's.
--
-- A host is looked up in a table, its tenant's values are made when the table is: a request costs
-- the same whether there are ten tenants or a hundred thousand. A file is read again when it has
-- changed, beside the requests and a few records at a time; the new table takes the place of the
-- old one when it is whole and valid.

local clock = require("moongate.base.clock")
local decision = require("moongate.decision")
local describe = require("moongate.base.describe")
local filesystem = require("moongate.base.fs")
local limit = require("moongate.limit")
local moongate = require("moongate")
local record_of = require("moongate.tenants.record")
local registry = require("moongate.route.registry")
local site_of = require("moongate.php.site")
local site_options = require("moongate.php.options")
local source_of = require("moongate.tenants.source")
local suggest = require("moongate.base.suggest")
local trace = require("moongate.decision.trace")
local units = require("moongate.base.units")

local M = {}

local find, sub = string.find, string.sub

local LOOK_TIME = 0.25 -- seconds between two looks at a file
local LOAD_TIME = 3 -- seconds for reading while the route is loaded, of the ten that it has
local REMEMBERED = 10000 -- hosts in each of two halves
local MISDIRECTED = { status = 421 }

-- Own keys, beside those of php.site.
local OWN = { tenants = true, default = true, remember = true }

--- moongate.types is compared with them.
M.KEYS = OWN

-- Hosts ------------------------------------------------------------------------------------------

---@class moongate.tenants.Index hosts and their tenants
---@field exact table<string, table> from host to values
---@field wild table<string, table> from ".example" to values
---@field aliases table<string, string> hosts that stand for another one, until the index is whole
---@field has_wild boolean
---@field count integer hosts
---@field backends table<string, boolean> that tenants name

---@return moongate.tenants.Index
local function new_index()
  return { exact = {}, wild = {}, aliases = {}, has_wild = false, count = 0, backends = {} }
end

--- A host as requests have it; with "*." in front as "." and the rest.
---@return string|nil host
---@return boolean|nil is_wild
local function host_of(text)
  local host = text:lower():gsub("%.$", "")
  local below = host:match("^%*(%..+)$")
  local name = below and below:sub(2) or host
  local fits = name:match("^[%w_-][%w_.-]*$") and not name:find("..", 1, true)
    or not below and name:match("^%[[%x:.]+%]$")
  return fits and (below or host) or nil, below ~= nil
end

--- Puts a tenant under its hosts, which blanks lie between.
---@return string|nil problem
local function add(index, hosts, record, options)
  local of_kind, name = {}, nil
  for text in hosts:gmatch("%S+") do
    local host, is_wild = host_of(text)
    if not host then
      return ("'%s' is neither a host nor \"*.\" and a host"):format(suggest.name(text))
    end
    local places = is_wild and index.wild or index.exact
    if places[host] or index.aliases[text:lower()] then
      return ("the host '%s' is there twice"):format(suggest.name(text))
    end
    name = name or host
    index.has_wild, index.count = index.has_wild or is_wild, index.count + 1
    if type(record) == "string" then
      if is_wild then
        return ("'%s': only a single host can stand for another one"):format(text)
      end
      index.aliases[host] = record
    else
      local values, problem = of_kind[is_wild]
      if not values then
        values, problem = record_of.values(record, name, is_wild, options)
        if not values then
          return ("%s: %s"):format(suggest.name(text), problem)
        end
        of_kind[is_wild] = values
        index.backends[values.backend] = true
      end
      places[host] = values
    end
  end
  return not name and "a tenant without a host" or nil
end

--- All are in: hosts that stand for others get their tenants.
---@return string|nil problem
local function complete(index)
  for host, target in pairs(index.aliases) do
    local values = index.exact[host_of(target) or ""]
    if not values then
      return ("%s: there is no tenant of the host '%s' for which it stands"):format(host,
        suggest.name(target))
    end
    index.exact[host] = values
  end
  index.aliases = {}
  return nil
end

--- The tenant of a host.
---@return table|nil values
---@return string|nil star what stands for "*"
local function look_up(index, host)
  local values = index.exact[host]
  if values or not index.has_wild then
    return values
  end
  local at = find(host, ".", 1, true)
  while at do
    -- From the left: the longest name comes first. The label before it must not be empty.
    values = at > 1 and index.wild[sub(host, at)]
    if values then
      return values, sub(host, 1, at - 1)
    end
    at = find(host, ".", at + 1, true)
  end
  return nil
end

-- Where tenants come from ------------------------------------------------------------------------

---@class moongate.Tenants
---@field source string file:line where the route makes it
---@field site moongate.php.site
---@field options moongate.tenants.Options
---@field index moongate.tenants.Index
---@field fallback nil|string|table|function
---@field path string|nil of the file
---@field functions nil|table<string, fun(req: table): any> values for tenants that say nothing
---@field late boolean|nil the file is too large for the loading of the route: on_start reads it
---@field ask nil|fun(host: string, req: table): table|nil
local Tenants = {}
Tenants.__index = Tenants

--- Reads the file.
---@param pause fun()
---@return moongate.tenants.Index|nil index
---@return string|nil problem
function Tenants:read(pause)
  local index = new_index()
  local problem = source_of.read(self.path, function(hosts, record)
    return add(index, hosts, record, self.options)
  end, pause)
  if not problem then
    problem = complete(index)
    problem = problem and ("%s: %s"):format(self.path, problem)
  end
  if problem then
    return nil, problem
  end
  return index
end

local function pause()
  moongate.sleep(0)
end

local TOO_LONG = {}

--- Reads the file while the route is loaded. What takes too long is left to on_start, which may
--- wait; so far as it was read it was valid.
---@return string|nil problem
function Tenants:read_first()
  local deadline = clock() + LOAD_TIME
  self.stamp = self.options.fs.stamp(self.path)
  local ok, index, problem = pcall(self.read, self, function()
    if clock() > deadline then
      error(TOO_LONG, 0)
    end
  end)
  if not ok and index ~= TOO_LONG then
    error(index, 0)
  end
  self.late = not ok or nil
  self.index = ok and index or new_index()
  return ok and problem or nil
end

--- Reads what took too long.
---@param wait fun()
function Tenants:read_late(wait)
  self.stamp = self.options.fs.stamp(self.path)
  local index, problem = self:read(wait)
  problem = problem or self:fallback_problem(index)
  if problem then
    error("tenants: " .. problem, 0)
  end
  self.index, self.late = index, nil
end

--- Is there a tenant of the host that stands for all others?
---@return string|nil problem
function Tenants:fallback_problem(index)
  if type(self.fallback) == "string" and not index.exact[self.fallback] then
    return ("default: there is no tenant of the host '%s'"):format(self.fallback)
  end
  return nil
end

--- Has the file changed? A file that is being written is left until it rests.
function Tenants:look()
  local stamp = self.options.fs.stamp(self.path)
  if stamp == self.stamp then
    self.seen = nil
    return
  elseif stamp ~= self.seen then
    self.seen = stamp
    return
  elseif stamp == "-" or stamp == "?" then
    self.stamp = stamp
    moongate.log("error", "tenants: %s is not there any more; those that were in it stay",
      self.path)
    return
  end
  local index, problem = self:read(pause)
  if self.options.fs.stamp(self.path) ~= stamp then
    return -- it has changed meanwhile: another look
  end
  self.stamp, self.seen = stamp, nil
  if index then
    self.index = index
    moongate.log("info", "tenants: %s: %d hosts", self.path, index.count)
  else
    moongate.log("error", "tenants: %s; those of before stay", problem)
  end
end

--- What the route's function says of a host.
---@return table|nil values
function Tenants:asked(host, req)
  local now = self.remember and self.time()
  local kept = now and (self.young[host] or self.old[host])
  if kept and kept.till >= now then
    return kept.values or nil
  end
  local record = self.ask(host, req)
  local values = record and self.known[record]
  if record and not values then
    local problem
    values, problem = record_of.values(record, host, false, self.options)
    if not values then
      error(("%s: tenants: the function for 'tenants': %s: %s"):format(self.source, host, problem),
        0)
    end
    self.known[record] = values
  end
  if now then
    if self.young_count >= REMEMBERED then
      self.young, self.old, self.young_count = {}, self.young, 0
    end
    self.young[host] = { values = values or false, till = now + self.remember }
    self.young_count = self.young_count + 1
  end
  return values or nil
end

-- A request ---------------------------------------------------------------------------------------

--- The limit of tenants with the same rate.
local function limit_of(self, values)
  local text = ("tenants.%s.%s"):format(tostring(values.rate):gsub("/", "-"), values.burst or "")
  local found = self.limits[text]
  if not found then
    found = limit.rate {
      name = text, rate = values.rate, burst = values.burst,
      key = function(req)
        return req.ctx[self]
      end,
    }
    self.limits[text] = found
  end
  return found
end

--- The values of a tenant whose folders have the name that stands for "*".
local function with_star(values, star)
  local own = {}
  for _, key in ipairs({ "root", "docroot" }) do
    own[key] = values[key] and values[key]:gsub("%$1", star) or nil
  end
  own.tenant = values.own_name or star
  return setmetatable(own, { __index = values })
end

--- What functions of the request say, where the tenant says nothing itself.
local function with_functions(self, values, req)
  local own = {}
  for key, value in pairs(self.functions) do
    if rawget(values, key) == nil then
      own[key] = value(req)
    end
  end
  return setmetatable(own, { __index = values })
end

--- The answer to who comes for no tenant.
function Tenants:default(req)
  local fallback = self.fallback
  if type(fallback) == "function" then
    return fallback(req)
  elseif type(fallback) == "string" then
    local values = self.index.exact[fallback]
    return values and self.site:decide(req, values) or MISDIRECTED
  end
  return fallback or MISDIRECTED
end

function Tenants:decide(req)
  local host = req.host
  local values, star
  if self.late then -- in commands, which have no on_start
    self:read_late(function() end)
  end
  if host and self.ask then
    values = self:asked(host, req)
  elseif host then
    values, star = look_up(self.index, host)
  end
  if not values then
    if trace.step then
      trace.step(("tenants: %s belongs to none"):format(host or "a request without a host"))
    end
    return self:default(req)
  end
  if star and values.starred then
    values = with_star(values, star)
  end
  if self.functions then
    values = with_functions(self, values, req)
  end
  if trace.step then
    trace.step(("tenants: %s belongs to %s"):format(host, values.tenant))
  end
  if values.rate then
    req.ctx[self] = values.tenant
    local refused = limit_of(self, values)(req)
    if refused then
      return refused
    end
  end
  return self.site:decide(req, values)
end

-- Making one -------------------------------------------------------------------------------------

--- What is wrong with the options that are not those of php.site.
local function own_problem(options)
  if type(options) ~= "table" then
    return "expected a table of options, got " .. describe(options)
  end
  local kind, fallback = type(options.tenants), options.default
  if kind ~= "table" and kind ~= "function" and kind ~= "string" then
    return "'tenants': expected a table from host to tenant, a function of the host, or a file, "
      .. "got " .. describe(options.tenants)
  elseif kind == "string" and not source_of.form(options.tenants) then
    return ("tenants: expected a file that ends in .lua, .json or .csv, got %s"):format(
      describe(options.tenants))
  elseif options.remember ~= nil and (kind ~= "function" or not units.duration(options.remember)
    or units.duration(options.remember) == 0) then
    return ("remember: expected %s, above zero, where 'tenants' is a function, got %s"):format(
      units.DURATION, describe(options.remember))
  elseif fallback ~= nil and type(fallback) ~= "string" and type(fallback) ~= "function" then
    local problem = decision.problem(fallback)
    return problem and "default: " .. problem or nil
  elseif type(fallback) == "string" and kind == "function" then
    return "default: a host can be named only where 'tenants' is a table or a file"
  end
  return nil
end

--- What is wrong with the options of php.site; what tenants say themselves may be missing.
local function site_problem(options)
  local copy = {}
  for key, value in pairs(options) do
    copy[key] = not OWN[key] and value or nil
  end
  copy.root = copy.root or "/"
  copy.backend = copy.backend or "default"
  local problem = site_options.problem(copy)
  if problem and problem:match("^unknown key") then
    local key = problem:match("^unknown key '(.-)'")
    local near = suggest.nearest(key, OWN)
    return near and ("unknown key '%s'; did you mean '%s'?"):format(key, near) or problem
  end
  for _, key in ipairs({ "root", "docroot", "backend" }) do
    if not problem and type(options[key]) == "function" then
      problem = ("%s: expected a text: what differs from tenant to tenant is theirs to say")
        :format(key)
    end
  end
  return problem
end

--- The options of the one site that all have; the values that hold where a tenant says nothing, its
--- folders, and the values that functions of the request say.
local function shared_of(options, source, fs)
  local own, values, functions = {}, {}, nil
  for key, value in pairs(options) do
    own[key] = not OWN[key] and value or nil
  end
  own = site_options.own(own, source, fs)
  if type(own.version) == "string" and own.version ~= ".php-version" then
    own.backend, own.version = own.versions[own.version], nil
  end
  for _, key in ipairs(site_options.VALUES) do
    if type(own[key]) == "function" then
      functions = functions or {}
      functions[key] = own[key]
    else
      values[key] = own[key]
    end
  end
  local folders = { root = own.root, docroot = own.docroot }
  values.root, values.docroot = nil, nil
  return own, values, folders, functions
end

--- The backends that tenants name are looked for when the route is whole.
local function register(self)
  for backend in pairs(self.index.backends) do
    registry.add({ backend = backend }, self.source, "tenants: backend")
  end
  if type(self.fallback) == "table" then
    registry.add(self.fallback, self.source, "tenants: default")
  end
end

--- The tenants that are there at load.
---@return string|nil problem
local function first_index(self, given)
  local index, problem
  if type(given) == "string" then
    problem = self:read_first()
    index = self.index
  elseif type(given) == "table" then
    index = new_index()
    for host, record in pairs(given) do
      problem = problem or type(host) ~= "string"
        and "tenants: expected hosts as keys, got " .. describe(host)
        or type(host) == "string" and add(index, host, record, self.options) or nil
    end
    problem = problem or complete(index)
  end
  self.index = index or new_index()
  return problem or not self.late and self:fallback_problem(self.index) or nil
end

--- Many sites of one shape.
---@param options table tenants, default, remember, and what php.site takes: see docs/library.md
---@param fs table|nil what looks at the disk, default moongate.base.fs
---@param time nil|fun(): number a clock, default os.time
---@return fun(req: table): table decide
--- Raises an error at the caller's line where an option, or a tenant that is there, is wrong.
function M.site(options, fs, time)
  local problem = own_problem(options) or site_problem(options)
  if problem then
    error("tenants.site: " .. problem, 2)
  end
  fs, time = fs or filesystem, time or os.time
  local source, place = debug.getinfo(2, "S").source, trace.place(2)
  local own, values, folders, functions = shared_of(options, source, fs)
  local given = options.tenants
  local self = setmetatable({
    source = place, fallback = options.default, time = time, limits = {},
    functions = functions,
    ask = type(given) == "function" and given or nil,
    path = type(given) == "string" and site_options.absolute(given, source, fs) or nil,
    remember = options.remember and units.duration(options.remember), young = {}, old = {},
    young_count = 0, known = setmetatable({}, { __mode = "k" }),
  }, Tenants)
  self.options = {
    values = values, root = folders.root, docroot = folders.docroot, versions = own.versions,
    folder_source = self.path and "@" .. self.path or source, fs = fs, meta = { __index = values },
    unseen_problem = site_options.unseen_problem(own),
  }
  problem = first_index(self, given)
  if problem then
    error("tenants.site: " .. problem, 2)
  end
  own.root = nil
  self.site = site_of.new(own, place, fs, time)
  self.site.dynamic = true -- no decision is the same for two tenants
  register(self)
  if self.path then
    registry.start(function()
      if self.late then
        self:read_late(pause)
      end
      moongate.every(LOOK_TIME, function()
        self:look()
      end)
    end)
  end
  return site_of.handler(self, "tenants.site", "tenants", place, own.always)
end

return suggest.strict(M, "moongate.tenants")
