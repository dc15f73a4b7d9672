-- Specs of moongate.worker.guesses.

local guesses = require("moongate.worker.guesses")

describe("wrong tokens", function()
  local now, account
  before_each(function()
    now = 1000
    account = guesses.new(function() return now end)
  end)

  --- Sends wrong tokens until none is looked at.
  ---@return integer count of those that were
  local function exhaust(address)
    local count = 0
    while account:may(address) do
      count = count + 1
      local last = account:wrong(address)
      assert.equal(not account:may(address), last)
      assert.is_true(count < 2000)
    end
    return count
  end

  it("may be ten at once, then one a second", function()
    assert.equal(10, exhaust("10.0.0.1"))
    now = now + 0.9
    assert.is_false(account:may("10.0.0.1"))
    now = now + 0.1
    assert.equal(1, exhaust("10.0.0.1"))
    now = now + 3
    assert.equal(3, exhaust("10.0.0.1"))
    now = now + 100
    assert.equal(10, exhaust("10.0.0.1"))
  end)

  it("count for their own address", function()
    exhaust("10.0.0.1")
    assert.is_true(account:may("10.0.0.2"))
    assert.equal(10, exhaust("10.0.0.2"))
  end)

  it("of more addresses than are told apart count as one", function()
    for i = 1, 1024 do
      account:wrong("a" .. i)
    end
    assert.equal(10, exhaust("b1"))
    assert.is_false(account:may("b2"))
    assert.is_true(account:may("a7")) -- those that are known keep their own
    now = now + 60
    account:wrong("b3")
    assert.is_true(account:may("b2"))
    assert.equal(1, account.count)
  end)
end)
