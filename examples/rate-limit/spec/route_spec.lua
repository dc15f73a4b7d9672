-- `moongate test examples/rate-limit/route.lua`

local route = require("moongate.testing").load("route.lua")

local function ask(key)
  return route:request { url = "http://localhost/api/x", headers = { ["X-Api-Key"] = key } }
end

it("an API key may ask twenty times at once", function()
  for _ = 1, 20 do
    assert.equal("app", ask("k").backend)
  end
  assert.equal(429, ask("k").status)
  assert.equal("app", ask("another").backend)
end)
