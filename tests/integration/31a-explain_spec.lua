-- What `moongate explain` and `moongate test` say of a request is what a server does with it.

local http = require("tests.support.http")
local json = require("moongate.base.json")
local net = require("tests.support.net")
local process = require("tests.support.process")
local rig = require("tests.support.rig")
local server = require("tests.support.server")
local stage = require("tests.support.stage")

-- A site with links to folders beside it.
local function site()
  local dir = process.tempdir("site")
  stage.write(dir, {
    ["www/a.txt"] = "a\n", ["www/sub/index.html"] = "index\n", ["www/.env"] = "secret\n",
    ["shared/b.txt"] = "b\n", ["shared/x.php"] = "<?php", ["more/c.txt"] = "c\n",
    ["else/d.txt"] = "d\n", ["else/e.php"] = "<?php", [".hidden/f.txt"] = "f\n",
  })
  for link, target in pairs({
    shared = "../shared", more = "../more", ["else"] = "../else", ["page.txt"] = "../shared/x.php",
    ["run.php"] = "../else/e.php",
  }) do
    assert(os.execute(("ln -s '%s' '%s/www/%s'"):format(target, dir, link)) == 0)
  end
  return dir
end

local ROUTE = [[
local php = require("moongate.php")
local dir = %q
local www, list = dir .. "/www", { dir .. "/www", dir .. "/shared/", dir .. "/more" }
list[2] = dir .. "/shared"
local function pages(within)
  return php.site { root = www, within = within, backend = "app" }
end
local decide = {
  list = function() return { root = www, within = list } end,
  one = function() return { root = www, within = dir } end,
  none = function() return { root = www } end,
  file = function(req) return { file = dir .. req.path } end,
  try = function() return { root = www, within = list, try = { "$path", "/a.txt" } } end,
  sitelist = pages(list), sitenone = pages(),
}
return {
  control = false,
  backends = { app = "unix:/nonexistent.sock" },
  on_request = function(req) return decide[req.args.kind](req) end,
}
]]

describe("moongate explain and moongate test", function()
  it("say what the server does, whatever `within` is", function()
    local dir = site()
    local s = server.start({ route = ROUTE:format(dir) })
    finally(function() s:stop() end)
    -- Each once in a spec, whose text is made here, and once in explain.
    local spec, count = {}, 0
    for _, kind in ipairs({ "list", "one", "none", "try", "sitelist", "sitenone", "file" }) do
      for _, path in ipairs({
        "/a.txt", "/sub/", "/sub", "/shared/b.txt", "/more/c.txt", "/else/d.txt", "/page.txt",
        "/shared/x.php", "/.env", "/.hidden/f.txt", "/none.txt",
      }) do
        local target = path .. "?kind=" .. kind
        local res = http.request(s.address, { path = target })
        local served = res.status == 503 and 200 or res.status -- nobody runs scripts here
        local result = server.command({ "explain", s.route_path, target, "--json" })
        assert.is_true(result.code == 0 or result.code == 1, result.stderr)
        local out = json.decode(result.stdout)
        local said = tonumber(out.verdict:match("^%d%d%d"))
          or out.decision.backend and 200 or tonumber(out.decision.status) or 200
        assert.equal(served, said, target .. ": " .. out.verdict)
        spec[#spec + 1] = ("it(%q, function() assert.equal(%d, status(%q)) end)"):format(target,
          res.status == 503 and 200 or res.status, target)
        count = count + 1
      end
    end
    stage.write(s.dir, { ["spec/route_spec.lua"] = ([[
      local route = require("moongate.testing").load(%q)
      local function status(url)
        local out = route:request({ url = url })
        return out.backend and 200 or out.status
      end
      ]]):format(s.route_path) .. table.concat(spec, "\n") })
    local result = server.command({ "test", s.route_path })
    assert.equal(count .. " passed, 0 failed\n", result.stdout, result.stderr)
  end)
end)

describe("moongate explain", function()
  local function explain(address)
    local dir = process.tempdir("route")
    stage.write(dir, { ["route.lua"] = ([[
      return { backends = { app = %q },
        on_request = function() return { backend = "app", docroot = "/srv" } end }]])
      :format(address) })
    return server.command({ "explain", dir .. "/route.lua", "/x.php" })
  end

  it("looks at the socket, says what is wrong with it and fails", function()
    local dir = process.tempdir("sockets")
    stage.write(dir, { ["file.sock"] = "" })
    for address, problem in pairs({
      [("unix:%s/none.sock"):format(dir)] = "No such file or directory %(is PHP%-FPM running",
      [("unix:%s/file.sock"):format(dir)] = "this is a file, not a socket",
      ["unix:" .. dir] = "this is a folder, not a socket",
      ["127.0.0.1:" .. net.free_port()] = "nobody listens there",
    }) do
      local result = explain(address)
      assert.equal(1, result.code, address)
      assert.matches("server " .. address:gsub("%p", "%%%0") .. ": " .. problem, result.stdout)
      assert.matches("503: no server of backend 'app' takes connections", result.stderr, 1, true)
    end
  end)

  it("says it of one that does not answer, however long a hook may run", function()
    local address, close = net.silent()
    finally(close)
    local result = explain(address)
    assert.equal(1, result.code)
    assert.truthy(result.stdout:find(("server %s: no connection within the time (is that machine "
      .. "up, and does a firewall let this one connect to that port?)"):format(address), 1, true),
      result.stdout .. result.stderr)
    assert.matches("503: no server of backend 'app' takes connections", result.stderr, 1, true)
  end)

  it("says of a sandbox that it is one, and what its failed hook is answered with", function()
    local dir = process.tempdir("route")
    stage.write(dir, { ["route.lua"] = [[
return {
  sandbox = true, script_errors = { on_request = { status = 410 } },
  on_request = function(req) return { status = req.path == "/no" and io.open("x") or 204 } end,
}]] })
    local path = dir .. "/route.lua"
    local result = server.command({ "explain", path, "/" })
    assert.equal(0, result.code, result.stderr)
    assert.truthy(result.stdout:find("\n  sandbox: the route has files below its folder alone, and "
      .. ("no programs, ffi or C modules (%s:2)\n"):format(path), 1, true), result.stdout)
    assert.truthy(result.stdout:find("\n  script_errors: where on_request fails, the response is "
      .. ("that of { status = 410 } (%s:2)\n"):format(path), 1, true), result.stdout)
    result = server.command({ "explain", path, "/no" })
    assert.equal(1, result.code)
    assert.matches("route.lua:3: .*io.*\nscript_errors: where on_request fails, the response is "
      .. "that of { status = 410 }\n", result.stderr)
  end)

  it("sends nothing to one that listens", function()
    local r = rig.start()
    finally(function() r:stop() end)
    local result = explain(r.back.address)
    assert.equal(0, result.code, result.stdout .. result.stderr)
    assert.same({}, r:events("START"))
  end)
end)

describe("moongate check", function()
  it("warns of a front controller that is not there", function()
    local dir = process.tempdir("route")
    stage.write(dir, { ["www/index.php"] = "<?php", ["route.lua"] = [[
      local php = require("moongate.php")
      local good = php.site { root = "www", backend = "app", front = "/index.php" }
      local bad = php.site { root = "www", backend = "app", front = "/app.php" }
      return { backends = { app = "127.0.0.1:9000" },
        on_request = function(req) return req.path == "/" and good(req) or bad(req) end }]] })
    local result = server.command({ "check", dir .. "/route.lua" })
    assert.equal(0, result.code)
    local _, lines = result.stderr:gsub("\n", "")
    assert.equal(1, lines, result.stderr)
    assert.matches("warning: php.site: front: there is no file .*/www/app%.php", result.stderr)
  end)
end)

describe("php.site", function()
  it("says why a link out of the root is 404, in the log once a second, and in explain", function()
    local dir = site()
    local r = rig.start({
      before = ([[local site = require("moongate.php").site {
        root = %q .. "/www", backend = "app" }]]):format(dir),
      on_request = "do return site(req) end",
    })
    finally(function() r:stop() end)
    local reason = ("%s/www/else/d.txt leads out of %s/www by a symlink, so it counts as missing; "
      .. "'within' names the folders that links may lead to"):format(dir, dir)
    local mark = r.server:mark()
    assert.equal(404, http.request(r.address, { path = "/else/d.txt" }).status)
    local line = r.server:wait_log("leads out of", 10, mark)
    assert.is_truthy(line:find("[warn]", 1, true), line)
    assert.is_truthy(line:find(reason, 1, true), line)
    assert.matches("; GET /else/d%.txt, request %x+, host localhost$", line)
    for _ = 1, 20 do
      http.request(r.address, { path = "/else/d.txt" })
    end
    local _, lines = r.server:errors():sub(mark + 1):gsub("leads out of", "")
    assert.is_true(lines < 5, lines .. " lines")
    local result = server.command({ "explain", r.server.route_path, "/else/d.txt" })
    assert.is_truthy(result.stdout:find(reason, 1, true), result.stdout)
  end)

  it("says so of a script, with path info and without", function()
    local dir = site()
    for _, path in ipairs({ "/run.php", "/run.php/info" }) do
      local r = rig.start({
        before = ([[local site = require("moongate.php").site {
          root = %q .. "/www", backend = "app" }]]):format(dir),
        on_request = "do return site(req) end",
      })
      finally(function() r:stop() end)
      assert.equal(404, http.request(r.address, { path = path }).status)
      r.server:wait_log("/www/run%.php leads out of")
    end
  end)

  it("says why it answers 403 or 404 at the level debug, and nothing at info", function()
    local dir = site()
    local before = ([[local site = require("moongate.php").site {
      root = %q .. "/www", backend = "app", never = "^/sub/", run = { "/index.php" },
    }]]):format(dir)
    local asked = {
      { "/none", 404, "there is nothing at " },
      { "/.env", 403, "dotfiles are neither served nor run: 403" },
      { "/sub/", 403, "/sub/ fits '^/sub/' of 'never': 403" },
    }
    for _, level in ipairs({ "debug", "info" }) do
      local r = rig.start({
        before = before, on_request = "do return site(req) end",
        settings = ("log = { level = %q }"):format(level),
      })
      finally(function() r:stop() end)
      for _, case in ipairs(asked) do
        local mark = r.server:mark()
        assert.equal(case[2], http.request(r.address, { path = case[1] }).status)
        if level == "debug" then
          r.server:wait_log("%[debug%].*" .. case[3]:gsub("%p", "%%%0"), 10, mark)
        else
          assert.equal("", r.server:errors():sub(mark + 1))
        end
      end
    end
  end)
end)
