-- `moongate test examples/wordpress/route.lua`

local route = require("moongate.testing").load("route.lua")

local function ask(path, method)
  return route:request { url = "http://localhost" .. path, method = method }
end

it("finds permalinks and the dashboard", function()
  assert.equal("/index.php", ask("/2026/01/hello-world/").params.SCRIPT_NAME)
  assert.equal("/wp-admin/index.php", ask("/wp-admin/").params.SCRIPT_NAME)
end)

it("has no address for what is not meant to have one", function()
  for _, path in ipairs({ "/xmlrpc.php", "/wp-config.php", "/wp-includes/load.php",
    "/wp-content/uploads/evil.php", "/wp-content/uploads/evil.php/x" }) do
    assert.equal(403, ask(path).status, path)
  end
  assert.equal(200, ask("/wp-content/uploads/a.txt").status)
end)

it("lets nobody guess passwords for long", function()
  for _ = 1, 10 do
    assert.equal("app", ask("/wp-login.php", "POST").backend)
  end
  local out = ask("/wp-login.php", "POST")
  assert.equal(429, out.status)
  assert.truthy(out.headers["Retry-After"])
  assert.equal("app", ask("/wp-login.php").backend)
end)
