-- Specs of moongate.balance.hash.

local hash = require("moongate.balance.hash")
local support = require("support.servers")

local function path(i)
  return { path = "/product/" .. i }
end

--- Which server each of many paths goes to.
local function map(pick, servers, count)
  local names = {}
  for i = 1, count do
    names[i] = pick(path(i), servers, 1).name
  end
  return names
end

describe("hash", function()
  it("sends a path to the same server every time, in every worker", function()
    local servers, other = support.new(1, 1, 1), support.new(1, 1, 1)
    assert.same(map(hash.new(), servers, 100), map(hash.new(), other, 100))
  end)

  it("does not depend on the order of the list", function()
    local servers = support.new(1, 1, 1)
    assert.same(map(hash.new(), servers, 100),
      map(hash.new(), { servers[3], servers[1], servers[2] }, 100))
  end)

  it("prefers the decision's key", function()
    local pick, servers = hash.new(), support.new(1, 1, 1, 1, 1)
    local seen = {}
    for i = 1, 50 do
      seen[pick({ path = "/" .. i, hash_key = "cart" }, servers, 1).name] = true
    end
    local name = next(seen)
    assert.is_nil(next(seen, name))
  end)

  it("spreads by weight", function()
    local counts = support.count(hash.new(), support.new(1, 2, 5), 40000, path)
    assert.is_true(math.abs(counts.a - 5000) < 300, counts.a)
    assert.is_true(math.abs(counts.b - 10000) < 300, counts.b)
    assert.is_true(math.abs(counts.c - 25000) < 300, counts.c)
  end)

  it("moves only the keys of a server that leaves, to all others alike", function()
    local pick, all = hash.new(), support.new(1, 1, 1, 1)
    local before = map(pick, all, 12000)
    local after = map(pick, { all[1], all[2], all[4] }, 12000)
    local moved = { a = 0, b = 0, d = 0 }
    for i = 1, #before do
      if before[i] == "c" then
        moved[after[i]] = moved[after[i]] + 1
      else
        assert.equal(before[i], after[i])
      end
    end
    for name, count in pairs(moved) do
      assert.is_true(math.abs(count - 1000) < 150, name .. " " .. count)
    end
    assert.same(before, map(pick, all, 12000))
  end)

  it("gives a heavier server more, and takes nothing between the others", function()
    local pick, servers = hash.new(), support.new(1, 1, 1)
    local before = map(pick, servers, 6000)
    servers[2].weight = 2
    local after = map(pick, servers, 6000)
    for i = 1, #before do
      assert.is_true(after[i] == before[i] or after[i] == "b")
    end
  end)

  it("knows the hashes of its first release", function()
    -- A change here moves every key of every user at an upgrade.
    assert.equal("00000000", bit.tohex(hash.of("")))
    assert.equal("d40ba965", bit.tohex(hash.of("a")))
    assert.equal("6a171298", bit.tohex(hash.of("10.0.0.1:9000")))
  end)
end)
