-- `moongate test examples/balance/route.lua`

local route = require("moongate.testing").load("route.lua")

describe("a page", function()
  it("is PHP's, of one of two pools", function()
    local out = route:request { url = "http://localhost/" }
    assert.equal("app", out.backend)
    assert.equal(2, #out.servers)
    assert.equal("/index.php", out.params.SCRIPT_NAME)
  end)

  it("is 503 when neither can be reached", function()
    assert.equal(503, route:fail({ url = "/" }, "connect").status)
  end)
end)
