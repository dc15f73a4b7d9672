-- Specs of moongate.base.random.

local random = require("moongate.base.random")

describe("random", function()
  it("is even, at least 0 and below 1", function()
    local next_number, counts = random.new(42), {}
    for _ = 1, 100000 do
      local number = next_number()
      assert.is_true(number >= 0 and number < 1)
      local bucket = math.floor(number * 10)
      counts[bucket] = (counts[bucket] or 0) + 1
    end
    for bucket = 0, 9 do
      assert.is_true(math.abs(counts[bucket] - 10000) < 500, bucket)
    end
  end)

  it("repeats for a seed, and differs without one", function()
    local a, b = random.new(1), random.new(1)
    assert.equal(a(), b())
    assert.is_true(random.new()() ~= random.new()() or random.new()() ~= random.new()())
  end)

  it("does not stay at zero", function()
    for _, seed in ipairs({ 0, 2 ^ 32 }) do
      local next_number = random.new(seed)
      next_number()
      next_number()
      assert.is_true(next_number() ~= next_number())
    end
  end)

  it("leaves math.random alone", function()
    math.randomseed(5)
    local expected = math.random()
    math.randomseed(5)
    random.new()()
    assert.equal(expected, math.random())
  end)
end)
