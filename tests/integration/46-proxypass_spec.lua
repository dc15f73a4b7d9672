-- moongate.proxypass beside a real Apache with mod_proxy_fcgi: the same rules, the same PHP-FPM and
-- the same URLs give the same status and the same variables of PHP, but where a row says otherwise.

local fronts = require("tests.support.fronts")
local http = require("tests.support.http")
local net = require("tests.support.net")
local php = require("tests.support.php")
local responder = require("tests.support.responder")
local server = require("tests.support.server")
local stage = require("tests.support.stage")

local SHOW = [[<?php
header("Content-Type: text/plain");
foreach (["SCRIPT_NAME", "SCRIPT_FILENAME", "PATH_INFO", "PHP_SELF", "QUERY_STRING", "REQUEST_URI",
  "REQUEST_METHOD"] as $name) {
  echo "$name=", $_SERVER[$name] ?? "-", "\n";
}
echo "FILE=", __FILE__, "\n";
]]

local fpm, root, tcp

setup(function()
  root = stage.files({
    ["index.php"] = SHOW, ["show.php"] = SHOW, ["plain.txt"] = "plain\n", ["index.html"] = "html\n",
    ["app/show.php"] = SHOW, ["app/index.php"] = SHOW, ["app/with space.php"] = SHOW,
    ["app/sub/show.php"] = SHOW, ["app/a+b.php"] = SHOW, ["app/plain.txt"] = "plain\n",
    ["app/private/show.php"] = SHOW, ["app/private/plain.txt"] = "private\n",
    ["other/show.php"] = SHOW, ["app/100%.php"] = SHOW, ["front/index.html"] = "folder\n",
    ["app/go.php"] = "<?php header('Location: http://internal.test/x');",
    ["code/index.php"] = SHOW, ["app/pool.php"] = "<?php echo getenv('POOL');",
  })
  tcp = "127.0.0.1:" .. net.free_port()
  fpm = php.start({
    root = root, pool = { "env[POOL] = unix" },
    more = { tcp = { "listen = " .. tcp, "env[POOL] = tcp" } },
  })
end)

teardown(function()
  fpm:stop()
end)

local MODULES = { "proxy", "proxy_fcgi", "proxy_balancer", "slotmem_shm", "lbmethod_byrequests",
  "dir", "mime" }

local function apache(lines)
  return fronts.apache(function()
    local text = {}
    for i, name in ipairs(MODULES) do
      text[i] = ("LoadModule %s_module modules/mod_%s.so"):format(name, name)
    end
    text[#text + 1] = "TypesConfig /dev/null\nDocumentRoot " .. root .. "\n" .. lines
    return table.concat(text, "\n") .. "\n"
  end)
end

local function filled(text)
  return (text:gsub("%%(%u+)%%", {
    TCP = tcp, UNIX = fpm.address, ROOT = root, SOCKET = fpm.address:match("^unix:(.*)$"),
  }))
end

local function moongate(rules)
  return server.start({ route = filled([[
    local proxypass = require("moongate.proxypass")
    local p = proxypass.new { root = "%ROOT%", index = { "index.php", "index.html" } }
    ]] .. rules .. [[

    return { backends = p:backends(), on_request = p, script_timeout = 20 }
  ]]) })
end

-- What PHP was told, and the status. Bodies of errors are each server's own.
local function answer(address, url, method)
  local client = http.open(address)
  local res = client:request({ path = url, method = method or "GET", host = "site.test" })
  client:close()
  return ("%d %s\n%s"):format(res.status, url, res.status == 200 and res.body or "")
end

local EITHER = "^[24]0[04] " -- 200 or 404, by Apache's release

-- `ours` are URLs with which the two differ: what Apache says, and what Moongate says.
local CASES = {
  {
    name = "a prefix",
    apache = [[ProxyPass "/app/" "fcgi://%TCP%%ROOT%/app/"]],
    rules = [[p:pass("/app/", "fcgi://%TCP%%ROOT%/app/")]],
    urls = { "/app/show.php", "/app/show.php/info", "/app/show.php/info/with.dots/x",
      "/app/show.php?a=b&c", "/app/sub/show.php", "/app/nothing.php", "/app//show.php",
      "/app/./sub/../show.php", "/%61pp/show.php", "/app/show.php/?q=%20", "/app/a+b.php",
      "/plain.txt", "/app/plain.txt", "/app/sub",
      "/app/show.php/again/show.php", "/app", "/app/show.php?x=/y.php" },
    ours = {
      -- PHP finds out that this is no script; here nothing below a file is asked for.
      ["/app/plain.txt/x.php"] = { "^403 ", "^404 " },
      -- No script is looked for among files.
      ["/application/show.php"] = { "^404 ", "^403 " }, ["/APP/show.php"] = { "^404 ", "^403 " },
      -- The Apache of Debian 12 encodes the path once more: PHP looks for a file "with%20space.php"
      -- and shows "%20" in PATH_INFO, which no other server sends. That of Debian 13 does not.
      ["/app/with%20space.php"] = { EITHER, "^200 .*FILE=.*/app/with space%.php" },
      ["/app/100%25.php"] = { EITHER, "^200 .*FILE=.*/app/100%%%.php" },
      ["/app/show.php/a%20b"] = { "PATH_INFO=/a%%?2?[0 ]b\n", "PATH_INFO=/a b\n" },
      ["/app/show.php/%3Fx"] = { "PATH_INFO=/%%?3?[F?]x\n", "PATH_INFO=/%?x\n" },
      -- Apache refuses every encoded slash.
      ["/app/show.php/a%2Fb"] = { "^404 ", "PATH_INFO=/a/b\n" },
    },
  },
  {
    name = "a prefix without a slash, which holds for whole segments",
    apache = [[ProxyPass "/app" "fcgi://%TCP%%ROOT%/app"]],
    rules = [[p:pass("/app", "fcgi://%TCP%%ROOT%/app")]],
    urls = { "/app/show.php", "/app/show.php/x", "/app/", "/app", "/application/show" },
  },
  {
    name = "a URL that ends in a slash behind a prefix that does not",
    apache = [[ProxyPass "/app" "fcgi://%TCP%%ROOT%/app/"]],
    rules = [[p:pass("/app", "fcgi://%TCP%%ROOT%/app/")]],
    urls = { "/app/show.php", "/app/show.php/x" },
  },
  {
    name = "all of it",
    apache = [[ProxyPass "/" "fcgi://%TCP%%ROOT%/"]],
    rules = [[p:pass("/", "fcgi://%TCP%%ROOT%/")]],
    urls = { "/show.php", "/app/show.php/x", "/plain.txt", "/", "/nothing", "/app/" },
  },
  {
    name = "exclusions, and longer prefixes before shorter ones",
    apache = [[
      ProxyPass "/app/private/" "!"
      ProxyPassMatch "^/app/.*\.txt$" "!"
      ProxyPass "/app/sub/" "fcgi://%TCP%%ROOT%/other/"
      ProxyPass "/app/" "unix:%SOCKET%|fcgi://localhost%ROOT%/app/"
    ]],
    rules = [==[
      p:pass("/app/private/", "!")
      p:pass_match([[^/app/.*\.txt$]], "!")
      p:pass("/app/sub/", "fcgi://%TCP%%ROOT%/other/")
      p:pass("/app/", "unix:%SOCKET%|fcgi://localhost%ROOT%/app/")
    ]==],
    urls = { "/app/private/plain.txt", "/app/plain.txt", "/app/sub/show.php", "/app/show.php",
      "/app/show.php/x.txt/y", "/app/private/nothing" },
    ours = { -- Apache shows the text of the script to everybody
      ["/app/private/show.php"] = { "^200 .*<%?php", "^403 " },
    },
  },
  {
    name = "an expression with a group",
    apache = [[
      DirectoryIndex index.php index.html
      ProxyPassMatch "^/(.*\.php(/.*)?)$" "unix:%SOCKET%|fcgi://localhost%ROOT%/$1"
    ]],
    rules = [==[
      p:pass_match([[^/(.*\.php(/.*)?)$]], "unix:%SOCKET%|fcgi://localhost%ROOT%/$1")
    ]==],
    urls = { "/show.php", "/show.php/a/b", "/app/show.php?x=1", "/plain.txt", "/", "/code/",
      "/nothing.php", "/nothing.php/x", "/app/../show.php", "/nothing",
      "/show.php/../app/show.php", "/app/plain.txt" },
    ours = {
      -- Apache takes an index for there that a rule passes on.
      ["/front/"] = { "^404 ", "^200 .*folder" }, ["/SHOW.PHP"] = { "^404 ", "^403 " },
      ["/app/plain.txt/x.php"] = { "^40[34] ", "^404 " },
    },
  },
  {
    name = "an expression whose URL has no group",
    apache = [[ProxyPassMatch "^/app/.*\.php(/.*)?$" "fcgi://%TCP%%ROOT%"]],
    rules = [==[p:pass_match([[^/app/.*\.php(/.*)?$]], "fcgi://%TCP%%ROOT%")]==],
    urls = { "/app/show.php", "/app/show.php/x", "/plain.txt", "/plain.txt/x/app/" },
    ours = { ["/show.php/x/app/"] = { "^404 ", "^403 " } },
  },
  {
    name = "several groups, and the whole match",
    apache = [[ProxyPassMatch "^/x/([a-z]+)-([a-z]+)$" "fcgi://%TCP%%ROOT%/$1/$2.php"
      ProxyPassMatch "^/app/show$" "fcgi://%TCP%%ROOT%$0.php"]],
    rules = [==[
      p:pass_match([[^/x/([a-z]+)-([a-z]+)$]], "fcgi://%TCP%%ROOT%/$1/$2.php")
      p:pass_match([[^/app/show$]], "fcgi://%TCP%%ROOT%$0.php")
    ]==],
    urls = { "/x/app-show", "/x/other-show", "/app/show", "/x/app-nothing" },
  },
  {
    name = "nocanon",
    apache = [[ProxyPass "/app/" "fcgi://%TCP%%ROOT%/app/" nocanon]],
    rules = [[p:pass("/app/", "fcgi://%TCP%%ROOT%/app/", { nocanon = true })]],
    urls = { "/app/show.php", "/%61pp/show.php" },
    ours = { -- Debian 12's Apache leaves alone what it was told to, that of 13 decodes it.
      ["/app/show.php/a%20b"] = { "PATH_INFO=/a%%?2?[0 ]b\n", "PATH_INFO=/a%%20b\n" },
      ["/app/with%20space.php"] = { EITHER, "^404 " },
    },
  },
  {
    name = "a balancer",
    apache = [[
      <Proxy "balancer://cluster">
        BalancerMember "fcgi://%TCP%" loadfactor=2
        BalancerMember "unix:%SOCKET%|fcgi://spare" status=+H
      </Proxy>
      ProxyPass "/app/" "balancer://cluster%ROOT%/app/"
    ]],
    rules = [[
      p:balancer("balancer://cluster", {
        { "fcgi://%TCP%", loadfactor = 2 },
        { "unix:%SOCKET%|fcgi://spare", status = "+H" },
      })
      p:pass("/app/", "balancer://cluster%ROOT%/app/")
    ]],
    urls = { "/app/show.php", "/app/show.php/x?y=z", "/app/nothing.php", "/plain.txt" },
  },
}

for _, case in ipairs(CASES) do
  it("does what Apache does: " .. case.name, function()
    local front, ours = apache(filled(case.apache)), moongate(case.rules)
    finally(function()
      front:stop()
      ours:stop()
    end)
    for _, url in ipairs(case.urls) do
      assert.equal(answer(front.address, url), answer(ours.address, url))
    end
    for url, expected in pairs(case.ours or {}) do
      assert.matches(expected[1], answer(front.address, url))
      assert.matches(expected[2], answer(ours.address, url))
    end
  end)
end

it("sends sessions where they began, as Apache does", function()
  local front = apache(filled([[
    <Proxy "balancer://cluster">
      BalancerMember "fcgi://%TCP%" route=one
      BalancerMember "unix:%SOCKET%|fcgi://two" route=two
      ProxySet stickysession=ROUTEID|routeid
    </Proxy>
    ProxyPass "/app/" "balancer://cluster%ROOT%/app/"
  ]]))
  local ours = moongate([[
    p:balancer("balancer://cluster", {
      { "fcgi://%TCP%", route = "one" }, { "unix:%SOCKET%|fcgi://two", route = "two" },
    }, { stickysession = "ROUTEID|routeid" })
    p:pass("/app/", "balancer://cluster%ROOT%/app/")
  ]])
  finally(function()
    front:stop()
    ours:stop()
  end)
  for _, case in ipairs({
    { "tcp", "", "ROUTEID=abc.one" }, { "unix", "", "ROUTEID=.two" },
    { "tcp", "?routeid=x.one", "" }, { "unix", "?a=b&routeid=x.two&c=d", "ROUTEID=abc.one" },
  }) do
    for _ = 1, 3 do
      for _, address in ipairs({ front.address, ours.address }) do
        local res = http.get(address, "/app/pool.php" .. case[2], { Cookie = case[3] })
        assert.equal("200 " .. case[1], res.status .. " " .. res.body)
      end
    end
  end
  -- Without a session, or with one that nobody has, each has its turn.
  for _, cookie in ipairs({ "a=b", "ROUTEID=abc.three", "ROUTEID=abc" }) do
    for _, address in ipairs({ front.address, ours.address }) do
      local seen = {}
      for _ = 1, 4 do
        seen[http.get(address, "/app/pool.php", { Cookie = cookie }).body] = true
      end
      assert.same({ tcp = true, unix = true }, seen)
    end
  end
end)

it("maps what PHP says, where Apache lets it stand", function()
  local front = apache(filled([[
    ProxyPass "/app/" "fcgi://%TCP%%ROOT%/app/"
    ProxyPassReverse "/app/" "http://internal.test/"
  ]]))
  local ours = moongate([[
    p:pass("/app/", "fcgi://%TCP%%ROOT%/app/")
    p:reverse("/app/", "http://internal.test/")
  ]])
  finally(function()
    front:stop()
    ours:stop()
  end)
  assert.equal("http://internal.test/x", http.get(front.address, "/app/go.php").headers.location)
  local client = http.open(ours.address)
  assert.equal("http://site.test:8081/app/x",
    client:request({ path = "/app/go.php", host = "site.test:8081" }).headers.location)
  client:close()
end)

-- Heads that an application sends, from `answer=NAME`; what Apache makes of them, and Moongate.
local HEADS = {
  { "location=http://internal.test/app/next?x=1" },
  { "location=http://INTERNAL.test/app/next" },
  { "location=http://internal.test/other" },
  { "location=http://internal.test" },
  { "location=https://elsewhere.test/app/next" },
  { "location=http://internal.test/app", "content-location=http://internal.test/app/a.html" },
  { "location=/backend/page" }, { "location=http://any.test/backend/page" },
  { "location=//internal.test/app/" }, { "location=relative" },
  { "set-cookie=a=b; Path=/app/x; Domain=internal.test; Secure" },
  { "set-cookie=a=b; domain=INTERNAL.test; path=/app" }, { "set-cookie=a=b; path=/other" },
  { "set-cookie=a=b; Domain=.internal.test" },
  { "set-cookie=a=b;Path=/app;Domain=internal.test.more", "set-cookie=c=d; Path=/app/" },
  { "set-cookie=a=b" }, { "set-cookie=a=b; Path=" },
}

it("maps the addresses and cookies of answers as Apache does", function()
  -- A server that answers by HTTP what the query says, for Apache.
  local behind = server.start({ route = [[
    return { on_request = function(req)
      local headers = {}
      for name, value in req.args:each() do
        name = name == "set-cookie2" and "set-cookie" or name
        headers[name] = headers[name] and { headers[name], value } or value
      end
      return { status = headers.location and 302 or 200, headers = headers, body = "x" }
    end }
  ]] })
  local front = fronts.apache(function()
    return ([[
      LoadModule proxy_module modules/mod_proxy.so
      LoadModule proxy_http_module modules/mod_proxy_http.so
      ProxyPass "/public/" "http://%s/"
      ProxyPassReverse "/public/" "http://internal.test/app/"
      ProxyPassReverse "/second" "http://internal.test/other"
      ProxyPassReverse "/third/" "/backend/"
      ProxyPassReverseCookieDomain "internal.test" "site.test"
      ProxyPassReverseCookiePath "/app" "/public"
    ]]):format(behind.address)
  end)
  local back = responder.start()
  local ours = server.start({ route = ([[
    local proxypass = require("moongate.proxypass")
    local p = proxypass.new()
    p:pass("/public/", "%s|fcgi://internal/srv/")
    p:reverse("/public/", "http://internal.test/app/")
    p:reverse("/second", "http://internal.test/other")
    p:reverse("/third/", "/backend/")
    p:reverse_cookie_domain("internal.test", "site.test")
    p:reverse_cookie_path("/app", "/public")
    return { backends = p:backends(), on_request = p, script_timeout = 20 }
  ]]):format(back.addresses[1]) })
  finally(function()
    front:stop()
    behind:stop()
    ours:stop()
    back:stop()
  end)
  local function heads(address, target)
    local client = http.open(address)
    local res = client:request({ path = target, host = "site.test:8081" })
    client:close()
    local list = {}
    for _, name in ipairs({ "location", "content-location", "set-cookie" }) do
      local values = {}
      for value in (res.headers[name] or "none"):gmatch("[^,]+") do
        values[#values + 1] = value:match("^ ?(.*)$")
      end
      table.sort(values) -- the order of several cookies has no meaning
      list[#list + 1] = name .. ": " .. table.concat(values, ", ")
    end
    return table.concat(list, "\n")
  end
  for _, head in ipairs(HEADS) do
    local query = {}
    for i, text in ipairs(head) do
      local name, value = text:match("^(.-)=(.*)$")
      query[i] = (i > 1 and name == "set-cookie" and "set-cookie2" or name) .. "="
        .. http.escape(value)
    end
    local sent = {}
    for i, text in ipairs(head) do
      sent[i] = "header=" .. http.escape((text:gsub("=", ": ", 1)))
    end
    assert.equal(heads(front.address, "/public/x?" .. table.concat(query, "&")),
      heads(ours.address, "/public/x?status=302&" .. table.concat(sent, "&")))
  end
end)
