-- Specs of moongate.hash and moongate.random, with a core that shows what it was asked for. What
-- the libraries make of it is in tests/integration/69a-doors_spec.lua.

local loaded = require("support.loaded")

describe("moongate.hash and moongate.random", function()
  local hash, random, given
  local NAMES = { "moongate.core", "moongate.hash", "moongate.random" }

  setup(function()
    loaded.forget(NAMES)
    package.loaded["moongate.core"] = {
      digest = function(algorithm, text) return algorithm .. "\255" .. text end,
      hmac = function(algorithm, key, text) return algorithm .. key .. text end,
      base64 = function(text) return "+/" .. text .. "==" end,
      unbase64 = function(text) return "<" .. text .. ">" end,
      random_bytes = function(count) return table.remove(given, 1) or ("\171"):rep(count) end,
    }
    hash = require("moongate.hash")
    random = require("moongate.random")
  end)
  teardown(loaded.restore)
  before_each(function()
    given = {}
  end)

  it("write digests in four forms", function()
    assert.equal("6d6435ff00", hash.md5("\0"))
    assert.equal("sha1\255a", hash.sha1("a", "raw"))
    assert.equal("+/sha256\255a==", hash.sha256("a", "base64"))
    assert.equal("-_sha512\255a", hash.sha512("a", "base64url"))
    assert.equal("sha384kt", hash.hmac("sha384", "k", "t", "raw"))
  end)

  it("turn hexadecimal digits back", function()
    local all = {}
    for i = 0, 255 do
      all[#all + 1] = string.char(i)
    end
    local bytes = table.concat(all)
    assert.equal(bytes, hash.unhex(hash.hex(bytes)))
    assert.equal(bytes, hash.unhex(hash.hex(bytes):upper()))
    assert.equal("\171\205", hash.unhex("aBCd"))
    assert.equal("", hash.unhex(""))
    assert.is_nil(hash.unhex("abc"))
    assert.is_nil(hash.unhex("0g"))
  end)

  it("know base64 for URLs from the other one", function()
    assert.equal("<+/a>", hash.unbase64url("-_a"))
    assert.is_nil(hash.unbase64url("+a"))
    assert.is_nil(hash.unbase64url("a="))
  end)

  it("make texts and numbers of chance", function()
    assert.equal("abab", random.hex(2))
    assert.equal("\171\171", random.bytes(2))
    assert.equal("-_" .. ("\171"):rep(16), random.token())
    given = { "\0\0\0\0\0\7" }
    assert.equal(2, random.integer(1, 6))
    given = { "\255\255\255\255\255\255", "\0\0\0\0\0\5" } -- the first would make 1 likelier
    assert.equal(6, random.integer(1, 6))
    assert.equal(7, random.integer(7, 7))
    given = { "\255\255\255\255\255\255" }
    assert.equal(2 ^ 48, random.integer(1, 2 ^ 48))
  end)

  for expected, call in pairs({
    ["hash.md5: expected a text, got nothing"] = function() return (hash.md5()) end,
    ["hash.hex: expected a text, got 5"] = function() return (hash.hex(5)) end,
    ['hash.sha1: expected "hex", "raw", "base64" or "base64url" as form, got "hxe"'] = function()
      return (hash.sha1("a", "hxe"))
    end,
    ['hash.hmac: expected "md5", "sha1", "sha256", "sha384" or "sha512", got "sha2"'] = function()
      return (hash.hmac("sha2", "k", "t"))
    end,
    ["hash.hmac: expected a text, got nothing"] = function() return (hash.hmac("sha1", "k")) end,
    ["hash.equal: expected a text, got nothing"] = function() return (hash.equal("a", nil)) end,
    ["moongate.hash: there is no 'sha255'; did you mean 'sha256'?"] = function()
      return (hash.sha255("a"))
    end,
    ["random.bytes: expected a whole number of bytes from 1 to 1048576, got 0"] = function()
      return (random.bytes(0))
    end,
    ["random.integer: expected two whole numbers, got nothing"] = function()
      return (random.integer(1))
    end,
    ["random.integer: expected the lower number first, and less than 2^48 between them, got 6 "
      .. "and 1"] = function() return (random.integer(6, 1)) end,
  }) do
    it("say: " .. expected, function()
      local ok, message = pcall(call)
      assert.is_false(ok)
      assert.equal(expected, message:match("^[^:]+hash_spec.lua:%d+: (.*)$"), message)
    end)
  end
end)
