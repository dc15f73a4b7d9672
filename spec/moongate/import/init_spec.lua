-- Specs of moongate.import: routes made of configurations, without a web server; all of
-- tests/import are valid
-- routes. Hostile configurations end with a message.

local files = require("support.fs")
local folder = require("support.folder")
local importer = require("moongate.import")
local load = require("moongate.route.load")

--- A disk of these texts.
local function disk(texts)
  return {
    read = function(path, size)
      if not texts[path] then
        return nil, "No such file or directory"
      end
      return texts[path]:sub(1, size)
    end,
    list = function(at)
      local names = {}
      for path in pairs(texts) do
        names[#names + 1] = path:match("^" .. at:gsub("%p", "%%%0") .. "/?([^/]+)$")
      end
      return names
    end,
  }
end

local function run(kind, texts, ...)
  local paths = { ... }
  if type(texts) == "string" then
    texts = { ["/etc/site.conf"] = texts }
  end
  if #paths == 0 then
    paths = { "/etc/site.conf" }
  end
  return importer.run(kind, paths, disk(texts))
end

-- Loads a route as `check` does, with stand-ins for what is C.
local function check(route)
  for _, door in ipairs({ "moongate.auth.checks", "moongate.hash", "moongate.random",
    "ngx" }) do
    package.loaded[door] = package.loaded[door] or {}
  end
  return load.source(route, "route.lua", nil, files.new({ "/srv/", "/var/tmp/" }))
end

local PHP = "location ~ \\.php$ { include fastcgi_params; fastcgi_pass unix:/run/php.sock; }"

describe("moongate.import", function()
  local logins
  setup(function()
    logins = folder.new()
    folder.write(logins .. "/users", "frank:$apr1$abcdefgh$bpjEf6sjH97Iyplvf7QCL1\n")
    folder.write(logins .. "/nobody", "# none\n")
  end)
  teardown(function()
    folder.remove(logins)
  end)

  for _, kind in ipairs({ "nginx", "apache" }) do
    for _, case in ipairs((require("tests.import." .. kind))) do
      it(("makes a valid route of %s: %s"):format(kind, case.name), function()
        local values = { ROOT = "/srv/www", OTHER = "/srv/other", PHP = "unix:/run/php.sock",
          SOCKET = "/run/php.sock", LISTEN = "127.0.0.1:8080", PORT = "8080" }
        local texts = { ["/etc/site.conf"] = case.config:gsub("@(%u+)@", values) }
        local paths = { "/etc/site.conf" }
        if case.htaccess then
          texts["/srv/www/.htaccess"] = case.htaccess
          paths[2] = "/srv/www/.htaccess"
        end
        local route, summary = run(kind, texts, unpack(paths))
        assert.is_string(route, summary)
        check((route:gsub("/srv/other/", logins .. "/"))) -- auth.basic reads its file at once
        assert.is_nil(route:find("/tmp/", 1, true))
      end)
    end
  end
end)

describe("moongate.import nginx", function()
  it("asks a regex within a location with ^~ before that location", function()
    local route = run("nginx", "server {\n root /srv/www;\n location ^~ /a/ {\n" .. PHP
      .. "\n }\n location ^~ /a/b/ { return 403; }\n location ^~ /c/ { return 404; }\n}")
    local order = {}
    for text in route:gmatch("%-%- location ([^(\n]+) %(") do
      order[#order + 1] = text
    end
    assert.same({ "^~ /a/b/", "~ \\.php$", "^~ /a/", "^~ /c/" }, order)
  end)

  it("has a comment for each line that it does not know", function()
    local route, summary = run("nginx",
      "server {\n root /srv/www;\n ssi on;\n proxy_pass http://x;\n"
      .. "location / { frobnicate a; }\n" .. PHP .. "\n}")
    assert.matches("NOT TRANSLATED /etc/site.conf:3: ssi on", route, 1, true)
    assert.matches("NOT TRANSLATED /etc/site.conf:4: proxy_pass http://x", route, 1, true)
    assert.matches("NOT TRANSLATED /etc/site.conf:5: frobnicate a", route, 1, true)
    assert.matches("3 not", summary, 1, true)
  end)

  it("warns of known traps", function()
    local _, summary = run("nginx",
      "upstream u { server unix:/p; keepalive 8; }\nserver { root /srv/www;\n"
      .. "location /x { return 301 http://a$uri; }\n location ~ \\.php$ { fastcgi_pass u;\n"
      .. "fastcgi_keep_conn on;\nfastcgi_param PHP_ADMIN_VALUE open_basedir=/;\n"
      .. "fastcgi_param PATH_TRANSLATED $document_root$fastcgi_path_info; } }")
    for _, words in ipairs({ "keepalive to PHP-FPM", "line breaks", "PHP_ADMIN_VALUE stays",
      "PATH_TRANSLATED can make", "no SCRIPT_FILENAME", "fastcgi_keep_conn" }) do
      assert.matches(words, summary, 1, true)
    end
  end)

  it("makes one `compress` of gzip, brotli and zstd, and of blocks that differ", function()
    local route = run("nginx", "http {\n gzip on;\n gzip_types text/css *;\n brotli on;\n"
      .. "brotli_comp_level 11;\n gzip_min_length 2k;\n gzip_disable msie6;\n"
      .. "server { root /srv/www; index index.php; gzip_static on;\n"
      .. "location /a/ { brotli off; gzip_types text/xml; }\n"
      .. "location /b/ { gzip off; brotli off; }\n"
      .. PHP .. "\n} }")
    local settings = check(route)
    assert.same({ encodings = { "br", "gzip" }, levels = { br = 9 }, min = "2k", types = { "*" } },
      assert(loadstring("return " .. route:match("\n  compress = (%b{}),")))())
    assert.same({ "br", "gzip" }, settings.compress.encodings)
    assert.matches("precompressed = true", route, 1, true)
    assert.matches('compress = { encodings = { "gzip" }, min = "2k", types = { "text/html", '
      .. '"text/xml" } }', route:gsub("%s+", " "), 1, true)
    assert.matches("compress = false", route, 1, true)
    assert.is_nil(route:find("NOT TRANSLATED", 1, true))
    -- The only server's own gzip is the route's.
    route = run("nginx", "server { root /srv/www; gzip on; gzip_comp_level 3; gzip_min_length 1m;\n"
      .. PHP .. "\n}")
    assert.matches('\n  compress = { encodings = { "gzip" }, levels = { gzip = 3 }, '
      .. 'types = { "text/html" } },\n', route, 1, true)
    assert.matches("NOT TRANSLATED /etc/site.conf:1: gzip_min_length 1m", route, 1, true)
    check(route)
  end)

  local function cached(lines, before)
    return run("nginx", "fastcgi_cache_path /var/cache/pages levels=1:2 keys_zone=pages:10m "
      .. "max_size=1g inactive=2h;\nserver { root /srv/www; index index.php;\n" .. (before or "")
      .. "location ~ \\.php$ { include fastcgi_params; fastcgi_pass unix:/run/php.sock;\n"
      .. "fastcgi_cache pages;\n" .. lines .. "} }")
  end

  it("keeps the variables of `set` with the request, and says what differs", function()
    local route, summary = run("nginx", [[
log_format kinds '$remote_addr $kind';
access_log /var/log/nginx/all.log kinds;
server {
  root /srv/www; index index.php;
  set $kind none;
  access_log /var/log/nginx/shop.log kinds if=$loud;
  location /a/ {
    set $kind a;
    try_files $uri /index.php;
  }
  location /b/ { set $kind b; set $loud 1; try_files $uri @app; }
  location @app { fastcgi_pass unix:/run/php.sock; fastcgi_param KIND $kind; }
  location ~ \.php$ { fastcgi_pass unix:/run/php.sock; fastcgi_param KIND $kind$loud; }
}
]])
    check(route)
    assert.matches('req.ctx.var_kind = ""\n  req.ctx.var_loud = ""\n'
      .. '  req.ctx.var_kind = "none"\n', route, 1, true)
    assert.matches("KIND = req.ctx.var_kind .. req.ctx.var_loud }", route, 1, true)
    assert.is_nil(route:find("%f[%w_.]var_"))
    assert.matches("LOOK /etc/site.conf:8: set $kind: nginx sets it for the server again "
      .. "(/etc/site.conf:5) when try_files goes on", route, 1, true)
    assert.is_nil(route:find("LOOK [^\n]*:11:"))
    for line, why in pairs({
      ["1: log_format kinds $remote_addr $kind"] = "$kind is of `set`: in on_log and log.format "
        .. "it is req.ctx.var_kind",
      ["6: access_log /var/log/nginx/shop.log kinds if=$loud"] = "$loud is of `set`",
    }) do
      assert.matches("NOT TRANSLATED /etc/site.conf:" .. line .. "   (" .. why, route, 1, true)
      assert.matches(line, summary, 1, true)
    end
    assert.matches("Needless here: access_log", route, 1, true)
  end)

  it("makes `cache` of fastcgi_cache", function()
    local route, summary = cached("fastcgi_cache_valid 200 301 302 10m;\n"
      .. "fastcgi_cache_key $scheme$request_method$host$request_uri$http_x_device;\n"
      .. "fastcgi_cache_use_stale error updating;\nfastcgi_cache_lock off;\n"
      .. "fastcgi_cache_bypass $cookie_session $skip;\nfastcgi_no_cache $skip $cookie_session;\n"
      .. "fastcgi_ignore_headers Expires Cache-Control;\nfastcgi_cache_methods GET HEAD;\n"
      .. "fastcgi_cache_min_uses 1;\nfastcgi_cache_revalidate on;\n"
      .. "add_header X-Cache $upstream_cache_status;\n", "set $skip 0;\n"
      .. 'if ($http_cookie ~* "wordpress_logged_in") { set $skip 1; }\n')
    local settings = check(route)
    assert.same({ "/var/cache/pages", 2 ^ 30 }, { settings.cache.path, settings.cache.size })
    local flat = route:gsub("%s+", " ")
    assert.matches('cache = { bypass = (req.cookies["session"] or "") ~= "" and '
      .. '(req.cookies["session"] or "") ~= "0" or req.ctx.var_skip ~= "" and '
      .. 'req.ctx.var_skip ~= "0", ignore = { "Cache-Control" }, lock = false, '
      .. 'stale = 7200, ttl = 600, '
      .. 'vary = { "X-Device" }', flat, 1, true)
    assert.is_nil(route:find("NOT TRANSLATED", 1, true), summary)
  end)

  it("keeps nothing for those whom it is not for", function()
    -- A part of the key that `vary` can't say: nothing is kept.
    local route = cached("fastcgi_cache_key $request_uri$cookie_lang;\n")
    assert.is_nil(route:find("%f[%w]cache = {[^}]*bypass"))
    assert.matches("fastcgi_cache_key $request_uri$cookie_lang   (nothing is kept here", route, 1,
      true)
    -- A bypass that is not understood: requests with cookies pass by.
    route = cached("fastcgi_cache_bypass $nothing_known;\n")
    assert.matches("NOT TRANSLATED .*fastcgi_cache_bypass $nothing_known", route)
    assert.is_nil(route:find("bypass =", 1, true))
    check(route)
    route = cached("fastcgi_cache_bypass $nothing_known $arg_new;\n")
    assert.matches('bypass = ((req.args["new"] or "") ~= "" and (req.args["new"] or "") ~= "0") or '
      .. "nil", route:gsub("%s+", " "), 1, true)
    -- None at all: as before, cookies do not matter, and the importer says so.
    local text, summary = cached("")
    assert.matches("bypass = false", text, 1, true)
    assert.matches("requests with cookies get kept responses", summary, 1, true)
  end)

  it("says what of a cache it can't", function()
    local _, summary = cached("fastcgi_cache_valid 404 1m;\nfastcgi_cache_min_uses 3;\n"
      .. "fastcgi_cache_methods POST;\nfastcgi_cache_purge PURGE from all;\n")
    for _, words in ipairs({ "fastcgi_cache_valid 404 1m   (`ttl` is for 200",
      "fastcgi_cache_min_uses 3   (a response is kept at once", "fastcgi_cache_methods POST",
      "fastcgi_cache_purge PURGE from all   (`moongate purge`" }) do
      assert.matches(words, summary, 1, true)
    end
    -- It ends with a message, or a route, whatever stands there.
    for _, line in ipairs({ "fastcgi_cache_valid;", "fastcgi_cache_bypass;", "gzip;", "gzip_types;",
      "fastcgi_cache_valid x y;", "gzip_comp_level x;", "fastcgi_cache_path;" }) do
      assert.is_string((cached(line)), line)
    end
  end)

  it("follows includes, and patterns in them", function()
    local route = run("nginx", {
      ["/etc/nginx.conf"] = "http { include sites/*.conf; }",
      ["/etc/sites/a.conf"] = "server { server_name a.test; root /srv/a; }",
      ["/etc/sites/b.conf"] = "server { server_name b.test; root /srv/b; }",
    }, "/etc/nginx.conf")
    assert.matches('hosts:host("b.test", b_test.decide)', route, 1, true)
    check(route)
  end)

  it("takes what is hostile for text", function()
    local route = run("nginx", 'server {\n server_name "]]x\\"" evil.test;\n root "/srv/a]]\\"";\n'
      .. 'location "/a]]\\"b" { return 200 "\\"]] .. os.exit() --\\n"; }\n unknown "\r--[[ x";\n}')
    check(route)
    assert.is_nil(route:find("\r", 1, true))
  end)

  it("ends with a message at what is no configuration", function()
    local cases = {
      ["server {\n root /a\n}"] = "/etc/site.conf:2: ';' is missing",
      ["server {\n"] = "'}' is missing",
      ["}"] = "/etc/site.conf:1: unexpected '}'",
      ["server { root '/a; }"] = "this quote is not closed",
      ["include nothing.conf;"] = "/etc/nothing.conf: No such file or directory",
      ["include site.conf;"] = "/etc/site.conf:1: /etc/site.conf includes itself",
      [("a {"):rep(100)] = "nested more than",
      ["# nothing"] = "there is no server in it",
      [("a;"):rep(100001)] = "more than 100000 directives",
      [("#"):rep(4 * 1024 * 1024 + 1)] = "more than 4 MB",
    }
    for text, message in pairs(cases) do
      local route, problem = run("nginx", text)
      assert.is_nil(route)
      assert.matches(message, problem, 1, true)
    end
  end)

  it("bounds a chain of includes", function()
    local texts = {}
    for i = 1, 50 do
      texts[("/etc/%d.conf"):format(i)] = ("include %d.conf;"):format(i + 1)
    end
    local _, problem = run("nginx", texts, "/etc/1.conf")
    assert.matches("nested more than 32 deep", problem, 1, true)
  end)
end)

describe("moongate.import apache", function()
  it("has a comment for each line that it does not know", function()
    local route = run("apache", 'DocumentRoot "/srv/www"\nSubstitute s/a/b/\nRewriteEngine On\n'
      .. "RewriteRule ^/x http://y/ [P]\nSetHandler \\\n  \"proxy:fcgi://127.0.0.1:9000\"\n")
    assert.matches("NOT TRANSLATED /etc/site.conf:2: Substitute s/a/b/", route, 1, true)
    assert.matches("NOT TRANSLATED /etc/site.conf:4: RewriteRule ^/x http://y/ [P]", route, 1, true)
    assert.matches('"127.0.0.1:9000"', route, 1, true)
    check(route)
  end)

  it("makes `compress` of mod_deflate and mod_brotli", function()
    local route = run("apache", "DocumentRoot /srv/www\nDirectoryIndex index.php\n"
      .. "SetHandler proxy:fcgi://127.0.0.1:9000\n<IfModule mod_filter.c>\n"
      .. 'AddOutputFilterByType BROTLI_COMPRESS;DEFLATE text/css "text/html"\n'
      .. "AddOutputFilter DEFLATE .js\n</IfModule>\nDeflateCompressionLevel 9\n"
      .. "BrotliCompressionQuality 11\nDeflateMemLevel 8\n"
      .. "BrowserMatch ^Mozilla/4 no-gzip !dont-vary\n"
      .. "SetEnvIfNoCase Request_URI \\.png$ no-gzip dont-vary\n")
    assert.is_nil(route:find("NOT TRANSLATED", 1, true), route)
    assert.same({ encodings = { "br", "gzip" }, levels = { br = 9, gzip = 9 },
      types = { "text/css", "text/html", "text/javascript", "application/javascript" } },
      assert(loadstring("return " .. route:match("\n  compress = (%b{}),")))())
    check(route)
  end)

  it("knows what one virtual host compresses, and says what it does not know", function()
    local host = "<VirtualHost *:80>\nServerName %s.test\nDocumentRoot /srv/%s\n%s\n"
      .. "</VirtualHost>\n"
    local route, summary = run("apache", host:format("a", "a", "SetOutputFilter DEFLATE")
      .. host:format("b", "b", "SetOutputFilter INCLUDES\nCacheEnable disk /\n"
        .. "SetEnvIf Request_URI ^/private no-gzip\n"
        .. "<Files *.css>\nSetOutputFilter DEFLATE\n</Files>"))
    assert.matches('root = "/srv/a", compress = { encodings = { "gzip" } }', route, 1, true)
    assert.is_nil(route:find("\n  compress =", 1, true))
    for _, words in ipairs({ "SetOutputFilter INCLUDES   (of filters DEFLATE",
      "CacheEnable disk /   (`cache` of a decision", "SetEnvIf Request_URI ^/private no-gzip",
      "SetOutputFilter DEFLATE   (of filters", "SetOutputFilter compresses all types" }) do
      assert.matches(words, summary, 1, true)
    end
    check(route)
  end)

  it("knows balancers", function()
    local route = run("apache", "DocumentRoot /srv/www\nProxyPass /app/ balancer://pool/\n"
      .. "<Proxy balancer://pool/>\nBalancerMember fcgi://10.0.0.1:4000 loadfactor=2\n"
      .. "BalancerMember fcgi://10.0.0.2:4000\nProxySet lbmethod=bybusyness\n</Proxy>\n")
    local settings = check(route)
    assert.equal("pool", settings.backends[#settings.backends].name)
    assert.matches('balance = "least_conn"', route, 1, true)
    assert.matches('strip = "/app"', route, 1, true)
  end)

  it("knows mod_fastcgi's external server", function()
    local route = run("apache", "DocumentRoot /srv/www\nDirectoryIndex index.php\n"
      .. "<IfModule mod_fastcgi.c>\n"
      .. "Alias /php5.fcgi /usr/local/www/fastcgi/php5.fcgi\n"
      .. "FastCGIExternalServer /usr/local/www/fastcgi/php5.fcgi -flush -host 127.0.0.1:9000\n"
      .. "AddType application/x-httpd-fastphp5 .php\n"
      .. "Action application/x-httpd-fastphp5 /php5.fcgi\n</IfModule>\n")
    assert.matches('backend = "app", root = "/srv/www"', route, 1, true)
    check(route)
  end)

  it("warns of known traps", function()
    local _, summary = run("apache", "DocumentRoot /srv/www\nRewriteEngine On\n"
      .. "RewriteCond %{REQUEST_FILENAME} !-f\nRewriteRule ^/y(.*) /x.php?a=$1 [L]\n"
      .. "ProxyPassMatch ^/(.*\\.php)$ fcgi://127.0.0.1:9000/srv/www/$1 enablereuse=on\n")
    for _, words in ipairs({ "%{REQUEST_FILENAME} outside of", "ProxyPassMatch runs before",
      "enablereuse=on holds" }) do
      assert.matches(words, summary, 1, true)
    end
  end)

  it("ends with a message at what is no configuration", function()
    local cases = {
      ["<Directory /a>\n"] = "/etc/site.conf:1: </Directory> is missing",
      ["</Directory>\n"] = "/etc/site.conf:1: </Directory> without its beginning",
      ["\nDocumentRoot \"/a\n"] = "/etc/site.conf:2: this quote is not closed",
      ["Include /nothing.conf\n"] = "/nothing.conf",
      ["Include /etc/site.conf\n"] = "includes itself",
      [("<If a>\n"):rep(100)] = "nested more than",
      [("a"):rep(20000)] = "a line of more than",
    }
    for text, message in pairs(cases) do
      local route, problem = run("apache", text)
      assert.is_nil(route)
      assert.matches(message, problem, 1, true)
    end
  end)
end)

describe("docs/importing.md", function()
  it("names every configuration that is compared", function()
    local file = assert(io.open("docs/importing.md"))
    local page = file:read("*a")
    file:close()
    local count = 0
    for kind, shown in pairs({ nginx = "nginx", apache = "Apache" }) do
      for _, case in ipairs((require("tests.import." .. kind))) do
        local row = ("| %s | %s | %d |"):format(shown, case.name, #case.urls)
        assert.truthy(page:find(row, 1, true), row)
        count = count + 1
      end
    end
    assert.is_true(count >= 40)
  end)
end)
