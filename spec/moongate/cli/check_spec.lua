-- Specs of moongate.cli.check.

local program = require("support.program")

describe("moongate check", function()
  local core, remove
  before_each(function()
    core = program.core()
  end)
  after_each(function()
    if remove then
      remove()
      remove = nil
    end
  end)

  local function check(text, ...)
    local path
    path, remove = program.script(text)
    local status, stdout, stderr = program.run(core, "check", path, ...)
    return status, stdout, stderr, path
  end

  it("says ok", function()
    local status, stdout, stderr = check("return { on_request = print }")
    assert.equal(0, status)
    assert.equal("ok\n", stdout)
    assert.equal("", stderr)
  end)

  it("says what is wrong, and where", function()
    local status, stdout, stderr, path = check("return {\n  on_request = print,\n  lisen = 1,\n}")
    assert.equal(1, status)
    assert.equal("", stdout)
    assert.equal(path .. ":3: unknown key 'lisen'; did you mean 'listen'?\n", stderr)
  end)

  it("names the script as its user does", function()
    local path
    path, remove = program.script("return {")
    local folder = path:match("^(.*)/")
    core.getcwd = function()
      return folder
    end
    local _, _, stderr = program.run(core, "check", "route.lua")
    assert.matches("^route.lua:1: ", stderr)
  end)

  it("loads as another user where it is root", function()
    local became
    core.become = function(user, group)
      became = { user, group }
      return user
    end
    check("return { on_request = print }", "--user", "ann:web")
    assert.same({ "ann", "web" }, became)
  end)

  it("fails where it cannot become that user", function()
    core.become = function()
      return nil, "there is no user 'x'"
    end
    local status, stdout, stderr = check("return { on_request = print }", "--user", "x")
    assert.equal(1, status)
    assert.equal("", stdout)
    assert.equal("there is no user 'x'\n", stderr)
  end)

  it("warns of roots that are not there", function()
    core.existing["/srv/here"] = "directory"
    local status, stdout, stderr, path = check([[
      local php = require("moongate.php")
      php.site { root = "/srv/here", backend = "a" }
      return {
        backends = { a = { servers = ":9000", root = "/srv/a" } },
        on_request = php.site { root = "/srv/b", backend = "a" },
      }]])
    assert.equal(0, status)
    assert.equal("ok\n", stdout)
    assert.equal(path .. ": warning: backends.a.root: /srv/a is not a folder on this machine\n"
      .. path .. ": warning: php.site: /srv/b is not a folder on this machine\n", stderr)
  end)
end)
