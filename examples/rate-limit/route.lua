-- rate-limit: how often a client may ask, and how many expensive pages run at a time.
--
--     /login      10 tries in a minute for each address
--     /search     2 at a time for each visitor, whatever his address is
--     /api/*      100 in a minute for each key; answers say how many are left

local limit = require("moongate.limit")
local php = require("moongate.php")
local router = require("moongate.router")

local site = php.site { root = "public", backend = "app", front = "/index.php" }
local logins = limit.rate { name = "login", rate = "10/m" }
local searches = limit.concurrency { name = "search", limit = 2,
  key = function(req) return req.cookies.visitor or req.ip end }
local api = limit.rate { name = "api", rate = "100/m", burst = 20,
  key = function(req) return req.headers["X-Api-Key"] or req.ip end }

local r = router.new { default = site }
r:path("/login", function(req) return req.method == "POST" and logins(req) or site(req) end)
r:path("/search", function(req) return searches(req) or site(req) end)
r:path("/api/*", api:wrap(site))

return {
  listen = "127.0.0.1:8080",
  backends = { app = os.getenv("MOONGATE_PHP") or "unix:/run/php/php8.2-fpm.sock" },
  on_request = r,
}
