-- certificates: HTTPS for many tenants, whose certificates a script has.
--
--     CERTIFICATES=$PWD/certificates moongate run route.lua
--     curl --cacert certificates/blue.localhost/cert.pem https://blue.localhost:8443/
--
-- Clients that ask for another name, or for none, are refused in the handshake.

local store = require("store")

return {
  listen = { { address = "127.0.0.1:8443", tls = { cache = 10000, ttl = "10m" } } },
  on_certificate = store.pair,
  on_request = function(req)
    return {
      status = 200, headers = { ["Content-Type"] = "text/plain" },
      body = ("This is %s.\n"):format(req.tls and req.tls.name or req.host),
    }
  end,
}
