-- The cases of load: what is asked, and how the servers are started for it. Read by main.lua and by
-- the test that keeps the benchmark alive (tests/integration/70-bench_spec.lua).

local CHILDREN = 4 -- of PHP-FPM

---@class Case
---@field name string
---@field title string
---@field path string
---@field method? string
---@field body? integer bytes of the request's body
---@field length? integer bytes of the reply's body; nil: they differ from server to server
---@field hosts integer tenants that are asked in turn
---@field header? string a line of the request's head
---@field route "docroot"|"root"|"site"|"cached" as in proxies.start
---@field close? boolean the client makes a connection for each request
---@field fresh? boolean the server makes a connection to the application for each request
---@field front? boolean needs a front controller
---@field tenants? integer how many there are, where that is what is measured
---@field workers? integer
---@field crowd? boolean beside ten thousand idle and a thousand slow clients
---@field php? boolean the application is PHP-FPM
---@field kept? boolean connections to PHP-FPM are kept
---@field pool? string[] more lines of PHP-FPM's pool
---@field warm? integer seconds of load before the first round, in which all replies are asked for
---@field reload? boolean the configuration is loaded again and again
---@field counted? boolean instructions are counted, too
---@field only? table<string, true> the servers that do not do the same as in another case
---@field moongate? table more options of proxies.start, for Moongate

local HELLO = "/index.php?body=hello"

-- As an operator would set it up: as many connections as there are children, and requests wait.
local FPM = { keepalive = CHILDREN, backend = "max_conns = " .. CHILDREN }

-- Who keeps replies.
local KEEPERS = { nginx = true, moongate = true, ["moongate-release"] = true }

---@type Case[]
local cases = {
  { name = "tiny", title = "tiny GET", path = HELLO, length = 5, hosts = 1000, route = "root",
    counted = true },
  { name = "tiny1", title = "tiny GET, one tenant asked", path = HELLO, length = 5, hosts = 1,
    route = "root" },
  { name = "docroot", title = "tiny, not looked up", path = HELLO, length = 5, hosts = 1000,
    route = "docroot", only = { nginx = true, moongate = true }, counted = true },
  { name = "64k", title = "64 KB reply", path = "/index.php?size=65536", length = 65536,
    hosts = 1000, route = "root" },
  { name = "1m", title = "1 MB reply", path = "/index.php?size=1048576", length = 1048576,
    hosts = 1000, route = "root" },
  { name = "post", title = "POST of 16 KB", method = "POST", path = "/form.php?check",
    body = 16384, length = 20, hosts = 50, route = "root", counted = true },
  { name = "post1", title = "POST of 16 KB, one tenant asked", method = "POST", length = 20,
    path = "/form.php?check", body = 16384, hosts = 1, route = "root" },
  { name = "close", title = "a new connection each", path = HELLO, length = 5, hosts = 1000,
    route = "root", close = true },
  { name = "plain", title = "tiny, FastCGI not kept", path = HELLO, length = 5, hosts = 1000,
    route = "root", fresh = true },
  { name = "site", title = "front controller", path = "/2026/11/some-post/?body=hello", length = 5,
    hosts = 1000, route = "site", front = true, counted = true },
  { name = "site1", title = "front controller, one tenant asked", length = 5, hosts = 1,
    path = "/2026/11/some-post/?body=hello", route = "site", front = true },
  { name = "static", title = "file of 4 KB", path = "/style.css", length = 4096, hosts = 1000,
    route = "site", counted = true },
  { name = "static1", title = "file of 4 KB, one tenant asked", path = "/style.css", length = 4096,
    hosts = 1, route = "site" },
  { name = "static1m", title = "file of 1 MB", path = "/large.css", length = 1048576, hosts = 10,
    route = "site" },
  { name = "crowd", title = "beside 10,000 idle, 1,000 slow", path = HELLO, length = 5,
    hosts = 1000, route = "root", crowd = true },
  { name = "hosts10", title = "10 tenants", path = HELLO, length = 5, hosts = 10, route = "root",
    tenants = 10 },
  { name = "hosts1000", title = "1,000 tenants", path = HELLO, length = 5, hosts = 1000,
    route = "root", tenants = 1000 },
  { name = "hosts100000", title = "100,000 tenants", path = HELLO, length = 5, hosts = 1000,
    route = "root", tenants = 100000 },
  { name = "workers2", title = "2 workers", path = HELLO, length = 5, hosts = 1000, route = "root",
    workers = 2 },
  { name = "fpm", title = "PHP-FPM", path = "/hello.php", length = 15, hosts = 1000,
    route = "root", php = true, fresh = true, moongate = FPM },
  { name = "fpmkeep", title = "PHP-FPM, kept", path = "/hello.php", length = 15, hosts = 1000,
    route = "root", php = true, kept = true, moongate = FPM },
  { name = "fpmmax", title = "the same, max_requests = 500", path = "/hello.php", length = 15,
    hosts = 1000, route = "root", php = true, kept = true, pool = { "pm.max_requests = 500" },
    moongate = FPM },
  -- Replies that are kept: each host has its own.
  { name = "hit", title = "kept reply, tiny", path = HELLO, length = 5, hosts = 10,
    route = "cached", only = KEEPERS, counted = true },
  { name = "hit64k", title = "kept reply, 64 KB", path = "/index.php?size=65536", length = 65536,
    hosts = 10, route = "cached", only = KEEPERS },
  { name = "hit1m", title = "kept reply, 1 MB", path = "/index.php?size=1048576",
    length = 1048576, hosts = 10, route = "cached", only = KEEPERS },
  { name = "hitgzip", title = "kept reply, 64 KB by gzip", hosts = 10, route = "cached",
    path = "/index.php?size=65536&type=text/html", header = "Accept-Encoding: gzip",
    only = KEEPERS },
  { name = "hit100000", title = "kept reply, one of 100,000", path = HELLO, length = 5,
    hosts = 100000, route = "cached", tenants = 100000, only = KEEPERS, warm = 20 },
  { name = "reload", title = "reloads, two a second", path = HELLO, length = 5, hosts = 1000,
    route = "root", reload = true },
}

for _, case in ipairs(cases) do
  case.children = case.php and CHILDREN or nil
end

return cases
