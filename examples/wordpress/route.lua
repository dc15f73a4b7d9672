-- wordpress: pretty permalinks, uploads that never run, and logins that can't be guessed at.
--
--     /2026/01/hello-world/     index.php, which knows the permalink
--     /wp-login.php             10 tries in a minute for each address
--     /xmlrpc.php               403
--     /wp-content/uploads/*     files only

local limit = require("moongate.limit")
local php = require("moongate.php")
local router = require("moongate.router")

local site = php.site {
  root = "public", backend = "app", front = "/index.php",
  never = {
    "^/wp%-content/uploads/.*%.ph",  -- uploads are no programs
    "^/wp%-includes/.*%.php$",       -- parts of WordPress that only WordPress includes
    "^/wp%-config", "^/xmlrpc%.php",
  },
  static = {
    cache_control = "public, max-age=3600",
    { match = "^/wp%-content/uploads/", cache_control = "public, max-age=604800" },
  },
}
local logins = limit.rate { name = "login", rate = "10/m" }

local r = router.new { default = site }
r:path("/wp-login.php", function(req)
  return req.method == "POST" and logins(req) or site(req)
end)

return {
  listen = "127.0.0.1:8080",
  backends = {
    app = { servers = { os.getenv("MOONGATE_PHP") or "unix:/run/php/php8.2-fpm.sock" },
      read_timeout = "5m" }, -- updates of plugins take their time
  },
  limits = { body = "64M" },
  on_request = r,
}
