-- two-dmz: Moongate in one network zone, PHP on a machine of another one, a firewall between them.
-- The code that pages run lies on PHP's machine; here is a copy of `public`.
--
--     curl http://127.0.0.1:8080/cart/7               index.php, run by PHP's machine
--     curl http://127.0.0.1:8080/assets/style.css     this machine's own copy
--     moongate explain route.lua /cart/7              says whether PHP's machine can be reached

local php = require("moongate.php")

return {
  listen = "127.0.0.1:8080",
  backends = {
    app = {
      servers = { os.getenv("MOONGATE_PHP") or "192.0.2.2:9000" },
      connect_timeout = "2s", -- a firewall that drops packets says nothing
    },
  },

  on_request = php.site {
    root = "public",                                            -- on this machine
    docroot = os.getenv("APP_DOCROOT") or "/srv/app/public",    -- on PHP's machine
    backend = "app",
    front = "/index.php",
    errors = { [502] = "/down.html", [503] = "/down.html", [504] = "/down.html" },
  },
}
