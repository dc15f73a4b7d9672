-- Specs of moongate.cli.options.

local options = require("moongate.cli.options")

describe("options.parse", function()
  local known = {
    { name = "--listen", value = "ADDR", many = true, help = "" },
    { name = "--pid", value = "FILE", help = "" },
    { name = "--json", help = "" },
    { name = "--no-watch", key = "watch", set = false, help = "" },
    { name = "-H", value = "HEADER", key = "headers", many = true, help = "" },
  }

  for _, case in ipairs({
    { {}, {} },
    { { "a", "b" }, { "a", "b" } },
    { { "--pid", "x", "a" }, { "a", pid = "x" } },
    { { "a", "--pid=x=y" }, { "a", pid = "x=y" } },
    { { "--pid=" }, { pid = "" } },
    { { "--pid", "1", "--pid", "2" }, { pid = "2" } },
    { { "--listen", ":1", "--listen=:2" }, { listen = { ":1", ":2" } } },
    { { "--json", "a" }, { "a", json = true } },
    { { "--no-watch" }, { watch = false } },
    { { "-H", "A: b", "-HC: d" }, { headers = { "A: b", "C: d" } } },
    { { "--", "--json", "-x" }, { "--json", "-x" } },
    { { "-" }, { "-" } },
    { { "--pid", "--json" }, { pid = "--json" } },
  }) do
    it("reads " .. table.concat(case[1], " "), function()
      assert.same(case[2], (options.parse(known, case[1], 1)))
    end)
  end

  it("begins where it is told", function()
    assert.same({ "b" }, (options.parse(known, { "a", "b" }, 2)))
  end)

  for _, case in ipairs({
    { { "--lisen", "x" }, "unknown option '--lisen'; did you mean '--listen'?" },
    { { "--colour" }, "unknown option '--colour'" },
    { { "-x" }, "unknown option '-x'" },
    { { "--pid" }, "'--pid' needs a value: FILE" },
    { { "--json=1" }, "'--json' takes no value" },
  }) do
    it("rejects " .. table.concat(case[1], " "), function()
      local result, problem = options.parse(known, case[1], 1)
      assert.is_nil(result)
      assert.equal(case[2], problem:sub(1, #case[2]))
    end)
  end
end)

describe("options.describe", function()
  it("is two columns", function()
    assert.equal("  --pid FILE  where\n  -x          what\n", options.describe({
      { name = "--pid", value = "FILE", help = "where" }, { name = "-x", help = "what" },
    }))
  end)
end)
