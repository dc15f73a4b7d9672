-- Specs of moongate.balance.round_robin.

local new = require("moongate.balance.round_robin").new
local servers_of = require("support.servers").new

--- The names of the next servers.
local function order(pick, servers, times)
  local names = {}
  for i = 1, times do
    names[i] = pick({}, servers, 1).name
  end
  return table.concat(names, " ")
end

describe("round_robin", function()
  it("takes servers in turn", function()
    assert.equal("a b c a b c", order(new(), servers_of(1, 1, 1), 6))
  end)

  it("spreads the turns of a heavy server, as nginx does", function()
    assert.equal("a a b a c a a", order(new(), servers_of(5, 1, 1), 7))
    assert.equal("a b c a", order(new(), servers_of(2, 1, 1), 4))
  end)

  it("takes fractions of a weight", function()
    assert.equal("b b a b b b b a b b", order(new(), servers_of(0.25, 1), 10))
  end)

  it("goes on with a list that changes", function()
    local pick, all = new(), servers_of(1, 1, 1)
    local two = { all[1], all[3] }
    assert.equal("a b c", order(pick, all, 3))
    assert.equal("a c a c", order(pick, two, 4))
    assert.equal("a b c a b c", order(pick, all, 6))
  end)

  it("owes nothing to the turns of another backend", function()
    local all = servers_of(1, 1)
    local one, other = new(), new()
    assert.equal("a", order(one, all, 1))
    assert.equal("a b", order(other, all, 2))
  end)

  it("forgets servers that are gone", function()
    local pick, gone = new(), setmetatable({}, { __mode = "k" })
    do
      local servers = servers_of(1, 1)
      pick({}, servers, 1)
      gone[servers[1]] = true
    end
    collectgarbage()
    collectgarbage()
    assert.is_nil(next(gone))
  end)
end)
