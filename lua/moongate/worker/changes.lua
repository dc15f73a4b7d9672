-- moongate.worker.changes owns changes of servers at run time, as the control listener makes and
-- shows them: which are possible, and what is different from the script. Called by
-- moongate.worker.control.

local addr = require("moongate.base.addr")
local json = require("moongate.base.json")
local suggest = require("moongate.base.suggest")

local M = {}

local WEIGHT_MOST = 1000 -- as in route/schema (SERVER)

--- The changes, by backend.
local function by_backend(core)
  local all = core.changes()
  local map = {}
  for _, change in ipairs(all) do
    map[change.backend] = map[change.backend] or {}
    map[change.backend][change.server] = change
  end
  return map, all
end

--- Says of the servers what is different from the script: `changed` is "added" or "weight". Servers
--- that were removed become the backend's list `removed`.
---@param core table of moongate.worker.control
---@param backends table[]
function M.mark(core, backends)
  local map = by_backend(core)
  for _, backend in ipairs(backends) do
    local changes, removed = map[backend.name] or {}, {}
    for _, server in ipairs(backend.servers) do
      local change = changes[server.address]
      server.changed = change and (change.action == "add" and "added" or change.action) or nil
    end
    for _, change in pairs(changes) do
      if change.action == "remove" then
        removed[#removed + 1] = { address = change.server, active = change.active }
      end
    end
    table.sort(removed, function(a, b)
      return a.address < b.address
    end)
    backend.removed = removed[1] and json.list(removed) or nil
  end
end

--- All changes, for /status.
---@param core table
---@return table[]
function M.list(core)
  local list = core.changes()
  table.sort(list, function(a, b)
    return a.backend .. "\n" .. a.server < b.backend .. "\n" .. b.server
  end)
  return json.list(list)
end

-- Changing ----------------------------------------------------------------------------------------

local function find(backend, address)
  local known = {}
  for _, server in ipairs(backend.servers) do
    if server.address == address then
      return server
    end
    known[#known + 1] = server.address
  end
  return nil, ("backend '%s' has no server '%s'%s"):format(backend.name, address,
    suggest.hint(address, known))
end

local function weight_of(text)
  local weight = text and text:match("^%d+$") and tonumber(text)
  return weight and weight >= 1 and weight <= WEIGHT_MOST and weight or nil
end

local ACTIONS = {}

function ACTIONS.weight(core, backend, address, given, change)
  local server, problem = find(backend, address)
  local weight = weight_of(given)
  if not server then
    return nil, problem, 404
  elseif not weight then
    return nil, ("'weight' is a whole number from 1 to %d"):format(WEIGHT_MOST), 400
  end
  return core.change(backend.name, address, change and change.action == "add" and "add"
    or "weight", weight)
end

function ACTIONS.add(core, backend, address, given, change)
  if find(backend, address) then
    return nil, ("%s is a server of backend '%s' already"):format(address, backend.name), 400
  elseif given and not weight_of(given) then
    return nil, ("'weight' is a whole number from 1 to %d"):format(WEIGHT_MOST), 400
  elseif change and change.action == "remove" then -- the script's, which comes back
    core.forget_changes(backend.name, address)
    if not find(core.backend(backend.name) or backend, address) then
      return core.change(backend.name, address, "add", weight_of(given) or 1)
    end
    return given == nil or core.change(backend.name, address, "weight", weight_of(given))
  end
  return core.change(backend.name, address, "add", weight_of(given) or 1)
end

function ACTIONS.remove(core, backend, address, _, change)
  local server, problem = find(backend, address)
  if not server then
    return nil, problem, 404
  end
  local others = 0
  for _, other in ipairs(backend.servers) do
    others = others + ((other.address ~= address and not other.backup) and 1 or 0)
  end
  if others == 0 then
    return nil, ("backend '%s' would have no server left but backups; `moongate hold %s` lets its "
      .. "requests wait"):format(backend.name, backend.name), 400
  elseif change and change.action == "add" then
    return core.forget_changes(backend.name, address) > 0
  end
  return core.change(backend.name, address, "remove")
end

--- Another backend's server is no backend's with other settings of PHP, or other pages of PHP-FPM.
---@return string|nil problem
local function shared_with(core, backend, address)
  for _, other in ipairs(core.backends()) do
    if other.name ~= backend.name and find(other, address) then
      return ("%s is a server of backend '%s'; write both into the script, which is checked for "
        .. "what they must have in common"):format(address, other.name)
    end
  end
  return nil
end

--- Changes a server.
---@param core table
---@param backend table of core.backends
---@param args table of the request: action, server, weight
---@return boolean|nil done
---@return string|nil problem
---@return integer|nil status
---@return string|nil address
function M.change(core, backend, args)
  local act = ACTIONS[args.action or ""]
  if not act then
    return nil, "'action' is add, remove, weight or forget", 400
  end
  local address, problem = addr.parse(args.server or "", "connect")
  if not address then
    return nil, ("'server': %s"):format(problem or "expected " .. addr.EXPECTED), 400
  end
  problem = args.action == "add" and shared_with(core, backend, address)
  if problem then
    return nil, problem, 400
  end
  local map = by_backend(core)
  local done, why, status = act(core, backend, address, args.weight,
    (map[backend.name] or {})[address])
  return done, why, status or 400, address
end

return M
