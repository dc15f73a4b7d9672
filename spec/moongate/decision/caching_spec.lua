-- Specs of moongate.decision.caching: what `explain` says of a decision's `cache`, and what is
-- wrong with one.

local caching = require("moongate.decision.caching")

local GET = {
  REQUEST_METHOD = "GET", REQUEST_SCHEME = "https", HTTP_HOST = "a.example", REQUEST_URI = "/x?y=1",
}

--- The params of a GET and others.
local function with(more)
  local params = {}
  for _, set in ipairs({ GET, more }) do
    for name, value in pairs(set) do
      params[name] = value
    end
  end
  return params
end

describe("caching.explain", function()
  it("says key and time", function()
    assert.equal("cache: under the key https://a.example/x?y=1, for as long as the response's "
      .. "headers say", caching.explain(true, GET))
    assert.equal("cache: under the key one, for 300 s, stale for 60 s more, by the values of "
      .. "X-A, X-B, with the tags a", caching.explain({ key = "one", ttl = "5m", stale = 60,
        vary = { "X-A", "X-B" }, tags = "a" }, GET))
  end)

  it("says why nothing is kept", function()
    for _, case in ipairs({
      { "`bypass`", { bypass = true }, {} }, { "method is POST", {}, { REQUEST_METHOD = "POST" } },
      { "a body", {}, { CONTENT_LENGTH = "5" } },
      { "Authorization", {}, { HTTP_AUTHORIZATION = "Basic x" } },
      { "a cookie", {}, { HTTP_COOKIE = "a=b" } },
    }) do
      assert.matches("^cache: bypass, since .*" .. case[1], caching.explain(case[2], with(case[3])))
    end
    for _, cache in ipairs({ { bypass = false }, { vary = "cookie" } }) do
      assert.matches("under the key", caching.explain(cache, with({ HTTP_COOKIE = "a=b" })))
    end
    assert.matches("under the key", caching.explain({ ignore = { "Authorization" } },
      with({ HTTP_AUTHORIZATION = "Basic x" })))
  end)
end)

describe("caching.problem", function()
  it("accepts what may be said", function()
    for _, cache in ipairs({ true, false, {}, { ttl = 0, stale = "1h", lock = false, key = "a" },
      { vary = "X-A", tags = { "a", "b" }, ignore = { "set-cookie", "Cache-Control" } } }) do
      assert.is_nil(caching.problem(cache))
    end
  end)

  it("names what is wrong", function()
    for _, case in ipairs({
      { 5, "expected true, false or a table" }, { { key = "" }, "^key: expected a text" },
      { { key = "a\nb" }, "^key: " }, { { ttl = "x" }, "^ttl: " }, { { lock = 1 }, "^lock: " },
      { { vary = "a b" }, "^vary: " }, { { tags = { {} } }, "^tags: " },
      { { ignore = "Vary" }, "^ignore: " }, { { ttls = 1 }, "unknown key 'ttls'" },
    }) do
      assert.matches(case[2], caching.problem(case[1]))
    end
  end)
end)
