-- `moongate test examples/multi-php/route.lua`

local route = require("moongate.testing").load("route.lua")

--- The backend for a URL.
local function backend(url)
  return route:request({ url = url }).backend
end

it("a tenant has the version of its line", function()
  assert.equal("php74", backend("http://acme.localhost/"))
  assert.equal("php74", backend("http://www.acme.localhost/index.php/7"))
  assert.equal("php84", backend("http://wiki.localhost/"))
end)

it("a path has a version, whoever the tenant is", function()
  assert.equal("php84", backend("http://acme.localhost/next/"))
  assert.equal("php84", backend("http://acme.localhost/next/index.php"))
end)

it("a file of the site chooses for its folder", function()
  assert.equal("php82", backend("http://wiki.localhost/archive/"))
end)

it("each PHP gets the path that holds in its root; files are this machine's", function()
  local out = route:request { url = "http://acme.localhost/index.php/7" }
  local docroot = (os.getenv("SITES") or "/srv/sites") .. "/acme"
  assert.equal(docroot, out.params.DOCUMENT_ROOT)
  assert.equal(docroot .. "/index.php", out.params.SCRIPT_FILENAME)
  assert.matches("/sites/acme/style%.css$",
    route:request({ url = "http://acme.localhost/style.css" }).file)
end)

it("other hosts are nobody's", function()
  assert.equal(421, route:request({ url = "http://other.localhost/" }).status)
end)
