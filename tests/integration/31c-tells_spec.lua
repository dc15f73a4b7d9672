-- What a route would do, told before it serves: `check` with requests that every site gets,
-- `explain` of a command line of curl and of a log, and the forms of `test`.

local json = require("moongate.base.json")
local process = require("tests.support.process")
local server = require("tests.support.server")
local stage = require("tests.support.stage")

local function folder(files)
  local dir = process.tempdir("route")
  stage.write(dir, files)
  return dir
end

describe("moongate check", function()
  local function check(text)
    local dir = folder({ ["route.lua"] = text })
    return server.command({ "check", dir .. "/route.lua" }), dir .. "/route.lua"
  end

  it("finds what the first visitors would", function()
    local result, path = check([[
return {
  listen = { "127.0.0.1:8080", { address = "127.0.0.1:8081", name = "staff" } },
  backends = { app = "unix:/nonexistent.sock" },
  on_request = function(req)
    if req.host:find("unknown") then return { backend = "app", rot = "/srv" } end
    if req.listener == "staff" and req.path == "/folder/" then return { backend = "ap" } end
    return { backend = "app" }
  end,
  on_params = function(req, params)
    if req.path:find("x$") then params.X = req.nix end
  end,
}]])
    assert.equal(1, result.code)
    assert.equal("", result.stdout)
    for _, text in ipairs({
      path .. ":4: on_request returned a decision that cannot be used: unknown key 'rot' in a "
        .. "decision; did you mean 'root'? (GET /, host unknown.invalid, listener 127.0.0.1:8080)",
      path .. ":4: on_request returned a decision that cannot be used: there is no backend 'ap'; "
        .. "did you mean 'app'? (GET /folder/, listener staff)",
      path .. ":5: attempt to index field 'host' (a nil value) (GET /, no host",
      path .. ":10: req has no field \"nix\"",
    }) do
      assert.truthy(result.stderr:find(text, 1, true), text .. "\nis not in\n" .. result.stderr)
    end
    local _, lines = result.stderr:gsub("\n", "")
    assert.equal(4, lines, result.stderr)
  end)

  it("does not mind hooks that wait, or that answer nobody", function()
    for _, body in ipairs({
      "require('moongate').sleep(1)", "return nil", "return { close = true }",
    }) do
      local result = check("return { on_request = function() " .. body .. " end }")
      assert.equal("ok\n", result.stdout, result.stderr)
    end
  end)

  it("ends a hook that does not", function()
    local result, path = check(
      "return { script_timeout = 0.2, on_request = function()\nwhile true do end end }")
    assert.equal(1, result.code)
    assert.matches(path:gsub("%p", "%%%0") .. ":2", result.stderr)
  end)
end)

describe("moongate explain", function()
  local dir, path
  setup(function()
    dir = folder({ ["www/index.php"] = "<?php", ["www/a.css"] = "a" })
    path = dir .. "/route.lua"
    stage.write(dir, { ["route.lua"] = ([[
local php = require("moongate.php")
local site = php.site { root = %q, backend = "app", front = "/index.php", params = { A = "1" } }
return {
  listen = { "127.0.0.1:8080", { address = "127.0.0.1:8081", name = "staff" } },
  backends = { app = "unix:/nonexistent.sock" },
  on_request = function(req)
    if req.listener == "staff" then return { status = 403 } end
    return site(req)
  end,
  on_params = function(_, params) params.B = "2" end,
}]]):format(dir .. "/www") })
  end)

  local function explain(...)
    local result = server.command({ "explain", path, "--json", ... })
    return json.decode(result.stdout), result
  end

  it("takes a command line of curl as it is", function()
    local out, result = explain("curl", "https://shop.test/cart?x=1", "-H", "Cookie: a=b",
      "--compressed", "--data-raw", "k=v", "-sS")
    assert.equal(1, result.code) -- nobody listens at the socket
    local params = out.params
    assert.equal("POST", params.REQUEST_METHOD)
    assert.equal("shop.test", params.HTTP_HOST)
    assert.equal("on", params.HTTPS)
    assert.equal("a=b", params.HTTP_COOKIE)
    assert.equal("3", params.CONTENT_LENGTH)
    assert.equal("/cart?x=1", params.REQUEST_URI)
    assert.equal(2, server.command({ "explain", path, "-H", "A: b", "curl", "http://a/" }).code)
  end)

  it("says of each param where it comes from, and of each step the line", function()
    local out = explain("/x/y")
    local origins = out.origins
    assert.equal("params of the decision at " .. path .. ":2", origins.A)
    assert.equal("on_params at " .. path .. ":10", origins.B)
    assert.equal("root of the decision, and the script", origins.SCRIPT_FILENAME)
    assert.equal("header Host", origins.HTTP_HOST)
    for name in pairs(out.params) do
      assert.truthy(origins[name], name)
    end
    for _, step in ipairs(out.steps) do
      assert.matches(path:gsub("%p", "%%%0") .. ":%d+", step)
    end
  end)

  it("takes who asks, where, how and with what", function()
    local out = explain("/x", "--ip", "192.0.2.7", "--https", "-H", "Host: a.test")
    assert.equal("192.0.2.7", out.params.REMOTE_ADDR)
    assert.equal("https", out.params.REQUEST_SCHEME)
    assert.equal("443", out.params.SERVER_PORT)
    assert.equal("403 from the route itself", explain("/x", "--listener", "staff").verdict)
    process.write_file(dir .. "/body", ("x"):rep(1234))
    out = explain("/x", "--body", dir .. "/body")
    assert.equal("POST", out.params.REQUEST_METHOD)
    assert.equal("1234", out.params.CONTENT_LENGTH)
    assert.equal(2, server.command({ "explain", path, "/x", "--listener", "stuff" }).code)
    assert.equal(2, server.command({ "explain", path, "/x", "--body", "/nonexistent" }).code)
  end)
end)

describe("moongate explain --log", function()
  local dir
  setup(function()
    dir = process.tempdir("replay")
    -- Each route has a module of the same name beside it.
    for name, backend in pairs({ old = "php74", new = "php84" }) do
      stage.write(dir, {
        [name .. "/where.lua"] = ("return %q"):format(backend),
        [name .. "/route.lua"] = [[
          local where = require("where")
          return {
            backends = { php74 = "unix:/a.sock", php84 = "unix:/b.sock" },
            on_request = function(req)
              if req.path == "/same" then return { status = 204 } end
              if req.host == "moves.test" then
                return { backend = where, docroot = "/srv/" .. where }
              end
              return { backend = "php74", docroot = "/srv/php74" }
            end,
          }]],
      })
    end
    local function line(host, uri, status, backend)
      return ('{"method":"GET","uri":"%s","host":"%s","client":"192.0.2.1","status":%d,'
        .. '"backend":"%s"}'):format(uri, host, status, backend or "")
    end
    process.write_file(dir .. "/access.json", table.concat({
      line("stays.test", "/a.php", 200, "php74"), line("moves.test", "/b.php", 500, "php74"),
      "no request", line("moves.test", "/c.php?d", 200, "php74"), line("x.test", "/same", 204), "",
    }, "\n"))
  end)

  local function replay(...)
    local route = dir .. "/new/route.lua"
    return server.command({ "explain", route, "--log", dir .. "/access.json", ... })
  end

  it("says what would change from another route", function()
    local result = replay("--against", dir .. "/old/route.lua")
    assert.equal([[
4 requests, 2 would change, 1 lines are no requests

     2  backend php74 -> php84; params DOCUMENT_ROOT SCRIPT_FILENAME
        line 2: GET http://moves.test/b.php
          DOCUMENT_ROOT: /srv/php74 -> /srv/php84
          SCRIPT_FILENAME: /srv/php74/b.php -> /srv/php84/b.php
]], result.stdout, result.stderr)
    assert.equal(1, result.code)
  end)

  it("says what would change from what the log says", function()
    local result = replay()
    assert.equal([[
4 requests, 2 would change, 1 lines are no requests

     2  backend php74 -> php84
        line 2: GET http://moves.test/b.php
]], result.stdout, result.stderr)
    assert.equal(1, result.code)
  end)

  it("is 0 where nothing would", function()
    local result = replay("--against", dir .. "/new/route.lua")
    assert.equal("4 requests, 0 would change, 1 lines are no requests\n", result.stdout)
    assert.equal(0, result.code, result.stderr)
  end)

  it("fails where the other route can't be loaded, or an option makes no sense", function()
    local result = replay("--against", dir .. "/none.lua")
    assert.equal(1, result.code)
    assert.matches("none.lua did not come to the end of the log", result.stderr)
    assert.equal(2, replay("/x").code)
    assert.equal(2, replay("--ip", "1.2.3.4").code)
    assert.equal(2, replay("--json", "--against", dir .. "/old/route.lua").code)
    local route = dir .. "/new/route.lua"
    assert.equal(2, server.command({ "explain", route, "/", "--against", "x" }).code)
  end)
end)

describe("moongate test", function()
  it("runs the tests that are named, and prints what build servers read", function()
    local dir = folder({
      ["route.lua"] = "return { on_request = function() return { status = 200 } end }",
      ["spec/a_spec.lua"] = [[
local route = require("moongate.testing").load("route.lua")
describe("a page", function()
  it("is there", function() assert.equal(200, route:request({ url = "/" }).status) end)
  it("is gone", function() assert.equal(410, route:request({ url = "/" }).status) end)
end)]],
    })
    local function test(...)
      return server.command({ "test", dir .. "/route.lua", ... })
    end
    local result = test("--filter", "is there$")
    assert.equal("1 passed, 0 failed\n", result.stdout, result.stderr)
    assert.equal(0, result.code)
    result = test("--output", "tap")
    assert.equal(1, result.code)
    assert.matches("^TAP version 13\n1%.%.2\nok 1 %- a page is there\nnot ok 2 %- a page is gone\n"
      .. "# [^\n]+/spec/a_spec.lua:4: ", result.stdout)
    result = test("--output=junit")
    assert.equal(1, result.code)
    assert.matches('tests="2" failures="1" skipped="0"', result.stdout)
    result = test("--filter", "nothing")
    assert.equal(1, result.code)
    assert.matches("no test has a name that 'nothing' matches", result.stderr)
    assert.equal(2, test("--filter", "%").code)
    assert.equal(2, test("--output", "xml").code)
  end)
end)
