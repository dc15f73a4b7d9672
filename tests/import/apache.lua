-- Configurations of Apache, as people write them, for tests/import/import_spec.lua; see nginx.lua
-- beside it.
-- luacheck: no max line length (configurations of others)

local HANDLER = [[
<FilesMatch "\.php$">
  SetHandler "proxy:unix:@SOCKET@|fcgi://localhost"
</FilesMatch>
]]

local function root(text)
  return [[
DocumentRoot "@ROOT@"
DirectoryIndex index.php index.html
<Directory "@ROOT@">
  Options FollowSymLinks
  AllowOverride All
  Require all granted
</Directory>
]] .. text
end

local USUAL = { "/", "/index.php", "/index.php?a=b&c=%20d", "/info.php", "/about.html",
  "/static/app.css", "/blog/", "/blog",
  "POST /info.php", "/docs/" }

local function usual(...)
  local list = { unpack(USUAL) }
  for _, url in ipairs({ ... }) do
    list[#list + 1] = url
  end
  return list
end

local WORDPRESS = [[
<IfModule mod_rewrite.c>
RewriteEngine On
RewriteRule .* - [E=HTTP_AUTHORIZATION:%{HTTP:Authorization}]
RewriteBase /
RewriteRule ^index\.php$ - [L]
RewriteCond %{REQUEST_FILENAME} !-f
RewriteCond %{REQUEST_FILENAME} !-d
RewriteRule . /index.php [L]
</IfModule>
]]

return {
  {
    name = "SetHandler over a unix socket", kind = "apache", urls = usual("/info.php/a/b",
      "/nothing", "/nope.php"),
    config = root(HANDLER),
  },
  {
    name = "SetHandler in a Directory", kind = "apache", urls = USUAL,
    config = root([[
<Directory "@ROOT@">
  <FilesMatch \.php$>
    SetHandler "proxy:unix:@SOCKET@|fcgi://localhost/"
  </FilesMatch>
</Directory>
]]),
  },
  {
    name = "SetHandler in a virtual host, with If", kind = "apache", urls = USUAL,
    config = [[
<VirtualHost *:@PORT@>
  ServerName front.test
]] .. root([[
  <Files "*.php">
    SetHandler "proxy:unix:@SOCKET@|fcgi://localhost"
  </Files>
]]) .. "</VirtualHost>\n",
  },
  {
    name = "ProxyPassMatch to a socket", kind = "apache", urls = { "/info.php", "/index.php?a=b",
      "/about.html", "POST /info.php",
      "/blog/index.php" },
    config = root('ProxyPassMatch "^/(.*\\.php)$" "unix:@SOCKET@|fcgi://localhost@ROOT@/"\n'),
  },
  {
    name = "ProxyPass of a prefix to one application", kind = "apache",
    urls = { "/app/tool.php", "/app/index.php?a=b", "/about.html", "POST /app/tool.php" },
    config = root('ProxyPass "/app/" "unix:@SOCKET@|fcgi://localhost@OTHER@/"\n'),
    ignore = { "DOCUMENT_ROOT", "SCRIPT_NAME" },
  },
  {
    name = "ProxyPass without reuse", kind = "apache", urls = { "/app/tool.php", "/about.html" },
    config = root('ProxyPass "/app/" "unix:@SOCKET@|fcgi://localhost@OTHER@/" disablereuse=on timeout=30\n'),
    ignore = { "DOCUMENT_ROOT", "SCRIPT_NAME" },
  },
  {
    name = "ProxyPass with reuse", kind = "apache", urls = { "/app/tool.php", "/app/index.php" },
    config = root('ProxyPass "/app/" "unix:@SOCKET@|fcgi://localhost@OTHER@/" enablereuse=on max=4\n'),
    ignore = { "DOCUMENT_ROOT", "SCRIPT_NAME" },
  },
  {
    name = "ProxyPass with an exception", kind = "apache", urls = { "/other/static/x",
      "/other/tool.php", "/about.html" },
    config = root([[
ProxyPass "/other/static/" "!"
ProxyPass "/other/" "unix:@SOCKET@|fcgi://localhost@OTHER@/"
]]), ignore = { "DOCUMENT_ROOT", "SCRIPT_NAME" },
  },
  {
    name = "a front controller: FallbackResource", kind = "apache", urls = usual("/nothing",
      "/nothing/x?y=z"),
    config = root(HANDLER .. "FallbackResource /index.php\n"),
  },
  {
    name = "WordPress", kind = "apache", urls = usual("/nothing", "/2024/05/post/?x=y",
      "/wp-login.php"),
    config = root(HANDLER), htaccess = WORDPRESS,
  },
  {
    name = "WordPress with forbidden files", kind = "apache", urls = { "/.env", "/composer.json",
      "/uploads/evil.php", "/post/" },
    config = root(HANDLER .. [[
<FilesMatch "^\.">
  Require all denied
</FilesMatch>
<Files "composer.json">
  Require all denied
</Files>
<Directory "@ROOT@/uploads">
  <FilesMatch "\.php$">
    Require all denied
  </FilesMatch>
</Directory>
]]), htaccess = WORDPRESS,
  },
  {
    name = "Laravel", kind = "apache", urls = { "/", "/users/7?x=y", "/users/7/", "/blog/",
      "/static/app.css", "/index.php" },
    headers = { Authorization = "Bearer abc" },
    config = root(HANDLER .. "<Directory \"@ROOT@\">\n  CGIPassAuth On\n</Directory>\n"),
    htaccess = [[
<IfModule mod_rewrite.c>
    <IfModule mod_negotiation.c>
        Options -MultiViews -Indexes
    </IfModule>
    RewriteEngine On
    RewriteCond %{HTTP:Authorization} .
    RewriteRule .* - [E=HTTP_AUTHORIZATION:%{HTTP:Authorization}]
    RewriteCond %{REQUEST_FILENAME} !-d
    RewriteCond %{REQUEST_URI} (.+)/$
    RewriteRule ^ %1 [L,R=301]
    RewriteCond %{REQUEST_FILENAME} !-d
    RewriteCond %{REQUEST_FILENAME} !-f
    RewriteRule ^ index.php [L]
</IfModule>
]],
  },
  {
    name = "Drupal", kind = "apache", urls = { "/", "/node/1?x=y", "/robots.txt",
      "/static/logo.png", "/composer.json" },
    config = root(HANDLER), htaccess = [[
<FilesMatch "\.(engine|inc|install|module|sh|sql|theme|twig)$|^(composer\.(json|lock)|web\.config)$">
  Require all denied
</FilesMatch>
RewriteEngine on
RewriteRule "/\.|^\.(?!well-known/)" - [F]
RewriteCond %{REQUEST_FILENAME} !-f
RewriteCond %{REQUEST_FILENAME} !-d
RewriteCond %{REQUEST_URI} !=/favicon.ico
RewriteRule ^ index.php [L]
]],
  },
  {
    name = "the path as an argument", kind = "apache", urls = { "/", "/node/1", "/node/1?x=y",
      "/about.html" },
    config = root(HANDLER), htaccess = [[
RewriteEngine on
RewriteCond %{REQUEST_FILENAME} !-f
RewriteCond %{REQUEST_FILENAME} !-d
RewriteRule ^(.*)$ index.php?q=$1 [L,QSA]
]],
  },
  {
    name = "the path behind the script", kind = "apache", urls = { "/a/b?x=y", "/about.html" },
    config = root(HANDLER), htaccess = [[
RewriteEngine on
RewriteCond %{REQUEST_FILENAME} !-f
RewriteCond %{REQUEST_FILENAME} !-d
RewriteRule ^(.*)$ index.php/$1 [L]
]],
  },
  {
    name = "Nextcloud", kind = "apache",
    urls = { "/remote.php/dav/a.b", "/index.php/apps", "/.well-known/carddav", "/data/secret.txt",
      "/ocs/v1" },
    config = root(HANDLER), htaccess = [[
<IfModule mod_rewrite.c>
  RewriteEngine on
  RewriteRule ^\.well-known/carddav /remote.php/dav/ [R=301,L]
  RewriteRule ^remote/(.*) remote.php [QSA,L]
  RewriteRule ^(?:build|tests|config|lib|data|templates)/.* - [R=404,L]
  RewriteRule ^ocs/(.*)$ index.php/ocs/$1 [L]
</IfModule>
AddDefaultCharset utf-8
Options -Indexes
]],
  },
  {
    name = "MediaWiki with short URLs", kind = "apache", urls = { "/wiki/Main_Page?a=b", "/wiki",
      "/index.php?title=X", "/static/app.js" },
    config = root(HANDLER .. [[
RewriteEngine On
RewriteRule ^/?wiki(/.*)?$ %{DOCUMENT_ROOT}/index.php [L]
]]), differs = {
      ["/wiki/Main_Page?a=b"] = { 200, 404, "a substitution that is a file's path" },
      ["/wiki"] = { 200, 404, "the same" } },
  },
  {
    name = "DokuWiki", kind = "apache", urls = { "/start", "/_media/x.png?w=1", "/lib/exe/css.php",
      "/data/secret.txt" },
    config = root(HANDLER .. [[
<LocationMatch "/(data|conf|bin|inc)/">
  Require all denied
</LocationMatch>
]]), htaccess = [[
RewriteEngine on
RewriteRule ^_media/(.*) lib/exe/css.php?media=$1 [QSA,L]
RewriteCond %{REQUEST_FILENAME} !-f
RewriteCond %{REQUEST_FILENAME} !-d
RewriteRule (.*) doku.php?id=$1 [QSA,L]
]],
  },
  {
    name = "redirects", kind = "apache", urls = { "/old", "/old/x?y=z", "/gone", "/news/7",
      "/about.html", "/temp" },
    config = root([[
Redirect permanent /old /new
Redirect gone /gone
Redirect /temp https://other.example/t
RedirectMatch 301 "^/news/([0-9]+)$" "/articles/$1"
]]),
  },
  {
    name = "redirects by rules", kind = "apache", urls = { "/p/7", "/p/7?x=y", "/q/7?x=y",
      "/about.html", "/no" },
    config = root([[
RewriteEngine On
RewriteRule "^/p/(\d+)$" "/post/$1" [R=301,L]
RewriteRule "^/q/(\d+)$" "/post?id=$1" [R=302,L,QSA]
RewriteRule "^/no$" "-" [F]
]]),
  },
  {
    name = "www by a rule", kind = "apache", urls = { "//www.shop.example/a?b=c",
      "//shop.example/about.html" },
    config = root([[
RewriteEngine On
RewriteCond %{HTTP_HOST} ^www\.(.+)$ [NC]
RewriteRule ^/(.*)$ http://%1/$1 [R=301,L]
]]),
  },
  {
    name = "virtual hosts", kind = "apache", urls = { "//a.example/about.html",
      "//b.example/tool.php", "//b.example/about.html",
      "//unknown.example/about.html" },
    config = [[
<VirtualHost *:@PORT@>
  ServerName a.example
  DocumentRoot "@ROOT@"
  <Directory "@ROOT@">
    Require all granted
  </Directory>
</VirtualHost>
<VirtualHost *:@PORT@>
  ServerName b.example
  ServerAlias *.b.example
  DocumentRoot "@OTHER@"
  <Directory "@OTHER@">
    Require all granted
  </Directory>
]] .. HANDLER .. "</VirtualHost>\n",
  },
  {
    name = "Alias of another folder", kind = "apache", urls = { "/wiki/tool.php?a=b",
      "/wiki/style.css", "/wiki/", "/about.html" },
    config = root(HANDLER .. [[
Alias "/wiki" "@OTHER@"
<Directory "@OTHER@">
  Require all granted
</Directory>
]]), ignore = { "DOCUMENT_ROOT" } -- the folder of the alias,
  },
  {
    name = "access by addresses", kind = "apache", urls = { "/private/paper.txt",
      "/data/secret.txt", "/about.html" },
    config = root([[
<Location "/private">
  Require ip 10.0.0.0/8
</Location>
<Location "/data">
  Require ip 127.0.0.1 10
</Location>
]]),
  },
  {
    name = "access in the words of 2.2", kind = "apache", urls = { "/private/paper.txt",
      "/about.html", "/conf/local.txt" },
    config = root([[
<Directory "@ROOT@/private">
  Order deny,allow
  Deny from all
</Directory>
<Directory "@ROOT@/conf">
  Order allow,deny
  Allow from all
</Directory>
]]),
  },
  {
    name = "error pages and headers", kind = "apache", urls = { "/nothing", "/about.html",
      "/index.php" },
    config = root(HANDLER .. [[
ErrorDocument 404 /404.html
Header always set X-Frame-Options "DENY"
ExpiresActive On
ExpiresByType text/css "access plus 1 month"
]]),
  },
  {
    name = "variables", kind = "apache", urls = { "/info.php", "/index.php?x=1" },
    config = root(HANDLER .. "SetEnv APP_ENV production\n"),
  },
  {
    name = "headers and lifetimes", kind = "apache",
    urls = { "/headers.php", "/method.php", "/login.php", "HEAD /headers.php", "HEAD /about.html",
      "/static/app.css", "/static/logo.png", "/docs", "/docs/" },
    everywhere = { ["x-frame-options"] = true },
    differs = { ["/headers.php"] = { 200, 200, "Apache adds its header to the application's" },
      ["HEAD /headers.php"] = { 200, 200, "the same" } },
    config = root(HANDLER .. [[
Header always set Referrer-Policy "same-origin"
Header set X-Frame-Options "SAMEORIGIN"
ExpiresActive On
ExpiresByType text/css "access plus 1 month"
]]),
  },
  {
    name = "logins", kind = "apache", headers = { Authorization = "Basic ZnJhbms6bW9vbg==" },
    ignore = { "HTTP_AUTHORIZATION" }, -- Moongate passes it on
    urls = { "/private/paper.txt", "/admin/tool.php", "/about.html", "/static/app.css" },
    config = root(HANDLER .. [[
<Location "/private">
  AuthType Basic
  AuthName "the staff"
  AuthUserFile "@OTHER@/users"
  Require valid-user
</Location>
<Location "/admin">
  AuthType Basic
  AuthName "the staff"
  AuthUserFile "@OTHER@/users"
  Require valid-user
</Location>
]]),
  },
  {
    name = "logins of strangers", kind = "apache", urls = { "/private/paper.txt", "/about.html" },
    config = root([[
<Location "/private">
  AuthType Basic
  AuthName "the staff"
  AuthUserFile "@OTHER@/users"
  Require valid-user
</Location>
]]),
  },
  {
    name = "compression", kind = "apache", headers = { ["Accept-Encoding"] = "gzip" },
    apart = { vary = true }, -- Moongate's says so of plain answers of these types, too
    urls = { "/big.php", "/static/big.css", "/static/logo.png", "/big.html", "/static/lib.js" },
    config = root(HANDLER .. [[
<IfModule mod_deflate.c>
  <IfModule mod_filter.c>
    AddOutputFilterByType DEFLATE text/html text/css
  </IfModule>
  DeflateCompressionLevel 4
  BrowserMatch ^Mozilla/4 gzip-only-text/html
  SetEnvIfNoCase Request_URI \.(?:gif|jpe?g|png)$ no-gzip
</IfModule>
]]),
  },
}
