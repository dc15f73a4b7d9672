-- moongate.cli.import owns `moongate import`: a route made of another server's configuration.
-- Called by
-- cli.commands.

local common = require("moongate.cli.common")
local core = require("moongate.core.commands")
local importer = require("moongate.import")
local stat = require("moongate.core").stat

local M = {
  usage = "import apache|nginx FILE…", summary = "make a route of another server's configuration",
  help = [[
Writes a route to standard output, or to a file with -o, and what was not translated to standard
error; the route has the same as comments. Includes are followed. Nothing is connected to.

    moongate import nginx /etc/nginx/nginx.conf -o route.lua
    moongate import apache /etc/apache2/sites-enabled/shop.conf /srv/shop/.htaccess -o route.lua

Lines that begin with NOT TRANSLATED have to be looked at, lines with LOOK are traps of the old
configuration. Then: moongate check route.lua, moongate explain route.lua URL.
]],
  options = {
    { name = "-o", key = "output", value = "FILE",
      help = "where to write the route: a new file" },
  },
  min = 2, max = 1000,
}

local disk = {
  read = function(path, size)
    local what, reason = stat(path)
    if what ~= "file" then
      return nil, what and "is no file" or reason
    end
    local file, problem = io.open(path, "r")
    if not file then
      return nil, problem
    end
    local text = file:read(size) or ""
    file:close()
    return text
  end,
  list = function(path)
    return (core.listdir(path))
  end,
}

---@param args table
---@return integer status, string|nil message
function M.main(args)
  local kind = args[1]
  if not importer.KINDS[kind] then
    return 2, ("'%s': expected apache or nginx"):format(kind)
  elseif args.output and stat(args.output) then
    return 1, args.output .. ": is there already"
  end
  local paths = {}
  for i = 2, #args do
    paths[#paths + 1] = common.absolute(args[i])
  end
  local route, result = importer.run(kind, paths, disk)
  if not route then
    return 1, result
  end
  if args.output then
    local problem = common.write(args.output, route)
    if problem then
      return 1, problem
    end
  else
    io.stdout:write(route)
  end
  io.stderr:write(result)
  return 0
end

return M
