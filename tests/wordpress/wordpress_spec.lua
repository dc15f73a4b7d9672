-- examples/wordpress-cache with the real WordPress, installed by its own page, and a MariaDB; run
-- by `make test-wordpress`. The steps build on each other, as they do for the people in front of
-- the browsers. One waits for a minute, as long as WordPress looks ahead.

local browser = require("tests.support.browser")
local http = require("tests.support.http")
local json = require("moongate.base.json")
local php = require("tests.support.php")
local poll = require("tests.support.poll")
local process = require("tests.support.process")
local server = require("tests.support.server")
local wordpress = require("tests.support.wordpress")

local PASSWORD = "over the moon and back"

describe("WordPress behind examples/wordpress-cache", function()
  local gate, fpm, site, author, nonce, post

  setup(function()
    local folder = process.tempdir("site")
    assert(os.execute(("cp -R examples/wordpress-cache/. %s"):format(process.quote(folder))) == 0)
    local root = folder .. "/public"
    site = wordpress.start(root)
    fpm = php.start({ root = root, launcher = site.launcher, children = 6 })
    if fpm.user then
      assert(os.execute(("chown -R %s %s/wp-content"):format(fpm.user, process.quote(root))) == 0)
    end
    local cache = process.tempdir("cache")
    assert(os.execute("chmod 1777 " .. process.quote(cache)) == 0)
    gate = server.start({
      folder = folder, route = "route.lua", workers = 2,
      env = { MOONGATE_PHP = fpm.address, CACHE = cache },
    })
    author = browser.open(gate.address, gate.address)
  end)

  teardown(function()
    for _, one in pairs({ gate or false, fpm or false, site or false, author or false }) do
      if one then
        (one.stop or one.close)(one)
      end
    end
  end)

  --- What a visitor gets who has never been here.
  local function visit(path, cookie)
    return http.request(gate.address, { path = path, host = gate.address, timeout = 60,
      headers = { Cookie = cookie, ["Accept-Encoding"] = "identity" } })
  end

  --- The page once it is kept.
  local function kept(path)
    return poll.wait(function()
      local res = visit(path)
      assert.is_nil(res.body:find("wpadminbar", 1, true))
      return res.headers["x-cache"] == "hit" and res
    end, path .. " to be kept")
  end

  --- A call of WordPress' REST API by who is logged in.
  local function api(method, path, value)
    local res = author:exchange({ method = method, path = "/wp-json/wp/v2/" .. path,
      body = value and json.encode(value),
      headers = { ["X-WP-Nonce"] = nonce, ["Content-Type"] = "application/json" } })
    assert.is_true(res.status == 200 or res.status == 201, res.body)
    assert.equal("bypass", res.headers["x-cache"])
    assert.is_nil(res.headers["x-cache-purge"])
    return json.decode(res.body)
  end

  --- The path of a link of WordPress.
  local function path_of(link)
    return link:match("^http://[^/]+(/.*)$")
  end

  it("is installed, and logged in to", function()
    local done = author:post("/wp-admin/install.php?step=2", {
      weblog_title = "Moon and Gate", user_name = "luna", admin_password = PASSWORD,
      admin_password2 = PASSWORD, pw_weak = "1", admin_email = "luna@example.test",
      Submit = "Install", language = "",
    })
    assert.equal(200, done.status, gate:errors())
    assert.matches("Success", done.body)
    author:get("/wp-login.php")
    local page = author:post("/wp-login.php", {
      log = "luna", pwd = PASSWORD, testcookie = "1", redirect_to = "/wp-admin/",
      ["wp-submit"] = "Log In",
    })
    assert.equal("/wp-admin/", author.url)
    assert.matches("wpadminbar", page.body)
    assert.equal("bypass", page.headers["x-cache"])
    nonce = author:get("/wp-admin/admin-ajax.php?action=rest-nonce").body
    assert.matches("^%x+$", nonce)
    local form = author:get("/wp-admin/options-permalink.php").body
    author:post("/wp-admin/options-permalink.php", {
      _wpnonce = form:match('name="_wpnonce" value="(%x+)"'), _wp_http_referer = "/wp-admin/",
      permalink_structure = "/%year%/%monthnum%/%postname%/", selection = "custom",
      category_base = "", tag_base = "", submit = "Save Changes",
    })
  end)

  it("gives visitors kept pages, and the author never one", function()
    local home = kept("/")
    assert.equal(200, home.status)
    assert.matches("Moon and Gate", home.body)
    assert.matches("Hello world!", home.body)
    assert.equal(home.body, visit("/", "_ga=1; wp_lang=x").body)
    local own = author:get("/")
    assert.equal("bypass", own.headers["x-cache"])
    assert.matches("wpadminbar", own.body)
    assert.is_nil(kept("/").body:find("wpadminbar", 1, true))
    kept("/feed/")
    local missing = visit("/2026/01/not-here/")
    assert.same({ 404, "miss" }, { missing.status, missing.headers["x-cache"] })
    assert.equal("miss", visit("/2026/01/not-here/").headers["x-cache"])
  end)

  it("shows at once what is published, changed and taken back", function()
    kept("/")
    kept("/feed/")
    local draft = api("POST", "posts", { title = "Second moon", content = "the first text",
      status = "draft" })
    assert.equal("hit", visit("/").headers["x-cache"])
    local preview = author:get(("/?p=%d&preview=true"):format(draft.id))
    assert.equal("bypass", preview.headers["x-cache"])
    assert.matches("the first text", preview.body)
    assert.is_nil(visit(("/?p=%d&preview=true"):format(draft.id)).body:find("the first text", 1,
      true))
    post = api("POST", "posts/" .. draft.id, { status = "publish" })
    for _, path in ipairs({ "/", "/feed/" }) do
      local res = visit(path)
      assert.equal("miss", res.headers["x-cache"], path)
      assert.matches("Second moon", res.body)
    end
    local path = path_of(post.link)
    assert.matches("the first text", kept(path).body)
    kept("/category/uncategorized/")
    api("POST", "posts/" .. post.id, { content = "the second text" })
    assert.matches("the second text", visit(path).body)
    assert.equal("miss", visit("/category/uncategorized/").headers["x-cache"])
    kept(path)
    local renamed = api("POST", "posts/" .. post.id, { slug = "third-moon" })
    assert.is_nil(visit(path).body:find("the second text", 1, true)) -- it leads to the new address
    assert.matches("the second text", kept(path_of(renamed.link)).body)
    post = renamed
    local gone = api("POST", "posts", { title = "For a moment", status = "publish" })
    assert.matches("For a moment", kept("/").body)
    api("DELETE", "posts/" .. gone.id)
    assert.is_nil(visit("/").body:find("For a moment", 1, true))
    assert.equal(404, visit(path_of(gone.link)).status)
  end)

  it("shows a comment to who wrote it, and once it is approved to all", function()
    local path = path_of(post.link)
    kept(path)
    local reader = browser.open(gate.address, gate.address)
    finally(function() reader:close() end)
    reader:post("/wp-comments-post.php", { comment = "what a moon", author = "sol",
      email = "sol@example.test", url = "", comment_post_ID = ("%d"):format(post.id),
      ["wp-comment-cookies-consent"] = "yes" })
    assert.truthy(reader:cookie_header():find("comment_author_", 1, true))
    local own = reader:get(path)
    assert.equal("bypass", own.headers["x-cache"])
    assert.equal("hit", visit(path).headers["x-cache"])
    assert.is_nil(visit(path).body:find("what a moon", 1, true))
    local held = api("GET", "comments?status=hold&context=edit")
    assert.equal(1, #held)
    api("POST", "comments/" .. held[1].id, { status = "approved" })
    assert.matches("what a moon", visit(path).body)
    assert.matches("what a moon", kept(path).body)
  end)

  it("shows a page with a password to who knows it", function()
    local hidden = api("POST", "posts", { title = "A secret", content = "the dark side",
      status = "publish", password = "luna" })
    local path = path_of(hidden.link)
    assert.is_nil(kept(path).body:find("the dark side", 1, true))
    local reader = browser.open(gate.address, gate.address)
    finally(function() reader:close() end)
    reader:exchange({ method = "POST", path = "/wp-login.php?action=postpass",
      body = http.form({ post_password = "luna" }),
      headers = { ["Content-Type"] = "application/x-www-form-urlencoded" } })
    local page = reader:get(path)
    assert.same({ "bypass" }, { page.headers["x-cache"] })
    assert.matches("the dark side", page.body)
    assert.is_nil(kept(path).body:find("the dark side", 1, true))
  end)

  it("shows a post at its time, by wp-cron.php", function()
    kept("/")
    local at = os.time() + 65 -- what is due within a minute is published at once
    local planned = api("POST", "posts", { title = "At its time", status = "future",
      date_gmt = os.date("!%Y-%m-%dT%H:%M:%S", at) })
    assert.equal("future", planned.status)
    assert.is_nil(visit("/").body:find("At its time", 1, true))
    -- The page that is kept is younger than ten minutes.
    assert.truthy(poll.try(function()
      assert.equal("bypass", visit("/wp-cron.php?doing_wp_cron").headers["x-cache"])
      return visit("/").body:find("At its time", 1, true)
    end, 65 + poll.PATIENCE))
  end)

  it("makes all pages anew for another title of the site", function()
    kept("/")
    local path = path_of(post.link)
    kept(path)
    api("POST", "settings", { title = "Another moon" })
    assert.matches("Another moon", visit("/").body)
    assert.matches("Another moon", visit(path).body)
  end)

  it("is told by `explain` and counted", function()
    local status = server.command({ "explain", gate.route_path, "http://localhost/2026/01/a/" })
    assert.matches("with the tags page:/2026/01/a", status.stdout)
    gate:wait_access("GET / HTTP")
  end)
end)
