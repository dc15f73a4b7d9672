-- `moongate test examples/mediawiki/route.lua`

local route = require("moongate.testing").load("route.lua")

local function ask(path)
  return route:request { url = "http://localhost" .. path }
end

it("finds pages by their title, whatever it looks like", function()
  for _, title in ipairs({ "Main_Page", "AC/DC", "index.php", "A.B.css", "C++" }) do
    local out = ask("/wiki/" .. title)
    assert.matches("/w/index%.php$", out.params.SCRIPT_FILENAME, title)
    assert.equal("/wiki/" .. title, out.params.REQUEST_URI)
  end
end)

it("runs its entry points", function()
  local out = ask("/w/rest.php/v1/page/Earth")
  assert.matches("/w/rest%.php$", out.params.SCRIPT_FILENAME)
  assert.equal("/v1/page/Earth", out.params.PATH_INFO)
end)

it("runs nothing else", function()
  assert.equal(404, ask("/w/install.php").status)
  assert.equal(403, ask("/w/images/evil.php").status)
  assert.equal(403, ask("/w/includes/Setup.php").status)
  assert.equal(200, ask("/w/resources/site.css").status)
end)
