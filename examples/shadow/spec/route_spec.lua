-- `moongate test examples/shadow/route.lua`

local route = require("moongate.testing").load("route.lua")

describe("the site", function()
  it("is served as if there were no shadow", function()
    local answer = route:request { url = "/report.php" }
    assert.equal("php74", answer.backend)
    assert.matches("/old/report%.php$", answer.params.SCRIPT_FILENAME)
    assert.equal(404, route:request({ url = "/no.php" }).status)
  end)
end)
