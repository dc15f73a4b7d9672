-- timeouts: PHP gives up before the proxy does, so that the one who knows the reason says it.
--
--     curl http://127.0.0.1:8080/?seconds=1         a page
--     curl http://127.0.0.1:8080/?seconds=20        PHP ends the script after 2 s: its own 500
--     curl http://127.0.0.1:8080/?sleep=20          no CPU time for PHP to count: the proxy's 504
--     curl http://127.0.0.1:8080/export.php?seconds=5     a page that may take longer

local php = require("moongate.php")

local PAGE = 2     -- seconds that PHP gives a page
local EXPORT = 30  -- ... and an export
local BEYOND = 2   -- the proxy waits that much longer than PHP

--- How long a request may take, by its path.
local function seconds(req)
  return req.path == "/export.php" and EXPORT or PAGE
end

return {
  listen = "127.0.0.1:8080",
  backends = {
    app = {
      servers = { os.getenv("MOONGATE_PHP") or "unix:/run/php/php8.2-fpm.sock" },
      ini = { max_execution_time = PAGE }, -- what a site's `ini` may change has a value here
      connect_timeout = "2s",
    },
  },
  on_request = php.site {
    root = "public", backend = "app",
    ini = function(req) return { max_execution_time = seconds(req) } end,
    read_timeout = function(req) return seconds(req) + BEYOND end,
  },
}
