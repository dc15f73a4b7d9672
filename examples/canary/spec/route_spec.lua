-- `moongate test examples/canary/route.lua`

local route = require("moongate.testing").load("route.lua")

local function ask(method)
  return route:request { url = "/", method = method, headers = { ["X-Release"] = "next" } }
end

describe("the next release", function()
  it("is nobody's at first, but for testers", function()
    assert.equal("stable", route:request({ url = "/" }).backend)
    assert.equal("next", ask().backend)
  end)

  it("gives way to the stable one where it fails", function()
    assert.equal("stable", route:fail(ask(), "closed").backend)
    assert.equal("stable", route:respond(ask(), 500).backend)
    assert.equal(404, route:respond(ask(), 404).status)
  end)

  it("is not asked twice to do something", function()
    assert.equal(500, route:respond(ask("POST"), 500).status)
    assert.equal(502, route:fail(ask("POST"), "closed").status)
  end)
end)
