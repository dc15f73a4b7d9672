-- Specs of moongate.route.settings: every default, and a table of bad scripts with their messages.

local settings = require("moongate.route.settings")

--- Normalizes a script's text, as load does.
local function normalize(text, overrides)
  local value = assert(loadstring(text))()
  return settings.normalize(value, { name = "route.lua", text = text }, overrides)
end

--- The message about a script that is wrong.
local function message_of(text, overrides)
  local ok, message = pcall(normalize, text, overrides)
  assert.is_false(ok, "accepted: " .. text)
  return message
end

--- A script of these lines, with an on_request.
local function script(...)
  return "return {\n  on_request = print,\n" .. table.concat({ ... }, "\n") .. "\n}\n"
end

-- The numbers up to that one, as words.
local function ports(count)
  local list = {}
  for i = 1, count do
    list[i] = tostring(i)
  end
  return list
end

describe("settings.normalize", function()
  it("fills in the defaults of the contract", function()
    local on_request = print
    local got = normalize("return { on_request = print }")
    assert.same({
      { address = "127.0.0.1:8080", protocol = "http", proxy_protocol = false, h2c = false,
        backlog = 511 },
    }, got.listen)
    assert.same({ access = "stdout", format = "combined", error = "stderr", level = "info" },
      got.log)
    assert.same({
      request_line = 8192, header = 16384, headers = 100, body = 2 ^ 30, header_timeout = 10,
      body_timeout = 60, body_deadline = 0,
      send_timeout = 60, keepalive_timeout = 60, keepalive_requests = 10000,
      connections = 0, per_ip = 0, streams = 128, param_size = 65536, response_header = 65536,
      request_memory = 65536, response_memory = 262144, script_memory = 2 ^ 28, spool = 2 ^ 30,
      spool_dir = "/tmp",
      header_names = {}, shared = 2 ^ 24,
    }, got.limits)
    assert.same({}, got.backends)
    assert.same({}, got.trusted_proxies)
    assert.same({}, got.resolver)
    assert.is_nil(got.control)
    assert.equal(0, got.workers)
    assert.equal(30, got.stop_timeout)
    assert.equal(1, got.script_timeout)
    assert.is_nil(got.user)
    assert.is_nil(got.group)
    assert.is_nil(got.watch)
    assert.equal("route.lua", got.source)
    assert.same({ on_request = on_request }, got.hooks)
    assert.same({ on_request = "route.lua:1" }, got.hook_source)
  end)

  it("fills in the defaults of a backend", function()
    local got = normalize(script('backends = { app = "unix:/run/app.sock" }'))
    assert.is_function(got.backends[1].pick)
    got.backends[1].pick = nil
    assert.same({
      {
        name = "app", servers = {
          { address = "unix:/run/app.sock", weight = 1, backup = false, max_conns = 0 },
        },
        balance = "round_robin", max_conns = 0, queue = 1024, queue_timeout = 30, keepalive = 0,
        keepalive_idle = 10, keepalive_requests = 1000, connect_timeout = 5, send_timeout = 60,
        first_byte_timeout = 0, read_timeout = 60, deadline = 0,
        attempts = 2, retry = "safe", multiplex = false, per_tenant = 0,
        max_reqs = 100,
        max_fails = 3, fail_timeout = 10, slow_start = 0, ini = {}, internal = {}, resolve = 10,
        profile = "php", resolve_root = true,
      },
    }, got.backends)
  end)

  it("sorts backends by name and takes lists of servers", function()
    local got = normalize(script('backends = { b = { ":1", { address = "h:2" } }, a = "h:3" }'))
    assert.equal("a", got.backends[1].name)
    assert.equal("b", got.backends[2].name)
    assert.equal("127.0.0.1:1", got.backends[2].servers[1].address)
    assert.equal("h:2", got.backends[2].servers[2].address)
  end)

  it("reads every key of a backend", function()
    local got = normalize(script([[backends = { app = {
      servers = "h:1", queue_timeout = "1m", keepalive = 4, keepalive_idle = "500ms",
      keepalive_requests = 5, connect_timeout = "1s", send_timeout = 2, read_timeout = "5m",
      attempts = 3, retry = "safe", profile = "generic", root = "/srv/app/", docroot = "/app",
      within = { "/srv", "/mnt/" }, resolve_root = false,
    } }]])).backends[1]
    assert.equal(60, got.queue_timeout)
    assert.equal(0.5, got.keepalive_idle)
    assert.equal(300, got.read_timeout)
    assert.equal("generic", got.profile)
    assert.equal("/srv/app", got.root)
    assert.equal("/app", got.docroot)
    assert.same({ "/srv", "/mnt" }, got.within)
    assert.is_false(got.resolve_root)
  end)

  it("reads what is about many servers", function()
    local got = normalize(script([[backends = { app = {
      servers = { "h:1", { address = "h:2", weight = 5, backup = true, max_conns = 0 },
        { address = "h:3", max_conns = 2 } },
      balance = "least_conn", max_conns = 8, queue = 10, max_fails = 0, fail_timeout = "1m",
      slow_start = "30s", per_tenant = 4, load = "status", resolve = "1m",
      ini = { memory_limit = "128M", display_errors = false },
      internal = { ["/p"] = "/srv/p/", ["/p/q/"] = "/srv/q" },
    } }]])).backends[1]
    assert.same({
      { address = "h:1", weight = 1, backup = false, max_conns = 8 },
      { address = "h:2", weight = 5, backup = true, max_conns = 0 },
      { address = "h:3", weight = 1, backup = false, max_conns = 2 },
    }, got.servers)
    assert.equal("least_conn", got.balance)
    assert.equal(10, got.queue)
    assert.equal(60, got.fail_timeout)
    assert.equal(30, got.slow_start)
    assert.equal("/status", got.load)
    assert.equal(60, got.resolve)
    assert.same({
      { "display_errors", "0", "display_errors='0'" },
      { "memory_limit", "128M", "memory_limit='128M'" },
    }, got.ini)
    assert.equal("display_errors='0'\nmemory_limit='128M'", got.ini_text)
    assert.same({ { "/p/q/", "/srv/q" }, { "/p/", "/srv/p" } }, got.internal)
  end)

  it("fills in the defaults of a health check", function()
    local function health(text)
      return normalize(script('backends = { app = { servers = "h:1", health = ' .. text .. " } }"))
        .backends[1].health
    end
    local all = { ping = "/ping", expect = "pong", interval = 5, timeout = 1, rise = 2, fall = 3 }
    assert.same(all, health("true"))
    assert.same(all, health("{}"))
    assert.is_nil(health("false"))
    assert.is_nil(health("nil"))
    assert.same({ ping = "/p", expect = "yes", interval = 2, timeout = 0.5, rise = 1, fall = 9 },
      health('{ ping = "/p", expect = "yes", interval = "2s", timeout = "500ms", rise = 1, '
        .. "fall = 9 }"))
    assert.same({ status = "/status", interval = 5, timeout = 1, rise = 2, fall = 3 },
      health('{ status = "/status" }'))
  end)

  it("makes each policy a function", function()
    local req = { path = "/x", ip = "192.0.2.1", cookies = {} }
    for _, word in ipairs({
      "round_robin", "least_conn", "random", "p2c", "hash", "ip_hash", "sticky",
    }) do
      local got = normalize(script(('backends = { app = { servers = { "h:1", "h:2" }, balance = '
        .. '"%s" } }'):format(word))).backends[1]
      assert.equal(word, got.balance)
      local servers = require("support.servers").new(1, 1)
      local picked = got.pick(req, servers, 1)
      assert.is_true(picked == servers[1] or picked == servers[2])
    end
  end)

  it("takes a function, or what can be called, as a policy", function()
    local got = normalize(script([[backends = {
      a = { servers = "h:1", balance = function(req, servers) return servers[2] end },
      b = { servers = "h:1",
        balance = setmetatable({}, { __call = function(_, req, s) return s[req] end }) } }]]))
    assert.equal("function", got.backends[1].balance)
    assert.equal(8, got.backends[1].pick({}, { 7, 8 }, 1))
    assert.equal(9, got.backends[2].pick(3, { 7, 8, 9 }, 1))
  end)

  it("lets backends share a server where they name the same settings", function()
    local got = normalize(script([[backends = {
      a = { servers = { ":9000", "h:1" }, ini = { x = 1, y = 2 } },
      b = { servers = ":9000", ini = { y = 3, x = 4 } }, c = "h:2", d = "h:2" }]]))
    assert.equal("x='4'\ny='3'", got.backends[2].ini_text)
  end)

  it("takes DNS servers in every form", function()
    for text, expected in pairs({
      ['"127.0.0.1:5353"'] = { "127.0.0.1:5353" }, ['"10.0.0.1"'] = { "10.0.0.1:53" },
      ['{ "10.0.0.1", "[::1]:5353", "[2001:db8::1]" }'] =
        { "10.0.0.1:53", "[::1]:5353", "[2001:db8::1]:53" },
      ["{}"] = {},
    }) do
      assert.same(expected, normalize(script("resolver = " .. text)).resolver)
    end
  end)

  it("takes all hooks", function()
    local got = normalize(script("on_balance = print, on_error = print, on_stderr = print"))
    for _, name in ipairs({ "on_balance", "on_error", "on_stderr" }) do
      assert.equal(print, got.hooks[name])
      assert.equal("route.lua:3", got.hook_source[name])
      assert.equal(print, got.hooks_original[name])
    end
  end)

  it("makes one folder a list of one", function()
    local got = normalize(script('backends = { app = { servers = "h:1", within = "/srv/" } }'))
    assert.same({ "/srv" }, got.backends[1].within)
  end)

  it("takes listeners in every form", function()
    local got = normalize(script([[listen = { ":80", { address = "[::]:80", name = "six",
      backlog = 9, protocol = "http", proxy_protocol = false, h2c = false } }]])).listen
    assert.equal("0.0.0.0:80", got[1].address)
    assert.equal("[::]:80", got[2].address)
    assert.equal("six", got[2].name)
    assert.equal(9, got[2].backlog)
    assert.equal("h:1", normalize(script('listen = { address = "h:1" }')).listen[1].address)
  end)

  it("takes the other settings", function()
    local got = normalize(script([[
      control = false, workers = 3, user = "www-data", group = "web", watch = false,
      stop_timeout = "5s",
      log = { access = "/var/log/a.log", format = function() end, error = "/var/log/e.log",
        level = "debug" },
      limits = { body = "10M", header_names = { "X_Legacy" }, connections = 0 },
      trusted_proxies = {},]]))
    assert.is_false(got.control)
    assert.equal(3, got.workers)
    assert.equal("www-data", got.user)
    assert.equal("web", got.group)
    assert.is_false(got.watch)
    assert.equal(5, got.stop_timeout)
    assert.equal("/var/log/a.log", got.log.access)
    assert.is_function(got.log.format)
    assert.equal(10 * 2 ^ 20, got.limits.body)
    assert.same({ "X_Legacy" }, got.limits.header_names)
    assert.equal(0, normalize(script('workers = "auto"')).workers)
    assert.is_false(normalize(script("log = { access = false }")).log.access)
  end)

  it("takes callable tables as hooks", function()
    local text = 'return {\n\n  on_request = setmetatable({}, { __call = function(_, req)\n'
      .. '    return { status = req } end }) }'
    local got = normalize(text)
    assert.is_function(got.hooks.on_request)
    assert.same({ status = 7 }, got.hooks.on_request(7))
    assert.equal("route.lua:3", got.hook_source.on_request)
  end)

  it("says where hooks are defined", function()
    local text = "local function decide() end\n\nreturn {\n  on_request = decide,\n"
      .. "  on_log = function() end,\n  on_stop = print,\n}"
    local value = assert(loadstring(text, "@route.lua"))()
    local got = settings.normalize(value, { name = "route.lua", text = text })
    assert.same({ on_request = "route.lua:1", on_log = "route.lua:5", on_stop = "route.lua:6" },
      got.hook_source)
  end)
end)

describe("every documented value", function()
  local function round(text)
    return "backends = { app = { servers = \"h:1\", " .. text .. " } }"
  end
  -- A setting, where it is in the result, and what stands there.
  for _, case in ipairs({
    { 'listen = "[::1]:80"', "listen.1.address", "[::1]:80" },
    { 'listen = "*:80"', "listen.1.address", "0.0.0.0:80" },
    { 'listen = "unix:/run/m.sock"', "listen.1.address", "unix:/run/m.sock" },
    { 'listen = { { address = ":1", protocol = "http" } }', "listen.1.protocol", "http" },
    { 'listen = { { address = ":1", proxy_protocol = false } }', "listen.1.proxy_protocol", false },
    { 'listen = { { address = ":1", backlog = 9 } }', "listen.1.backlog", 9 },
    { 'listen = { { address = ":1", name = "a b" } }', "listen.1.name", "a b" },
    { "workers = 2", "workers", 2 }, { 'workers = "auto"', "workers", 0 },
    { 'user = "ann"', "user", "ann" }, { 'group = "web"', "group", "web" },
    { "control = false", "control", false }, { "watch = false", "watch", false },
    { "watch = true", "watch", true }, { 'test = "spec"', "test", "spec" },
    { 'test = "/srv/spec"', "test", "/srv/spec" },
    { 'script_timeout = "250ms"', "script_timeout", 0.25 },
    { 'control = "unix:/run/m.sock"', "control", "unix:/run/m.sock" },
    { 'control = "127.0.0.1:9901"', "control", "127.0.0.1:9901" },
    { 'control = { address = ":9901", token = "0123456789abcdef" }', "control", "0.0.0.0:9901" },
    { 'control = { token = "0123456789abcdef", metrics_token = "fedcba9876543210" }', "tokens",
      { token = "0123456789abcdef", metrics_token = "fedcba9876543210" } },
    { 'log = { access = "stdout" }', "log.access", "stdout" },
    { 'log = { access = "/a.log" }', "log.access", "/a.log" },
    { "log = { access = false }", "log.access", false },
    { 'log = { format = "combined" }', "log.format", "combined" },
    { 'log = { format = "json" }', "log.format", "json" },
    { "log = { format = print }", "log.format", print },
    { 'log = { error = "stderr" }', "log.error", "stderr" },
    { 'log = { error = "/e.log" }', "log.error", "/e.log" },
    { 'log = { level = "debug" }', "log.level", "debug" },
    { 'log = { level = "info" }', "log.level", "info" },
    { 'log = { level = "warn" }', "log.level", "warn" },
    { 'log = { level = "error" }', "log.level", "error" },
    { "stop_timeout = 0", "stop_timeout", 0 }, { 'stop_timeout = "1h"', "stop_timeout", 3600 },
    { "trusted_proxies = {}", "trusted_proxies", {} },
    { 'trusted_proxies = "unix:"', "trusted_proxies", { "unix:" } },
    { 'trusted_proxies = { "10.0.0.0/8", "::1" }', "trusted_proxies", { "10.0.0.0/8", "::1" } },
    { 'trusted_proxies = "::1", listen = { { address = ":1", proxy_protocol = true } }',
      "listen.1.proxy_protocol", true },
    { 'limits = { request_line = "4k" }', "limits.request_line", 4096 },
    { "limits = { header = 100 }", "limits.header", 100 },
    { "limits = { headers = 5 }", "limits.headers", 5 },
    { "cache = {}", "cache.memory", 16777216 },
    { 'cache = { size = "1G" }', "cache.memory", 134217728 },
    { 'cache = { memory = "1M" }', "cache.memory", 1048576 },
    { "compress = true", "compress.on", true },
    { "compress = false", "compress.on", false },
    { "compress = {}", "compress.min", 1024 },
    { 'compress = { min = "2k" }', "compress.min", 2048 },
    { 'compress = { types = "text/html" }', "compress.types.1", "text/html" },
    { "compress = { levels = { br = 9 } }", "compress.levels.br", 9 },
    { "compress = { levels = { br = 9 } }", "compress.levels.gzip", 5 },
    { 'compress = { encodings = { "gzip", "br" } }', "compress.encodings.2", "br" },
    { "compress = true", "compress.keep", 1048576 },
    { 'compress = { keep = "64k" }', "compress.keep", 65536 },
    { "compress = { keep = false }", "compress.keep", 0 },
    { "limits = { body = 0 }", "limits.body", 0 },
    { 'limits = { header_timeout = "250ms" }', "limits.header_timeout", 0.25 },
    { "limits = { body_timeout = 1 }", "limits.body_timeout", 1 },
    { "limits = { body_deadline = '2m' }", "limits.body_deadline", 120 },
    { 'limits = { send_timeout = "2m" }', "limits.send_timeout", 120 },
    { "limits = { keepalive_timeout = 0 }", "limits.keepalive_timeout", 0 },
    { "limits = { keepalive_requests = 1 }", "limits.keepalive_requests", 1 },
    { "limits = { connections = 0 }", "limits.connections", 0 },
    { "limits = { per_ip = 0 }", "limits.per_ip", 0 },
    { "limits = { connections = 500 }", "limits.connections", 500 },
    { "limits = { per_ip = 5 }", "limits.per_ip", 5 },
    { 'limits = { param_size = "1k" }', "limits.param_size", 1024 },
    { 'limits = { response_header = "1M" }', "limits.response_header", 2 ^ 20 },
    { 'limits = { request_memory = "1M" }', "limits.request_memory", 2 ^ 20 },
    { 'limits = { response_memory = "1M" }', "limits.response_memory", 2 ^ 20 },
    { 'limits = { script_memory = "16M" }', "limits.script_memory", 2 ^ 24 },
    { "limits = { spool = 0 }", "limits.spool", 0 },
    { 'limits = { spool_dir = "/var/tmp/" }', "limits.spool_dir", "/var/tmp" },
    { 'limits = { header_names = { "X_Legacy" } }', "limits.header_names", { "X_Legacy" } },
    { 'limits = { shared = "1M" }', "limits.shared", 2 ^ 20 },
    { 'limits = { shared = "64G" }', "limits.shared", 2 ^ 36 },
    { round('balance = "round_robin"'), "backends.1.balance", "round_robin" },
    { round("keepalive = 4"), "backends.1.keepalive", 4 },
    { round("keepalive_idle = 3"), "backends.1.keepalive_idle", 3 },
    { round("keepalive_requests = 3"), "backends.1.keepalive_requests", 3 },
    { round("connect_timeout = 3"), "backends.1.connect_timeout", 3 },
    { round("send_timeout = 3"), "backends.1.send_timeout", 3 },
    { round("first_byte_timeout = 3"), "backends.1.first_byte_timeout", 3 },
    { "backends = { app = { servers = { { address = 'unix:/a', owner = 1001 } } } }",
      "backends.1.servers.1.owner.uid", 1001 },
    { round("deadline = 3"), "backends.1.deadline", 3 },
    { round("read_timeout = 3"), "backends.1.read_timeout", 3 },
    { round("queue_timeout = 0"), "backends.1.queue_timeout", 0 },
    { round("attempts = 3"), "backends.1.attempts", 3 },
    { round('retry = "safe"'), "backends.1.retry", "safe" },
    { round('retry = "timeout"'), "backends.1.retry", "timeout" },
    { round('retry = "never"'), "backends.1.retry", "never" },
    { round('profile = "php"'), "backends.1.profile", "php" },
    { round('profile = "generic"'), "backends.1.profile", "generic" },
    { round('root = "/srv"'), "backends.1.root", "/srv" },
    { round('docroot = "/app"'), "backends.1.docroot", "/app" },
    { round('within = "/srv"'), "backends.1.within", { "/srv" } },
    { round('within = { "/a", "/b" }'), "backends.1.within", { "/a", "/b" } },
    { round("resolve_root = true"), "backends.1.resolve_root", true },
    { round("resolve_root = false"), "backends.1.resolve_root", false },
    { round("max_conns = 0"), "backends.1.max_conns", 0 },
    { round("slow_start = 0"), "backends.1.slow_start", 0 },
    { round("multiplex = false"), "backends.1.multiplex", false },
    { round("multiplex = true"), "backends.1.multiplex", true },
    { round('multiplex = "auto"'), "backends.1.multiplex", "auto" },
    { round("max_reqs = 2"), "backends.1.max_reqs", 2 },
    { round("per_tenant = 0"), "backends.1.per_tenant", 0 },
    { round('load = "none"'), "backends.1.load", nil },
    { round('load = "/fpm-status"'), "backends.1.load", "/fpm-status" },
    { round("max_conns = 8"), "backends.1.servers.1.max_conns", 8 },
    { round("queue = 0"), "backends.1.queue", 0 },
    { round("max_fails = 0"), "backends.1.max_fails", 0 },
    { round('fail_timeout = "5s"'), "backends.1.fail_timeout", 5 },
    { round("per_tenant = 2"), "backends.1.per_tenant", 2 },
    { round("ini = { a = true }"), "backends.1.ini", { { "a", "1", "a='1'" } } },
    { round('internal = { ["/p"] = "/" }'), "backends.1.internal", { { "/p/", "/" } } },
  }) do
    it("is accepted: " .. case[1], function()
      local got = normalize(script(case[1]))
      for key in case[2]:gmatch("[^.]+") do
        got = got[tonumber(key) or key]
      end
      assert.same(case[3], got)
    end)
  end
end)

describe("the command line", function()
  it("wins over the script", function()
    local got = normalize(script('listen = ":1", workers = 2, user = "a"'), {
      listen = { ":2", "unix:/x" }, workers = 1, control = false, user = "b", group = "c",
      watch = false,
    })
    assert.same({
      { address = "0.0.0.0:2", protocol = "http", proxy_protocol = false, h2c = false,
        backlog = 511 },
      { address = "unix:/x", protocol = "http", proxy_protocol = false, h2c = false,
        backlog = 511 },
    }, got.listen)
    assert.equal(1, got.workers)
    assert.is_false(got.control)
    assert.equal("b", got.user)
    assert.equal("c", got.group)
    assert.is_false(got.watch)
  end)

  it("says where commands come in, and the token for that", function()
    local path = os.tmpname()
    finally(function()
      os.remove(path)
    end)
    local file = assert(io.open(path, "w"))
    file:write("of-the-command-line\n")
    file:close()
    local overrides = { control = ":9500", token_file = path }
    local got = normalize(script('control = { token = "0123456789abcdef" }'), overrides)
    assert.same({ "0.0.0.0:9500", { token = "of-the-command-line" } }, { got.control, got.tokens })
    assert.matches("^%-%-control: 0%.0%.0%.0:9500 is no address of the loopback",
      message_of(script(), { control = ":9500" }))
    assert.matches("^MOONGATE_CONTROL: 0%.0%.0%.0:9500 is no address of the loopback",
      message_of(script(), { control_default = "0.0.0.0:9500" }))
    assert.is_nil(normalize(script(), { control_default = "127.0.0.1:9500" }).control)
    assert.is_false(normalize(script("control = false"), { control_default = ":9500" }).control)
    assert.matches("^%-%-token%-file: /nonexistent: No such file",
      message_of(script(), { token_file = "/nonexistent" }))
    assert.matches("^%-%-control: expected an address such as .*, or off, got \"x\"$",
      message_of(script(), { control = "x" }))
  end)

  it("is checked too", function()
    assert.matches("^%-%-listen: expected an address such as .*, got \"x\"$",
      message_of(script(), { listen = { "x" } }))
    assert.matches("^%-%-workers: expected .*, got 0$", message_of(script(), { workers = 0 }))
    assert.equal('--watch: expected true or false, got "yes"',
      message_of(script(), { watch = "yes" }))
  end)
end)

describe("a wrong script", function()
  local address = 'an address such as "127.0.0.1:8080", ":8080", "[::1]:8080" or '
    .. '"unix:/run/app.sock"'
  local server = 'servers = "h:1"'

  -- What stands in line 3 and further of the script, and the message.
  local cases = {
    -- unknown keys
    { "backend = {}", "3: unknown key 'backend'; did you mean 'backends'?" },
    { "colour = 1", "3: unknown key 'colour'" },
    { "on_requst = print", "3: unknown key 'on_requst'; did you mean 'on_request'?" },
    { "on_eror = print", "3: unknown key 'on_eror'; did you mean 'on_error'?" },
    { "[1] = 2", "1: unknown key '1'" },
    { "limits = { bodi = 1 }", "3: limits: unknown key 'bodi'; did you mean 'body'?" },
    { "log = {\nlevels = 1 }", "4: log: unknown key 'levels'; did you mean 'level'?" },
    { "backends = {\napp = {\n" .. server .. ",\nkeepalve = 1 } }",
      "6: backends.app: unknown key 'keepalve'; did you mean 'keepalive'?" },
    { 'listen = { { address = ":1", nam = "x" } }',
      "3: listen[1]: unknown key 'nam'; did you mean 'name'?" },
    { 'backends = { app = { servers = { { address = "h:1", weigt = 1 } } } }',
      "3: backends.app.servers[1]: unknown key 'weigt'; did you mean 'weight'?" },

    -- listeners
    { "listen = true", "3: listen: expected " .. address .. ", got true" },
    { "listen = 8080", "3: listen: expected " .. address .. ", got 8080" },
    { 'listen = "x"', "3: listen: expected " .. address .. ', got "x"' },
    { 'listen = "h:99999"', "3: listen: a port is a number from 1 to 65535" },
    { "listen = {}", "3: listen: the list is empty" },
    { 'listen = { ":' .. table.concat(ports(65), '", ":') .. '" }',
      "3: listen: 65 addresses, at most 64 can be listened on" },
    { 'listen = { ":1", ":1" }', "3: listen: 0.0.0.0:1 is there twice" },
    { 'listen = { ":1", false }', "3: listen[2]: expected " .. address .. ", got false" },
    { 'listen = { name = "x" }', "3: listen: 'address' is missing" },
    { 'listen = { { name = "x" } }',
      "3: listen[1].address: expected " .. address .. ", got nothing" },
    { 'listen = {\n{ address = ":1",\nbacklog = 0 } }',
      "5: listen[1].backlog: expected a whole number from 1 to 65535, got 0" },
    { 'listen = { { address = ":1", name = "" } }', '3: listen[1].name: expected a text, got ""' },
    { 'listen = { { address = ":1", name = "a\\tb" } }',
      '3: listen[1].name: expected a text, got "a?b"' },

    -- backends
    { "backends = 1", "3: backends: expected a table from name to address or settings, got 1" },
    { 'backends = { "h:1" }', '3: backends: expected names, as in { app = "127.0.0.1:9000" }' },
    { "backends = { app = 1 }", "3: backends.app: expected " .. address .. ", got 1" },
    { 'backends = {\napp = "x" }', "4: backends.app: expected " .. address .. ', got "x"' },
    { 'backends = { app = "unix:x" }',
      '3: backends.app: a unix socket needs an absolute path ("unix:/run/app.sock")' },
    { 'backends = { app = "*:9000" }',
      '3: backends.app: "*" is for listening; a server needs a host ("127.0.0.1:9000")' },
    { "backends = { app = {} }",
      "3: backends.app: 'servers' is missing: the addresses of its FastCGI servers" },
    { "backends = { app = { keepalive = 1 } }",
      "3: backends.app: 'servers' is missing: the addresses of its FastCGI servers" },
    { "backends = { app = { servers = {} } }", "3: backends.app.servers: the list is empty" },
    { 'backends = { app = { servers = { "h:1", "h:1" } } }',
      "3: backends.app.servers: h:1 is there twice" },
    { 'backends = { app = { "h:1", "h:1" } }', "3: backends.app: h:1 is there twice" },
    { 'backends = { app = { "h:1", keepalive = 1 } }',
      "3: backends.app: either a list of addresses, or a table with 'servers' and other keys, "
      .. "not both" },
    { "backends = { app = {\n" .. server .. ",\nread_timeout = -1 } }",
      '5: backends.app.read_timeout: expected a duration such as 5, "250ms", "2m" or "1h", '
      .. "above zero, got -1" },
    { "backends = { app = { " .. server .. ', read_timeout = "5 s" } }',
      '3: backends.app.read_timeout: expected a duration such as 5, "250ms", "2m" or "1h", '
      .. 'above zero, got "5 s"' },
    { "backends = { app = { " .. server .. ", connect_timeout = 0 } }",
      '3: backends.app.connect_timeout: expected a duration such as 5, "250ms", "2m" or "1h", '
      .. "above zero, got 0" },
    { "backends = { app = { " .. server .. ", keepalive = 1.5 } }",
      "3: backends.app.keepalive: expected a whole number from 0 to 100000, got 1.5" },
    { "backends = { app = { " .. server .. ", keepalive = -1 } }",
      "3: backends.app.keepalive: expected a whole number from 0 to 100000, got -1" },
    { "backends = { app = { " .. server .. ", attempts = 0 } }",
      "3: backends.app.attempts: expected a whole number from 1 to 100, got 0" },
    { "backends = { app = { " .. server .. ', profile = "wsgi" } }',
      '3: backends.app.profile: expected "php" or "generic", got "wsgi"' },
    { "backends = { app = { " .. server .. ', root = "public" } }',
      '3: backends.app.root: expected an absolute path such as "/srv/www", got "public"' },
    { "backends = { app = { " .. server .. ", within = {} } }",
      "3: backends.app.within: expected an absolute path or a list of them, got a table" },
    { "backends = { app = { " .. server .. ', within = { "x" } } }',
      '3: backends.app.within: expected an absolute path such as "/srv/www", got a table' },
    { "backends = { app = { " .. server .. ", resolve_root = 1 } }",
      "3: backends.app.resolve_root: expected true or false, got 1" },
    { "backends = { app = { " .. server .. ', retry = "always" } }',
      '3: backends.app.retry: expected "safe", "timeout" or "never", got "always"' },

    -- the rest
    { "workers = 0",
      '3: workers: expected a number of processes from 1 to 256, or "auto", got 0' },
    { "workers = 257",
      '3: workers: expected a number of processes from 1 to 256, or "auto", got 257' },
    { 'workers = "all"',
      '3: workers: expected a number of processes from 1 to 256, or "auto", got "all"' },
    { "user = 0", "3: user: expected the name of an account, got 0" },
    { 'group = "a b"', '3: group: expected the name of an account, got "a b"' },
    { "log = 1", "3: log: expected a table, got 1" },
    { 'log = { level = "loud" }',
      '3: log.level: expected "debug", "info", "warn" or "error", got "loud"' },
    { 'log = { access = "a.log" }',
      '3: log.access: expected "stdout", an absolute path, "syslog", "syslog:server=ADDR,..." or '
      .. '"journal", or false, got "a.log"' },
    { "log = { error = false }",
      '3: log.error: expected "stderr", an absolute path, "syslog", "syslog:server=ADDR,..." or '
      .. '"journal", got false' },
    { 'log = { format = "apache" }',
      '3: log.format: expected "combined", "vcombined", "json", a text with fields such as '
        .. [['$client "$request"', or a function, got "apache"]] },
    { "compress = 1",
      '3: compress: expected true, false or a table such as { min = "2k" }, got 1' },
    { "compress = { typs = 1 }", "3: compress: unknown key 'typs'; did you mean 'types'?" },
    { "compress = { types = {} }", "3: compress: types: expected a media type such as "
      .. '"text/html" or "text/*", or a list of them, got a table' },
    { 'compress = { types = "html" }', '3: compress: types: expected a media type such as '
      .. '"text/html" or "text/*", or a list of them, got "html" in it' },
    { 'compress = { min = "1M" }', '3: compress: min: expected a size up to "64k", got "1M"' },
    { "compress = { levels = { br = 10 } }",
      "3: compress: levels: br: expected a whole number from 1 to 9, got 10" },
    { "compress = { levels = { brotli = 5 } }", "3: compress: levels: unknown encoding 'brotli'" },
    { "compress = { keep = true }",
      '3: compress: keep: expected false or a size such as "1M", got true' },
    { 'compress = { encodings = "deflate" }',
      "3: compress: encodings: unknown encoding 'deflate'" },
    { 'compress = { encodings = { "br", "br" } }', "3: compress: encodings: 'br' is there twice" },
    { 'limits = { body = "1 M" }',
      '3: limits.body: expected a size such as 4096, "16k", "1M" or "1G", got "1 M"' },
    { "limits = { header = 0 }",
      '3: limits.header: expected a size such as 4096, "16k", "1M" or "1G", above zero, got 0' },
    { 'limits = { script_memory = "8M" }',
      '3: limits.script_memory: expected a size from "16M" to "4G", got "8M"' },
    { 'limits = { spool_dir = "tmp" }',
      '3: limits.spool_dir: expected an absolute path such as "/srv/www", got "tmp"' },
    { 'limits = { shared = "1023k" }',
      '3: limits.shared: expected a size from "1M" to "64G", got "1023k"' },
    { "limits = { shared = 0 }", '3: limits.shared: expected a size from "1M" to "64G", got 0' },
    { "limits = { shared = 2 ^ 40 }",
      '3: limits.shared: expected a size from "1M" to "64G", got 1099511627776' },
    { 'limits = { header_names = { "a b" } }',
      '3: limits.header_names: expected a list of header names such as { "X_Legacy" }, '
      .. "got a table" },
    { "stop_timeout = -1",
      '3: stop_timeout: expected a duration such as 5, "250ms", "2m" or "1h", got -1' },
    { "watch = 1", "3: watch: expected true or false, got 1" },
    { "test = true", '3: test: expected a folder such as "spec" or "/srv/spec", got true' },
    { 'test = ""', '3: test: expected a folder such as "spec" or "/srv/spec", got ""' },
    { "script_timeout = 0", '3: script_timeout: expected a duration such as 5, "250ms", "2m" or '
      .. '"1h", above zero, got 0' },
    { "on_log = 1", "3: on_log: expected a function, got 1" },
    { "on_params = {}", "3: on_params: expected a function, got a table" },

    -- what comes later
    { 'listen = { { address = ":1", proxy_protocol = true } }',
      "3: listen[1]: proxy_protocol needs 'trusted_proxies': the addresses of the balancers" },
    { "trusted_proxies = 1", '3: trusted_proxies: expected an address or a network such as '
      .. '"10.0.0.1", "10.0.0.0/8", "2001:db8::/32" or "unix:", or a list of them, got 1' },
    { 'trusted_proxies = { "10.0.0.1", "proxy.internal" }',
      '3: trusted_proxies: "proxy.internal" is neither an address nor a network' },
    { 'trusted_proxies = "10.0.0.1/8"', '3: trusted_proxies: "10.0.0.1/8": bits are set behind the '
      .. "prefix; is 10.0.0.0/8 meant, or 10.0.0.1 alone?" },
    { 'trusted_proxies = { ip = "10.0.0.1" }', "3: trusted_proxies: expected an address" },
    { "trusted_proxies = require('moongate.base.keys') and (function() local t = {} for i = 1, "
      .. '10001 do t[i] = "10.0.0.1" end return t end)()',
      "3: trusted_proxies: 10001 networks, at most 10000 can be named" },
    { 'listen = { { address = ":1", protocol = "htp" } }',
      '3: listen[1].protocol: expected "http" or "fastcgi", got "htp"' },
    { 'trusted_proxies = "::1", '
      .. 'listen = { { address = ":1", proxy_protocol = true, protocol = "fastcgi" } }',
      "3: listen[1]: proxy_protocol is for HTTP; a web server that speaks FastCGI names the" },
    { 'listen = { { address = ":1", h2c = true, protocol = "fastcgi" } }',
      "3: listen[1]: h2c is for HTTP; this listener has protocol = \"fastcgi\"" },
    { 'listen = { { address = ":1", http2 = true } }',
      "3: listen[1]: http2 is for listeners with tls; without TLS, clients that know of it may" },
    { 'listen = { { address = ":1", h2c = "yes" } }',
      '3: listen[1].h2c: expected true or false, got "yes"' },
    { 'listen = { { address = ":1", tls = {} } }', "3: listen[1]: tls: 'cert' and 'key' are "
      .. "missing, or 'folder', or the route's hook on_certificate" },
    { "limits = { streams = 0 }", "3: limits.streams: expected" },
    { 'listen = { { address = ":1", proxy_protocol = 1 } }',
      "3: listen[1].proxy_protocol: expected true or false, got 1" },
    { 'control = "x"', "3: control: expected " .. address
      .. ", a table with such an 'address', or false, got \"x\"" },
    { "control = { address = 1 }", "3: control.address: expected " .. address .. ", got 1" },
    { 'control = ":9500"', "3: control: 0.0.0.0:9500 is no address of the loopback, so whoever "
      .. "reaches it could stop the instance: it needs a token (control = { address = "
      .. '"0.0.0.0:9500", token_file = "/etc/moongate/control.token" }, or --token-file)' },
    { 'control = { address = "admin.test:9500" }', "3: control: admin.test:9500 is no address" },
    { 'control = { token = "short" }', "3: control.token: expected 16 to 256 visible characters of "
      .. "ASCII; `openssl rand -hex 32` makes some" },
    { 'control = { token = "16 and some blanks" }', "3: control.token: expected 16 to 256" },
    { 'control = { tokn = "x" }', "3: control: unknown key 'tokn'; did you mean 'token'?" },
    { 'control = { metrics_token = "0123456789abcdef" }', "3: control: 'metrics_token' is for "
      .. "those who may read /metrics alone; without 'token' or 'token_file' everybody may do" },
    { 'control = { token = "0123456789abcdef", metrics_token = "0123456789abcdef" }',
      "3: control: 'metrics_token' is the token of operators: whoever reads /metrics could stop" },
    { 'control = { token = "0123456789abcdef", token_file = "/x" }',
      "3: control: 'token' and 'token_file' are two tokens; say one of them" },
    { 'control = { token_file = "x" }', "3: control.token_file: expected the absolute path of a "
      .. 'file such as "/etc/moongate/control.token", got "x"' },
    { 'control = { token_file = "/nonexistent/t" }',
      "3: control.token_file: /nonexistent/t: No such file or directory" },
    { 'control = { token_file = "/dev/null" }',
      "3: control.token_file: /dev/null: expected 16 to 256 visible characters" },
    { "limits = { per_ip = -1 }",
      "3: limits.per_ip: expected a whole number from 0 to 1000000000, got -1" },
    { "backends = { app = { " .. server .. ', balance = "hsh" } }',
      '3: backends.app.balance: expected "round_robin", "least_conn", "random", "p2c", "hash", '
      .. '"ip_hash" or "sticky", or a function, got "hsh"' },
    { "backends = { app = { " .. server .. ', load = "x" } }',
      '3: backends.app.load: expected "none", "status" or a path such as "/status", got "x"' },
    { "backends = { app = { " .. server .. ', load = "/a b" } }',
      '3: backends.app.load: expected "none", "status" or a path such as "/status", got "/a b"' },
    { "backends = { app = { " .. server .. ", max_conns = -1 } }",
      "3: backends.app.max_conns: expected a whole number from 0 to 1000000, got -1" },
    { "backends = { app = { " .. server .. ", fail_timeout = 0 } }",
      '3: backends.app.fail_timeout: expected a duration such as 5, "250ms", "2m" or "1h", '
      .. "above zero, got 0" },
    { "backends = { app = { " .. server .. ", health = 5 } }",
      '3: backends.app.health: expected a table such as { ping = "/ping" }, true or false, got 5' },
    { "backends = { app = { " .. server .. ",\nhealth = {\npng = 1 } } }",
      "5: backends.app.health: unknown key 'png'; did you mean 'ping'?" },
    { "backends = { app = { " .. server .. ', health = { ping = "ping" } } }',
      '3: backends.app.health.ping: expected a path such as "/status", got "ping"' },
    { "backends = { app = { " .. server .. ', health = { status = "status" } } }',
      '3: backends.app.health.status: expected a path such as "/status", got "status"' },
    { "backends = { app = { " .. server .. ', health = { status = "/s", expect = "x" } } }',
      "3: backends.app.health: 'status' is the page that is asked for: leave 'expect' out" },
    { "backends = { app = { " .. server .. ", health = { rise = 0 } } }",
      "3: backends.app.health.rise: expected a whole number from 1 to 1000, got 0" },
    { "backends = { app = { " .. server .. ', ini = "a=b" } }',
      "3: backends.app.ini: expected a table from setting to value such as "
      .. '{ memory_limit = "128M" }, got "a=b"' },
    { "backends = { app = { " .. server .. ", ini = { extension = 1 } } }",
      "3: backends.app.ini: 'extension' is refused: " },
    { "backends = { app = { " .. server .. ', internal = { x = "/srv" } } }',
      '3: backends.app.internal: a prefix begins with "/", as in' },
    { 'backends = { app = { servers = { { address = "h:1", weight = 0 } } } }',
      "3: backends.app.servers[1].weight: expected a whole number from 1 to 1000, got 0" },
    { 'backends = { app = { servers = { { address = "h:1", backup = true } } } }',
      "3: backends.app.servers: all servers are backups; one at least must not be" },
    { 'backends = { a = ":1",\nb = { servers = { "h:1", ":1" }, ini = { x = 1 } } }',
      "4: backends.b: 127.0.0.1:1 is a server of 'a' too, and only one of them has 'x' in its "
      .. "'ini': PHP's processes there would keep it for the requests of the other; name the same "
      .. "settings in both" },
    { 'backends = { a = { servers = ":1", ini = { x = 1 } },\nb = ":1" }',
      "4: backends.b: 127.0.0.1:1 is a server of 'a' too, and only one of them has 'x' in its" },
    { 'resolver = "dns.test"',
      '3: resolver: expected the address of a DNS server such as "127.0.0.1:53", or a list of '
      .. 'them, got "dns.test"' },
    { 'resolver = "dns.test:53"', "3: resolver: expected the address of a DNS server" },
    { 'resolver = "unix:/run/dns.sock"', "3: resolver: expected the address of a DNS server" },
    { 'resolver = { "10.0.0.1", 5 }', "3: resolver: expected the address of a DNS server" },
    { 'resolver = { address = "10.0.0.1" }', "3: resolver: expected the address of a DNS server" },
    { "resolver = 5", "3: resolver: expected the address of a DNS server" },
    { 'log = { access = "syslog:sever=unix:/dev/log" }',
      "3: log.access: there is no parameter 'sever'; did you mean 'server'?" },
    { 'log = { error = "syslog:severity=info" }',
      "3: log.error: the severity of a line is its level; 'severity' is for log.access" },
    { 'log = { access = "stderr" }', '3: log.access: expected "stdout", an absolute path, ' },
    { 'log = { error = "jornal" }', '3: log.error: expected "stderr", an absolute path, ' },
    { "backends = { app = {\n" .. server .. ",\nmultiplex = 1 } }",
      '5: backends.app.multiplex: expected true, false or "auto", got 1' },
    { "backends = { app = {\n" .. server .. ",\nmax_reqs = 1 } }",
      "5: backends.app.max_reqs: expected a whole number from 2 to 1000, got 1" },
    { "backends = { app = {\n" .. server .. ",\nmultiplex = true,\nper_tenant = 2 } }",
      "6: backends.app: 'per_tenant' counts connections, and with 'multiplex' tenants share them" },
  }

  for _, case in ipairs(cases) do
    it("is told: " .. case[2]:sub(1, 90):gsub("%c", "?"), function()
      local message = message_of(script(case[1]))
      assert.equal("route.lua:" .. case[2], message:sub(1, 10 + #case[2]))
      assert.is_nil(message:find("\n"), "one line only")
    end)
  end

  it("is told that it returns no table", function()
    assert.equal("route.lua:1: a route returns a table of settings and hooks, this one returned "
      .. "nothing (is the 'return' missing?)", message_of("local x = {}"))
    assert.equal("route.lua:2: a route returns a table of settings and hooks, this one returned 7",
      message_of("\nreturn 7"))
  end)

  it("is told that on_request is missing", function()
    assert.equal("route.lua:2: on_request is missing: the function that decides about each request",
      message_of('\nreturn { listen = ":1" }'))
  end)
end)
