-- Specs of moongate.base.networks.

local networks = require("moongate.base.networks")

describe("a set of networks", function()
  local has = assert(networks.new({
    "10.0.0.0/8", "192.168.1.7", "172.16.0.0/12", "2001:db8::/32", "::1", "2001:db8:1::/49",
    "::ffff:203.0.113.0/120", "unix:",
  }))

  it("has what lies in one of them", function()
    for _, ip in ipairs({
      "10.0.0.0", "10.255.255.255", "192.168.1.7", "172.31.255.255", "2001:db8::1",
      "2001:db8:ffff:1:2:3:4:5", "::1", "unix:", "::ffff:10.1.2.3", "203.0.113.9",
    }) do
      assert.is_true(has(ip), ip)
      assert.is_true(has(ip), ip)
    end
  end)

  it("has nothing else", function()
    for _, ip in ipairs({
      "11.0.0.0", "9.255.255.255", "192.168.1.8", "172.32.0.0", "2001:db9::1", "::2", "::",
      "::ffff:11.0.0.1", "203.0.114.1", "0.0.0.0", "fe80::1%eth0",
    }) do
      assert.is_false(has(ip), ip)
    end
  end)

  it("may be all, or one family", function()
    local v4 = networks.new({ "0.0.0.0/0" })
    assert.is_true(v4("1.2.3.4"))
    assert.is_false(v4("2001:db8::1"))
    assert.is_false(v4("unix:"))
    assert.is_true(networks.new({ "::/0" })("2001:db8::1"))
    assert.is_false(networks.new({})("10.0.0.1"))
  end)

  it("forgets, and goes on", function()
    for i = 0, 3000 do
      local ip = ("10.0.%d.%d"):format(i / 250, i % 250)
      assert.is_true(has(ip))
    end
    assert.is_false(has("11.0.0.1"))
  end)

  it("says what is none", function()
    local EXPECTED = 'an address or a network such as "10.0.0.1", "10.0.0.0/8", "2001:db8::/32" or '
      .. '"unix:"'
    local _, problem = networks.new({ "10.0.0.0/8", "office" })
    assert.equal("'office': expected " .. EXPECTED, problem)
    _, problem = networks.new({ "10.0.0.1/8" })
    assert.equal("'10.0.0.1/8': expected " .. EXPECTED .. "; bits are set behind the prefix; is "
      .. "10.0.0.0/8 meant, or 10.0.0.1 alone?", problem)
    _, problem = networks.new({ 5 })
    assert.equal("element 1: expected " .. EXPECTED, problem)
  end)
end)
