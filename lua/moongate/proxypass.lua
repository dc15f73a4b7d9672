-- moongate.proxypass owns requests that are passed on as Apache's mod_proxy and mod_proxy_fcgi pass
-- them: ProxyPass, ProxyPassMatch, ProxyPassReverse and its kin, balancers. Called by routes: what
-- `new` returns is a function from request to decision; rules are added by methods that have the
-- names of Apache's directives. What differs is what PHP needs: a path is decoded once; script,
-- path info and document root are said as such, and not hidden in "proxy:fcgi://...".

local copy_of = require("moongate.base.copy")
local decision = require("moongate.decision")
local describe = require("moongate.base.describe")
local docroot = require("moongate.docroot")
local filesystem = require("moongate.base.fs")
local registry = require("moongate.route.registry")
local reverse = require("moongate.proxypass.reverse")
local suggest = require("moongate.base.suggest")
local target_of = require("moongate.proxypass.target")
local trace = require("moongate.decision.trace")

local M = {}

local byte, sub = string.byte, string.sub
local SLASH = 47

---@class moongate.proxypass.Rule: moongate.Rule
---@field path string|nil the prefix
---@field pattern string|nil of Perl's form, in its place
---@field backend string|nil its name; nil: such requests are not passed on
---@field real string what stands in the URL behind the server
---@field docroot string|nil
---@field raw boolean|nil `nocanon`: the rest of the path is taken as it was sent

---@class moongate.ProxyPass
---@field options table
---@field rules moongate.proxypass.Rule[]
---@field list table<string, table> backends by name
---@field balancers table<string, table> by "balancer://name"
local ProxyPass = {}

function ProxyPass.__index(_, name)
  local method = ProxyPass[name]
  if method == nil and not decision.is_key(name) then
    local known = {}
    for key in pairs(ProxyPass) do
      known[key] = not key:find("^_") and key ~= "decide" and true or nil
    end
    error(("proxypass: there is no method '%s'%s"):format(suggest.name(name),
      suggest.hint(name, known)), 2)
  end
  return method
end

-- A request --------------------------------------------------------------------------------------

--- How much of a path a prefix takes: whole segments, unless it ends in a slash itself.
---@return integer|nil bytes
local function prefix_length(path, prefix)
  local length = #prefix
  if sub(path, 1, length) ~= prefix then
    return nil
  end
  local after = byte(path, length + 1)
  return (byte(prefix, length) == SLASH or after == nil or after == SLASH) and length or nil
end

--- "$0" to "$9" in a URL; "\" before them makes them plain.
local function expand(text, captures)
  return (text:gsub("(\\?)%$(%d)", function(escaped, digit)
    return escaped ~= "" and "$" .. digit or captures[tonumber(digit)] or ""
  end))
end

--- The path behind the server's address that a rule makes of a request's.
---@return string|nil full nil where the rule does not fit
---@return string|nil path what clients call it
local function path_by(self, rule, req, path)
  if rule.path then
    local length = prefix_length(path, rule.path)
    if rule.raw and length and prefix_length(req.raw_path, rule.path) then
      path = req.raw_path
    end
    return length and rule.real .. sub(path, length + 1), path
  end
  local captures, reason = self.match(path, rule.pattern, "")
  if not captures then
    if reason then
      error(("%s: proxypass: %s: %s"):format(rule.source, rule.text, reason), 0)
    end
    return nil
  end
  -- A URL without a "$1" has the whole path behind it.
  return rule.whole and rule.real .. path or expand(rule.real, captures), path
end

--- The script in a path on the backend's machine, and what follows it.
---@return string|nil script nil where it lies below a plain file
---@return string|nil path_info
local function split(self, full)
  local root = self.options.root
  local below = root and sub(full, 1, #root + 1) == root .. "/" and sub(full, #root + 1)
  if below then
    local script, path_info = docroot.on_disk(below, root, nil, nil, self.fs)
    if script then
      return root .. script, path_info
    end
  end
  local script, path_info = docroot.by_pattern(full)
  if script and below
    and docroot.climbs_over_file(sub(script, #root + 1), root, nil, self.fs) then
    return nil
  end
  return script or full, path_info
end

--- The decision that passes a request on.
---@param path string of the script's URL, with its path info
---@param full string on the backend's machine
local function passed(self, rule, req, path, full)
  local script, path_info = split(self, full)
  if not script then
    return { status = 404 }
  end
  local url = path
  if path_info and #path > #path_info and sub(path, -#path_info) == path_info then
    url = sub(path, 1, -#path_info - 1)
  end
  local d = {
    backend = rule.backend, script = url, path_info = path_info, script_filename = script,
    docroot = rule.docroot, params = self.options.params,
  }
  local sticky = rule.sticky
  if sticky and sticky.force then
    local route = target_of.route_of(req, sticky)
    d.server = route and sticky.routes[route] or nil
  end
  return d
end

--- The decision about a path.
---@return table|nil d
---@return boolean|nil taken a rule fits, if only to say that it is not passed on
local function by_rules(self, req, path)
  local rules = self.rules
  for i = 1, #rules do
    local rule = rules[i]
    local full, seen = path_by(self, rule, req, path)
    if full then
      trace.enter(rule.label)
      trace.decided(req, rule)
      if not rule.backend then
        return nil, true
      elseif self.mapped then
        req.ctx[self] = true
      end
      return passed(self, rule, req, seen, full), true
    end
  end
  return nil
end

--- What becomes of requests that are not passed on.
local function default(self, req, path)
  local options = self.options
  local otherwise = options.default
  if type(otherwise) == "function" or otherwise and getmetatable(otherwise) then
    return otherwise(req)
  elseif otherwise or not options.root then
    return otherwise
  end
  if byte(path, #path) == SLASH then
    for _, name in ipairs(options.index) do
      local candidate = path .. name
      if self.fs.probe(options.root, candidate) == "file" then
        local d = by_rules(self, req, candidate)
        if d then
          return d
        end
        break
      end
    end
  end
  return self.file
end

--- The decision about a request.
---@param req table
---@return table|nil
function ProxyPass:__call(req)
  local kind = type(req)
  if kind ~= "userdata" and kind ~= "table" then
    error("proxypass: expected a request, got " .. describe(req), 2)
  end
  local path = req.path
  local d = by_rules(self, req, path)
  return d or default(self, req, path)
end

-- Rules ------------------------------------------------------------------------------------------

--- Ends a method with an error at its caller's line.
local function fail(method, problem)
  error(("proxypass: %s: %s"):format(method, problem), 3)
end

--- Parameters as text, by which rules with the same ones are known.
local function id_of(parameters)
  local words = {}
  for key, value in pairs(parameters) do
    words[#words + 1] = tostring(key) .. "=" .. tostring(value)
  end
  table.sort(words)
  return table.concat(words, " ")
end

local OF_RULE = { nocanon = true, docroot = true }

--- The backend that a URL names.
---@return string|nil name
---@return string|nil problem
---@return table|nil sticky
local function backend_of(self, target, parameters)
  if target.balancer then
    local balancer = self.balancers[target.authority]
    if not balancer then
      local known = {}
      for authority in pairs(self.balancers) do
        known[authority] = true
      end
      return nil, ("there is no %s: it is made by `balancer`, before it is used%s"):format(
        target.authority, suggest.hint(target.authority, known))
    end
    for key in pairs(parameters) do
      if not OF_RULE[key] then
        return nil, ("'%s' is said where the balancer is made"):format(suggest.name(key))
      end
    end
    return balancer.name, nil, balancer.sticky
  end
  local backend, problem = target_of.backend(target.address, parameters, OF_RULE)
  if not backend then
    return nil, problem
  end
  local own = {}
  for key, value in pairs(parameters) do
    own[key] = not OF_RULE[key] and value or nil
  end
  local id = target.address .. " " .. id_of(own)
  local name = self.names[id]
  if not name then
    name = target.address
    local count = 1
    while self.list[name] do
      count = count + 1
      name = ("%s#%d"):format(target.address, count)
    end
    self.names[id], self.list[name] = name, backend
  end
  return name
end

--- The document root of a rule: that of the rule, of all, the folder of files, or what stands in
--- front of the path that clients ask for.
local function docroot_of(self, rule, given)
  local options = self.options
  if given or options.docroot or options.root then
    return given or options.docroot or options.root
  end
  local folder, path = rule.real:match("^[^$]*"), rule.path
  if rule.pattern and not rule.whole then
    folder = folder:match("^(.*)/") or ""
  elseif path and sub(folder, -#path) == path then
    folder = sub(folder, 1, -#path - 1)
  end
  folder = folder:match("^(.-)/*$")
  return folder ~= "" and not docroot.root_problem(folder) and folder or nil
end

--- What is wrong with what both methods take.
local function rule_problem(self, url, parameters)
  if self.given then
    return "rules are added before `backends` is called, which gives the route those that they name"
  elseif parameters ~= nil and type(parameters) ~= "table" then
    return "expected a table of parameters such as { timeout = 30 }, got " .. describe(parameters)
  elseif url == "!" and parameters ~= nil then
    return '"!" has no parameters'
  end
  local folder = parameters and parameters.docroot
  local problem = folder ~= nil and decision.key_problem("fastcgi", "docroot", folder)
  return problem or nil
end

--- Adds a rule.
---@return string|nil problem
local function add(self, rule, url, parameters)
  local problem = rule_problem(self, url, parameters)
  if problem or url == "!" then
    if not problem then
      rule.real, rule.whole = "", true
      table.insert(self.rules, trace.known(rule))
    end
    return problem
  end
  parameters = parameters or {}
  local target
  target, problem = target_of.parse(url)
  if not target then
    return problem
  end
  rule.real = target.path
  rule.whole = rule.pattern and not target.path:find("$%d")
  if rule.path and target.path == "" and byte(rule.path, -1) == SLASH then
    return ("'%s' ends in a slash and the URL has no path: write \"%s/\""):format(rule.path, url)
  elseif rule.path and #rule.path > 1 and byte(rule.path, -1) == SLASH
    and byte(target.path, -1) ~= SLASH then
    return ("'%s' ends in a slash and the URL does not: %sx would be '%sx'"):format(rule.path,
      rule.path, target.path)
  end
  rule.raw = parameters.nocanon and true or nil
  rule.backend, problem, rule.sticky = backend_of(self, target, parameters)
  if problem then
    return problem
  end
  rule.docroot = docroot_of(self, rule, parameters.docroot)
  table.insert(self.rules, trace.known(rule))
  registry.add({ backend = rule.backend }, rule.source,
    ("proxypass: %s: `backends = p:backends()` is missing in the route, or called on another one")
      :format(rule.text))
  return nil
end

--- ProxyPass: paths that begin with a prefix go to a server, what follows the prefix behind the
--- URL's path. The first rule that fits counts.
---@param path string
---@param url string "!": they are not passed on
---@param parameters table|nil Apache's, by their names; and docroot
---@return moongate.ProxyPass self
function ProxyPass:pass(path, url, parameters)
  if type(path) ~= "string" or byte(path) ~= SLASH then
    fail("pass", 'expected a path such as "/app/", got ' .. describe(path))
  end
  for _, rule in ipairs(self.rules) do
    if rule.path and prefix_length(path, rule.path) then
      fail("pass", ("no request comes to '%s': '%s' at %s takes it before"):format(path, rule.path,
        rule.source))
    end
  end
  local problem = add(self, { path = path, text = ("pass '%s'"):format(path),
    source = trace.place(2) }, url, parameters)
  if problem then
    fail("pass", problem)
  end
  return self
end

--- ProxyPassMatch: the same for paths that fit a regular expression of Perl's kind; "$1" in the URL
--- is what its first group has matched, and a URL without one has the whole path behind it.
---@param pattern string
---@param url string
---@param parameters table|nil
---@return moongate.ProxyPass self
function ProxyPass:pass_match(pattern, url, parameters)
  if type(pattern) ~= "string" or pattern == "" then
    fail("pass_match", 'expected a regular expression such as [[^/(.*\\.php)$]], got '
      .. describe(pattern))
  elseif type(parameters) == "table" and parameters.nocanon then
    fail("pass_match", "'nocanon' goes with pass only")
  end
  self.match = self.match or require("moongate.ngx.regex").match
  local _, problem = self.match("", pattern, "")
  problem = problem or add(self, { pattern = pattern,
    text = ("pass_match '%s'"):format(suggest.name(pattern)), source = trace.place(2) }, url,
    parameters)
  if problem then
    fail("pass_match", problem)
  end
  return self
end

--- A balancer with its members, as in <Proxy "balancer://name">.
---@param name string "balancer://name"
---@param members table list of URLs, or of tables of a URL and its parameters
---@param options table|nil lbmethod, stickysession, ...: ProxySet
---@return moongate.ProxyPass self
function ProxyPass:balancer(name, members, options)
  local target = target_of.parse(name)
  if not target or not target.balancer or target.path ~= "" then
    fail("balancer", 'expected a name such as "balancer://cluster", got ' .. describe(name))
  elseif self.balancers[target.authority] then
    fail("balancer", ("there is a %s already"):format(target.authority))
  elseif options ~= nil and type(options) ~= "table" then
    fail("balancer", "expected a table of parameters, got " .. describe(options))
  end
  local backend, problem, sticky, authorities = target_of.balancer(members, options or {})
  if not backend then
    fail("balancer", problem)
  end
  self.list[target.balancer] = backend
  self.balancers[target.authority] = {
    name = target.balancer, sticky = sticky, authorities = authorities,
  }
  return self
end

-- Answers ----------------------------------------------------------------------------------------

--- The scheme and host that a client has asked for.
local function origin_of(req)
  local host, port = req.host, req.port
  if not host then
    return nil
  end
  local usual = req.scheme == "https" and 443 or 80
  return req.scheme .. "://" .. host .. (port and port ~= usual and ":" .. port or "")
end

--- Puts addresses that only the backend knows right.
local function map_answer(self, req, res)
  if not req.ctx[self] then
    return
  end
  local headers = res.headers
  if #self.mappings > 0 then
    for _, name in ipairs(reverse.LOCATIONS) do
      local value = headers[name]
      local seen = value and reverse.location(value, self.mappings, origin_of(req))
      if seen ~= value then
        headers[name] = seen
      end
    end
  end
  local cookies = (#self.domains > 0 or #self.paths > 0) and headers:all("Set-Cookie") or {}
  for i, cookie in ipairs(cookies) do
    cookies[i] = reverse.cookie(cookie, self.domains, self.paths)
  end
  if #cookies > 0 then
    headers["Set-Cookie"] = cookies
  end
end

--- Answers are looked at from now on.
---@return string|nil problem
local function look_at_answers(self)
  if self.mapped then
    return nil
  end
  self.mapped = true
  local ok, problem = pcall(registry.at_response, function(req, res)
    map_answer(self, req, res)
  end)
  return not ok and problem or nil
end

--- Adds a pair of texts.
---@return string|nil problem
local function add_pair(self, list, what, first, second)
  for _, text in ipairs({ first or false, second or false }) do
    if type(text) ~= "string" then
      return ("expected the backend's %s and that of clients, got %s"):format(what,
        describe(text or nil))
    elseif text == "" or text:find("[%c;]") then
      return "expected texts without ';', got " .. describe(text)
    end
  end
  list[#list + 1] = { first, second }
  return look_at_answers(self)
end

--- ProxyPassReverse: what the application calls `url` in Location, Content-Location, URI and
--- Destination is `path` for clients.
---@param path string
---@param url string such as "http://internal.example/", "balancer://name/" or a path
---@return moongate.ProxyPass self
function ProxyPass:reverse(path, url)
  if type(path) ~= "string" or not (byte(path) == SLASH or path:find("^%a[%w+.-]*://")) then
    fail("reverse", 'expected a path such as "/app/", got ' .. describe(path))
  elseif type(url) ~= "string" or not (byte(url) == SLASH or url:find("^%a[%w+.-]*://.")) then
    fail("reverse", 'expected a URL such as "http://internal.example/", got ' .. describe(url))
  end
  local authority, rest = url:match("^(balancer://[^/]*)(.*)$")
  local balancer = authority and self.balancers[authority:lower()]
  if authority and not balancer then
    fail("reverse", ("there is no %s: it is made by `balancer`, before it is used"):format(
      authority))
  end
  local reals
  for i, member in ipairs(balancer and balancer.authorities or {}) do
    reals = reals or {}
    reals[i] = member .. (rest == "/" and "" or rest)
  end
  table.insert(self.mappings, { path = path, real = url, reals = reals })
  local problem = look_at_answers(self)
  if problem then
    fail("reverse", problem)
  end
  return self
end

--- ProxyPassReverseCookieDomain: a cookie's domain that begins with the first is the second.
---@param internal string
---@param public string
---@return moongate.ProxyPass self
function ProxyPass:reverse_cookie_domain(internal, public)
  local problem = add_pair(self, self.domains, "domain", internal, public)
  if problem then
    fail("reverse_cookie_domain", problem)
  end
  return self
end

--- ProxyPassReverseCookiePath: a cookie's path that begins with the first is the second.
---@param internal string
---@param public string
---@return moongate.ProxyPass self
function ProxyPass:reverse_cookie_path(internal, public)
  local problem = add_pair(self, self.paths, "path", internal, public)
  if problem then
    fail("reverse_cookie_path", problem)
  end
  return self
end

--- The backends that the rules name, for the route's `backends`.
---@param others table|nil more backends of the route
---@return table<string, any>
function ProxyPass:backends(others)
  if others ~= nil and type(others) ~= "table" then
    fail("backends", "expected a table of backends, got " .. describe(others))
  end
  self.given = true
  local list = {}
  for name, backend in pairs(others or {}) do
    list[name] = backend
  end
  for name, backend in pairs(self.list) do
    if list[name] ~= nil then
      fail("backends", ("'%s' is there twice"):format(name))
    end
    list[name] = backend
  end
  return list
end

-- Making one -------------------------------------------------------------------------------------

local KEYS = { root = true, docroot = true, index = true, default = true, params = true }

--- moongate.types is compared with them.
M.KEYS = KEYS

local function options_problem(options)
  local problem = suggest.options_problem(options, KEYS)
  if problem then
    return problem
  end
  for key, kind in pairs({ root = "file", index = "file", docroot = "fastcgi", params = "fastcgi" })
  do
    problem = options[key] ~= nil and decision.key_problem(kind, key, options[key])
    if problem then
      return problem
    end
  end
  local otherwise = options.default
  local meta = type(otherwise) == "table" and getmetatable(otherwise)
  if otherwise ~= nil and type(otherwise) ~= "function" and not (meta and meta.__call) then
    problem = decision.problem(otherwise)
  end
  return problem and "default: " .. problem or nil
end

--- Rules that pass requests on. There are none at first.
---@param options table|nil root, docroot, index, default, params: see docs/library.md
---@param fs table|nil what looks at the disk, default moongate.base.fs
---@return moongate.ProxyPass
function M.new(options, fs)
  options = options or {}
  local problem = options_problem(options)
  if problem then
    error("proxypass.new: " .. problem, 2)
  end
  local own = copy_of.table(options)
  own.index = type(own.index) == "string" and { own.index } or own.index or { "index.html" }
  local place = trace.place(2)
  local self = setmetatable({
    options = own, fs = fs or filesystem, rules = {}, list = {}, names = {}, balancers = {},
    mappings = {}, domains = {}, paths = {}, match = false, given = false, mapped = false,
    file = own.root and { root = own.root, index = own.index } or false,
  }, ProxyPass)
  if type(own.default) == "table" and not getmetatable(own.default) then
    registry.add(own.default, place, "proxypass: default")
  end
  return self
end

return suggest.strict(M, "moongate.proxypass")
