-- What the route decides, without a server and without PHP:
--
--     moongate test examples/tenants/route.lua

local testing = require("moongate.testing")

describe("tenants", function()
  local route = testing.load("route.lua")

  it("have each their own site and PHP", function()
    local out = route:request { url = "http://green.localhost/index.php/7?x=1" }
    assert.equal("php74", out.backend)
    assert.matches("/sites/green$", out.params.DOCUMENT_ROOT)
    assert.matches("/sites/green/index%.php$", out.params.SCRIPT_FILENAME)
    assert.equal("/7", out.params.PATH_INFO)
    assert.equal("green.localhost", out.params.TENANT)
  end)

  it("keep their files apart", function()
    local out = route:request { url = "http://blue.localhost/style.css" }
    assert.matches("/sites/blue/style%.css$", out.file)
    assert.equal(200, out.status)
    assert.equal(404, route:request({ url = "http://blue.localhost/green.css" }).status)
  end)

  it("are known by their host alone", function()
    local out = route:request { url = "http://red.localhost/" }
    assert.equal(404, out.status)
    assert.equal("There is no site of this name here.\n", out.body)
  end)
end)
