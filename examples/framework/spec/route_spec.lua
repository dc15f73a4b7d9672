-- `moongate test examples/framework/route.lua`

local route = require("moongate.testing").load("route.lua")

local function ask(path)
  return route:request { url = "http://localhost" .. path }
end

it("gives every address to the front controller", function()
  for _, path in ipairs({ "/", "/articles/7", "/index.php/articles", "/no.such.file" }) do
    local out = ask(path)
    assert.equal("app", out.backend, path)
    assert.equal("/index.php", out.params.SCRIPT_NAME, path)
    assert.equal("production", out.params.APP_ENV)
  end
end)

it("serves files, those with a hash for long", function()
  local out = ask("/build/app.1a2b3c.css")
  assert.equal(200, out.status)
  assert.equal("public, max-age=31536000, immutable", out.headers["Cache-Control"])
end)

it("runs no other script", function()
  assert.equal(404, ask("/other.php").status)
  assert.equal(403, ask("/storage/a.php").status)
end)
