-- Specs of moongate.base.features, and of what a route is told that needs what the build lacks.

local program = require("support.program")

describe("a build without some features", function()
  local core
  before_each(function()
    core = program.core({
      features = { tls = false, http2 = false, br = false, zstd = true },
      certificates = function()
        return {}, {}
      end,
    })
  end)

  local function check(settings)
    local status, _, stderr, path = program.run_script(core, "check",
      "return {\n  on_request = print,\n" .. settings .. "\n}")
    return status, (stderr:gsub(path:gsub("%p", "%%%0"), "r.lua"))
  end

  it("is what `version` shows", function()
    local _, stdout = program.run(core, "version")
    assert.matches("\nwith gzip, zstd; without TLS, HTTP/2, brotli\n$", stdout)
    core.features = nil
    _, stdout = program.run(core, "version")
    assert.matches("\nwith gzip, TLS, HTTP/2, brotli, zstd\n$", stdout)
  end)

  for settings, expected in pairs({
    ['listen = { { address = ":1",\ntls = { folder = "/x" } } },'] =
      "r.lua:4: listen[1].tls: this build of moongate has no TLS,",
    ['listen = { { address = ":1", h2c = true } },'] =
      "r.lua:3: listen[1]: this build of moongate has no HTTP/2,",
  }) do
    it("is an error of " .. settings:gsub("\n", " "), function()
      local status, stderr = check(settings)
      assert.equal(1, status)
      assert.equal(expected, stderr:sub(1, #expected))
      core.features = nil
      assert.equal(0, (check(settings)))
    end)
  end

  it("is a warning about codings, of the route, of sites and of fixed decisions", function()
    for settings, expected in pairs({
      ['compress = { encodings = { "br", "zstd" } },'] =
        "r.lua: warning: r.lua:3: compress: this build of moongate can't make br, as with "
        .. "`make MINIMAL=1`, so the others are used: zstd; ",
      ['compress = {\nencodings = "br" },'] =
        "r.lua: warning: r.lua:4: compress: this build of moongate can't make br, as with "
        .. "`make MINIMAL=1`, so no response is compressed; ",
      ['backends = { app = ":9000" }, on_request = require("moongate.php").site { root = "/srv", '
        .. 'backend = "app", compress = { encodings = "br" } },'] =
        "php.site: /srv: compress: this build of moongate can't make br, as with ",
    }) do
      local status, stderr = check(settings)
      assert.equal(0, status, stderr)
      assert.matches(expected, stderr, 1, true)
    end
  end)

  it("says nothing of what it has", function()
    local _, stderr = check('compress = { encodings = { "zstd", "gzip" } },')
    assert.equal("", stderr)
    _, stderr = check("compress = true,")
    assert.equal("", stderr)
    _, stderr = check('listen = { { address = ":1", http2 = false, h2c = false } },')
    assert.is_nil(stderr:find("this build", 1, true))
  end)
end)
