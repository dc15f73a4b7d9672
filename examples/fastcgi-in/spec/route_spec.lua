-- `moongate test examples/fastcgi-in/route.lua`

local route = require("moongate.testing").load("route.lua")

it("the host decides which PHP runs a page", function()
  for host, backend in pairs({ ["new.example"] = "newer", ["any.example"] = "older" }) do
    local out = route:request { url = "http://" .. host .. "/some/page" }
    assert.equal(backend, out.backend)
    assert.equal(backend, out.params.CHOSEN_PHP)
    assert.equal("/index.php", out.params.SCRIPT_NAME)
  end
end)
