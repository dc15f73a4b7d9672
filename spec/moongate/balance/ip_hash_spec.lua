-- Specs of moongate.balance.ip_hash.

local new = require("moongate.balance.ip_hash").new
local support = require("support.servers")

describe("ip_hash", function()
  local servers = support.new(1, 1, 1, 1, 1, 1, 1, 1)

  local function pick(ip)
    return new()({ ip = ip, path = "/" .. math.random() }, servers, 1).name
  end

  it("sends a client to the same server", function()
    for i = 1, 20 do
      assert.equal(pick("192.0.2." .. i), pick("192.0.2." .. i))
    end
  end)

  it("tells neighbours apart", function()
    local counts = support.count(new(), servers, 8000, function(i)
      return { ip = ("10.1.%d.%d"):format(i / 256, i % 256) }
    end)
    for name, count in pairs(counts) do
      assert.is_true(math.abs(count - 1000) < 150, name .. " " .. count)
    end
  end)

  it("takes the network of an IPv6 address", function()
    for i = 1, 20 do
      local network = ("2001:db8:7:%x"):format(i)
      assert.equal(pick(network .. "::1"), pick(network .. ":a:b:c:d"))
      assert.equal(pick(("2001:db8:%x::1"):format(i)), pick(("2001:db8:%x::9:8"):format(i)))
    end
    local counts = support.count(new(), servers, 8000, function(i)
      return { ip = ("2001:db8:7:%x::1"):format(i) }
    end)
    for name, count in pairs(counts) do
      assert.is_true(math.abs(count - 1000) < 150, name .. " " .. count)
    end
  end)

  it("takes any other text as it is", function()
    local seen = {}
    for i = 1, 100 do
      seen[pick("::ffff:10.0.0." .. i)] = true
    end
    assert.is_true(next(seen, (next(seen))) ~= nil)
    assert.equal(pick(""), pick(""))
  end)
end)
