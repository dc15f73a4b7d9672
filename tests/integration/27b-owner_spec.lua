-- owner of a server: no request goes to a unix socket that is another user's.

local process = require("tests.support.process")
local responder = require("tests.support.responder")
local rig = require("tests.support.rig")
local server = require("tests.support.server")

local function output(command)
  local pipe = assert(io.popen(command))
  local text = pipe:read("*a"):gsub("%s+$", "")
  pipe:close()
  return text
end

local UID = tonumber(output("id -u"))
local NAME = output("id -un")
local OTHER = UID == 1 and 2 or 1

local function with(owner)
  return { servers = function(addresses)
    return ("{ address = %q, owner = %s }"):format(addresses[1], owner)
  end }
end

describe("a server with an owner", function()
  for _, owner in ipairs({ ("%q"):format(NAME), tostring(UID) }) do
    it("is asked where the socket is that user's: " .. owner, function()
      local r = rig.start(with(owner))
      finally(function() r:stop() end)
      assert.equal(200, r:get("size=1").status)
    end)
  end

  it("is not asked where it is another one's, and the log says whose", function()
    local r = rig.start(with(OTHER))
    finally(function() r:stop() end)
    local mark = r.server:mark()
    assert.equal(503, r:get("size=1").status)
    local line = r.server:wait_log("the socket is not of the user that `owner` names", nil, mark)
    assert.is_truthy(line:find("its file is of " .. NAME .. ":", 1, true), line)
    assert.equal(0, #r:events("START"))
  end)

  it("is root's with a file of the owner, as PHP-FPM does it", function()
    if UID ~= 0 then
      pending("only root can give a file away")
      return
    end
    local r = rig.start(with(OTHER))
    finally(function() r:stop() end)
    local path = r.back.addresses[1]:match("^unix:(.*)$")
    assert.equal("", output(("chown %d %s && chmod 666 %s"):format(OTHER, path, path)))
    assert.equal(200, r:get("size=1").status)
  end)

  it("is looked at by explain and check", function()
    local back = responder.start()
    finally(function() back:stop() end)
    local route = process.tempdir("owner") .. "/route.lua"
    local function with_owner(owner)
      process.write_file(route, ([[return {
        backends = { app = { servers = { { address = %q, owner = %s } } } },
        on_request = function() return { backend = "app", docroot = "/a" } end,
      }]]):format(back.addresses[1], owner))
    end
    with_owner(OTHER)
    local out = server.command({ "explain", route, "/x.php" })
    assert.equal(1, out.code, out.stdout)
    assert.is_truthy(out.stdout:find(("the socket is not of the user that `owner` names, uid %d; "
      .. "its file is of uid %d"):format(OTHER, UID), 1, true), out.stdout)
    out = server.command({ "check", route })
    local said = ("is of uid %d, and its 'owner' is uid %d (uid %d)"):format(UID, OTHER, OTHER)
    assert.is_truthy(out.stderr:find(said, 1, true), out.stderr)
    with_owner(("%q"):format(NAME))
    out = server.command({ "explain", route, "/x.php" })
    assert.is_truthy(out.stdout:find(("the socket is of %s, as its 'owner' says"):format(NAME), 1,
      true), out.stdout)
    assert.equal("", server.command({ "check", route }).stderr)
    for owner, sentence in pairs({
      ['"nobody.of.that.name"'] = "there is no user 'nobody.of.that.name' on this machine",
      ["{}"] = 'expected the name or the number of a user such as "alice" or 1001, got a table',
      ["-1"] = 'expected the name or the number of a user such as "alice" or 1001, got -1',
    }) do
      with_owner(owner)
      out = server.command({ "check", route })
      assert.equal(1, out.code)
      assert.is_truthy(out.stderr:find(route .. ":2: backends.app.servers", 1, true), out.stderr)
      assert.is_truthy(out.stderr:find(sentence, 1, true), out.stderr)
    end
  end)

  it("is a unix socket", function()
    local route = process.tempdir("owner") .. "/route.lua"
    process.write_file(route, [[return {
      backends = { app = { servers = { { address = "127.0.0.1:9", owner = 0 } } } },
      on_request = function() return nil end,
    }]])
    local out = server.command({ "check", route })
    assert.equal(1, out.code)
    assert.is_truthy(out.stderr:find(route
      .. ":2: backends.app.servers: owner: 127.0.0.1:9 is no unix socket", 1, true), out.stderr)
  end)
end)
