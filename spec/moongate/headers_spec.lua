-- Specs of moongate.headers.

local headers = require("moongate.headers")
local req_of = require("support.req")

describe("headers.wrap", function()
  it("adds to every kind of decision, and leaves what it says itself", function()
    local given = { status = 200, headers = { ["x-a"] = "own" } }
    local handler = headers.wrap(function() return given end, { ["X-A"] = "1", ["X-B"] = "2" })
    assert.same({ status = 200, headers = { ["x-a"] = "own", ["X-B"] = "2" } },
      handler(req_of.get("/")))
    assert.same({ status = 200, headers = { ["x-a"] = "own" } }, given)
    assert.same({ root = "/srv", headers = { A = "b" } },
      headers.wrap({ root = "/srv" }, { A = "b" })(req_of.get("/")))
    assert.same({ close = true }, headers.wrap({ close = true }, { A = "b" })(req_of.get("/")))
  end)

  it("makes nil the 404 that it is, without what describes a content", function()
    local handler = headers.wrap(function() end, { A = "b", ["Cache-Control"] = "max-age=9" })
    assert.same({ status = 404, headers = { A = "b" } }, handler(req_of.get("/")))
  end)

  it("asks a function, and passes on what a router captured", function()
    local handler = headers.wrap(function(_, name) return { status = 200, body = name } end,
      function(req) return req.path == "/a" and { A = "b" } or nil end)
    assert.same({ status = 200, body = "x", headers = { A = "b" } }, handler(req_of.get("/a"), "x"))
    assert.same({ status = 200, body = "x" }, handler(req_of.get("/b"), "x"))
  end)

  for _, case in ipairs({
    { 5, {}, "expected a decision, a function or a router, got 5" },
    { { statsu = 1 }, {}, "unknown key 'statsu' in a decision; did you mean 'status'?" },
    { print, { ["a b"] = "c" }, "headers: 'a b' cannot be the name of a header" },
    { print, nil, "headers: expected a table of headers, got nothing" },
  }) do
    it("says: " .. case[3], function()
      local ok, message = pcall(function()
        local made = headers.wrap(case[1], case[2])
        return made
      end)
      assert.is_false(ok)
      assert.equal("headers.wrap: " .. case[3],
        message:match("^[^:]+headers_spec.lua:%d+: (.*)$"))
    end)
  end
end)

describe("headers.always", function()
  it("adds the key, and leaves what a decision says itself", function()
    local given = { status = 200, always = { ["x-a"] = "own" } }
    local handler = headers.always(function() return given end, { ["X-A"] = "1", B = "2" })
    assert.same({ status = 200, always = { ["x-a"] = "own", B = "2" } }, handler(req_of.get("/")))
    assert.same({ status = 200, always = { ["x-a"] = "own" } }, given)
    assert.same({ close = true }, headers.always({ close = true }, { A = "b" })(req_of.get("/")))
    assert.same({ status = 404, always = { A = "b" } },
      headers.always(function() end, function() return { A = "b" } end)(req_of.get("/")))
    assert.same({ root = "/srv" },
      headers.always({ root = "/srv" }, function() end)(req_of.get("/")))
  end)

  it("says what is wrong", function()
    local ok, message = pcall(function()
      local made = headers.always(print, { ["a b"] = "c" })
      return made
    end)
    assert.is_false(ok)
    assert.matches("headers_spec.lua:%d+: headers.always: always: 'a b' cannot be the name of a "
      .. "header$", message)
  end)
end)

describe("headers.secure", function()
  local PLAIN = {
    ["X-Content-Type-Options"] = "nosniff", ["X-Frame-Options"] = "SAMEORIGIN",
    ["Referrer-Policy"] = "strict-origin-when-cross-origin",
  }

  it("are the usual ones, and HSTS over https only", function()
    local of = headers.secure()
    assert.same(PLAIN, of({ scheme = "http" }))
    local secure = { ["Strict-Transport-Security"] = "max-age=31536000" }
    for name, value in pairs(PLAIN) do
      secure[name] = value
    end
    assert.same(secure, of({ scheme = "https" }))
  end)

  it("are what the options say", function()
    local of = headers.secure { hsts = false, frame = false, csp = "default-src 'self'" }
    assert.same({
      ["X-Content-Type-Options"] = "nosniff", ["Content-Security-Policy"] = "default-src 'self'",
      ["Referrer-Policy"] = "strict-origin-when-cross-origin",
    }, of({ scheme = "https" }))
    assert.has_error(function() headers.secure { hst = "" } end,
      "headers.secure: unknown key 'hst'; did you mean 'hsts'?")
    assert.has_error(function() headers.secure { csp = true } end,
      "headers.secure: csp: expected a text or false, got true")
    assert.has_error(function() headers.secure(5) end,
      "headers.secure: expected a table of options, got 5")
  end)
end)
