-- docs/from-caddy.md: its Caddyfile in the real Caddy, and the route beside it in Moongate, answer
-- alike, over the same files and the same PHP-FPM.

local fronts = require("tests.support.fronts")
local http = require("tests.support.http")
local php = require("tests.support.php")
local process = require("tests.support.process")
local server = require("tests.support.server")
local stage = require("tests.support.stage")

local SCRIPT = [[<?php
foreach (['SCRIPT_NAME', 'SCRIPT_FILENAME', 'PATH_INFO', 'DOCUMENT_ROOT', 'REQUEST_URI',
  'QUERY_STRING', 'REQUEST_METHOD', 'APP_ENV'] as $name) {
  echo $name, '=', $_SERVER[$name] ?? '', "\n";
}
echo file_get_contents('php://input');]]

local FILES = {
  ["index.php"] = SCRIPT, ["shop/cart.php"] = SCRIPT, ["shop/index.php"] = SCRIPT,
  ["style.css"] = "body {}\n", ["dump.sql"] = "secret", ["docs/index.html"] = "docs\n",
  ["a b.txt"] = "blank\n", [".env"] = "SECRET=1", ["index.php.bak"] = "<?php",
}

-- What is asked of both.
local SAME = {
  { path = "/" }, { path = "/?a=b" }, { path = "/index.php" }, { path = "/index.php/x/y?z" },
  { path = "/articles/7?x=1" }, { path = "/shop/cart.php" }, { path = "/shop/cart.php/7" },
  { path = "/shop/" }, { path = "/style.css" }, { path = "/a%20b.txt" }, { path = "/a%2Fb" },
  { path = "/nothing.php" }, { path = "/shop/cart.php", method = "POST", body = "moon" },
  { path = "/style.css", method = "HEAD" },
}

-- What differs, as the page says: path, Caddy's status, Moongate's.
local OTHER = {
  { "/shop", 308, 301 }, { "/dump.sql", 404, 403 }, { "/.env", 200, 403 },
  { "/index.php.bak", 200, 403 }, { "/docs/", "SCRIPT_NAME=/index.php", "docs" },
}

local function replaced(text, changes)
  for _, change in ipairs(changes) do
    assert(text:find(change[1], 1, true), change[1])
    text = text:gsub(change[1]:gsub("%p", "%%%0"), (change[2]:gsub("%%", "%%%%")))
  end
  return text
end

describe("docs/from-caddy.md", function()
  local page = assert(process.read_file("docs/from-caddy.md"))
  local fpm, front, gate

  setup(function()
    local caddyfile = page:match("\n\n(    example%.com {\n.-\n    }\n)"):gsub("\n    ", "\n")
    local code = page:match("\n```lua\n(.-)\n```")
    fpm = php.start({ pages = "tests/pages" })
    stage.write(fpm.root, FILES)
    front = fronts.caddy(function(address)
      return "{\n  admin off\n}\n" .. replaced(caddyfile, {
        { "    example.com {", "http://example.com:" .. address:match("%d+$") .. " {" },
        { "/srv/www/public", fpm.root },
        { "unix//run/php/php8.2-fpm.sock", (fpm.address:gsub("^unix:", "unix/")) },
      })
    end)
    gate = server.start({ route = replaced(code, {
      { "/srv/www/public", fpm.root }, { "unix:/run/php/php8.2-fpm.sock", fpm.address },
    }) })
  end)

  teardown(function()
    gate:stop()
    front:stop()
    fpm:stop()
  end)

  for _, case in ipairs(SAME) do
    local name = ("%s %s"):format(case.method or "GET", case.path)
    it("is right about " .. name, function()
      local function ask(address)
        local res = http.request(address, { path = case.path, method = case.method,
          body = case.body, host = "example.com" })
        return { status = res.status, body = res.body, location = res.headers.location }
      end
      assert.same(ask(front.address), ask(gate.address))
    end)
  end

  for _, case in ipairs(OTHER) do
    it("says how they differ about " .. case[1], function()
      local function ask(address)
        local res = http.request(address, { path = case[1], host = "example.com" })
        return type(case[2]) == "string" and res.body:match("^[^\n]+") or res.status
      end
      assert.same({ case[2], case[3] }, { ask(front.address), ask(gate.address) })
      assert.is_truthy(page:find("\n| `" .. case[1] .. "`", 1, true))
    end)
  end
end)
