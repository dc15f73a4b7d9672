-- The servers of the cases of TLS and HTTP/2: Moongate, its release build where that is there,
-- nginx and h2o, each with one worker, that serve the same folder and the same FastCGI application
-- over TLS on one port and without on another, with the same certificate. The application gets
-- about the same params from each, over connections that are kept. Called by secure.lua.

local net = require("tests.support.net")
local nginx_params = require("tests.support.nginx_params")
local poll = require("tests.support.poll")
local process = require("tests.support.process")
local stage = require("tests.support.stage")
local tls = require("tests.support.tls")

local secure_servers = {}

local DEPS = process.cwd() .. "/build/deps/peers"

-- connections to the application that each keeps: one for each stream of the load, so that none is
-- made for a request
local KEEPALIVE = 128

-- As in peers/nginx.lua: with these buffers responses stay in memory.
local NGINX = [[
daemon off; pid %(dir)/nginx.pid; error_log %(dir)/error.log crit; worker_processes 1;
%(user) worker_rlimit_nofile 20000;
events { worker_connections 16384; }
http {
  access_log off; keepalive_requests 1000000000; keepalive_timeout 600s; sendfile on;
  tcp_nopush on; default_type text/css;
  client_body_temp_path %(dir)/1; fastcgi_temp_path %(dir)/2; proxy_temp_path %(dir)/3;
  uwsgi_temp_path %(dir)/4; scgi_temp_path %(dir)/5;
  ssl_protocols TLSv1.2 TLSv1.3; ssl_session_tickets on; ssl_session_cache none;
  ssl_session_timeout 1h;
  fastcgi_buffers 16 32k;
  upstream app {
    server %(application); keepalive %(keepalive); keepalive_requests 1000000000;
  }
  server {
    listen %(plain) http2 backlog=4096;
    listen %(secure) ssl http2 backlog=4096;
    ssl_certificate %(cert); ssl_certificate_key %(key);
    root %(files);
    location ~ \.php$ {
      fastcgi_pass app; fastcgi_keep_conn on;
]] .. nginx_params("$document_root") .. [[
      fastcgi_param SCRIPT_FILENAME $document_root$fastcgi_script_name;
      fastcgi_param HTTPS $https if_not_empty;
      fastcgi_param SERVER_SOFTWARE nginx/$nginx_version;
    }
  }
}
]]

local H2O = [[
num-threads: 1
max-connections: 20000
pid-file: %(dir)/pid
error-log: %(dir)/error.log
http1-request-timeout: 600
http2-idle-timeout: 600
%(user)
ssl-session-resumption:
  mode: ticket
listen:
  host: 127.0.0.1
  port: %(plain_port)
listen:
  host: 127.0.0.1
  port: %(secure_port)
  ssl:
    certificate-file: %(cert)
    key-file: %(key)
    minimum-version: TLSv1.2
hosts:
  "*":
    paths:
      "/":
        file.dir: %(files)
        file.custom-handler:
          extension: .php
          fastcgi.document_root: %(files)
          fastcgi.connect:
            port: %(socket)
            type: unix
          fastcgi.timeout.keepalive: 600000
]]

local MOONGATE = [[
return {
  listen = { { address = %(plain_q), h2c = true },
    { address = %(secure_q), tls = { cert = %(cert_q), key = %(key_q) } } },
  workers = 1, control = false, watch = false, log = { access = false },
  limits = { keepalive_requests = 1000000000, keepalive_timeout = "600s" },
  backends = { app = {
    servers = %(application_q), keepalive = %(keepalive), keepalive_requests = 1000000000,
  } },
  on_request = function(req)
    if req.path:sub(-4) == ".php" then
      return { backend = "app", root = %(files_q) }
    end
    return { root = %(files_q) }
  end,
}
]]

local function moongate(program)
  return { program = program, file = "route.lua", text = MOONGATE,
    argv = function(path_of_program, path)
      return { path_of_program, "run", path,
        unpack(process.is_root() and { "--user", "root" } or {}) }
    end }
end

local PEERS = {
  moongate = moongate("build/moongate"),
  ["moongate-release"] = moongate("build/release/moongate"),
  nginx = { program = DEPS .. "/usr/sbin/nginx", file = "nginx.conf", text = NGINX,
    user = "user root;", argv = function(program, path)
      return { program, "-p", path:match("^(.*)/"), "-c", path }
    end },
  h2o = { program = DEPS .. "/usr/bin/h2o", file = "h2o.conf", text = H2O,
    user = "user: root", argv = function(program, path)
      return { program, "-c", path }
    end },
}

local ORDER = { "moongate", "moongate-release", "nginx", "h2o" }

---@class SecureServer
---@field name string
---@field plain string address without TLS
---@field secure string address with TLS
local Server = {}
Server.__index = Server

-- MOONGATE, MOONGATE_RELEASE, NGINX and H2O name other programs.
local function program_of(name)
  local path = os.getenv((name:upper():gsub("%-", "_"))) or PEERS[name].program
  return path:sub(1, 1) == "/" and path or process.cwd() .. "/" .. path
end

--- The servers that there are here.
---@return string[]
function secure_servers.names()
  local list = {}
  for _, name in ipairs(ORDER) do
    if process.read_file(program_of(name)) then
      list[#list + 1] = name
    end
  end
  return list
end

--- The files that are served, a certificate, and the application.
---@param key "rsa"|"ec"
---@param application Application of proxies.application
---@return { files: string, cert: string, key: string, application: string, socket: string }
function secure_servers.site(key, application)
  local files = process.tempdir("files")
  process.chmod(files, "755")
  local line = "/* 16 bytes */\n\n"
  stage.write(files, { ["tiny.css"] = line:rep(6) .. "123\n", ["64k.css"] = line:rep(4096),
    ["index.php"] = "<?php\n" })
  local pair = tls.authority():issue({ "localhost" }, { key = key })
  return { files = files, cert = pair.cert, key = pair.key, application = application.address,
    socket = application.address:match("^unix:(.*)$") }
end

--- Starts a server, and waits until both ports answer.
---@param name string
---@param site table of secure_servers.site
---@return SecureServer
function secure_servers.start(name, site)
  local peer, dir = PEERS[name], process.tempdir("secure")
  local values = { dir = dir, user = process.is_root() and peer.user or "",
    keepalive = KEEPALIVE,
    plain = "127.0.0.1:" .. net.free_port(), secure = "127.0.0.1:" .. net.free_port() }
  for key, value in pairs(site) do
    values[key] = value
  end
  for _, key in ipairs({ "plain", "secure" }) do
    values[key .. "_port"] = values[key]:match("%d+$")
  end
  local text = peer.text:gsub("%%%(([%w_]+)%)", function(key)
    local base = key:match("^(.*)_q$")
    return base and ("%q"):format(values[base]) or values[key]
  end)
  local path = dir .. "/" .. peer.file
  process.write_file(path, text)
  local self = setmetatable({ name = name, dir = dir,
    plain = values.plain, secure = values.secure }, Server)
  self.process = process.spawn({ argv = peer.argv(program_of(name), path), cwd = dir,
    env = peer.text ~= MOONGATE and { LD_LIBRARY_PATH = stage.libraries(DEPS) } or nil,
    stdout = dir .. "/stdout", stderr = dir .. "/stderr" })
  poll.wait(function()
    assert(self.process:alive(), name .. ": " .. (process.read_file(dir .. "/stderr") or ""))
    return net.listening(self.plain) and net.listening(self.secure)
      and (name == "h2o" or #process.children(self.process.pid) > 0)
  end, name .. " to serve", 60)
  return self
end

--- All of its processes now.
---@return integer[]
function Server:pids()
  return { self.process.pid, unpack(process.children(self.process.pid)) }
end

function Server:stop()
  self.process:stop()
end

return secure_servers
