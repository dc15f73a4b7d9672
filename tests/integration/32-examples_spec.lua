-- Every example of the project, started as its first comment says and used as its page invites to.

local http = require("tests.support.http")
local process = require("tests.support.process")
local server = require("tests.support.server")
local stage = require("tests.support.stage")

-- Starts an example with a private PHP.
local function start(name)
  local socket = process.tempdir("sock")
  return server.start({
    folder = "examples/" .. name,
    route = "route.lua",
    args = { "--php", "unix:" .. socket .. "/php.sock" },
  })
end

describe("examples", function()
  it("are all tried here", function()
    local list = process.run({ argv = { "ls", "examples" } }).stdout
    assert.equal("hello\nphp-site\ntenants\n", list)
  end)

  it("are all valid", function()
    for _, name in ipairs({ "hello", "php-site", "tenants" }) do
      local path = stage.copy("examples/" .. name) .. "/route.lua"
      local result = server.command({ "check", path })
      assert.equal("ok\n", result.stdout, result.stderr)
    end
  end)
end)

describe("hello", function()
  local gate

  setup(function()
    gate = start("hello")
  end)

  teardown(function()
    gate:stop()
  end)

  it("greets", function()
    local res = http.get(gate.address, "/?name=Luna+%26+Co")
    assert.equal(200, res.status)
    assert.truthy(res.body:find("Hello, Luna &amp; Co!", 1, true))
    assert.truthy(res.body:find(gate.dir .. "/public/index.php", 1, true))
    assert.equal("text/css", http.get(gate.address, "/style.css").headers["content-type"]
      :match("^[^;]+"))
  end)

  it("shows a changed page at once, though PHP keeps compiled pages", function()
    local page = process.quote(gate.dir .. "/public/index.php")
    assert.equal(0, os.execute("touch -d '1 hour ago' " .. page))
    for _ = 1, 20 do
      assert.equal(200, http.get(gate.address, "/").status)
    end
    stage.write(gate.dir, { ["public/index.php"] = "<?php echo 'changed';" })
    assert.equal("changed", http.get(gate.address, "/").body)
  end)
end)

describe("php-site", function()
  local gate

  setup(function()
    gate = start("php-site")
    stage.write(gate.dir, { ["public/uploads/evil.php"] = "<?php echo 'run';" })
  end)

  teardown(function()
    gate:stop()
  end)

  it("gives every address to the front controller", function()
    for path, status in pairs({
      ["/"] = 200, ["/page/one"] = 200, ["/index.php/two"] = 200, ["/nothing/here"] = 404,
    }) do
      local res = http.get(gate.address, path)
      assert.equal(status, res.status, path)
      assert.truthy(res.body:find("<code>" .. path .. "</code>", 1, true), path)
      assert.truthy(res.body:find("environment: <code>example</code>", 1, true))
      assert.equal("nosniff", res.headers["x-content-type-options"])
    end
    local res = http.get(gate.address, "/index.php/two")
    assert.truthy(res.body:find("PATH_INFO: <code>/two</code>", 1, true))
  end)

  it("serves files with a lifetime", function()
    local res = http.get(gate.address, "/style.css")
    assert.equal("public, max-age=3600", res.headers["cache-control"])
  end)

  it("runs nothing that was uploaded", function()
    assert.equal(200, http.get(gate.address, "/uploads/readme.txt").status)
    for _, path in ipairs({ "/uploads/evil.php", "/uploads/evil.php/x" }) do
      local res = http.get(gate.address, path)
      assert.equal(403, res.status, path)
      assert.is_nil(res.body:find("run", 1, true))
    end
  end)
end)

describe("tenants", function()
  local gate

  setup(function()
    gate = start("tenants")
  end)

  teardown(function()
    gate:stop()
  end)

  it("shows each host its own site", function()
    for _, colour in ipairs({ "blue", "green" }) do
      local host = colour .. ".localhost"
      local res = http.request(gate.address, { path = "/", host = host })
      assert.equal(200, res.status)
      assert.truthy(res.body:find(("The %s site"):format(colour), 1, true))
      assert.truthy(res.body:find(("Tenant <code>%s</code>"):format(host), 1, true))
    end
  end)

  it("knows no other host", function()
    local res = http.request(gate.address, { path = "/", host = "red.localhost" })
    assert.equal(404, res.status)
    assert.equal("There is no site of this name here.\n", res.body)
  end)
end)
