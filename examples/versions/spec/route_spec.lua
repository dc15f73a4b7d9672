-- `moongate test examples/versions/route.lua`

local route = require("moongate.testing").load("route.lua")

--- The backend for a URL.
local function backend(url)
  return route:request({ url = url }).backend
end

it("a host has a version", function()
  assert.equal("php82", backend("http://new.localhost/"))
  assert.equal("php74", backend("http://old.localhost/"))
end)

it("a path has another one", function()
  assert.equal("php82", backend("http://old.localhost/next/index.php"))
end)

it("a file in the site chooses for its folder", function()
  assert.equal("php82", backend("http://choice.localhost/"))
  assert.equal("php74", backend("http://choice.localhost/legacy/"))
  local out = route:request { url = "http://choice.localhost/legacy/.php-version" }
  assert.not_equal(200, out.status)
end)
