-- Specs of moongate.proxypass: which rule fits, what it decides, which backends it makes, and whose
-- fault a wrong use is. That Apache does the same is in tests/integration/46-proxypass_spec.lua.

local files = require("support.fs")
local proxypass = require("moongate.proxypass")
local registry = require("moongate.route.registry")
local req_of = require("support.req")

-- Perl's expressions need the core: these are Lua's patterns, with captures as ngx.re has them.
local function match(text, pattern)
  if pattern == "(" then
    return nil, "missing closing parenthesis"
  end
  local found = { text:find(pattern) }
  if not found[1] then
    return nil
  end
  local captures = { [0] = text:sub(found[1], found[2]) }
  for i = 3, #found do
    captures[i - 2] = found[i]
  end
  return captures
end

describe("moongate.proxypass", function()
  local saved

  setup(function()
    saved = package.loaded["moongate.ngx.regex"]
    package.loaded["moongate.ngx.regex"] = { match = match }
  end)
  teardown(function()
    package.loaded["moongate.ngx.regex"] = saved
  end)
  before_each(registry.begin)
  after_each(registry.done)

  local function decide(p, path, fields)
    return p(req_of.get(path, fields))
  end

  it("splits the path of a prefix into script and path info", function()
    local p = proxypass.new():pass("/app/", "fcgi://10.0.0.1:9000/srv/code/")
    assert.same({
      backend = "10.0.0.1:9000", script = "/app/show.php", path_info = "/x",
      script_filename = "/srv/code/show.php", docroot = "/srv/code",
    }, decide(p, "/app/show.php/x?q"))
    assert.is_nil(decide(p, "/app"))
    assert.is_nil(decide(p, "/application/x.php"))
    assert.same({ servers = { "10.0.0.1:9000" } }, p:backends()["10.0.0.1:9000"])
  end)

  it("takes the first rule that fits, and leaves alone what is excluded", function()
    local p = proxypass.new({ default = { status = 410 } })
    p:pass("/a/private", "!"):pass("/a/b/", "fcgi://h:1/one/"):pass("/a/", "fcgi://h:1/two/")
    assert.equal(410, decide(p, "/a/private/x.php").status)
    assert.equal("/two/privately.php", decide(p, "/a/privately.php").script_filename)
    assert.equal("/one/x.php", decide(p, "/a/b/x.php").script_filename)
    assert.equal("/two/x.php", decide(p, "/a/x.php").script_filename)
    assert.equal(410, decide(p, "/").status)
  end)

  it("knows the document root where URLs lie in it, and is told it otherwise", function()
    for _, case in ipairs({
      { "/app/", "fcgi://h:1/srv/app/", "/srv" }, { "/", "fcgi://h:1/srv/www/", "/srv/www" },
      { "/app", "fcgi://h:1/srv/code", "/srv/code" }, { "/", "fcgi://h:1/", nil },
      { "/a/", "fcgi://h:1/srv/b/", "/own", { docroot = "/own" } },
    }) do
      local p = proxypass.new():pass(case[1], case[2], case[4])
      assert.equal(case[3], decide(p, case[1] .. (case[1]:match("/$") and "" or "/") .. "x.php")
        .docroot)
    end
  end)

  it("fills in what an expression has matched, or adds the path", function()
    local p = proxypass.new()
    p:pass_match("^/(.-%.php)(.*)$", "unix:/run/php.sock|fcgi://localhost/srv/$1$2")
    p:pass_match("^/cgi/", "fcgi://h:1/srv")
    p:pass_match("^/x/", "fcgi://h:1/\\$1/$0")
    local d = decide(p, "/a/b.php/c")
    assert.equal("unix:/run/php.sock", d.backend)
    assert.equal("/srv/a/b.php", d.script_filename)
    assert.equal("/c", d.path_info)
    assert.equal("/srv", d.docroot)
    assert.equal("/srv/cgi/run", decide(p, "/cgi/run").script_filename)
    assert.equal("/$1//x/", decide(p, "/x/y").script_filename)
  end)

  it("looks at the disk where the folder is here", function()
    local fs = files.new({ "/srv/", "/srv/a.php/", "/srv/a.php/b.php", "/srv/photo.jpg",
      "/srv/index.html", "/srv/code/", "/srv/code/index.php" })
    local p = proxypass.new({ root = "/srv", index = { "index.php", "index.html" } }, fs)
    p:pass_match("^(.-%.php.*)$", "fcgi://h:1/srv$1")
    assert.equal("/srv/a.php/b.php", decide(p, "/a.php/b.php").script_filename)
    assert.same({ status = 404 }, decide(p, "/photo.jpg/x.php"))
    assert.same({ root = "/srv", index = { "index.php", "index.html" } }, decide(p, "/photo.jpg"))
    assert.equal("/srv", decide(p, "/").root)
    local d = decide(p, "/code/")
    assert.equal("/code/index.php", d.script)
    assert.equal("/srv/code/index.php", d.script_filename)
  end)

  it("gives backends what Apache's parameters mean", function()
    local p = proxypass.new()
    p:pass("/a/", "fcgi://h/", {
      timeout = 30, connectiontimeout = "500ms", max = "10", enablereuse = "on", acquire = 250,
      retry = 5, ttl = 60, flushpackets = "on",
    })
    p:pass("/b/", "fcgi://h/", { timeout = 1 })
    p:pass("/c/", "fcgi://h/", { timeout = 1 })
    p:pass("/d/", "fcgi://h/", { retry = 0 })
    assert.same({
      ["h:8000"] = {
        servers = { "h:8000" }, read_timeout = 30, send_timeout = 30, connect_timeout = 0.5,
        max_conns = 10, keepalive = 10, queue_timeout = 0.25, fail_timeout = 5, max_fails = 1,
        keepalive_idle = 60,
      },
      ["h:8000#2"] = { servers = { "h:8000" }, read_timeout = 1, send_timeout = 1 },
      ["h:8000#3"] = { servers = { "h:8000" }, max_fails = 0 },
      other = "127.0.0.1:1",
    }, p:backends({ other = "127.0.0.1:1" }))
  end)

  it("makes one backend of a balancer's members", function()
    local p = proxypass.new()
    p:balancer("balancer://Cluster", {
      { "fcgi://10.0.0.1:9000", loadfactor = 2, max = 5, timeout = 3 }, "fcgi://10.0.0.2:9000",
      { "fcgi://10.0.0.3:9000", status = "+H" }, { "fcgi://10.0.0.4:9000", status = "+D" },
    }, { lbmethod = "bybusyness", maxattempts = 1, timeout = 2 })
    p:pass("/", "balancer://cluster/srv/")
    assert.equal("cluster", decide(p, "/x.php").backend)
    assert.same({ cluster = {
      servers = { { address = "10.0.0.1:9000", weight = 2, max_conns = 5 },
        { address = "10.0.0.2:9000" }, { address = "10.0.0.3:9000", backup = true } },
      balance = "least_conn", attempts = 2, queue_timeout = 2, read_timeout = 3, send_timeout = 3,
    } }, p:backends())
  end)

  it("keeps a session where it began, and with nofailover nowhere else", function()
    local p = proxypass.new()
    p:balancer("balancer://c", { { "fcgi://a:1", route = "one" }, { "fcgi://b:1", route = "two" } },
      { stickysession = "SID", nofailover = "on" })
    p:pass("/", "balancer://c/")
    assert.equal("b:1", decide(p, "/x.php", { cookies = { SID = "5.two" } }).server)
    assert.is_nil(decide(p, "/x.php", { cookies = { SID = "5.other" } }).server)
    local balance = p:backends().c.balance
    local servers = { { address = "a:1", weight = 1 }, { address = "b:1", weight = 1 } }
    for uri, address in pairs({
      ["/x?SID=1.two"] = "b:1", ["/x;SID=1.two?y"] = "b:1", ["/x?y=1&SID=1.two"] = "b:1",
    }) do
      assert.equal(address, balance({ uri = uri, cookies = {} }, servers).address)
    end
    local seen = {}
    for _ = 1, 4 do
      seen[balance({ uri = "/x?NOSID=1.two", cookies = {} }, servers).address] = true
    end
    assert.same({ ["a:1"] = true, ["b:1"] = true }, seen)
    assert.equal("a:1", balance({ uri = "/", cookies = { SID = "x.one" } }, servers).address)
  end)

  it("maps answers to requests that it has passed on, and no others", function()
    local p = proxypass.new()
    p:balancer("balancer://c", { "fcgi://a:1", "fcgi://b:1" })
    p:pass("/app/", "balancer://c/srv/")
    p:reverse("/app/", "http://in.test/"):reverse("/b/", "balancer://c/srv/")
    p:reverse_cookie_path("/", "/app/")
    local function respond(req, location)
      local headers = setmetatable({ Location = location }, { __index = {
        all = function() return { "a=b; Path=/x", "c=d" } end,
      } })
      for _, fn in ipairs(registry.responses) do
        fn(req, { headers = headers })
      end
      return headers
    end
    local req = req_of.get("/app/x.php", { host = "site.test", scheme = "https", port = 443 })
    p(req)
    local headers = respond(req, "http://in.test/y")
    assert.equal("https://site.test/app/y", headers.Location)
    assert.same({ "a=b; Path=/app/", "c=d" }, headers["Set-Cookie"])
    assert.equal("https://site.test/b/z", respond(req, "fcgi://B:1/srv/z").Location)
    local other = req_of.get("/other", { host = "site.test" })
    p(other)
    assert.equal("http://in.test/y", respond(other, "http://in.test/y").Location)
    assert.equal(1, #registry.responses)
  end)

  for _, case in ipairs({
    { 'pass: expected a path such as "/app/", got "app"', function(p) p:pass("app", "!") end },
    { 'pass: expected "!", or a URL such as "fcgi://127.0.0.1:9000/srv/www/", '
      .. '"unix:/run/php/php8.2-fpm.sock|fcgi://localhost/srv/www/" or "balancer://name/srv/www/", '
      .. "got nothing", function(p) p:pass("/") end },
    { 'pass: "http://h/": only fcgi:// can be had: Moongate speaks FastCGI to its backends, and no '
      .. "http", function(p) p:pass("/", "http://h/") end },
    { "pass: \"fcgi:///x/\": '' is no address to connect to",
      function(p) p:pass("/", "fcgi:///x/") end },
    { "pass: '/' ends in a slash and the URL has no path: write \"fcgi://h:1/\"",
      function(p) p:pass("/", "fcgi://h:1") end },
    { "pass: '/a/' ends in a slash and the URL does not: /a/x would be '/srvx'",
      function(p) p:pass("/a/", "fcgi://h:1/srv") end },
    { "pass: there is no balancer://c: it is made by `balancer`, before it is used",
      function(p) p:pass("/", "balancer://c/") end },
    { "pass: unknown parameter 'timeot'; did you mean 'timeout'?",
      function(p) p:pass("/", "fcgi://h:1/", { timeot = 1 }) end },
    { "pass: 'iobuffersize' has no meaning here: leave it out",
      function(p) p:pass("/", "fcgi://h:1/", { iobuffersize = 1 }) end },
    { "pass: timeout: expected seconds, above zero, or a duration such as 5, \"250ms\", \"2m\" or "
      .. "\"1h\", got \"soon\"", function(p) p:pass("/", "fcgi://h:1/", { timeout = "soon" }) end },
    { "pass: enablereuse: 'max' is missing beside it, the number of PHP-FPM's processes "
      .. "(pm.max_children): a kept connection occupies one of them",
      function(p) p:pass("/", "fcgi://h:1/", { enablereuse = "on" }) end },
    { 'pass: "!" has no parameters', function(p) p:pass("/", "!", {}) end },
    { "pass: docroot: expected an absolute path such as \"/srv/www\", got \"x\"",
      function(p) p:pass("/", "fcgi://h:1/", { docroot = "x" }) end },
    { "pass_match: missing closing parenthesis", function(p) p:pass_match("(", "!") end },
    { "pass_match: 'nocanon' goes with pass only",
      function(p) p:pass_match("^/", "fcgi://h:1/", { nocanon = true }) end },
    { "balancer: a balancer can't be a member of another one",
      function(p) p:balancer("balancer://c", { "balancer://d" }) end },
    { 'balancer: "fcgi://h:1/srv": a member\'s path is not sent with FastCGI: say it in the URL of '
      .. 'pass, as in "balancer://name/srv"',
      function(p) p:balancer("balancer://c", { "fcgi://h:1/srv" }) end },
    { 'balancer: expected a name such as "balancer://cluster", got "c"',
      function(p) p:balancer("c", {}) end },
    { "balancer: expected a list of members, got a table",
      function(p) p:balancer("balancer://c", {}) end },
    { 'balancer: lbmethod: expected "byrequests" or "bybusyness", got "bytraffic"',
      function(p) p:balancer("balancer://c", { "fcgi://h:1" }, { lbmethod = "bytraffic" }) end },
    { "balancer: stickysession: no member has a 'route'",
      function(p) p:balancer("balancer://c", { "fcgi://h:1" }, { stickysession = "S" }) end },
    { "balancer: status: there is no flag 'X': H and R are backups, D, S and N are left out",
      function(p) p:balancer("balancer://c", { { "fcgi://h:1", status = "+X" } }) end },
    { "balancer: no member is left: all are disabled",
      function(p) p:balancer("balancer://c", { { "fcgi://h:1", status = "D" } }) end },
    { 'reverse: expected a URL such as "http://internal.example/", got "x"',
      function(p) p:reverse("/", "x") end },
    { "reverse_cookie_path: expected the backend's path and that of clients, got nothing",
      function(p) p:reverse_cookie_path("/") end },
    { "pass: rules are added before `backends` is called, which gives the route those that they "
      .. "name", function(p) p:backends() p:pass("/", "!") end },
  }) do
    it("says: " .. case[1], function()
      local p = proxypass.new()
      local ok, message = pcall(function()
        case[2](p)
      end)
      assert.is_false(ok)
      assert.equal("proxypass: " .. case[1], message:match("^[^:]+proxypass_spec.lua:%d+: (.*)$"))
    end)
  end

  it("says where a rule stands that hides another one", function()
    local p = proxypass.new():pass("/a/", "fcgi://h:1/x/")
    local ok, message = pcall(function() p:pass("/a/b/", "!") end)
    assert.is_false(ok)
    assert.matches("pass: no request comes to '/a/b/': '/a/' at .*proxypass_spec.lua:%d+ takes it "
      .. "before$", message)
  end)

  it("says what a wrong option, method or request is", function()
    assert.has_error(function() return proxypass.new().pas end,
      "proxypass: there is no method 'pas'; did you mean 'pass'?")
    for options, problem in pairs({
      [{ rot = "/" }] = "unknown key 'rot'; did you mean 'root'?",
      [{ root = "srv" }] = 'root: expected an absolute path such as "/srv/www", got "srv"',
      [{ default = { statsu = 1 } }] = "default: unknown key 'statsu' in a decision; did you mean "
        .. "'status'?",
    }) do
      local ok, message = pcall(function() local p = proxypass.new(options) return p end)
      assert.is_false(ok)
      assert.equal("proxypass.new: " .. problem, message:match("proxypass_spec.lua:%d+: (.*)$"))
    end
    local ok, message = pcall(function() local d = proxypass.new()() return d end)
    assert.is_false(ok)
    assert.matches("proxypass: expected a request, got nothing", message)
  end)
end)
