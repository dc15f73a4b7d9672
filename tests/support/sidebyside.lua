-- A configuration of nginx or Apache in the real server, and the route that `moongate import` makes
-- of it in
-- Moongate, over the same files and the same PHP-FPM: what both answer to a list of URLs is
-- compared.

local coding = require("tests.support.coding")
local fronts = require("tests.support.fronts")
local http = require("tests.support.http")
local nginx_params = require("tests.support.nginx_params")
local php = require("tests.support.php")
local process = require("tests.support.process")
local server = require("tests.support.server")
local stage = require("tests.support.stage")

local sidebyside = {}

-- What an application is told, as a page; the folder of the test is ROOT.
local SCRIPT = [[<?php
header('Content-Type: text/plain'); header('X-From: php');
$names = ['SCRIPT_NAME', 'SCRIPT_FILENAME', 'PATH_INFO', 'QUERY_STRING', 'REQUEST_URI',
  'REQUEST_METHOD',
  'DOCUMENT_ROOT', 'HTTP_AUTHORIZATION', 'APP_ENV', 'HTTPS_SAID', 'CONTENT_LENGTH'];
echo basename(__FILE__), "\n";
foreach ($names as $name) {
  if (isset($_SERVER[$name]) && $_SERVER[$name] !== '') { echo "$name=$_SERVER[$name]\n"; }
}
echo 'body=', file_get_contents('php://input'), "\n";
]]

local FILES = {
  ["index.php"] = SCRIPT, ["info.php"] = SCRIPT, ["wp-login.php"] = SCRIPT,
    ["blog/index.php"] = SCRIPT,
  ["api/index.php"] = SCRIPT, ["uploads/evil.php"] = SCRIPT, ["doku.php"] = SCRIPT,
    ["lib/exe/css.php"] = SCRIPT,
  ["remote.php"] = SCRIPT, ["admin/index.php"] = SCRIPT, ["admin/tool.php"] = SCRIPT,
    ["page.html"] = "<p>page</p>\n",
  ["static/app.css"] = "body {}\n", ["static/logo.png"] = "png\n", ["static/app.js"] = "js\n",
  ["docs/index.html"] = "<p>docs</p>\n", ["about.html"] = "<p>about</p>\n",
    ["robots.txt"] = "User-agent: *\n",
  ["favicon.ico"] = "ico\n", ["404.html"] = "<p>not here</p>\n", ["data/secret.txt"] = "secret\n",
  ["conf/local.txt"] = "conf\n", ["private/paper.txt"] = "paper\n", [".env"] = "SECRET=1\n",
  [".well-known/acme.txt"] = "acme\n", ["uploads/photo.jpg"] = "jpg\n", ["composer.json"] = "{}\n",
}
FILES["big.php"] = "<?php header('X-From: php'); header('Content-Type: text/html'); "
  .. "for ($i = 0; $i < 400; $i++) { echo \"<p>line $i</p>\\n\"; }"
for name, line in pairs({ ["static/big.css"] = "p { margin: 0 }\n", ["big.html"] = "<p>big</p>\n",
  ["static/lib.js"] = "let a = 1;\n" }) do
  FILES[name] = line:rep(300)
end
-- Answers with headers of the application's own.
FILES["headers.php"] = [[<?php
header('X-From: php'); header('Content-Type: application/json');
header('Cache-Control: private, max-age=60');
header('ETag: "v1"'); header('X-Frame-Options: DENY'); header('Vary: Cookie');
setcookie('a', '1'); setcookie('b', '2'); echo '{}';]]
FILES["method.php"] = [[<?php http_response_code(405);
header('X-From: php'); header('Allow: GET, HEAD');]]
FILES["login.php"] = [[<?php http_response_code(401);
header('X-From: php'); header('WWW-Authenticate: Basic realm="app"');]]

local OTHER = { nobody = "# none\n", users = "frank:$apr1$abcdefgh$bpjEf6sjH97Iyplvf7QCL1\n",
  ["index.php"] = SCRIPT, ["tool.php"] = SCRIPT, ["style.css"] = "p {}\n",
  ["load.php"] = SCRIPT }

local NGINX_TYPES = [[
types {
  text/html html; text/css css; text/plain txt; application/javascript js; application/json json;
  image/png png; image/jpeg jpg; image/x-icon ico;
}
]]

local MODULES = {}
for name in ([[
  proxy proxy_fcgi proxy_balancer slotmem_shm lbmethod_byrequests rewrite dir alias mime headers
  expires setenvif env filter deflate authz_host authz_user authn_core authn_file auth_basic
  access_compat
]]):gmatch("%S+") do
  MODULES[#MODULES + 1] = ("LoadModule %s_module modules/mod_%s.so\n"):format(name, name)
end

--- The files of a test, and a PHP-FPM.
---@return table
function sidebyside.site()
  local dir = process.tempdir("import")
  os.execute("mkdir -p " .. dir .. "/www " .. dir .. "/other")
  stage.write(dir .. "/www", FILES)
  stage.write(dir .. "/other", OTHER)
  -- Compressed beside itself, as a build makes it.
  assert(os.execute("gzip -k9 " .. process.quote(dir .. "/www/static/lib.js")) == 0)
  os.execute("mkdir -p " .. dir .. "/www/empty && chmod -R a+rX " .. dir)
  local fpm = php.start({ root = dir .. "/www" })
  return { dir = dir, root = dir .. "/www", other = dir .. "/other", php = fpm }
end

local function filled(site, text, front)
  local values = {
    ROOT = site.root, OTHER = site.other, PHP = site.php.address,
      SOCKET = site.php.address:gsub("^unix:", ""),
    LISTEN = front.address, PORT = front.address:match("%d+$"),
  }
  return (text:gsub("@(%u+)@", values))
end

-- Headers that say how an answer is sent and not what it is, or who sends it.
local APART = {
  server = true, date = true, connection = true, ["keep-alive"] = true,
  ["transfer-encoding"] = true,
}

-- Headers of a page that the server itself makes for an error or a redirect, or reads from a file.
local PAGE = {
  ["content-type"] = true, ["content-length"] = true, ["retry-after"] = true, etag = true,
  ["last-modified"] = true, ["accept-ranges"] = true,
}

local function without_origin(value, address)
  return (value:gsub("^https?://[%w.]+:" .. address:match("%d+$"), "")
    :gsub("^http://" .. address:gsub("%p", "%%%0"), ""):gsub("^http://front%.test", ""))
end

-- What a header is compared as, or nil where the servers are known to differ in it;
-- docs/importing.md says so.
local function compared(res, name, value, address)
  local is_application = res.headers["x-from"] ~= nil
  local is_file = res.headers["last-modified"] ~= nil and not is_application
  if res.headers["content-encoding"] and (name == "content-length" or name == "accept-ranges") then
    return nil -- of the coded bytes, which two compressors make differently
  end
  if APART[name] or (PAGE[name] and res.status >= 300 and not is_application) then
    return nil
  elseif name == "location" then
    return without_origin(value, address)
  elseif name == "content-type" and is_file then
    return (value:gsub("; charset=utf%-8$", ""):gsub("^application/javascript", "text/javascript"))
  elseif name == "etag" and is_file then
    return "of the file"
  elseif name == "content-length" and is_application then
    return nil -- PHP says none, and it is the server's choice to count
  elseif name == "expires" and res.headers["cache-control"] then
    return nil -- the older word for it
  elseif name == "www-authenticate" then
    return (value:gsub(', charset="UTF%-8"$', ""))
  elseif name == "vary" then
    value = value:gsub(",? *Authorization", "") -- Apache's, for a RewriteCond that looks at it
    return value ~= "" and value or nil
  end
  return value
end

-- The headers that are compared, a line each.
local function compared_headers(res, address, case)
  local lines = {}
  for name, value in pairs(res.headers) do
    local is_known = case.apart and case.apart[name]
      or res.status >= 300 and case.everywhere and case.everywhere[name]
    value = not is_known and compared(res, name, value, address) or nil
    lines[#lines + 1] = value and name .. ": " .. value or nil
  end
  table.sort(lines)
  return table.concat(lines, "\n")
end

-- What is compared of an answer: its status, its headers, and what PHP or a file has said.
local function essence(site, res, address, case)
  local parts = { tostring(res.status), compared_headers(res, address, case) }
  if res.headers["content-encoding"] and res.body ~= "" then -- of a HEAD it is empty
    res.body = coding.text(res)
  end
  if res.status == 200 then
    for _, name in ipairs(case.ignore or {}) do
      res.body = ("\n" .. res.body):gsub("\n" .. name .. "=[^\n]*", "")
    end
    parts[#parts + 1] = (res.body:gsub("^\n", ""):gsub("//+", "/") -- Apache doubles some
      :gsub(site.dir:gsub("%p", "%%%0"), ""):gsub(address:gsub("%p", "%%%0"), "ADDRESS"))
  end
  return table.concat(parts, "\n")
end

local function ask(site, address, case, target)
  local method, path = target:match("^(%u+) (.*)$")
  local host, rest = (path or target):match("^//([^/]+)(.*)$")
  local headers = {}
  for name, value in pairs(case.headers or {}) do
    headers[name] = value
  end
  local res = http.request(address, {
    method = method, path = host and rest or path or target, host = host or "front.test",
      headers = headers,
    body = method == "POST" and "a=b" or nil, timeout = 30,
  })
  return essence(site, res, address, case), res
end

-- Both servers for a case: the front, and Moongate with the imported route.
local function start(site, case)
  local front
  if case.kind == "nginx" then
    front = fronts.nginx(function(address, dir)
      process.write_file(dir .. "/fastcgi_params", nginx_params("$document_root"))
      process.write_file(dir .. "/mime.types", NGINX_TYPES)
      return "include mime.types;\n" .. filled(site, case.config, { address = address })
    end)
  else
    if case.htaccess then
      process.write_file(site.root .. "/.htaccess", filled(site, case.htaccess,
        { address = "127.0.0.1:0" }))
    end
    front = fronts.apache(function(address)
      return table.concat(MODULES) .. "TypesConfig /etc/mime.types\n" .. filled(site, case.config,
        { address = address })
    end)
  end
  local args = { "import", case.kind, front.dir .. "/conf" }
  if case.htaccess then
    args[#args + 1] = site.root .. "/.htaccess"
  end
  local made = server.command(args)
  if made.code ~= 0 then
    front:stop()
    error("moongate import: " .. made.stderr, 2)
  end
  local ok, one = pcall(server.start, { route = made.stdout })
  if not ok then
    front:stop()
    error(tostring(one) .. "\n" .. made.stdout, 2)
  end
  return front, one, made
end

--- Compares a case. Raises an error with what differs.
---@param site table
---@param case table name, kind, config, htaccess, urls, apart: set of headers that differ;
--- everywhere: those that Moongate has on redirects and error pages, too; differs: URL ->
--- { theirs, ours } of statuses, and why
---@return integer how many answers were compared
function sidebyside.compare(site, case)
  local front, one, made = start(site, case)
  local problems, count = {}, 0
  local ok, problem = pcall(function()
    for _, url in ipairs(case.urls) do
      local theirs, res = ask(site, front.address, case, url)
      local ours, own = ask(site, one.address, case, url)
      local known = case.differs and case.differs[url]
      if known then
        if res.status ~= known[1] or own.status ~= known[2] then
          problems[#problems + 1] = ("%s: statuses %d and %d, expected %d and %d (%s)"):format(url,
            res.status,
            own.status, known[1], known[2], known[3])
        end
      elseif theirs ~= ours then
        problems[#problems + 1] = ("%s\n--- %s\n%s\n--- moongate\n%s"):format(url, case.kind,
          theirs, ours)
      end
      count = count + 1
    end
  end)
  front:stop()
  one:stop()
  os.remove(site.root .. "/.htaccess")
  if not ok or #problems > 0 then
    error(case.name .. ": " .. tostring(problem or "") .. table.concat(problems, "\n") .. "\n"
      .. made.stdout
      .. made.stderr, 0)
  end
  return count
end

return sidebyside
