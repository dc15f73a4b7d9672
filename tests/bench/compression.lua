-- What compression costs: the processor time of a worker for a response of a real PHP-FPM, without
-- a coding and with each, and of nginx with gzip at the same level in the same run.
--
--     LUA_PATH="./?.lua;./lua/?.lua;;" MOONGATE=build/moongate luajit tests/bench/compression.lua
--
-- Prints the table of docs/compression.md. All cases are measured in turn, ROUNDS times, and the
-- median counts, so that what else the machine does is in all of them. Takes two minutes.

local http = require("tests.support.http")
local load = require("tests.support.load")
local net = require("tests.support.net")
local php = require("tests.support.php")
local poll = require("tests.support.poll")
local process = require("tests.support.process")
local server = require("tests.support.server")
local stage = require("tests.support.stage")

local ROUNDS, SECONDS, CLIENTS = 5, 1.5, 4
local PEERS = process.cwd() .. "/build/deps/peers"
local SIZES = { 10000, 60000 }

local NGINX = [[
daemon off; master_process off; pid %s/nginx.pid; error_log %s/error.log; user root;
events { worker_connections 1024; }
http {
  access_log off; keepalive_requests 1000000000;
  client_body_temp_path %s/1; fastcgi_temp_path %s/2; proxy_temp_path %s/3; uwsgi_temp_path %s/4;
  scgi_temp_path %s/5; fastcgi_buffers 16 32k;
  server {
    listen %s;
    gzip on; gzip_comp_level %d; gzip_min_length 1024;
    location / {
      fastcgi_pass %s; fastcgi_param SCRIPT_FILENAME %s$fastcgi_script_name;
      fastcgi_param REQUEST_METHOD $request_method; fastcgi_param QUERY_STRING $query_string;
    }
  }
}
]]

local ROUTE = [[
local php = require("moongate.php")
return {
  control = false, watch = false, log = { access = false }, compress = { levels = { gzip = %d } },
  backends = { app = %q }, on_request = php.site { root = %q, backend = "app" },
}
]]

local function text_of(size)
  local parts = {}
  for _, name in ipairs({ "route", "hooks", "operations" }) do
    parts[#parts + 1] = process.read_file("docs/" .. name .. ".md")
  end
  return table.concat(parts):sub(1, size)
end

local fpm = php.start({ pages = "tests/pages", children = 4 })
for _, size in ipairs(SIZES) do
  stage.write(fpm.root, {
    [size .. ".txt"] = text_of(size),
    [size .. ".php"] = ("<?php readfile(__DIR__ . '/%d.txt');"):format(size),
  })
end

local function nginx(level)
  local dir, address = process.tempdir("nginx"), "127.0.0.1:" .. net.free_port()
  process.write_file(dir .. "/nginx.conf", NGINX:format(dir, dir, dir, dir, dir, dir, dir, address,
    level, fpm.address, fpm.root))
  local child = process.spawn({
    argv = { PEERS .. "/usr/sbin/nginx", "-p", dir, "-c", dir .. "/nginx.conf" },
    env = { LD_LIBRARY_PATH = stage.libraries(PEERS) }, stderr = dir .. "/stderr",
  })
  poll.wait(function()
    return (net.listening(address))
  end, "nginx to listen")
  return { address = address, pids = { child.pid }, stop = function() child:kill("TERM") end }
end

local function moongate(level)
  local own = server.start({ route = ROUTE:format(level, fpm.address, fpm.root), workers = 1 })
  return { address = own.address, pids = own:workers(), stop = function() own:stop() end }
end

local function cpu(pids)
  local sum = 0
  for _, pid in ipairs(pids) do
    local tasks = assert(io.popen(("cat /proc/%d/task/*/schedstat"):format(pid)))
    for line in tasks:lines() do
      sum = sum + tonumber(line:match("^%d+")) / 1000
    end
    tasks:close()
  end
  return sum
end

local proxies = {
  nginx1 = nginx(1), nginx5 = nginx(5), moongate1 = moongate(1), moongate5 = moongate(5),
}

local CASES = {
  { "not compressed", nil, "nginx5", "moongate5" },
  { "gzip, level 1", "gzip", "nginx1", "moongate1" },
  { "gzip, level 5", "gzip", "nginx5", "moongate5" }, { "brotli, level 4", "br", nil, "moongate5" },
  { "zstd, level 3", "zstd", nil, "moongate5" },
}

local function once(proxy, coding, size)
  local before = cpu(proxy.pids)
  local results = load.start(proxy.address, { seconds = SECONDS, timeout = 10, {
    clients = CLIENTS, path = ("/%d.php"):format(size),
    header = coding and "Accept-Encoding: " .. coding or nil,
  } }):finish(SECONDS + 60)
  assert(results.all.requests > 0 and results.all.failed == 0, results.all.text)
  return (cpu(proxy.pids) - before) / results.all.requests
end

local function median(list)
  table.sort(list)
  return list[math.ceil(#list / 2)]
end

local found = {}
for _ = 1, ROUNDS do
  for _, size in ipairs(SIZES) do
    for i, case in ipairs(CASES) do
      for _, name in ipairs({ case[3] or false, case[4] }) do
        if name then
          local key = ("%d %d %s"):format(size, i, name:match("^%a+"))
          found[key] = found[key] or {}
          table.insert(found[key], once(proxies[name], case[2], size))
        end
      end
    end
  end
end

print("| body | coding | bytes | Moongate | nginx |\n|---|---|---|---|---|")
for _, size in ipairs(SIZES) do
  for i, case in ipairs(CASES) do
    local res = http.request(proxies[case[4]].address, { path = ("/%d.php"):format(size),
      headers = { ["Accept-Encoding"] = case[2] } })
    local own, other = found[("%d %d moongate"):format(size, i)],
      found[("%d %d nginx"):format(size, i)]
    print(("| %d KB | %s | %d | %.0f us | %s |"):format(size / 1000, case[1], #res.body,
      median(own), other and ("%.0f us"):format(median(other)) or ""))
  end
end
for _, proxy in pairs(proxies) do
  proxy.stop()
end
fpm:stop()
