-- moongate.worker.tracing: orders of `moongate trace`, as the control listener takes them.

local tracing = require("moongate.worker.tracing")

describe("an order", function()
  local given, ended
  local core = {
    order_trace = function(order)
      given = order
      return 42
    end,
    end_trace = function(id) ended = id end,
  }

  before_each(function() given, ended = nil, nil end)

  it("has the filter, one request where no count is said", function()
    assert.same({ id = 42 }, (tracing.order(core, {})))
    assert.same({ count = 1, secrets = false }, given)
    tracing.order(core, { host = "Shop.Test", path = "/a*", method = "POST", status = "404",
      count = "1000", secrets = "1" })
    assert.same({ host = "shop.test", path = "/a*", method = "POST", status = 404, count = 1000,
      secrets = true }, given)
    tracing.order(core, { status = "5xx" })
    assert.equal(5, given.status)
  end)

  it("is refused where it makes no sense", function()
    for _, args in ipairs({ { status = "6xx" }, { status = "99" }, { status = "0" },
      { count = "0" }, { count = "1001" }, { count = "1.5" }, { count = "many" },
      { ["end"] = "x" }, { ["end"] = "-1" } }) do
      local value, problem, code = tracing.order(core, args)
      assert.is_nil(value)
      assert.is_string(problem)
      assert.equal(400, code)
    end
    assert.is_nil(given)
    assert.is_nil(ended)
  end)

  it("is refused while others wait", function()
    local full = { order_trace = function() return nil, "others wait" end }
    local value, problem, code = tracing.order(full, {})
    assert.is_nil(value)
    assert.equal("others wait", problem)
    assert.equal(503, code)
  end)

  it("is ended", function()
    assert.same({ ok = true }, (tracing.order(core, { ["end"] = "42" })))
    assert.equal(42, ended)
    assert.is_nil(given)
  end)

  it("is read as long as it is there", function()
    local there = { read_trace = function(id)
      if id == 42 then return "{}\n", 2, 1 end
    end }
    assert.same({ requests = "{}\n", left = 2, missed = 1 }, (tracing.read(there, "42")))
    assert.equal(404, select(3, tracing.read(there, "43")))
    assert.equal(400, select(3, tracing.read(there, nil)))
    assert.equal(400, select(3, tracing.read(there, "x")))
  end)
end)
