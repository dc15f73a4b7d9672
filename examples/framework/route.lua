-- framework: Laravel, Symfony and their like: one script for every address, files beside it.
--
--     /build/app.1a2b3c.css   a file with a hash in its name: a browser keeps it for a year
--     /storage/a.php          what users have uploaded, never run
--     /other.php              404: no script but the front controller has an address
--     everything else         public/index.php

local php = require("moongate.php")

return {
  listen = "127.0.0.1:8080",
  backends = { app = os.getenv("MOONGATE_PHP") or "unix:/run/php/php8.2-fpm.sock" },
  limits = { body = "64M" },

  on_request = php.site {
    root = "public", -- of the project, beside app/ and vendor/, which have no address
    backend = "app",
    front = "/index.php",
    run = { "/index.php" },
    never = { "^/storage/.*%.ph" },
    params = { APP_ENV = "production" },
    static = {
      cache_control = "public, max-age=3600",
      { match = "^/build/", cache_control = "public, max-age=31536000, immutable" },
    },
  },
}
