-- moongate.worker.log_level: the level of the error log at run time, as the control listener takes
-- it.

local log_level = require("moongate.worker.log_level")

describe("the level of the error log", function()
  local given, now
  local core = {
    log_level = function() return unpack(now) end,
    order_log_level = function(level, seconds) given = { level, seconds } end,
  }

  before_each(function() given, now = nil, { "info", "info" } end)

  it("is read", function()
    assert.same({ level = "info", route = "info", ordered = false }, log_level.read(core))
    now = { "debug", "info", 0 }
    assert.same({ level = "debug", route = "info", ordered = true }, log_level.read(core))
    now = { "debug", "info", 12.5 }
    assert.same({ level = "debug", route = "info", ordered = true, left = 12.5 },
      log_level.read(core))
  end)

  it("is ordered, for a time or until the next reload", function()
    for _, case in ipairs({
      { { level = "debug" }, { "debug", 0 } }, { { level = "error", ["for"] = "10m" },
        { "error", 600 } }, { { level = "warn", ["for"] = "5" }, { "warn", 5 } },
      { { forget = "true" }, {} },
    }) do
      assert.same("info", log_level.order(core, case[1]).level)
      assert.same(case[2], given)
    end
  end)

  it("is refused where it makes no sense", function()
    for _, args in ipairs({ {}, { level = "" }, { level = "notice" }, { forget = "yes" },
      { level = "info", ["for"] = "" }, { level = "info", ["for"] = "-1" },
      { level = "info", ["for"] = "0" }, { level = "info", ["for"] = "nan" },
      { level = "info", ["for"] = "1e9" } }) do
      local value, problem = log_level.order(core, args)
      assert.is_nil(value)
      assert.is_string(problem)
    end
    assert.is_nil(given)
  end)
end)
