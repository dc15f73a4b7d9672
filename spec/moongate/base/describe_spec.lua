-- Specs of moongate.base.describe.

local describe_value = require("moongate.base.describe")

describe("a value in a message", function()
  for _, case in ipairs({
    { nil, "nothing" }, { true, "true" }, { false, "false" }, { 5, "5" }, { -0.5, "-0.5" },
    { "a", '"a"' }, { "", '""' }, { "a\nb\0", '"a?b?"' }, { {}, "a table" },
    { print, "a function" }, { ("x"):rep(60), '"' .. ("x"):rep(60) .. '"' },
    { ("x"):rep(61), '"' .. ("x"):rep(57) .. '..."' },
  }) do
    it("is " .. case[2], function()
      assert.equal(case[2], describe_value(case[1]))
    end)
  end
end)
