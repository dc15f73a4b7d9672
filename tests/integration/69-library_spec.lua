-- Modules of the library that answer in front of a site, or on top of what it answers: the page for
-- maintenance, set by a command for all workers; headers and CORS on whatever is answered.

local http = require("tests.support.http")
local rig = require("tests.support.rig")
local stage = require("tests.support.stage")

local BEFORE = [[
local maintenance = require("moongate.maintenance")
local headers = require("moongate.headers")
local cors = require("moongate.cors")
local closed = maintenance.new { name = "shop", page = %q, retry_after = "10m",
  allow = { "127.0.0.2" }, except = "^/health$" }
local site = headers.wrap(function(req)
  local closed_now = closed(req)
  if closed_now then
    return closed_now
  elseif req.path == "/file.txt" or req.path == "/missing" then
    return { root = %q }
  elseif req.path == "/none" then
    return nil
  elseif req.path == "/down" then
    return { backend = "down" }
  elseif req.path == "/big" then
    return { backend = "app", body_limit = 3 }
  elseif req.path == "/away" then
    return { redirect = "/" }
  end
  return { backend = "app", docroot = "/srv/app" }
end, { ["X-Mine"] = "yes" })
local open = cors.wrap(site, { origins = "https://app.example" })
]]

local function start(options)
  local root = stage.files({ ["file.txt"] = "text", ["soon.html"] = "<p>soon</p>" })
  options = options or {}
  options.before = BEFORE:format(root .. "/soon.html", root)
  options.backends = 'down = "unix:/nonexistent/x.sock"'
  options.on_request = "do return open(req) end"
  options.control = true
  return rig.start(options)
end

describe("maintenance", function()
  it("is set for all workers, and stays over a reload and the end of a worker", function()
    local r = start({ workers = 2 })
    finally(function() r:stop() end)
    local function all(status)
      for _ = 1, 20 do
        assert.equal(status, http.get(r.address, "/x.php").status)
      end
    end
    all(200)
    assert.equal("maintenance.shop is on\n", r:tell("set", "maintenance.shop", "on"))
    all(503)
    local res = http.request(r.address, { path = "/x.php", method = "POST", body = "a=1" })
    assert.equal(503, res.status)
    assert.equal("<p>soon</p>", res.body)
    assert.equal("600", res.headers["retry-after"])
    assert.equal("no-store", res.headers["cache-control"])
    assert.equal(200, http.get(r.address, "/health").status)
    assert.equal("on", r:status().values["maintenance.shop"])
    assert.truthy(r:tell("status"):find("\nmaintenance.shop is on\n", 1, true))
    r:tell("reload")
    all(503)
    r:tell("set", "maintenance.shop", "off")
    all(200)
  end)

  it("says what can't be set", function()
    local r = start()
    finally(function() r:stop() end)
    local result = r:command("set", "maintenance.shpo", "on")
    assert.equal(1, result.code)
    assert.equal("moongate: the route has no value 'maintenance.shpo'; did you mean "
      .. "'maintenance.shop'?\n", result.stderr)
    result = r:command("set", "maintenance.shop", "maybe")
    assert.equal("moongate: maintenance.shop: expected \"on\" or \"off\", got 'maybe'\n",
      result.stderr)
  end)
end)

describe("headers that are always there", function()
  it("stand on whatever is sent, after all hooks", function()
    local root = stage.files({ ["file.txt"] = "text", ["index.php"] = "<?php",
      [".hidden"] = "x" })
    local r = rig.start({
      before = ([[
local php = require("moongate.php")
local headers = require("moongate.headers")
local ALWAYS = { ["Cache-Control"] = "no-store", ["X-Mine"] = "always" }
local site = php.site { root = %q, backend = "app", always = ALWAYS,
  static = { cache_control = "max-age=60" } }
local other = headers.always(function(req)
  if req.path == "/none" then
    return nil
  elseif req.path == "/down" then
    return { backend = "down" }
  elseif req.path == "/big" then
    return { backend = "app", body_limit = 3 }
  elseif req.path == "/away" then
    return { redirect = "/", always = { ["X-Mine"] = "own" } }
  elseif req.path == "/app.php" then
    return { backend = "app", docroot = "/srv" }
  end
  return site(req)
end, ALWAYS)
]]):format(root),
      backends = 'down = "unix:/nonexistent/x.sock"',
      settings = [[
on_response = function(req, res)
  res.headers["X-Mine"] = "hook"
  if req.path == "/app.php" and req.query == "status=500" then
    return { status = 418 }
  end
end]],
      on_request = "do return other(req) end",
    })
    finally(function() r:stop() end)
    local tag = http.get(r.address, "/file.txt").headers.etag
    for _, case in ipairs({
      { 200, "/app.php" }, { 404, "/app.php?status=404" }, { 418, "/app.php?status=500" },
      { 200, "/file.txt" }, { 404, "/missing.txt" }, { 403, "/.hidden" },
      { 304, "/file.txt", { headers = { ["If-None-Match"] = tag } } },
      { 405, "/file.txt", { method = "POST", body = "x" } }, { 404, "/none" }, { 503, "/down" },
      { 413, "/big", { method = "POST", body = "four" } }, { 302, "/away" },
      { 200, "/index.php?header=Cache-Control:public&header=X-Mine:app" },
    }) do
      local request = { path = case[2] }
      for key, value in pairs(case[3] or {}) do
        request[key] = value
      end
      local res = http.request(r.address, request)
      assert.equal(case[1], res.status, case[2])
      assert.equal(case[2] == "/away" and "own" or "always", res.headers["x-mine"], case[2])
      assert.equal("no-store", res.headers["cache-control"], case[2])
    end
  end)
end)

describe("headers and CORS", function()
  it("are on whatever is answered", function()
    local r = start()
    finally(function() r:stop() end)
    local file = http.get(r.address, "/file.txt")
    for _, case in ipairs({
      { 200, "/x.php" }, { 404, "/x.php?status=404" }, { 200, "/file.txt" }, { 404, "/missing" },
      { 304, "/file.txt", { headers = { ["If-None-Match"] = file.headers.etag } } },
      { 405, "/file.txt", { method = "POST", body = "x" } }, { 404, "/none" }, { 503, "/down" },
      { 413, "/big", { method = "POST", body = "four" } }, { 302, "/away" },
    }) do
      local request = { path = case[2], headers = {} }
      for key, value in pairs(case[3] or {}) do
        request[key] = value
      end
      request.headers.Origin = "https://app.example"
      local res = http.request(r.address, request)
      assert.equal(case[1], res.status, case[2])
      assert.equal("yes", res.headers["x-mine"], case[2])
      assert.equal("https://app.example", res.headers["access-control-allow-origin"], case[2])
      assert.equal("Origin", res.headers.vary, case[2])
    end
  end)

  it("leave what the application says of Vary", function()
    local r = start()
    finally(function() r:stop() end)
    local res = r:get("header=Vary:Cookie", { headers = { Origin = "https://app.example" } })
    assert.equal("Cookie, Origin", res.headers.vary)
  end)

  it("answer preflights without the application", function()
    local r = start()
    finally(function() r:stop() end)
    local res = http.request(r.address, { path = "/down", method = "OPTIONS", headers = {
      Origin = "https://app.example", ["Access-Control-Request-Method"] = "POST",
    } })
    assert.equal(204, res.status)
    assert.equal("GET, HEAD, POST", res.headers["access-control-allow-methods"])
    assert.equal("https://app.example", res.headers["access-control-allow-origin"])
  end)
end)
