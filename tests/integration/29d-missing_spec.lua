-- "Primary script unknown": a line of the error log where the route or the disk is at fault, and
-- none at the default level where a client has asked for a script that a site does not have.

local http = require("tests.support.http")
local json = require("moongate.base.json")
local process = require("tests.support.process")
local rig = require("tests.support.rig")

local UNKNOWN = "stderr=" .. http.escape("Primary script unknown") .. "&status=404"
local DENIED = "stderr=" .. http.escape("Access to the script '/x' has been denied (see "
  .. "security.limit_extensions)") .. "&status=403"

local HOOK = [[
  local case = req.args.Case
  if case == "front" then return { backend = "app", root = %q, script = "/front.php" } end
  if case == "named" then
    return { backend = "app", root = %q, script_filename = "/srv/elsewhere/x.php" }
  end
  if case == "lost" then return { backend = "app", root = %q .. "/lost" } end
  if case == "far" then return { backend = "app", docroot = "/srv/in/a/container" } end
  if case == "mapped" then
    return { backend = "app", root = %q, docroot = "/srv/in/a/container" }
  end
  do return { backend = "app", root = %q } end
]]

describe("a script that PHP does not find", function()
  local r, folder

  local function start(level)
    folder = process.tempdir("site")
    process.chmod(folder, "755")
    process.write_file(folder .. "/there.php", "")
    r = rig.start({
      control = true, on_request = (HOOK:gsub("%%q", ("%q"):format(folder))),
      settings = ("log = { access = false, level = %q }"):format(level),
    })
    finally(function() r:stop() end)
  end

  --- Asks for a path, and returns the line of the error log about it, if there is one.
  local number = 0
  local function line_of(path, commands)
    number = number + 1
    local mark, tag = r.server:mark(), "N=" .. number
    assert.truthy(r:get("", { path = ("%s?%s&%s"):format(path, commands, tag) }).status >= 400)
    -- A line that comes in any case, behind it.
    r:get("", { path = "/there.php?status=404&stderr=behind%20" .. number })
    r.server:wait_log("behind " .. number .. ";", nil, mark)
    for line in r.server:errors():sub(mark + 1):gmatch("[^\n]+") do
      if line:find(tag, 1, true) then
        return line
      end
    end
  end

  it("is no line at the default level where a client has made it up", function()
    start("info")
    assert.is_nil(line_of("/wp-login.php", UNKNOWN))
    assert.is_nil(line_of("/wp-login.php", "Case=mapped&" .. UNKNOWN))
    assert.is_nil(line_of("/no/such/folder/x.php", UNKNOWN))
  end)

  it("is one at the level debug, with all that explains it", function()
    start("debug")
    local line = line_of("/wp-login.php", UNKNOWN)
    assert.matches("[debug]", line, 1, true)
    assert.matches("SCRIPT_FILENAME was '" .. folder .. "/wp-login.php'", line, 1, true)
    assert.matches("it does not exist here", line, 1, true)
    assert.matches("request %x+, host localhost$", line)
  end)

  it("is an error where the route has named it, or the site is not there", function()
    start("info")
    for _, case in ipairs({ "front", "named", "lost" }) do
      local line = line_of("/wp-login.php", ("Case=%s&%s"):format(case, UNKNOWN))
      assert.matches("[error]", line, 1, true)
      assert.matches("SCRIPT_FILENAME was", line, 1, true)
    end
  end)

  it("is an error where it is there, or PHP must not run it", function()
    start("info")
    assert.matches("[error]", line_of("/there.php", UNKNOWN), 1, true)
    assert.matches("[error]", line_of("/there.php", "Case=mapped&" .. UNKNOWN), 1, true)
    assert.matches("[error]", line_of("/wp-login.php", DENIED), 1, true)
  end)

  it("is a warning now and then where the site is not on this machine", function()
    start("info")
    local first, more = line_of("/wp-login.php", "Case=far&" .. UNKNOWN), 0
    assert.matches("[warn]", first, 1, true)
    for _ = 1, 5 do
      more = more + (line_of("/wp-login.php", "Case=far&" .. UNKNOWN) and 1 or 0)
    end
    assert.is_true(more <= 2, more) -- one in ten seconds
  end)

  it("is in `moongate status`, where scripts that clients make up have one entry", function()
    start("info")
    for i = 1, 40 do
      r:get("", { path = ("/made-up-%d.php?%s"):format(i, UNKNOWN) })
    end
    line_of("/there.php", "status=404&stderr=real")
    local scripts = {}
    local res = http.request(r.control, { path = "/messages" })
    for _, message in ipairs(json.decode(res.body).messages) do
      scripts[message.script] = message.count
    end
    assert.equal(40, scripts[folder])
    assert.is_number(scripts[folder .. "/there.php"])
  end)
end)
