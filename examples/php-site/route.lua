-- php-site: an application with a front controller, the way frameworks and WordPress want it.
--
--     /style.css       from disk, with a lifetime for caches
--     /index.php/any   PHP, with PATH_INFO
--     /any/address     the front controller, index.php
--     /uploads/*       files only: whatever users put there, no script of theirs runs

local php = require("moongate.php")

return {
  listen = "127.0.0.1:8080",
  backends = {
    app = {
      servers = { os.getenv("MOONGATE_PHP") or "unix:/run/php/php8.2-fpm.sock" },
      read_timeout = "2m",
    },
  },
  limits = { body = "64M" },

  on_request = php.site {
    root = "public",
    backend = "app",
    front = "/index.php",
    never = { "^/uploads/.*%.ph" },
    static = { cache_control = "public, max-age=3600" },
  },

  -- A last word on the variables that the application sees.
  on_params = function(_, params)
    params.APP_ENV = "example"
  end,

  -- ... and on the response.
  on_response = function(_, res)
    res.headers["X-Content-Type-Options"] = "nosniff"
  end,
}
