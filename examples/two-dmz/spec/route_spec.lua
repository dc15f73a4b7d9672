-- `moongate test examples/two-dmz/route.lua`

local route = require("moongate.testing").load("route.lua")

it("pages are run where PHP is, by the path that holds there", function()
  local out = route:request { url = "http://localhost/cart/7" }
  local docroot = os.getenv("APP_DOCROOT") or "/srv/app/public"
  assert.equal("app", out.backend)
  assert.equal(docroot, out.params.DOCUMENT_ROOT)
  assert.equal(docroot .. "/index.php", out.params.SCRIPT_FILENAME)
end)

it("files are served from here", function()
  local out = route:request { url = "http://localhost/assets/style.css" }
  assert.matches("/public/assets/style%.css$", out.file)
end)
