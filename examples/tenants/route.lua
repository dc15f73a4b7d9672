-- tenants: many sites, each with its host, its folder and its PHP, in a file.
--
--     curl -H 'Host: blue.localhost' http://127.0.0.1:8080/
--
-- Add a line to tenants.csv while it runs, and a folder in sites: a second later the new host is
-- served, without a reload. A line that is no good is said in the log, and all stays as it was.

local tenants = require("moongate.tenants")

-- Two versions of PHP would be two addresses here; the example makes do with one.
local address = os.getenv("MOONGATE_PHP") or "unix:/run/php/php8.2-fpm.sock"

return {
  listen = "127.0.0.1:8080",
  backends = { php82 = address, php74 = address },

  on_request = tenants.site {
    tenants = "tenants.csv",
    root = "sites/$tenant",
    versions = { ["8.2"] = "php82", ["7.4"] = "php74" },
    params = function(req) return { TENANT = req.host } end,
    default = {
      status = 404,
      headers = { ["Content-Type"] = "text/plain" },
      body = "There is no site of this name here.\n",
    },
  },
}
