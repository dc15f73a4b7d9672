-- `moongate test examples/multiplex/route.lua`

local route = require("moongate.testing").load("route.lua")

it("everything is the application's, by RFC 3875", function()
  local out = route:request { url = "/any/page?token=1" }
  assert.equal("app", out.backend)
  assert.equal("token=1", out.params.QUERY_STRING)
  assert.equal("/any/page", out.params.PATH_INFO)
  assert.is_nil(out.params.REDIRECT_STATUS) -- which is for PHP
end)
