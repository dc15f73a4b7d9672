-- wordpress-cache: pages of WordPress, made once for all visitors, and anew after a change.
--
--     /2026/01/hello-world/     kept for 10 minutes, and for 6 hours more while PHP is down
--     /wp-admin/, /wp-json/     never kept, nor what is made for who is logged in or has commented
--     publishing, comments      the page, the front page, feeds and archives are made anew

local limit = require("moongate.limit")
local php = require("moongate.php")
local router = require("moongate.router")

-- Cookies of visitors with pages of their own: who is logged in, has told the password of a page,
-- has commented, has a cart.
local OWN = {
  "^wordpress_logged_in_", "^wordpress_sec_", "^wp%-postpass_", "^comment_author_",
  "^woocommerce_", "^wp_woocommerce_session_",
}

local function has_own_pages(req)
  for name in req.cookies:each() do
    for _, pattern in ipairs(OWN) do
      if name:find(pattern) then
        return true
      end
    end
  end
  return false
end

-- Previews, the customizer, searches and REST are nobody else's business, or without number.
local NOT_KEPT = { "preview", "customize_changeset_uuid", "s", "rest_route" }

local function passes_by(req)
  if req.path:find("/wp%-") or req.path:find("^/xmlrpc%.php") or has_own_pages(req) then
    return true
  end
  for _, name in ipairs(NOT_KEPT) do
    if req.args[name] then
      return true
    end
  end
  return false
end

-- What the plugin purges a page by: its address without host, query, feed and number of the page.
-- wp-content/mu-plugins/moongate-cache.php makes the same of an address.
local function tag(path)
  local page = path:gsub("/+$", ""):gsub("/page/%d+$", ""):gsub("/comment%-page%-%d+$", "")
    :gsub("/feed$", ""):gsub("/feed/%w+$", "")
  return ("page:" .. page:gsub("[%c%s]", "_")):sub(1, 200)
end

local site = php.site {
  root = "public", backend = "app", front = "/index.php",
  never = {
    "^/wp%-content/uploads/.*%.ph",  -- uploads are no programs
    "^/wp%-includes/.*%.php$",       -- parts of WordPress that only WordPress includes
    "^/wp%-config", "^/xmlrpc%.php",
  },
  static = {
    cache_control = "public, max-age=3600",
    { match = "^/wp%-content/uploads/", cache_control = "public, max-age=604800" },
  },
  cache = function(req)
    if passes_by(req) then
      return { bypass = true }
    end
    return { bypass = false, ttl = "10m", stale = "6h", tags = { tag(req.path) } }
  end,
  -- A page for all is made without the cookies of one.
  params = function(req)
    return not passes_by(req) and { HTTP_COOKIE = false } or {}
  end,
}
local logins = limit.rate { name = "login", rate = "10/m" }

local r = router.new { default = site }
r:path("/wp-login.php", function(req)
  return req.method == "POST" and logins(req) or site(req)
end)

return {
  listen = "127.0.0.1:8080",
  backends = {
    app = { servers = { os.getenv("MOONGATE_PHP") or "unix:/run/php/php8.2-fpm.sock" },
      read_timeout = "5m" }, -- updates of plugins take their time
  },
  cache = { path = os.getenv("CACHE") or "/dev/shm", size = "256M" },
  compress = true,
  limits = { body = "64M" },
  on_request = r,
}
