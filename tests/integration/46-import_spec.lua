-- `moongate import`: some configurations of tests/import in their real servers, beside the routes
-- made of them; and
-- what the command says. `make test-import` runs all of them.

local process = require("tests.support.process")
local server = require("tests.support.server")
local sidebyside = require("tests.support.sidebyside")

local SAMPLE = {
  nginx = { ["WordPress"] = true, ["Nextcloud"] = true, ["order of locations"] = true },
  apache = { ["WordPress"] = true, ["Laravel"] = true,
    ["ProxyPass of a prefix to one application"] = true },
}

describe("moongate import", function()
  local site

  setup(function()
    site = sidebyside.site()
  end)

  teardown(function()
    if site then
      site.php:stop()
    end
  end)

  for _, kind in ipairs({ "nginx", "apache" }) do
    for _, case in ipairs((require("tests.import." .. kind))) do
      if SAMPLE[kind][case.name] then
        it(("%s: %s: both answer alike"):format(kind, case.name), function()
          assert.equal(#case.urls, sidebyside.compare(site, case))
        end)
      end
    end
  end

  local function run(kind, text, ...)
    local path = process.tempdir("conf") .. "/site.conf"
    process.write_file(path, text)
    return server.command({ "import", kind, path, ... }), path
  end

  it("writes a route that `check` accepts", function()
    local out = process.tempdir("out") .. "/route.lua"
    local made = run("nginx",
      ("server { root %s; index index.php; location ~ \\.php$ { fastcgi_pass %s; } }"):format(
      site.root, site.php.address), "-o", out)
    assert.equal(0, made.code, made.stderr)
    assert.matches("1 server%(s%), 1 backend%(s%)", made.stderr)
    local checked = server.command({ "check", out })
    assert.equal("ok\n", checked.stdout, checked.stderr)
    -- It never replaces a file.
    local again = run("nginx", "server { }", "-o", out)
    assert.equal(1, again.code)
    assert.matches("is there already", again.stderr)
  end)

  it("says where a configuration is no good", function()
    local made, path = run("nginx", "server {\n  listen 80;\n  root /srv\n}\n")
    assert.equal(1, made.code)
    assert.matches(path .. ":3: ", made.stderr, 1, true)
    made, path = run("apache", "DocumentRoot /srv\n<Directory /srv>\n")
    assert.equal(1, made.code)
    assert.matches(path .. ":2: </Directory> is missing", made.stderr, 1, true)
    made, path = run("nginx", "include site.conf;\n")
    assert.equal(1, made.code)
    assert.matches(path .. ":1: " .. path .. " includes itself", made.stderr, 1, true)
    made = server.command({ "import", "nginx", "/nonexistent/nginx.conf" })
    assert.equal(1, made.code)
    assert.matches("/nonexistent/nginx.conf", made.stderr, 1, true)
    assert.equal(2, server.command({ "import", "iis", path }).code)
  end)
end)
