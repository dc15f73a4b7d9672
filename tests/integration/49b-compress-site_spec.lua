-- compress with a real PHP-FPM, files, a web server in front and real clients.

local chromium = require("tests.support.chromium")
local coding = require("tests.support.coding")
local gateway = require("tests.support.gateway")
local http = require("tests.support.http")
local net = require("tests.support.net")
local php = require("tests.support.php")
local process = require("tests.support.process")
local server = require("tests.support.server")
local stage = require("tests.support.stage")

local TEXT = ("a line of a text that is worth it\n"):rep(3000)

local PAGES = {
  ["style.css"] = TEXT, ["large.txt"] = TEXT:rep(20), ["tiny.css"] = "a{}",
  ["picture.png"] = TEXT, ["404.html"] = "<h1>not here</h1>" .. TEXT,
  ["page.php"] = [[<?php
    if (($_SERVER['HTTP_IF_NONE_MATCH'] ?? '') === '"v1"') { http_response_code(304); }
    header('ETag: "v1"');
    if (http_response_code() != 304) { echo str_repeat("hello page\n", 2000); }]],
  ["own.php"] = [[<?php ini_set('zlib.output_compression', '1'); echo str_repeat("own ", 3000);]],
  ["file.php"] = [[<?php header('Content-Type: text/css');
    header('X-Accel-Redirect: /style.css');]],
  ["events.php"] = [[<?php header('Content-Type: text/event-stream');
    while (ob_get_level()) { ob_end_clean(); }
    for ($i = 0; $i < 3; $i++) { echo "data: $i\n\n"; flush(); usleep(100000); }]],
  -- Each event but the first one waits for a file of the test's, for a minute at most.
  ["steps.php"] = [[<?php header('Content-Type: text/event-stream');
    while (ob_get_level()) { ob_end_clean(); }
    for ($i = 0; $i < 3; $i++) {
      for ($n = 0; $i > 0 && $n < 6000 && !file_exists("$_GET[dir]/$i"); $n++) {
        usleep(10000); clearstatcache(); }
      echo "data: $i\n\n"; flush(); }]],
  ["index.html"] = [[<!DOCTYPE html><meta charset="utf-8"><title>page</title>
    <link rel="stylesheet" href="/style.css"><p id="p">]] .. TEXT .. [[</p><script>
    window.events = [];
    const source = new EventSource('/events.php');
    source.onmessage = (e) => { window.events.push(e.data); };
    source.onerror = () => { source.close(); window.over = true; };
    fetch('/page.php').then(async (r) => {
      window.encoding = r.headers.get('Content-Encoding'); window.text = await r.text(); });
    </script>]],
}

describe("a site with compress", function()
  local fpm, gate, web

  setup(function()
    web = "127.0.0.1:" .. net.free_port()
    local address = "127.0.0.1:" .. net.free_port()
    fpm = php.start({ pages = "tests/pages" })
    stage.write(fpm.root, PAGES)
    gate = server.start({ own = true, address = address, route = ([[
      local php = require("moongate.php")
      local site = php.site { root = %q, backend = "app", not_found = "/404.html",
        static = { [".txt"] = { compress = false } } }
      return { control = false, compress = true, watch = false, workers = 1,
        listen = { %q, { address = %q, protocol = "fastcgi" } }, backends = { app = %q },
        on_request = function(req)
          if req.path == "/large" then
            return { file = %q .. "/large.txt", compress = { encodings = "gzip" } }
          end
          return site(req)
        end }]]):format(fpm.root, address, web, fpm.address, fpm.root) })
  end)

  teardown(function()
    gate:stop()
    fpm:stop()
  end)

  local function get(path, accept, more)
    local headers = { ["Accept-Encoding"] = accept }
    for name, value in pairs(more or {}) do
      headers[name] = value
    end
    return http.request(gate.address, { path = path, headers = headers })
  end

  it("compresses pages of PHP, whose tags still work", function()
    local res = get("/page.php", "br")
    assert.equal("br", res.headers["content-encoding"])
    assert.equal(("hello page\n"):rep(2000), coding.text(res))
    assert.equal('W/"v1"', res.headers.etag)
    res = get("/page.php", "br", { ["If-None-Match"] = res.headers.etag })
    assert.equal(304, res.status)
    assert.equal('W/"v1"', res.headers.etag)
    assert.equal("Accept-Encoding", res.headers.vary)
    assert.equal(304, get("/page.php", "br", { ["If-None-Match"] = '"v1"' }).status)
    assert.equal('"v1"', get("/page.php", "br", { ["If-None-Match"] = '"v1"' }).headers.etag)
  end)

  it("does not compress what PHP has compressed", function()
    local res = get("/own.php", "gzip")
    assert.equal("gzip", res.headers["content-encoding"])
    assert.equal(("own "):rep(3000), coding.text(res))
  end)

  it("compresses files, but not their parts", function()
    local plain = get("/style.css", nil)
    assert.equal(TEXT, plain.body)
    assert.equal("Accept-Encoding", plain.headers.vary)
    assert.equal("bytes", plain.headers["accept-ranges"])
    for _, name in ipairs({ "gzip", "br", "zstd" }) do
      local res = get("/style.css", name)
      assert.equal(name, res.headers["content-encoding"])
      assert.equal(TEXT, coding.text(res))
      assert.equal("W/" .. plain.headers.etag, res.headers.etag)
      assert.is_nil(res.headers["accept-ranges"])
      assert.equal(plain.headers["last-modified"], res.headers["last-modified"])
      assert.equal(304, get("/style.css", name, { ["If-None-Match"] = res.headers.etag }).status)
      local part = get("/style.css", name, { Range = "bytes=0-9" })
      assert.equal(206, part.status)
      assert.equal(TEXT:sub(1, 10), part.body)
      assert.is_nil(part.headers["content-encoding"])
      part = get("/style.css", name, { Range = "bytes=0-9", ["If-Range"] = res.headers.etag })
      assert.equal(200, part.status)
      assert.equal(TEXT, coding.text(part))
    end
    local res = get("/large", "gzip")
    assert.equal("gzip", res.headers["content-encoding"])
    assert.equal(TEXT:rep(20), coding.text(res))
    assert.is_nil(get("/large", "br").headers["content-encoding"])
    local head = http.request(gate.address, { method = "HEAD", path = "/style.css",
      headers = { ["Accept-Encoding"] = "gzip" } })
    assert.equal("gzip", head.headers["content-encoding"])
    -- There is none, or that of what is kept.
    assert.not_equal(tostring(#TEXT), head.headers["content-length"])
  end)

  it("leaves small files, other types and what `static` excludes", function()
    for _, path in ipairs({ "/tiny.css", "/picture.png", "/large.txt" }) do
      assert.is_nil(get(path, "gzip").headers["content-encoding"], path)
    end
    assert.equal("Accept-Encoding", get("/tiny.css", "gzip").headers.vary)
    assert.is_nil(get("/picture.png", "gzip").headers.vary)
    assert.is_nil(get("/large.txt", "gzip").headers.vary)
  end)

  it("compresses the page for an error, and a file that PHP names", function()
    local res = get("/nothing", "zstd")
    assert.equal(404, res.status)
    assert.equal("zstd", res.headers["content-encoding"])
    assert.equal(PAGES["404.html"], coding.text(res))
    res = get("/file.php", "br")
    assert.equal("br", res.headers["content-encoding"])
    assert.equal(TEXT, coding.text(res))
  end)

  it("passes the coding on to a web server in front", function()
    local conn = gateway.open(web)
    local res = conn:request({ params = { REQUEST_URI = "/page.php",
      HTTP_ACCEPT_ENCODING = "gzip" } })
    conn:close()
    assert.equal("gzip", res.headers["content-encoding"])
    assert.equal("Accept-Encoding", res.headers.vary)
    assert.equal(("hello page\n"):rep(2000), (coding.decode("gzip", res.body)))
  end)

  it("is decoded by curl", function()
    if os.execute("command -v curl >/dev/null") ~= 0 then
      pending("curl is not installed")
      return
    end
    local result = process.run({ argv = { "curl", "-sS", "--compressed",
      ("http://%s/page.php"):format(gate.address) } })
    assert.equal(("hello page\n"):rep(2000), result.stdout)
  end)

  it("is read by a browser, events too", function()
    local page = chromium.open(("http://%s/"):format(gate.address))
    finally(function() page:close() end)
    page:wait("window.over === true")
    assert.same({ "0", "1", "2" }, page:eval("window.events"))
    page:wait("window.text", function(text)
      return text == ("hello page\n"):rep(2000)
    end)
    assert.truthy(({ gzip = true, br = true, zstd = true })[page:eval("window.encoding")])
    assert.same(#PAGES["index.html"]:match("id=\"p\">(.-)</p>"),
      page:eval("document.getElementById('p').textContent.length"))
  end)

  it("gets to a client what PHP has flushed, before the next", function()
    local client, dir, count = http.open(gate.address), process.tempdir("steps"), 0
    client:send({ path = "/steps.php?dir=" .. dir, headers = { ["Accept-Encoding"] = "gzip" } })
    local res = client:receive(nil, { on_piece = function() -- which lets the next event go
      count = count + 1
      process.write_file(("%s/%d"):format(dir, count), "")
    end })
    client:close()
    assert.equal("data: 0\n\ndata: 1\n\ndata: 2\n\n", coding.text(res))
    assert.is_true(count >= 3, "pieces: " .. count)
  end)
end)

describe("precompressed neighbours", function()
  local s, root

  -- Files whose dates are so many seconds before now.
  local function age(name, seconds)
    assert(os.execute(("touch -d '%d seconds ago' %s/%s"):format(seconds, root, name)) == 0)
  end

  setup(function()
    root = stage.files({
      ["app.css"] = TEXT, ["app.css.gz"] = "gz of app", ["app.css.br"] = "br of app",
      ["app.css.zst"] = "zst of app", ["old.css"] = TEXT, ["old.css.br"] = "br of old",
      ["old.css.gz"] = "gz of old", ["plain.css"] = TEXT, ["folder/index.html"] = TEXT,
      ["folder/index.html.gz"] = "gz of index", ["dir.css"] = TEXT, ["dir.css.gz/x"] = "",
      ["big.txt"] = TEXT, ["big.txt.gz"] = ("0123456789"):rep(10000), ["away.css"] = TEXT,
      ["secret/.hidden"] = "hidden",
    })
    assert(os.execute(("ln -s secret/.hidden %s/away.css.gz"):format(root)) == 0)
    for _, name in ipairs({ "app.css", "app.css.gz", "app.css.br", "app.css.zst", "old.css.gz",
      "big.txt", "big.txt.gz", "folder/index.html", "folder/index.html.gz" }) do
      age(name, 100)
    end
    age("old.css", 50)
    age("old.css.br", 51)
    s = server.start({ route = ([[
      local php = require("moongate.php")
      local site = php.site { root = %q, backend = "down", static = { precompressed = true,
        [".txt"] = { precompressed = false } } }
      return { control = false, compress = true, backends = { down = "unix:/nonexistent/x.sock" },
        on_request = function(req)
          if req.host == "site" then return site(req) end
          return { root = %q, precompressed = req.host ~= "off" or nil, compress = false }
        end }]]):format(root, root) })
  end)

  teardown(function() s:stop() end)

  local function get(path, accept, more)
    local request = { path = path, headers = { ["Accept-Encoding"] = accept } }
    for key, value in pairs(more or {}) do
      request[key] = value
    end
    return http.request(s.address, request)
  end

  it("take the place of a file, by the client's weights", function()
    local tags = {}
    for _, case in ipairs({
      { "gzip, br, zstd", "zst of app", "zstd" }, { "gzip, br", "br of app", "br" },
      { "gzip", "gz of app", "gzip" }, { "gzip;q=1, zstd;q=0.5", "gz of app", "gzip" },
      { "*;q=0.5, br;q=0", "zst of app", "zstd" }, { "identity", TEXT }, { nil, TEXT },
    }) do
      local res = get("/app.css", case[1])
      assert.equal(case[2], res.body)
      assert.equal(case[3], res.headers["content-encoding"])
      assert.equal("text/css; charset=utf-8", res.headers["content-type"])
      assert.equal("Accept-Encoding", res.headers.vary)
      assert.equal("bytes", res.headers["accept-ranges"])
      local former = tags[res.headers.etag]
      assert.is_true(former == nil or former == (case[3] or ""))
      tags[res.headers.etag] = case[3] or ""
      local again = get("/app.css", case[1], { headers = { ["Accept-Encoding"] = case[1],
        ["If-None-Match"] = res.headers.etag } })
      assert.equal(304, again.status)
      assert.equal(res.headers.etag, again.headers.etag)
      assert.equal("Accept-Encoding", again.headers.vary)
    end
    assert.equal("gz of index", get("/folder/", "gzip").body)
    assert.truthy(get("/folder/", "gzip").headers["content-type"]:find("^text/html"))
  end)

  it("are passed over where they are older, no files, or hidden", function()
    assert.equal("identity", get("/old.css", "br").headers["content-encoding"] or "identity")
    assert.equal(TEXT, get("/old.css", "br, gzip").body)
    age("old.css.gz", 50)
    age("old.css", 60)
    age("old.css.br", 61)
    assert.equal("gz of old", get("/old.css", "br, gzip").body)
    for _, path in ipairs({ "/plain.css", "/dir.css", "/away.css" }) do
      assert.equal(TEXT, get(path, "gzip, br, zstd").body)
      assert.equal("Accept-Encoding", get(path, "gzip").headers.vary)
    end
  end)

  it("have ranges and heads of their own", function()
    local res = get("/big.txt", "gzip", { headers = { ["Accept-Encoding"] = "gzip",
      Range = "bytes=10-14" } })
    assert.equal(206, res.status)
    assert.equal("01234", res.body)
    assert.equal("gzip", res.headers["content-encoding"])
    assert.equal("bytes 10-14/100000", res.headers["content-range"])
    local head = get("/big.txt", "gzip", { method = "HEAD" })
    assert.equal("100000", head.headers["content-length"])
    assert.equal("gzip", head.headers["content-encoding"])
  end)

  it("are there only where they were asked for", function()
    local res = get("/app.css", "gzip", { host = "off" })
    assert.equal(TEXT, res.body)
    assert.is_nil(res.headers.vary)
    assert.equal(TEXT, get("/app.css", "gzip", { version = "1.0" }).body)
    assert.equal("gz of app", get("/app.css", "gzip", { host = "site" }).body)
    res = get("/plain.css", "gzip", { host = "site" })
    assert.equal(TEXT, coding.text(res))
    assert.equal("gzip", res.headers["content-encoding"])
    assert.equal(TEXT, coding.text(get("/big.txt", "gzip", { host = "site" })))
  end)
end)
