-- Specs of moongate.maintenance and moongate.runtime.

local loaded = require("support.loaded")
local req_of = require("support.req")
local shared = require("support.shared")

describe("moongate.maintenance", function()
  local maintenance, registry, runtime
  local NAMES = { "moongate", "moongate.runtime", "moongate.maintenance" }

  setup(function()
    loaded.forget(NAMES)
    package.loaded["moongate"] = { shared = shared.open }
    maintenance = require("moongate.maintenance")
    runtime = require("moongate.runtime")
    registry = require("moongate.route.registry")
  end)
  teardown(function()
    loaded.restore()
    shared.forget()
  end)
  before_each(function()
    shared.clear()
    registry.begin()
  end)
  after_each(function()
    registry.done()
  end)

  local function ask(closed, path, ip)
    return closed(req_of.get(path or "/", { ip = ip or "203.0.113.1" }))
  end

  it("is off until it is set", function()
    local closed = maintenance.new { name = "shop", retry_after = "10m" }
    assert.is_nil(ask(closed))
    assert.is_true(runtime.set("maintenance.shop", "on"))
    assert.same({ status = 503, headers = {
      ["Retry-After"] = "600", ["Cache-Control"] = "no-store" } }, ask(closed))
    assert.same({ ["maintenance.shop"] = "on" }, runtime.list())
    assert.is_true(runtime.set("maintenance.shop", "off"))
    assert.is_nil(ask(closed))
  end)

  it("has a page, and lets some see the site", function()
    local closed = maintenance.new {
      name = "shop", on = true, page = "/srv/soon.html", allow = { "10.0.0.0/8", "unix:" },
      except = { "^/health$", "^/%.well%-known/" },
    }
    assert.same({ file = "/srv/soon.html", status = 503,
      headers = { ["Cache-Control"] = "no-store" } }, ask(closed))
    assert.is_nil(ask(closed, "/", "10.1.2.3"))
    assert.is_nil(ask(closed, "/", "unix:"))
    assert.is_nil(ask(closed, "/health"))
    assert.is_nil(ask(closed, "/.well-known/x"))
    assert.equal(503, ask(closed, "/health/x").status)
    closed = maintenance.new {
      name = "api", on = true, page = { status = 503, body = "{}", headers = { A = "b" } },
    }
    assert.same({ status = 503, body = "{}",
      headers = { A = "b", ["Cache-Control"] = "no-store" } }, ask(closed))
  end)

  it("keeps its first value where what was set is of another script", function()
    local closed = maintenance.new { name = "shop" }
    shared.open("moongate.values"):set("maintenance.shop", "10%")
    assert.is_nil(ask(closed))
  end)

  it("says what can be set, and to what", function()
    assert.same({ nil, "the route has no value that can be set", true },
      { runtime.set("maintenance.shop", "on") })
    maintenance.new { name = "shop" }
    local done, problem, unknown = runtime.set("maintenance.shpo", "on")
    assert.is_nil(done)
    assert.equal("the route has no value 'maintenance.shpo'; did you mean 'maintenance.shop'?",
      problem)
    assert.is_true(unknown)
    done, problem, unknown = runtime.set("maintenance.shop", "yes")
    assert.is_nil(done)
    assert.equal("maintenance.shop: expected \"on\" or \"off\", got 'yes'", problem)
    assert.is_nil(unknown)
  end)

  for _, case in ipairs({
    { 5, "expected a table of options, got 5" },
    { {}, "name: expected letters, digits, '_' and '-', by which `moongate set maintenance.NAME "
      .. "on` finds it, got nothing" },
    { { name = "a", nmae = 1 }, "unknown key 'nmae'; did you mean 'name'?" },
    { { name = "a", on = "yes" }, 'on: expected true or false, got "yes"' },
    { { name = "a", page = "soon.html" }, 'page: expected an absolute path, got "soon.html"' },
    { { name = "a", page = { statsu = 1 } },
      "page: unknown key 'statsu' in a decision; did you mean 'status'?" },
    { { name = "a", except = "[" }, 'except: "[" is not a Lua pattern' },
    { { name = "a", retry_after = "0s" }, 'retry_after: expected a duration such as 5, "250ms", '
      .. '"2m" or "1h", of a second at least, got "0s"' },
    { { name = "a", allow = "office" }, "allow: 'office': expected an address or a network such as "
      .. '"10.0.0.1", "10.0.0.0/8", "2001:db8::/32" or "unix:"' },
  }) do
    it("says: " .. case[2], function()
      local ok, message = pcall(function()
        local made = maintenance.new(case[1])
        return made
      end)
      assert.is_false(ok)
      assert.equal("maintenance.new: " .. case[2],
        message:match("^[^:]+maintenance_spec.lua:%d+: (.*)$"))
    end)
  end

  it("refuses a name that is there", function()
    maintenance.new { name = "shop" }
    local ok, message = pcall(maintenance.new, { name = "shop" })
    assert.is_false(ok)
    assert.matches("there is a 'maintenance.shop' already; give each a name of its own", message)
  end)
end)
