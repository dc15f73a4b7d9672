-- Specs of moongate.auth: who passes by address and by signature, and what is wrong with options.
-- Logins are in tests/integration/69b-auth_spec.lua, since they wait.

local loaded = require("support.loaded")
local req_of = require("support.req")

describe("moongate.auth", function()
  local auth, registry, now
  local NAMES = { "moongate", "moongate.core", "moongate.hash", "moongate.random", "moongate.limit",
    "moongate.auth", "moongate.auth.basic", "moongate.auth.checks", "moongate.auth.signature",
    "moongate.auth.signed" }
  local KEY = ("k"):rep(16)

  setup(function()
    loaded.forget(NAMES)
    package.loaded["moongate.core"] = {
      base64 = function(text) return (text:gsub(".", function(c) return c:byte() .. "-" end)) end,
      unbase64 = function(text)
        return (text:gsub("(%d+)%+", function(n) return string.char(n) end))
      end,
      hmac = function(_, key, text) return key .. text end,
      equal = function(a, b) return a == b end,
    }
    package.loaded["moongate"] = {
      now = function() return now end,
      unescape = function(text)
        return (text:gsub("%%(%x%x)", function(hex) return string.char(tonumber(hex, 16)) end))
      end,
    }
    auth = require("moongate.auth")
    registry = require("moongate.route.registry")
  end)
  teardown(loaded.restore)
  before_each(function()
    now = 1000
    registry.begin()
  end)
  after_each(function()
    registry.done()
  end)

  it("asks where a request comes from", function()
    local function status(guard, ip)
      local d = guard(req_of.get("/", { ip = ip }))
      return d and d.status
    end
    local guard = auth.addresses { allow = { "10.0.0.0/8", "unix:" }, deny = "10.6.6.6" }
    assert.is_nil(status(guard, "10.1.2.3"))
    assert.is_nil(status(guard, "unix:"))
    assert.equal(403, status(guard, "10.6.6.6"))
    assert.equal(403, status(guard, "11.0.0.1"))
    guard = auth.addresses { deny = "10.0.0.0/8", answer = { status = 404 } }
    assert.equal(404, status(guard, "10.1.2.3"))
    assert.is_nil(status(guard, "::1"))
  end)

  it("lets pass whom any of several guards does", function()
    local office = auth.addresses { allow = "10.0.0.0/8" }
    local home = auth.addresses { allow = "192.0.2.1", answer = { status = 401 } }
    local any = auth.any(office, home)
    assert.is_nil(any(req_of.get("/", { ip = "10.0.0.1" })))
    assert.is_nil(any(req_of.get("/", { ip = "192.0.2.1" })))
    assert.same({ status = 401 }, any(req_of.get("/", { ip = "192.0.2.2" })))
  end)

  it("signs URLs, about all of them, for a time", function()
    local guard = auth.signed_url { key = KEY }
    local function ask(url)
      local path, query = url:match("^([^?]*)%??(.*)$")
      path = path:gsub("%%20", " ")
      return guard(req_of.get("/", { path = path, query = query })) == nil
    end
    local url = guard:sign("/a%20b?x=1", "10s")
    assert.matches("^/a%%20b%?x=1&expires=1010&signature=", url)
    assert.is_true(ask(url))
    assert.is_false(ask((url:gsub("x=1", "x=2"))))
    assert.is_false(ask((url:gsub("/a", "/c"))))
    assert.is_false(ask((url:gsub("1010", "9010"))))
    assert.is_false(ask(url .. "&y=1"))
    assert.is_false(ask("/a b"))
    assert.is_true(ask(guard:sign("/plain")))
    now = 1010
    assert.is_false(ask(url))
  end)

  it("signs cookies, with a new key and with an old one", function()
    local OLD = ("o"):rep(20)
    local old = auth.signed_cookie { name = "s", key = OLD }
    local both = auth.signed_cookie { name = "s", key = { KEY, OLD }, lifetime = "1m" }
    local other = auth.signed_cookie { name = "t", key = KEY }
    local function cookie(text, name)
      return req_of.get("/", { cookies = { [name or "s"] = text:match("=([^;]*)") } })
    end
    local text = both:cookie("frank")
    assert.matches("; Max%-Age=60; Path=/; HttpOnly; Secure; SameSite=Lax$", text)
    assert.equal("frank", both:value(cookie(text)))
    assert.is_nil(both(cookie(text)))
    assert.equal("frank", both:value(cookie(old:cookie("frank"))))
    assert.is_nil(old:value(cookie(text)))
    assert.is_nil(other:value(cookie(text, "t")))
    assert.same({ status = 403 }, both(cookie(text, "t")))
    assert.same({ status = 403 }, both(cookie("s=")))
    assert.equal("s=; Max-Age=0; Path=/; HttpOnly; Secure; SameSite=Lax", both:clear())
    now = 1060
    assert.is_nil(both:value(cookie(text)))
    local plain = auth.signed_cookie { name = "s", key = KEY, secure = false, path = "/a",
      domain = "a.example", same_site = "Strict" }
    assert.matches("; Path=/a; Domain=a.example; HttpOnly; SameSite=Strict$", plain:cookie("x"))
  end)

  local HASHES = 'expected a hash as `htpasswd -B` makes it ("$2y$...": bcrypt; "$apr1$", "$5$", '
    .. '"$6$", "$y$" and "{SHA}" can be used, too)'
  local KEYS = "key: expected a text of 16 bytes at least, or a list of them: the first one signs, "
    .. "all of them are believed, got "
  for _, case in ipairs({
    { "basic", {}, "expected one of 'file' (as htpasswd makes it) and 'users' (a table from names "
      .. "to hashes)" },
    { "basic", { fiel = "/x" }, "unknown key 'fiel'; did you mean 'file'?" },
    { "basic", { file = "x" }, 'file: expected an absolute path, got "x"' },
    { "basic", { file = "/nonexistent" }, "/nonexistent: No such file or directory" },
    { "basic", { users = { a = "secret" } }, "users: a: " .. HASHES },
    { "basic", { users = { a = "$2y$17$" .. ("x"):rep(53) } },
      "users: a: a cost of 17 takes too long for each login; at most 16 can be used" },
    { "basic", { users = { a = "$6$rounds=2000000$ab$xyz" } },
      "users: a: 2000000 rounds take too long for each login; at most 1000000 can be used" },
    { "basic", { users = { ["a:b"] = "x" } }, "users: a:b: a name has no ':'" },
    { "basic", { users = {}, realm = 'a"b' }, 'realm: expected a text without quotes, got "a"b"' },
    { "basic", { users = {}, remember = "x" },
      'remember: expected a duration such as 5, "250ms", "2m" or "1h", got "x"' },
    { "basic", { users = {}, failures = 0 }, 'failures: expected a rate such as 5 (in a second), '
      .. '"10/s", "100/m", "1000/h" or "5000/d", got 0' },
    { "basic", { users = {}, answer = { statsu = 1 } },
      "answer: unknown key 'statsu' in a decision; did you mean 'status'?" },
    { "addresses", {}, "expected 'allow' or 'deny', or both" },
    { "addresses", { allow = "office" }, "allow: 'office': expected an address or a network such "
      .. 'as "10.0.0.1", "10.0.0.0/8", "2001:db8::/32" or "unix:"' },
    { "signed_url", {}, KEYS .. "nothing" },
    { "signed_url", { key = "short" }, KEYS .. "one of 5" },
    { "signed_url", { key = {} }, KEYS .. "nothing" },
    { "signed_cookie", { key = KEY },
      "name: expected letters, digits, '_' and '-', got nothing" },
    { "signed_cookie", { key = KEY, name = "s", same_site = "lax" },
      'same_site: expected "Lax", "Strict" or "None", got "lax"' },
    { "signed_cookie", { key = KEY, name = "s", path = "/;x" },
      'path: expected a text without blanks and \';\', got "/;x"' },
    { "any", nil, "expected guards such as auth.basic makes, got nothing" },
  }) do
    it("says: " .. case[3], function()
      local ok, message = pcall(function()
        local made = auth[case[1]](case[2])
        return made
      end)
      assert.is_false(ok)
      assert.equal(("auth.%s: %s"):format(case[1], case[3]),
        message:match("^[^:]+auth_spec.lua:%d+: (.*)$"), message)
    end)
  end

  it("says which method there is not", function()
    for name, guard in pairs({ basic = auth.basic { users = {} },
      signed_url = auth.signed_url { key = KEY } }) do
      local ok, message = pcall(function() return guard:sing() end)
      assert.is_false(ok)
      assert.matches("auth_spec.lua:%d+: auth." .. name .. ": there is no method 'sing'", message)
    end
  end)
end)
