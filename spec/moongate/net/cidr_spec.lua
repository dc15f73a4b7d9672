-- Specs of moongate.net.cidr. What a set has, base/networks_spec.lua says.

local cidr = require("moongate.net.cidr")

describe("moongate.net.cidr", function()
  it("has addresses, and nothing that is none", function()
    local set = cidr.set({ "10.0.0.0/8", "2001:db8::/32", "192.0.2.7", "unix:" })
    for _, ip in ipairs({ "10.1.2.3", "::ffff:10.1.2.3", "2001:db8:1::", "192.0.2.7", "unix:" }) do
      assert.is_true(set:has(ip), ip)
    end
    for _, ip in ipairs({ "11.0.0.0", "192.0.2.8", "2001:db9::", "10.0.0.0/8", "", "nobody" }) do
      assert.is_false(set:has(ip), ip)
    end
    assert.is_false(set:has(nil))
    assert.is_false(cidr.set("::1"):has("unix:"))
    assert.is_false(cidr.set({}):has("10.0.0.1"))
  end)

  for _, case in ipairs({
    { 5, 'expected an address or a network such as "10.0.0.1", "10.0.0.0/8", "2001:db8::/32" or '
      .. '"unix:", or a list of these, got 5' },
    { { "10.0.0.1/8" }, "'10.0.0.1/8': expected an address or a network such as \"10.0.0.1\", "
      .. '"10.0.0.0/8", "2001:db8::/32" or "unix:"; bits are set behind the prefix; is 10.0.0.0/8 '
      .. "meant, or 10.0.0.1 alone?" },
  }) do
    it("says: " .. case[2], function()
      local ok, message = pcall(function()
        local made = cidr.set(case[1])
        return made
      end)
      assert.is_false(ok)
      assert.equal("cidr.set: " .. case[2], message:match("^[^:]+cidr_spec.lua:%d+: (.*)$"))
    end)
  end

  it("says which method there is not", function()
    local ok, message = pcall(function()
      return cidr.set("::1"):hsa("::1")
    end)
    assert.is_false(ok)
    assert.matches("cidr_spec.lua:%d+: a set of networks: there is no 'hsa'; did you mean 'has'%?$",
      message)
  end)
end)
