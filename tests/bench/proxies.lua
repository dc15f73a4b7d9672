-- The parties of the benchmark: the application (build/tests/responder), nginx and Moongate, each
-- with its configuration, made so that both proxies do the same: look the folder of the host up
-- among ten thousand, make the usual params, pass the request on over a kept connection, no access
-- log. Called by main.lua.

local net = require("tests.support.net")
local poll = require("tests.support.poll")
local process = require("tests.support.process")

local proxies = {}

local TENANTS = 10000
local KEEPALIVE = 64

--- The variables of Debian's fastcgi_params, and how nginx names their values.
local NGINX_PARAMS = [[
      fastcgi_param SCRIPT_FILENAME   $docroot$fastcgi_script_name;
      fastcgi_param QUERY_STRING      $query_string;
      fastcgi_param REQUEST_METHOD    $request_method;
      fastcgi_param CONTENT_TYPE      $content_type;
      fastcgi_param CONTENT_LENGTH    $content_length;
      fastcgi_param SCRIPT_NAME       $fastcgi_script_name;
      fastcgi_param REQUEST_URI       $request_uri;
      fastcgi_param DOCUMENT_URI      $document_uri;
      fastcgi_param DOCUMENT_ROOT     $docroot;
      fastcgi_param SERVER_PROTOCOL   $server_protocol;
      fastcgi_param REQUEST_SCHEME    $scheme;
      fastcgi_param HTTPS             $https if_not_empty;
      fastcgi_param GATEWAY_INTERFACE CGI/1.1;
      fastcgi_param SERVER_SOFTWARE   nginx/$nginx_version;
      fastcgi_param REMOTE_ADDR       $remote_addr;
      fastcgi_param REMOTE_PORT       $remote_port;
      fastcgi_param SERVER_ADDR       $server_addr;
      fastcgi_param SERVER_PORT       $server_port;
      fastcgi_param SERVER_NAME       $server_name;
      fastcgi_param REDIRECT_STATUS   200;
]]

-- Bodies stay in memory, as they do in Moongate, instead of going through files; with these sizes
-- nginx is at its best in every case. A larger fastcgi_buffer_size would cost it on tiny replies.
local NGINX = [[
daemon off;
master_process %(master);
worker_processes 1;
worker_rlimit_nofile 20000;
pid %(dir)/nginx.pid;
error_log %(dir)/error.log warn;
%(user)
events { worker_connections 16384; }
http {
  access_log off;
  keepalive_requests 1000000000;
  keepalive_timeout 600s;
  client_body_temp_path %(dir)/body;
  fastcgi_temp_path %(dir)/fastcgi;
  proxy_temp_path %(dir)/proxy;
  uwsgi_temp_path %(dir)/uwsgi;
  scgi_temp_path %(dir)/scgi;
  client_body_buffer_size 64k;
  fastcgi_buffers 16 32k;
  map_hash_max_size 65536;
  map_hash_bucket_size 128;
  map $host $docroot {
    default "";
    include %(dir)/tenants.map;
  }
  upstream app {
    server %(application);
    %(kept)
  }
  server {
    listen %(address) backlog=4096;
    root $docroot;
    %(site)
    location %(scripts) {
      fastcgi_pass app;
      fastcgi_keep_conn %(keepconn);
%(params)    }
  }
}
]]

-- What php.site does: a file where there is one, else the front controller.
local NGINX_SITE = "location / { try_files $uri $uri/ /index.php?$args; }"

local ROUTE = [[
-- Ten thousand tenants, each with its own folder, found by the request's host.
local tenants = {}
for i = %(step), %(tenants), %(step) do
  tenants[("t%05d.example"):format(i)] = %(decision)
end

return {
  control = false,
  log = { access = false },
  limits = { keepalive_requests = 1000000000, keepalive_timeout = "600s" },
  backends = {
    app = {
      servers = { %(servers) },
      keepalive = %(keepalive),
      keepalive_requests = 1000000000,
      %(backend)
    },
  },
  on_request = function(req)
    %(decide)
  end,
  %(hooks)
}
]]

-- What a tenant has in the table of the route.
local DECISIONS = {
  docroot = [[{ backend = "app", docroot = %(docroot), tenant = %(tenant) }]],
  root = [[{ backend = "app", root = %(docroot), tenant = %(tenant) }]],
  site = [[require("moongate.php").site({
    backend = "app", root = %(docroot), front = "/index.php",
  })]],
}

---@class Proxy
---@field name string
---@field address string
---@field process Process
---@field worker integer pid of the process that serves
---@field pids integer[] all of its processes
local Proxy = {}
Proxy.__index = Proxy

---@class Application
---@field address string
---@field addresses string[] all of them
local Application = {}
Application.__index = Application

local function fill(template, values)
  return (template:gsub("%%%((%w+)%)", values))
end

local function program(path)
  return path:sub(1, 1) == "/" and path or process.cwd() .. "/" .. path
end

local function binary(name)
  if name == "moongate" then
    return program(os.getenv("MOONGATE") or "build/moongate")
  elseif os.getenv("NGINX") then
    return program(os.getenv("NGINX"))
  end
  for _, path in ipairs({ "/usr/sbin/nginx", "build/deps/nginx/usr/sbin/nginx" }) do
    if process.read_file(path) then
      return program(path)
    end
  end
  return "/usr/sbin/nginx"
end

--- Why this proxy cannot be measured, or nil.
---@param name "nginx"|"moongate"
---@return string|nil
function proxies.missing(name)
  if not process.read_file(binary(name)) then
    local remedy = name == "nginx" and "tools/install bench" or "make"
    return ("no %s at %s; run `%s`"):format(name, binary(name), remedy)
  end
end

--- What is compared, for the report.
---@param names string[]
---@return table<string, string>
function proxies.versions(names)
  local out = {}
  for _, name in ipairs(names) do
    local argv = { binary(name), name == "nginx" and "-v" or "version" }
    local result = process.run({ argv = argv })
    out[name] = (result.stdout .. result.stderr):match("[^\n]+")
  end
  return out
end

--- Starts the application on a unix socket, or several.
---@param count? integer
---@return Application
function proxies.application(count)
  local dir = process.tempdir("app")
  local self = setmetatable({ addresses = {} }, Application)
  for i = 1, count or 1 do
    self.addresses[i] = ("unix:%s/app%d.sock"):format(dir, i)
  end
  self.address = self.addresses[1]
  self.process = process.spawn({
    argv = { program("build/tests/responder"), unpack(self.addresses) },
    stderr = dir .. "/stderr",
  })
  poll.wait(function()
    assert(self.process:alive(), "build/tests/responder: " .. self.process:ending())
    return net.listening(self.address)
  end, "the application to listen")
  return self
end

function Application:stop()
  self.process:stop()
end

-- The docroot of a tenant: its own, or the one that they share because scripts lie there.
local function docroot_of(values, i)
  return values.root or ("%s/t%05d"):format(values.sites, i)
end

local function nginx_command(values)
  local map = {}
  for i = 1, TENANTS do
    map[i] = ("t%05d.example %s;\n"):format(i, docroot_of(values, i))
  end
  process.write_file(values.dir .. "/tenants.map", table.concat(map))
  process.write_file(values.dir .. "/nginx.conf", fill(NGINX, values))
  return { binary("nginx"), "-p", values.dir, "-c", values.dir .. "/nginx.conf",
    "-e", values.dir .. "/error.log" }
end

local function moongate_command(values)
  local route = fill(ROUTE, { decision = DECISIONS[values.route] })
  process.write_file(values.dir .. "/route.lua", fill(route, values))
  local argv = { binary("moongate"), "run", values.dir .. "/route.lua", "--listen", values.address,
    "--workers", "1", "--no-watch" }
  if process.is_root() then
    argv[#argv + 1] = "--user"
    argv[#argv + 1] = "root"
  end
  return argv
end

local function under_callgrind(argv, folder)
  local out = { "valgrind", "--tool=callgrind", "--quiet",
    "--callgrind-out-file=" .. folder .. "/callgrind.%p" }
  for _, word in ipairs(argv) do
    out[#out + 1] = word
  end
  return out
end

--- A folder for each tenant, with what is looked up there.
---@return string folder of all of them, to be removed by the caller
function proxies.sites()
  local dir = process.tempdir("sites")
  process.chmod(dir, "755")
  process.run({ argv = { "sh", "-c", "cd \"$0\" && seq -f t%05g 1 \"$1\" | xargs mkdir", dir,
    tostring(TENANTS) } }, 60)
  for i = 1, TENANTS do
    local folder = ("%s/t%05d"):format(dir, i)
    process.write_file(folder .. "/index.php", "<?php\n")
    process.write_file(folder .. "/style.css", ("/* 16 bytes */\n\n"):rep(256))
  end
  return dir
end

---@class ProxyOptions
---@field folder? string runs it under callgrind, which writes its counts to this folder
---@field keepalive? integer connections to keep, 64 by default; 0: a connection for each request
---@field root? string one docroot for all tenants, where the scripts really are
---@field route? "docroot"|"root"|"site" what the route knows of a tenant: where its scripts lie for
---  the application (as usual), that they can be looked up here, or a whole site of PHP and files
---@field sites? string where the folders of the tenants are, if they are anywhere (proxies.sites)
---@field backend? string more keys of Moongate's backend
---@field tenants? boolean Moongate is told whose share each request is
---@field on_request? string body of Moongate's on_request
---@field hooks? string further keys of its route
---@field servers? string[] addresses of its servers, instead of the application's

--- Starts a proxy and waits until it answers.
---@param name "nginx"|"moongate"
---@param application Application or whatever else has its address
---@param options? ProxyOptions
---@return Proxy
function proxies.start(name, application, options)
  options = options or {}
  local folder, keepalive = options.folder, options.keepalive or KEEPALIVE
  local dir = process.tempdir("bench")
  local values = {
    dir = dir,
    address = "127.0.0.1:" .. net.free_port(),
    application = application.address,
    keepalive = keepalive,
    kept = keepalive == 0 and ""
      or ("keepalive %d; keepalive_requests 1000000000;"):format(keepalive),
    keepconn = keepalive == 0 and "off" or "on",
    servers = '"' .. table.concat(options.servers or { application.address }, '", "') .. '"',
    route = options.route or "docroot",
    site = options.route == "site" and NGINX_SITE or "",
    scripts = options.route == "site" and [[~ \.php$]] or "/",
    decide = options.on_request
      or options.route == "site" and "return tenants[req.host](req)" or "return tenants[req.host]",
    hooks = options.hooks or "",
    backend = options.backend or "",
    docroot = options.root and ("%q"):format(options.root)
      or ("%q .. ('/t%%05d'):format(i)"):format(options.sites or "/srv/tenants"),
    root = options.root,
    sites = options.sites or "/srv/tenants",
    step = folder and 100 or 1, -- so many are all that measure.instructions asks for
    tenant = options.tenants and [[("t%05d"):format(i)]] or "nil",
    tenants = TENANTS,
    params = NGINX_PARAMS,
    master = folder and "off" or "on",
    user = process.is_root() and "user root;" or "",
  }
  local argv = name == "nginx" and nginx_command(values) or moongate_command(values)
  local self = setmetatable({ name = name, address = values.address, dir = dir }, Proxy)
  self.process = process.spawn({
    argv = folder and under_callgrind(argv, folder) or argv,
    cwd = dir,
    stdout = dir .. "/stdout",
    stderr = dir .. "/stderr",
  })
  poll.wait(function()
    assert(self.process:alive(), self:problem())
    return net.listening(self.address) and self:find_worker(folder)
  end, name .. " to serve", folder and 60 or 15)
  return self
end

-- Moongate says on stderr that it serves; nginx listens before its worker is there.
function Proxy:find_worker(alone)
  local children = process.children(self.process.pid)
  if self.name == "moongate" then
    local text = process.read_file(self.dir .. "/stderr") or ""
    if not text:find("serving", 1, true) then
      return false
    end
  elseif not alone and #children == 0 then
    return false
  end
  self.worker = children[1] or self.process.pid
  self.pids = { self.process.pid, unpack(children) }
  return true
end

function Proxy:problem()
  local out = { self.name .. ": " .. self.process:ending() }
  for _, name in ipairs({ "/stderr", "/error.log" }) do
    out[#out + 1] = process.read_file(self.dir .. name)
  end
  return table.concat(out, "\n")
end

--- Lets Moongate load its route again, and waits until that has ended.
function Proxy:reload()
  local path = self.dir .. "/stderr"
  local from = #(process.read_file(path) or "")
  self.process:kill("HUP")
  poll.wait(function()
    local said = (process.read_file(path) or ""):sub(from + 1)
    assert(not said:find("the reload failed", 1, true), said)
    return said:find("generation %d+ serves")
  end, "the reload", 30)
end

--- Ends it and removes its files.
function Proxy:stop()
  self.process:stop(20)
  process.remove(self.dir)
end

return proxies
