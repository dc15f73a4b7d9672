-- failover: a second PHP answers while the first one is down, and a page while both are.
--
-- Two pools stand for the PHP of two machines. Each has `ping.path = /ping` in its pool file, so
-- that Moongate finds out which of them is alive, and sends no visitor to one that is not.

local health = require("moongate.health")
local php = require("moongate.php")

local function site(backend)
  return php.site { root = "public", front = "/index.php", backend = backend }
end

local function backend(address)
  return { servers = address, connect_timeout = "1s",
    health = { ping = "/ping", interval = "1s", timeout = "5s", rise = 1, fall = 2 } }
end

return {
  listen = "127.0.0.1:8080",
  backends = {
    main = backend(os.getenv("MOONGATE_PHP") or "unix:/run/php/php8.2-fpm.sock"),
    spare = backend(os.getenv("MOONGATE_PHP_2") or "unix:/run/php/php8.2-fpm-2.sock"),
  },

  on_request = health.failover(site("main"), site("spare"), {
    status = 503,
    headers = { ["Content-Type"] = "text/plain", ["Retry-After"] = 30 },
    body = "We are back in a moment.\n",
  }),
}
