-- Specs of moongate.ngx.regex: what it makes of patterns. What those find is in
-- tests/integration/62-resty_spec.lua, since the system does that.

describe("regex.translate", function()
  local regex

  setup(function()
    package.loaded["moongate.core"] = {}
    package.loaded["moongate.ngx.regex"] = nil
    regex = require("moongate.ngx.regex")
  end)

  teardown(function()
    package.loaded["moongate.core"] = nil
    package.loaded["moongate.ngx.regex"] = nil
  end)

  it("writes classes out", function()
    for perl, posix in pairs({
      ["a+b*c?"] = "a+b*c?", ["\\d\\D"] = "[0-9][^0-9]", ["\\w"] = "[A-Za-z0-9_]",
      ["a.b\\."] = "a[^\n]b\\.", ["x\\n\\t"] = "x\n\t", ["^(a|b)$"] = "^(a|b)$",
      ["a{2,3}\\b"] = "a{2,3}\\b",
    }) do
      assert.equal(posix, (regex.translate(perl)))
    end
  end)

  it("writes sets as they are there", function()
    for perl, posix in pairs({
      ["[a-z]"] = "[a-z]", ["[^\\d.]"] = "[^0-9.]", ["[]a]"] = "[]a]", ["[a\\]b]"] = "[]ab]",
      ["[\\-x]"] = "[[.-.]x]", ["[\\^]"] = "[[.^.]]", ["[[.]"] = "[[.[.].]", ["[\\\\]"] = "[\\]",
      ["[[:alpha:]_]x"] = "[[:alpha:]_]x", ["[\\/]"] = "[/]",
    }) do
      assert.equal(posix, (regex.translate(perl)))
    end
  end)

  it("knows which groups count", function()
    local text, groups = regex.translate("(?:a(b))(c(?:d)(e))")
    assert.equal("(a(b))(c(d)(e))", text)
    assert.same({ 2, 3, 5 }, groups)
  end)

  it("refuses what would mean something else", function()
    for _, pattern in ipairs({ "a*?", "a++", "a{2}?", "(?=a)", "(?<n>a)", "(?i)a", "\\pL", "[\\W]",
      "[a", "\\A", "a\\" }) do
      local ok, message = pcall(regex.translate, pattern)
      assert.is_false(ok, pattern)
      assert.matches("not available", message)
    end
  end)
end)
