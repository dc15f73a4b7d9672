-- Specs of examples/: each loads, and decides as its header says. The real folders are looked at.

local load = require("moongate.route.load")
local real_fs = require("moongate.base.fs")
local req = require("support.req")

--- What lies at a path, without the program: `test` of the shell knows.
local function what(path)
  local quoted = "'" .. path:gsub("'", "'\\''") .. "'"
  return os.execute("test -f " .. quoted) == 0 and "file"
    or os.execute("test -d " .. quoted) == 0 and "directory" or nil
end

describe("the example", function()
  local saved, here
  setup(function()
    local pipe = assert(io.popen("pwd"))
    here = pipe:read("*l")
    pipe:close()
    saved = { probe = real_fs.probe, stat = real_fs.stat, getcwd = real_fs.getcwd }
    real_fs.stat = what
    real_fs.getcwd = function()
      return here
    end
    real_fs.probe = function(root, path)
      return what(root .. path)
    end
  end)
  teardown(function()
    for name, fn in pairs(saved) do
      real_fs[name] = fn
    end
  end)

  --- What an example decides.
  local function decide(name, target, fields)
    local settings = load.route(("%s/examples/%s/route.lua"):format(here, name))
    return settings.hooks.on_request(req.get(target, fields))
  end

  it("hello runs its page and serves its style", function()
    local root = here .. "/examples/hello/public"
    local d, script = decide("hello", "/")
    assert.equal("app", d.backend)
    assert.equal(root, d.root)
    assert.equal("/index.php", script)
    assert.same({ root = root }, (decide("hello", "/style.css")))
    assert.same({ status = 404 }, (decide("hello", "/nothing")))
  end)

  it("php-site has a front controller and runs no uploads", function()
    local d, script, path_info = decide("php-site", "/any/address")
    assert.equal("app", d.backend)
    assert.equal("/index.php", script)
    assert.is_nil(path_info)
    d, script, path_info = decide("php-site", "/index.php/two")
    assert.equal("app", d.backend)
    assert.equal("/index.php", script)
    assert.equal("/two", path_info)
    assert.equal("public, max-age=3600", (decide("php-site", "/style.css")).cache_control)
    assert.equal("public, max-age=3600", (decide("php-site", "/uploads/readme.txt")).cache_control)
    assert.same({ status = 403 }, (decide("php-site", "/uploads/evil.php")))
    assert.same({ status = 403 }, (decide("php-site", "/uploads/evil.phtml")))
  end)

  it("tenants goes by host", function()
    local d, script = decide("tenants", "/", { host = "blue.localhost" })
    assert.equal("php82", d.backend)
    assert.equal("blue", d.tenant)
    assert.equal(here .. "/examples/tenants/sites/blue", d.root)
    assert.equal("/index.php", script)
    assert.equal("php74", (decide("tenants", "/", { host = "green.localhost" })).backend)
    assert.equal(404, (decide("tenants", "/", { host = "red.localhost" })).status)
  end)
end)
