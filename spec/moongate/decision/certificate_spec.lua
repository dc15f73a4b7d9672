-- Specs of moongate.decision.certificate.

local certificate = require("moongate.decision.certificate")

local PEM = "-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----\n"
local KEY = "-----BEGIN PRIVATE KEY-----\nx\n-----END PRIVATE KEY-----\n"

local function answer(value)
  return certificate.wrap(function(name)
    assert.equal("a.test", name)
    return value
  end, 3600)("a.test")
end

describe("what on_certificate returns", function()
  it("is PEM or paths, and for how long it is good", function()
    assert.same({ PEM, KEY, 3600 }, { answer({ cert = PEM, key = KEY }) })
    assert.same({ "/c.pem", KEY, 90 }, { answer({ cert = "/c.pem", key = KEY, ttl = 90 }) })
    assert.same({ PEM, "/k.pem", 600 }, { answer({ cert = PEM, key = "/k.pem", ttl = "10m" }) })
  end)

  it("is nil where there is none", function()
    assert.is_nil(answer(nil))
  end)

  it("is refused in a sentence that has nothing of a key", function()
    for _, case in ipairs({
      { true, "expected { cert = ..., key = ... } or nil, got true" },
      { { key = KEY }, "cert: expected PEM or an absolute path, got nothing" },
      { { cert = PEM }, "key: expected PEM or an absolute path, got nothing" },
      { { cert = "c.pem", key = KEY }, 'cert: expected PEM or an absolute path, got "c.pem"' },
      { { cert = PEM, key = "secret" }, "key: expected PEM or an absolute path, got neither" },
      { { cert = PEM, key = 5 }, "key: expected PEM or an absolute path, got 5" },
      { { cert = PEM, key = "/a\nb" }, "got neither" },
      { { cert = PEM, key = KEY .. ("x"):rep(1024 ^ 2) }, "key: more than 1048576 bytes" },
      { { cert = PEM, key = KEY, ttl = "long" }, "ttl: expected a duration" },
      { { cert = PEM, key = KEY, ttl = -1 }, "got -1" },
      { { cert = PEM, key = KEY, ttl = 0 / 0 }, "ttl: expected a duration" },
      { { cert = PEM, kye = KEY }, "unknown key 'kye'; did you mean 'key'?" },
    }) do
      local ok, problem = pcall(answer, case[1])
      assert.is_false(ok)
      assert.matches("^it returned a certificate that can't be used: ", problem)
      assert.is_truthy(problem:find(case[2], 1, true), problem)
    end
  end)
end)
