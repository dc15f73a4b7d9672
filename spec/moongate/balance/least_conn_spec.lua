-- Specs of moongate.balance.least_conn.

local new = require("moongate.balance.least_conn").new
local servers_of = require("support.servers").new

describe("least_conn", function()
  it("takes the server with the least load", function()
    assert.equal("b", new()({}, servers_of({ load = 3 }, { load = 1 }, { load = 2 }), 1).name)
  end)

  it("counts what others do there, not only our own requests", function()
    local servers = servers_of({ active = 0, load = 9 }, { active = 2, load = 2 })
    assert.equal("b", new()({}, servers, 1).name)
  end)

  it("takes the request at hand into account by weight", function()
    assert.equal("a", new()({}, servers_of({ load = 2, weight = 4 }, { load = 0 }), 1).name)
    assert.equal("b", new()({}, servers_of({ load = 4, weight = 4 }, { load = 0 }), 1).name)
  end)

  it("takes equals in turn, whoever else is in the list", function()
    local pick, all = new(), servers_of({}, { load = 5 }, {}, {})
    local names = {}
    for i = 1, 7 do
      names[i] = pick({}, all, 1).name
    end
    assert.equal("a c d a c d a", table.concat(names, " "))
  end)
end)
