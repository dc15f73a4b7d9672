-- Specs of moongate.tenants, its records and its files.

local fake_fs = require("support.fs")
local req_of = require("support.req")

describe("moongate.tenants", function()
  local seconds, step, clock = 0, 0, nil
  local tenants, registry, fs, logged, timers, saved, folder

  setup(function()
    saved = package.loaded["moongate"]
    package.loaded["moongate"] = {
      log = function(level, format, ...)
        logged[#logged + 1] = level .. ": " .. format:format(...)
      end,
      sleep = function() end,
      every = function(_, fn) timers[#timers + 1] = fn end,
      shared = function() error("no limit is asked here") end,
    }
    for _, name in ipairs({ "moongate.tenants", "moongate.limit" }) do
      package.loaded[name] = nil
    end
    clock = package.loaded["moongate.base.clock"]
    package.loaded["moongate.base.clock"] = function()
      seconds = seconds + step
      return seconds
    end
    tenants = require("moongate.tenants")
    registry = require("moongate.route.registry")
    folder = os.tmpname()
    os.remove(folder)
    assert(os.execute("mkdir '" .. folder .. "'") == 0)
  end)
  teardown(function()
    package.loaded["moongate"], package.loaded["moongate.base.clock"] = saved, clock
    package.loaded["moongate.tenants"], package.loaded["moongate.limit"] = nil, nil
    os.execute("rm -r '" .. folder .. "'")
  end)
  before_each(function()
    logged, timers = {}, {}
    fs = fake_fs.new({
      "/srv/acme/index.php", "/srv/acme/a.css", "/srv/shop/public/index.php",
      "/srv/users/ann/index.php", "/srv/users/x.y/index.php",
    })
    function fs.stamp() return "1" end
    registry.begin()
  end)
  after_each(function()
    registry.done()
  end)

  local function site(options, time)
    options.backend = options.backend or "app"
    return tenants.site(options, fs, time)
  end

  local function ask(handler, host, path)
    return handler(req_of.get(path or "/", { host = host or false }))
  end

  --- The problem of options, without where they are.
  local function problem_of(options)
    local ok, message = pcall(function()
      local made = tenants.site(options, fs)
      return made
    end)
    assert.is_false(ok)
    return message:match("^[^:]+tenants_spec.lua:%d+: tenants.site: (.*)$")
      or message
  end

  local TABLE = {
    ["acme.example"] = { root = "/srv/acme", ini = { memory_limit = "1G" }, read_timeout = "5m" },
    ["www.acme.example"] = "acme.example",
    ["shop.example"] = { root = "/srv/shop/public", backend = "php74", front = "/index.php" },
    ["*.users.example"] = { root = "/srv/users/$1" },
  }

  it("goes by the host", function()
    local handler = site({ tenants = TABLE })
    assert.same({
      backend = "app", root = "/srv/acme", script = "/index.php", tenant = "acme.example",
      ini = { memory_limit = "1G" }, read_timeout = "5m",
    }, ask(handler, "acme.example"))
    assert.same(ask(handler, "acme.example"), ask(handler, "www.acme.example"))
    assert.same({ root = "/srv/acme", path = "/a.css" }, ask(handler, "acme.example", "/a.css"))
    local d = ask(handler, "shop.example", "/any/address")
    assert.equal("php74", d.backend)
    assert.equal("/index.php", d.script)
    assert.same({ status = 404 }, ask(handler, "acme.example", "/any/address"))
  end)

  it("takes what stands for * as the name of a folder", function()
    local handler = site({ tenants = TABLE })
    local d = ask(handler, "ann.users.example")
    assert.equal("/srv/users/ann", d.root)
    assert.equal("ann", d.tenant)
    assert.equal("/srv/users/x.y", ask(handler, "x.y.users.example").root)
    assert.same({ status = 404 }, ask(handler, "bob.users.example"))
    assert.same({ status = 421 }, ask(handler, "users.example"))
  end)

  it("answers unknown and missing hosts with 421, or as it is told", function()
    for _, host in ipairs({ "nobody.example", ".acme.example", false }) do
      assert.same({ status = 421 }, ask(site({ tenants = TABLE }), host))
      local none = { status = 404 }
      assert.same(none, ask(site({ tenants = TABLE, default = none }), host))
      assert.equal("/srv/acme", ask(site({ tenants = TABLE, default = "acme.example" }), host).root)
      assert.equal("asked", ask(site({ tenants = TABLE, default = function()
        return { status = 200, body = "asked" }
      end }), host).body)
    end
  end)

  it("has folders by name, versions, and values for those that say nothing", function()
    local handler = site({
      root = "/srv/$tenant/public", docroot = "/app/$tenant", versions = { ["7.4"] = "php74" },
      params = { A = "b" }, tenants = {
        ["shop.example"] = { tenant = "shop", version = "7.4" },
        ["x.shop.example"] = { tenant = "shop", params = { A = "c" } },
      },
    })
    assert.same({
      backend = "php74", root = "/srv/shop/public", docroot = "/app/shop", tenant = "shop",
      script = "/index.php", params = { A = "b" },
    }, ask(handler, "shop.example"))
    assert.same({ A = "c" }, ask(handler, "x.shop.example").params)
  end)

  it("asks a function, and remembers what it has said", function()
    local asked, now = 0, 100
    local record = { root = "/srv/acme" }
    local options = {
      tenants = function(host)
        asked = asked + 1
        return host == "acme.example" and record or nil
      end,
    }
    local handler = site(options)
    assert.equal("/srv/acme", ask(handler, "acme.example").root)
    assert.equal("acme.example", ask(handler, "acme.example").tenant)
    assert.same({ status = 421 }, ask(handler, "x.example"))
    assert.same({ status = 421 }, ask(handler, nil))
    assert.equal(3, asked)
    options.remember = "10s"
    handler, asked = site(options, function() return now end), 0
    for _ = 1, 3 do
      assert.equal("/srv/acme", ask(handler, "acme.example").root)
      assert.same({ status = 421 }, ask(handler, "x.example"))
    end
    assert.equal(2, asked)
    now = now + 11
    ask(handler, "acme.example")
    assert.equal(3, asked)
    handler = site({ tenants = function() return { root = 5 } end })
    local ok, message = pcall(ask, handler, "x.example")
    assert.is_false(ok)
    assert.matches("tenants_spec.lua:%d+: tenants: the function for 'tenants': x.example: root: "
      .. "expected a folder, got 5$", message)
  end)

  -- Files ----------------------------------------------------------------------------------------

  local function write(name, text)
    local path = folder .. "/" .. name
    local file = assert(io.open(path, "w"))
    file:write(text)
    file:close()
    return path
  end

  local FILES = {
    ["t.lua"] = [[return {
      ["acme.example"] = { root = "/srv/acme", ini = { memory_limit = "1G" }, attempts = 3 },
      ["www.acme.example"] = "acme.example",
      ["shop.example"] = { root = "/srv/shop/public", backend = "php74", front = "/index.php" },
    }]],
    ["t.json"] = [[{
      "acme.example": { "root": "/srv/acme", "ini": { "memory_limit": "1G" }, "attempts": 3 },
      "www.acme.example": "acme.example",
      "shop.example": { "root": "/srv/shop/public", "backend": "php74", "front": "/index.php" }
    }]],
    ["t.csv"] = "host,root,backend,front,ini.memory_limit,attempts\n"
      .. "acme.example www.acme.example,/srv/acme,,,1G,3\n"
      .. "shop.example,/srv/shop/public,php74,/index.php,,\n",
  }

  for name, text in pairs(FILES) do
    it("reads " .. name, function()
      local handler = site({ tenants = write(name, text) })
      local d = ask(handler, "www.acme.example")
      assert.equal("/srv/acme", d.root)
      assert.equal(3, d.attempts)
      assert.same({ memory_limit = "1G" }, d.ini)
      assert.equal("php74", ask(handler, "shop.example", "/x").backend)
    end)
  end

  it("reads a file again when it has changed and rests, and keeps the old tenants otherwise",
    function()
      local stamp = "1"
      function fs.stamp() return stamp end
      local path = write("t.csv", "host,root\nacme.example,/srv/acme\n")
      local handler = site({ tenants = path })
      for _, start in ipairs(registry.starts) do
        start()
      end
      local look = timers[1]
      write("t.csv", "host,root\nshop.example,/srv/shop/public\n")
      look()
      assert.equal("/srv/acme", ask(handler, "acme.example").root)
      stamp = "2"
      look()
      assert.equal("/srv/acme", ask(handler, "acme.example").root)
      look()
      assert.same({ status = 421 }, ask(handler, "acme.example"))
      assert.equal("/srv/shop/public", ask(handler, "shop.example").root)
      assert.same({ ("info: tenants: %s: 1 hosts"):format(path) }, logged)
      write("t.csv", "host,root\nshop.example,/srv/shop/public\nx.example,relative/../../x,\n")
      stamp = "3"
      for _ = 1, 3 do
        look()
      end
      assert.equal(2, #logged)
      assert.equal(("error: tenants: %s:3: more fields than columns; those of before stay"):format(
        path), logged[2])
      assert.equal("/srv/shop/public", ask(handler, "shop.example").root)
      stamp = "-"
      for _ = 1, 3 do
        look()
      end
      assert.equal(3, #logged)
      assert.equal("/srv/shop/public", ask(handler, "shop.example").root)
    end)

  it("leaves a file that takes long to on_start", function()
    for _, name in ipairs({ "t.csv", "t.json" }) do
      local lines = {}
      for i = 1, 1000 do
        lines[i] = name == "t.csv" and ("t%d.example,/srv/%d"):format(i, i)
          or ('"t%d.example":{"root":"/srv/%d"}'):format(i, i)
      end
      local path = write(name, name == "t.csv" and "host,root\n" .. table.concat(lines, "\n")
        or "{" .. table.concat(lines, ",") .. "}")
      step = 1
      local handler = site({ tenants = path, default = "t7.example" })
      registry.starts[#registry.starts]()
      step = 0
      assert.equal("/srv/acme", site({ tenants = TABLE })(req_of.get("/", {
        host = "acme.example" })).root)
      assert.same({ status = 404 }, ask(handler, "t1000.example"))
      assert.same({ status = 404 }, ask(handler, "x.example"))
      step = 1
      local late = site({ tenants = path, default = "x.example" })
      assert.has_error(registry.starts[#registry.starts],
        "tenants: default: there is no tenant of the host 'x.example'")
      assert.has_error(function() ask(late, "t1.example") end,
        "tenants: default: there is no tenant of the host 'x.example'")
      step = 0
    end
  end)

  it("may have its folder on the backend's machine only, a star's too", function()
    local handler = site({ docroot = "/app/$tenant", tenants = {
      ["a.example"] = { tenant = "acme" }, ["*.b.example"] = { docroot = "/home/$1" },
    } })
    local d = ask(handler, "a.example", "/x.php/y")
    assert.same({ "/app/acme", "/x.php", "/y", "acme" },
      { d.docroot, d.script, d.path_info, d.tenant })
    assert.equal("/home/ann", ask(handler, "ann.b.example", "/").docroot)
    assert.equal(404, ask(handler, "a.example", "/a.css").status)
  end)

  it("has `always` of all answers, of who comes for no tenant too", function()
    local handler = site({ always = { A = "b" }, root = "/srv/$tenant", default = { status = 404 },
      tenants = { ["acme.example"] = { tenant = "acme" } } })
    for _, host in ipairs({ "acme.example", "other.example" }) do
      assert.equal("b", ask(handler, host).always.A)
    end
  end)

  it("runs nothing of a file in Lua", function()
    for text, message in pairs({
      ["return { x = os.getenv('HOME') }"] = "attempt to index global 'os'",
      ["return 5"] = 'expected `return { ["host"] = { ... } }`, got 5',
      ["return {"] = "t.lua:1: unexpected symbol near '<eof>'",
      ["\27LJ"] = "this is compiled Lua",
    }) do
      local problem = problem_of({ tenants = write("t.lua", text), backend = "app" })
      assert.truthy(problem:find(message, 1, true), problem)
    end
  end)

  for text, message in pairs({
    ["host,root\n,/srv/acme\n"] = "2: a tenant without a host",
    ["root\n/srv/acme\n"] = "1: expected names of columns in the first line, one of them `host`",
    ["host,root\na.example,/srv/acme\nA.example.,/srv/acme\n"] =
      "3: the host 'A.example.' is there twice",
    ["host,rot\na.example,/srv/acme\n"] =
      "2: a.example: unknown key 'rot' of a tenant; did you mean 'root'?",
    ["host,root\na/b,/srv/acme\n"] = "2: 'a/b' is neither a host nor \"*.\" and a host",
    ["host,backend\na.example,app\n"] = "2: a.example: 'root' is missing: the folder of the "
      .. "tenant; or 'docroot', where only the backend has it",
    ["host,root,attempts\na.example,/srv/acme,0\n"] =
      "2: a.example: attempts: expected a whole number from 1 to 100, got 0",
    ["host,root,rate\na.example,/srv/acme,5/y\n"] = '2: a.example: rate: expected a rate such as 5 '
      .. '(in a second), "10/s", "100/m", "1000/h" or "5000/d", got "5/y"',
    ["host,root\na.example,/srv/$1\n"] =
      "2: a.example: root: only a host with \"*\" has something for '$1'",
  }) do
    it("says: " .. message, function()
      local path = write("t.csv", text)
      assert.equal(("%s:%s"):format(path, message), problem_of({ tenants = path, backend = "app" }))
    end)
  end

  for _, case in ipairs({
    { {}, "'tenants': expected a table from host to tenant, a function of the host, or a file, "
      .. "got nothing" },
    { { tenants = "t.yaml" },
      'tenants: expected a file that ends in .lua, .json or .csv, got "t.yaml"' },
    { { tenants = {}, tenant = "x", defualt = {} },
      "unknown key 'defualt'; did you mean 'default'?" },
    { { tenants = {}, default = "x.example" },
      "default: there is no tenant of the host 'x.example'" },
    { { tenants = {}, default = { statsu = 1 } },
      "default: unknown key 'statsu' in a decision; did you mean 'status'?" },
    { { tenants = {}, remember = 5 }, 'remember: expected a duration such as 5, "250ms", "2m" or '
      .. "\"1h\", above zero, where 'tenants' is a function, got 5" },
    { { tenants = print, default = "x.example" },
      "default: a host can be named only where 'tenants' is a table or a file" },
    { { tenants = {}, root = print },
      "root: expected a text: what differs from tenant to tenant is theirs to say" },
    { { tenants = { ["a.example"] = {} }, backend = "app" },
      "a.example: 'root' is missing: the folder of the tenant; or 'docroot', where only the "
        .. "backend has it" },
    { { tenants = { ["a.example"] = { docroot = "/app" } }, backend = "app", owner = true },
      "a.example: owner: without 'root' no file can be looked at" },
    { { tenants = { ["a.example"] = { root = "/srv/acme" } } },
      "a.example: 'backend' is missing: the name of the backend that runs the scripts" },
    { { tenants = { ["a.example"] = { root = "/srv/acme", version = "8" } }, backend = "app" },
      "a.example: version: \"8\" is not in 'versions'" },
    { { tenants = { ["*.a.example"] = { } }, root = "/srv/$tenant", backend = "app" }, nil },
    { { tenants = { ["[::1]"] = { } }, root = "/srv/$tenant", backend = "app" }, "[::1]: root: "
      .. "'[::1]' can't be the name of a folder ('$tenant'); say `tenant`" },
    { { tenants = { ["a.example"] = { tenant = "..", } }, root = "/srv/$tenant", backend = "app" },
      "a.example: root: '..' can't be the name of a folder ('$tenant'); say `tenant`" },
    { { tenants = { ["a.example"] = "b.example" }, backend = "app" },
      "a.example: there is no tenant of the host 'b.example' for which it stands" },
    { { tenants = { ["a.example"] = { root = "/" } }, backend = "app" },
      "a.example: root: '/' is no folder of a tenant" },
  }) do
    if case[2] then
      it("says: " .. case[2], function()
        assert.equal(case[2], problem_of(case[1]))
      end)
    end
  end
end)
