-- two-fronts: two Moongates on two machines share one PHP-FPM, and each has its part of PHP's
-- processes.
--
--     curl -c jar -b jar http://127.0.0.1:8081/     through the one,
--     curl -c jar -b jar http://127.0.0.1:8082/     and through the other: the same session
--
-- README.md starts both on one machine.

local php = require("moongate.php")

local CHILDREN = 8 -- pm.max_children of the pool
local FRONTS = 2 -- Moongates before it, and other web servers

return {
  backends = {
    app = {
      servers = os.getenv("MOONGATE_PHP") or "10.0.0.9:9000",
      -- Each Moongate counts its own connections alone, so these add up.
      max_conns = math.floor(CHILDREN / FRONTS),
      queue = 200,
      queue_timeout = "15s",
      health = { ping = "/ping", interval = "2s" }, -- ping.path of the pool
    },
  },
  on_request = php.site {
    root = "public", -- as this machine has it
    docroot = os.getenv("PHP_DOCROOT"), -- as PHP has it: the same name from every front
    front = "/index.php",
    backend = "app",
    params = { FRONT = os.getenv("MOONGATE_NAME") or "one" },
  },
}
