-- `make MINIMAL=1`: a program without libssl, nghttp2, brotli and zstd. It says of a route what it
-- can't have there, and serves the others.

local http = require("tests.support.http")
local process = require("tests.support.process")
local server = require("tests.support.server")
local stage = require("tests.support.stage")

local BUILD = "build/test-minimal"

describe("make MINIMAL=1", function()
  local binary

  -- Built without optimisation, and by ccache where that is there.
  setup(function()
    local ccache = process.run({ argv = { "sh", "-c", "command -v ccache" } }).code == 0
    local made = process.run({ argv = {
      "make", "--no-print-directory", "-j2", "MINIMAL=1", "BUILD=" .. BUILD, "CFLAGS=-O0",
      ccache and "CC=ccache gcc" or "CC=gcc", BUILD .. "/moongate",
    }, env = { MAKEFLAGS = "", MFLAGS = "" } }, 1500)
    assert.equal(0, made.code, made.stderr)
    binary = process.cwd() .. "/" .. BUILD .. "/moongate"
  end)

  local function run(...)
    return process.run({ argv = { binary, ... } })
  end

  it("links none of the libraries", function()
    local needed = process.run({ argv = { "readelf", "-d", binary } }).stdout
    assert.matches("libev%.so", needed)
    for _, library in ipairs({ "libssl", "libnghttp2", "libbrotli", "libzstd" }) do
      assert.is_nil(needed:find(library, 1, true), library)
    end
    local all = process.run({ argv = { "readelf", "-d", server.binary() } }).stdout
    if server.binary():find("/build/moongate", 1, true) then
      assert.matches("libssl.so", all, 1, true)
    end
  end)

  it("says what it has", function()
    assert.matches("^moongate [%d.]+ %(LuaJIT [^\n]*%)\n"
      .. "with gzip; without TLS, HTTP/2, brotli, zstd\n$", run("version").stdout)
  end)

  local function check(settings)
    local dir = stage.files({
      ["route.lua"] = ("return {\n  on_request = function() return { status = 404 } end,\n%s\n}\n")
        :format(settings),
    })
    local result = run("check", dir .. "/route.lua")
    return result.code, (result.stderr:gsub(dir:gsub("%p", "%%%0") .. "/", ""))
  end

  it("has a `check` that says what a route can't have, where, and what to do", function()
    for _, case in ipairs({
      { 'listen = { ":1",\n{ address = ":2", tls = { folder = "/etc/tls" } } },',
        "route.lua:4: listen[2].tls: this build of moongate has no TLS, as with `make MINIMAL=1`: "
        .. "take one that was built with libssl, or let a server in front speak TLS\n" },
      { 'listen = { {\naddress = ":2",\nh2c = true } },',
        "route.lua:5: listen[1]: this build of moongate has no HTTP/2, as with `make MINIMAL=1`: "
        .. "take one that was built with libnghttp2, or leave it out: clients speak HTTP/1.1 "
        .. "then\n" },
    }) do
      local code, said = check(case[1])
      assert.equal(1, code)
      assert.equal(case[2], said)
    end
    local code, said = check('compress = {\nencodings = { "br", "gzip" } },')
    assert.equal(0, code)
    assert.equal("route.lua: warning: route.lua:4: compress: this build of moongate can't make br, "
      .. "as with `make MINIMAL=1`, so the others are used: gzip; one that was built with "
      .. "libbrotlienc and libzstd can\n", said)
    code, said = check('compress = { encodings = "zstd" },')
    assert.equal(0, code)
    assert.matches("so no response is compressed", said, 1, true)
    code, said = check("compress = true,")
    assert.equal(0, code)
    assert.equal("", said)
  end)

  it("has no certificate for localhost to offer", function()
    local result = run("serve", ".", "--backend", "127.0.0.1:1", "--tls")
    assert.equal(1, result.code)
    assert.matches("https://127.0.0.1:8443: this build of moongate has no TLS", result.stderr, 1,
      true)
  end)

  it("serves", function()
    local gate = server.start({ binary = binary, route = [[
return {
  compress = { min = 0 },
  on_request = function(req)
    return { status = 200, body = "by HTTP/" .. req.version .. "\n" }
  end,
}]] })
    finally(function() gate:stop() end)
    assert.equal("by HTTP/1.1\n", http.get(gate.address, "/").body)
    local result = process.run({ argv = { "curl", "-sS", "--noproxy", "*", "--compressed", "-i",
      "http://" .. gate.address .. "/" } })
    assert.matches("content-encoding: gzip", result.stdout:lower(), 1, true)
    assert.matches("by HTTP/1.1", result.stdout, 1, true)
  end)
end)
