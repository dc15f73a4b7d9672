-- A real Prometheus scrapes a real instance with PHP-FPM behind it, and knows every name that the
-- alerts of dist/prometheus and the dashboard of dist/grafana use.

local http = require("tests.support.http")
local json = require("moongate.base.json")
local metrics = require("tests.support.metrics")
local net = require("tests.support.net")
local php = require("tests.support.php")
local poll = require("tests.support.poll")
local process = require("tests.support.process")
local server = require("tests.support.server")

local RULES = process.cwd() .. "/dist/prometheus/moongate.rules.yml"
local DASHBOARD = process.cwd() .. "/dist/grafana/moongate.json"

local ROUTE = [[
local metrics = require("moongate.metrics")
local pages = metrics.counter("shop_pages_total", {
  help = "Pages that were asked for.", labels = { "path" },
})
local often = require("moongate.limit").rate({ name = "often", rate = "1000/s" })
local site = require("moongate.php").site({ backend = "app", root = %q, tenant = "shop" })
return {
  control = "127.0.0.1:%d", workers = 2, script_timeout = 20,
  backends = { app = { servers = { %q }, load = "status" } },
  on_request = function(req)
    pages:inc(1, { path = req.path })
    return often(req) or site(req)
  end,
}
]]

--- The expressions of a dashboard, with what Grafana puts in for its variables.
local function expressions_of(dashboard)
  local list = {}
  local function add(expression)
    list[#list + 1] = expression:gsub("%$__rate_interval", "1m"):gsub("%$%l+", ".*")
  end
  for _, panel in ipairs(dashboard.panels) do
    for _, target in ipairs(panel.targets or {}) do
      add(target.expr)
    end
  end
  for _, annotation in ipairs(dashboard.annotations.list) do
    add(annotation.expr)
  end
  return list
end

describe("a Prometheus", function()
  local fpm, instance, prometheus, target
  setup(function()
    fpm = php.start({ pages = "tests/pages" })
    local port = net.free_port()
    target = "127.0.0.1:" .. port
    instance = server.start({ route = ROUTE:format(fpm.root, port, fpm.address) })
    http.get(instance.address, "/hello.php")
    http.get(instance.address, "/warning.php")
    prometheus = metrics.prometheus(target, RULES)
  end)
  teardown(function()
    for _, one in pairs({ prometheus or false, instance or false, fpm or false }) do
      if one then
        one:stop()
      end
    end
  end)

  it("scrapes it without a complaint", function()
    local name = 'moongate_requests_total{backend="app",tenant="shop",code="2xx"}'
    local result = poll.wait(function()
      local found = prometheus:query(name)
      return found[1] and tonumber(found[1].value[2]) >= 2 and found
    end, "the requests in Prometheus")
    assert.same({ "shop", "GET", target }, {
      result[1].metric.tenant, result[1].metric.method, result[1].metric.instance,
    })
    local scraped = prometheus:ask("targets").activeTargets[1]
    assert.same({ "up", "" }, { scraped.health, scraped.lastError })
    assert.equal("1", prometheus:query('sum(shop_pages_total{path="/hello.php"})')[1].value[2])
    assert.is_nil(prometheus:log():find("scrape", 1, true), prometheus:log())
  end)

  it("has each metric that alerts and dashboard name", function()
    poll.wait(function()
      return #prometheus:query("moongate_phpfpm_active_processes") > 0
    end, "the numbers of PHP-FPM's pool")
    local known = {}
    for _, name in ipairs(prometheus:ask("label/__name__/values")) do
      known[name] = true
    end
    for _, path in ipairs({ RULES, DASHBOARD }) do
      local count = 0
      for name in process.read_file(path):gmatch("moongate_[%w_]+") do
        assert.is_true(known[name] or known[name .. "_bucket"], path .. ": " .. name)
        count = count + 1
      end
      assert.is_true(count > 10)
    end
  end)

  it("evaluates the dashboard's expressions", function()
    local dashboard = assert(json.decode(process.read_file(DASHBOARD)))
    local list, answered = expressions_of(dashboard), 0
    for _, expression in ipairs(list) do
      answered = answered + #prometheus:query(expression)
    end
    assert.is_true(#list > 40 and answered >= 10, #list .. " " .. answered)
  end)

  it("evaluates the alerts, and raises the one about a failed reload", function()
    local said = metrics.promtool({ "check", "rules", RULES })
    assert.equal(0, said.code, said.stdout .. said.stderr)
    process.write_file(instance.route_path, "return 1")
    assert.equal(1, server.command({ "reload", "--control", target }).code)
    poll.wait(function()
      for _, alert in ipairs(prometheus:ask("alerts").alerts) do
        if alert.labels.alertname == "MoongateReloadFailed" then
          return alert.state == "firing"
        end
      end
    end, "the alert")
    for _, group in ipairs(prometheus:ask("rules").groups) do
      for _, rule in ipairs(group.rules) do
        assert.same({ "ok", rule.name }, { rule.health, rule.name }, rule.lastError)
      end
    end
  end)
end)
