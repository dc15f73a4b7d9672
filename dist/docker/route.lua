-- What the image serves, unless another route is put in its place, as compose.yaml does: the pages of
-- /srv/www, PHP by the container `php`. The access log goes to standard output, errors to standard
-- error: `docker logs`.
local php = require("moongate.php")

return {
  listen = ":8080",
  backends = {
    -- max_conns: pm.max_children of that container's pool, 5 in PHP's own image.
    app = { servers = os.getenv("MOONGATE_PHP") or "php:9000", max_conns = 5 },
  },
  on_request = php.site({ root = "/srv/www", backend = "app" }),
}
