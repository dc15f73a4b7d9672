-- multi-php: three versions of PHP, each in a root of its own (a container, a chroot, an older
-- Debian), for many sites. Which one is said by the host, by the path, or by a file of the site.
--
--     curl -H 'Host: acme.localhost' http://127.0.0.1:8080/         7.4, as tenants.csv says
--     curl -H 'Host: acme.localhost' http://127.0.0.1:8080/next/    8.4, by the path, for all
--     curl -H 'Host: wiki.localhost' http://127.0.0.1:8080/archive/ 8.2, by a file `.php-version`
--
-- Edit tenants.csv while it runs: a second later the site's next request is run by another PHP.

local router = require("moongate.router")
local tenants = require("moongate.tenants")

local SITES = os.getenv("SITES") or "/srv/sites"

local function sites(version)
  return tenants.site {
    tenants = "tenants.csv",
    root = "sites/$tenant",         -- as this machine sees the sites
    docroot = SITES .. "/$tenant",  -- as each PHP sees them in its own root
    versions = { ["7.4"] = "php74", ["8.2"] = "php82", ["8.4"] = "php84" },
    version = version,              -- where it says nothing, the tenant's own counts
  }
end

local r = router.new { default = sites(".php-version") }
r:path("/next/*", sites(function() return "8.4" end))

return {
  listen = "127.0.0.1:8080",
  backends = {
    php74 = os.getenv("MOONGATE_PHP_74") or "unix:/srv/php74/run/php/php7.4-fpm.sock",
    php82 = os.getenv("MOONGATE_PHP_82") or "unix:/srv/php82/run/php/php8.2-fpm.sock",
    php84 = os.getenv("MOONGATE_PHP_84") or "unix:/srv/php84/run/php/php8.4-fpm.sock",
  },
  on_request = r,
}
