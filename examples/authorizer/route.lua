-- authorizer: a site behind a login that PHP decides about, for pages and files alike.
-- auth/auth.php is asked first: with 200 it lets the request on, and names the user; what else it
-- says is the client's answer. README.md says more.
--
--     moongate run route.lua --php auto
--     curl -i 'http://127.0.0.1:8080/notes.txt'
--     curl -i -c jar -b jar -L 'http://127.0.0.1:8080/?name=ann&password=moon'

local php = require("moongate.php")

return {
  listen = "127.0.0.1:8080",
  test = "spec",
  backends = { php = os.getenv("MOONGATE_PHP") or "unix:/run/php/php8.2-fpm.sock" },

  on_request = php.site {
    root = "public",
    backend = "php",
    authorize = { backend = "php", root = "auth", script = "/auth.php" },
    authorize_key = function(req) return req.cookies.session end, -- a session is asked about once
    authorize_ttl = "10s",
  },
}
