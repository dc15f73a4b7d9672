-- Specs of moongate.balance.p2c.

local new = require("moongate.balance.p2c").new
local generator = require("moongate.base.random").new
local support = require("support.servers")

--- What is picked of two servers.
local function better(a, b)
  return new({}, generator(1))({}, support.new(a, b), 1).name
end

describe("p2c", function()
  it("takes the one that should answer sooner", function()
    assert.equal("b", better({ latency = 0.2 }, { latency = 0.1 }))
    assert.equal("a", better({ latency = 0.2 }, { latency = 0.1, load = 2 }))
    assert.equal("a", better({ latency = 0.2, weight = 3 }, { latency = 0.1 }))
  end)

  it("goes by the load alone where a latency is not known", function()
    assert.equal("b", better({ latency = 0.2, load = 1 }, { load = 0 }))
    assert.equal("a", better({ latency = 0.2, load = 0 }, { load = 1 }))
    assert.equal("a", better({ load = 1, weight = 3 }, { load = 0 }))
  end)

  it("never takes the worst", function()
    local servers = support.new({ latency = 0.1 }, { latency = 0.5 }, { latency = 0.1 })
    assert.equal(0, support.count(new({}, generator(3)), servers, 1000).b)
  end)

  it("does not run to the one best server", function()
    local servers = support.new({ latency = 0.1 }, { latency = 0.2 }, { latency = 0.3 })
    local counts = support.count(new({}, generator(3)), servers, 9000)
    -- a and another: 2 of 3 pairs. b against c: the third.
    assert.is_true(math.abs(counts.a - 6000) < 300, counts.a)
    assert.is_true(math.abs(counts.b - 3000) < 300, counts.b)
    assert.equal(0, counts.c)
  end)

  it("draws the heavier the more often", function()
    local servers = support.new({ weight = 6, load = 5 }, { weight = 1 }, { weight = 1 })
    local counts = support.count(new({}, generator(9)), servers, 8000)
    -- Of equal cost the one that was drawn first is taken.
    assert.is_true(math.abs(counts.a - 6000) < 300, counts.a)
    assert.is_true(math.abs(counts.b - 1000) < 200, counts.b)
    assert.is_true(math.abs(counts.c - 1000) < 200, counts.c)
  end)
end)
