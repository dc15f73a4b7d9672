-- nginx, and nginx with the tenants in a table of Lua. With these sizes of buffers bodies stay in
-- memory, as they do in Moongate, and nginx is at its best in every case; a larger
-- fastcgi_buffer_size would cost it on tiny replies.

local nginx_params = require("tests.support.nginx_params")
local process = require("tests.support.process")

local NGINX_PARAMS = nginx_params("$docroot") .. [[
fastcgi_param SCRIPT_FILENAME   $docroot$fastcgi_script_name;
fastcgi_param HTTPS             $https if_not_empty;
fastcgi_param SERVER_SOFTWARE   nginx/$nginx_version;
]]

local CONF = [[
daemon off;
master_process %(master);
worker_processes %(workers);
worker_rlimit_nofile 20000;
pid %(dir)/nginx.pid;
error_log %(dir)/error.log warn;
%(modules)
%(user)
events { worker_connections 16384; }
http {
  access_log off;
  keepalive_requests 1000000000;
  keepalive_timeout 600s;
  client_header_timeout 600s;
  client_body_temp_path %(dir)/body;
  fastcgi_temp_path %(dir)/fastcgi;
  proxy_temp_path %(dir)/proxy;
  uwsgi_temp_path %(dir)/uwsgi;
  scgi_temp_path %(dir)/scgi;
  client_body_buffer_size 64k;
  fastcgi_buffers 16 32k;
  sendfile on;
  tcp_nopush on;
  types { text/css css; }
%(table)
%(keeping)
  upstream app {
    server %(application);
    %(kept)
  }
  server {
    listen %(address) backlog=4096;
%(lookup)
    root $docroot;
    %(site)
    location %(scripts) {
      fastcgi_pass app;
      fastcgi_keep_conn %(keepconn);
      %(caching)
%(params)    }
  }
}
]]

-- What php.site does: a file where there is one, else the front controller.
local SITE = "location / { try_files $uri $uri/ /index.php?$args; }"

-- Replies that are kept.
local KEEPING = [[
  fastcgi_cache_path %(dir)/cache levels=2:2 keys_zone=replies:64m max_size=2g inactive=1h
    use_temp_path=off;
  gzip on;
  gzip_comp_level 5;
]]
local KEPT = [[
      fastcgi_cache replies;
      fastcgi_cache_key $scheme://$http_host$request_uri;
      fastcgi_cache_valid 200 1h;
]]

local MAP = [[
  map_hash_max_size %(hash);
  map_hash_bucket_size 128;
  map $host $docroot {
    default "";
    include %(dir)/tenants.map;
  }
]]

local LUA_TABLE = [[
  lua_package_path "%(deps)/usr/share/lua/5.1/?.lua;;";
  init_by_lua_file %(dir)/tenants.lua;
]]

local LUA_LOOKUP = [[
    set $docroot "";
    rewrite_by_lua_block { ngx.var.docroot = tenants[ngx.var.host] or "" }
]]

local LUA_MODULES = [[
load_module %(deps)/usr/lib/nginx/modules/ndk_http_module.so;
load_module %(deps)/usr/lib/nginx/modules/ngx_http_lua_module.so;
]]

local function write_map(values)
  local map = {}
  for i, docroot in ipairs(values.docroots) do
    map[i] = ("t%05d.example %s;\n"):format(i, docroot)
  end
  process.write_file(values.dir .. "/tenants.map", table.concat(map))
end

local function write_table(values)
  local lines = { "tenants = {\n" }
  for i, docroot in ipairs(values.docroots) do
    lines[#lines + 1] = ("  [%q] = %q,\n"):format(("t%05d.example"):format(i), docroot)
  end
  lines[#lines + 1] = "}\n"
  process.write_file(values.dir .. "/tenants.lua", table.concat(lines))
end

local function peer(name, title, lua)
  return {
    name = name,
    title = title,
    path = "usr/sbin/nginx",
    version = "-v",
    reload = "HUP",
    -- nginx listens before its worker is there.
    ready = function(values, children)
      return values.folder or #children > 0
    end,
    command = function(values, fill, program)
      local site = values.route == "site";
      (lua and write_table or write_map)(values)
      local all = setmetatable({
        master = values.folder and "off" or "on",
        user = process.is_root() and "user root;" or "",
        kept = values.keepalive == 0 and ""
          or ("keepalive %d; keepalive_requests 1000000000;"):format(values.keepalive),
        keepconn = values.keepalive == 0 and "off" or "on",
        site = site and SITE or "",
        scripts = site and [[~ \.php$]] or "/",
        params = NGINX_PARAMS,
        hash = math.max(65536, #values.docroots * 2),
      }, { __index = values })
      all.table = fill(lua and LUA_TABLE or MAP, all)
      all.lookup = lua and LUA_LOOKUP or ""
      all.keeping = values.route == "cached" and fill(KEEPING, all) or ""
      all.caching = values.route == "cached" and KEPT or ""
      all.modules = lua and fill(LUA_MODULES, all) or ""
      process.write_file(values.dir .. "/nginx.conf", fill(CONF, all))
      return { program, "-p", values.dir, "-c", values.dir .. "/nginx.conf",
        "-e", values.dir .. "/error.log" }
    end,
  }
end

return { peer("nginx", "nginx"), peer("nginx-lua", "nginx with Lua", true) }
