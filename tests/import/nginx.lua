-- Configurations of nginx, as people write them, for tests/import/import_spec.lua. @ROOT@, @PHP@
-- and so on are
-- put in by tests/support/sidebyside.lua. `differs` has what is meant to be another status, and
-- why.
-- luacheck: no max line length (configurations of others)

local PHP = [[
    include fastcgi_params;
    fastcgi_param SCRIPT_FILENAME $document_root$fastcgi_script_name;
    fastcgi_pass @PHP@;
]]

local NO_INDEX = { 403, 404, "a folder without an index is 404" }

local function server(text)
  return "server {\n  listen @LISTEN@;\n  root @ROOT@;\n" .. text .. "\n}\n"
end

local PHP_LOCATION = "  location ~ \\.php$ {\n" .. PHP .. "  }\n"

local USUAL = { "/", "/index.php", "/index.php?a=b&c=%20d", "/info.php", "/about.html",
  "/static/app.css", "/blog/", "/blog",
  "POST /info.php", "/nothing", "/nothing/deeper?x=1" }

local function usual(...)
  local list = { unpack(USUAL) }
  for _, url in ipairs({ ... }) do
    list[#list + 1] = url
  end
  return list
end

return {
  {
    name = "files and PHP", kind = "nginx", urls = usual("/docs/", "/docs", "/empty/", "/nope.php"),
    config = server("  index index.php index.html;\n" .. PHP_LOCATION),
      differs = { ["/empty/"] = NO_INDEX },
  },
  {
    name = "WordPress", kind = "nginx", urls = usual("/wp-login.php", "/2024/05/a-post/",
      "/static/logo.png", "/.env"),
    config = server([[
  index index.php;
  location = /favicon.ico { log_not_found off; access_log off; }
  location = /robots.txt { allow all; }
  location / { try_files $uri $uri/ /index.php?$args; }
  location ~ /\. { deny all; }
  location ~* \.(js|css|png|jpg|jpeg|gif|ico)$ { expires max; log_not_found off; }
]] .. PHP_LOCATION),
  },
  {
    name = "WordPress, no PHP below uploads", kind = "nginx",
    urls = usual("/uploads/evil.php", "/uploads/photo.jpg", "/uploads/nothing.jpg"),
    config = server([[
  index index.php;
  location / { try_files $uri $uri/ /index.php?$args; }
  location ~* /(?:uploads|files)/.*\.php$ { deny all; }
]] .. PHP_LOCATION),
  },
  {
    name = "WordPress in networks of folders", kind = "nginx", urls = { "/",
      "/one/wp-login.php?a=b", "/one/static/app.css",
      "/one/page/", "/wp-login.php" },
    config = server([[
  index index.php;
  rewrite ^/[_0-9a-zA-Z-]+(/static/.*)$ $1 last;
  rewrite ^/[_0-9a-zA-Z-]+(/wp-.*\.php)$ $1 last;
  location / { try_files $uri $uri/ /index.php?$args; }
]] .. PHP_LOCATION),
  },
  {
    name = "Laravel", kind = "nginx", urls = usual("/users/7", "/.env", "/.well-known/acme.txt"),
    config = server([[
  index index.php;
  charset utf-8;
  add_header X-Content-Type-Options nosniff;
  location / { try_files $uri $uri/ /index.php?$query_string; }
  location = /favicon.ico { access_log off; log_not_found off; }
  location ~ ^/index\.php(/|$) {
]] .. PHP .. [[
  }
  location ~ /\.(?!well-known).* { deny all; }
]]), differs = { ["/info.php"] = { 200, 200, "a script that no location names is run, and never sent as text" },
      ["/blog/"] = { 200, 200, "an index runs" },
      ["POST /info.php"] = { 405, 200, "the same" } },
  },
  {
    name = "Symfony", kind = "nginx", urls = { "/", "/product/3", "/index.php/product/3",
      "/static/app.css", "/info.php" },
    config = server([[
  location / { try_files $uri /index.php$is_args$args; }
  location ~ ^/index\.php(/|$) {
    fastcgi_split_path_info ^(.+\.php)(/.*)$;
    include fastcgi_params;
    fastcgi_param SCRIPT_FILENAME $realpath_root$fastcgi_script_name;
    fastcgi_param DOCUMENT_ROOT $realpath_root;
    fastcgi_pass @PHP@;
    internal;
  }
  location ~ \.php$ { return 404; }
]]), differs = { ["/index.php/product/3"] = { 404, 404, "internal" } },
  },
  {
    name = "Drupal", kind = "nginx",
    urls = { "/", "/node/1?x=y", "/robots.txt", "/static/logo.png", "/data/secret.txt",
      "/index.php", "/composer.json" },
    config = server([[
  index index.php;
  location = /robots.txt { allow all; log_not_found off; }
  location ~* \.(txt|log)$ { deny all; }
  location ~ \..*/.*\.php$ { return 403; }
  location = /composer.json { return 404; }
  location / { try_files $uri /index.php?$query_string; }
  location ~ '\.php$|^/update.php' {
    fastcgi_split_path_info ^(.+?\.php)(|/.*)$;
    try_files $fastcgi_script_name =404;
]] .. PHP .. [[
  }
  location ~* \.(js|css|png|jpg|gif|ico|svg)$ { try_files $uri @rewrite; expires max; }
  location @rewrite { rewrite ^ /index.php; }
]]),
  },
  {
    name = "Drupal of old, with the path as an argument", kind = "nginx", urls = { "/", "/node/1",
      "/node/1?x=y", "/about.html" },
    config = server([[
  index index.php;
  location / { try_files $uri @front; }
  location @front { rewrite ^/(.*)$ /index.php?q=$1 last; }
]] .. PHP_LOCATION), differs = { ["/"] = { 200, 200, "a folder's index is looked for behind try_files" } },
  },
  {
    name = "Nextcloud", kind = "nginx",
    urls = { "/", "/remote.php/dav/files/a.b/c%20d", "/index.php/apps/x", "/data/secret.txt",
      "/static/app.css",
      "/.well-known/carddav", "/robots.txt" },
    config = server([[
  index index.php index.html /index.php$request_uri;
  client_max_body_size 512M;
  fastcgi_buffers 64 4K;
  location = /robots.txt { allow all; }
  location ^~ /.well-known {
    location = /.well-known/carddav { return 301 /remote.php/dav/; }
    return 301 /index.php$request_uri;
  }
  location ~ ^/(?:build|tests|config|lib|data)(?:$|/) { return 404; }
  location ~ \.php(?:$|/) {
    fastcgi_split_path_info ^(.+?\.php)(/.*)$;
    set $path_info $fastcgi_path_info;
    try_files $fastcgi_script_name =404;
]] .. PHP .. [[
    fastcgi_param PATH_INFO $path_info;
    fastcgi_request_buffering off;
    fastcgi_read_timeout 3600;
  }
  location ~ \.(?:css|js|svg|gif|png)$ { try_files $uri /index.php$request_uri; expires 6M; }
  location / { try_files $uri $uri/ /index.php$request_uri; }
]]),
  },
  {
    name = "MediaWiki with short URLs", kind = "nginx", urls = { "/wiki/Main_Page", "/wiki/A/B?x=y",
      "/index.php?title=X",
      "/static/logo.png", "/" },
    config = server([[
  index index.php;
  location /wiki/ { rewrite ^/wiki/(?<pagename>.*)$ /index.php?title=$1 last; }
  location / { try_files $uri $uri/ =404; }
]] .. PHP_LOCATION),
  },
  {
    name = "DokuWiki", kind = "nginx",
    urls = { "/start", "/wiki/syntax?do=edit", "/lib/exe/css.php", "/_media/a.png",
      "/data/secret.txt", "/conf/local.txt" },
    config = server([[
  index doku.php;
  location ~ /(data|conf|bin|inc)/ { deny all; }
  location / { try_files $uri $uri/ @dokuwiki; }
  location @dokuwiki {
    rewrite ^/_media/(.*) /lib/exe/css.php?media=$1 last;
    rewrite ^/(.*) /doku.php?id=$1 last;
  }
]] .. PHP_LOCATION),
  },
  {
    name = "path info split by nginx", kind = "nginx", urls = { "/info.php/a/b", "/info.php",
      "/info.php/a%20b?x=y", "/nope.php/x" },
    config = server([[
  location ~ [^/]\.php(/|$) {
    fastcgi_split_path_info ^(.+?\.php)(/.*)$;
    if (!-f $document_root$fastcgi_script_name) { return 404; }
]] .. PHP .. [[
    fastcgi_param PATH_INFO $fastcgi_path_info;
  }
]]), differs = {
      ["/info.php/a/b"] = { 200, 404, "$fastcgi_script_name in `if` is the whole path" },
      ["/info.php/a%20b?x=y"] = { 200, 404, "the same" } },
  },
  {
    name = "path info with the snippet of Debian", kind = "nginx", urls = { "/info.php/a/b",
      "/info.php", "/index.php/x?y=z",
      "/nope.php", "/about.html" },
    config = server([[
  location ~ \.php(/|$) {
    fastcgi_split_path_info ^(.+?\.php)(/.*)$;
    try_files $fastcgi_script_name =404;
    set $path_info $fastcgi_path_info;
    include fastcgi_params;
    fastcgi_param SCRIPT_FILENAME $document_root$fastcgi_script_name;
    fastcgi_param PATH_INFO $path_info;
    fastcgi_pass @PHP@;
  }
]]), differs = { ["/info.php/a/b"] = { 200, 200, "PATH_INFO is empty in nginx behind try_files without $path_info" },
      ["/index.php/x?y=z"] = { 200, 200, "the same" } },
  },
  {
    name = "one front controller for all", kind = "nginx", urls = { "/", "/a/b?c=d", "/info.php",
      "POST /x", "/about.html" },
    config = server([[
  location / {
    include fastcgi_params;
    fastcgi_param SCRIPT_FILENAME $document_root/index.php;
    fastcgi_param SCRIPT_NAME /index.php;
    fastcgi_pass @PHP@;
  }
]]),
  },
  {
    name = "an application below a prefix, with alias", kind = "nginx",
    urls = { "/wiki/index.php", "/wiki/tool.php?a=b", "/wiki/style.css", "/wiki/load.php",
      "/about.html", "/wiki/nothing.css" },
    config = server([[
  location /wiki/ {
    alias @OTHER@/;
    index index.php;
    location ~ \.php$ {
      include fastcgi_params;
      fastcgi_param SCRIPT_FILENAME $request_filename;
      fastcgi_pass @PHP@;
    }
  }
]]), ignore = { "DOCUMENT_ROOT" }, -- nginx's ends in a slash
  },
  {
    name = "upstream of a name", kind = "nginx", urls = USUAL,
    config = "upstream php { server @PHP@ weight=2 max_fails=3 fail_timeout=10s; keepalive 4; }\n"
      .. server([[
  index index.php;
  location ~ \.php$ {
    include fastcgi_params;
    fastcgi_param SCRIPT_FILENAME $document_root$fastcgi_script_name;
    fastcgi_pass php;
    fastcgi_connect_timeout 3s;
    fastcgi_read_timeout 2m;
  }
]]),
  },
  {
    name = "params of one's own", kind = "nginx", urls = { "/info.php", "/index.php?x=1" },
    config = server([[
  location ~ \.php$ {
]] .. PHP .. [[
    fastcgi_param APP_ENV production;
    fastcgi_param HTTPS_SAID $scheme;
    fastcgi_param HTTP_PROXY "";
  }
]]),
  },
  {
    name = "redirects and texts", kind = "nginx",
    urls = { "/old", "/old/", "/moved/a%20b?x=y", "/hello", "/gone", "/teapot", "/about.html",
      "/away" },
    config = server([[
  location = /old { return 301 /about.html; }
  location = /hello { return 200 "hello\n"; }
  location = /gone { return 410; }
  location = /teapot { return 418 short; }
  location = /away { return 302 https://other.example$request_uri; }
  rewrite ^/moved/(.*)$ /docs/$1 permanent;
]]),
  },
  {
    name = "to https", kind = "nginx", urls = { "/", "/a?b=c" },
    config = "server { listen @LISTEN@; server_name shop.example; return 301 https://$host$request_uri; }\n",
  },
  {
    name = "www away", kind = "nginx", urls = { "//www.shop.example/a?b=c",
      "//shop.example/about.html", "//other.example/about.html" },
    config = [[
server { listen @LISTEN@; server_name www.shop.example; return 301 http://shop.example$request_uri; }
server { listen @LISTEN@ default_server; server_name shop.example; root @ROOT@; }
]],
  },
  {
    name = "hosts, exact and wildcard", kind = "nginx",
    urls = { "//a.example/", "//x.b.example/", "//b.example/", "//c.example/",
      "//unknown.example/" },
    config = [[
server { listen @LISTEN@ default_server; server_name _; return 421; }
server { listen @LISTEN@; server_name a.example; location / { return 200 "a\n"; } }
server { listen @LISTEN@; server_name *.b.example; location / { return 200 "b\n"; } }
server { listen @LISTEN@; server_name .c.example; location / { return 200 "c\n"; } }
]],
  },
  {
    name = "methods and agents", kind = "nginx", headers = { ["User-Agent"] = "evilbot/1" },
    urls = { "/about.html", "POST /info.php", "DELETE /info.php" },
    config = server([[
  if ($request_method !~ ^(GET|HEAD|POST)$) { return 405; }
  if ($http_user_agent ~* "(evilbot|crawler)") { return 403; }
]] .. PHP_LOCATION),
  },
  {
    name = "addresses", kind = "nginx", urls = { "/private/paper.txt", "/admin/tool.php",
      "/about.html", "/data/secret.txt" },
    config = server([[
  location /private/ { allow 10.0.0.0/8; deny all; }
  location /data/ { allow 127.0.0.1; deny all; }
  location ^~ /admin/ {
    deny 127.0.0.1;
    location ~ \.php$ {
]] .. PHP .. [[
    }
  }
]] .. PHP_LOCATION),
  },
  {
    name = "maintenance by a file", kind = "nginx", urls = { "/", "/about.html" },
    config = server([[
  if (-f $document_root/robots.txt) { return 503; }
]] .. PHP_LOCATION),
  },
  {
    name = "order of locations", kind = "nginx",
    apart = { ["content-type"] = true }, -- nginx's is that of the URL's last letters
    urls = { "/static/app.css", "/static/info.php", "/docs/", "/docs/x.css", "/a/b", "/a/b/c", "/a",
      "/x.css" },
    config = server([[
  location ^~ /static/ { return 200 "stop\n"; }
  location = /docs/ { return 200 "exact\n"; }
  location ~ \.css$ { return 200 "css\n"; }
  location /a/b/ { return 200 "longer\n"; }
  location /a { return 200 "shorter\n"; }
  location / { return 404; }
]]),
  },
  {
    name = "an error page", kind = "nginx", urls = { "/nothing", "/about.html", "/index.php" },
    config = server("  index index.php;\n  error_page 404 /404.html;\n" .. PHP_LOCATION),
  },
  {
    name = "a script for what is missing", kind = "nginx", urls = { "/nope", "/about.html", "/page",
      "/docs/" },
    config = server([[
  index index.html;
  location / { try_files $uri $uri.html $uri/ /about.html; }
]]),
  },
  {
    name = "a limit of bodies", kind = "nginx", urls = { "POST /info.php", "/info.php" },
    config = server("  client_max_body_size 2;\n" .. PHP_LOCATION),
  },
  {
    name = "scripts that are there only", kind = "nginx", urls = { "/info.php", "/nope.php",
      "/info.php?x=%2F", "/uploads/evil.php" },
    config = server([[
  location ~ \.php$ {
    try_files $uri =404;
]] .. PHP .. "  }\n"),
  },
  {
    name = "headers and lifetimes", kind = "nginx",
    urls = { "/headers.php", "/method.php", "/login.php", "HEAD /headers.php", "HEAD /about.html",
      "/static/app.css", "/static/app.js", "/static/logo.png", "/static/nothing.css", "/page.html",
      "/docs", "/docs/" },
    everywhere = { ["x-frame-options"] = true, ["x-handled-by"] = true },
    config = server([[
  index index.html;
  add_header X-Frame-Options SAMEORIGIN;
  add_header Referrer-Policy same-origin always;
  location /static/ { expires 30d; }
  location = /page.html { expires epoch; }
  location ~ \.php$ {
    add_header X-Handled-By php;
]] .. PHP .. "  }\n"),
  },
  {
    name = "logins", kind = "nginx", headers = { Authorization = "Basic ZnJhbms6bW9vbg==" },
    urls = { "/private/paper.txt", "/admin/tool.php", "/about.html", "/static/app.css" },
    config = server([[
  location /private/ { auth_basic "the staff"; auth_basic_user_file @OTHER@/users; }
  location /static/ { auth_basic "others"; auth_basic_user_file @OTHER@/nobody; }
  location ^~ /admin/ {
    auth_basic "the staff"; auth_basic_user_file @OTHER@/users;
    location ~ \.php$ {
]] .. PHP .. [[
    }
  }
]] .. PHP_LOCATION),
  },
  {
    name = "logins of strangers", kind = "nginx", urls = { "/private/paper.txt", "/about.html" },
    config = server([[
  location /private/ { auth_basic "the staff"; auth_basic_user_file @OTHER@/users; }
]]),
  },
  {
    name = "compression", kind = "nginx", headers = { ["Accept-Encoding"] = "gzip" },
    apart = { vary = true }, -- Moongate's says so of plain answers of these types, too
    urls = { "/big.php", "/static/big.css", "/static/lib.js", "/static/logo.png", "/static/app.css",
      "/big.html", "/plain/big.css", "HEAD /static/big.css" },
    config = server([[
  index index.php;
  gzip on;
  gzip_vary on;
  gzip_comp_level 4;
  gzip_min_length 1000;
  gzip_types text/css application/javascript;
  location /static/ { gzip_static on; }
  location = /big.html { gzip off; }
  location /plain/ { gzip_types text/plain; alias @ROOT@/static/; }
]] .. PHP_LOCATION),
  },
}
