-- `moongate test examples/timeouts/route.lua`

local route = require("moongate.testing").load("route.lua")

it("a page has PHP's time and a little more of the proxy's", function()
  local out = route:request { url = "http://localhost/" }
  assert.matches("max_execution_time='2'", out.params.PHP_VALUE)
  assert.equal(4, out.decision.read_timeout)
end)

it("an export has more of both", function()
  local out = route:request { url = "http://localhost/export.php" }
  assert.matches("max_execution_time='30'", out.params.PHP_VALUE)
  assert.equal(32, out.decision.read_timeout)
end)
