-- moongate.router owns the choice of a handler by host, path, pattern and method. Called by routes;
-- a router is itself a handler, a function from request to decision. What is asked in which order:
--
--     use (in order) -> exact host -> longest wildcard -> exact path -> longest prefix
--         -> patterns (in order) -> methods (in order) -> default
--
-- A handler that answers nil passes the request on to the next rule that fits.

local decision = require("moongate.decision")
local describe = require("moongate.base.describe")
local registry = require("moongate.route.registry")
local suggest = require("moongate.base.suggest")
local trace = require("moongate.decision.trace")

local M = {}

local byte, find, sub = string.byte, string.find, string.sub
local decided, enter = trace.decided, trace.enter
local SLASH, DOT = 47, 46

---@class moongate.router.Rule: moongate.Rule
---@field handler table|function
---@field name string what it matches
---@field place moongate.router.Place
---@field number integer

---@class moongate.router.Place what rules made at one place of the route have in common
---@field form string of their texts
---@field source string
---@field is_function boolean their handlers are called

---@class moongate.Router
---@field longest_prefix integer bytes; longer parts of a path need not be looked at
local Router = {}

--- Methods are looked up here; a name that is none is a typing error.
function Router.__index(_, name)
  local method = Router[name]
  -- Who takes a router for a decision looks for these keys, and says so more clearly.
  if method == nil and not decision.is_key(name) then
    error(("router: there is no method '%s'%s"):format(suggest.name(name),
      suggest.hint(name, Router)), 2)
  end
  return method
end

-- A route may have a hundred thousand rules. So each has four fields, since a table with a fifth
-- one takes twice the memory, and its texts are made when they are asked for.
local Rule = {}
local fields = {
  text = function(rule) return rule.place.form:format(rule.name) end,
  source = function(rule) return rule.place.source end,
  label = function(rule)
    local label = trace.label(rule)
    rawset(rule, "label", label) -- asked for by requests
    return label
  end,
  -- as an entry of the registry
  decision = function(rule) return rule.handler end,
  what = function(rule) return "router: " .. rule.text end,
}

function Rule.__index(rule, name)
  local field = fields[name]
  return field and field(rule)
end

-- form -> source -> place, for decisions and for what is called. In a loop all is the same.
local places = { [true] = {}, [false] = {} }

local function place_of(form, source, is_function)
  local of_form = places[is_function][form] or setmetatable({}, { __mode = "v" })
  places[is_function][form] = of_form
  of_form[source] = of_form[source] or { form = form, source = source, is_function = is_function }
  return of_form[source]
end

--- A handler is a decision, a function or something callable. A decision is checked at once: it
--- will be the same for every request.
---@return moongate.router.Rule
local function new_rule(method, handler, form, name, source)
  local meta = type(handler) == "table" and getmetatable(handler)
  local is_function = type(handler) == "function"
    or (type(meta) == "table" and meta.__call ~= nil)
  if not is_function then
    local problem = type(handler) ~= "table"
      and ("expected a decision, a function or a router as handler, got %s"):format(
        describe(handler))
      or decision.problem(handler)
    if problem then
      error(("router: %s: %s"):format(type(handler) == "table" and form:format(name) or method,
        problem), 3)
    end
  end
  local rule = trace.known(setmetatable({
    handler = handler, name = name, place = place_of(form, source, is_function), number = 0,
  }, Rule))
  if not is_function then
    registry.note(rule)
  end
  return rule
end

--- What a rule says about a request it fits; further arguments are what its pattern captured.
local function apply(rule, req, ...)
  local d = rule.handler
  if rule.place.is_function then
    enter(rule.label)
    d = d(req, ...)
  end
  if d then
    decided(req, rule)
  end
  return d or nil -- `cond and { ... }` gives false, and means nil
end

--- Goes on only where a pattern matched: `start` is what string.find returned first.
local function apply_match(rule, req, start, _, ...)
  if start then
    return apply(rule, req, ...)
  end
  return nil
end

local function by_host(self, req)
  local host = req.host
  if not host then
    return nil
  end
  local rule = self.hosts[host]
  local d = rule and apply(rule, req)
  local at = 1
  while d == nil and self.has_wildcards do
    at = find(host, ".", at, true)
    if not at then
      break
    end
    -- From the left: the longest name comes first. The label before it must not be empty.
    rule = at > 1 and self.wildcards[sub(host, at)]
    d = rule and apply(rule, req, sub(host, 1, at - 1)) or nil
    at = at + 1
  end
  return d
end

local function by_path(self, req)
  local path = req.path
  local rule = self.paths[path]
  local d = rule and apply(rule, req)
  if d ~= nil or self.longest_prefix == 0 then
    return d
  end
  -- "/shop/*" holds for "/shop" too.
  if #path < self.longest_prefix then
    rule = self.prefixes[path .. "/"]
    d = rule and apply(rule, req, "")
  end
  -- From the right: the longest prefix comes first.
  local at = math.min(#path, self.longest_prefix)
  while d == nil and at > 0 do
    if byte(path, at) == SLASH then
      rule = self.prefixes[sub(path, 1, at)]
      d = rule and apply(rule, req, sub(path, at + 1)) or nil
    end
    at = at - 1
  end
  return d
end

local function by_pattern(self, req)
  local rules = self.patterns
  for i = 1, #rules do
    local rule = rules[i]
    local d = apply_match(rule, req, find(req.path, rule.pattern))
    if d ~= nil then
      return d
    end
  end
  return nil
end

local function by_method(self, req)
  local rules = self.methods
  for i = 1, #rules do
    if rules[i].names[req.method] then
      local d = apply(rules[i], req)
      if d ~= nil then
        return d
      end
    end
  end
  return nil
end

local function in_use(self, req)
  local rules = self.uses
  for i = 1, #rules do
    local d = apply(rules[i], req)
    if d ~= nil then
      return d
    end
  end
  return nil
end

--- Decides about a request: a router is called like a function.
---@param req table
---@return table|nil decision
function Router:__call(req)
  local kind = type(req)
  if kind ~= "userdata" and kind ~= "table" then
    error("router: expected a request, as in r(req), got " .. describe(req), 2)
  end
  local d = in_use(self, req)
  if d == nil then
    d = by_host(self, req)
  end
  if d == nil then
    d = by_path(self, req)
  end
  if d == nil then
    d = by_pattern(self, req)
  end
  if d == nil then
    d = by_method(self, req)
  end
  if d == nil and self.default then -- false where there is none
    d = apply(self.default, req)
  end
  return d
end

-- Rules -------------------------------------------------------------------------------------------

--- Fails where two rules could never both be used.
local function set(rules, key, rule)
  if rules[key] then
    error(("router: %s is there already, see %s"):format(rule.text, rules[key].source), 3)
  end
  rules[key] = rule
end

local function expect_text(method, value, what)
  if type(value) ~= "string" or value == "" then
    error(("router: %s: expected %s, got %s"):format(method, what, describe(value)), 3)
  end
end

--- A rule for a host.
---@param name string "shop.example", or "*.example" for every name below it
---@param handler table|function a function also gets what stands for "*"
---@return moongate.Router self
function Router:host(name, handler)
  expect_text("host", name, "a name such as \"shop.example\" or \"*.example\"")
  local lower = name:lower()
  if byte(lower, -1) == DOT then
    lower = sub(lower, 1, -2)
  end
  local rule = new_rule("host", handler, "host '%s'", lower, trace.place(2))
  if sub(lower, 1, 2) == "*." and not lower:find("*", 2, true) then
    set(self.wildcards, sub(lower, 2), rule)
    self.has_wildcards = true
  elseif lower:find("[*/:]") or byte(lower) == DOT then
    error(("router: host: '%s' is neither a host nor \"*.\" and a host"):format(name), 2)
  else
    set(self.hosts, lower, rule)
  end
  return self
end

--- A rule for a path, compared with the decoded path.
---@param path string "/exact", or "/prefix/*" for all below it and "/prefix" itself
---@param handler table|function a function also gets the rest behind the prefix
---@return moongate.Router self
function Router:path(path, handler)
  expect_text("path", path, "a path such as \"/about\" or \"/shop/*\"")
  local rule = new_rule("path", handler, "path '%s'", path, trace.place(2))
  if byte(path) ~= SLASH then
    error(("router: path: '%s' does not begin with \"/\""):format(path), 2)
  elseif sub(path, -2) == "/*" then
    set(self.prefixes, sub(path, 1, -2), rule)
    self.longest_prefix = math.max(self.longest_prefix, #path - 1)
  elseif path:find("*", 1, true) then
    error(("router: path: '%s': \"*\" stands only behind the last \"/\"; see r:match"):format(path),
      2)
  else
    set(self.paths, path, rule)
  end
  return self
end

--- A rule for a Lua pattern, searched in the decoded path.
---@param pattern string
---@param handler table|function a function also gets the captures
---@return moongate.Router self
function Router:match(pattern, handler)
  expect_text("match", pattern, "a Lua pattern")
  local ok, problem = pcall(find, "/", pattern)
  if not ok then
    error(("router: match: '%s': %s"):format(pattern, problem), 2)
  end
  local rule = new_rule("match", handler, "pattern '%s'", pattern, trace.place(2))
  rule.pattern = pattern
  self.patterns[#self.patterns + 1] = rule
  return self
end

--- A rule for methods.
---@param names string|string[] such as "POST" or { "PUT", "DELETE" }
---@param handler table|function
---@return moongate.Router self
function Router:method(names, handler)
  local list, set_of = type(names) == "table" and names or { names }, {}
  for _, name in ipairs(list) do
    expect_text("method", name, "methods such as \"POST\"")
    if find(name, "%l") then
      error(("router: method: expected methods in capitals such as \"POST\", got \"%s\""):format(
        name), 2)
    end
    set_of[name] = true
  end
  if #list == 0 then
    error("router: method: expected methods such as \"POST\", got none", 2)
  end
  local rule = new_rule("method", handler, "method %s", table.concat(list, ", "), trace.place(2))
  rule.names = set_of
  self.methods[#self.methods + 1] = rule
  return self
end

--- A handler that sees every request before all rules, in the order in which they were added.
---@param handler table|function
---@return moongate.Router self
function Router:use(handler)
  self.uses[#self.uses + 1] = new_rule("use", handler, "use", "", trace.place(2))
  return self
end

--- Which rule decides about a request. Runs the handlers.
---@param req table
---@return string text such as "host 'shop.example' (route.lua:12) > path '/cart' (route.lua:7)"
---@return table|nil decision
function Router:explain(req)
  if type(req) ~= "userdata" and type(req) ~= "table" then
    error("router: explain: expected a request, got " .. describe(req), 2)
  end
  local rules, ok, d = trace.rules_of(self, req)
  if not ok then
    error(d, 0)
  end
  for i, rule in ipairs(rules) do
    rules[i] = ("%s (%s)"):format(rule.text, rule.source)
  end
  return #rules > 0 and table.concat(rules, " > ") or "no rule", d
end

--- A new router.
---@param options table|nil `default`: the handler for what no rule decides
---@return moongate.Router
function M.new(options)
  if options ~= nil and (type(options) ~= "table" or getmetatable(options)) then
    error(("router.new: expected a table such as { default = { status = 404 } }, got %s"):format(
      type(options) == "table" and "a router" or describe(options)), 2)
  end
  local self = setmetatable({
    hosts = {}, wildcards = {}, has_wildcards = false, paths = {}, prefixes = {},
    longest_prefix = 0, patterns = {}, methods = {}, uses = {},
    default = false,
  }, Router)
  for key, value in pairs(options or {}) do
    if key ~= "default" then
      error(("router: unknown key '%s'%s"):format(suggest.name(key),
        suggest.hint(key, { "default" })), 2)
    end
    self.default = new_rule("default", value, "default", "", trace.place(2))
  end
  return self
end

return suggest.strict(M, "moongate.router")
