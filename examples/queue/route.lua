-- queue: two sites share four PHP processes. What is too much waits, and neither site can make the
-- other wait for long.
--
--     curl 'http://blue.localhost:8080/?seconds=1'       as many of them as you like
--     moongate status                                    how many run, how many wait
--     moongate hold app                                  nothing runs any more: restart PHP now
--     moongate resume app                                ... and nobody has seen an error

local php = require("moongate.php")

return {
  listen = "127.0.0.1:8080",
  backends = {
    app = {
      servers = os.getenv("MOONGATE_PHP") or "unix:/run/php/php8.2-fpm.sock",
      max_conns = 4, -- pm.max_children of the pool
      per_tenant = 3, -- so that one is there for the other
      queue = 100, -- the next one is answered 503,
      queue_timeout = "20s", -- and so is who has waited that long
    },
  },

  on_request = php.site {
    root = "public",
    backend = "app",
    tenant = function(req)
      return req.host
    end,
  },
}
