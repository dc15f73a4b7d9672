-- Specs of moongate.decision.complete.

local complete = require("moongate.decision.complete")
local decision = require("moongate.decision")
local fake_fs = require("support.fs")
local req = require("support.req")

describe("complete.wrap", function()
  local settings = {
    backends = {
      { name = "app", profile = "php" },
      { name = "local", profile = "php", root = "/srv" },
      { name = "cgi", profile = "generic" },
    },
  }
  local fs
  before_each(function()
    fs = fake_fs.new({
      "/srv/index.php", "/srv/a/b.php", "/srv/evil.jpg", "/srv/dir/index.html", "/srv/x.css",
      "/srv/50%.txt",
    })
  end)

  --- What core gets for a path when the hook returns `d`.
  local function decide(path, d)
    local hook = complete.wrap(function()
      return d
    end, settings, fs)
    return { hook(req.get(path)) }
  end

  it("leaves nil, replies and redirects alone", function()
    assert.same({}, decide("/", nil))
    for _, d in ipairs({ { status = 403 }, { redirect = "/x" }, { close = true }, { file = "/x" } })
    do
      local got = decide("/index.php", d)
      assert.equal(1, #got)
      assert.equal(d, got[1])
    end
  end)

  it("leaves what is no table to core", function()
    assert.same({ "x" }, decide("/", "x"))
    assert.same({ false }, decide("/", false))
  end)

  it("returns the script's own table", function()
    local d = { backend = "app" }
    assert.equal(d, decide("/index.php", d)[1])
  end)

  describe("of a FastCGI decision without a root", function()
    for path, expected in pairs({
      ["/index.php"] = { "/index.php" },
      ["/index.php/a"] = { "/index.php", "/a" },
      ["/no/script"] = { "/no/script" },
      ["/evil.jpg/x.php"] = { "/evil.jpg/x.php" },
      ["/"] = { "/" },
    }) do
      it("splits " .. path .. " by pattern", function()
        local d = { backend = "app" }
        assert.same({ d, unpack(expected) }, decide(path, d))
        assert.same({}, fs.probes)
      end)
    end
  end)

  describe("of a FastCGI decision with a root", function()
    it("looks at the disk", function()
      local d = { backend = "app", root = "/srv" }
      assert.same({ d, "/a/b.php", "/c.php" }, decide("/a/b.php/c.php", d))
      assert.same({ "/a/b.php" }, fs.probes)
    end)

    it("takes the backend's root where it has none", function()
      local d = { backend = "local" }
      assert.same({ d, "/index.php", "/x" }, decide("/index.php/x", d))
      assert.same({ "/index.php" }, fs.probes)
    end)

    it("sends a script that is not there", function()
      local d = { backend = "local" }
      assert.same({ d, "/missing.php", "/x" }, decide("/missing.php/x", d))
    end)

    it("sends no script below a file", function()
      assert.same({ { status = 404 } }, decide("/evil.jpg/x.php", { backend = "local" }))
    end)
  end)

  describe("of a generic backend", function()
    it("makes a path without a script path info", function()
      local d = { backend = "cgi" }
      assert.same({ d, "", "/a/b" }, decide("/a/b", d))
      assert.same({ d, "/x.php", "/y" }, decide("/x.php/y", d))
    end)

    it("strips the prefix", function()
      local d = { backend = "cgi", strip = "/app" }
      assert.same({ d, "", "/a" }, decide("/app/a", d))
      assert.same({ d, "", "/" }, decide("/app", d))
    end)
  end)

  describe("with strip", function()
    it("maps the rest of the path", function()
      local d = { backend = "local", strip = "/wiki" }
      assert.same({ d, "/a/b.php", "/x" }, decide("/wiki/a/b.php/x", d))
    end)

    it("is 404 outside of the prefix", function()
      assert.same({ { status = 404 } }, decide("/wikipedia", { backend = "app", strip = "/wiki" }))
    end)

    it("takes it off a script that has it", function()
      local d = { backend = "app", strip = "/wiki", script = "/wiki/doku.php" }
      assert.same({ d, "/doku.php" }, decide("/else", d))
      d = { backend = "app", strip = "/wiki", script = "/doku.php" }
      assert.same({ d, "/doku.php" }, decide("/else", d))
    end)
  end)

  it("takes script and path_info from the decision", function()
    local d = { backend = "local", script = "/front.php", path_info = "/p" }
    assert.same({ d, "/front.php", "/p" }, decide("/index.php/x", d))
    assert.same({}, fs.probes)
    d = { backend = "app", script = "/front.php", path_info = "" }
    assert.same({ d, "/front.php" }, decide("/x", d))
  end)

  it("takes path_info alone from the decision", function()
    local d = { backend = "app", path_info = "/p" }
    assert.same({ d, "/index.php", "/p" }, decide("/index.php/x", d))
    d = { backend = "app", path_info = "" }
    assert.same({ d, "/index.php" }, decide("/index.php/x", d))
  end)

  it("does not look for the script of script_filename", function()
    local d = { backend = "local", script_filename = "/opt/x.php" }
    assert.same({ d, "/index.php", "/x" }, decide("/index.php/x", d))
    assert.same({}, fs.probes)
  end)

  it("leaves unknown backends to core", function()
    local d = { backend = "nope" }
    assert.same({ d }, decide("/", d))
    d = { backend = 7 }
    assert.same({ d }, decide("/", d))
  end)

  it("raises an error for what cannot be completed", function()
    for _, case in ipairs({
      { { backend = "app", strip = 1 }, "strip: expected" },
      { { backend = "app", script = "x.php" }, "script: expected" },
      { { backend = "app", script = 1 }, "script: expected" },
      { { backend = "app", root = 1 }, "root: expected" },
    }) do
      local ok, message = pcall(decide, "/", case[1])
      assert.is_false(ok)
      assert.equal("a decision that can't be used: " .. case[2],
        message:sub(1, #"a decision that can't be used: " + #case[2]))
    end
  end)

  it("names the rule of a decision that cannot be completed", function()
    local r = require("moongate.router").new()
    r:path("/x/*", function()
      return { backend = "app", strip = 1 }
    end)
    local ok, message = pcall(complete.wrap(r, settings, fs), req.get("/x/y"))
    assert.is_false(ok)
    assert.matches("^spec/moongate/decision/complete_spec.lua:%d+ path '/x/%*': a decision "
      .. "that can't be used: strip: ", message)
  end)

  describe("with try", function()
    local function try(path, list, fields)
      local d = { root = "/srv", try = list }
      for key, value in pairs(fields or {}) do
        d[key] = value
      end
      local got = decide(path, d)
      return got[2], got[1], d
    end

    it("names the path that is there", function()
      assert.equal("/x.css", (try("/nope", { "$path", "/x.css" })))
      assert.equal("/x.css", (try("/x", { "$path", "$path.css" })))
      assert.equal("/dir/index.html", (try("/dir", { "$path/index.html" })))
      assert.equal("/dir/", (try("/nope", { "/dir/" })))
    end)

    it("names no path where it is the request's or the decision's own", function()
      local path, got, d = try("/x.css", { "$path", "/index.html" })
      assert.is_nil(path)
      assert.equal(d, got)
      assert.is_nil((try("/nope", { "$path" }, { path = "/x.css" })))
      assert.is_nil((try("/dir/", { "$path", "$path/" })))
    end)

    it("leaves the redirect of a folder to core", function()
      local path, got, d = try("/dir", { "$path", "$path/" })
      assert.is_nil(path)
      assert.equal(d, got)
    end)

    it("takes per cent signs literally", function()
      assert.equal("/50%.txt", (try("/50%", { "$path.txt" })))
    end)

    it("ends in 404 or in a decision", function()
      local _, got = try("/nope", { "$path", "$path/" })
      assert.same({ status = 404 }, got)
      _, got = try("/nope", { "$path", { status = 410 } })
      assert.same({ status = 410 }, got)
      local d = { backend = "local" }
      assert.same({ d, "/nope.php" }, decide("/nope.php", { root = "/srv", try = { "$path", d } }))
    end)

    it("says what is wrong with a list that is none", function()
      for _, list in ipairs({ 1, {}, { 1 }, { {}, "$path" } }) do
        local ok, message = pcall(decide, "/", { root = "/srv", try = list })
        assert.is_false(ok)
        assert.matches("a decision that can't be used: try: ", message)
      end
    end)
  end)

  describe("with ini", function()
    local ini = require("moongate.decision.ini")
    local with_ini = {
      backends = {
        { name = "app", profile = "php", root = "/srv", ini = ini.list({ a = "1", b = "2" }) },
        { name = "plain", profile = "php", ini = {} },
      },
    }

    local function completed(d, path)
      return complete.wrap(function()
        return d
      end, with_ini, fs)(req.get(path or "/index.php"))
    end

    it("gives core the text of PHP_VALUE", function()
      local d = { backend = "app", ini = { b = 5 } }
      local got, script, path_info, text = completed(d, "/index.php/x")
      assert.equal(d, got)
      assert.equal("/index.php", script)
      assert.equal("/x", path_info)
      assert.equal("a='1'\nb='2'\nb='5'", text)
      assert.equal("a='1'\nb='2'", (select(4, completed({ backend = "app", ini = {} }))))
    end)

    it("leaves the backend's own text to core", function()
      assert.is_nil((select(4, completed({ backend = "app" }))))
    end)

    it("gives no text to a 404", function()
      assert.same({ status = 404 }, (completed({ backend = "app", ini = {} }, "/evil.jpg/x.php")))
      assert.equal(1, select("#", completed({ backend = "app", ini = {} }, "/evil.jpg/x.php")))
    end)

    it("says which setting the backend does not name", function()
      for _, case in ipairs({
        { { backend = "app", ini = { bb = 5 } },
          "ini: 'bb' is not in the 'ini' of backend 'app', " },
        { { backend = "plain", ini = { a = 1 } },
          "ini: 'a' is not in the 'ini' of backend 'plain', " },
        { { backend = "app", ini = { a = "x'y" } }, "ini: 'a': a single quote in its value" },
        { { backend = "app", ini = 5 }, "ini: expected a table" },
      }) do
        local ok, message = pcall(completed, case[1])
        assert.is_false(ok)
        local expected = "a decision that can't be used: " .. case[2]
        assert.equal(expected, message:sub(1, #expected))
      end
    end)

    it("is checked where the settings are known", function()
      assert.is_nil(decision.problem({ backend = "app", ini = { a = 1 } }, with_ini))
      assert.matches("^ini: 'c' is not in the 'ini' of backend 'app'",
        decision.problem({ backend = "app", ini = { c = 1 } }, with_ini))
    end)
  end)

  it("hands on what else the hook is told", function()
    local err = { kind = "timeout" }
    local hook = complete.wrap(function(_, more)
      assert.equal(err, more)
      return { backend = "app" }
    end, settings, fs)
    assert.same({ { backend = "app" }, "/x.php", "/y" }, { hook(req.get("/x.php/y"), err) })
  end)

  it("lets the hook yield", function()
    local hook = complete.wrap(function()
      return coroutine.yield("waiting")
    end, settings, fs)
    local co = coroutine.create(hook)
    assert.same({ true, "waiting" }, { coroutine.resume(co, req.get("/index.php/x")) })
    local d = { backend = "app" }
    assert.same({ true, d, "/index.php", "/x" }, { coroutine.resume(co, d) })
  end)
end)
