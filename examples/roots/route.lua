-- roots: the proxy and PHP see the site in different folders, and its address has a prefix that
-- neither folder has.
--
--     curl http://127.0.0.1:8080/shop/cart.php/7     PHP runs cart.php of its own folder
--     curl http://127.0.0.1:8080/shop/style.css      the proxy's own copy

local php = require("moongate.php")
local router = require("moongate.router")

local shop = php.site {
  root = "public",                                     -- as this machine sees the site
  docroot = os.getenv("SHOP_DOCROOT") or "/app/public", -- as PHP sees it
  backend = "app",
  strip = "/shop",                                     -- /shop/cart.php is /cart.php of the site
}

local r = router.new {}
r:path("/", { redirect = "/shop/" })
r:path("/shop/*", shop)

return {
  listen = "127.0.0.1:8080",
  backends = { app = os.getenv("MOONGATE_PHP") or "127.0.0.1:9000" },
  on_request = r,

  -- Applications of the days before SCRIPT_FILENAME look at PATH_TRANSLATED for their script.
  -- PHP-FPM takes it for the script, too, where `cgi.fix_pathinfo` is 1: both have to say the same.
  on_params = function(_, params)
    params.PATH_TRANSLATED = params.SCRIPT_FILENAME
  end,
}
