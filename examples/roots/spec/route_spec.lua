-- `moongate test examples/roots/route.lua`

local route = require("moongate.testing").load("route.lua")

describe("the shop", function()
  it("is found here and named as PHP finds it", function()
    local out = route:request { url = "http://localhost/shop/cart.php/7" }
    assert.equal("app", out.backend)
    assert.equal("/app/public", out.params.DOCUMENT_ROOT)
    assert.equal("/app/public/cart.php", out.params.SCRIPT_FILENAME)
    assert.equal("/app/public/cart.php", out.params.PATH_TRANSLATED)
    assert.equal("/shop/cart.php", out.params.SCRIPT_NAME)
    assert.equal("/7", out.params.PATH_INFO)
  end)

  it("has its files here", function()
    assert.matches("/public/style%.css$",
      route:request({ url = "http://localhost/shop/style.css" }).file)
    assert.equal(404, route:request({ url = "http://localhost/style.css" }).status)
  end)
end)
