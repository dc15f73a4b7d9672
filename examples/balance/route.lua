-- balance: two pools of PHP share the work, by how much each has to do.
--
--     curl http://127.0.0.1:8080/                        the pool with the least to do
--     curl -b pool=second http://127.0.0.1:8080/         the second one, for who asks for it
--     moongate status                                    what each has to do
--     moongate drain app unix:/run/php/second.sock       nothing new for it, until `undrain`
--
-- A pool that can't be reached three times in ten seconds is left out for ten seconds; its requests
-- go to the other one. docs/balancing.md has the other policies and checks.

local php = require("moongate.php")

local first = os.getenv("MOONGATE_PHP") or "unix:/run/php/php8.2-fpm.sock"
local second = os.getenv("MOONGATE_PHP_2") or "unix:/run/php/second.sock"

return {
  listen = "127.0.0.1:8080",
  backends = {
    app = {
      servers = { { address = first, weight = 2 }, second },
      balance = "least_conn",
      max_fails = 3,
      fail_timeout = "10s",
    },
  },

  on_request = php.site { root = "public", backend = "app" },

  -- Asked before the policy; nil leaves it the choice.
  on_balance = function(req, servers)
    for _, server in ipairs(req.cookies.pool == "second" and servers or {}) do
      if server.address == second then
        return server
      end
    end
  end,
}
