-- `moongate import`: some configurations of tests/import in their real servers, beside the routes
-- made of them; and
-- what the command says. `make test-import` runs all of them.

local http = require("tests.support.http")
local process = require("tests.support.process")
local server = require("tests.support.server")
local sidebyside = require("tests.support.sidebyside")

local SAMPLE = {
  nginx = { ["WordPress"] = true, ["Nextcloud"] = true, ["order of locations"] = true,
    ["compression"] = true },
  apache = { ["WordPress"] = true, ["Laravel"] = true,
    ["ProxyPass of a prefix to one application"] = true, ["compression"] = true },
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

  it("keeps what nginx kept", function()
    local folder = process.tempdir("cache")
    assert(os.execute("chmod 1777 " .. process.quote(folder)) == 0)
    local made = run("nginx", ([[
fastcgi_cache_path %s levels=1:2 keys_zone=pages:10m max_size=16m;
server {
  listen 8080; root %s; index index.php;
  set $skip 0;
  if ($request_method = POST) { set $skip 1; }
  if ($http_cookie ~* "logged_in") { set $skip 1; }
  location ~ \.php$ {
    fastcgi_pass %s;
    fastcgi_param SCRIPT_FILENAME $document_root$fastcgi_script_name;
    fastcgi_cache pages;
    fastcgi_cache_key "$scheme$request_method$host$request_uri";
    fastcgi_cache_valid 200 10m;
    fastcgi_cache_bypass $skip;
    fastcgi_no_cache $skip;
  }
}
]]):format(folder, site.root, site.php.address))
    assert.equal(0, made.code, made.stderr)
    local one = server.start({ route = made.stdout })
    finally(function() one:stop() end)
    local function result(method, cookie)
      return http.request(one.address, { method = method, path = "/info.php?x",
        headers = { Cookie = cookie }, body = method == "POST" and "a=b" or nil,
      }).headers["x-cache"]
    end
    assert.same({ "bypass", "miss", "hit", "hit", "bypass", "bypass" }, {
      result("GET", "logged_in=1"), result("GET"), result("GET"), result("GET", "other=1"),
      result("GET", "a=b; wp_LOGGED_in=1"), result("POST"),
    })
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
