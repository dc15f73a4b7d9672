-- moongate.cli.pools owns the reading of PHP-FPM's pool files: which pools there are, where each
-- listens and what stands in which line. Called by doctor.

local M = {}

-- A folder of pools has a file for each site, at most.
local FILES_MOST = 10000
local TEXT_MOST = 1024 * 1024

---@class moongate.cli.Pool
---@field name string
---@field file string
---@field line integer of its head
---@field values table<string, string> such as ["pm.max_children"] = "5"
---@field lines table<string, integer> in which line a value stands

--- A value without its quotes, and without a comment behind it.
local function value_of(text)
  local quoted = text:match('^"([^"]*)"')
  return quoted or text:gsub("%s*;.*$", ""):gsub("%s+$", "")
end

--- The pools of one file.
---@param text string
---@param file string its name, for messages
---@return moongate.cli.Pool[]
function M.parse(text, file)
  local pools, pool, number = {}, nil, 0
  for line in (text .. "\n"):gmatch("(.-)\r?\n") do
    number = number + 1
    local head = line:match("^%s*%[([^%]]+)%]")
    local key, value = line:match("^%s*([%w_.]+[%w_.%[%]]*)%s*=%s*(.-)%s*$")
    if head then
      pool = { name = head, file = file, line = number, values = {}, lines = {} }
      if head ~= "global" then
        pools[#pools + 1] = pool
      end
    elseif key and pool then
      pool.values[key] = value_of(value):gsub("%$pool", (pool.name:gsub("%%", "%%%%")))
      pool.lines[key] = number
    end
  end
  return pools
end

--- The folders in which Debian's PHP-FPMs look for pools.
---@param core table moongate.core.commands
---@return string[]
function M.folders(core)
  local found = {}
  local versions = core.listdir("/etc/php") or {}
  table.sort(versions)
  for _, version in ipairs(versions) do
    local folder = "/etc/php/" .. version .. "/fpm/pool.d"
    if core.stat(folder) == "directory" then
      found[#found + 1] = folder
    end
  end
  return found
end

--- All pools of some folders.
---@param core table moongate.core.commands
---@param folders string[]
---@return moongate.cli.Pool[] pools
---@return string[] problems what could not be read, and why
function M.read(core, folders)
  local pools, problems = {}, {}
  for _, folder in ipairs(folders) do
    local names, reason = core.listdir(folder)
    if not names then
      problems[#problems + 1] = ("%s: %s"):format(folder, reason)
    end
    names = names or {}
    table.sort(names)
    for i = 1, math.min(#names, FILES_MOST) do
      if names[i]:find("%.conf$") then
        local path = folder .. "/" .. names[i]
        local file
        file, reason = io.open(path)
        if file then
          for _, pool in ipairs(M.parse(file:read(TEXT_MOST) or "", path)) do
            pools[#pools + 1] = pool
          end
          file:close()
        else
          problems[#problems + 1] = reason
        end
      end
    end
  end
  return pools, problems
end

--- Where a pool listens, as PHP-FPM reads it: a path, an address, or a port of all addresses.
---@param pool moongate.cli.Pool
---@return string|nil path of a unix socket
---@return string|nil host nil: all
---@return string|nil port
function M.listen(pool)
  local listen = pool.values.listen or ""
  if listen:find("/", 1, true) then
    return listen
  end
  local host, port = listen:match("^(.*):(%d+)$")
  if host == "" or host == "0.0.0.0" or host == "[::]" or host == "*" then
    host = nil
  end
  return nil, host, port or listen:match("^%d+$")
end

--- Whether a server of a backend is this pool.
---@param core table moongate.core.commands
---@param pool moongate.cli.Pool
---@param address string of the server
---@return boolean
function M.is_at(core, pool, address)
  local path, host, port = M.listen(pool)
  local socket = address:match("^unix:(.*)$")
  if socket and path then
    return socket == path or (core.realpath(socket) or socket) == (core.realpath(path) or path)
  elseif socket or not port then
    return false
  end
  local server_host, server_port = address:match("^(.*):(%d+)$")
  if server_port ~= port then
    return false
  end
  local is_local = server_host == "localhost" or server_host:find("^127%.") ~= nil
    or server_host == "[::1]"
  return server_host == host or is_local and (host == nil or host == "localhost")
end

local UNITS = { s = 1, m = 60, h = 3600, d = 86400 }

--- A time of PHP-FPM, such as "30s" and "2m", in seconds; 0 is off.
---@param text string|nil
---@return number|nil
function M.seconds(text)
  local number, unit = (text or ""):match("^(%d+)(%a?)$")
  return number and tonumber(number) * (UNITS[unit] or 1) or nil
end

return M
