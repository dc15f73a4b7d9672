-- Web servers that stand in front of Moongate: HAProxy, nginx, Apache, lighttpd and Caddy, unpacked
-- by tools/install into build/deps, each with a configuration of the test's in a temporary folder.

local net = require("tests.support.net")
local poll = require("tests.support.poll")
local process = require("tests.support.process")
local stage = require("tests.support.stage")

local fronts = {}

---@class Front
---@field address string "127.0.0.1:port"
---@field dir string
local Front = {}
Front.__index = Front

local ROOT = process.cwd() .. "/build/deps/fronts"

-- `write` gives the configuration, and `argv` the command, of the folder.
local function start(program, write, argv)
  local dir = process.tempdir(program)
  local self = setmetatable({ dir = dir, address = "127.0.0.1:" .. net.free_port() }, Front)
  process.write_file(dir .. "/conf", write(self.address, dir))
  local command = argv(dir .. "/conf", dir)
  table.insert(command, 1, ROOT .. (program == "caddy" and "/usr/bin/" or "/usr/sbin/") .. program)
  self.process = process.spawn({
    argv = command, env = { LD_LIBRARY_PATH = stage.libraries(ROOT), HOME = dir }, cwd = dir,
    stdout = dir .. "/log", stderr = dir .. "/log",
  })
  local ok, problem = pcall(poll.wait, function()
    assert(self.process:alive(), "it has ended")
    return net.listening(self.address)
  end, program .. " to listen")
  if not ok then
    self:stop()
    error(("%s: %s:\n%s"):format(program, problem, process.read_file(dir .. "/log") or ""), 2)
  end
  return self
end

--- Starts HAProxy.
---@param config fun(address: string, dir: string): string of the address to listen on
---@return Front
function fronts.haproxy(config)
  return start("haproxy", config, function(path)
    return { "-db", "-f", path }
  end)
end

local NGINX = [[
daemon off;
master_process off;
worker_processes 1;
pid nginx.pid;
error_log stderr;
events { worker_connections 64; }
http {
  access_log off;
  client_body_temp_path body;
  proxy_temp_path proxy;
  fastcgi_temp_path fastcgi;
  uwsgi_temp_path uwsgi;
  scgi_temp_path scgi;
%s
}
]]

--- Starts nginx.
---@param servers fun(address: string, dir: string): string what stands in `http`
---@return Front
function fronts.nginx(servers)
  return start("nginx", function(...)
    return NGINX:format(servers(...))
  end, function(path, dir)
    return { "-p", dir, "-c", path }
  end)
end

local APACHE = [[
ServerRoot "%s/usr/lib/apache2"
DefaultRuntimeDir "%s"
PidFile "%s/pid"
ErrorLog "%s/log"
ServerName front.test
Listen %s
LoadModule mpm_event_module modules/mod_mpm_event.so
LoadModule authz_core_module modules/mod_authz_core.so
User %s
Group %s
%s
]]

--- Starts Apache.
---@param config fun(address: string, dir: string): string what stands below its modules
---@return Front
function fronts.apache(config)
  return start("apache2", function(address, dir)
    local user = process.is_root() and "www-data" or os.getenv("USER") or "www-data"
    return APACHE:format(ROOT, dir, dir, dir, address, user, user, config(address, dir))
  end, function(path)
    return { "-X", "-f", path }
  end)
end

--- Starts lighttpd.
---@param config fun(address: string, dir: string): string
---@return Front
function fronts.lighttpd(config)
  return start("lighttpd", config, function(path)
    return { "-D", "-f", path, "-m", ROOT .. "/usr/lib/lighttpd" }
  end)
end

--- Starts Caddy.
---@param config fun(address: string, dir: string): string a Caddyfile
---@return Front
function fronts.caddy(config)
  return start("caddy", config, function(path)
    return { "run", "--adapter", "caddyfile", "--config", path }
  end)
end

--- Ends it; safe to call twice.
function Front:stop()
  if self.process:alive() and not self.process:stop(5) then
    self.process:kill("KILL")
  end
end

return fronts
