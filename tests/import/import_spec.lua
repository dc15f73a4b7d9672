-- Every configuration of this folder in its real server, beside the route that `moongate import`
-- makes of it; run by
-- `make test-import`. Some of them are part of `make test`: tests/integration/46-import_spec.lua.

local sidebyside = require("tests.support.sidebyside")

for _, kind in ipairs({ "nginx", "apache" }) do
  describe("moongate import " .. kind, function()
    local site

    setup(function()
      site = sidebyside.site()
    end)

    teardown(function()
      site.php:stop()
    end)

    for _, case in ipairs((require("tests.import." .. kind))) do
      it(case.name .. ": both answer alike", function()
        local count = sidebyside.compare(site, case)
        assert.equal(#case.urls, count)
      end)
    end
  end)
end
