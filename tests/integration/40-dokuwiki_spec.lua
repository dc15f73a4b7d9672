-- A real application, DokuWiki as Debian packages it, below /wiki of a site, by examples/dokuwiki:
-- installed by its own installer page, then read, edited and given a picture the way a browser does
-- it.

local browser = require("tests.support.browser")
local dokuwiki = require("tests.support.dokuwiki")
local http = require("tests.support.http")
local php = require("tests.support.php")
local poll = require("tests.support.poll")
local process = require("tests.support.process")
local server = require("tests.support.server")

local PASSWORD = "over the moon"

local PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwAD"
  .. "hgGAWjR9awAAAABJRU5ErkJggg=="

-- A PNG of one pixel with a long comment in it, so that it is larger than any buffer on its way.
-- (A comment's checksum is only looked at by programs that draw it.)
local function picture()
  local tiny = process.run({ argv = { "base64", "-d" }, input = PIXEL }).stdout
  local text = "Comment\0" .. ("moongate "):rep(30000)
  local length = #text
  local size = string.char(0, math.floor(length / 65536), math.floor(length / 256) % 256,
    length % 256)
  local ending = tiny:find("IEND", 1, true) - 4
  return tiny:sub(1, ending - 1) .. size .. "tEXt" .. text .. "\0\0\0\0" .. tiny:sub(ending)
end

describe("DokuWiki", function()
  local site, fpm, gate, visitor, author

  setup(function()
    site = dokuwiki.prepare(php.program(), php.user())
    fpm = php.start({ root = site.root, extensions = site.extensions })
    gate = server.start({
      folder = "examples/dokuwiki",
      route = "route.lua",
      env = { MOONGATE_PHP = fpm.address, DOKUWIKI = site.dir },
    })
    visitor = browser.open(gate.address)
    author = browser.open(gate.address)
  end)

  teardown(function()
    visitor:close()
    author:close()
    gate:stop()
    fpm:stop()
  end)

  -- The steps build on each other, as they do for the person in front of the browser.

  it("shows its installer, where it has one, and is installed", function()
    local page = author:get("/wiki/install.php")
    if not site.installer then
      assert.equal(404, page.status)
      dokuwiki.configure(site, {
        title = "Moon & Gate", name = "luna", full = "Luna Gate", email = "luna@localhost",
        password = PASSWORD,
      })
      return
    end
    assert.equal(200, page.status)
    assert.truthy(page.body:find("<title>DokuWiki Installer</title>", 1, true))
    local form = browser.form(page.body, "method=\"post\"")
    form["d[title]"] = "Moon & Gate"
    form["d[superuser]"] = "luna"
    form["d[fullname]"] = "Luna Gate"
    form["d[email]"] = "luna@localhost"
    form["d[password]"], form["d[confirm]"] = PASSWORD, PASSWORD
    form["d[policy]"] = "1"
    form["d[pop]"] = nil
    form.submit = "1"
    local done = author:post("/wiki/install.php", form)
    assert.equal(200, done.status)
    assert.truthy(done.body:find("configuration was finished successfully", 1, true), done.body)
  end)

  it("leads a visitor from / to its first page", function()
    local page = visitor:get("/")
    assert.equal(200, page.status)
    assert.truthy(page.redirects >= 2)
    assert.truthy(visitor.url:find("^/wiki/doku%.php"))
    assert.truthy(page.body:find("This topic does not exist yet", 1, true))
    assert.truthy(page.body:find("Moon &amp; Gate", 1, true))
  end)

  it("shows a page that came with it, by PATH_INFO", function()
    -- Not wiki/syntax: its feed is more than Debian 13's packages can show.
    local page = visitor:get("/wiki/doku.php/wiki/dokuwiki")
    assert.equal(200, page.status)
    assert.truthy(page.body:find("to unleash the full power of DokuWiki", 1, true))
    assert.truthy(page.body:find("href=\"/wiki/doku.php/wiki/dokuwiki?do=edit", 1, true)
      or page.body:find("/wiki/doku.php/wiki/dokuwiki?do=edit", 1, true)
      or page.body:find("/wiki/doku.php/wiki/dokuwiki?do=", 1, true))
    assert.is_nil(page.body:find("/wiki/wiki/doku.php", 1, true))
  end)

  it("has everything that its pages ask for", function()
    local page = visitor:get("/wiki/doku.php/wiki/syntax").body
    local seen = 0
    for url in page:gmatch("%s[hs]r[ec]f?=\"(/wiki/lib/[^\"]+)\"") do
      -- Pictures of other sites would be fetched from there.
      if not url:find("media=http", 1, true) then
        local res = visitor:get(browser.unescape(url))
        assert.equal(200, res.status, url)
        assert.truthy(#res.body > 0, url)
        seen = seen + 1
      end
    end
    assert.truthy(seen >= 5, seen .. " links to /wiki/lib/")
    assert.equal("text/css", visitor:get("/wiki/lib/exe/css.php?t=dokuwiki")
      .headers["content-type"]:match("^[^;]+"))
    local image = visitor:get("/wiki/lib/tpl/dokuwiki/images/logo.png")
    assert.equal("image/png", image.headers["content-type"])
    assert.equal("\137PNG", image.body:sub(1, 4))
  end)

  it("sends style sheets again only when they have changed", function()
    local first = visitor:get("/wiki/lib/exe/css.php?t=dokuwiki")
    local again = visitor:get("/wiki/lib/exe/css.php?t=dokuwiki", {
      ["If-None-Match"] = first.headers["etag"],
      ["If-Modified-Since"] = first.headers["last-modified"],
    })
    assert.equal(304, again.status)
    assert.equal("", again.body)
  end)

  it("refuses sources, data and configuration", function()
    for _, path in ipairs({
      "/wiki/inc/init.php", "/wiki/inc/lang/en/install.html", "/wiki/bin/dwpage.php",
      "/wiki/vendor/autoload.php", "/wiki/inc/../inc/init.php", "/wiki//inc/init.php",
    }) do
      assert.equal(403, http.get(gate.address, path).status, path)
    end
    for _, path in ipairs({
      "/wiki/data/pages/wiki/syntax.txt", "/wiki/conf/mime.conf", "/wiki/conf/dokuwiki.php",
    }) do
      local res = http.get(gate.address, path)
      assert.truthy(res.status == 403 or res.status == 404, path .. " gave " .. res.status)
    end
    assert.equal(404, http.get(gate.address, "/etc/passwd").status)
  end)

  it("does not let a visitor edit", function()
    local page = visitor:get("/wiki/doku.php/moon?do=edit")
    assert.is_nil(page.body:find("name=\"do[save]\"", 1, true))
  end)

  it("knows its author after the login", function()
    local form = browser.form(author:get("/wiki/doku.php/start?do=login").body, "dw__login")
    form.u, form.p = "luna", PASSWORD
    local page = author:post("/wiki/doku.php/start?do=login", form)
    assert.equal(200, page.status)
    assert.truthy(page.body:find("Luna Gate", 1, true))
    assert.truthy(author.cookies.DokuWiki)
  end)

  local function edit(text, summary)
    local page = author:get("/wiki/doku.php/moon?do=edit")
    local form = browser.form(page.body, "dw__editform")
    form.wikitext, form.summary, form["do[save]"] = text, summary, "1"
    local saved = author:post("/wiki/doku.php/moon", form)
    assert.equal(200, saved.status)
    return saved
  end

  it("saves a page", function()
    local text = "====== The moon ======\n\nGr\195\188\195\159e & **bold** text, 100%.\n"
    local saved = edit(text, "new")
    assert.truthy(saved.redirects >= 1)
    assert.equal("/wiki/doku.php/moon", (author.url:gsub("%?.*$", "")))
    for _, page in ipairs({ saved, visitor:get("/wiki/doku.php/moon") }) do
      assert.truthy(page.body:find("The moon</h1>", 1, true))
      assert.truthy(page.body:find("Gr\195\188\195\159e &amp; <strong>bold</strong> text", 1, true))
    end
  end)

  it("saves a long change and keeps the old version", function()
    -- A version is named by its second.
    local first = os.time()
    poll.wait(function()
      return os.time() > first
    end, "the next second")
    local long = {}
    for i = 1, 4000 do
      long[i] = ("  * crater number %d"):format(i)
    end
    edit("====== The moon ======\n\n" .. table.concat(long, "\n") .. "\n", "craters")
    local page = visitor:get("/wiki/doku.php/moon")
    assert.truthy(page.body:find("crater number 4000", 1, true))
    local source = visitor:get("/wiki/doku.php/moon?do=export_raw")
    assert.equal("text/plain", source.headers["content-type"]:match("^[^;]+"))
    assert.truthy(source.body:find("crater number 2000\n", 1, true))
    local history = author:get("/wiki/doku.php/moon?do=revisions").body
    assert.truthy(history:find("craters", 1, true))
    local old = history:match("moon%?rev=(%d+)")
    assert.truthy(visitor:get("/wiki/doku.php/moon?rev=" .. old).body:find("<strong>bold", 1, true))
  end)

  it("takes a picture and shows it", function()
    local content = picture()
    local page = author:get("/wiki/lib/exe/mediamanager.php?ns=wiki")
    local form = browser.form(page.body, "dw__upload")
    local parts = {}
    for name, value in pairs(form) do
      parts[#parts + 1] = { name = name, content = value }
    end
    parts[#parts + 1] = {
      name = "upload", filename = "gate.png", type = "image/png", content = content,
    }
    local done = author:upload("/wiki/lib/exe/mediamanager.php?ns=wiki", parts)
    assert.equal(200, done.status)
    assert.truthy(done.body:find("gate.png", 1, true))

    local fetched = visitor:get("/wiki/lib/exe/fetch.php/wiki/gate.png")
    assert.equal(200, fetched.status)
    assert.equal("image/png", fetched.headers["content-type"])
    assert.equal(#content, #fetched.body)
    assert.True(content == fetched.body)

    edit("====== The moon ======\n\n{{wiki:gate.png|A gate}}\n", "picture")
    local shown = visitor:get("/wiki/doku.php/moon").body
    local url = shown:match("<img src=\"([^\"]*gate%.png[^\"]*)\"")
    assert.True(visitor:get(browser.unescape(url)).body == content)
  end)

  it("answers its own background requests", function()
    local found = visitor:post("/wiki/lib/exe/ajax.php", { call = "qsearch", q = "moon" })
    assert.equal(200, found.status)
    local index = visitor:get("/wiki/lib/exe/taskrunner.php?id=moon")
    assert.equal("image/gif", index.headers["content-type"])
    local feed = visitor:get("/wiki/feed.php")
    assert.equal(200, feed.status)
    assert.truthy(feed.headers["content-type"]:find("xml", 1, true))
    assert.truthy(feed.body:find("picture", 1, true))
  end)

  it("forgets its author after the logout", function()
    local form = browser.form(author:get("/wiki/doku.php/moon?do=edit").body, "dw__editform")
    local page = author:get("/wiki/doku.php/moon?do=logout&sectok=" .. form.sectok)
    assert.is_nil(page.body:find("Logged in as", 1, true))
    page = author:get("/wiki/doku.php/moon?do=edit")
    assert.is_nil(page.body:find("name=\"do[save]\"", 1, true))
  end)
end)
