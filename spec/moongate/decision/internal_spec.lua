-- Specs of moongate.decision.internal.

local internal = require("moongate.decision.internal")

describe("internal.problem", function()
  it("finds nothing wrong with prefixes and folders", function()
    assert.is_nil(internal.problem({}))
    assert.is_nil(internal.problem({ ["/"] = "/srv", ["/a"] = "/", ["/b/c/"] = "/srv/c/" }))
    assert.is_nil(internal.problem({ ["/render"] = true }))
  end)

  for _, case in ipairs({
    { "x", 'expected a table from prefix to folder such as { ["/protected/"] = "/srv/private" }' },
    { { "/srv" }, "a prefix begins with \"/\", as in" },
    { { protected = "/srv" }, "a prefix begins with \"/\", as in" },
    { { ["/a\0"] = "/srv" }, "a prefix begins with \"/\", as in" },
    { { ["/a/../b"] = "/srv" }, "'/a/../b' is no path that a request could have" },
    { { ["/a/./b"] = "/srv" }, "'/a/./b' is no path that a request could have" },
    { { ["/a//b"] = "/srv" }, "'/a//b' is no path that a request could have" },
    { { ["/a"] = "srv" }, "'/a': expected an absolute path such as \"/srv/private\"" },
    { { ["/a"] = false }, "'/a': expected an absolute path such as \"/srv/private\", or true" },
    { { ["/a"] = 1 }, "'/a': expected an absolute path such as \"/srv/private\"" },
    { { ["/a"] = "/srv", ["/a/"] = "/srv" }, "'/a/' is there twice" },
  }) do
    it("says: " .. case[2], function()
      assert.equal(case[2], (internal.problem(case[1]) or "nothing"):sub(1, #case[2]))
    end)
  end
end)

describe("internal.list", function()
  it("has the longest prefix first, each with a slash at its end", function()
    assert.same({ { "/a/b/", "/srv/ab" }, { "/b/", "/srv/b" }, { "/c/", "/" }, { "/", "/x" } },
      internal.list({ ["/"] = "/x/", ["/b"] = "/srv/b/", ["/a/b/"] = "/srv/ab", ["/c///"] = "/" }))
    assert.same({}, internal.list({}))
    assert.same({ { "/render/", "" } }, internal.list({ ["/render"] = true }))
  end)
end)
