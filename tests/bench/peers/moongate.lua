-- Moongate, with the tenants in a table of its route.

local process = require("tests.support.process")

local ROUTE = [[
-- The tenants, each with its own folder, found by the request's host.
local tenants = {}
for i = %(step), %(tenants), %(step) do
  local docroot = %(docroot)
  tenants[("t%05d.example"):format(i)] = %(decision)
end

%(before)

return {
  control = false, script_timeout = "60s",
  log = { access = false },
  limits = { keepalive_requests = 1000000000, keepalive_timeout = "600s", header_timeout = "600s" },
  backends = {
    app = {
      servers = { %(servers) },
      keepalive = %(keepalive),
      keepalive_requests = 1000000000,
      %(backend)
    },
  },
  on_request = function(req)
    %(decide)
  end,
  %(keeping)
  %(hooks)
}
]]

-- Tenants cost nothing where replies are kept: there is one decision for all hosts.
local KEEPING = [[cache = { path = %q, size = "1G" }, compress = { levels = { gzip = 5 } },]]
local KEPT = [[return { backend = "app", docroot = "/srv", cache = { ttl = "1h" } }]]

-- What a tenant has in the table of the route.
local DECISIONS = {
  docroot = [[{ backend = "app", docroot = docroot, tenant = %(tenant) }]],
  root = [[{ backend = "app", root = docroot, tenant = %(tenant) }]],
  site = [[require("moongate.php").site({
    backend = "app", root = docroot, front = "/index.php",
  })]],
}

local PLAIN = "return tenants[req.host]"
local SITE = "return tenants[req.host](req)"

local function peer(name, title, binary)
  return {
    name = name,
    title = title,
    binary = binary,
    version = "version",
    reload = "HUP",
    ready = function(values)
      return (process.read_file(values.dir .. "/stderr") or ""):find("serving", 1, true)
    end,
    command = function(values, fill, program)
      local all = setmetatable({
        servers = '"' .. table.concat(values.servers, '", "') .. '"',
        decide = values.on_request or values.route == "site" and SITE
          or values.route == "cached" and KEPT or PLAIN,
        keeping = values.route == "cached" and KEEPING:format(values.dir) or "",
        docroot = values.root and ("%q"):format(values.root)
          or ("%q .. ('/t%%05d'):format((i - 1) %% %d + 1)"):format(values.sites, values.folders),
        step = values.folder and 100 or 1, -- so many are all that measure.instructions asks for
        tenant = values.shares and [[("t%05d"):format(i)]] or "nil",
      }, { __index = values })
      local route = fill(ROUTE, { decision = DECISIONS[values.route] or "nil" })
      process.write_file(values.dir .. "/route.lua", fill(route, all))
      local argv = { program, "run", values.dir .. "/route.lua", "--listen", values.address,
        "--workers", tostring(values.workers), "--no-watch" }
      if process.is_root() then
        argv[#argv + 1] = "--user"
        argv[#argv + 1] = "root"
      end
      return argv
    end,
  }
end

return {
  peer("moongate", "Moongate", "build/moongate"),
  peer("moongate-release", "Moongate, release build", "build/release/moongate"),
}
