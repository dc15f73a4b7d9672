-- versions: several versions of PHP at the same time, one over a unix socket and one over TCP.
--
--     curl -H 'Host: new.localhost' http://127.0.0.1:8080/           8.2, by the host
--     curl -H 'Host: old.localhost' http://127.0.0.1:8080/           7.4, by the host
--     curl -H 'Host: old.localhost' http://127.0.0.1:8080/next/      8.2, by the path
--     curl -H 'Host: choice.localhost' http://127.0.0.1:8080/legacy/ 7.4, by the site's own file

local php = require("moongate.php")
local router = require("moongate.router")

local VERSIONS = { ["8.2"] = "php82", ["7.4"] = "php74" }

local function site(folder, version)
  return php.site { root = "sites/" .. folder, versions = VERSIONS, version = version,
    backend = "php82" }
end

local old = router.new { default = site("old", "7.4") }
old:path("/next/*", site("old", "8.2"))

local r = router.new {}
r:host("new.localhost", site("new", "8.2"))
r:host("old.localhost", old)
-- The author of this site chooses: a file `.php-version` in a folder holds for all below it.
r:host("choice.localhost", site("choice", ".php-version"))

return {
  listen = "127.0.0.1:8080",
  backends = {
    -- A unix socket is faster, and its file says who may connect; TCP is for other machines.
    php82 = os.getenv("MOONGATE_PHP") or "unix:/run/php/php8.2-fpm.sock",
    php74 = os.getenv("MOONGATE_PHP_2") or "127.0.0.1:9074",
  },
  on_request = r,
}
