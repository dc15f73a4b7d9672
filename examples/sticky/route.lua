-- sticky: sessions in the memory or on the disk of one server: a browser stays with the server that
-- it began with, by a cookie that does not name the server.
--
--     curl -c jar -b jar http://127.0.0.1:8080/     the same process's pool each time

local php = require("moongate.php")

return {
  listen = "127.0.0.1:8080",
  backends = {
    app = {
      servers = {
        os.getenv("MOONGATE_PHP") or "10.0.0.1:9000",
        os.getenv("MOONGATE_PHP_2") or "10.0.0.2:9000",
      },
      balance = "sticky", -- another server where that one is out or draining
    },
  },
  on_request = php.site { root = "public", backend = "app", front = "/index.php" },
}
