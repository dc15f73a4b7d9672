-- Specs of moongate.decision.headers.

local headers = require("moongate.decision.headers")

describe("headers.merged", function()
  it("has both, and the second's where they have one name in any letter case", function()
    assert.same({ ["X-A"] = "1", ["x-b"] = "3", ["X-C"] = { "4", "5" } },
      headers.merged({ ["X-A"] = "1", ["X-B"] = "2" }, { ["x-b"] = "3", ["X-C"] = { "4", "5" } }))
  end)

  it("changes neither", function()
    local first, second = { A = "1" }, { B = "2" }
    headers.merged(first, second)
    assert.same({ { A = "1" }, { B = "2" } }, { first, second })
  end)

  it("takes nil for none", function()
    assert.same({ A = "1" }, headers.merged({ A = "1" }, nil))
    assert.same({ A = "1" }, headers.merged(nil, { A = "1" }))
    assert.is_nil(headers.merged(nil, nil))
  end)
end)

describe("headers.standing", function()
  it("is what does not describe a content", function()
    assert.same({ ["Content-Security-Policy"] = "default-src 'self'", ["X-A"] = "1" },
      headers.standing({ ["Content-Security-Policy"] = "default-src 'self'", ["X-A"] = "1",
        ["content-type"] = "text/css", ["Cache-Control"] = "max-age=9", ETag = '"x"' }))
  end)

  it("is nil where nothing is left", function()
    assert.is_nil(headers.standing({ Expires = "0" }))
    assert.is_nil(headers.standing(nil))
  end)
end)
