-- `moongate test examples/dokuwiki/route.lua`

local route = require("moongate.testing").load("route.lua")

it("/ leads to the wiki", function()
  local out = route:request { url = "http://localhost/" }
  assert.equal(302, out.status)
  assert.equal("/wiki/", out.headers.Location)
end)

it("its parts have no address", function()
  for _, path in ipairs({ "/wiki/inc/init.php", "/wiki/data/pages/start.txt",
    "/wiki/conf/users.auth.php" }) do
    assert.is_true(route:request({ url = "http://localhost" .. path }).status >= 403, path)
  end
end)
