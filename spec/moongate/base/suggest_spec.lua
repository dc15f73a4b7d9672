-- Specs of moongate.base.suggest.

local suggest = require("moongate.base.suggest")

describe("suggest.distance", function()
  it("counts edits", function()
    assert.equal(0, suggest.distance("root", "root"))
    assert.equal(1, suggest.distance("rot", "root"))
    assert.equal(1, suggest.distance("roots", "root"))
    assert.equal(1, suggest.distance("orot", "root"))
    assert.equal(1, suggest.distance("inof", "info"))
    assert.equal(2, suggest.distance("toor", "root"))
    assert.equal(4, suggest.distance("", "root"))
    assert.equal(3, suggest.distance("kitten", "sitting"))
  end)
end)

describe("suggest.nearest", function()
  it("takes the keys of a set or the values of a list", function()
    assert.equal("backends", suggest.nearest("backend", { backends = true, listen = true }))
    assert.equal("backends", suggest.nearest("bakcends", { "listen", "backends" }))
  end)

  it("compares no word that is far too long", function()
    local before = suggest.distance
    local compared = 0
    suggest.distance = function(...)
      compared = compared + 1
      return before(...)
    end
    finally(function() suggest.distance = before end)
    assert.is_nil(suggest.nearest(("a"):rep(3 * 1024 ^ 2), { "listen", ("a"):rep(3 * 1024 ^ 2) }))
    assert.is_nil(suggest.nearest(("a"):rep(60), { "listen", "backends" }))
    assert.equal(0, compared)
    assert.equal("listen", suggest.nearest("lissen", { "listen", "backends" }))
    assert.equal(2, compared)
  end)

  it("ignores letter case", function()
    assert.equal("listen", suggest.nearest("Listen", { "listen" }))
  end)

  it("says nothing where nothing is near", function()
    assert.is_nil(suggest.nearest("colour", { "listen", "backends" }))
    assert.is_nil(suggest.nearest("x", { "listen" }))
    assert.is_nil(suggest.nearest("listen", {}))
  end)

  it("takes the first by the alphabet of equally near words", function()
    assert.equal("aab", suggest.nearest("aaa", { "aac", "aab", "aad" }))
  end)
end)

describe("suggest.hint", function()
  it("is the tail of a message", function()
    assert.equal("; did you mean 'listen'?", suggest.hint("lisen", { "listen" }))
    assert.equal("", suggest.hint("colour", { "listen" }))
  end)
end)

describe("suggest.strict", function()
  it("makes a wrong name in a module an error at the caller's line", function()
    local module = suggest.strict({ site = 1 }, "moongate.x")
    assert.equal(1, module.site)
    local ok, message = pcall(function()
      return module.sites.a
    end)
    assert.is_false(ok)
    assert.matches("suggest_spec.lua:%d+: moongate.x: there is no 'sites'; did you mean 'site'%?$",
      message)
  end)
end)
