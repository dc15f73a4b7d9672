-- Specs of moongate.cli.findings: what `moongate doctor` says of a route and of pools.

local findings = require("moongate.cli.findings")
local pools = require("moongate.cli.pools")

local CORE = { realpath = function() end }

--- Facts of which nothing is wrong, but for what `change` does to them.
local function facts_of(change)
  local facts = {
    settings = {
      limits = { connections = 0 }, listen = { { address = "0.0.0.0:80", backlog = 511 } },
      backends = {
        { name = "app", max_conns = 5, keepalive = 0, keepalive_idle = 10, read_timeout = 60,
          servers = { { address = "unix:/run/php/a.sock" } } },
      },
    },
    pools = { { name = "www", file = "www.conf", line = 4, lines = { ["pm.max_children"] = 9 },
      values = { listen = "/run/php/a.sock", ["pm.max_children"] = "5",
        ["listen.group"] = "www-data", request_terminate_timeout = "70s" } } },
    workers = 2, descriptors = 524288, limits_of = "The instance", somaxconn = 4096,
    user = "www-data", groups = { ["www-data"] = true },
    folders = { { path = "/srv", where = "x" } },
    is_pool = function(pool, address) return pools.is_at(CORE, pool, address) end,
    server_problem = function() end, folder_problem = function() end,
  }
  change(facts, facts.settings.backends[1], facts.pools[1].values)
  return facts
end

local CASES = {
  { "nothing where nothing is wrong", function() end },
  { "more clients than open files", function(f)
    f.descriptors, f.settings.limits.connections = 1024, 2000
  end, "limits.connections", "1024 open files .* 2000 clients over 2 workers", "LimitNOFILE=2064" },
  { "no limit on clients and few open files", function(f) f.descriptors = 1024 end, "open files",
    "about 480 clients", "LimitNOFILE=524288" },
  { "a backlog that the kernel cuts", function(f) f.somaxconn = 128 end, "listen 0.0.0.0:80",
    "backlog is 511, .* which is 128", "somaxconn=511", 2 },
  { "a folder that can't be read", function(f)
    f.folder_problem = function() return "Permission denied" end
  end, "x", "user 'www%-data' can't read /srv: Permission denied", "namei %-l /srv" },
  { "no max_conns", function(_, b) b.max_conns = 0 end, "backends.app",
    "max_conns is not set, and pool 'www' %(www.conf:9%) has pm.max_children = 5", "max_conns = "
      .. "5" },
  { "more connections than children", function(_, b) b.max_conns = 8 end, "backends.app",
    "max_conns is 8, .* pm.max_children = 5: 3 requests", "max_conns = 5, or pm.max_children = 8" },
  { "a server's own max_conns", function(_, b) b.servers[1].max_conns = 6 end, "backends.app",
    "max_conns is 6", "max_conns = 5" },
  { "two backends of one pool", function(f, b)
    f.settings.backends[2] = setmetatable({ name = "other" }, { __index = b })
  end, "backends.app", "may open 10 connections .* pm.max_children = 5", "be 5 together", 2 },
  { "children that get nothing", function(_, b) b.max_conns = 3 end, "note backends.app",
    "max_conns is 3, .* pm.max_children = 5: 2 of them", "others use the pool" },
  { "a script that outlives its client", function(_, _, v)
    v.request_terminate_timeout = "10m"
  end, "www.conf:4", "is 600 s, and read_timeout of backends.app is 60 s", "little more than 60 "
    .. "s" },
  { "scripts without an end", function(_, _, v) v.request_terminate_timeout = "0" end,
    "note www.conf:4", "request_terminate_timeout of pool 'www' is off", "read_timeout" },
  { "kept connections that keep children", function(_, b, v)
    b.keepalive, b.keepalive_idle, v.pm = 2, 60, "ondemand"
  end, "backends.app", "keepalive_idle is 60 s, .* after 10 s", "at most 10 s" },
  { "a ping that the pool does not know", function(_, b) b.health = { ping = "/ping" } end,
    "backends.app", "'health' asks for /ping, .* has no ping.path", "ping.path = /ping" },
  { "a check by a status page of another name", function(_, b, v)
    b.health, v["pm.status_path"] = { status = "/status" }, "/fpm"
  end, "backends.app", "'health.status' asks for /status, .* has pm.status_path = /fpm",
    "pm.status_path = /status" },
  { "a status page of another name", function(_, b, v)
    b.load, v["pm.status_path"] = "/status", "/fpm"
  end, "backends.app", "has pm.status_path = /fpm", "pm.status_path = /status" },
  { "a socket of another group", function(f, _, v)
    v["listen.group"] = "shop"
    f.server_problem = function() return "the user 'www-data' may not connect" end
  end, "backends.app", "may not connect", "listen.group to a group of 'www%-data'.* are shop" },
  { "a pool that does not run", function(f)
    f.pools[1].file = "/etc/php/8.2/fpm/pool.d/www.conf"
    f.server_problem = function() return "No such file or directory" end
  end, "backends.app", "a.sock: No such file", "systemctl start php8.2%-fpm" },
  { "a server without a pool", function(f)
    f.pools = {}
    f.server_problem = function() return "nobody listens there" end
  end, "backends.app", "nobody listens", "No pool that was read" },
  { "a socket for everybody", function(_, _, v) v["listen.mode"], v.user = "0666", "shop" end,
    "www.conf:4", "listen.mode of pool 'www' is 0666: every user .* as 'shop'", "0660" },
  { "PHP for every file", function(_, _, v) v["security.limit_extensions"] = "" end, "www.conf:4",
    "security.limit_extensions .* is empty", "= .php" },
  { "a backlog of PHP-FPM that the kernel cuts", function(_, _, v)
    v["listen.backlog"] = "65535"
  end, "www.conf:4", "listen.backlog of pool 'www' is 65535", "somaxconn=65535" },
  { "pools without a route", function(f, _, v)
    f.settings, v["listen.mode"] = nil, "0666"
  end, "www.conf:4", "0666", "0660" },
}

describe("moongate doctor finds", function()
  for _, case in ipairs(CASES) do
    it(case[1], function()
      local list = findings.of(facts_of(case[2]))
      assert.equal(case[6] or case[3] and 1 or 0, #list)
      if case[3] then
        local one = list[1]
        assert.equal(case[3], (one.level == "note" and "note " or "") .. one.where)
        assert.matches(case[4], one.what)
        assert.matches(case[5], one.fix)
      end
    end)
  end
end)
