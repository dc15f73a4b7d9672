-- `moongate test examples/prefix/route.lua`

local route = require("moongate.testing").load("route.lua")

describe("what is below the prefix", function()
  it("is the application's", function()
    local out = route:request { url = "http://localhost/myapp/any/page?x=1" }
    assert.equal("app", out.backend)
    assert.equal("/myapp", out.params.SCRIPT_NAME)
    assert.equal("/any/page", out.params.PATH_INFO)
    assert.equal("/myapp/any/page?x=1", out.params.REQUEST_URI)
    assert.equal("shy", route:request({ url = "http://localhost/shy/x.php" }).backend)
  end)

  it("does not begin in the middle of a name", function()
    assert.equal(404, route:request({ url = "http://localhost/myapplication" }).status)
  end)
end)
