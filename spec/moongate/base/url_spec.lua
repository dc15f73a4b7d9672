-- Specs of moongate.base.url.

local url = require("moongate.base.url")

describe("url.escape", function()
  it("leaves unreserved characters only", function()
    assert.equal("aZ09-._~", url.escape("aZ09-._~"))
    assert.equal("a%20b%2Fc%3Fd%26e%3D%25%2B", url.escape("a b/c?d&e=%+"))
    assert.equal("%C3%A9%00%FF", url.escape("\195\169\0\255"))
  end)
end)

describe("url.escape_path", function()
  it("keeps what may stand in a path", function()
    assert.equal("/a/b:c@d,e;f=g(h)'!$&*+", url.escape_path("/a/b:c@d,e;f=g(h)'!$&*+"))
    assert.equal("/a%20b%3Fc%23d%25%5C%0D%0A", url.escape_path("/a b?c#d%\\\r\n"))
  end)
end)

describe("url.unescape", function()
  it("undoes escape", function()
    local bytes = {}
    for code = 0, 255 do
      bytes[#bytes + 1] = string.char(code)
    end
    local text = table.concat(bytes)
    assert.equal(text, url.unescape(url.escape(text)))
    assert.equal(text, url.unescape(url.escape_path(text)))
  end)

  it("leaves what is no escape", function()
    assert.equal("100%+%zz%4", url.unescape("100%+%zz%4"))
    assert.equal("%41", url.unescape("%2541"))
  end)
end)
