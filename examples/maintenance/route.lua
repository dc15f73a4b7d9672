-- maintenance: a page in the place of the site while it is worked on, on and off while it serves.
--
--     moongate set maintenance.shop on
--     moongate set maintenance.shop off
--
-- Who comes from 10.0.0.0/8 sees the site all the while, and the health check of a load balancer
-- goes on.

local maintenance = require("moongate.maintenance")
local php = require("moongate.php")
local router = require("moongate.router")

local site = php.site { root = "public", backend = "app", front = "/index.php" }
local r = router.new { default = site }
r:use(maintenance.new {
  name = "shop",
  page = {
    status = 503, headers = { ["Content-Type"] = "text/html; charset=utf-8" },
    body = "<!doctype html><title>Back soon</title><h1>We are back in ten minutes</h1>\n",
  },
  retry_after = "10m",
  allow = { "10.0.0.0/8" },
  except = { "^/health$" },
})

return {
  listen = "127.0.0.1:8080",
  backends = { app = os.getenv("MOONGATE_PHP") or "unix:/run/php/php8.2-fpm.sock" },
  on_request = r,
}
