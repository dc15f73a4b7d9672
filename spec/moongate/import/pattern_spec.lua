-- Specs of moongate.import.pattern: what becomes a Lua pattern, and what stays a regular
-- expression.

local pattern = require("moongate.import.pattern")

describe("import.pattern", function()
  it("says in Lua what Lua can say", function()
    local cases = {
      [ [[\.php$]] ] = "%.php$", [ [[^/blog/(\d+)$]] ] = "^/blog/(%d+)$",
      [ [[^/a-b_c]] ] = "^/a%-b_c", [ [[[a-z0-9_-]+]] ] = "[a-z0-9_%-]+",
        [ [[^(.*?)/x]] ] = "^(.-)/x",
      [ [[\w\s]] ] = "[%w_]%s", [ [[a%b]] ] = "a%%b",
    }
    for regex, expected in pairs(cases) do
      assert.equal(expected, pattern.lua(regex))
    end
  end)

  it("leaves the rest to PCRE", function()
    for _, regex in ipairs({ "a|b", "(a)?", "(?:x)", "a{2}", "\\bx", "a++", "(a(b))", "x^", "$a",
      "[",
      "a\\", "(" }) do
      assert.is_nil(pattern.lua(regex))
    end
    assert.equal('ngx.re.find(path, "a|b", "jo")', (pattern.test("path", "a|b")))
    assert.equal('ngx.re.find(path, "ab", "ijo")', (pattern.test("path", "ab", true)))
  end)

  it("quotes whatever it is given", function()
    for _, text in ipairs({ "a\\b]]", "]", "\\]", "a\"b\n\0\\", "[[x]]\\" }) do
      assert.equal(text, loadstring("return " .. pattern.quote(text))())
    end
  end)
end)
