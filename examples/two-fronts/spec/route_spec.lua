-- `moongate test examples/two-fronts/route.lua`

local route = require("moongate.testing").load("route.lua")

it("every page is PHP's, which learns who has asked it", function()
  local out = route:request { url = "http://localhost/basket" }
  assert.equal("app", out.backend)
  assert.equal("/index.php", out.params.SCRIPT_NAME)
  assert.equal("one", out.params.FRONT)
end)
