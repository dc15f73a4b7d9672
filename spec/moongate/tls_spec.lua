-- Specs of moongate.tls.

local tls = require("moongate.tls")

local SITE = { status = 200, body = "site" }

local function ask(handler, fields)
  local req = { method = "GET", scheme = "http", host = "a.test", path = "/x", uri = "/x?y=1" }
  for key, value in pairs(fields or {}) do
    req[key] = value
  end
  if req.host == "" then
    req.host = nil
  end
  return handler(req)
end

describe("tls.redirect", function()
  it("sends plain HTTP to https, and lets HTTPS through", function()
    local handler = tls.redirect(SITE)
    assert.same({ redirect = "https://a.test/x?y=1", status = 301 }, ask(handler))
    assert.same({ redirect = "https://a.test/x?y=1", status = 308 },
      ask(handler, { method = "POST" }))
    assert.equal("site", ask(handler, { scheme = "https" }).body)
    assert.equal(400, ask(handler, { host = "" }).status)
    assert.equal("https://a.test:8443/x?y=1", ask(tls.redirect(SITE, { port = 8443 })).redirect)
  end)

  it("answers challenges from a folder, over both", function()
    local handler = tls.redirect(SITE, { acme = "/srv/acme" })
    for _, scheme in ipairs({ "http", "https" }) do
      assert.equal("/srv/acme/.well-known/acme-challenge/ab_C-1",
        ask(handler, { scheme = scheme, path = "/.well-known/acme-challenge/ab_C-1" }).file)
      for _, token in ipairs({ "", "a/b", "..", "a.b", "a%b" }) do
        assert.same({ status = 404 },
          ask(handler, { scheme = scheme, path = "/.well-known/acme-challenge/" .. token }))
      end
    end
  end)

  it("says what is wrong with its options", function()
    assert.has_error(function() tls.redirect(SITE, { acme = "acme" }) end,
      'tls.redirect: acme: expected the absolute path of a folder, got "acme"')
    assert.has_error(function() tls.redirect(SITE, { port = 0 }) end)
    assert.has_error(function() tls.redirect(SITE, { acmee = "/a" }) end)
    assert.has_error(function() tls.redirect(5) end)
  end)
end)
