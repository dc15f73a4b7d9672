-- `moongate test examples/webdav/route.lua`

local route = require("moongate.testing").load("route.lua")

local function ask(method, path)
  return route:request { url = "http://localhost" .. path, method = method }
end

it("passes every method on", function()
  for method in ("GET PUT PROPFIND MKCOL MOVE LOCK REPORT SEARCH"):gmatch("%a+") do
    local out = ask(method, "/remote.php/dav/files/anna/.config/app.php")
    assert.equal("app", out.backend, method)
    assert.equal("/remote.php", out.params.SCRIPT_NAME)
    assert.equal("/dav/files/anna/.config/app.php", out.params.PATH_INFO)
    assert.equal(method, out.params.REQUEST_METHOD)
  end
end)

it("shows clients the way", function()
  local out = ask("PROPFIND", "/.well-known/caldav")
  assert.equal(301, out.status)
  assert.equal("/remote.php/dav/", out.headers.Location)
end)

it("keeps its own files to itself", function()
  assert.equal(403, ask("GET", "/config/config.php").status)
end)
