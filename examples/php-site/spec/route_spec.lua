-- `moongate test examples/php-site/route.lua`

local route = require("moongate.testing").load("route.lua")

describe("the site", function()
  it("gives any address to its front controller", function()
    local out = route:request { url = "/any/address" }
    assert.equal("/index.php", out.params.SCRIPT_NAME)
    assert.equal("/any/address", out.params.REQUEST_URI)
    assert.equal("example", out.params.APP_ENV)
    assert.equal("/two", route:request({ url = "/index.php/two" }).params.PATH_INFO)
  end)

  it("sends files, and runs none that was uploaded", function()
    local out = route:request { url = "/style.css" }
    assert.equal("public, max-age=3600", out.headers["Cache-Control"])
    assert.equal(200, route:request({ url = "/uploads/readme.txt" }).status)
    assert.equal(403, route:request({ url = "/uploads/evil.php" }).status)
    assert.equal(403, route:request({ url = "/uploads/evil.phtml/x" }).status)
  end)

  it("has a header of ours on each answer", function()
    local out = route:respond({ url = "/" }, 200, { ["Content-Type"] = "text/html" })
    assert.equal("nosniff", out.headers["X-Content-Type-Options"])
  end)
end)
