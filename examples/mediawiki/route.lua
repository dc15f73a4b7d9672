-- mediawiki: short addresses for pages, its entry points, and uploads that never run.
--
--     /wiki/Any_title       w/index.php, which reads the title from REQUEST_URI
--     /w/load.php, /w/api.php, /w/rest.php/v1/page/Any_title
--     /w/images/*           files only
--
-- LocalSettings.php has $wgScriptPath = "/w"; $wgArticlePath = "/wiki/$1";

local php = require("moongate.php")
local router = require("moongate.router")

local address = os.getenv("MOONGATE_PHP") or "unix:/run/php/php8.2-fpm.sock"

local files = php.site {
  root = "w", backend = "app", strip = "/w",
  run = { "/index.php", "/load.php", "/api.php", "/rest.php", "/thumb.php",
    "/opensearch_desc.php" },
  never = { "^/images/.*%.ph", "^/includes/", "^/maintenance/", "^/vendor/" },
  static = { cache_control = "public, max-age=86400" },
}
-- The script alone is looked for: a title may look like a file.
local pages = php.site { root = "w", backend = "app", strip = "/wiki", try = { "/index.php" } }

local r = router.new {}
r:path("/", { redirect = "/wiki/Main_Page" })
r:path("/w/*", files)
r:path("/wiki/*", pages)

return {
  listen = "127.0.0.1:8080",
  backends = { app = address },
  limits = { body = "100M" },
  on_request = r,
}
