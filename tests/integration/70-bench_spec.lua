-- The benchmark, with a few requests for each server in each of its cases, so that it answers right
-- when it is wanted. What it is made for, figures, is not looked at here. Servers that
-- `tools/install bench` has not unpacked are left out, but never the floor and Moongate.

local CASES = require("tests.bench.cases")
local load = require("tests.support.load")
local measure = require("tests.bench.measure")
local php = require("tests.support.php")
local proxies = require("tests.bench.proxies")
local secure = require("tests.bench.secure")

local TENANTS = 20

describe("the benchmark's", function()
  local application, sites

  lazy_setup(function()
    application = proxies.application()
    sites = proxies.sites(TENANTS)
  end)

  lazy_teardown(function()
    application:stop()
  end)

  local function assert_answers(proxy, case)
    local result = load.run(proxy.address, {
      timeout = 20, { name = "all", clients = 4, requests = 12, host = "t#.example",
        hosts = case.name == "static1m" and "1:1" or ("%d:1"):format(math.min(case.hosts, TENANTS)),
        path = case.path, method = case.method, body = case.body, length = case.length,
        close = case.close,
        header = case.header
          or case.body and "Content-Type: application/x-www-form-urlencoded" or nil },
    })
    assert.equal(12, result.all[200], proxy.name .. ": " .. result.all.text .. proxy:problem())
    load.assert_all(result.all)
  end

  local function options_of(name, case, fpm)
    local options = {
      root = fpm and fpm.root or nil, route = case.route, sites = sites, folders = TENANTS,
      tenants = TENANTS, case_tenants = case.tenants and TENANTS or nil, workers = case.workers,
      keepalive = case.fresh and 0 or case.kept and case.children or nil,
      reloads = case.reload, children = case.children,
    }
    for key, value in pairs(name:find("moongate", 1, true) and case.moongate or {}) do
      options[key] = value
    end
    return options
  end

  -- One server at a time for each way of starting it.
  for _, name in ipairs(proxies.names()) do
    it(proxies.title(name) .. " answers right in each case", function()
      if proxies.missing(name) then
        assert.is_nil(({ moongate = true, floor = true })[name], proxies.missing(name))
        return
      end
      local setup, proxy, fpm
      local function stop()
        for _, one in pairs({ proxy, fpm }) do
          one:stop()
        end
        proxy, fpm = nil, nil
      end
      finally(stop)
      for _, case in ipairs(CASES) do
        -- With kept connections to PHP-FPM some servers let clients starve: that is measured.
        local starves = case.kept and not name:find("moongate", 1, true)
        if not starves and not proxies.cannot(name, case) then
          if setup ~= measure.setup_of(case) then
            stop()
            setup = measure.setup_of(case)
            fpm = case.php and php.start({ pages = "tests/pages", children = case.children,
              pool = case.pool }) or nil
            proxy = proxies.start(name, fpm or application, options_of(name, case, fpm))
          end
          assert_answers(proxy, case)
          if case.reload then
            proxy:reload()
            assert_answers(proxy, case)
          end
        end
      end
    end)
  end

  it("servers of TLS and HTTP/2 answer right in each case", function()
    local data = secure.bench({ rounds = 1, share = 0.01, idle = 3 }, function() end)
    for _, list in ipairs({ data.loads, data.shakes }) do
      for _, case in ipairs(list) do
        for _, name in ipairs(data.names) do
          assert.is_true(case.peers[name] > 0, case.title)
        end
      end
    end
    assert.equal(3, #data.idles)
    assert.is_truthy(secure.table(data):find("moongate", 1, true))
  end)
end)
