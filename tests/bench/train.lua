-- The run that the release build is made by (tools/release): the benchmark's own cases, then files
-- and responses of the application over TLS, by HTTP/1.1 and HTTP/2; a thousand requests or so of
-- each, so that the counts are about the same each time. No PHP-FPM and no peers are needed, and no
-- certificate: `moongate serve` makes one.
--
--     MOONGATE=build/release/moongate luajit tests/bench/train.lua

local CASES = require("tests.bench.cases")
local load = require("tests.support.load")
local net = require("tests.support.net")
local poll = require("tests.support.poll")
local process = require("tests.support.process")
local proxies = require("tests.bench.proxies")
local secure_client = require("tests.bench.secure_client")
local stage = require("tests.support.stage")

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

-- A folder and the application over TLS.
local function serve(application)
  local dir = process.tempdir("secure")
  local address = "127.0.0.1:" .. net.free_port()
  stage.write(dir, { ["files/tiny.css"] = ("a"):rep(100), ["files/32k.css"] = ("a"):rep(32768),
    ["files/index.php"] = "<?php\n" })
  local server = process.spawn({
    argv = { os.getenv("MOONGATE"), "serve", dir .. "/files", "--listen", "https://" .. address,
      "--backend", application.address, "--workers", "1", "--control", "off",
      unpack(process.is_root() and { "--user", "root" } or {}) },
    env = { XDG_STATE_HOME = dir }, stdout = dir .. "/stdout", stderr = dir .. "/stderr",
  })
  poll.wait(function()
    assert(server:alive(), process.read_file(dir .. "/stderr"))
    return net.listening(address)
  end, "moongate serve to listen", 60)
  return server, address, dir
end

-- `each`: requests of a connection, whose client gives HTTP/2 no more than its first window.
local TARGETS = { { path = "/tiny.css", requests = 2000, each = 200 },
  { path = "/32k.css", requests = 200, each = 1 },
  { path = "/index.php?body=hello", requests = 2000, each = 200 },
  { path = "/index.php?size=32768", requests = 200, each = 1 } }

-- What a browser sends.
local HEADERS = { { "user-agent", "Mozilla/5.0 (X11; Linux x86_64) Gecko/20100101 Firefox/128.0" },
  { "accept", "text/html,application/xhtml+xml,*/*;q=0.8" }, { "accept-language", "en,de;q=0.5" },
  { "accept-encoding", "gzip, deflate, br, zstd" }, { "referer", "https://localhost/" },
  { "cookie", "session=0123456789abcdef" }, { "sec-fetch-dest", "document" },
  { "sec-fetch-mode", "navigate" }, { "sec-fetch-site", "same-origin" } }

local function run_secure(application)
  local server, address, dir = serve(application)
  for _, get in ipairs({ "get", "get_by_http2" }) do
    local ctx = secure_client.context({ http2 = get == "get_by_http2" })
    for _, target in ipairs(TARGETS) do
      for _ = 1, target.requests / target.each do
        local conn = secure_client.open(address, ctx)
        for _ = 1, target.each do
          conn[get](conn, target.path, HEADERS)
        end
        conn:close()
      end
    end
  end
  for _, version in ipairs({ "1.2", "1.3" }) do
    local ctx, session = secure_client.context({ version = version }), nil
    for _ = 1, 300 do
      local conn = secure_client.open(address, ctx, session)
      conn:get("/tiny.css")
      session = conn:session()
      conn:close()
    end
  end
  server:stop(30)
  process.remove(dir)
  io.stderr:write("trained by TLS and HTTP/2\n")
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
  if (os.getenv("MINIMAL") or "") == "" then -- that has neither TLS nor HTTP/2
    run_secure(application)
  end
  application:stop()
  process.remove(sites)
end

local ok, problem = xpcall(main, debug.traceback)
if not ok then
  io.stderr:write("make release: the run to be counted failed: ", tostring(problem), "\n")
end
os.exit(ok and 0 or 1, true)
