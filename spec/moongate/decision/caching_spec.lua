-- Specs of moongate.decision.caching: what `explain` says of a decision's `cache`, and what is
-- wrong with one.

local caching = require("moongate.decision.caching")

--- A GET with these headers; or another method.
local function request(headers, method)
  headers = headers or {}
  headers.Host = "a.example"
  return { method = method or "GET", scheme = "https", uri = "/x?y=1", headers = headers }
end

local function explain(cache, req, role)
  return caching.explain(caching.outcome(cache, req or request(), role))
end

describe("caching.explain", function()
  it("says key and time", function()
    assert.equal("cache: under the key https://a.example/x?y=1, for as long as the response's "
      .. "headers say", explain(true))
    assert.equal("cache: under the key one, for 300 s, stale for 60 s more, by the values of "
      .. "X-A ('b c'), X-B (none), with the tags a", explain({ key = "one", ttl = "5m", stale = 60,
        vary = { "X-A", "X-B" }, tags = "a" }, request({ ["X-A"] = "b c" })))
    assert.equal("cache: under the key https://a.example/x?y=1, for as long as the response's "
      .. "headers say, made anew in the background while it is stale, with the tags a, b, "
      .. "whatever its Set-Cookie say, and each request asks by itself, and a HEAD "
      .. "keeps nothing itself", explain({ tags = { "a", "b" }, lock = false,
        background = true, ignore = "Set-Cookie" }, request(nil, "HEAD")))
  end)

  it("has the same for a program", function()
    assert.same({
      key = "https://a.example/x?y=1", ttl = 60, keeps = true, tags = { "t" },
      vary = { { name = "Accept-Language", value = "de" }, { name = "X", value = false } },
    }, caching.outcome({ ttl = "1m", vary = { "Accept-Language", "X" }, tags = "t" },
      request({ ["Accept-Language"] = "de" })))
    assert.same({ bypass = "the decision says `bypass`" },
      caching.outcome({ bypass = true }, request()))
  end)

  it("says why nothing is kept", function()
    for _, case in ipairs({
      { "`bypass`", { bypass = true } }, { "method is POST", {}, {}, "POST" },
      { "a body", {}, { ["Content-Length"] = "5" } },
      { "a body", {}, { ["Transfer-Encoding"] = "chunked" } },
      { "Authorization", {}, { Authorization = "Basic x" } },
      { "a cookie", {}, { Cookie = "a=b" } },
    }) do
      assert.matches("^cache: bypass, since .*" .. case[1],
        explain(case[2], request(case[3], case[4])))
    end
    assert.matches("asked as filter", explain(true, request(), "filter"))
    for _, cache in ipairs({ { bypass = false }, { vary = "cookie" } }) do
      assert.matches("under the key", explain(cache, request({ Cookie = "a=b" })))
    end
    assert.matches("under the key", explain({ ignore = { "Authorization" } },
      request({ Authorization = "Basic x" })))
    assert.matches("under the key", explain(true, request({ ["Content-Length"] = "0" })))
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
      { { tags = { "1", "2", "3", "4", "5", "6", "7", "8", "9" } }, "^tags: .*8 at most" },
      { { ignore = "Vary" }, "^ignore: " }, { { ttls = 1 }, "unknown key 'ttls'" },
    }) do
      assert.matches(case[2], caching.problem(case[1]))
    end
  end)
end)
