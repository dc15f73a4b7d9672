-- hello: one folder, one PHP. Edit public/index.php and load the page again.
--
--     moongate run examples/hello/route.lua --php auto
--
-- `--php` starts a private PHP and names its address in MOONGATE_PHP; without it the route uses the
-- php-fpm that Debian starts.

local php = require("moongate.php")

return {
  listen = "127.0.0.1:8080",
  backends = {
    app = os.getenv("MOONGATE_PHP") or "unix:/run/php/php8.2-fpm.sock",
  },
  -- *.php goes to the backend, everything else comes from the folder beside this file.
  on_request = php.site { root = "public", backend = "app" },
}
