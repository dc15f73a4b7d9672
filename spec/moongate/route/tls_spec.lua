-- Specs of moongate.route.tls.

local tls = require("moongate.route.tls")

local PAIR = { cert = "/c.pem", key = "/k.pem" }

local function problem(value)
  local normal, expected, text = tls.check(value)
  assert.is_nil(normal)
  return text or expected
end

local function report(value)
  local lines = {}
  tls.report(function(...)
    lines[#lines + 1] = table.concat({ ... }, " ")
  end, 3, assert(tls.check(value)))
  return lines
end

describe("tls of a listener", function()
  it("is a pair, a list of pairs or a folder", function()
    assert.same({ pairs = { PAIR } }, tls.check(PAIR))
    assert.same({ pairs = { PAIR, PAIR } }, tls.check({ PAIR, PAIR }))
    assert.same({ pairs = {}, folder = "/f" }, tls.check({ folder = "/f" }))
    assert.same({ pairs = { PAIR }, folder = "/f" }, tls.check({ PAIR, folder = "/f" }))
  end)

  it("has rules beside its certificates", function()
    assert.same({ "tls 3 versions 1.3 ", "tls 3 ciphers A:B ", "tls 3 verify required ",
      "tls 3 client_ca /ca.pem ", "tls 3 ktls offered ", "tls 3 pair /c.pem /k.pem",
      "tls 3 folder /f " },
      report({ PAIR, folder = "/f", versions = "1.3", ciphers = { "A", "B" }, verify = "required",
        client_ca = "/ca.pem" }))
  end)

  it("has certificates, or a hook that gives them", function()
    local none, hooked = tls.check({}), tls.check({})
    assert.matches("on_certificate", tls.complete(none, false, ":443"))
    assert.is_nil(tls.complete(hooked, true, ":443"))
    assert.is_nil(tls.complete(tls.check(PAIR), false, ":443"))
    local lines = {}
    tls.report(function(...)
      lines[#lines + 1] = table.concat({ ... }, " ")
    end, 2, hooked)
    assert.same({ "tls 2 ktls offered ", "tls 2 hook on_certificate " }, lines)
  end)

  it("has the kernel's TLS where it may, and never on unix sockets", function()
    local function complete(ktls, address)
      local normal = tls.check({ PAIR, ktls = ktls })
      return tls.complete(normal, false, address), normal.ktls
    end
    assert.same({ "tls 3 ktls asked ", "tls 3 pair /c.pem /k.pem" },
      report({ PAIR, ktls = true }))
    assert.same({ "tls 3 pair /c.pem /k.pem" }, report({ PAIR, ktls = false }))
    assert.is_nil(complete(true, ":443"))
    assert.matches("unix sockets", (complete(true, "unix:/run/x")))
    assert.same({ nil, false }, { complete(nil, "unix:/run/x") })
    assert.same({ nil, false }, { complete(false, "unix:/run/x") })
  end)

  it("bounds what is kept of the hook's answers, for all listeners alike", function()
    local said = tls.check({ cache = 100000, ttl = "24h", misses = 500 })
    assert.same({ pairs = {}, cache = 100000, ttl = 86400, misses = 500 }, said)
    assert.matches("'cache' is about the route's hook on_certificate",
      tls.complete(tls.check({ PAIR, cache = 5 }), false, ":443"))
    assert.is_nil(tls.complete(said, true, ":443"))
    local kept = {}
    assert.is_nil(tls.keep(kept, said))
    assert.is_nil(tls.keep(kept, tls.check({ none_ttl = "1m", ttl = "1440m" })))
    assert.same({ cache = 100000, ttl = 86400, misses = 500, none_ttl = 60 }, kept)
    assert.matches("misses: another listener has 500, this one 30", tls.keep(kept,
      tls.check({ misses = 30 })))
  end)

  it("says what is wrong", function()
    for _, case in ipairs({
      { "x", "a list of them" }, { { cert = "/c.pem" }, "'key' is missing" },
      { { key = "/k.pem" }, "'cert' is missing" }, { { PAIR, { cert = "/c" } }, "%[2%]: 'key'" },
      { { cert = "c.pem", key = "/k.pem" }, "absolute path" },
      { { cert = "/c.pem", key = "/k.pem", kee = 1 }, "unknown key 'kee'" },
      { { PAIR, versions = "1.1" }, "RFC 8996" }, { { PAIR, versions = {} }, '"1.2"' },
      { { PAIR, ciphers = "A B" }, "OpenSSL" }, { { PAIR, verify = "yes" }, '"optional"' },
      { { PAIR, verify = "required" }, "needs 'client_ca'" },
      { { PAIR, client_ca = "/ca" }, "needs verify" }, { { PAIR, ktls = 1 }, "true or false" },
      { { cache = 0 }, "whole number from 1 to 100000, got 0" },
      { { cache = 100001 }, "whole number" }, { { cache = 1.5 }, "whole number" },
      { { misses = "9" }, "whole number from 1 to 1000000" },
      { { none_ttl = "25h" }, "from a second to a day" }, { { none_ttl = 0.5 }, "from a second" },
      { { ttl = 0 }, "of a second at least" }, { { ttl = "soon" }, "a duration" },
      { { { cert = "/c\n.pem", key = "/k" } }, "absolute path" },
    }) do
      assert.matches(case[2], problem(case[1]))
    end
  end)
end)
