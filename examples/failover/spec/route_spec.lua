-- `moongate test examples/failover/route.lua`

local health = require("moongate.health")
local route = require("moongate.testing").load("route.lua")

describe("a visitor", function()
  after_each(function()
    health.assume("main", true)
    health.assume("spare", true)
  end)

  it("is sent to main", function()
    assert.equal("main", route:request({ url = "/" }).backend)
  end)

  it("is sent to spare while main is down, and sees a page while both are", function()
    health.assume("main", false)
    assert.equal("spare", route:request({ url = "/" }).backend)
    health.assume("spare", false)
    local out = route:request { url = "/" }
    assert.equal(503, out.status)
    assert.equal("We are back in a moment.\n", out.body)
  end)

  it("does not notice that main has just gone", function()
    local out = route:fail({ url = "/", method = "POST", body = "a=1" }, "connect")
    assert.equal("spare", out.backend)
    assert.equal(503, route:fail(out, "connect").status)
  end)

  it("sees the error of an application that fails", function()
    assert.equal(504, route:fail({ url = "/" }, "timeout").status)
    assert.equal(500, route:respond({ url = "/" }, 500).status)
  end)
end)
