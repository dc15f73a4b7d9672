-- `moongate test examples/maintenance/route.lua`

local route = require("moongate.testing").load("route.lua")

it("the shop is open", function()
  assert.equal("app", route:request({ url = "http://localhost/cart" }).backend)
end)
