-- `moongate test examples/vhosts/route.lua`

local route = require("moongate.testing").load("route.lua")

local function ask(host)
  return route:request { url = "http://" .. host .. "/any/page" }
end

it("each host has its folder", function()
  for host, folder in pairs({ ["one.localhost"] = "one", ["www.one.localhost"] = "one",
    ["two.localhost"] = "two", ["anna.users.localhost"] = "users" }) do
    local out = ask(host)
    assert.equal("app", out.backend, host)
    assert.matches("/hosts/" .. folder .. "/index%.php$", out.params.SCRIPT_FILENAME)
  end
end)

it("other hosts have none", function()
  for _, host in ipairs({ "three.localhost", "users.localhost", "hosts" }) do
    assert.equal(302, ask(host).status, host)
  end
end)
