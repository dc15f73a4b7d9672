local copy = require("moongate.base.copy")

describe("a copy", function()
  it("of a table has its keys, and shares tables in it", function()
    local inner = {}
    local given = setmetatable({ a = 1, b = inner, false }, { __index = { c = 2 } })
    local made = copy.table(given)
    assert.same({ a = 1, b = {}, [1] = false }, made)
    assert.equal(inner, made.b)
    made.a = 2
    assert.equal(1, given.a)
    assert.is_nil(made.c)
  end)

  it("of a text has another one in each place", function()
    assert.equal("/b.lua:1: /b.lua", copy.text("/a.lua:1: /a.lua", "/a.lua", "/b.lua"))
    assert.equal("%1(.", copy.text("(.", "(", "%1("))
    assert.equal("aaa", copy.text("aa", "aa", "aaa"))
    assert.equal("x", copy.text("x", "y", "z"))
  end)
end)
