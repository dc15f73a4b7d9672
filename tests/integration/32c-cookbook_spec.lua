-- docs/cookbook.md: each recipe is served as it stands, with the test's folder and PHP-FPM in the
-- place of those that it names, and does what its heading says.

local http = require("tests.support.http")
local php = require("tests.support.php")
local poll = require("tests.support.poll")
local process = require("tests.support.process")
local server = require("tests.support.server")
local stage = require("tests.support.stage")

local PAGES = {
  ["index.php"] = [[<?php if ($_SERVER["REQUEST_URI"] == "/missing") http_response_code(404);
    echo "front ", $_SERVER["REQUEST_URI"], " ", getenv("POOL"), "\n";]],
  ["login.php"] = "<?php echo 'login';",
  ["upload.php"] = [[<?php echo strlen(file_get_contents("php://input")), " ",
    ini_get("post_max_size"), " ", ini_get("memory_limit");]],
  ["away.php"] = "<?php",
  ["404.html"] = "not here", ["down.html"] = "in a minute",
  ["uploads/evil.phtml"] = "<?php", ["uploads/evil.php"] = "<?php", ["uploads/cat.jpg"] = "cat",
  ["assets/app-1a2b.css"] = "css", ["style.css"] = "css", ["folder/a.txt"] = "a",
  ["intern/index.php"] = "<?php echo 'intern';",
  ["staff/index.php"] = "<?php echo $_SERVER['REMOTE_USER'];",
  ["old/index.php"] = "<?php echo getenv('POOL'), ' ', $_SERVER['SCRIPT_NAME'];",
  ["deprecated.php"] = "<?php trigger_error('old ways', E_USER_DEPRECATED);",
  ["half.php"] = [[<?php echo str_repeat("half a page ", 2000); flush(); nowhere();]],
  ["warning.php"] = "<?php trigger_error('a warning', E_USER_WARNING);",
  -- Says whether it runs alone.
  ["alone.php"] = [[<?php $lock = fopen(sys_get_temp_dir() . "/lock", "c");
    if (!flock($lock, LOCK_EX | LOCK_NB)) { echo "crowd"; exit; }
    usleep(50000); echo "alone";]],
}

-- The recipes by their headings, in their order.
local recipes, order = {}, {}
local page = assert(process.read_file("docs/cookbook.md"))
for title, code in page:gmatch("\n## ([^\n]+)\n.-\n```lua\n(.-)\n```") do
  recipes[title] = code
  order[#order + 1] = title
end

local fpm

setup(function()
  fpm = php.start({
    pages = "tests/pages", pool = { "env[POOL] = new" },
    values = { memory_limit = true, post_max_size = true },
    more = { old = { "env[POOL] = old" } },
  })
  stage.write(fpm.root, PAGES)
end)

teardown(function()
  fpm:stop()
end)

-- Plain text for plain text.
local function replaced(text, from, to)
  return (text:gsub(from:gsub("%p", "%%%0"), (to:gsub("%%", "%%%%"))))
end

-- Serves a recipe; `changes` are pairs of what stands there and what the test has in its place.
local function serve(title, changes)
  local code = replaced(assert(recipes[title], title), "/srv/www", fpm.root)
  code = replaced(code, "/srv/old", fpm.root .. "/old")
  for socket in code:gmatch("unix:/run/php/[%w.-]+") do
    code = replaced(code, socket, socket:find("7.4", 1, true) and fpm.more.old or fpm.address)
  end
  for _, change in ipairs(changes or {}) do
    assert(code:find(change[1], 1, true), change[1])
    code = replaced(code, change[1], change[2])
  end
  local gate = server.start({ route = code })
  finally(function() gate:stop() end)
  return gate
end

local CHECKS = {
  ["One address for a site"] = function(title)
    local gate = serve(title)
    local res = http.request(gate.address, { path = "/a?b=c", host = "shop.example" })
    assert.equal(301, res.status)
    assert.equal("http://www.shop.example/a?b=c", res.headers.location)
    res = http.request(gate.address, { path = "/a?b=c", host = "www.shop.example" })
    assert.equal("front /a?b=c new\n", res.body)
  end,

  ["Addresses that have moved"] = function(title)
    local gate = serve(title)
    for from, to in pairs({ ["/impressum.html"] = "/about", ["/shop.php?x=1"] = "/",
      ["/blog/2026/a-title"] = "/a-title" }) do
      local res = http.get(gate.address, from)
      assert.equal(301, res.status)
      assert.equal(to, res.headers.location)
    end
    assert.equal("front /blog/new new\n", http.get(gate.address, "/blog/new").body)
  end,

  ["Uploads that never run"] = function(title)
    local gate = serve(title)
    for _, path in ipairs({ "/uploads/evil.php", "/uploads/evil.phtml", "/uploads/evil.php/x" }) do
      assert.equal(403, http.get(gate.address, path).status, path)
    end
    assert.equal("cat", http.get(gate.address, "/uploads/cat.jpg").body)
    assert.equal("login", http.get(gate.address, "/login.php").body)
  end,

  ["Headers for everything"] = function(title)
    local gate = serve(title)
    for path, status in pairs({ ["/login.php"] = 200, ["/style.css"] = 200, ["/folder"] = 301,
      ["/missing"] = 404 }) do
      local res = http.get(gate.address, path)
      assert.equal(status, res.status)
      assert.equal("nosniff", res.headers["x-content-type-options"], path)
      assert.equal("same-origin", res.headers["referrer-policy"], path)
      assert.is_nil(res.headers["x-powered-by"])
    end
  end,

  ["How long browsers keep files"] = function(title)
    local gate = serve(title)
    assert.equal("max-age=300", http.get(gate.address, "/style.css").headers["cache-control"])
    assert.equal("max-age=31536000, immutable",
      http.get(gate.address, "/assets/app-1a2b.css").headers["cache-control"])
  end,

  ["A page for 404, and one for when PHP is away"] = function(title)
    local gate = serve(title)
    local res = http.get(gate.address, "/nothing")
    assert.same({ 404, "not here" }, { res.status, res.body })
    res = http.get(gate.address, "/away.php")
    assert.same({ 503, "in a minute" }, { res.status, res.body })
    assert.equal("login", http.get(gate.address, "/login.php").body)
  end,

  ["A folder for the office only, and one with a password"] = function(title)
    local gate = serve(title)
    assert.equal(403, http.get(gate.address, "/intern/").status)
    assert.equal(401, http.get(gate.address, "/staff/").status)
    -- frank:moon and frank:sun
    assert.equal("frank", http.get(gate.address, "/staff/",
      { Authorization = "Basic ZnJhbms6bW9vbg==" }).body)
    assert.equal(401, http.get(gate.address, "/staff/",
      { Authorization = "Basic ZnJhbms6c3Vu" }).status)
    gate = serve(title, { { "10.0.0.0/8", "127.0.0.0/8" } })
    assert.equal("intern", http.get(gate.address, "/intern/").body)
  end,

  ["Not too many logins"] = function(title)
    local gate = serve(title)
    local passed, refused = 0, nil
    while not refused and passed < 40 do -- the bucket fills while a slow machine asks
      local res = http.post(gate.address, "/login.php", "a=b")
      if res.status == 429 then
        refused = res
      else
        assert.equal("login", res.body)
        passed = passed + 1
      end
    end
    assert.is_true(passed >= 3)
    assert.is_truthy(refused.headers["retry-after"])
    assert.equal("login", http.get(gate.address, "/login.php").body)
  end,

  ["Large uploads and long reports for some scripts only"] = function(title)
    local gate = serve(title, { { '"1M"', '"1k"' } })
    local body = ("x"):rep(2000)
    assert.equal(413, http.post(gate.address, "/login.php", body).status)
    assert.equal("2000 512M 512M", http.post(gate.address, "/upload.php", body).body)
    assert.equal("login", http.post(gate.address, "/login.php", "x").body)
  end,

  ["A part of the site by another PHP"] = function(title)
    local gate = serve(title)
    assert.equal("front /a new\n", http.get(gate.address, "/a").body)
    assert.equal("old /old/index.php", http.get(gate.address, "/old/").body)
  end,

  ["As many requests as PHP has processes"] = function(title)
    local gate = serve(title)
    local clients = {}
    for i = 1, 6 do
      clients[i] = http.open(gate.address)
      clients[i]:send({ path = "/alone.php" })
    end
    for _, client in ipairs(clients) do
      assert.equal("alone", client:receive().body)
      client:close()
    end
  end,

  ["Robots that get no answer"] = function(title)
    local gate = serve(title)
    assert.is_false((pcall(http.get, gate.address, "/", { ["User-Agent"] = "BadBot/1.0" })))
    assert.equal(200, http.get(gate.address, "/", { ["User-Agent"] = "Mozilla/5.0" }).status)
    assert.equal(200, http.get(gate.address, "/").status)
  end,

  ["A check that PHP answers, for a balancer"] = function(title)
    local gate = serve(title)
    assert.equal("up\n", http.get(gate.address, "/health").body)
    gate = serve(title, { { fpm.address, "unix:" .. fpm.data .. "/none.sock" } })
    poll.wait(function()
      return http.get(gate.address, "/health").status == 503
    end, "the check to know that nobody answers")
  end,

  ["Only what is slow or wrong in the access log"] = function(title)
    local gate = serve(title, { { "log.duration < 1", "log.duration < 100" } })
    assert.equal(200, http.get(gate.address, "/fine").status)
    assert.equal(404, http.get(gate.address, "/missing").status)
    gate:wait_access("/missing")
    assert.is_nil(gate:access():find("/fine", 1, true))
  end,

  ["A page in place of half of one"] = function(title)
    local res = http.get(serve(title).address, "/half.php")
    assert.equal(500, res.status)
    assert.matches("^<!doctype html><title>Sorry</title><p>This page is broken", res.body)
  end,

  ["Deprecations of a new PHP, counted and not logged"] = function(title)
    local gate = serve(title)
    http.get(gate.address, "/deprecated.php")
    http.get(gate.address, "/deprecated.php")
    poll.wait(function()
      return http.get(gate.address, "/deprecations").body == ("2 %s/deprecated.php:1\n")
        :format(fpm.root)
    end, "both to be counted")
    http.get(gate.address, "/warning.php")
    gate:wait_log("a warning")
    assert.is_nil(gate:errors():find("old ways", 1, true))
  end,
}

describe("the recipe", function()
  for _, title in ipairs(order) do
    it(("%q does what it says"):format(title), function()
      assert(CHECKS[title], "it has no check")(title)
    end)
  end
end)

describe("docs/cookbook.md", function()
  it("has a recipe below each heading, and no other", function()
    local headings, blocks, checks = {}, 0, 0
    for title in page:gmatch("\n## ([^\n]+)") do
      headings[#headings + 1] = title
    end
    for _ in page:gmatch("\n```lua\n") do
      blocks = blocks + 1
    end
    for _ in pairs(CHECKS) do
      checks = checks + 1
    end
    assert.same(headings, order)
    assert.same({ #order, #order }, { blocks, checks })
  end)
end)
