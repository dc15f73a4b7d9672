-- Specs of moongate.testing. Requests and params are made by core/, so those here are fakes; a
-- scenario runs the real ones.

local program = require("support.program")

--- A table as core's views are: fields, and each().
local function view(list)
  local values = {}
  for _, pair in ipairs(list) do
    values[pair[1]] = pair[2]
  end
  return setmetatable({
    each = function()
      return pairs(values)
    end,
  }, { __index = values, __newindex = values })
end

describe("testing", function()
  local core, testing, remove
  before_each(function()
    core = program.core({
      existing = { ["/srv"] = "directory", ["/srv/a.css"] = "file", ["/srv/x.php"] = "file" },
    })
    function core.request(what)
      core.requested = what
      if what.url == "/%zz" then
        return nil, 400, "a % without two hex digits in the path"
      end
      return { method = what.method, path = what.url, ip = what.ip, listener = what.listener,
        headers = what.headers, host = "example.test", ctx = {} }
    end
    function core.params(_, d, script, path_info)
      assert.is_nil(d.ini)
      return view({ { "SCRIPT_FILENAME", (d.root or "") .. script }, { "PATH_INFO", path_info } })
    end
    function core.resolve_file(d, path)
      local file = d.file or d.root .. path
      return { file = file, root = d.root, exists = core.existing[file] }
    end
    function core.response(_, status, headers)
      core.answered = headers
      return { status = status, headers = view(headers) }
    end
    program.install(core)
    testing = require("moongate.testing")
  end)
  after_each(function()
    program.install(nil)
    if remove then
      remove()
      remove = nil
    end
  end)

  --- A route with these hooks, each the body of a function.
  local function load(on_request, more)
    local path
    path, remove = program.script([[return {
      listen = { { address = ":80", name = "web" }, ":8081" },
      backends = { app = { servers = { ":9000", ":9001" }, ini = { a = 1 } } },
      on_request = function(req) ]] .. on_request .. " end,\n" .. (more or "") .. "}")
    return testing.load(path), path
  end

  local APP = 'return { backend = "app", root = "/srv" }'

  it("says what the application would get", function()
    local route, path = load('return { backend = "app", root = "/srv", ini = { a = 2 } }',
      "on_params = function(req, params) params.APP_HOST = req.host end")
    local out = route:request { url = "/x.php/7" }
    assert.same({
      kind = "fastcgi", backend = "app", servers = { "127.0.0.1:9000", "127.0.0.1:9001" },
      decision = { backend = "app", root = "/srv", ini = { a = 2 } }, rule = path .. ":4",
      params = { SCRIPT_FILENAME = "/srv/x.php", PATH_INFO = "/7", APP_HOST = "example.test",
        PHP_VALUE = "a='1'\na='2'" },
    }, out)
    assert.equal("GET", core.requested.method)
    assert.same({ { "Host", "localhost" } }, core.requested.headers)
    assert.equal("web", core.requested.listener)
    assert.equal(80, core.requested.port)
  end)

  it("passes on what the client sends", function()
    local route = load(APP)
    route:request {
      url = "https://a.test/x.php", method = "POST", body = "abc", ip = "2001:db8::1",
      listener = "0.0.0.0:8081", headers = { Cookie = "a=b", ["X-A"] = { "1", 2 } },
    }
    local got = core.requested
    assert.equal("https://a.test/x.php", got.url)
    assert.same({
      { "Host", "a.test" }, { "Cookie", "a=b" }, { "X-A", "1" }, { "X-A", "2" },
      { "Content-Length", "3" },
    }, got.headers)
    assert.equal("POST", got.method)
    assert.equal("2001:db8::1", got.ip)
    assert.equal("0.0.0.0:8081", got.listener)
    assert.equal(8081, got.port)
  end)

  for name, case in pairs({
    ["a file"] = { 'return { root = "/srv", cache_control = "no-cache" }', "/a.css",
      { kind = "file", file = "/srv/a.css", status = 200,
        headers = { ["Cache-Control"] = "no-cache" } } },
    ["a missing file"] = { 'return { root = "/srv" }', "/b.css",
      { kind = "file", file = "/srv/b.css", status = 404, headers = {} } },
    ["a reply"] = { 'return { body = "x", headers = { ["X-A"] = "b" } }', "/",
      { kind = "reply", status = 200, body = "x", headers = { ["X-A"] = "b" } } },
    ["a redirect"] = { 'return { redirect = "/y" }', "/",
      { kind = "redirect", status = 302, redirect = "/y", headers = { Location = "/y" } } },
    ["close"] = { "return { close = true }", "/", { kind = "close" } },
    ["nil"] = { "", "/", { kind = "reply", status = 404 } },
  }) do
    it("says what comes of " .. name, function()
      local route, path = load(case[1])
      local out = route:request { url = case[2] }
      assert.equal(path .. ":4", out.rule)
      assert.is_table(out.decision)
      out.rule, out.decision = nil, nil
      assert.same(case[3], out)
    end)
  end

  it("finds headers in any case", function()
    local out = load('return { status = 200, headers = { ["X-A"] = "b" } }'):request { url = "/" }
    assert.equal("b", out.headers["x-a"])
    assert.is_nil(out.headers["x-b"])
  end)

  it("names the rule of a router", function()
    local path
    path, remove = program.script('local r = require("moongate.router").new()\n'
      .. 'r:path("/x/*", { status = 410 })\nreturn { on_request = r }')
    assert.equal(path .. ":2 path '/x/*'", testing.load(path):request({ url = "/x/y" }).rule)
  end)

  it("answers as the server does where a hook fails", function()
    local route, path = load("return nil + 1")
    local out = route:request { url = "/" }
    assert.equal(500, out.status)
    assert.equal("reply", out.kind)
    assert.equal(("on_request (%s:4): %s:4: attempt to perform arithmetic on a nil value"):format(
      path, path), out.error)
    remove()
    out = load("return { statsu = 1 }"):request { url = "/" }
    assert.equal(500, out.status)
    assert.matches("route.lua:4: on_request returned a decision that cannot be used: unknown key "
      .. "'statsu'", out.error)
    remove()
    out = load(APP, "on_params = function() error('no') end"):request { url = "/x.php" }
    assert.equal(500, out.status)
    assert.is_nil(out.backend)
    assert.matches("^on_params %(.*route.lua:5%): .*route.lua:5: no$", out.error)
    remove()
    out = load("error('x')", "on_error = function(_, err) return { status = 500, body = err.kind } "
      .. "end"):request { url = "/" }
    assert.equal("script", out.body)
    assert.matches("route.lua:4: x$", out.error)
  end)

  it("refuses what is no request", function()
    local out = load(APP):request { url = "/%zz" }
    assert.same({ kind = "reply", status = 400, error = "a % without two hex digits in the path" },
      out)
  end)

  describe("respond", function()
    local HOOK = [[on_response = function(req, res)
      res.headers["X-Was"] = res.headers["X-A"]
      if res.status == 410 then return { redirect = "/gone", status = 301 } end
      if res.status == 411 then error("oh") end
      if res.status == 412 then return { statsu = 1 } end
    end]]

    it("runs on_response", function()
      local route = load(APP, HOOK)
      local asked = route:request { url = "/x.php" }
      local out = route:respond(asked, 201, { ["X-A"] = "b", ["X-L"] = { "1", "2" } })
      assert.same({ { "X-A", "b" }, { "X-L", "1" }, { "X-L", "2" } }, core.answered)
      assert.equal(201, out.status)
      assert.equal("b", out.headers["x-was"])
      assert.equal("fastcgi", out.kind)
      assert.equal("app", out.backend)
      assert.equal("/srv/x.php", out.params.SCRIPT_FILENAME)
      assert.is_nil(asked.status)
      assert.equal(200, route:respond({ url = "/x.php" }).status)
    end)

    it("shows what is sent in its place", function()
      local out = load(APP, HOOK):respond({ url = "/x.php" }, 410)
      assert.equal("redirect", out.kind)
      assert.equal(301, out.status)
      assert.equal("/gone", out.redirect)
      assert.is_nil(out.backend)
    end)

    it("lets the answer go on where the hook fails, as the server does", function()
      local route = load(APP, HOOK)
      local out = route:respond({ url = "/x.php" }, 411, { ["X-A"] = "b" })
      assert.equal(411, out.status)
      assert.equal("b", out.headers["X-Was"])
      assert.matches("^on_response %(.*route.lua:5%): .*route.lua:8: oh$", out.error)
      assert.matches("unknown key 'statsu'", route:respond({ url = "/x.php" }, 412).error)
    end)

    it("is replaced by what on_stderr decides", function()
      local hook = HOOK .. [[, on_stderr = function(req, messages)
        local message = messages[1]
        if message.level == "fatal" then return { status = 500, body = message.file } end
        if message.level == "notice" then return { backend = "nowhere" } end
        if message.level == "info" then return 5 end
        return message.level == "deprecated"
      end]]
      local route = load(APP, hook)
      local function said(level)
        return route:stderr({ url = "/x.php" },
          "PHP message: PHP " .. level .. ":  odd in /srv/a.php on line 3")
      end
      local out = said("Fatal error")
      assert.same({ "reply", 500, "/srv/a.php" }, { out.kind, out.status, out.body })
      assert.same({ "PHP Fatal error: odd in /srv/a.php:3" }, out.logged)
      out = said("Warning")
      assert.equal("fastcgi", out.kind)
      assert.same({ "PHP Warning: odd in /srv/a.php:3" }, out.logged)
      assert.same({}, said("Deprecated").logged)
      out = said("Notice")
      assert.equal("fastcgi", out.kind)
      assert.matches("on_stderr returned a decision that cannot be used", out.error)
      assert.matches("^on_stderr %(.*route.lua:%d+%): expected true, false, a decision or nothing",
        route:stderr({ url = "/x.php" }, "PHP message: said").error)
    end)

    it("goes to on_error with statuses that are intercepted", function()
      local route = load(
        'return { backend = "app", root = "/srv", intercept_errors = { 404, 500 } }',
        HOOK .. [[, on_error = function(req, err)
          if err.status == 404 then return { file = "/srv/a.css" } end
        end]])
      local out = route:respond({ url = "/x.php" }, 404)
      assert.equal("file", out.kind)
      assert.equal(404, out.status)
      assert.equal("/srv/a.css", out.file)
      assert.equal("fastcgi", route:respond({ url = "/x.php" }, 500, { ["X-A"] = "c" }).kind)
      assert.equal("fastcgi", route:respond({ url = "/x.php" }, 403).kind)
    end)

    it("tells on_error what the answer is like", function()
      local route = load('return { backend = "app", root = "/srv", intercept_errors = true }',
        [[on_error = function(req, err)
          if err.has_body then return nil end
          return { status = err.status, body = tostring(err.headers["X-A"]) }
        end]])
      local out = route:respond({ url = "/x.php" }, 500, { ["X-A"] = "c" })
      assert.equal("reply", out.kind)
      assert.equal("c", out.body)
      assert.equal("reply", route:respond({ url = "/x.php" }, 500, {}, "").kind)
      assert.equal("fastcgi", route:respond({ url = "/x.php" }, 500, {}, "{}").kind)
    end)
  end)

  describe("fail", function()
    it("runs on_error", function()
      local route = load(APP, [[on_error = function(req, err)
        if err.kind == "busy" then return end
        if err.kind == "closed" then error("oh") end
        if err.kind == "timeout" then return { backend = "app", script = "/x.php" } end
        return { status = 503, headers = { ["X-E"] = ("%s %d %s %s %d"):format(err.kind, err.status,
          err.backend, err.server, err.attempts) } }
      end]])
      local asked = route:request { url = "/x.php", method = "POST" }
      local out = route:fail(asked, "connect")
      assert.equal("reply", out.kind)
      assert.equal("connect 503 app 127.0.0.1:9000 1", out.headers["X-E"])
      out = route:fail(asked, "timeout")
      assert.equal("fastcgi", out.kind)
      assert.equal("/x.php", out.params.SCRIPT_FILENAME)
      assert.equal(200, route:respond(out).status)
      out = route:fail({ url = "/x.php" }, "busy")
      assert.same({ kind = "reply", status = 503 }, out)
      out = route:fail(asked, "closed")
      assert.equal(500, out.status)
      assert.matches("route.lua:7: oh$", out.error)
    end)

    it("gives the statuses of the server", function()
      local route = load(APP)
      for kind, status in pairs({
        connect = 503, busy = 503, timeout = 504, closed = 502, protocol = 502, too_large = 502,
        script = 500,
      }) do
        assert.equal(status, route:fail({ url = "/x.php" }, kind).status)
      end
    end)

    it("gives a file for any method, with the status of the failure", function()
      local route = load(APP, 'on_error = function() return { file = "/srv/a.css" } end')
      local out = route:fail({ url = "/x.php", method = "POST" }, "timeout")
      assert.equal(504, out.status)
      assert.equal("/srv/a.css", out.file)
    end)
  end)

  it("says at the spec's own line what makes no sense", function()
    local route = load(APP)
    local reply
    local function at_line(fn)
      local ok, message = pcall(fn)
      assert.is_false(ok)
      local place, text = message:match("^(.-:)%d+: (.*)$")
      assert.equal("spec/moongate/testing_spec.lua:", place)
      return text
    end
    for text, what in pairs({
      ["unknown key 'urll' in a request; did you mean 'url'?"] = { urll = "/" },
      ["expected a table with a url, such as { url = \"http://shop.example/cart\" }"] = {},
      ["body: expected a string, got a number"] = { url = "/", body = 5 },
      ["ip: '1.2.3.256' is no address"] = { url = "/", ip = "1.2.3.256" },
      ["there is no listener 'wbe'; did you mean 'web'?"] = { url = "/", listener = "wbe" },
      ["headers: 'A' cannot be sent"] = { url = "/", headers = { A = "b\r\nC: d" } },
      ["headers: 'A:' cannot be sent"] = { url = "/", headers = { ["A:"] = "b" } },
      ["headers: expected a table from name to value, such as { Cookie = \"a=b\" }"] =
        { url = "/", headers = { "A: b" } },
      ["'shop/x': expected a path that begins with \"/\", or a URL such as "
        .. "\"http://shop.example/cart\""] = { url = "shop/x" },
    }) do
      assert.equal(text, at_line(function()
        local _ = route:request(what)
      end))
    end
    assert.equal("unknown kind 'conect' of a failure; did you mean 'connect'?", at_line(function()
      local _ = route:fail({ url = "/x.php" }, "conect")
    end))
    remove()
    reply = load("return { status = 204 }")
    assert.equal("no application is asked here, so none can answer", at_line(function()
      local _ = reply:respond({ url = "/" })
    end))
    assert.equal("no application is asked here, so none can fail", at_line(function()
      local _ = reply:fail({ url = "/" }, "connect")
    end))
    remove()
    reply = load("error('x', 0)")
    assert.matches("^the request has failed already: on_request %(.*%): x$", at_line(function()
      local _ = reply:respond({ url = "/" })
    end))
    assert.equal("which route? No other one is under test, so testing.load needs a path",
      at_line(function()
        local _ = testing.load()
      end))
  end)

  it("says what is wrong with a route", function()
    local path
    path, remove = program.script("return {\nlisten = 1")
    local ok, message = pcall(testing.load, path)
    assert.is_false(ok)
    assert.matches("^" .. path:gsub("%p", "%%%0") .. ":2: '}' expected", message)
  end)

  it("needs the program for requests", function()
    local path
    path, remove = program.script("return { on_request = print }")
    program.install(nil)
    local route = require("moongate.testing").load(path)
    local ok, message = pcall(route.request, route, { url = "/" })
    assert.is_false(ok)
    assert.matches("run the specs by `moongate test`$", message)
  end)
end)
