-- tenants: many sites, each with its host, its folder and its PHP, in one table.
--
--     curl -H 'Host: blue.localhost' http://127.0.0.1:8080/
--
-- The table may as well come from a file or be made by a loop: this is ordinary Lua.

local php = require("moongate.php")

-- Two versions of PHP would be two addresses here; the example makes do with one.
local address = os.getenv("MOONGATE_PHP") or "unix:/run/php/php8.2-fpm.sock"

local tenants = {
  ["blue.localhost"] = { folder = "sites/blue", php = "php82" },
  ["green.localhost"] = { folder = "sites/green", php = "php74" },
}

-- One site for each tenant, made once: a request then costs one look into a table.
local sites = {}
for host, tenant in pairs(tenants) do
  sites[host] = php.site {
    root = tenant.folder,
    backend = tenant.php,
    tenant = host,
    params = { TENANT = host },
  }
end

local unknown = {
  status = 404,
  headers = { ["Content-Type"] = "text/plain" },
  body = "There is no site of this name here.\n",
}

return {
  listen = "127.0.0.1:8080",
  backends = { php82 = address, php74 = address },

  on_request = function(req)
    local site = sites[req.host]
    return site and site(req) or unknown
  end,
}
