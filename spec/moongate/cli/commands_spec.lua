-- Specs of moongate.cli.commands, version and help.

local program = require("support.program")

describe("the command line", function()
  local core
  before_each(function()
    core = program.core()
  end)

  it("prints the version", function()
    for _, word in ipairs({ "version", "--version", "-V" }) do
      local status, stdout = program.run(core, word)
      assert.equal(0, status)
      assert.matches("^moongate 1%.2%.3 %(LuaJIT", stdout)
    end
  end)

  it("lists the commands", function()
    for _, word in ipairs({ "help", "--help", "-h" }) do
      local status, stdout, stderr = program.run(core, word)
      assert.equal(0, status)
      assert.equal("", stderr)
      for _, name in ipairs({
        "run", "serve", "check", "explain", "test", "fcgi", "status", "reload", "stop", "hold",
        "resume", "drain", "undrain", "set", "shadow", "generations", "rollback", "requests",
        "kill", "purge", "tail", "trace", "log%-level", "server", "version", "help",
      }) do
        assert.matches("\n  " .. name .. "[ %[]", stdout)
      end
    end
  end)

  it("explains one command", function()
    for _, words in ipairs({ { "help", "run" }, { "run", "--help" }, { "run", "x", "-h" } }) do
      local status, stdout = program.run(core, unpack(words))
      assert.equal(0, status)
      assert.matches("^usage: moongate run ROUTE.lua", stdout)
      assert.matches("\n  %-%-listen ADDR  ", stdout)
    end
  end)

  it("is wrong without a command", function()
    local status, stdout, stderr = program.run(core)
    assert.equal(2, status)
    assert.equal("", stdout)
    assert.matches("^usage: moongate COMMAND", stderr)
  end)

  for _, case in ipairs({
    { { "rnu" }, "moongate: unknown command 'rnu'; did you mean 'run'?\nusage: moongate COMMAND" },
    { { "colour" }, "moongate: unknown command 'colour'\nusage: moongate COMMAND" },
    { { "help", "chek" }, "moongate help: unknown command 'chek'; did you mean 'check'?\n"
      .. "usage: moongate help [COMMAND]\n" },
    { { "run" }, "moongate run: an argument is missing\nusage: moongate run ROUTE.lua" },
    { { "run", "a", "b" }, "moongate run: 'b' is one argument too many\nusage: moongate run" },
    { { "run", "a", "--lisen", "x" },
      "moongate run: unknown option '--lisen'; did you mean '--listen'?\nusage: moongate run" },
  }) do
    it("rejects: " .. table.concat(case[1], " "), function()
      local status, stdout, stderr = program.run(core, unpack(case[1]))
      assert.equal(2, status)
      assert.equal("", stdout)
      assert.equal(case[2], stderr:sub(1, #case[2]))
    end)
  end
end)
