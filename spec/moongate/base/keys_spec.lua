local keys = require("moongate.base.keys")

describe("keys.sorted", function()
  it("orders by text, whatever the types", function()
    assert.same({ 10, 2, "a", "b" }, keys.sorted({ b = 1, a = 1, [2] = 1, [10] = 1 }))
  end)

  it("is empty for an empty table", function()
    assert.same({}, keys.sorted({}))
  end)
end)
