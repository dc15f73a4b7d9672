-- Specs of moongate.decision.pages, and of the on_error that load makes of it.

local load = require("moongate.route.load")
local req = require("support.req")
local fake_fs = require("support.fs")

describe("pages for errors", function()
  local function settings_of(more)
    local fs = fake_fs.new({ "/srv/index.php" })
    return load.source(([[
      local php = require("moongate.php")
      local fs = ...
      return {
        backends = { app = "127.0.0.1:9000" },
        on_request = function(req)
          return php.site({ root = "/srv", backend = "app" })(req)
        end,
        %s
      }]]):format(more), "route.lua", nil, fs)
  end

  it("cost nothing where no site has them", function()
    assert.is_nil(settings_of("").hooks.on_error)
  end)

  it("stand behind the route's own on_error", function()
    local pages = require("moongate.decision.pages")
    local r = req.get("/")
    pages.note(r, { errors = { [502] = "/502.html", [503] = { status = 503 } }, root = "/srv" })
    local on_error = pages.behind(nil)
    assert.same({ root = "/srv", path = "/502.html" }, on_error(r, { status = 502 }))
    assert.same({ status = 503 }, on_error(r, { status = 503 }))
    assert.is_nil(on_error(r, { status = 504 }))
    assert.is_nil(on_error(req.get("/"), { status = 502 }))
    on_error = pages.behind(function(_, err)
      return err.status == 502 and { status = 500 } or nil
    end)
    assert.same({ status = 500 }, on_error(r, { status = 502 }))
    assert.same({ status = 503 }, on_error(r, { status = 503 }))
    -- A refusal of the server's own is not the route's to answer.
    assert.same({ root = "/srv", path = "/502.html" },
      on_error(r, { status = 502, kind = "refused" }))
  end)
end)
