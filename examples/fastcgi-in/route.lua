-- fastcgi-in: behind a web server that passes its requests by FastCGI (docs/fastcgi-in.md has a
-- configuration for each). The route chooses which PHP runs a request:
--
--     new.example/*    the newer PHP
--     everything else  the one that the site was written for

local php = require("moongate.php")

local socket = os.getenv("MOONGATE_PHP") or "unix:/run/php/php8.2-fpm.sock"

local function site(backend)
  return php.site {
    root = "public",
    backend = backend,
    front = "/index.php",
    params = { CHOSEN_PHP = backend },
  }
end

local newer, older = site("newer"), site("older")

return {
  listen = {
    { address = "127.0.0.1:9001", protocol = "fastcgi", name = "web server" },
    "127.0.0.1:8080", -- the same over HTTP, to look at it with a browser
  },
  backends = {
    newer = os.getenv("MOONGATE_PHP_NEWER") or socket,
    older = socket,
  },

  on_request = function(req)
    return (req.host == "new.example" and newer or older)(req)
  end,
}
