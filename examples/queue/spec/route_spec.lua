-- `moongate test examples/queue/route.lua`

local route = require("moongate.testing").load("route.lua")

describe("a site", function()
  it("is known by its host, and waits in its own turn", function()
    for _, host in ipairs({ "blue.localhost", "green.localhost" }) do
      local out = route:request { url = "http://" .. host .. "/" }
      assert.equal("app", out.backend)
      assert.equal(host, out.decision.tenant)
    end
  end)

  it("is 503 when the queue is full", function()
    assert.equal(503, route:fail({ url = "http://blue.localhost/" }, "busy").status)
  end)
end)
