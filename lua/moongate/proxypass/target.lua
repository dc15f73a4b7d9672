-- moongate.proxypass.target owns what stands behind a path in Apache's ProxyPass: the URL of a
-- FastCGI server or a balancer, and the parameters of both, which become a backend. Called by
-- moongate.proxypass.

local addr = require("moongate.base.addr")
local describe = require("moongate.base.describe")
local least_conn = require("moongate.balance.least_conn")
local round_robin = require("moongate.balance.round_robin")
local suggest = require("moongate.base.suggest")
local units = require("moongate.base.units")

local M = {}

local PORT = 8000 -- of "fcgi://host" without one, as in Apache

M.EXPECTED = '"!", or a URL such as "fcgi://127.0.0.1:9000/srv/www/", '
  .. '"unix:/run/php/php8.2-fpm.sock|fcgi://localhost/srv/www/" or "balancer://name/srv/www/"'

--- Takes a URL apart.
---@param url any
---@return { address: string|nil, balancer: string|nil, authority: string, path: string }|nil target
--- `authority` is what stands before the path, lower case but for the path of a socket
---@return string|nil problem
function M.parse(url)
  if type(url) ~= "string" or url:find("%c") then
    return nil, ("expected %s, got %s"):format(M.EXPECTED, describe(url))
  end
  local socket, rest = url:match("^[uU][nN][iI][xX]:([^|]+)|(.*)$")
  local scheme, authority, path = (rest or url):match("^(%a[%w+.-]*)://([^/$]*)(.*)$")
  scheme = scheme and scheme:lower()
  if not scheme then
    return nil, ("expected %s, got %s"):format(M.EXPECTED, describe(url))
  elseif scheme == "balancer" and not socket and authority ~= "" then
    return { balancer = authority:lower(), authority = "balancer://" .. authority:lower(),
      path = path }
  elseif scheme ~= "fcgi" then
    return nil, ("%s: only fcgi:// can be had: Moongate speaks FastCGI to its backends, and no "
      .. "%s"):format(describe(url), suggest.name(scheme))
  end
  local address = socket and "unix:" .. socket
  if not address then
    address = authority:lower()
    address = address:find(":%d+$") and address or address .. ":" .. PORT
  end
  if authority == "" and not socket or not addr.parse(address, "connect") then
    return nil, ("%s: '%s' is no address to connect to"):format(describe(url),
      suggest.name(socket or authority))
  end
  return { address = address, path = path,
    authority = (socket and "unix:" .. socket .. "|" or "") .. "fcgi://" .. authority:lower() }
end

-- Parameters --------------------------------------------------------------------------------------

local function seconds(key, value)
  local time = tonumber(value) or units.duration(value)
  if not time or time <= 0 then
    return nil, ("%s: expected seconds, above zero, or %s, got %s"):format(key, units.DURATION,
      describe(value))
  end
  return time
end

local function whole(key, value)
  local number = tonumber(value)
  if not number or number % 1 ~= 0 or number < 1 or number > 1e6 then
    return nil, ("%s: expected a whole number from 1 on, got %s"):format(key, describe(value))
  end
  return number
end

local SWITCH = { on = true, off = false }

local function switch(key, value)
  local on = type(value) == "string" and SWITCH[value:lower()]
  if type(value) == "boolean" then
    on = value
  end
  if on == nil then
    return nil, ('%s: expected "on" or "off", got %s'):format(key, describe(value))
  end
  return on
end

local function word(key, value)
  if type(value) ~= "string" or not value:match("^[^%s;,=]+$") then
    return nil, ("%s: expected a name, got %s"):format(key, describe(value))
  end
  return value
end

--- A parameter whose value, read by `read`, is a key of the backend.
local function sets(key, read, parameter)
  return function(into, value)
    local problem
    into[key], problem = read(parameter, value)
    return problem
  end
end

--- The keys of a backend that parameters of a server set. Each function gets the backend's table
--- and a value.
local OF_SERVER = {
  timeout = function(into, value)
    local time, problem = seconds("timeout", value)
    into.read_timeout, into.send_timeout = time, time
    return problem
  end,
  connectiontimeout = sets("connect_timeout", seconds, "connectiontimeout"),
  max = sets("max_conns", whole, "max"),
  acquire = function(into, value)
    local number = tonumber(value) -- a number alone is milliseconds
    local time, problem = seconds("acquire", number and number / 1000 or value)
    into.queue_timeout = time
    return problem
  end,
  retry = function(into, value)
    if tonumber(value) == 0 then
      into.max_fails = 0
      return nil
    end
    local problem
    into.fail_timeout, problem = seconds("retry", value)
    into.max_fails = 1
    return problem
  end,
  enablereuse = sets("reuse", switch, "enablereuse"),
  disablereuse = function(into, value)
    local off, problem = switch("disablereuse", value)
    if not problem then
      into.reuse = not off
    end
    return problem
  end,
  ttl = sets("keepalive_idle", seconds, "ttl"),
  flushpackets = function() end, -- answers go out as they come
  flushwait = function() end,
}

--- Parameters of Apache that mean nothing to a FastCGI server behind Moongate.
local WITHOUT = {}
for key in ([[addressttl bandwidth failonstatus forcerecovery growth hcexpr hcfails hcinterval
  hcmethod hcpasses hctemplate hcuri iobuffersize keepalive lbset min ping receivebuffersize
  redirect responsefieldsize secret smax upgrade failontimeout nonce]]):gmatch("%S+") do
  WITHOUT[key] = true
end

--- Why a parameter can't be used.
local function unknown(key, ...)
  if WITHOUT[key] then
    return ("'%s' has no meaning here: leave it out"):format(key)
  end
  local known = {}
  for _, set in ipairs({ OF_SERVER, ... }) do
    for name in pairs(set) do
      known[name] = true
    end
  end
  return ("unknown parameter '%s'%s"):format(suggest.name(key), suggest.hint(key, known))
end

--- What stands behind `keepalive` once all is known.
local function with_reuse(backend)
  local reuse = backend.reuse
  backend.reuse = nil
  if reuse and not backend.max_conns then
    return "enablereuse: 'max' is missing beside it, the number of PHP-FPM's processes "
      .. "(pm.max_children): a kept connection occupies one of them"
  end
  backend.keepalive = reuse and backend.max_conns or nil
  return nil
end

--- The backend of one server.
---@param address string
---@param parameters table<string, any>
---@param own table<string, any> parameters that are not of the server
---@return table|nil backend
---@return string|nil problem
function M.backend(address, parameters, own)
  local backend = { servers = { address } }
  for key, value in pairs(parameters) do
    if OF_SERVER[key] then
      local problem = OF_SERVER[key](backend, value)
      if problem then
        return nil, problem
      end
    elseif not own[key] then
      return nil, unknown(key, own)
    end
  end
  local problem = with_reuse(backend)
  return not problem and backend or nil, problem
end

-- Balancers ---------------------------------------------------------------------------------------

local OF_MEMBER = { loadfactor = true, route = true, status = true }

local METHODS = { byrequests = round_robin, bybusyness = least_conn }

local OF_BALANCER = {
  lbmethod = true, stickysession = true, stickysessionsep = true, nofailover = true,
  maxattempts = true, timeout = true, scolonpathdelim = true,
}

--- The flags of a member: "+H", "H" and so on.
---@return string|nil problem
local function set_status(server, value)
  if type(value) ~= "string" or not value:match("^[+%a-]+$") then
    return ('status: expected flags such as "+H", got %s'):format(describe(value))
  end
  for sign, flag in value:gmatch("([+-]?)(%a)") do
    flag = flag:upper()
    if not ("HRDSNI"):find(flag, 1, true) then
      return ("status: there is no flag '%s': H and R are backups, D, S and N are left out"):format(
        flag)
    elseif sign ~= "-" and (flag == "H" or flag == "R") then
      server.backup = true
    elseif sign ~= "-" and (flag == "D" or flag == "S" or flag == "N") then
      server.out = true
    end
  end
  return nil
end

--- One member.
---@param member string|table a URL, or a table that begins with one
---@return table|nil server
---@return string|nil problem
---@return table|nil rest parameters that hold for the whole backend
local function server_of(member)
  local given = type(member) == "string" and { member } or member
  if type(given) ~= "table" then
    return nil, 'expected members such as { "fcgi://10.0.0.1:9000", loadfactor = 2 }, got '
      .. describe(member)
  end
  local target, problem = M.parse(given[1])
  if not target then
    return nil, problem
  elseif not target.address then
    return nil, "a balancer can't be a member of another one"
  elseif target.path ~= "" and target.path ~= "/" then
    return nil, ("%s: a member's path is not sent with FastCGI: say it in the URL of pass, as in "
      .. '"balancer://name%s"'):format(describe(given[1]), target.path)
  end
  local server, rest = { address = target.address }, {}
  for key, value in pairs(given) do
    if key == "loadfactor" then
      local factor = tonumber(value)
      if not factor or factor < 1 or factor > 100 then
        return nil, "loadfactor: expected a number from 1 to 100, got " .. describe(value)
      end
      server.weight = math.floor(factor + 0.5)
    elseif key == "route" then
      server.route, problem = word("route", value)
    elseif key == "status" then
      problem = set_status(server, value)
    elseif key == "max" then
      server.max_conns, problem = whole("max", value)
    elseif type(key) == "string" and OF_SERVER[key] then
      rest[key] = value
    elseif key ~= 1 then
      problem = unknown(key, OF_MEMBER)
    end
    if problem then
      return nil, problem
    end
  end
  server.authority = target.authority
  return server, nil, rest
end

--- The route that a request names: behind the separator of a cookie or of a path's parameter.
---@param req table
---@param sticky moongate.proxypass.Sticky
---@return string|nil
function M.route_of(req, sticky)
  local at = sticky.separator
  local function route(value)
    local dot = value and value:find(at, 1, true)
    return dot and value:sub(dot + #at):match("^[^;&?]+") or nil
  end
  -- As in Apache the URL counts before the cookie.
  local uri = req.uri or ""
  local from = 1
  while true do
    local first, last = uri:find(sticky.parameter .. "=", from, true)
    if not first then
      break
    end
    local before = uri:sub(first - 1, first - 1)
    if before == "?" or before == "&" or before == ";" and sticky.semicolon then
      return route(uri:sub(last + 1):match("^[^&;]*")) or route(req.cookies[sticky.cookie])
    end
    from = last + 1
  end
  return route(req.cookies[sticky.cookie])
end

---@class moongate.proxypass.Sticky
---@field cookie string
---@field parameter string of the URL
---@field separator string
---@field semicolon boolean ";" begins a parameter as "?" and "&" do
---@field routes table<string, string> from route to address

--- A policy that sends a request where its session began.
local function sticky_policy(sticky, method)
  local next_one = method.new()
  return function(req, servers)
    local route = M.route_of(req, sticky)
    local address = route and sticky.routes[route]
    for i = 1, address and #servers or 0 do
      if servers[i].address == address then
        return servers[i]
      end
    end
    return next_one(req, servers)
  end
end

--- What the parameters of a balancer mean.
---@return string|nil problem
---@return moongate.proxypass.Sticky|nil sticky
local function set_balancer(backend, options, routes)
  local method = options.lbmethod == nil and "byrequests" or options.lbmethod
  local problem, sticky
  if not METHODS[method] then
    return ("lbmethod: expected \"byrequests\" or \"bybusyness\", got %s"):format(describe(method))
  end
  backend.balance = method == "bybusyness" and "least_conn" or "round_robin"
  if options.maxattempts ~= nil then
    local more = tonumber(options.maxattempts)
    if not more or more % 1 ~= 0 or more < 0 or more > 99 then
      return "maxattempts: expected a whole number from 0 to 99, got "
        .. describe(options.maxattempts)
    end
    backend.attempts = more + 1
  end
  if options.timeout ~= nil then
    backend.queue_timeout, problem = seconds("timeout", options.timeout)
  end
  if problem or options.stickysession == nil then
    return problem
  end
  local names, separator = options.stickysession, options.stickysessionsep or "."
  if type(names) ~= "string" or not names:match("^[^%s|=;]+$")
    and not names:match("^[^%s|=;]+|[^%s|=;]+$") then
    return 'stickysession: expected a name such as "ROUTEID", or "COOKIE|parameter", got '
      .. describe(names)
  elseif next(routes) == nil then
    return "stickysession: no member has a 'route'"
  end
  sticky = {
    cookie = names:match("^[^|]+"), parameter = names:match("[^|]+$"), separator = separator,
    semicolon = options.scolonpathdelim == nil or switch("scolonpathdelim",
      options.scolonpathdelim) == true, routes = routes,
  }
  sticky.force = options.nofailover ~= nil and switch("nofailover", options.nofailover) or nil
  backend.balance = sticky_policy(sticky, METHODS[method])
  return nil, sticky
end

--- The backend of a balancer.
---@param members table list of URLs, or of tables that begin with one
---@param options table<string, any>
---@return table|nil backend
---@return string|nil problem
---@return moongate.proxypass.Sticky|nil sticky
---@return string[]|nil authorities of the members
function M.balancer(members, options)
  if type(members) ~= "table" or #members == 0 then
    return nil, "expected a list of members, got " .. describe(members)
  end
  local backend, routes, authorities, shared = { servers = {} }, {}, {}, {}
  for key in pairs(options) do
    if not OF_BALANCER[key] then
      return nil, unknown(key, OF_BALANCER)
    end
  end
  for i, member in ipairs(members) do
    local server, problem, rest = server_of(member)
    if not server then
      return nil, problem
    end
    authorities[i] = server.authority
    if not server.out then
      backend.servers[#backend.servers + 1] = {
        address = server.address, weight = server.weight, backup = server.backup,
        max_conns = server.max_conns,
      }
      if server.route then
        routes[server.route] = server.address
      end
    end
    for key, value in pairs(rest) do
      if shared[key] ~= nil and shared[key] ~= value then
        return nil, ("'%s' differs from member to member: one value holds for all servers of a "
          .. "backend"):format(key)
      end
      shared[key] = value
    end
  end
  if #backend.servers == 0 then
    return nil, "no member is left: all are disabled"
  end
  for key, value in pairs(shared) do
    local problem = OF_SERVER[key](backend, value)
    if problem then
      return nil, problem
    end
  end
  if backend.reuse then
    for _, server in ipairs(backend.servers) do
      backend.keepalive = math.max(backend.keepalive or 0, server.max_conns or 0)
    end
    if backend.keepalive == 0 then
      return nil, "enablereuse: 'max' is missing beside it, the number of PHP-FPM's processes "
        .. "(pm.max_children): a kept connection occupies one of them"
    end
  end
  backend.reuse = nil
  local problem, sticky = set_balancer(backend, options, routes)
  if problem then
    return nil, problem
  end
  return backend, nil, sticky, authorities
end

return M
