-- moongate.tenants.record owns one tenant: what may be said of it, and the values that php.site
-- takes in its place. Called by moongate.tenants for each that it reads.

local decision = require("moongate.decision")
local describe = require("moongate.base.describe")
local docroot = require("moongate.docroot")
local site_options = require("moongate.php.options")
local registry = require("moongate.route.registry")
local suggest = require("moongate.base.suggest")
local units = require("moongate.base.units")

local M = {}

-- The keys of a tenant, beside what php.site takes as a value.
local KEYS = { version = true, front = true, rate = true, burst = true }
for _, key in ipairs(site_options.VALUES) do
  KEYS[key] = true
end

--- moongate.types is compared with them.
M.KEYS = KEYS

--- Those of which a file of texts says a number.
M.NUMBERS = { attempts = true, burst = true }

--- Fills in what a folder leaves to the tenant's name.
---@return string|nil folder
---@return string|nil problem
local function fill(folder, name)
  if not folder:find("$tenant", 1, true) then
    return folder
  elseif not name:match("^[%w_][%w_.-]*$") or name:find("..", 1, true) then
    return nil, ("'%s' can't be the name of a folder ('$tenant'); say `tenant`"):format(
      suggest.name(name))
  end
  return (folder:gsub("%$tenant", name))
end

local function rate_problem(record)
  local burst = record.burst
  if not units.rate(record.rate) then
    return ("rate: expected %s, got %s"):format(units.RATE, describe(record.rate))
  elseif burst ~= nil and not (type(burst) == "number" and burst % 1 == 0 and burst >= 1
    and burst <= 1e6) then
    return "burst: expected a whole number from 1 to 1000000, got " .. describe(burst)
  end
  return nil
end

local function front_problem(front)
  if front ~= false and not (type(front) == "string" and front:match("^/.*[^/]$")) then
    return "front: expected a path such as \"/index.php\", or false, got " .. describe(front)
  end
  return nil
end

--- What is wrong with the value of one key.
local function key_problem(key, value, options)
  if not KEYS[key] then
    return ("unknown key '%s' of a tenant%s"):format(suggest.name(key), suggest.hint(key, KEYS))
  elseif key == "front" then
    return front_problem(value)
  elseif key == "version" then
    if type(value) ~= "string" or not (options.versions or {})[value] then
      return ("version: %s is not in 'versions'%s"):format(describe(value),
        suggest.hint(value, options.versions or {}))
    end
    return nil
  elseif key == "rate" or key == "burst" then
    return nil -- together, below
  elseif key == "root" or key == "docroot" then
    return type(value) ~= "string" and ("%s: expected a folder, got %s"):format(key,
      describe(value)) or nil
  end
  return decision.key_problem("fastcgi", key, value)
end

--- Makes the folders of a tenant those that decisions have.
---@return string|nil problem
local function set_folders(values, record, name, is_wild, options)
  for _, key in ipairs({ "root", "docroot" }) do
    local folder, problem = record[key] or options[key], nil
    if folder and folder:find("$1", 1, true) then
      values.starred = true
      problem = not is_wild and "only a host with \"*\" has something for '$1'" or nil
    end
    if folder and not problem then
      folder, problem = fill(folder, name)
      if folder and record[key] and key == "root" then
        folder = site_options.absolute(folder, options.folder_source, options.fs)
      end
      problem = problem or docroot.root_problem(folder)
        or folder == "/" and "'/' is no folder of a tenant" or nil
    end
    if problem then
      return ("%s: %s"):format(key, problem)
    end
    values[key] = folder
  end
  if not values.root and not values.docroot then
    return "'root' is missing: the folder of the tenant; or 'docroot', where only the backend has "
      .. "it"
  end
  return not values.root and options.unseen_problem or nil
end

---@class moongate.tenants.Options what tenants have in common
---@field values table values for those that say nothing else
---@field root string|nil
---@field docroot string|nil
---@field versions table<string, string>|nil
---@field folder_source string what relative folders are relative to, as debug.getinfo has it
---@field fs table see moongate.base.fs
---@field unseen_problem string|nil why none of them may leave `root` out
---@field meta table the metatable whose __index is `values`

--- A tenant as php.site takes it.
---@param record any what the route, a function or a file says
---@param name string the host, in place of a `tenant`
---@param is_wild boolean the host has "*"
---@param options moongate.tenants.Options
---@return table|nil values
---@return string|nil problem
function M.values(record, name, is_wild, options)
  if type(record) ~= "table" then
    return nil, "expected a table for a tenant, got " .. describe(record)
  end
  local values = {}
  for key, value in pairs(record) do
    local problem = key_problem(key, value, options)
    if problem then
      return nil, problem
    end
    values[key] = value
  end
  values.tenant, values.own_name = record.tenant or name, record.tenant
  local problem = set_folders(values, record, values.tenant, is_wild, options)
  if problem then
    return nil, problem
  end
  if record.version then
    values.backend = options.versions[record.version]
  end
  local backend = values.backend or options.values.backend
  if not backend then
    return nil, "'backend' is missing: the name of the backend that runs the scripts"
  end
  -- The route's settings are known once it is loaded; load itself checks what was there before.
  local settings = registry.settings
  problem = settings and decision.backend_problem({ backend = backend, ini = record.ini },
    settings)
  if problem then
    return nil, problem
  end
  if record.rate ~= nil or record.burst ~= nil then
    problem = rate_problem(record)
    if problem then
      return nil, problem
    end
  end
  return setmetatable(values, options.meta)
end

return M
