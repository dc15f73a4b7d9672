-- dokuwiki: DokuWiki as Debian installs it, below /wiki: pages by PATH_INFO, templates and plugins
-- behind symlinks that lead out of its folder, and no address for its parts.
--
--     /wiki/doku.php/playground:playground     a page
--     /wiki/lib/tpl/...                        a file of the template

local php = require("moongate.php")
local router = require("moongate.router")

local system = os.getenv("DOKUWIKI") or "" -- what stands before /usr and /var

local r = router.new {}
r:path("/", { redirect = "/wiki/" })
r:path("/wiki/*", php.site {
  root = system .. "/usr/share/dokuwiki", backend = "app", strip = "/wiki",
  -- Links may lead where Debian puts what is written or exchanged, and nowhere else.
  within = { system .. "/usr/share/dokuwiki", system .. "/var/lib/dokuwiki/lib" },
  never = { "/inc/", "/bin/", "/vendor/", "/data/", "/conf/" },
})

return {
  listen = "127.0.0.1:8080",
  backends = { app = os.getenv("MOONGATE_PHP") or "unix:/run/php/php8.2-fpm.sock" },
  limits = { body = "64M" },
  on_request = r,
}
