-- Specs of moongate.upcoming.

local upcoming = require("moongate.upcoming")

describe("upcoming.problem", function()
  it("names a key that is not available", function()
    assert.equal("'health' is not available in moongate 0.1 yet",
      upcoming.problem(upcoming.backend, "health", {}))
  end)

  it("accepts the value that already holds", function()
    assert.is_nil(upcoming.problem(upcoming.backend, "balance", "round_robin"))
    assert.is_nil(upcoming.problem(upcoming.server, "weight", 1))
    assert.is_nil(upcoming.problem(upcoming.listener, "proxy_protocol", false))
  end)

  it("names another value of such a key", function()
    assert.equal("'balance = \"hash\"' is not available in moongate 0.1 yet",
      upcoming.problem(upcoming.backend, "balance", "hash"))
    assert.equal("'weight = 2' is not available in moongate 0.1 yet",
      upcoming.problem(upcoming.server, "weight", 2))
  end)

  it("says nothing about other keys", function()
    assert.is_nil(upcoming.problem(upcoming.backend, "keepalive", 2))
    assert.is_nil(upcoming.problem(upcoming.backend, "nonsense", 2))
  end)
end)
