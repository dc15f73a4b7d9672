-- moongate.cli.serve owns `moongate serve`: a folder without a script. Called by cli.commands.
--
-- It writes the route that one would write by hand, and hands its text to core.run.

local common = require("moongate.cli.common")
local core = require("moongate.core.commands")
local fpm = require("moongate.cli.fpm")

local M = {
  usage = "serve DIR [OPTIONS]", summary = "serve a folder: files, and *.php through FastCGI",
  options = {
    {
      name = "--backend", value = "ADDR",
      help = "a FastCGI server that runs already; without it a private PHP is started",
    },
    {
      name = "--tls",
      help = "https on 127.0.0.1:8443, too, with a certificate for localhost that is made for it",
    },
  },
  min = 1, max = 1,
}
for i, option in ipairs(common.SERVER_OPTIONS) do
  table.insert(M.options, i, option)
end

local DEFAULT_LISTEN = "127.0.0.1:8080"
local DEFAULT_TLS = "https://127.0.0.1:8443"

-- The first line runs in the workers, as their user: it must see the folder.
local ROUTE = [[
require("moongate.route.load").expect_folder(%q)
return {
  backends = { php = %q },
  on_request = require("moongate.php").site { root = %q, backend = "php" },
}
]]

--- The route for a folder.
---@param root string absolute
---@param backend string an address
---@return string text
function M.route(root, backend)
  return ROUTE:format(root, backend, root)
end

---@param args table
---@return integer status, string|nil message
function M.main(args)
  local opts, problem = common.server_options(args)
  if not opts then
    return 2, problem
  end
  local root, reason = core.realpath(args[1])
  if not root then
    return 1, ("%s: %s"):format(args[1], reason or "cannot be found")
  elseif core.stat(root) ~= "directory" then
    return 1, ("%s: not a folder; `moongate run` takes a script"):format(args[1])
  end
  opts.listen = opts.listen or { DEFAULT_LISTEN }
  if args.tls then
    opts.listen[#opts.listen + 1] = DEFAULT_TLS
  end
  opts.banner = ("moongate: from the folder %s\n"):format(root)
  problem = common.add_certificate(opts)
  if problem then
    return 1, problem
  end
  local backend
  if args.backend then
    backend, problem = common.address("--backend", args.backend, "connect")
    if not backend then
      return 2, problem
    end
  else
    problem, backend = fpm.attach(opts)
    if problem then
      return 1, problem
    end
  end
  opts.source, opts.name = M.route(root, backend), "serve"
  opts.watch = false
  return common.serve(opts)
end

return M
