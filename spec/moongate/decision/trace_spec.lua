local fake_fs = require("support.fs")
local php = require("moongate.php")
local req = require("support.req")
local router = require("moongate.router")
local trace = require("moongate.decision.trace")

--- Which rules a handler has noted for a request.
local function rules_of(handler, request)
  handler(request)
  return trace.of(request)
end

describe("trace", function()
  local here = "spec/moongate/decision/trace_spec.lua"

  --- The line in which this is called.
  local function line()
    return debug.getinfo(2, "l").currentline
  end

  it("keeps the rules of routers for the request, outer ones first", function()
    local inner, outer = router.new(), router.new()
    inner:path("/a/b", { status = 404 }) local first = line()
    outer:path("/a/*", inner) local second = line()
    assert.equal(("%s:%d path '/a/*' > %s:%d path '/a/b'"):format(here, second, here, first),
      rules_of(outer, req.get("/a/b")))
    assert.is_nil(rules_of(outer, req.get("/x")))
  end)

  it("keeps them apart by request", function()
    local r = router.new()
    r:path("/a", { status = 404 }) local first = line()
    r:path("/b", { status = 404 }) local second = line()
    local one, other = req.get("/a"), req.get("/b")
    r(one)
    r(other)
    assert.equal(("%s:%d path '/a'"):format(here, first), trace.of(one))
    assert.equal(("%s:%d path '/b'"):format(here, second), trace.of(other))
  end)

  it("sees into a function", function()
    local r = router.new()
    r:use({ status = 404 }) local at = line()
    assert.equal(("%s:%d use"):format(here, at), rules_of(function(request)
      local d = r(request)
      return d
    end, req.get("/")))
  end)

  it("names a site", function()
    local site = php.site({ root = "/srv", backend = "a" }, fake_fs.new({})) local at = line()
    assert.equal(("%s:%d php.site"):format(here, at), rules_of(site, req.get("/")))
  end)

  it("says nothing of a plain function, and forgets", function()
    assert.is_nil(rules_of(function()
      return {}
    end, req.get("/")))
    local r, request = router.new({ default = { status = 404 } }), req.get("/")
    assert.is_string(rules_of(r, request))
    trace.forget(request)
    assert.is_nil(trace.of(request))
  end)

  it("holds no rule of a router that is gone", function()
    local gone = setmetatable({}, { __mode = "v" })
    local request = req.get("/")
    do
      local r = router.new({ default = { status = 404 } })
      r(request)
      gone[1] = r
    end
    collectgarbage()
    collectgarbage()
    assert.is_nil(gone[1])
    assert.is_nil(trace.of(request))
  end)
end)
