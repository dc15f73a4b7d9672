-- `moongate test examples/hello/route.lua`

local route = require("moongate.testing").load("route.lua")

describe("the folder", function()
  it("has a page for PHP", function()
    local out = route:request { url = "/?name=Luna" }
    assert.equal("app", out.backend)
    assert.matches("/public/index%.php$", out.params.SCRIPT_FILENAME)
    assert.equal("name=Luna", out.params.QUERY_STRING)
  end)

  it("has files, and nothing else", function()
    assert.matches("/public/style%.css$", route:request({ url = "/style.css" }).file)
    assert.equal(404, route:request({ url = "/nothing" }).status)
  end)
end)
