-- The route of tools/trial-ktls: the same files with the kernel's TLS, and without.

local SITE = { cert = "/srv/tls/site.pem", key = "/srv/tls/site.key" }
local OTHER = { cert = "/srv/tls/other.pem", key = "/srv/tls/other.key" }

return {
  listen = {
    { address = "127.0.0.1:8443", tls = { SITE, OTHER, ktls = true } },
    { address = "127.0.0.1:8444", tls = { SITE, ktls = false } },
    { address = "127.0.0.1:8445", tls = { SITE }, proxy_protocol = true },
  },
  workers = 2,
  user = "nobody",
  control = "127.0.0.1:9180",
  trusted_proxies = { "127.0.0.1" },
  limits = { header_timeout = "5m" }, -- the machine is slow
  watch = false,
  log = { access = false },
  on_request = function(req)
    if req.path == "/who" then
      return { status = 200, body = req.ip .. " " .. req.tls.version .. "\n" }
    end
    return { root = "/srv/www" }
  end,
}
