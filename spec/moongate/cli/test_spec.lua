-- Specs of moongate.cli.test: which specs it runs, and what it says of them. Running them is in
-- spec/moongate/testing/specs_spec.lua.

local program = require("support.program")

describe("moongate test", function()
  local core, path, dir, remove, ran, result, problem
  before_each(function()
    path, remove = program.script("return { on_request = print }")
    dir = path:match("^(.*)/")
    core = program.core({ existing = { [dir .. "/spec"] = "directory" } })
    ran, result, problem = nil, { passed = 3, skipped = 0, failed = {} }, nil
    package.preload["moongate.testing.specs"] = function()
      return {
        run = function(paths)
          ran = paths
          return result, problem
        end,
      }
    end
  end)
  after_each(function()
    package.preload["moongate.testing.specs"] = nil
    remove()
  end)

  local function rewrite(text)
    local file = assert(io.open(path, "w"))
    file:write(text)
    file:close()
  end

  it("runs the folder beside the route", function()
    local status, stdout, stderr = program.run(core, "test", path)
    assert.equal("", stderr)
    assert.equal("3 passed, 0 failed\n", stdout)
    assert.equal(0, status)
    assert.same({ dir .. "/spec" }, ran)
  end)

  it("runs the folder that the route names", function()
    for at in (dir .. "/"):gmatch("()/") do
      core.existing[dir:sub(1, at - 1)] = "directory"
    end
    core.existing[dir .. "/checks"] = "directory"
    rewrite('return { test = "checks", on_request = print }')
    assert.equal(0, (program.run(core, "test", path)))
    assert.same({ dir .. "/checks" }, ran)
  end)

  it("runs what is named", function()
    core.existing["/home/ann/a_spec.lua"], core.existing["/b"] = "file", "directory"
    assert.equal(0, (program.run(core, "test", path, "a_spec.lua", "/b")))
    assert.same({ "/home/ann/a_spec.lua", "/b" }, ran)
    ran = nil
    local status, _, stderr = program.run(core, "test", path, "none")
    assert.equal(1, status)
    assert.equal("moongate: none: there is no such file or folder\n", stderr)
    assert.is_nil(ran)
  end)

  it("gives them the time of a reload, or what is said", function()
    assert.equal(0, (program.run(core, "test", path)))
    assert.same({ "specs", nil }, core.bound)
    assert.equal(0, (program.run(core, "test", path, "--timeout", "2m")))
    assert.same({ "specs", 120 }, core.bound)
    assert.equal(2, (program.run(core, "test", path, "--timeout", "0")))
    assert.equal(2, (program.run(core, "test", path, "--timeout", "soon")))
  end)

  it("fails with the specs", function()
    result = { passed = 1, skipped = 2, failed = { "a_spec.lua:1: x", "a_spec.lua:9: y" } }
    local status, stdout, stderr = program.run(core, "test", path)
    assert.equal(1, status)
    assert.equal("1 passed, 2 failed, 2 not run\n", stdout)
    assert.equal("a_spec.lua:1: x\na_spec.lua:9: y\n", stderr)
  end)

  it("says why none is run", function()
    result, problem = nil, "busted is not installed"
    local status, stdout, stderr = program.run(core, "test", path)
    assert.equal(1, status)
    assert.equal("", stdout)
    assert.equal("moongate: busted is not installed\n", stderr)
    core.existing = {}
    status, stdout, stderr = program.run(core, "test", path)
    assert.equal(1, status)
    assert.equal("", stdout)
    assert.equal(("moongate: %s: it names no folder of specs ('test'), and there is no %s/spec\n")
      :format(path, dir), stderr)
  end)

  it("runs them as the user of the route, and not where that can't be", function()
    local became
    core.become = function(user, group)
      became = { user, group }
      return nil, "there is no user 'web'"
    end
    local status, _, stderr = program.run(core, "test", path, "--user", "web:www")
    assert.equal(1, status)
    assert.same({ "web", "www" }, became)
    assert.equal("there is no user 'web'\n", stderr)
    assert.is_nil(ran)
  end)

  it("runs nothing for a route that is not valid", function()
    rewrite("return {\nlisten = 5 }")
    local status, _, stderr = program.run(core, "test", path)
    assert.equal(1, status)
    assert.matches("^" .. path:gsub("%p", "%%%0") .. ":2: listen: expected", stderr)
    assert.is_nil(ran)
  end)
end)
