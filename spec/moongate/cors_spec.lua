-- Specs of moongate.cors.

local cors = require("moongate.cors")
local req_of = require("support.req")

describe("cors.wrap", function()
  local OPTIONS = {
    origins = { "https://app.example", "https://*.app.example" }, credentials = true,
    methods = { "GET", "PUT" }, headers = { "X-Token" }, expose = { "X-Total" }, max_age = "10m",
  }

  local function ask(handler, origin, fields)
    local req = req_of.get("/", fields)
    req.headers.Origin = origin
    return handler(req)
  end

  local function preflight(handler, origin)
    return ask(handler, origin, {
      method = "OPTIONS", headers = { ["Access-Control-Request-Method"] = "PUT" },
    })
  end

  it("lets the origins read that are named, and tells caches of it", function()
    local handler = cors.wrap({ status = 200, body = "x" }, OPTIONS)
    for _, origin in ipairs({ "https://app.example", "https://a.app.example",
      "https://a.b.app.example" }) do
      assert.same({ status = 200, body = "x", headers = {
        ["Access-Control-Allow-Origin"] = origin, ["Access-Control-Allow-Credentials"] = "true",
        ["Access-Control-Expose-Headers"] = "X-Total", Vary = "Origin",
      } }, ask(handler, origin))
    end
    for _, origin in ipairs({ "http://app.example", "https://app.example.evil", "null",
      "https://evilapp.example", "https://.app.example", "https://app.example:8443",
      "https://evil.test/.app.example" }) do
      assert.same({ Vary = "Origin" }, ask(handler, origin).headers, origin)
    end
    assert.same({ Vary = "Origin" }, ask(handler, nil).headers)
  end)

  it("answers preflights itself", function()
    local asked = false
    local handler = cors.wrap(function() asked = true return { status = 200 } end, OPTIONS)
    assert.same({ status = 204, headers = {
      ["Access-Control-Allow-Origin"] = "https://app.example", Vary = "Origin",
      ["Access-Control-Allow-Credentials"] = "true", ["Access-Control-Allow-Methods"] = "GET, PUT",
      ["Access-Control-Allow-Headers"] = "X-Token", ["Access-Control-Max-Age"] = "600",
    } }, preflight(handler, "https://app.example"))
    assert.same({ status = 204, headers = { Vary = "Origin" } },
      preflight(handler, "https://evil.example"))
    assert.is_false(asked)
    ask(handler, "https://app.example", { method = "OPTIONS" })
    assert.is_true(asked)
  end)

  it("may be open to all, or to whom a function says", function()
    local handler = cors.wrap({ status = 200 }, { origins = "*" })
    assert.same({ ["Access-Control-Allow-Origin"] = "*" },
      ask(handler, "https://any.example").headers)
    assert.is_nil(ask(handler, nil).headers)
    handler = cors.wrap(function() end, { origins = function(origin) return origin == "a://b" end })
    local d = ask(handler, "a://b")
    assert.equal(404, d.status)
    assert.equal("a://b", d.headers["Access-Control-Allow-Origin"])
    assert.same({ Vary = "Origin" }, ask(handler, "a://c").headers)
  end)

  for _, case in ipairs({
    { print, 5, "expected a table of options, got 5" },
    { print, {}, "'origins' is missing: who may read the answers" },
    { print, { origins = {} }, "origins: the list is empty" },
    { print, { origins = "app.example" },
      'origins: expected origins such as "https://app.example", '
      .. '"https://*.app.example" or "*", or a function, got "app.example"' },
    { print, { origins = "*", credentials = true }, 'origins: "*" with credentials would let every '
      .. "site read what a visitor sees who is logged in; name the origins" },
    { print, { origins = "*", methods = { "GET, PUT" } },
      'methods: expected names, got "GET, PUT"' },
    { print, { origins = "*", max_age = "soon" },
      'max_age: expected a duration such as 5, "250ms", "2m" or "1h", got "soon"' },
    { print, { origins = "*", expsoe = {} }, "unknown key 'expsoe'; did you mean 'expose'?" },
    { 5, { origins = "*" }, "expected a decision, a function or a router, got 5" },
  }) do
    it("says: " .. case[3], function()
      local ok, message = pcall(function()
        local made = cors.wrap(case[1], case[2])
        return made
      end)
      assert.is_false(ok)
      assert.equal("cors.wrap: " .. case[3], message:match("^[^:]+cors_spec.lua:%d+: (.*)$"))
    end)
  end
end)
