-- Specs of moongate.balance.sticky.

local new = require("moongate.balance.sticky").new
local servers_of = require("support.servers").new

describe("sticky", function()
  local pick, servers
  before_each(function()
    pick, servers = new({ name = "my app.1" }), servers_of(1, 1, 1)
  end)

  --- What a browser with these cookies gets.
  local function visit(cookies, list)
    return pick({ cookies = cookies }, list or servers, 1)
  end

  it("gives a first request a server in turn, and a cookie", function()
    local first, cookie = visit({})
    assert.equal("a", first.name)
    assert.matches("^moongate_my_app_1=%x%x%x%x%x%x%x%x; Path=/; HttpOnly; SameSite=Lax$", cookie)
    local second, other = visit({})
    assert.equal("b", second.name)
    assert.is_true(other ~= cookie)
  end)

  it("does not tell the address", function()
    local _, cookie = visit({})
    assert.is_nil(cookie:find("10.0.0", 1, true))
  end)

  it("sends the cookie's browser to the same server, and no second cookie", function()
    local first, cookie = visit({})
    local value = cookie:match("=(%x+);")
    for _ = 1, 5 do
      local server, again = visit({ moongate_my_app_1 = value })
      assert.equal(first, server)
      assert.is_nil(again)
    end
    -- Another worker, another order, the same server.
    local other = new({ name = "my app.1" })
    assert.equal(first, (other({ cookies = { moongate_my_app_1 = value } },
      { servers[3], servers[2], servers[1] }, 1)))
  end)

  it("takes another where that one is not there, and says so", function()
    local first, cookie = visit({})
    local value = cookie:match("=(%x+);")
    local server, new_cookie = visit({ moongate_my_app_1 = value }, { servers[2], servers[3] })
    assert.is_true(server ~= first)
    assert.matches("^moongate_my_app_1=%x+; Path=/", new_cookie)
    assert.equal(server, (visit({ moongate_my_app_1 = new_cookie:match("=(%x+);") })))
  end)

  it("takes a forged cookie for none", function()
    for _, value in ipairs({ "", "10.0.0.1:9000", "zzzzzzzz" }) do
      local server, cookie = visit({ moongate_my_app_1 = value })
      assert.is_table(server)
      assert.is_string(cookie)
    end
  end)
end)
