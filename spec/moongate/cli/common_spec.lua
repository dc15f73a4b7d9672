-- Specs of moongate.cli.common. What its users make of it is in their own specs.

local program = require("support.program")

describe("common", function()
  local common
  setup(function()
    program.install(program.core())
    common = require("moongate.cli.common")
  end)
  teardown(function() program.install(nil) end)

  it("reads an address, and says which option had a wrong one", function()
    assert.same({ "127.0.0.1:9000" }, { common.address("--php", "127.0.0.1:9000", "connect") })
    local address, problem = common.address("--control", "x", "listen", ", or off")
    assert.is_nil(address)
    assert.matches("^%-%-control: 'x': expected an address such as .*, or off$", problem)
    assert.matches("^'x': expected an address", (select(2, common.address(nil, "x", "connect"))))
  end)

  it("writes a file, or says why it can't be written whole", function()
    local path = os.tmpname()
    assert.is_nil(common.write(path, "text"))
    local file = assert(io.open(path))
    assert.equal("text", file:read("*a"))
    file:close()
    os.remove(path)
    assert.matches("^/dev/full: .*No space left", common.write("/dev/full", "text"))
    assert.matches("^/none/x: No such file", common.write("/none/x", "text"))
  end)
end)
