-- Specs of moongate.route.strict.

local strict = require("moongate.route.strict")

describe("strict.environment", function()
  local globals, environment, seal
  before_each(function()
    globals = { print = print, tostring = tostring }
    environment, seal = strict.environment(globals)
  end)

  local function run(text)
    return setfenv(assert(loadstring(text, "@route.lua")), environment)()
  end

  it("shows the globals that there are", function()
    assert.equal(print, run("return print"))
  end)

  it("shows globals that a module sets later", function()
    globals.later = 5
    assert.equal(5, run("return later"))
  end)

  it("rejects the others, with a suggestion", function()
    local ok, message = pcall(run, "\nreturn prnt")
    assert.is_false(ok)
    assert.equal("route.lua:2: undeclared global 'prnt'; did you mean 'print'?", message)
  end)

  it("keeps what the script sets to the script", function()
    assert.equal(1, run("count = 1 return count"))
    assert.is_nil(globals.count)
  end)

  it("lets a sealed script change its globals, but add none", function()
    run("count = 1")
    seal()
    assert.equal(2, run("count = 2 return count"))
    local ok, message = pcall(run, "other = 1")
    assert.is_false(ok)
    assert.equal("route.lua:1: global 'other' set while requests run; say 'local', or use req.ctx",
      message)
  end)
end)
