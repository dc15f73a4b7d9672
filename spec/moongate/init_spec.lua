-- Specs of moongate (init), as scripts see it.

describe("moongate", function()
  local core, moongate

  before_each(function()
    core = { version = "9.8.7", lines = {} }
    function core.log(level, text)
      core.lines[#core.lines + 1] = level .. ": " .. text
    end
    package.loaded["moongate.core"] = core
    package.loaded["moongate"] = nil
    moongate = require("moongate")
  end)
  after_each(function()
    package.loaded["moongate.core"] = nil
    package.loaded["moongate"] = nil
  end)

  it("knows its version", function()
    assert.equal("9.8.7", moongate.version)
  end)

  it("logs", function()
    moongate.log("info", "%s is %d", "x", 5)
    moongate.log("error", "100%")
    assert.same({ "info: x is 5", "error: 100%" }, core.lines)
  end)

  it("rejects levels that there are not", function()
    local ok, message = pcall(function()
      moongate.log("inof", "x")
    end)
    assert.is_false(ok)
    assert.matches("init_spec.lua:%d+: log: expected \"debug\", \"info\", \"warn\" or "
      .. "\"error\", got \"inof\"; did you mean 'info'%?$", message)
  end)

  it("knows the time", function()
    core.now = function()
      return 1234.5
    end
    assert.equal(1234.5, moongate.now())
  end)

  it("escapes and unescapes", function()
    assert.equal("a%2Fb", moongate.escape("a/b"))
    assert.equal("a/b", moongate.unescape("a%2Fb"))
  end)

  it("says what there is not", function()
    local ok, message = pcall(function()
      return moongate.escpae
    end)
    assert.is_false(ok)
    assert.matches("moongate: there is no 'escpae'; did you mean 'escape'%?$", message)
  end)
end)
