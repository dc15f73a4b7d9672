-- `moongate test examples/sticky/route.lua`

local route = require("moongate.testing").load("route.lua")

it("every page is PHP's, of one of two servers", function()
  local out = route:request { url = "http://localhost/basket" }
  assert.equal("app", out.backend)
  assert.equal("/index.php", out.params.SCRIPT_NAME)
end)
