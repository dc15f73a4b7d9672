-- moongate.route.backends owns the setting `backends`: servers, policies and health checks of each
-- backend, and what backends must be that have a server in common. Called by settings.

local ini = require("moongate.decision.ini")
local schema = require("moongate.route.schema")
local upcoming = require("moongate.base.upcoming")
local walk = require("moongate.route.walk")
local sorted_keys = require("moongate.base.keys").sorted

local M = {}

--- Active health checks: off, on with what is usual, or as a table says. With `status` they ask for
--- PHP-FPM's status page, and neither `ping` nor `expect` is left.
local function health(source, path, value)
  if value == nil or value == false then
    return nil
  elseif value ~= true and type(value) ~= "table" then
    walk.reject(source, path, value, "a table such as { ping = \"/ping\" }, true or false")
  end
  local checks = walk.section(source, path, value ~= true and value or nil, schema.HEALTH, {})
  if checks.status then
    for _, key in ipairs({ "ping", "expect" }) do
      if value[key] ~= nil then
        walk.fail(source, walk.under(path, key), ("%s: 'status' is the page that is asked for: "
          .. "leave '%s' out"):format(walk.dotted(path), key))
      end
      checks[key] = nil
    end
  end
  return checks
end

--- What the servers take from their backend, and what they must be together.
local function complete_servers(source, path, normalized)
  local main = 0
  for _, server in ipairs(normalized.servers) do
    server.max_conns = server.max_conns or normalized.max_conns
    if server.owner and not server.address:match("^unix:") then
      walk.fail(source, path, ("%s: owner: %s is no unix socket, whose owner could be looked at")
        :format(walk.dotted(path), server.address))
    end
    main = main + (server.backup and 0 or 1)
  end
  if main == 0 then
    walk.fail(source, path, ("%s: all servers are backups; one at least must not be"):format(
      walk.dotted(path)))
  end
end

--- The function that chooses among the servers.
local function set_policy(normalized)
  if type(normalized.balance) == "function" then
    normalized.pick, normalized.balance = normalized.balance, "function"
  else
    normalized.pick = require("moongate.balance." .. normalized.balance).new(normalized)
  end
end

--- One backend: an address, a list of them, or the table of the contract.
local function backend(source, name, value)
  local path = { "backends", name }
  local is_plain = type(value) ~= "table" or value[1] ~= nil
  local options = is_plain and {} or value
  if type(value) == "table" and value[1] ~= nil then
    for key in pairs(value) do
      if type(key) ~= "number" then
        walk.fail(source, walk.under(path, key), ("%s: either a list of addresses, or a table with "
          .. "'servers' and other keys, not both"):format(walk.dotted(path)))
      end
    end
  end
  walk.check_keys(source, path, options, schema.BACKEND, upcoming.backend,
    { servers = true, health = true })
  local servers, servers_path = value, path
  if not is_plain then
    servers, servers_path = value.servers, walk.under(path, "servers")
    if servers == nil then
      walk.fail(source, path, ("%s: 'servers' is missing: the addresses of its FastCGI servers")
        :format(walk.dotted(path)))
    end
  end
  local normalized = walk.fields(source, path, options, schema.BACKEND)
  normalized.name = name
  normalized.servers = walk.endpoints(source, servers_path, servers, schema.SERVER, {}, "connect")
  if normalized.multiplex and normalized.per_tenant > 0 then
    walk.fail(source, walk.under(path, "per_tenant"), ("%s: 'per_tenant' counts connections, and "
      .. "with 'multiplex' tenants share them: leave one of the two out"):format(walk.dotted(path)))
  end
  complete_servers(source, servers_path, normalized)
  normalized.health = health(source, walk.under(path, "health"), options.health)
  normalized.load = normalized.load or nil
  normalized.ini_text = #normalized.ini > 0 and ini.text(normalized.ini) or nil
  set_policy(normalized)
  return normalized
end

--- Backends that share a server send it the same settings of PHP: its processes would keep those of
--- one for the requests of the other.
local function check_shared_ini(source, list)
  local first = {}
  for _, own in ipairs(list) do
    for _, server in ipairs(own.servers) do
      local other = first[server.address]
      local name = other and ini.difference(other.ini, own.ini)
      if name then
        walk.fail(source, { "backends", own.name, own.ini_text and "ini" }, ("backends.%s: %s is a "
          .. "server of '%s' too, and only one of them has '%s' in its 'ini': PHP's processes "
          .. "there would keep it for the requests of the other; name the same settings in both")
          :format(own.name, server.address, other.name, name))
      end
      first[server.address] = other or own
    end
  end
end

--- PHP-FPM's own pages (ping and status) belong to a server: what one backend names is no client's
--- through another that has the same server, either.
local function set_own_pages(list)
  local pages = {} -- by address: a set
  for _, own in ipairs(list) do
    for _, server in ipairs(own.servers) do
      local known = pages[server.address] or {}
      pages[server.address] = known
      if own.health then
        known[own.health.status or own.health.ping] = true
      end
      if own.load then
        known[own.load] = true
      end
    end
  end
  for _, own in ipairs(list) do
    local all = {}
    for _, server in ipairs(own.servers) do
      for name in pairs(pages[server.address]) do
        all[name] = true
      end
    end
    own.own_pages = next(all) and sorted_keys(all) or nil
  end
end

--- The backends of a route.
---@param source moongate.Source
---@param value any what the script gives as `backends`
---@return table[] normalized sorted by name
function M.list(source, value)
  if value == nil then
    return {}
  elseif type(value) ~= "table" then
    walk.reject(source, { "backends" }, value, "a table from name to address or settings")
  end
  local list = {}
  for _, name in ipairs(sorted_keys(value)) do
    if type(name) ~= "string" or name == "" or name:find("%c") then
      walk.fail(source, { "backends" }, ("backends: expected names, as in { app = \"%s\" }")
        :format("127.0.0.1:9000"))
    end
    list[#list + 1] = backend(source, name, value[name])
  end
  check_shared_ini(source, list)
  set_own_pages(list)
  return list
end

return M
