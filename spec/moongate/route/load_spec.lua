-- Specs of moongate.route.load.

local fake_fs = require("support.fs")
local folder = require("support.folder")
local load = require("moongate.route.load")
local req = require("support.req")

--- Runs a script's text and returns the message that it fails with.
local function message_of(text)
  local ok, message = pcall(load.source, text, "route.lua", nil, fake_fs.new({}))
  assert.is_false(ok, "accepted: " .. text)
  return message
end

describe("load.source", function()
  it("runs a script and completes its decisions", function()
    local settings = load.source([[
      return {
        backends = { app = ":9000" },
        on_request = function(req) return { backend = "app", tenant = req.host } end,
      }
    ]], "route.lua", nil, fake_fs.new({}))
    assert.same({ { backend = "app", tenant = "example.test" }, "/x.php", "/y" },
      { settings.hooks.on_request(req.get("/x.php/y")) })
    assert.equal("route.lua", settings.source)
    assert.equal("route.lua:3", settings.hook_source.on_request)
  end)

  it("passes the command line on", function()
    local settings = load.source("return { on_request = print }", "route.lua", { workers = 3 })
    assert.equal(3, settings.workers)
  end)

  it("ignores a line for the shell", function()
    local settings = load.source("#!/usr/bin/moongate run\nreturn { on_request = print }", "r")
    assert.equal("r:2", settings.hook_source.on_request)
  end)

  it("says where the syntax is wrong", function()
    assert.equal("route.lua:2: '}' expected (to close '{' at line 1) near '<eof>'",
      message_of("return {\nlisten = 1"))
  end)

  it("says where the script fails, with a traceback of its own functions", function()
    local message = message_of("local function f()\n  local t = nil\n  return t.x\nend\nf()\n")
    assert.matches("^route.lua:3: attempt to index local 't' %(a nil value%)\n"
      .. "stack traceback:\n", message)
    assert.matches("route.lua:5: in main chunk$", message)
  end)

  it("adds the place to errors that have none", function()
    assert.matches("^route.lua:2: boom\n", message_of("\nerror('boom', 0)"))
    assert.matches("^route.lua:2: module 'no_such_module' not found",
      message_of("\nrequire('no_such_module')"))
    assert.matches("^route.lua:1: table: ", message_of("error({})"))
  end)

  it("refuses a script that holds most of its memory once it is loaded", function()
    local text = [[
      local rows = ("x"):rep(13 * 2 ^ 20)
      return {
        on_request = function() return { body = rows } end,
        limits = { script_memory = "16M" },
      }
    ]]
    assert.matches("^route.lua:4: limits.script_memory: the script holds %d+ MB once it is loaded, "
      .. "of 16 MB; a quarter is for its hooks$", message_of(text))
    assert.is_table(load.source(text:gsub("16M", "256M"), "route.lua", nil, fake_fs.new({})))
  end)

  it("says what is wrong with the settings", function()
    assert.equal("route.lua:2: unknown key 'backend'; did you mean 'backends'?",
      message_of("return { on_request = print,\nbackend = {} }"))
  end)

  it("says long names of files in full", function()
    local name = "/" .. ("very/"):rep(20) .. "route.lua"
    for _, text in ipairs({ "return {", "error('x')", "return nil + 1", "return {}" }) do
      local ok, message = pcall(load.source, text, name)
      assert.is_false(ok)
      assert.equal(name .. ":1: ", message:sub(1, #name + 4))
      assert.is_nil(message:find("...", 1, true))
    end
  end)

  it("takes undeclared globals for typing errors", function()
    assert.matches("^route.lua:1: undeclared global 'prnt'; did you mean 'print'%?",
      message_of("return { on_request = prnt }"))
  end)

  it("refuses new globals in hooks", function()
    local settings = load.source("count = 0\nreturn { on_request = function()\n"
      .. "count = count + 1\nlast = count end }", "route.lua")
    local ok, message = pcall(settings.hooks.on_request, req.get("/"))
    assert.is_false(ok)
    assert.matches("^route.lua:4: global 'last' set while requests run", message)
  end)
end)

describe("before the first request", function()
  --- The message about a route that has this in its fourth line and further.
  local function message_about(fs, ...)
    local text = 'local router, php = require("moongate.router").new(), require("moongate.php")\n'
      .. 'local backends = { php82 = ":9000" }\n\n' .. table.concat({ ... }, "\n")
    local ok, message = pcall(load.source, text, "route.lua", nil, fs)
    return not ok and message:match("^[^\n]*") or nil
  end

  local route = "return { backends = backends, on_request = router }"
  local missing = "there is no backend 'php28'; did you mean 'php82'?"
  for _, case in ipairs({
    { 'router:path("/a", { backend = "php28" })', "router: path '/a': " .. missing },
    { 'router:use({ root = "/srv", try = { "$path", { backend = "php28" } } })',
      "router: use: " .. missing },
    { 'php.site { root = "/srv", backend = "php28" }', "php.site: backend: " .. missing },
    { 'php.site { root = "/srv", backend = "php82", ini = { memory_limit = "1G" } }',
      "php.site: backend: ini: 'memory_limit' is not in the 'ini' of backend 'php82', which must "
      .. "name every setting and its value for other requests, since PHP-FPM's processes keep the "
      .. "last one that they saw" },
    { 'router:path("/a", { backend = "php82", ini = { memory_limit = "1G" } })',
      "router: path '/a': ini: 'memory_limit' is not in the 'ini' of backend 'php82', which must "
      .. "name every setting and its value for other requests, since PHP-FPM's processes keep the "
      .. "last one that they saw" },
    { 'php.site { root = "/srv", backend = "php82", versions = { ["8"] = "php28" } }',
      "php.site: versions['8']: " .. missing },
    { 'php.site { root = "/srv", backend = "php82", try = { "$path", { backend = "php28" } } }',
      "php.site: try: " .. missing },
    { 'router:path("/a", { statsu = 1 })',
      "router: path '/a': unknown key 'statsu' in a decision; did you mean 'status'?" },
    { 'router:path("/a", {})', "router: path '/a': an empty table is no decision" },
    { 'router:match("a", { backend = "php82", status = 200 })', "router: pattern 'a': 'status' "
      .. "does not go with 'backend', which makes this a FastCGI decision" },
    { 'router:host("a.test", { backend = "php82", params = { PHP_VALUE = "x" } })',
      "router: host 'a.test': params: 'PHP_VALUE' is refused: PHP-FPM's processes keep such "
      .. "settings for the next request, whosever that is; 'ini' of the backend and the decision "
      .. "sets them safely" },
    { 'router:method("GET", { root = "/srv", try = {} })',
      "router: method GET: try: the list is empty" },
  }) do
    it("is told: " .. case[2], function()
      assert.equal("route.lua:4: " .. case[2], message_about(fake_fs.new({}), case[1], route))
    end)
  end

  it("accepts names that are there", function()
    assert.is_nil(message_about(fake_fs.new({}), 'router:path("/a", { backend = "php82" })',
      'router:path("/b", php.site { root = "/srv", backend = "php82", try = { "$path", 404 } })',
      route))
  end)

  it("forgets the route before", function()
    assert.is_string(message_about(fake_fs.new({}), 'router:path("/a", { backend = "x" })', route))
    assert.is_nil(message_about(fake_fs.new({}), route))
  end)

  it("looks for the folders of logs and bodies", function()
    local fs = fake_fs.new({ "/var/log/dir/", "/srv/file" })
    local function about(settings)
      return message_about(fs, "return {", settings, "on_request = print }")
    end
    assert.equal("route.lua:5: log.access: there is no folder /var/lag",
      about('log = { access = "/var/lag/a.log" },'))
    assert.equal("route.lua:5: log.error: /var/log/dir is a folder",
      about('log = { error = "/var/log/dir" },'))
    assert.equal("route.lua:5: limits.spool_dir: /nope/a: /nope does not exist",
      about('limits = { spool_dir = "/nope/a" },'))
    assert.equal("route.lua:5: limits.spool_dir: /srv/file: this is not a folder",
      about('limits = { spool_dir = "/srv/file" },'))
    assert.is_nil(about('log = { access = "/var/log/a", error = "/x" }, limits = { spool_dir = '
      .. '"/var/log" },'))
  end)

  it("looks for the folder of specs, beside the script unless it is absolute", function()
    local fs = fake_fs.new({ "/srv/app/spec/", "/srv/other/", "/srv/file" })
    local function test_of(name)
      local text = ("return {\ntest = %q, on_request = print }"):format(name)
      local ok, got = pcall(load.source, text, "/srv/app/route.lua", nil, fs)
      return ok and got.test or got
    end
    assert.equal("/srv/app/spec", test_of("spec"))
    assert.equal("/srv/app/spec", test_of("./spec//"))
    assert.equal("/srv/other", test_of("/srv/other/"))
    local at = "/srv/app/route.lua:2: test: "
    assert.equal(at .. "/srv/app/specs: it does not exist", test_of("specs"))
    assert.equal(at .. "/srv/file: this is not a folder", test_of("/srv/file"))
  end)

  it("leaves log files to the master where only that may see them", function()
    local fs = fake_fs.new({})
    function fs.stat()
      return nil, "Permission denied"
    end
    local text = 'return { log = { access = "/hidden/a" }, on_request = print }'
    assert.is_nil(message_about(fs, text))
  end)

  it("says which modules come later", function()
    local upcoming = require("moongate.base.upcoming")
    local saved = upcoming.modules
    finally(function() upcoming.modules = saved end)
    upcoming.modules = { ["moongate.later"] = true }
    assert.equal("route.lua:4: 'moongate.later' is not available in moongate 0.1 yet",
      message_about(fake_fs.new({}), 'require("moongate.later")'))
    assert.matches("^route.lua:4: module 'moongate.nope' not found",
      message_about(fake_fs.new({}), 'require("moongate.nope")'))
  end)

  it("lets a script require the policies, and a backend use one of its own", function()
    local settings = load.source([[
      local hash = require("moongate.balance.hash").new()
      return {
        backends = { app = { servers = { ":1", ":2" }, balance = hash } }, on_request = print,
      }
    ]], "route.lua", nil, fake_fs.new({}))
    local backend = settings.backends[1]
    assert.equal("function", backend.balance)
    local servers = require("support.servers").new(1, 1)
    assert.is_table(backend.pick(req.get("/x"), servers, 1))
  end)

  it("completes what on_response and on_error decide", function()
    local settings = load.source([[
      local function other(req, more) return more.ok and { backend = "app", ini = { a = 2 } } end
      return {
        backends = { app = { servers = ":9000", ini = { a = 1 } } },
        on_request = print, on_response = other, on_error = other,
      }
    ]], "route.lua", nil, fake_fs.new({}))
    for _, name in ipairs({ "on_response", "on_error" }) do
      assert.same({ { backend = "app", ini = { a = 2 } }, "/x.php", "/y", "a='1'\na='2'" },
        { settings.hooks[name](req.get("/x.php/y"), { ok = true }) })
      assert.is_false((settings.hooks[name](req.get("/x.php/y"), { ok = false })))
    end
  end)

  it("keeps the hooks as the route gives them", function()
    local settings = load.source('local r = require("moongate.router").new()\n'
      .. "return { on_request = r, on_log = print }", "route.lua", nil, fake_fs.new({}))
    assert.is_function(settings.hooks_original.on_request.explain)
    assert.equal(print, settings.hooks_original.on_log)
  end)
end)

describe("load.route", function()
  local dir, path
  before_each(function()
    dir = folder.new()
    path = dir .. "/route.lua"
  end)
  after_each(function()
    folder.remove(dir)
  end)

  local function write(name, text)
    folder.write(dir .. "/" .. name, text)
  end

  it("loads a file and what lies beside it", function()
    write("load_spec_neighbour.lua", "return { status = 204 }")
    write("route.lua", "local d = require('load_spec_neighbour')\n"
      .. "return { on_request = function() return d end }")
    local settings = load.route(path, nil, fake_fs.new({}))
    assert.same({ { status = 204 } }, { settings.hooks.on_request(req.get("/")) })
    assert.equal(path .. ":2", settings.hook_source.on_request)
    assert.equal(path, settings.source)
  end)

  it("knows the files of a route, each once", function()
    write("load_spec_a.lua", "return dofile((...) and '" .. dir .. "/part.lua')")
    write("part.lua", "return { status = 204 }")
    write("chunk.lua", "return 1")
    write("route.lua", "local d = require('load_spec_a')\nassert(loadfile('" .. dir
      .. "/./chunk.lua'))()\ndofile('" .. dir .. "/part.lua')\nlocal sure = assert\n"
      .. "return { on_request = function() sure(dofile('" .. dir .. "/part.lua')) return d end }")
    local before = { package.loaders[2], dofile, loadfile }
    local settings = load.route(path, nil, fake_fs.new({}))
    local expected = {
      path, dir .. "/load_spec_a.lua", dir .. "/part.lua", dir .. "/chunk.lua",
    }
    assert.same(expected, settings.files)
    assert.equal("file\t? " .. table.concat(expected, "\nfile\t? ") .. "\n", load.failed_report())
    assert.same(before, { package.loaders[2], dofile, loadfile })
    assert.same({ { status = 204 } }, { settings.hooks.on_request(req.get("/")) })
  end)

  it("knows the files of a route that can't be loaded", function()
    write("load_spec_b.lua", "return {")
    write("route.lua", "require('load_spec_b')")
    local before = { package.loaders[2], dofile, loadfile }
    local ok, message = pcall(load.route, path, nil, fake_fs.new({}))
    assert.is_false(ok)
    assert.matches("load_spec_b.lua:1: unexpected symbol near '<eof>'", message)
    assert.equal(("file\t? %s\nfile\t? %s/load_spec_b.lua\n"):format(path, dir),
      load.failed_report())
    assert.same(before, { package.loaders[2], dofile, loadfile })
    pcall(load.route, dir .. "/none.lua", nil, fake_fs.new({}))
    assert.equal(("file\t? %s/none.lua\n"):format(dir), load.failed_report())
  end)

  it("puts the folder on package.path once", function()
    write("route.lua", "return { on_request = print }")
    load.route(path, nil, fake_fs.new({}))
    local first = package.path
    load.route(path, nil, fake_fs.new({}))
    assert.equal(first, package.path)
    local templates = dir .. "/?.lua;" .. dir .. "/?/init.lua;"
    assert.equal(templates, first:sub(1, #templates))
  end)

  --- The message about a file that cannot be read, on a fake disk.
  local function message_about(file, fs)
    local ok, message = pcall(load.route, file, nil, fs)
    assert.is_false(ok)
    return message
  end

  it("says what is missing", function()
    local fs = fake_fs.new({ "/nowhere/else/" })
    assert.equal("/nowhere/else/route.lua: it does not exist",
      message_about("/nowhere/else/route.lua", fs))
    assert.equal("/nowhere/x/y/route.lua: /nowhere/x does not exist",
      message_about("/nowhere/x/y/route.lua", fs))
  end)

  it("says which folder the user 'ann' may not enter", function()
    local fs = fake_fs.new({ "/nowhere/" })
    local stat = fs.stat
    function fs.stat(file)
      if file == "/nowhere/a" then
        return nil, "Permission denied"
      end
      return stat(file)
    end
    assert.equal("/nowhere/a/route.lua: the user 'ann' may not enter the folder /nowhere; "
      .. "try `chmod o+x /nowhere` or `--user NAME`", message_about("/nowhere/a/route.lua", fs))
  end)

  it("says that a folder is none of its files", function()
    local parents = {}
    for at in (dir .. "/"):gmatch("()/") do
      parents[#parents + 1] = dir:sub(1, at - 1) .. "/"
    end
    assert.equal(dir .. ": this is a folder; name the script in it",
      message_about(dir, fake_fs.new(parents)))
  end)
end)

describe("load.expect_folder", function()
  local function message_of_folder(path, fs)
    local ok, err = pcall(load.expect_folder, path, fs)
    assert.is_false(ok)
    return err.message
  end

  it("accepts a folder that can be read", function()
    local fs = fake_fs.new({ "/srv/www/", "/srv/www/./" })
    function fs.readable()
      return true
    end
    assert.has_no_error(function()
      load.expect_folder("/srv/www", fs)
    end)
  end)

  it("says why another cannot be used", function()
    local fs = fake_fs.new({ "/srv/www/", "/srv/file" })
    function fs.readable()
      return nil, "Permission denied"
    end
    assert.equal("/srv/file: this is not a folder", message_of_folder("/srv/file", fs))
    assert.equal("/srv/x: it does not exist", message_of_folder("/srv/x", fs))
    assert.equal("/srv/www: the user 'ann' may not read the folder; try `chmod o+rx /srv/www` or "
      .. "`--user NAME`", message_of_folder("/srv/www", fs))
  end)

  it("is told to the terminal without a traceback", function()
    local message = message_of("require('moongate.route.load').expect_folder('/x', {\n"
      .. "stat = function()\n"
      .. "return nil, 'Permission denied' end, user_name = function() return 'ann' end })")
    assert.equal("/x: the user 'ann' may not enter the folder /; try `chmod o+x /` or "
      .. "`--user NAME`", message)
  end)
end)

describe("load.loader_report", function()
  local function report_of(settings, record, fs)
    return load.loader_report(settings, record, fs or fake_fs.new({}))
  end

  it("is what the master reads", function()
    local settings = load.source([[return {
      listen = { ":8080", { address = "[::1]:81", name = "six", backlog = 5 } },
      workers = 2, user = "www-data", group = "web", control = false, watch = false,
      log = { access = false, error = "/var/log/e.log", level = "warn" },
      stop_timeout = "1m",
      on_request = print,
    }]], "route.lua", nil, fake_fs.new({ "/var/log/" }))
    assert.equal(table.concat({
      "listen\t0.0.0.0:8080\thttp\t511\t\t0\t0\t0", "listen\t[::1]:81\thttp\t5\tsix\t0\t0\t0",
      "workers\t2",
      "user\twww-data", "group\tweb", "control\toff", "access\t", "error\t/var/log/e.log",
      "level\twarn", "watch\t0", "stop_timeout\t60", "script_timeout\t1",
      "shared\t16777216", "test\t", "",
    }, "\n"), report_of(settings))
  end)

  it("names what may be watched, the specs and the files", function()
    local settings = load.source(
      'return { watch = true, test = "spec", on_request = print, script_timeout = 2, '
        .. 'limits = { shared = "64G" } }',
      "/srv/route.lua", nil, fake_fs.new({ "/srv/spec/" }))
    settings.files = { "/srv/route.lua", "/srv/a b.lua", ["/srv/a b.lua"] = "1.2.3" }
    assert.matches("\nwatch\t1\nstop_timeout\t30\nscript_timeout\t2\n"
      .. "shared\t68719476736\ntest\t/srv/spec\n"
      .. "file\t%? /srv/route.lua\nfile\t1%.2%.3 /srv/a b.lua\n$", report_of(settings))
  end)

  it("tells which settings of PHP servers are sent, and which not any more", function()
    local route = 'return { backends = { app = { servers = { "h:1", "h:2" }, ini = { %s } } }, '
      .. "on_request = print }"
    local report = report_of(load.source(route:format("a = 1, b = 2"), "route.lua"))
    assert.matches("\nini\t=a b\th:1\th:2\n", report)
    assert.not_matches("\nnote", report)
    local settings, record = load.source(route:format("a = 1"), "route.lua"), "=a b\th:1\th:9"
    assert.matches("\nini\t=a\th:1\th:2\nnote\t'ini' no longer names 'b' %(backend 'app' at h:1%): "
      .. "[^\n]*\n", report_of(settings, record))
    assert.not_matches("\nnote", report_of(settings, "=a\th:1"))
  end)

  it("names the control listener", function()
    local settings = load.source('return { control = { address = ":9901", '
      .. 'token = "0123456789abcdef" }, on_request = print }', "route.lua", nil, fake_fs.new({}))
    assert.matches("\ncontrol\t0%.0%.0%.0:9901\ntoken\t0123456789abcdef\n", report_of(settings))
  end)

  it("leaves out what is not set", function()
    assert.equal(table.concat({
      "listen\t127.0.0.1:8080\thttp\t511\t\t0\t0\t0", "workers\t0", "control\t",
      "access\tstdout", "error\tstderr", "level\tinfo", "watch\t", "stop_timeout\t30",
      "script_timeout\t1", "shared\t16777216", "test\t", "",
    }, "\n"), report_of(load.source("return { on_request = print }", "route.lua")))
  end)

  it("warns of what will hardly work", function()
    local fs = fake_fs.new({ "/tmp/" })
    fs.unwritable = { ["/tmp"] = true }
    local report = report_of(load.source("return { on_request = print }", "route.lua"), nil, fs)
    assert.matches("\nwarning\tlimits%.spool_dir: the user 'ann' can't write to the folder /tmp ",
      report)
  end)
end)
