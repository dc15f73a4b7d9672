-- Specs of moongate.cli.origins.

local origins = require("moongate.cli.origins")

describe("the origin of a param", function()
  local known
  before_each(function()
    known = {
      decision = { root = "/srv", params = { A = "b" } }, source = "r.lua:2",
      backend = { name = "app", docroot = "/app" }, before = { A = "b", C = "d" },
      on_params = "r.lua:9",
    }
  end)

  local function of(name, value)
    return origins.of(name, value or known.before[name], known)
  end

  it("is the hook that changed it, else what named it", function()
    assert.equal("on_params at r.lua:9", of("C", "e"))
    assert.equal("on_params at r.lua:9", of("NEW", "e"))
    assert.equal("params of the decision at r.lua:2", of("A"))
    known.on_params = nil
    assert.equal("ini of backend 'app'", of("PHP_VALUE", "x"))
    known.decision.ini = {}
    assert.equal("ini of the decision and its backend", of("PHP_VALUE", "x"))
  end)

  it("is the folder that counts", function()
    known.on_params = nil
    assert.equal("docroot of backend 'app', and the script", of("SCRIPT_FILENAME", "/x"))
    known.decision.docroot = "/d"
    assert.equal("docroot of the decision", of("DOCUMENT_ROOT", "/x"))
    known.decision.script_filename = "/y"
    assert.equal("script_filename of the decision", of("SCRIPT_FILENAME", "/x"))
  end)

  it("is a header, or the request", function()
    known.on_params = nil
    assert.equal("header X-Some-Thing", of("HTTP_X_SOME_THING", "x"))
    assert.equal("the request", of("QUERY_STRING", ""))
    assert.equal("the default", of("SOMETHING", ""))
  end)
end)
