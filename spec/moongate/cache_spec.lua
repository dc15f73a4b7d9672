-- Specs of moongate.cache: what a purge may be asked for, and what the core is told.

local purged, cache

before_each(function()
  purged = {}
  package.loaded["moongate.core"] = {
    cache_purge = function(kind, text)
      purged[#purged + 1] = { kind, text }
      return 2
    end,
  }
  package.loaded["moongate.cache"] = nil
  cache = require("moongate.cache")
end)

after_each(function()
  package.loaded["moongate.core"], package.loaded["moongate.cache"] = nil, nil
end)

describe("cache.purge", function()
  it("tells the core all texts at once", function()
    assert.equal(2, cache.purge({ key = "http://a/" }))
    assert.equal(2, cache.purge({ tag = { "a", "b" } }))
    assert.equal(2, cache.purge({ prefix = "http://a/" }))
    assert.equal(2, cache.purge({ all = true }))
    assert.same({ { "key", { "http://a/" } }, { "tag", { "a", "b" } },
      { "prefix", { "http://a/" } }, { "all", "" } }, purged)
  end)

  it("purges nothing where a part of it is wrong", function()
    for _, case in ipairs({
      { nil, "expected a table such as" }, { {}, "expected one of key, prefix, tag and all" },
      { { tags = "a" }, "expected one of key, prefix, tag and all.*did you mean 'tag'" },
      { { tag = "a", key = "b" }, "expected one of" }, { { all = false }, "all: expected true" },
      { { prefix = "" }, "prefix: expected a text" }, { { tag = { "a", 5 } }, "tag: expected" },
    }) do
      local ok, problem = pcall(function()
        local count = cache.purge(case[1])
        return count
      end)
      assert.is_false(ok)
      assert.matches("cache_spec.lua:%d+: cache.purge: ", problem)
      assert.matches(case[2], problem)
    end
    assert.same({}, purged)
  end)
end)
