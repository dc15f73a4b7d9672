-- shadow: what would another PHP answer? Copies of requests ask it, behind the visitors' answers.
--
--     moongate run route.lua --php unix:/tmp/php.sock
--     moongate shadow report           # worst first
--     moongate set shadow.php84 10%    # or off

local php = require("moongate.php")
local shadow = require("moongate.shadow")

local address = os.getenv("MOONGATE_PHP") or "unix:/run/php/php8.2-fpm.sock"

return {
  listen = "127.0.0.1:8080",
  backends = { php74 = address, php84 = os.getenv("MOONGATE_PHP_2") or address },

  on_request = shadow.wrap(php.site { root = "old", backend = "php74" }, {
    name = "php84", to = "php84",
    sample = "100%",                         -- on a site with visitors rather "1%"
    concurrency = 2, timeout = "10s",        -- copies at a time, over all workers
    cookies = { "_ga", "_gid", "lang" },     -- a request with other cookies is not copied
    when = function(req)                     -- a GET that does something is not, either
      return req.path ~= "/cron.php"
    end,
  }),

  -- With one PHP in place of two, a folder stands for what the other one would make of the pages.
  on_params = function(_, params)
    if params.MOONGATE_SHADOW and not os.getenv("MOONGATE_PHP_2") then
      params.SCRIPT_FILENAME = params.SCRIPT_FILENAME:gsub("/old/", "/new/")
    end
  end,
}
