-- moongate.cli.run owns `moongate run`: a route, in the foreground. Called by cli.commands.

local common = require("moongate.cli.common")
local core = require("moongate.core.commands")
local fpm = require("moongate.cli.fpm")

local M = {
  usage = "run ROUTE.lua [OPTIONS]", summary = "serve what a route says, in the foreground",
  options = {
    {
      name = "--watch", set = true,
      help = "reload when a file of the script changes; usual under a terminal",
    },
    { name = "--no-watch", key = "watch", set = false, help = "do not watch the files" },
    {
      name = "--sandbox",
      help = "a script of another author: no access to the process, files of its folder alone",
    },
    {
      name = "--php", value = "ADDR",
      help = "run a private PHP on this address, or auto; the script finds it in MOONGATE_PHP",
    },
  },
  min = 1, max = 1,
}
for i, option in ipairs(common.SERVER_OPTIONS) do
  table.insert(M.options, i, option)
end

--- Starts a PHP of our own beside the server.
---@return string|nil problem
local function add_php(opts, args)
  local address, problem
  if args.php ~= "auto" then -- auto: a socket in a folder of its own
    address, problem = common.address("--php", args.php, "connect")
    if not address then
      return problem
    end
  end
  problem, address = fpm.attach(opts, address)
  if not problem then
    core.setenv("MOONGATE_PHP", address)
  end
  return problem
end

---@param args table
---@return integer status, string|nil message
function M.main(args)
  local opts, problem = common.server_options(args)
  if not opts then
    return 2, problem
  end
  opts.route = common.absolute(args[1])
  opts.watch, opts.sandbox = args.watch, args.sandbox
  problem = common.add_certificate(opts)
  if problem then
    return 1, problem
  end
  if args.php then
    problem = add_php(opts, args)
    if problem then
      return 1, problem
    end
  end
  return common.serve(opts)
end

return M
