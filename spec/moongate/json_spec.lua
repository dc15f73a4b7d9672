-- Specs of moongate.json.

local json = require("moongate.json")

describe("json.encode", function()
  it("writes values", function()
    assert.equal("null", json.encode(nil))
    assert.equal("true", json.encode(true))
    assert.equal("5", json.encode(5))
    assert.equal("-5", json.encode(-5))
    assert.equal("0.25", json.encode(0.25))
    assert.equal("1000000000000", json.encode(1e12))
    assert.equal("null", json.encode(0 / 0))
    assert.equal("null", json.encode(math.huge))
    assert.equal('"a function"', json.encode(print))
  end)

  it("escapes texts", function()
    assert.equal([["a\"b\\c\n\u0000\u001f\u007f/"]], json.encode('a"b\\c\n\0\31\127/'))
    assert.equal('"h\195\169"', json.encode("h\195\169"))
  end)

  it("replaces bytes that are not UTF-8", function()
    local bad = "\239\191\189"
    assert.equal('"a' .. bad .. 'b"', json.encode("a\255b"))
    assert.equal('"' .. bad .. bad .. '"', json.encode("\192\128"))
    assert.equal('"' .. bad:rep(3) .. '"', json.encode("\237\160\128"))
    assert.equal('"' .. bad .. '"', json.encode("\195"))
    assert.equal('"\226\130\172\240\159\145\141"', json.encode("\226\130\172\240\159\145\141"))
  end)

  it("writes lists, empty ones where they are marked", function()
    assert.equal("[\n  1,\n  2\n]", json.encode({ 1, 2 }))
    assert.equal("[]", json.encode(json.list({})))
    assert.equal("{}", json.encode({}))
  end)

  it("writes keys in order", function()
    assert.equal('{\n  "a": 1,\n  "b": {\n    "c": []\n  }\n}',
      json.encode({ b = { c = json.list({}) }, a = 1 }))
  end)
end)
