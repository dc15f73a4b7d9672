-- HTTP/2 over TLS: what ALPN chooses, curl and a real Chromium, large bodies both ways, and a stop.

local chromium = require("tests.support.chromium")
local net = require("tests.support.net")
local process = require("tests.support.process")
local rig = require("tests.support.rig")
local tls = require("tests.support.tls")

local MEGABYTE = 1024 * 1024

local PAGE = [[<!doctype html><title>start</title><body><script>
  Promise.all([...Array(60).keys()].map(i =>
    fetch("/part?" + i, { method: i % 3 ? "GET" : "POST", body: i % 3 ? undefined : "x".repeat(i) })
      .then(r => r.text()).then(t => t === (i % 3 ? "2.0 " : "2.0 " + i + " ") + i ? 1 : 0)))
    .then(list => { document.title = "right: " + list.reduce((a, b) => a + b, 0) })
</script>]]

local ON_REQUEST = ([[
  if req.path == "/page" then
    return { status = 200, headers = { ["Content-Type"] = "text/html" }, body = %q }
  elseif req.path == "/part" then
    local length = req.method == "POST" and #req:body() .. " " or ""
    return { status = 200, body = req.version .. " " .. length .. req.query }
  end
]]):format(PAGE)

-- A rig whose listener has TLS, with a certificate for localhost.
local function start(more)
  local pair = tls.authority():issue({ "localhost" })
  local address = "127.0.0.1:" .. net.free_port()
  local r = rig.start({ on_request = ON_REQUEST, backend = "keepalive = 4",
    settings = ([[listen = { { address = %q, tls = { cert = %q, key = %q }, %s } }, workers = 1,
      watch = false]]):format(address, pair.cert, pair.key, more or ""),
    server = { own = true, address = address } })
  finally(function() r:stop() end)
  return r, "https://localhost:" .. address:match(":(%d+)$")
end

local function curl(...)
  local result = process.run({ argv = { "curl", "-sSk", ... } }, 120)
  assert.equal(0, result.code, result.stderr)
  return result.stdout
end

describe("ALPN", function()
  it("chooses HTTP/2 for who offers it, HTTP/1.1 for others", function()
    local _, url = start()
    assert.equal("2.0 a", curl(url .. "/part?a"))
    assert.equal("1.1 a", curl("--http1.1", url .. "/part?a"))
    assert.equal("1.1 a", curl("--no-alpn", url .. "/part?a"))
  end)

  it("offers no HTTP/2 where the listener says so", function()
    local _, url = start("http2 = false")
    assert.equal("1.1 a", curl(url .. "/part?a"))
  end)
end)

describe("HTTP/2 over TLS", function()
  it("carries large bodies both ways, beside small requests", function()
    local r, url = start()
    local file = process.tempdir("upload") .. "/file"
    local body = rig.bytes(20 * MEGABYTE)
    process.write_file(file, body)
    assert.equal(rig.sum(body), curl("--data-binary", "@" .. file, url .. rig.target("sum")))
    assert.equal(rig.pattern(20000000), curl(url .. rig.target("size=20000000")))
    local params = rig.params({ body = curl(url .. rig.target("dump")) })
    assert.equal("on", params.HTTPS)
    assert.equal("HTTP/2.0", params.SERVER_PROTOCOL)
    assert.equal("https", params.REQUEST_SCHEME)
    local result = process.run({ argv = { "h2load", "-n", "3000", "-c", "3", "-m", "30",
      url .. rig.target("size=20000") } }, 120)
    assert.is_truthy(result.stdout:find("3000 succeeded, 0 failed, 0 errored"), result.stdout)
    assert.is_truthy(r.server.process:alive())
  end)

  it("ends a connection that speaks something else than ALPN has chosen", function()
    local r = start()
    local said = tls.client(r.address, { "-alpn", "h2", "-quiet" }, "GET / HTTP/1.1\r\n\r\n")
    assert.is_falsy(tostring(type(said) == "table" and said.stdout or said):find("HTTP/1", 1, true))
  end)

  it("is what Chromium speaks", function()
    local r, url = start()
    local page = chromium.open(url .. "/page", { "--ignore-certificate-errors" })
    finally(function() page:close() end)
    page:wait("document.title", function(title) return title == "right: 60" end)
    assert.equal("h2", page:eval("performance.getEntriesByType('navigation')[0].nextHopProtocol"))
    page:close()
    assert.is_truthy(r.server.process:alive())
  end)
end)
