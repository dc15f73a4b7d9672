-- Specs of moongate.balance.random.

local new = require("moongate.balance.random").new
local generator = require("moongate.base.random").new
local support = require("support.servers")

describe("random", function()
  it("takes servers as often as their weight says", function()
    local counts = support.count(new({}, generator(7)), support.new(1, 2, 5), 80000)
    assert.is_true(math.abs(counts.a - 10000) < 500, counts.a)
    assert.is_true(math.abs(counts.b - 20000) < 500, counts.b)
    assert.is_true(math.abs(counts.c - 50000) < 500, counts.c)
  end)

  it("takes each at the ends of chance", function()
    local servers = support.new(1, 1, 1)
    local function with(number)
      return new({}, function()
        return number
      end)({}, servers, 1).name
    end
    assert.equal("a", with(0))
    assert.equal("b", with(0.5))
    assert.equal("c", with(1 - 2 ^ -24))
  end)

  it("is not the same in two workers", function()
    local servers = support.new(1, 1)
    local function first_picks()
      local pick, names = new({}), {}
      for i = 1, 64 do
        names[i] = pick({}, servers, 1).name
      end
      return table.concat(names)
    end
    assert.is_true(first_picks() ~= first_picks())
  end)
end)
