-- The run that the release build is made by (tools/release): the benchmark's own cases, a thousand
-- requests or so of each, so that the counts are about the same each time. No
-- PHP-FPM and no peers are needed.
--
--     MOONGATE=build/release/moongate luajit tests/bench/train.lua

local CASES = require("tests.bench.cases")
local load = require("tests.support.load")
local process = require("tests.support.process")
local proxies = require("tests.bench.proxies")

local TENANTS, CLIENTS = 200, 16
local REQUESTS = { ["1m"] = 40, static1m = 40, ["64k"] = 400, post = 1000 }

local function run(case, application, sites)
  local proxy = proxies.start("moongate", application, {
    route = case.route, sites = sites, folders = TENANTS, tenants = TENANTS,
    keepalive = case.fresh and 0 or nil,
  })
  local requests = REQUESTS[case.name] or 2000
  local result = load.run(proxy.address, {
    timeout = 60,
    { clients = CLIENTS, requests = requests, path = case.path, method = case.method,
      host = "t#.example", hosts = case.name == "static1m" and "1:1" or TENANTS .. ":1",
      body = case.body, length = case.length, close = case.close },
  })
  load.assert_all(result.all)
  proxy.process:stop(30) -- it writes its counts as it ends
  process.remove(proxy.dir)
  io.stderr:write(("trained by %d of %s\n"):format(result.all.requests, case.title))
end

-- What the counts are of: each kind of request once, and not the cases that differ by their load.
local function counts(case)
  return not (case.php or case.tenants or case.workers or case.crowd or case.reload)
end

local function main()
  local problem = proxies.missing("moongate")
  assert(not problem, problem)
  local application, sites = proxies.application(), proxies.sites(TENANTS)
  for _, case in ipairs(CASES) do
    if counts(case) then
      run(case, application, sites)
    end
  end
  application:stop()
  process.remove(sites)
end

local ok, problem = xpcall(main, debug.traceback)
if not ok then
  io.stderr:write("make release: the run to be counted failed: ", tostring(problem), "\n")
end
os.exit(ok and 0 or 1, true)
