-- The commands against real instances and a real PHP-FPM: how they find an instance, what they warn
-- of, what their exit status says.

local php = require("tests.support.php")
local process = require("tests.support.process")
local responder = require("tests.support.responder")
local rig = require("tests.support.rig")
local server = require("tests.support.server")
local stage = require("tests.support.stage")

describe("an instance", function()
  it("is found by its route, by MOONGATE_CONTROL and by --control", function()
    local dir = process.tempdir("control")
    local address = ("unix:%s/control.sock"):format(dir)
    local s = server.start({ route = ([[
      return { control = %q, on_request = function() end }]]):format(address) })
    finally(function() s:stop() end)
    local nowhere = { MOONGATE_CONTROL = "unix:/nonexistent/control.sock" }
    for _, case in ipairs({
      { { "status", s.route_path }, nowhere }, { { "status", "--control", address }, nowhere },
      { { "status" }, { MOONGATE_CONTROL = address } },
    }) do
      local result = server.command(case[1], { env = case[2] })
      assert.equal(0, result.code, result.stderr)
      assert.is_truthy(result.stdout:find(address, 1, true))
    end
    assert.equal(1, server.command({ "status" }, { env = nowhere }).code)
    -- A script that is no good says so, and one without an end is given up.
    stage.write(dir, { ["bad.lua"] = "return 1", ["loop.lua"] = "while true do end" })
    local result = server.command({ "reload", dir .. "/bad.lua" })
    assert.equal(1, result.code)
    assert.matches("bad%.lua.*`%-%-control ADDR` finds its instance without the script",
      result.stderr)
    result = server.command({ "status", dir .. "/loop.lua" }, { timeout = 60 })
    assert.equal(1, result.code)
    -- Either its own processor time is over first, or on a busy machine the time of who asks.
    assert.matches("come to the end of its loading", result.stderr, 1, true)
    -- `run` listens where the environment says, as long as neither the script nor an option does.
    local other = ("unix:%s/other.sock"):format(dir)
    local second = server.start({
      route = "return { on_request = function() end }", env = { MOONGATE_CONTROL = other },
    })
    finally(function() second:stop() end)
    assert.equal(0, server.command({ "status", "--control", other }).code)
  end)
end)

describe("a command whose other side does not come to an end", function()
  it("is over in time: no answer, and one that comes byte for byte", function()
    local back = responder.start()
    finally(function() back:stop() end)
    local function fcgi(query)
      return server.command({
        "fcgi", back.address, "QUERY_STRING=" .. query, "--timeout", "2s",
      })
    end
    local result = fcgi("fail=hang")
    assert.equal(1, result.code)
    assert.matches("no answer within the time", result.stderr, 1, true)
    result = fcgi("size=4000&pieces=400&piece_delay=50")
    assert.equal(1, result.code)
    assert.matches("no end of the answer within the time", result.stderr, 1, true)
  end)

  it("is over in time: whoever listens where an instance should", function()
    local back = responder.start({ args = { "--no-accept" } })
    finally(function() back:stop() end)
    for _, words in ipairs({ { "status" }, { "reload" }, { "hold", "app" } }) do
      words[#words + 1] = "--control"
      words[#words + 1] = back.address
      local result = server.command(words, { timeout = 30 })
      assert.equal(1, result.code)
      assert.matches("no answer within the time", result.stderr, 1, true)
    end
  end)
end)

describe("moongate drain", function()
  it("warns where no server is left, or none that is up", function()
    local r = rig.start({ control = true, responder = { count = 2 } })
    finally(function() r:stop() end)
    local first, second = unpack(r.back.addresses)
    local result = r:command("drain", "app", first)
    assert.same({ 0, "" }, { result.code, result.stderr })
    result = r:command("drain", "app", second)
    assert.equal(0, result.code)
    assert.matches("^warning: backend 'app' has no server left: requests are answered 503",
      result.stderr)
    assert.equal(503, r:get("body=x").status) -- as it says
    assert.equal("", r:command("undrain", "app", first).stderr)
    assert.equal(200, r:get("body=x").status)
  end)
end)

describe("moongate fcgi", function()
  it("asks a real PHP-FPM for its pages with a query, and fails as told", function()
    local fpm = php.start({ pages = "tests/pages" })
    finally(function() fpm:stop() end)
    local function fcgi(...)
      return server.command({ "fcgi", fpm.address, ... })
    end
    local result = fcgi("status", "QUERY_STRING=full")
    assert.equal(0, result.code, result.stderr)
    assert.matches("^pool:.*\nrequest URI:%s+/status", result.stdout)
    for _, format in ipairs({ "json", "xml", "html", "openmetrics", "full&json" }) do
      result = fcgi("status", "QUERY_STRING=" .. format)
      assert.equal(0, result.code, format .. ": " .. result.stdout .. result.stderr)
    end
    assert.equal(0, fcgi("ping").code)
    assert.equal(1, fcgi("ping", "SCRIPT_NAME=/no-such-page").code)
    assert.equal(0, fcgi("--script", fpm.root .. "/hello.php", "--fail").code)
    result = fcgi("--script", fpm.root .. "/absent.php", "--fail")
    assert.equal(1, result.code)
    assert.matches("the status of the answer is 404", result.stderr, 1, true)
    assert.equal(0, fcgi("--script", fpm.root .. "/absent.php").code)
  end)
end)
