-- `moongate test examples/errors/route.lua`

local route = require("moongate.testing").load("route.lua")

describe("a failure", function()
  it("is one page for all, with the status", function()
    for kind, status in pairs({ timeout = 504, closed = 502, protocol = 502 }) do
      local out = route:fail({ url = "/" }, kind)
      assert.equal(status, out.status)
      assert.matches("This does not work at the moment", out.body)
      assert.matches("name this number: %x+", out.body)
    end
  end)

  it("of PHP itself is shown likewise, and only that", function()
    assert.matches("no such page here", route:respond({ url = "/" }, 404).body)
    assert.equal(500, route:respond({ url = "/" }, 500).status)
    assert.equal(403, route:respond({ url = "/" }, 403, {}, "PHP's").status)
  end)

  it("of the archive is the other backend's to answer", function()
    assert.equal("archive", route:request({ url = "/archive" }).backend)
    assert.equal("main", route:fail({ url = "/archive", method = "POST" }, "connect").backend)
    assert.equal(504, route:fail({ url = "/archive" }, "timeout").status)
  end)
end)
