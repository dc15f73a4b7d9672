-- What php.site takes beside the usual: rules for files, pages for errors that keep their status,
-- owners of files. With a real PHP-FPM.

local http = require("tests.support.http")
local php = require("tests.support.php")
local process = require("tests.support.process")
local server = require("tests.support.server")
local stage = require("tests.support.stage")

local ROUTE = [[
local php = require("moongate.php")
local pages = { [403] = "/errors/403.html", [502] = "/errors/down.html",
  [405] = "/errors/405.html", [412] = "/errors/412.html",
  [413] = "/errors/413.html", [416] = "/errors/416.html",
  [503] = "/errors/down.html", [500] = "/errors/500.html" }
local function site(backend, more)
  local options = {
    root = os.getenv("TEST_ROOT"), backend = backend, not_found = "/errors/404.html",
    errors = pages, headers = { ["X-Site"] = "yes" },
    static = {
      cache_control = "max-age=1", [".css"] = { cache_control = "max-age=2" }, [".sql"] = false,
      { match = "^/down/", headers = { ["Content-Disposition"] = "attachment" } },
    },
  }
  for key, value in pairs(more or {}) do
    options[key] = value
  end
  return php.site(options)
end
local sites = {
  usual = site("app"), down = site("down"),
  watched = site("watched"),
  strict = site("app", { intercept_errors = { 500 } }), small = site("app", { body_limit = 10 }),
  unseen = php.site { docroot = os.getenv("TEST_ROOT"), backend = "app",
    not_found = { status = 410 }, headers = { ["X-Site"] = "yes" } },
  bare = php.site { root = os.getenv("TEST_ROOT"), backend = "app", not_found = "/a.css" },
  front = php.site { docroot = os.getenv("TEST_ROOT"), backend = "app", front = "/hello.php" },
  owner = site("app", { owner = true }), lost = site("app", { not_found = "/errors/lost.html" }),
}
return {
  backends = {
    app = os.getenv("TEST_BACKEND"), down = "unix:/nonexistent/x.sock",
    watched = { servers = { os.getenv("TEST_BACKEND") }, health = {} },
  },
  on_request = function(req) return sites[req.headers.site or "usual"](req) end,
  on_error = function(_, err)
    assert(err.kind ~= "refused")
  end,
}
]]

describe("a site", function()
  local fpm, gate

  setup(function()
    fpm = php.start({ pages = "tests/pages" })
    stage.write(fpm.root, {
      ["a.txt"] = "text", ["a.css"] = "css", ["dump.sql"] = "secret", ["down/a.txt"] = "load",
      ["errors/404.html"] = "<p>not here</p>", ["errors/403.html"] = "<p>not yours</p>",
      ["errors/down.html"] = "<p>back soon</p>", ["errors/500.html"] = "<p>broken</p>",
      ["errors/405.html"] = "<p>not so</p>", ["errors/413.html"] = "<p>too much</p>",
      ["errors/412.html"] = "<p>another one</p>",
      ["errors/416.html"] = "<p>not that part</p>",
      ["gone.php"] = "<?php header('X-Accel-Redirect: /nowhere.txt');",
      [".env"] = "secret", ["broken.php"] = "<?php http_response_code(500);",
    })
    gate = server.start({
      route = ROUTE, env = { TEST_BACKEND = fpm.address, TEST_ROOT = fpm.root },
    })
  end)

  teardown(function()
    gate:stop()
    fpm:stop()
  end)

  local function ask(path, site, more)
    local request = { path = path, headers = { Site = site or "usual" } }
    for key, value in pairs(more or {}) do
      request[key] = value
    end
    return http.request(gate.address, request)
  end

  it("may have its folder on the backend's machine only", function()
    for path, expected in pairs({
      ["/hello.php"] = 200, ["/folder/"] = 200, ["/a.txt"] = 410, ["/missing.php"] = 404,
      ["/a.txt/x.php"] = 403, ["/.git/x.php"] = 403,
    }) do
      local res = ask(path, "unseen")
      assert.equal(path .. " " .. expected, path .. " " .. res.status)
      assert.equal(expected ~= 410 and "yes" or nil, res.headers["x-site"]) -- that page has its own
    end
    local res = ask("/server.php/a/b?c", "unseen")
    for _, line in ipairs({ "PATH_INFO=/a/b\n", "SCRIPT_NAME=/server.php\n",
      "DOCUMENT_ROOT=" .. fpm.root .. "\n", "QUERY_STRING=c\n" }) do
      assert.truthy(res.body:find(line, 1, true), line)
    end
    assert.equal(ask("/hello.php", "front").body, ask("/any/where", "front").body)
  end)

  it("has rules for its files", function()
    assert.equal("max-age=1", ask("/a.txt").headers["cache-control"])
    assert.equal("max-age=2", ask("/a.css").headers["cache-control"])
    assert.equal("attachment", ask("/down/a.txt").headers["content-disposition"])
    local res = ask("/dump.sql")
    assert.equal(404, res.status)
    assert.equal("<p>not here</p>", res.body)
  end)

  it("answers with its own pages, whatever was asked, and keeps the status", function()
    for _, more in ipairs({ {}, { method = "POST", body = "a=1" }, { method = "DELETE" },
      { headers = { Site = "usual", Range = "bytes=0-1", ["If-None-Match"] = "*" } } }) do
      local res = ask("/nothing", nil, more)
      assert.equal(404, res.status)
      assert.equal("<p>not here</p>", res.body)
      assert.equal("text/html", res.headers["content-type"]:match("^[^;]+"))
      assert.equal("yes", res.headers["x-site"])
      assert.is_nil(res.headers.etag)
    end
    local res = ask("/nothing", nil, { method = "HEAD" })
    assert.equal(404, res.status)
    assert.equal("15", res.headers["content-length"])
    res = ask("/.env")
    assert.equal(403, res.status)
    assert.equal("<p>not yours</p>", res.body)
    assert.equal(200, ask("/errors/404.html").status)
  end)

  it("has pages for what its files refuse, beside the headers that belong to it", function()
    local res = ask("/a.txt", nil, { method = "POST", body = "a=1" })
    assert.equal(405, res.status)
    assert.equal("<p>not so</p>", res.body)
    assert.equal("GET, HEAD, OPTIONS", res.headers.allow)
    assert.equal("yes", res.headers["x-site"])
    res = ask("/a.txt", nil, { headers = { Site = "usual", Range = "bytes=100-" } })
    assert.equal(416, res.status)
    assert.equal("<p>not that part</p>", res.body)
    assert.equal("bytes */4", res.headers["content-range"])
    for _, header in ipairs({ "If-Match", "If-Unmodified-Since" }) do
      local value = header == "If-Match" and '"other"' or "Thu, 01 Jan 1970 00:00:00 GMT"
      res = ask("/a.txt", nil, { headers = { Site = "usual", [header] = value } })
      assert.equal(412, res.status, header)
      assert.equal("<p>another one</p>", res.body)
      assert.equal("yes", res.headers["x-site"])
    end
    -- Where there is no page for the status, the standard one has these headers.
    res = ask("/a.txt", "bare", { method = "PUT", body = "a" })
    assert.equal(405, res.status)
    assert.truthy(res.body:find("<h1>405", 1, true))
    assert.equal("GET, HEAD, OPTIONS", res.headers.allow)
  end)

  it("has a page in the place of PHP-FPM's own ones, which no client gets", function()
    -- PHP-FPM compares PATH_INFO with the ping path, too.
    local res = ask("/server.php/ping", "watched")
    assert.equal(403, res.status)
    assert.equal("<p>not yours</p>", res.body)
    assert.equal("yes", res.headers["x-site"])
    gate:wait_log("answered 403: /ping is PHP%-FPM's own page.*; GET /server.php/ping, ")
    assert.equal(200, ask("/server.php/pin", "watched").status)
  end)

  it("has a page for a body that is too large, and for a file that an application lacks",
    function()
      local res = ask("/hello.php", "small", { method = "POST", body = ("x"):rep(100) })
      assert.equal(413, res.status)
      assert.equal("<p>too much</p>", res.body)
      res = ask("/gone.php")
      assert.equal(404, res.status)
      assert.equal("<p>not here</p>", res.body)
    end)

  it("has a page for a backend that is away", function()
    local res = ask("/hello.php", "down")
    assert.equal(503, res.status)
    assert.equal("<p>back soon</p>", res.body)
    assert.equal("yes", res.headers["x-site"])
  end)

  it("leaves errors of the application alone, unless it is told to intercept them", function()
    local res = ask("/broken.php")
    assert.equal(500, res.status)
    assert.equal("", res.body)
    res = ask("/broken.php", "strict")
    assert.equal(500, res.status)
    assert.equal("<p>broken</p>", res.body)
  end)

  it("has the standard page where its own is missing, and says so", function()
    local mark = gate:mark()
    local res = ask("/nothing", "lost")
    assert.equal(404, res.status)
    assert.truthy(res.body:find("<h1>404 Not Found</h1>", 1, true))
    gate:wait_log("the page for an error, .*/errors/lost%.html: 404", 5, mark)
  end)

  if process.is_root() then
    it("with an owner gives out only what is the owner's", function()
      stage.write(fpm.root, { ["foreign.txt"] = "x", ["foreign.php"] = "<?php echo 'ran';" })
      assert.equal(200, ask("/foreign.txt", "owner").status)
      assert.equal("ran", ask("/foreign.php", "owner").body)
      assert.equal(0, os.execute("chown daemon " .. process.quote(fpm.root) .. "/foreign.*"))
      for _, path in ipairs({ "/foreign.txt", "/foreign.php", "/foreign.php/x" }) do
        local res = ask(path, "owner")
        assert.equal(403, res.status, path)
        assert.equal("<p>not yours</p>", res.body)
      end
      assert.equal(200, ask("/foreign.txt").status)
      assert.equal(200, ask("/hello.php", "owner").status)
    end)
  end
end)
