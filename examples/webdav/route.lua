-- webdav: an application that speaks WebDAV, such as Nextcloud: every method, scripts with a path
-- behind them, names with dots, uploads of any size, and addresses that clients look for.
--
--     curl -T file http://127.0.0.1:8080/remote.php/dav/files/anna/.config/app.php
--     curl -X PROPFIND http://127.0.0.1:8080/remote.php/dav/files/anna/

local php = require("moongate.php")
local router = require("moongate.router")

local site = php.site {
  root = "public", backend = "app", front = "/index.php",
  -- What stands behind a script is the application's, whatever it is called. These are files.
  never = { "^/config/", "^/data/", "^/lib/", "^/templates/" },
  request_buffering = false, -- an upload of hours is PHP's from its first byte on
}

local r = router.new { default = site }
for _, name in ipairs({ "caldav", "carddav" }) do
  r:path("/.well-known/" .. name, { redirect = "/remote.php/dav/", status = 301 })
end

return {
  listen = "127.0.0.1:8080",
  backends = {
    app = { servers = { os.getenv("MOONGATE_PHP") or "unix:/run/php/php8.2-fpm.sock" },
      read_timeout = "10m", send_timeout = "10m" },
  },
  limits = { body = "10G" },
  on_request = r,
}
