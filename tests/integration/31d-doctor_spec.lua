-- `moongate doctor` on a real PHP-FPM: what it says of a route and of a pool that fit, and of some
-- that don't.

local json = require("moongate.base.json")
local php = require("tests.support.php")
local process = require("tests.support.process")
local server = require("tests.support.server")
local stage = require("tests.support.stage")

local ROUTE = [[
local php = require("moongate.php")
return {
  control = %q,
  limits = { connections = %d },
  backends = { app = { servers = %q, max_conns = %d, health = true } },
  on_request = php.site({ root = %q, backend = "app" }),
}
]]

describe("moongate doctor", function()
  local user = php.user()
  local pool = { "listen.mode = 0660", "request_terminate_timeout = 70s" }
  if user then
    table.insert(pool, "listen.owner = " .. user)
  end
  local fpm = php.start({ pages = "tests/pages", children = 3, pool = pool })
  teardown(function() fpm:stop() end)

  local function doctor(text, ...)
    local path = stage.files({ ["route.lua"] = text }) .. "/route.lua"
    local argv = { server.binary(), "doctor", path, "--pool-dir", fpm.dir }
    for _, word in ipairs({ ... }) do
      argv[#argv + 1] = word
    end
    return process.run({ argv = argv }, 60)
  end

  local function route(change)
    local v = {
      control = "unix:" .. fpm.dir .. "/none.sock", connections = 0, address = fpm.address,
      max_conns = 3, root = fpm.root,
    }
    for key, value in pairs(change or {}) do
      v[key] = value
    end
    return ROUTE:format(v.control, v.connections, v.address, v.max_conns, v.root)
  end

  it("has nothing to say where all fits", function()
    local result = doctor(route(), "--json")
    local said = json.decode(result.stdout)
    assert.equal(1, said.pools)
    for _, one in ipairs(said.findings) do
      -- How many files this process may open, and that no instance runs, is the machine's affair.
      if one.where ~= "open files" and one.level == "finding" then
        error(one.where .. ": " .. one.what)
      end
    end
  end)

  it("says what to change, and where", function()
    local result = doctor(route({ max_conns = 9, root = fpm.dir .. "/gone" }))
    assert.equal(1, result.code, result.stdout .. result.stderr)
    for _, expected in ipairs({
      "max_conns is 9, and pool 'www' (" .. fpm.dir .. "/php-fpm.conf:",
      "has pm.max_children = 3: 6 requests",
      "Set max_conns = 3, or pm.max_children = 9",
      fpm.dir .. "/gone: No such file or directory",
      "things to change; looked at ",
    }) do
      assert.truthy(result.stdout:find(expected, 1, true), result.stdout)
    end
  end)

  it("connects as the user who would serve", function()
    if not user then
      return
    end
    local socket = fpm.address:match("^unix:(.*)$")
    assert(os.execute("chown root: " .. process.quote(socket)) == 0)
    finally(function()
      os.execute(("chown %s: %s"):format(user, process.quote(socket)))
    end)
    local result = doctor(route())
    assert.equal(1, result.code)
    assert.truthy(result.stdout:find("the user '" .. user .. "' may not connect", 1, true),
      result.stdout)
  end)

  it("asks the instance that runs", function()
    local control = "unix:" .. process.tempdir("control") .. "/control.sock"
    local text = route({ control = control, connections = 1e9 })
    local s = server.start({ route = text, workers = 2, control = control })
    finally(function() s:stop() end)
    local result = doctor(text)
    assert.equal(1, result.code)
    assert.truthy(result.stdout:find("The instance at " .. control .. " (pid ", 1, true),
      result.stdout)
    assert.truthy(result.stdout:find("1000000000 clients over 2 workers", 1, true), result.stdout)
    -- A load that has failed is named with its line as long as no later one has served.
    s:rewrite("return }")
    assert.equal(1, server.command({ "reload", "--control", control }).code)
    assert.matches("the last load failed %(reload%): [^\n]*route%.lua:1: ", doctor(text).stdout)
    s:rewrite(text)
    assert.equal(0, server.command({ "reload", "--control", control }).code)
    assert.is_nil(doctor(text).stdout:find("the last load failed", 1, true))
  end)

  it("needs no route to look at pools", function()
    local result = process.run({ argv = { server.binary(), "doctor", "--pool-dir", fpm.dir } }, 60)
    assert.equal(0, result.code, result.stdout)
    assert.truthy(result.stdout:find("looked at no route and 1 pool of PHP-FPM", 1, true))
    local wrong = process.run({ argv = { server.binary(), "doctor", "a", "b" } }, 60)
    assert.equal(2, wrong.code)
  end)
end)
