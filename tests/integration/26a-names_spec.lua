-- Names of files that are not served: sources, backups and dotfiles, also through a link; and files
-- that a request names can not stop the worker.

local http = require("tests.support.http")
local process = require("tests.support.process")
local rig = require("tests.support.rig")
local server = require("tests.support.server")
local stage = require("tests.support.stage")

local SECRET = "the secret"

local function link(target, name)
  assert.equal(0, process.run({ argv = { "ln", "-sfn", target, name } }).code)
end

describe("a name", function()
  local s, root

  setup(function()
    root = process.tempdir("names")
    s = server.start({ route = ([[
      local root = %q
      local php = require("moongate.php")
      local function site(options)
        options.root, options.backend = root, "app"
        return php.site(options)
      end
      local sites = {
        plain = { root = root },
        shows = { root = root, sources = { ".sh", ".PY", ".phps" } },
        hides = { root = root, scripts = { ".txt" } },
        php = site {},
        named = site { scripts = { ".php" } },
        shell = site { static = { sources = ".sh" } },
        python = site { scripts = { ".py" } },
        odd = site { scripts = { ".run" } },
      }
      return { control = false, backends = { app = "unix:/nonexistent/x.sock" },
        on_request = function(req)
          local decision = sites[req.headers["x-site"] or "plain"]
          return type(decision) == "function" and decision(req) or decision
        end }]]):format(root) })
  end)

  teardown(function() s:stop() end)

  local function get(name, site)
    return http.get(s.address, "/" .. http.escape(name), { ["X-Site"] = site })
  end

  local function expect(status, name, site)
    stage.write(root, { [name] = SECRET })
    local res = get(name, site)
    assert.equal(status, res.status, name)
    assert.equal(status == 200, res.body == SECRET, name)
    -- By a link with a name that may be served, the same.
    link(root .. "/" .. name, root .. "/link.html")
    res = get("link.html", site)
    assert.equal(status == 200 and 200 or 403, res.status, "a link to " .. name)
    assert.equal(nil, status ~= 200 and res.body:find(SECRET, 1, true) or nil, name)
  end

  it("of a script in any language is not served", function()
    for _, site in ipairs({ "plain", "php" }) do
      for _, extension in ipairs({ "py", "pyc", "pl", "pm", "rb", "cgi", "fcgi", "sh", "bash",
        "lua", "phpt", "phps", "phtml", "phar", "pht", "php3", "inc", "asp", "aspx", "jsp", "cfm",
        "wsgi",
        "tcl", "PY", "Sh", "sh.", "lua ", "py. .", "py.1", "rb.2.3", "php-s", "php_bak", "php.1",
        "php.20240101", "php.txt", "php.new", "php.orig.txt", "PHP.Txt", "php (1)", "php7.txt",
        "phtml.copy", "php.zip", "php;1" }) do
        expect(403, "x." .. extension, site)
      end
    end
  end)

  it("that only looks like one is", function()
    for _, name in ipairs({ "index.php.html", "style.php.css", "a.pyx", "sh", "lua.txt", "py",
      "x.sh.html", "x.lua.tar.gz", "php.ini.txt", "x.1", "python3.11", "lib.so.5.1",
      "x.phpunit.txt",
      "x.tar.gz", "x.shtml", "php", "x.plist", "x.rbx", "a b.txt", "x.json", "x.jspa" }) do
      expect(200, name, "plain")
    end
    stage.write(root, { ["tool.py/readme.txt"] = SECRET, ["folder.php/readme.txt"] = SECRET })
    assert.equal(SECRET, http.get(s.address, "/tool.py/readme.txt").body)
    for _, site in ipairs({ "plain", "php", "named" }) do
      assert.equal(403, http.get(s.address, "/folder.php/readme.txt", { ["X-Site"] = site }).status)
    end
  end)

  it("of a backup is not served", function()
    for _, name in ipairs({ "a.bak", "a.txt~", "#a.txt#", "a.BAK", "a.old", "a.swp", "a.bak.1",
      "a.orig ", "a.rej.", "a.save", "a.tmp", "a.dist" }) do
      expect(403, name, "plain")
    end
  end)

  it("is served where the route says so", function()
    expect(200, "x.sh", "shows")
    expect(200, "x.SH", "shows")
    expect(200, "x.py", "shows")
    expect(200, "x.phps", "shows")
    expect(403, "x.rb", "shows")
    expect(403, "x.php", "shows")
    expect(200, "x.sh", "shell")
    expect(403, "x.py", "shell")
  end)

  it("of what a site runs is not shown by any of its names", function()
    expect(403, "a.txt", "hides")
    expect(403, "a.Txt ", "hides")
    expect(200, "a.md", "hides")
    for site, extension in pairs({ python = ".py", odd = ".run" }) do
      stage.write(root, { ["app" .. extension] = SECRET })
      assert.equal(503, get("app" .. extension, site).status) -- it runs: nobody is there
      link("app" .. extension, root .. "/app.html")
      assert.equal(403, get("app.html", site).status)
      for _, name in ipairs({ "app" .. extension:upper(), "app" .. extension .. ".",
        "app" .. extension .. " ", "app" .. extension .. ".1" }) do
        expect(403, name, site)
      end
    end
  end)

  it("cannot be shown and run at once", function()
    local res = process.run({ argv = { "build/moongate", "check", stage.files({ ["route.lua"] = [[
      return { backends = { app = ":9000" }, on_request = require("moongate.php").site {
        root = "/srv", backend = "app", scripts = { ".py" }, static = { sources = { ".PY" } } } }
      ]] }) .. "/route.lua" } })
    assert.equal(1, res.code)
    assert.is_truthy(res.stderr:find("static.sources: '.PY' is what this site runs ('scripts')", 1,
      true), res.stderr)
  end)
end)

describe("what is no regular file", function()
  it("is 403", function()
    local root = process.tempdir("odd")
    assert.equal(0, process.run({ argv = { "mkfifo", root .. "/pipe" } }).code)
    local r = rig.start({
      before = ("local ROOT = %q"):format(root),
      on_request = [[ do return req.query ~= "app" and { root = ROOT } end ]],
    })
    finally(function() r:stop() end)
    link("/dev/null", root .. "/device")
    -- A socket that somebody listens on: opened, it would be ENXIO.
    local socket = r.back.addresses[1]:match("^unix:(.*)$")
    assert.equal(0, process.run({ argv = { "ln", socket, root .. "/socket" } }).code)
    for _, name in ipairs({ "pipe", "socket", "device" }) do
      assert.equal(403, http.get(r.address, "/" .. name).status, name)
      assert.equal(404, http.get(r.address, "/" .. name .. "/").status, name)
    end
  end)
end)

describe("what .php-version names", function()
  local r, root

  setup(function()
    root = stage.files({ ["x.php"] = "", ["inside.txt"] = "8.2\n" })
    r = rig.start({
      before = ("local ROOT = %q"):format(root),
      backends = "down = 'unix:/nonexistent/x.sock'",
      on_request = [[
        do return require("moongate.php").site { root = ROOT, backend = "down",
          versions = { ["8.2"] = "app" }, version = ".php-version" }(req) end
      ]],
    })
  end)

  teardown(function() r:stop() end)

  local count = 0

  -- 200 where the file named the version; each folder is looked at for the first time.
  local function status_with(make)
    count = count + 1
    local folder = ("%s/folder%d"):format(root, count)
    stage.write(root, { [("folder%d/x.php"):format(count)] = "" })
    make(folder .. "/.php-version")
    local path = ("/folder%d/x.php"):format(count)
    return http.request(r.address, { path = path, timeout = 20 }).status
  end

  it("is read from a regular file of the site only", function()
    local outside = stage.files({ ["version"] = "8.2\n" })
    assert.equal(200, status_with(function(name) process.write_file(name, "8.2\n") end))
    assert.equal(200, status_with(function(name) link("../inside.txt", name) end))
    assert.equal(503, status_with(function(name) link(outside .. "/version", name) end))
    assert.equal(503, status_with(function(name) link(outside .. "/none", name) end))
    assert.equal(503, status_with(function(name) process.write_file(name, "") end))
    assert.equal(503, status_with(function(name) process.write_file(name, ("8"):rep(100000)) end))
    for _, command in ipairs({ "mkfifo", "mkdir" }) do
      assert.equal(503, status_with(function(name)
        assert.equal(0, process.run({ argv = { command, name } }).code)
      end))
    end
    assert.equal(503, status_with(function(name) link("/dev/zero", name) end))
  end)

  it("stops nobody when a pipe takes its place at any moment", function()
    process.write_file(root .. "/file", "8.2\n")
    assert.equal(0, process.run({ argv = { "mkfifo", root .. "/fifo" } }).code)
    -- "swap" is the file and the pipe by turns, as fast as it goes.
    local swapper = process.spawn({ argv = { "luajit", "-e", ([[
      local ffi = require("ffi")
      ffi.cdef("int rename(const char *, const char *); int link(const char *, const char *);")
      local root = %q
      while true do
        for _, kind in ipairs({ "/file", "/fifo" }) do
          ffi.C.link(root .. kind, root .. "/next")
          ffi.C.rename(root .. "/next", root .. "/swap")
        end
      end]]):format(root) } })
    finally(function()
      swapper:kill("KILL")
      swapper:wait(10)
    end)
    local seen = {}
    for _ = 1, 300 do
      local status = status_with(function(name) link("../swap", name) end)
      seen[status] = (seen[status] or 0) + 1
    end
    assert.is_truthy(seen[200] and seen[503], "the file has not been swapped")
    assert.equal(300, seen[200] + seen[503])
  end)
end)
