-- moongate.cli.check owns `moongate check`: is a route valid? Called by moongate.cli.

local common = require("moongate.cli.common")
local fs = require("moongate.fs")
local registry = require("moongate.registry")

local M = {
  usage = "check ROUTE.lua", summary = "load and validate a route",
  options = {
    { name = "--user", value = "NAME[:GROUP]", help = "whom to load it as when started as root" },
  },
  min = 1, max = 1,
}

--- What is valid and will yet hardly work.
local function warnings(settings)
  local list = {}
  for _, backend in ipairs(settings.backends) do
    if backend.root and fs.stat(backend.root) ~= "directory" then
      list[#list + 1] = ("backends.%s.root: %s is not a folder on this machine"):format(
        backend.name, backend.root)
    end
  end
  for _, site in ipairs(registry.sites) do
    if fs.stat(site.root) ~= "directory" then
      list[#list + 1] = ("php.site: %s is not a folder on this machine"):format(site.root)
    elseif site.front and fs.stat(site.root .. site.front) ~= "file" then
      list[#list + 1] = ("php.site: front: there is no file %s%s"):format(site.root, site.front)
    end
  end
  return list
end

---@param args table
---@return integer status
function M.main(args)
  local settings, message = common.load(args)
  if not settings then
    io.stderr:write(message, "\n")
    return 1
  end
  for _, warning in ipairs(warnings(settings)) do
    io.stderr:write(("%s: warning: %s\n"):format(args[1], warning))
  end
  io.stdout:write("ok\n")
  return 0
end

return M
