-- Specs of moongate.php and moongate.php.options.

local fake_fs = require("support.fs")
local php = require("moongate.php")
local registry = require("moongate.route.registry")
local req = require("support.req")

local FORBIDDEN, NOT_FOUND = { status = 403 }, { status = 404 }

describe("php.site", function()
  local fs
  before_each(function()
    fs = fake_fs.new({
      "/srv/index.php", "/srv/about.php", "/srv/style.css", "/srv/blog/index.php",
      "/srv/docs/index.html", "/srv/empty/", "/srv/uploads/evil.php", "/srv/uploads/cat.jpg",
      "/srv/old.PHP", "/srv/dot.php.", "/srv/.git/config", "/srv/.well-known/acme", "/srv/a.jpg",
      "/srv/.git/x.php", "/srv/.env", "/srv/docs/.x/index.html", "/srv/.well-known-not/acme",
      "/srv/.well-known/.git/config", "/srv/.well-known/x.php",
      "/srv/both/index.php", "/srv/both/index.html", "/srv/404.php", "/srv/50% off/index.php",
    })
  end)

  --- What a site decides about a path.
  local function decide(options, target, fields)
    local all = { root = "/srv", backend = "app" }
    for key, value in pairs(options) do
      all[key] = value
    end
    return php.site(all, fs)(req.get(target, fields))
  end

  --- The decision that runs a script.
  local function runs(script, path_info)
    return { backend = "app", root = "/srv", script = script, path_info = path_info }
  end

  describe("scripts", function()
    it("run", function()
      assert.same(runs("/about.php"), decide({}, "/about.php"))
      assert.same(runs("/about.php", "/7/x"), decide({}, "/about.php/7/x"))
      assert.same(runs("/blog/index.php", "/"), decide({}, "/blog/index.php/"))
    end)

    it("that are not there are 404, or the front controller's", function()
      assert.same(NOT_FOUND, decide({}, "/missing.php"))
      assert.same(runs("/index.php"), decide({ front = "/index.php" }, "/missing.php/x"))
    end)

    it("below a file are never named", function()
      assert.same(NOT_FOUND, decide({}, "/a.jpg/x.php"))
      assert.same(runs("/index.php"), decide({ front = "/index.php" }, "/a.jpg/x.php"))
    end)

    it("have the extensions that the site says", function()
      assert.same(runs("/style.css"), decide({ scripts = { ".css" } }, "/style.css"))
    end)

    it("with almost their name are neither run nor served", function()
      assert.same(FORBIDDEN, decide({}, "/old.PHP"))
      assert.same(FORBIDDEN, decide({}, "/dot.php."))
    end)
  end)

  describe("whose folder only the backend has", function()
    local function unseen(options, target, fields)
      local all = { docroot = "/app", backend = "app" }
      for key, value in pairs(options) do
        all[key] = value
      end
      local blind = setmetatable({}, { __index = function(_, name)
        error("a look at the disk: " .. name)
      end })
      blind.logs = function() return false end
      return php.site(all, blind)(req.get(target, fields))
    end
    local function run(script, path_info)
      return { backend = "app", docroot = "/app", script = script, path_info = path_info }
    end

    it("knows scripts by their names", function()
      assert.same(run("/about.php"), unseen({}, "/about.php"))
      assert.same(run("/a/b.php", "/c.php/d"), unseen({}, "/a/b.php/c.php/d"))
      assert.same(run("/index.php"), unseen({}, "/"))
      assert.same(run("/blog/index.php"), unseen({}, "/blog/"))
      assert.same(NOT_FOUND, unseen({}, "/style.css"))
      assert.same(NOT_FOUND, unseen({ index = { "index.html" } }, "/"))
    end)

    it("has a front controller for the rest", function()
      for _, path in ipairs({ "/", "/blog/", "/style.css", "/.env" }) do
        assert.same(run("/index.php"), unseen({ front = "/index.php" }, path))
      end
    end)

    it("has the other keys of a site", function()
      assert.same(FORBIDDEN, unseen({}, "/.git/x.php"))
      assert.same(FORBIDDEN, unseen({}, "/.git/"))
      assert.same(FORBIDDEN, unseen({ never = "^/uploads/" }, "/uploads/x.php"))
      assert.same(NOT_FOUND, unseen({ run = { "/index.php" } }, "/x.php"))
      assert.same({ status = 410 }, unseen({ not_found = { status = 410 } }, "/x"))
      assert.same({ backend = "app", docroot = "/app", strip = "/w", script = "/w/x.php" },
        unseen({ strip = "/w" }, "/w/x.php"))
      assert.equal("/w/", unseen({ strip = "/w" }, "/w").redirect)
      local function docroot(r) return "/srv/" .. r.host end
      assert.equal("/srv/a", unseen({ docroot = docroot }, "/x.php", { host = "a" }).docroot)
      assert.equal("new", unseen({ versions = { ["8.4"] = "new" }, version = "8.4" }, "/x.php")
        .backend)
    end)

    for key, case in pairs({
      owner = { true, "owner: without 'root' no file can be looked at" },
      try = { { "$path" }, "try: without 'root' no file can be looked at" },
      static = { {}, "static: without 'root' no file can be looked at" },
      within = { "/srv", "within: without 'root' no file can be looked at" },
      version = { ".php-version", "version: without 'root' no .php-version can be read" },
      not_found = { "/404.html", "not_found: without 'root' it is a decision, not a file" },
      errors = { { [502] = "/x" }, "errors[502]: without 'root' it is a decision, not a file" },
    }) do
      it("says: " .. case[2], function()
        local ok, message = pcall(unseen, { [key] = case[1], versions = {} }, "/")
        assert.is_false(ok)
        assert.equal("php.site: " .. case[2], message:match("php_spec.lua:%d+: (.*)$"))
      end)
    end
  end)

  describe("files", function()
    it("are served", function()
      assert.same({ root = "/srv" }, decide({}, "/style.css"))
    end)

    it("get what `static` says", function()
      local static = { cache_control = "max-age=60", headers = { A = "b" } }
      assert.same({ root = "/srv", cache_control = "max-age=60", headers = { A = "b" } },
        decide({ static = static }, "/style.css"))
      assert.same({ root = "/srv", path = "/docs/index.html", cache_control = "no-cache" },
        decide({ static = { cache_control = "no-cache" } }, "/docs/"))
    end)

    it("and other answers get the headers that the site says", function()
      local site = { ["X-A"] = "1", ["X-B"] = "1", ["Cache-Control"] = "no-cache" }
      local static = { headers = { ["x-b"] = "2", ["Content-Type"] = "text/x" } }
      local own = { ["X-A"] = "1", ["x-b"] = "2" }
      local all = { ["X-A"] = "1", ["x-b"] = "2", ["Cache-Control"] = "no-cache",
        ["Content-Type"] = "text/x" }
      local options = { headers = site, static = static, front = "/index.php" }
      assert.same({ root = "/srv", headers = all }, decide(options, "/style.css"))
      assert.same({ root = "/srv", path = "/docs/index.html", headers = all },
        decide(options, "/docs/"))
      assert.same(all, decide({ root = function() return "/srv" end, headers = site,
        static = static }, "/style.css").headers)
      assert.same(site, decide(options, "/about.php").headers)
      assert.same(site, decide(options, "/about.php/x").headers)
      assert.same(site, decide(options, "/nothing").headers)
      assert.same({ status = 301, redirect = "/docs/", headers = own }, decide(options, "/docs"))
      options.front = nil
      assert.same({ status = 404, headers = own }, decide(options, "/nothing"))
      assert.same({ status = 403, headers = own }, decide(options, "/.git/config"))
      options.try = { "$path", 410 }
      assert.same({ status = 410, headers = own }, decide(options, "/nothing"))
      options.try = { "$path", { redirect = "/", headers = { ["X-A"] = "3" } } }
      assert.same({ redirect = "/", headers = { ["X-A"] = "3", ["X-B"] = "1",
        ["Cache-Control"] = "no-cache" } }, decide(options, "/nothing"))
      options.try = { "$path", { close = true } }
      assert.same({ close = true }, decide(options, "/nothing"))
      assert.same({ status = 404, headers = { ["X-A"] = "1", ["X-B"] = "1" } },
        decide({ headers = site, static = false }, "/style.css"))
    end)

    it("are not there where static is false", function()
      assert.same(NOT_FOUND, decide({ static = false }, "/style.css"))
      assert.same(runs("/index.php"),
        decide({ static = false, front = "/index.php" }, "/style.css"))
    end)

    it("with a dot in front are 403", function()
      for _, options in ipairs({ {}, { front = "/index.php" } }) do
        for _, path in ipairs({ "/.git/config", "/.git/", "/.git", "/.git/x.php", "/.git/x.php/y",
          "/.env", "/docs/.x/index.html", "/docs/.x/", "/docs/.x" }) do
          assert.same(FORBIDDEN, decide(options, path), path)
        end
      end
      assert.same(FORBIDDEN, decide({ try = { "$path.html", "/index.php" } }, "/docs/.x/index"))
    end)

    it("with a dot in front that are not there are the application's", function()
      assert.same(NOT_FOUND, decide({}, "/.nothing"))
      assert.same(runs("/index.php"), decide({ front = "/index.php" }, "/a/.hidden/b"))
      assert.same(runs("/index.php"), decide({ front = "/index.php" }, "/.env/x"))
      assert.same(runs("/about.php", "/dav/.hidden"), decide({}, "/about.php/dav/.hidden"))
      assert.same(runs("/about.php", "/.git/config"), decide({}, "/about.php/.git/config"))
      assert.same(runs("/about.php", "/x.php/.env"), decide({ run = { "/about.php" } },
        "/about.php/x.php/.env"))
    end)

    it("in .well-known are served", function()
      assert.same({ root = "/srv" }, decide({}, "/.well-known/acme"))
      assert.same(FORBIDDEN, decide({}, "/.well-known-not/acme"))
      assert.same(runs("/.well-known/x.php", "/.y"), decide({}, "/.well-known/x.php/.y"))
      assert.same(FORBIDDEN, decide({}, "/.well-known/.git/config"))
    end)
  end)

  describe("folders", function()
    it("without their slash are redirected", function()
      assert.same({ status = 301, redirect = "/docs/" }, decide({}, "/docs"))
      assert.same({ status = 301, redirect = "/docs/?a=b&c" }, decide({}, "/docs?a=b&c"))
      assert.same({ status = 301, redirect = "/50%25%20off/" }, decide({}, "/50% off"))
    end)

    it("show their index", function()
      assert.same(runs("/index.php"), decide({}, "/"))
      assert.same(runs("/blog/index.php"), decide({}, "/blog/"))
      assert.same({ root = "/srv", path = "/docs/index.html" }, decide({}, "/docs/"))
      assert.same(runs("/both/index.php"), decide({}, "/both/"))
      assert.same({ root = "/srv", path = "/both/index.html" },
        decide({ index = { "index.html", "index.php" } }, "/both/"))
    end)

    it("without an index go on to the front controller", function()
      assert.same(NOT_FOUND, decide({}, "/empty/"))
      assert.same(runs("/index.php"), decide({ front = "/index.php" }, "/empty/"))
    end)
  end)

  describe("front", function()
    it("takes what is neither script nor file", function()
      assert.same(runs("/index.php"), decide({ front = "/index.php" }, "/no/such/page"))
      assert.same({ root = "/srv" }, decide({ front = "/index.php" }, "/style.css"))
    end)

    it("is 404 where it is not there", function()
      assert.same(NOT_FOUND, decide({ front = "/front.php" }, "/x"))
    end)
  end)

  describe("try", function()
    it("looks for what it lists, in order", function()
      local try = { "$path.php", "$path", "/404.php" }
      assert.same(runs("/about.php"), decide({ try = try }, "/about"))
      assert.same({ root = "/srv" }, decide({ try = try }, "/style.css"))
      assert.same(runs("/404.php"), decide({ try = try }, "/x"))
      assert.same(runs("/404.php"), decide({ try = try }, "/docs"))
    end)

    it("ends in a status or a decision", function()
      assert.same({ status = 410 }, decide({ try = { "$path", 410 } }, "/x"))
      local d = { redirect = "/" }
      assert.equal(d, decide({ try = { "$path", d } }, "/x"))
    end)

    it("looks at the path once", function()
      decide({ front = "/index.php" }, "/x")
      assert.same({ "/x", "/index.php" }, fs.probes)
    end)

    it("names folders", function()
      assert.same({ root = "/srv", path = "/docs/index.html" },
        decide({ try = { "$path", "/docs/" } }, "/x"))
    end)
  end)

  describe("run", function()
    it("lists the scripts that a URL may name", function()
      local options = { run = { "/index.php" }, front = "/index.php" }
      assert.same(runs("/index.php", "/x"), decide(options, "/index.php/x"))
      assert.same(NOT_FOUND, decide(options, "/about.php"))
      assert.same(NOT_FOUND, decide(options, "/about.php/x"))
      assert.same(runs("/index.php"), decide(options, "/x"))
    end)

    it("may be a pattern", function()
      assert.same(runs("/blog/index.php"), decide({ run = "^/blog/" }, "/blog/index.php"))
      assert.same(NOT_FOUND, decide({ run = "^/blog/" }, "/about.php"))
    end)

    it("holds for what a URL names only", function()
      local options = { run = { "/about.php" } }
      assert.same(runs("/both/index.php"), decide(options, "/both/"))
      assert.same(runs("/blog/index.php"), decide(options, "/blog/"))
      assert.same(NOT_FOUND, decide(options, "/blog/index.php"))
      options.front = "/index.php"
      assert.same(runs("/index.php"), decide(options, "/x"))
    end)

    it("leaves a wiki its start page", function()
      local site = php.site({
        root = "/srv/dokuwiki", backend = "php74", strip = "/wiki", run = { "/doku.php" },
      }, fake_fs.new({
        "/srv/dokuwiki/index.php", "/srv/dokuwiki/doku.php", "/srv/dokuwiki/x.php",
      }))
      local function of(path)
        local d = site(req.get(path))
        return d.script or d.redirect or d.status, d.path_info
      end
      assert.equal("/wiki/index.php", (of("/wiki/")))
      assert.equal("/wiki/", (of("/wiki")))
      assert.same({ "/wiki/doku.php", "/start" }, { of("/wiki/doku.php/start") })
      assert.equal(404, (of("/wiki/index.php")))
      assert.equal(404, (of("/wiki/x.php")))
    end)

    it("does not undo never", function()
      assert.same(FORBIDDEN, decide({ never = { "^/blog/.*%.php" } }, "/blog/"))
    end)
  end)

  describe("never", function()
    it("is 403 for scripts and files", function()
      local options = { never = { "^/uploads/.*%.php" } }
      assert.same(FORBIDDEN, decide(options, "/uploads/evil.php"))
      assert.same(FORBIDDEN, decide(options, "/uploads/evil.php/x.jpg"))
      assert.same({ root = "/srv" }, decide(options, "/uploads/cat.jpg"))
      assert.same(FORBIDDEN, decide({ never = "%.jpg$" }, "/uploads/cat.jpg"))
      assert.same(FORBIDDEN, decide({ never = "%.jpg$" }, "/no/such.jpg"))
    end)

    it("looks at the script, not only at the whole path", function()
      assert.same(FORBIDDEN, decide({ never = "%.php$" }, "/uploads/evil.php/x"))
    end)

    it("holds for indexes", function()
      assert.same(FORBIDDEN, decide({ never = { "index%.php$" } }, "/blog/"))
    end)
  end)

  describe("strip", function()
    it("takes the prefix off and puts it back on", function()
      local options = { strip = "/wiki" }
      local d = runs("/wiki/about.php", "/x")
      d.strip = "/wiki"
      assert.same(d, decide(options, "/wiki/about.php/x"))
      assert.same({ root = "/srv", path = "/style.css" }, decide(options, "/wiki/style.css"))
      assert.same({ status = 301, redirect = "/wiki/docs/" }, decide(options, "/wiki/docs"))
      assert.same({ root = "/srv", path = "/docs/index.html" }, decide(options, "/wiki/docs/"))
    end)

    it("redirects to its own slash", function()
      assert.same({ status = 301, redirect = "/wiki/?x" }, decide({ strip = "/wiki/" }, "/wiki?x"))
    end)

    it("is 404 outside", function()
      assert.same(NOT_FOUND, decide({ strip = "/wiki" }, "/style.css"))
      assert.same(NOT_FOUND, decide({ strip = "/wiki" }, "/wikipedia"))
    end)
  end)

  describe("values", function()
    it("are passed on", function()
      local d = decide({ docroot = "/app", within = { "/srv" }, params = { A = "b" },
        ini = { a = 1 }, tenant = "acme" }, "/about.php")
      assert.same({
        backend = "app", root = "/srv", docroot = "/app", within = { "/srv" }, params = { A = "b" },
        ini = { a = 1 }, tenant = "acme", script = "/about.php",
      }, d)
    end)

    it("may be functions of the request", function()
      local options = {
        root = function(r)
          return r.host == "a.test" and "/srv" or nil
        end,
        backend = function(r)
          return "php-" .. r.host
        end,
        strip = function()
          return "/x/"
        end,
        ini = function(r)
          return { a = r.host }
        end,
      }
      assert.same({
        backend = "php-a.test", root = "/srv", script = "/x/about.php", strip = "/x",
        ini = { a = "a.test" },
      }, decide(options, "/x/about.php", { host = "a.test" }))
      assert.same({ root = "/srv", path = "/style.css" },
        decide(options, "/x/style.css", { host = "a.test" }))
      assert.same(NOT_FOUND, decide(options, "/x/about.php", { host = "b.test" }))
    end)

    it("without a backend are an error that names the script", function()
      assert.has_error(function()
        decide({ backend = function() end }, "/about.php")
      end, "php.site: no backend for /about.php")
    end)
  end)

  describe("decisions", function()
    it("are shared where they hold for every request", function()
      local site = php.site({ root = "/srv", backend = "app" }, fs)
      assert.equal(site(req.get("/about.php")), site(req.get("/about.php")))
      assert.equal(site(req.get("/style.css")), site(req.get("/a.jpg")))
      assert.not_equal(site(req.get("/about.php/x")), site(req.get("/about.php/x")))
    end)

    it("refuse new keys where they are shared", function()
      local d = decide({}, "/about.php")
      local ok, message = pcall(function()
        d.read_timeout = 5
      end)
      assert.is_false(ok)
      assert.matches("php_spec.lua:%d+: 'read_timeout' cannot be added", message)
    end)

    it("are forgotten when they become many", function()
      local paths = {}
      for i = 1, 2100 do
        paths[i] = ("/srv/%d.php"):format(i)
      end
      local site = php.site({ root = "/srv", backend = "app" }, fake_fs.new(paths))
      local first = site(req.get("/1.php"))
      for i = 2, 2100 do
        assert.equal(("/%d.php"):format(i), site(req.get(("/%d.php"):format(i))).script)
      end
      assert.not_equal(first, site(req.get("/1.php")))
      assert.same(first, site(req.get("/1.php")))
    end)
  end)

  describe("versions", function()
    local versions = { ["7.4"] = "php74", ["8.2"] = "php82" }

    it("are named by a text or a function", function()
      assert.equal("php74", decide({ versions = versions, version = "7.4" }, "/about.php").backend)
      local options = {
        versions = versions,
        version = function(r)
          return r.host
        end,
      }
      assert.equal("php82", decide(options, "/about.php", { host = "8.2" }).backend)
      assert.equal("app", decide(options, "/about.php", { host = "5.6" }).backend)
    end)

    it("are looked for in .php-version, from the script up", function()
      local contents = { ["/srv/.php-version"] = "8.2\n", ["/srv/blog/.php-version"] = " 7.4 \n" }
      fs.first_line = fake_fs.new({}, contents).first_line
      local options = { versions = versions, version = ".php-version" }
      assert.equal("php82", decide(options, "/about.php").backend)
      assert.equal("php74", decide(options, "/blog/index.php").backend)
      assert.equal("php82", decide(options, "/uploads/evil.php").backend)
    end)

    it("that are unknown do not count", function()
      fs.first_line = fake_fs.new({}, {
        ["/srv/.php-version"] = "8.2", ["/srv/blog/.php-version"] = "../../php74",
      }).first_line
      local options = { versions = versions, version = ".php-version" }
      assert.equal("php82", decide(options, "/blog/index.php").backend)
      fs.first_line = fake_fs.new({}).first_line
      assert.equal("app", decide(options, "/blog/index.php").backend)
    end)

    it("are remembered for a second", function()
      local reads, now, contents = 0, 100, { ["/srv/.php-version"] = "8.2" }
      local fake = fake_fs.new({}, contents)
      function fs.first_line(...)
        reads = reads + 1
        return fake.first_line(...)
      end
      local site = php.site({ root = "/srv", versions = versions, version = ".php-version" }, fs,
        function()
          return now
        end)
      local function backend()
        return site(req.get("/about.php")).backend
      end
      assert.equal("php82", backend())
      contents["/srv/.php-version"] = "7.4"
      assert.equal("php82", backend())
      assert.equal(1, reads)
      now = 101
      assert.equal("php74", backend())
      assert.equal(2, reads)
    end)

    it("without a backend are an error", function()
      fs.first_line = fake_fs.new({}).first_line
      local site = php.site({ root = "/srv", versions = versions, version = ".php-version" }, fs)
      assert.has_error(function()
        site(req.get("/about.php"))
      end, "php.site: no backend for /about.php")
    end)
  end)

  describe("a root that is not there", function()
    it("is said in the log, once in a second", function()
      local now = 100
      local site = php.site({ root = "/nope", backend = "app" }, fs, function()
        return now
      end)
      assert.same(NOT_FOUND, site(req.get("/x")))
      assert.same(NOT_FOUND, site(req.get("/y")))
      local line = "error: php.site: the root /nope is not a folder that the user 'ann' can see"
      assert.same({ line }, fs.logged)
      now = 101
      site(req.get("/x"))
      assert.same({ line, line }, fs.logged)
    end)

    it("is not said of one that is there", function()
      assert.same(NOT_FOUND, decide({}, "/x"))
      assert.same({}, fs.logged)
    end)
  end)

  describe("a relative root", function()
    --- The root of a site made by a script of this name.
    local function root_of(name, root)
      local make = assert(loadstring("local php, o, fs = ...\nlocal s = php.site(o, fs)\nreturn s",
        "@" .. name))
      make(php, { root = root, backend = "app" }, fs)
      return registry.sites[#registry.sites].root
    end

    it("is below the folder of the script", function()
      assert.equal("/etc/site/public", root_of("/etc/site/route.lua", "public"))
      assert.equal("/etc/site/public", root_of("/etc/site/route.lua", "./public/"))
      assert.equal("/etc/site", root_of("/etc/site/route.lua", "."))
      assert.equal("/public", root_of("/route.lua", "public"))
      assert.equal("/home/ann/public", root_of("route.lua", "public"))
      assert.equal("/home/ann/sub/public", root_of("./sub/route.lua", "public"))
      assert.equal("/srv/www", root_of("/etc/route.lua", "/srv/www/"))
      assert.equal("/", root_of("/etc/route.lua", "/"))
    end)

    it("has nothing left in it that a hostile name could have brought", function()
      assert.equal("/etc/public", root_of("/etc/site/route.lua", "../public"))
      assert.equal("/public", root_of("/etc/site/route.lua", "../../../public"))
      assert.equal("/etc", root_of("/etc/site/route.lua", ".."))
      assert.equal("/srv/a/b", root_of("/etc/route.lua", "//srv/./a//./b/."))
      assert.equal("/srv/..a/b..", root_of("/etc/route.lua", "/srv/..a/b.."))
    end)

    it("is where a symlink on the way to '..' leads", function()
      local linked = setmetatable({ realpath = function(path)
        return path == "/srv/app/current/.." and "/srv/app/releases" or nil
      end }, { __index = fs })
      php.site({ root = "/srv/app/current/../shared", backend = "app" }, linked)
      assert.equal("/srv/app/releases/shared", registry.sites[#registry.sites].root)
    end)
  end)
end)

describe("a function for the root", function()
  local absolute = "expected an absolute path such as \"/srv/www\", got "
  local segments = "'%s' has an empty segment, '.' or '..' in it"
  for given, problem in pairs({
    rel = absolute .. '"rel"', [5] = absolute .. "5", [""] = absolute .. '""',
    ["/srv/"] = segments, ["/srv//public"] = segments, ["/srv/.."] = segments,
    ["/srv/a/../../etc"] = segments, ["/srv/."] = segments, ["/srv/./a"] = segments,
    ["/"] = "'/' is no folder of a site", ["/srv/\0"] = absolute,
  }) do
    it(("that returns %q is refused"):format(given), function()
      local looked = fake_fs.new({ "/srv/x.php" })
      local site = php.site({ backend = "app", root = function()
        return given
      end }, looked)
      local ok, message = pcall(site, req.get("/x.php"))
      assert.is_false(ok)
      assert.matches("^spec/moongate/php_spec.lua:%d+: php.site: the function for 'root': ",
        message)
      assert.is_truthy(message:find(problem:format(given), 1, true), message)
      assert.same({}, looked.probes)
    end)
  end

  it("may return any name", function()
    local site = php.site({ backend = "app", root = function()
      return "/srv/..a/.b/c..d"
    end }, fake_fs.new({ "/srv/..a/.b/c..d/x.php" }))
    assert.equal("/srv/..a/.b/c..d", site(req.get("/x.php")).root)
  end)
end)

describe("docroot and within of php.site", function()
  it("may end in a slash, and then lose it", function()
    local site = php.site({
      root = "/srv", docroot = "/app/", within = { "/srv/", "/" }, backend = "app",
    }, fake_fs.new({ "/srv/x.php" }))
    local d = site(req.get("/x.php"))
    assert.equal("/app", d.docroot)
    assert.same({ "/srv", "/" }, d.within)
  end)
end)

describe("php.site with", function()
  local fs
  before_each(function()
    fs = fake_fs.new({ "/srv/index.php", "/srv/a.css", "/srv/a.js", "/srv/img/a.css",
      "/srv/.git/config", "/srv/404.html" })
  end)

  local function site_of(options)
    options.root, options.backend = options.root or "/srv", "app"
    return php.site(options, fs)
  end

  it("all keys of a decision passes them on", function()
    local all = {
      server = "10.0.0.1:9000", hash_key = "k", attempts = 3, connect_timeout = 1,
      send_timeout = "2s", read_timeout = 3, first_byte_timeout = 9,
      deadline = 20, body_deadline = "1m", request_file = false, flush = false,
      body_limit = "1M", request_buffering = false,
      response_buffering = false, intercept_errors = { 500 }, internal = { ["/p/"] = "/srv/p" },
      tenant = "t", docroot = "/app", within = "/srv", params = { A = "b" }, headers = { B = "c" },
    }
    local functions, expected = {}, { backend = "app", root = "/srv", script = "/index.php" }
    for key, value in pairs(all) do
      expected[key] = value
      functions[key] = function() return value end
    end
    assert.same(expected, site_of(all)(req.get("/index.php")))
    local site = site_of(functions)
    assert.same(expected, site(req.get("/index.php")))
    assert.equal("c", site(req.get("/a.css")).headers.B)
    assert.equal("c", site(req.get("/nothing")).headers.B)
  end)

  it("headers that are a function's says them at the end of try, too", function()
    local site = site_of({ try = { "$path", { status = 410, headers = { A = "1" } } },
      headers = function(r) return r.path == "/x" and { A = "2", B = "2" } or nil end })
    assert.same({ status = 410, headers = { A = "1", B = "2" } }, site(req.get("/x")))
    assert.same({ status = 410, headers = { A = "1" } }, site(req.get("/y")))
  end)

  it("rules for files takes the first pattern, then the extension, then what holds for all",
    function()
      local site = site_of({ headers = { A = "1" }, static = {
        cache_control = "max-age=1", headers = { B = "1" },
        [".css"] = { cache_control = "max-age=2", headers = { B = "2" } },
        { match = "^/img/", cache_control = "max-age=3" },
      } })
      assert.same({ root = "/srv", cache_control = "max-age=2", headers = { A = "1", B = "2" } },
        site(req.get("/a.css")))
      assert.equal(site(req.get("/a.css")), site(req.get("/a.css"))) -- one table for all
      assert.same({ root = "/srv", cache_control = "max-age=3", headers = { A = "1", B = "1" } },
        site(req.get("/img/a.css")))
      assert.same({ root = "/srv", cache_control = "max-age=1", headers = { A = "1", B = "1" } },
        site(req.get("/a.js")))
    end)

  it("an extension that is false does not serve it", function()
    local site = site_of({ static = { [".css"] = false }, front = "/index.php" })
    assert.equal("/index.php", site(req.get("/a.css")).script)
    assert.same({ root = "/srv" }, site(req.get("/a.js")))
  end)

  it("a function for files asks it for each", function()
    local site = site_of({ static = function(r, path)
      if path == "/a.css" then
        return { cache_control = "no-cache", headers = { C = r.host } }
      end
      return path ~= "/a.js" and nil
    end })
    assert.same({ root = "/srv", path = "/a.css", cache_control = "no-cache",
      headers = { C = "example.test" } }, site(req.get("/a.css")))
    assert.same({ root = "/srv" }, site(req.get("/img/a.css")))
    assert.same({ status = 404 }, site(req.get("/a.js")))
    local ok, message = pcall(site_of({ static = function() return { cache = 1 } end }),
      req.get("/a.js"))
    assert.is_false(ok)
    assert.matches("php_spec.lua:%d+: php.site: the function for 'static': unknown key 'cache'",
      message)
  end)

  it("pages for errors answers with them, and keeps the status", function()
    local site = site_of({ not_found = "/404.html", headers = { A = "1" },
      errors = { [403] = { status = 403, body = "no" } } })
    assert.same({ root = "/srv", path = "/404.html", status = 404, headers = { A = "1" } },
      site(req.get("/nothing")))
    assert.same({ status = 403, body = "no" }, site(req.get("/.git/config")))
    site = site_of({ errors = { [410] = "/404.html" }, try = { "$path", 410 } })
    assert.same({ root = "/srv", path = "/404.html", status = 410 }, site(req.get("/nothing")))
  end)

  it("an owner serves and runs only what is the root's owner's", function()
    local owners = { ["/srv/"] = 7, ["/srv/index.php"] = 7, ["/srv/a.css"] = 7, ["/srv/a.js"] = 0 }
    function fs.owner(root, path)
      return owners[root .. path]
    end
    local site = site_of({ owner = true })
    assert.equal("/index.php", site(req.get("/index.php")).script)
    assert.same({ root = "/srv" }, site(req.get("/a.css")))
    assert.same({ status = 403 }, site(req.get("/a.js")))
    owners["/srv/index.php"] = 8
    assert.same({ status = 403 }, site(req.get("/index.php")))
    assert.same({ status = 403 }, site(req.get("/index.php/x")))
    owners["/srv/"] = nil
    site = site_of({ owner = true })
    assert.same({ status = 403 }, site(req.get("/a.css")))
  end)
end)

describe("the options of php.site", function()
  for _, case in ipairs({
    { "x", "expected a table of options, got \"x\"" },
    { { backend = "app" }, "'root' is missing: the folder of the site; or 'docroot', where only "
      .. "the backend has it" },
    { { root = "/srv" }, "'backend' is missing: the name of the backend that runs the scripts" },
    { { rot = "/srv" }, "unknown key 'rot'; did you mean 'root'?" },
    { { root = 1 }, "root: expected a folder, or a function, got 1" },
    { { backend = {} }, "backend: expected the name of a backend, or a function, got a table" },
    { { front = true }, 'front: expected a path such as "/index.php", or false, got true' },
    { { front = "index.php" },
      'front: expected a path such as "/index.php", or false, got "index.php"' },
    { { front = "/app/" },
      'front: expected a path such as "/index.php", or false, got "/app/"' },
    { { index = "index.php" },
      'index: expected a list of names such as "index.php", got "index.php"' },
    { { index = { "/index.php" } },
      'index: expected a list of names such as "index.php", got "/index.php" in it' },
    { { scripts = {} },
      'scripts: the list is empty; expected a list of extensions such as ".php"' },
    { { scripts = { "php" } },
      'scripts: expected a list of extensions such as ".php", got "php" in it' },
    { { run = { "index.php" } },
      'run: expected a list of scripts, or a pattern, got "index.php" in it' },
    { { run = "[" }, "run: '[' is not a Lua pattern" },
    { { never = { "%" } }, "never: '%' is not a Lua pattern" },
    { { never = { 1 } }, "never: '1' is not a Lua pattern" },
    { { strip = "wiki" }, 'strip: expected a prefix such as "/wiki", got "wiki"' },
    { { strip = "/" }, 'strip: expected a prefix such as "/wiki", got "/"' },
    { { docroot = "app" },
      'docroot: expected an absolute path (the site as the backend sees it), got "app"' },
    { { static = true }, "static: expected a table, a function, or false, got true" },
    { { static = { cache = 1 } }, "static: unknown key 'cache'" },
    { { static = { [".css"] = 5 } }, "static['.css']: expected a table, or false, got 5" },
    { { static = { [".css"] = { match = "x" } } }, "static['.css']: unknown key 'match'" },
    { { static = { [".css"] = { sources = ".php" } } },
      "static.sources: '.php' is what this site runs ('scripts')" },
    { { static = { "^/a/" } }, 'static[1]: expected a table with a pattern, such as { match = '
      .. '"^/assets/", cache_control = "max-age=60" }, got "^/a/"' },
    { { static = { { match = "[" } } }, "static[1].match: '[' is not a Lua pattern" },
    { { attempts = 0 }, "attempts: expected a whole number from 1 to 100, got 0" },
    { { read_timeout = "soon" }, 'read_timeout: expected a duration such as 5, "250ms", "2m" '
      .. 'or "1h", above zero, got "soon"' },
    { { headers = 5 }, "headers: expected a table of headers, or a function, got 5" },
    { { role = "responder" }, "unknown key 'role'" },
    { { not_found = "404.html" },
      'not_found: expected a page such as "/404.html", or a decision, got "404.html"' },
    { { errors = { [404] = "/404.php" } }, "errors[404]: /404.php is a script, which says its "
      .. "status itself: a decision with `backend` and `script` runs it" },
    { { errors = { [200] = "/x.html" } },
      "errors: expected statuses from 400 to 599 as keys, got 200" },
    { { errors = { [404] = "/a.html" }, not_found = "/b.html" },
      "errors: 404 is 'not_found' already" },
    { { errors = { [403] = { statsu = 1 } } },
      "errors[403]: unknown key 'statsu' in a decision; did you mean 'status'?" },
    { { owner = "ann" }, 'owner: expected true or false, got "ann"' },
    { { try = {} }, "try: the list is empty" },
    { { try = { "index.php" } },
      "try: 'index.php' begins neither with \"$path\" nor with \"/\"" },
    { { try = { 404, "$path" } },
      "try: expected paths, and as the last one a path, a status or a decision, got 404" },
    { { try = { "$path", 99 } },
      "try: expected paths, and as the last one a path, a status or a decision, got 99" },
    { { version = "8.2" }, "version: 'versions' is missing: which backend runs which version?" },
    { { versions = { ["8.2"] = "php82" }, version = "8.1" },
      "version: '8.1' is not in 'versions'; did you mean '8.2'?" },
    { { versions = { "php82" }, version = ".php-version" },
      'versions: expected a table from version to backend, such as { ["8.2"] = "php82" }, got '
        .. '"php82" for 1' },
    { { params = { PHP_VALUE = "x" } }, "params: 'PHP_VALUE' is refused: PHP-FPM's processes keep "
      .. "such settings for the next request, whosever that is; 'ini' of the backend and the "
      .. "decision sets them safely" },
    { { within = { "srv" } }, "within: 'srv' is not an absolute path" },
    { { static = { cache_control = "a\n" } },
      "static.cache_control: a control character in 'a?'" },
    { { static = { headers = { ["a b"] = "c" } } },
      "static.headers: 'a b' cannot be the name of a header" },
    { { try = { "$path", { statsu = 1 } } }, "try: in the decision at its end: unknown key "
      .. "'statsu' in a decision; did you mean 'status'?" },
    { { ini = 5 }, "ini: expected a table from setting to value, or a function, got 5" },
    { { ini = { extension = "x" } },
      "ini: 'extension' is refused: PHP can only add to it, and would keep it for every later "
      .. "request" },
  }) do
    it("are told: " .. case[2], function()
      local options = case[1]
      if type(options) == "table" and not case[2]:match("missing: the") then
        options.root = options.root or "/srv"
        options.backend = options.backend or "app"
      end
      local ok, message = pcall(function()
        local site = php.site(options, fake_fs.new({})) -- not a tail call, which has no line
        return site
      end)
      assert.is_false(ok)
      assert.equal("php.site: " .. case[2], message:match("^[^:]+php_spec.lua:%d+: (.*)$"))
    end)
  end
end)
