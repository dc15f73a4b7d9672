-- The setting `ktls` of a listener with TLS. Most machines have no TLS in their kernel: there
-- all is served as without the setting. `make trial-ktls` has a machine with it.

local metrics = require("tests.support.metrics")
local net = require("tests.support.net")
local process = require("tests.support.process")
local rig = require("tests.support.rig")
local server = require("tests.support.server")
local tls = require("tests.support.tls")

local SIZE = 3000000

describe("ktls", function()
  local ca, pair, root

  setup(function()
    ca = tls.authority()
    pair = ca:issue({ "site.test" })
    root = process.tempdir("root")
    process.write_file(root .. "/big", rig.pattern(SIZE))
  end)

  local function start(more)
    local address, control = "127.0.0.1:" .. net.free_port(), "127.0.0.1:" .. net.free_port()
    return server.start({ own = true, address = address, route = ([[
      return { listen = { { address = %q, tls = %s } }, workers = 1, watch = false, control = %q,
        on_request = function() return { root = %q } end }]]):format(address,
      tls.setting(pair, more), control, root) }), control
  end

  local function check(address, more)
    local dir = process.tempdir("check")
    process.write_file(dir .. "/route.lua", ([[
      return { listen = { { address = %q, tls = %s } },
        on_request = function() return { status = 200 } end }]]):format(address,
      tls.setting(pair, more)))
    return server.command({ "check", dir .. "/route.lua", "--user",
      process.is_root() and "root" or "nobody" })
  end

  -- The kernel's TLS has this file once it is loaded.
  local function is_offered()
    local file = io.open("/proc/net/tls_stat")
    return file ~= nil and file:close()
  end

  for _, setting in ipairs({ "", "ktls = true", "ktls = false" }) do
    it(("%s: files come whole, by the kernel's records or not"):format(
      setting ~= "" and setting or "not set"), function()
      local s, control = start(setting)
      finally(function() s:stop() end)
      for _, how in ipairs({ { "--tls-max", "1.2", "--http1.1" }, { "--http1.1" },
        { "--tls-max", "1.2" }, {} }) do
        local out = tls.curl({ "https://site.test/big", "--cacert", ca.cert, "--connect-to",
          "site.test:443:" .. s.address, unpack(how) })
        assert.equal(SIZE, #out)
        assert.is_true(out == rig.pattern(SIZE))
      end
      local counted = metrics.samples(metrics.fetch(control)).moongate_tls_kernel_connections_total
      local expected = is_offered() and setting ~= "ktls = false" and 4 or 0
      assert.equal(expected, counted)
    end)
  end

  it("is warned of by the log of a start and a reload where there is none", function()
    local s = start("ktls = true")
    finally(function() s:stop() end)
    if is_offered() then
      s:reload()
      assert.not_matches("ktls = true", s:errors(), 1, true)
      return
    end
    local text = "listen%[1%]: tls: ktls = true, but .- TLS is served without it"
    s:wait_log(text) -- of the start: nothing else has been asked for
    local from = s:mark()
    s:reload()
    s:wait_log(text, nil, from)
  end)

  it("is warned of by check where it is asked for and there is none", function()
    local asked = check("127.0.0.1:8443", "ktls = true")
    assert.equal(0, asked.code, asked.stderr)
    local warned = asked.stderr:find("warning: listen[1]: tls: ktls = true, but", 1, true) ~= nil
    assert.equal(not is_offered(), warned, asked.stderr)
    for _, setting in ipairs({ "", "ktls = false" }) do
      assert.not_matches("ktls", check("127.0.0.1:8443", setting).stderr)
    end
  end)

  it("is not for unix sockets", function()
    local refused = check("unix:/run/x.sock", "ktls = true")
    assert.equal(1, refused.code)
    assert.matches("'ktls' is for TCP", refused.stderr, 1, true)
    assert.equal(0, check("unix:/run/x.sock").code)
  end)
end)
