-- Specs of moongate.ngx.base64.

local base64 = require("moongate.ngx.base64")

describe("base64", function()
  -- RFC 4648 §10, and a byte of each kind.
  local CASES = {
    [""] = "", f = "Zg==", fo = "Zm8=", foo = "Zm9v", foob = "Zm9vYg==", fooba = "Zm9vYmE=",
    foobar = "Zm9vYmFy", ["\0\255\128"] = "AP+A", ["\251\239\190"] = "++++",
  }

  it("encodes", function()
    for text, coded in pairs(CASES) do
      assert.equal(coded, base64.encode(text))
      assert.equal((coded:gsub("=", "")), base64.encode(text, true))
    end
  end)

  it("decodes, with padding and without", function()
    for text, coded in pairs(CASES) do
      assert.equal(text, base64.decode(coded))
      assert.equal(text, base64.decode((coded:gsub("=", ""))))
    end
  end)

  it("decodes nothing else", function()
    for _, text in ipairs({
      "Z", "Zg=", "Zg===", "Z===", "Zm9v=", "Zm 9", "Zm9v\n", "====", "Zm9_",
    }) do
      assert.is_nil(base64.decode(text), text)
    end
  end)
end)
