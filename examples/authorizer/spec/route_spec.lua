-- What the route decides, without a server and without PHP:
--
--     moongate test examples/authorizer/route.lua

local testing = require("moongate.testing")

describe("the site", function()
  local route = testing.load("route.lua")

  it("asks before pages, files and what is not there", function()
    for path, kind in pairs({ ["/"] = "fastcgi", ["/notes.txt"] = "file", ["/none"] = "reply" }) do
      local out = route:request { url = path }
      assert.equal(kind, out.kind)
      assert.equal("php", out.authorize.backend)
      assert.matches("/auth/auth%.php$", out.authorize.params.SCRIPT_FILENAME)
      assert.equal(path, out.authorize.params.REQUEST_URI)
    end
  end)
end)
