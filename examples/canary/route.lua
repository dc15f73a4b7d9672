-- canary: a new release for a part of the visitors, who do not notice where it fails.
--
--     moongate run route.lua --php unix:/tmp/php.sock
--     moongate set canary.release 10%
--     moongate status                  # says what the share is, or why the canary was stopped

local canary = require("moongate.canary")
local php = require("moongate.php")

-- Two folders stand for two releases; as well they may be two versions of PHP, or two machines.
local address = os.getenv("MOONGATE_PHP") or "unix:/run/php/php8.2-fpm.sock"

local function site(root)
  return php.site { root = root, front = "/index.php", backend = root }
end

return {
  listen = "127.0.0.1:8080",
  backends = { stable = address, next = address },

  on_request = canary.split {
    name = "release", stable = site("stable"), canary = site("next"),
    share = "0%",            -- until somebody sets it
    sticky = "cookie",       -- a browser stays with what it got
    force = function(req)    -- testers ask for it
      return req.headers["X-Release"] == "next" or nil
    end,
    budget = "10%", window = "1m", least = 10,
  },
}
