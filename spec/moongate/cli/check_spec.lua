-- Specs of moongate.cli.check.

local program = require("support.program")

describe("moongate check", function()
  local core
  before_each(function()
    core = program.core()
  end)

  local function check(text, ...)
    return program.run_script(core, "check", text, ...)
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
    local path, remove = program.script("return {")
    finally(remove)
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

  it("warns of pages that are not there, and of a folder that bodies can't be kept in", function()
    core.existing["/srv"] = "directory"
    core.existing["/srv/spool"] = "directory"
    core.existing["/srv/down.html"] = "file"
    core.unwritable["/srv/spool"] = true
    local status, _, stderr, path = check([[
      local router = require("moongate.router")
      local r = router.new { default = { file = "/srv/gone.html" } }
      r:path("/down", { file = "/srv/down.html" })
      r:path("/lost", { file = "/srv/lost.html" })
      return {
        limits = { spool_dir = "/srv/spool" },
        on_request = r,
      }]])
    assert.equal(0, status)
    assert.matches(path .. ":4: router: path '/lost': there is no file /srv/lost.html\n", stderr, 1,
      true)
    assert.matches("there is no file /srv/gone%.html\n", stderr)
    assert.not_matches("down%.html", stderr)
    assert.matches("limits%.spool_dir: the user '[^']+' can't write to the folder /srv/spool "
      .. "%(Permission denied%)", stderr)
  end)

  it("says at most so many warnings, and how many more there are", function()
    local _, _, stderr = check([[
      local php = require("moongate.php")
      for i = 1, 50 do
        php.site { root = "/srv/" .. i, backend = "a" }
      end
      return { backends = { a = ":9000" }, on_request = print }]])
    local _, lines = stderr:gsub("\n", "")
    assert.equal(21, lines)
    assert.matches("30 more of this kind", stderr)
  end)
end)
