-- Specs of moongate.decision.

local decision = require("moongate.decision")

describe("decision.kind", function()
  it("goes by the key that makes the kind", function()
    for kind, list in pairs({
      fastcgi = { { backend = "app", root = "/srv" } },
      file = { { root = "/srv" }, { file = "/x" }, { root = "/srv", headers = {} } },
      reply = { { status = 404 }, { body = "x" }, { status = 200, headers = {} } },
      redirect = { { redirect = "/" }, { redirect = "/", status = 301 } },
      close = { { close = true } },
    }) do
      for _, d in ipairs(list) do
        assert.equal(kind, (decision.kind(d)))
      end
    end
    assert.is_nil((decision.kind({})))
    assert.is_nil((decision.kind("x")))
    assert.is_nil((decision.kind(nil)))
  end)
end)

describe("decision.problem", function()
  it("finds nothing wrong with valid decisions", function()
    for _, d in ipairs({
      { backend = "app" },
      {
        backend = "app", root = "/srv", docroot = "/app", within = { "/srv", "/mnt" },
        script = "/x.php", path_info = "/y", strip = "/wiki",
        params = { A = "b", C = 1, D = false },
        server = "10.0.0.1:9000", tenant = "acme", attempts = 1, connect_timeout = "1s",
        send_timeout = 5, read_timeout = "2m", body_limit = "10M", request_buffering = false,
        role = "responder", response_buffering = false, first_byte_timeout = "10s",
        deadline = "30s", body_deadline = 60,
        request_file = false, flush = "headers",
      },
      {
        backend = "app", hash_key = "cart 7", intercept_errors = { 404, 500 },
        response_buffering = true, ini = { memory_limit = "1G" },
        internal = { ["/protected/"] = "/srv/private" },
      },
      { backend = "app", intercept_errors = true },
      { backend = "app", script_filename = "/opt/x.php" },
      { root = "/srv", path = "/x", index = { "index.html" }, within = "/mnt", try = { "$path" } },
      { root = "/srv", index = "index.html", cache_control = "max-age=60", headers = { A = "b" } },
      { file = "/srv/x.css", headers = { ["X-A"] = { "1", "2" }, B = 5 } },
      { root = "/srv", try = { "$path", { status = 404 } } },
      { status = 200, headers = { ["Content-Type"] = "text/plain" }, body = "hi\n" },
      { body = "" },
      { redirect = "https://example.test/", status = 308, headers = { A = "b" } },
      { backend = "app", compress = true }, { file = "/a", compress = false },
      { root = "/srv", precompressed = true },
      { body = "", compress = { levels = { gzip = 9 }, min = 0 } },
      { close = true },
    }) do
      assert.is_nil(decision.problem(d))
    end
  end)

  for _, case in ipairs({
    { "x", 'expected a decision (a table) or nil, got "x"' },
    { true, "expected a decision (a table) or nil, got true" },
    { {}, "an empty table is no decision" },
    { { backnd = "app" }, "unknown key 'backnd' in a decision; did you mean 'backend'?" },
    { { backend = "app", docrot = "/x" },
      "unknown key 'docrot' in a decision; did you mean 'docroot'?" },
    { { status = 200, bodi = "" }, "unknown key 'bodi' in a decision; did you mean 'body'?" },
    { { 404 }, "unknown key '1' in a decision" },
    { { path = "/x" }, "'path' alone is no decision: it needs 'backend', 'root', 'file', "
      .. "'status', 'redirect' or 'close' beside it" },
    { { backend = "app", status = 200 },
      "'status' does not go with 'backend', which makes this a FastCGI decision" },
    { { backend = "app", redirect = "/" },
      "'redirect' does not go with 'backend', which makes this a FastCGI decision" },
    { { root = "/srv", status = 200 },
      "status: expected a whole number from 400 to 599, got 200" },
    { { root = "/srv", body = "x" },
      "'body' does not go with 'root', which makes this a file decision" },
    { { root = "/srv", script = "/x.php" },
      "'script' does not go with 'root', which makes this a file decision" },
    { { redirect = "/", body = "x" },
      "'body' does not go with 'redirect', which makes this a redirect decision" },
    { { close = true, status = 400 },
      "'status' does not go with 'close', which makes this a close decision" },
    { { file = "/x", root = "/srv" },
      "'file' names the whole path; 'root', 'path' and 'try' do not go with it" },
    { { backend = 1 }, "backend: expected a text, got 1" },
    { { backend = "app", root = "srv" },
      'root: expected an absolute path such as "/srv/www", got "srv"' },
    { { backend = "app", root = "/s\0" },
      'root: expected an absolute path such as "/srv/www", got "/s?"' },
    { { backend = "app", within = {} },
      "within: the list is empty" },
    { { backend = "app", within = { "/a", "b" } }, "within: 'b' is not an absolute path" },
    { { backend = "app", within = "x" },
      'within: expected an absolute path or a list of them, got "x"' },
    { { backend = "app", script = "x.php" },
      'script: expected a path that begins with "/", got "x.php"' },
    { { backend = "app", read_timeout = "5x" },
      'read_timeout: expected a duration such as 5, "250ms", "2m" or "1h", above zero, got "5x"' },
    { { backend = "app", first_byte_timeout = 0 },
      'first_byte_timeout: expected a duration such as 5, "250ms", "2m" or "1h", '
        .. "above zero, got 0" },
    { { backend = "app", flush = 0 },
      'flush: expected true, false, "headers" or a size such as 4096 or "16k", above zero, got 0' },
    { { backend = "app", flush = "head" },
      'flush: expected true, false, "headers" or a size such as 4096 or "16k", above zero, '
        .. 'got "head"' },
    { { backend = "app", request_file = 1 },
      'request_file: expected true, false or a folder such as "/srv/spool", got 1' },
    { { backend = "app", request_file = "/srv/../etc" },
      "request_file: '/srv/../etc' has" },
    { { backend = "app", request_file = true, request_buffering = false },
      "request_file: the body is kept in a file first, which is what 'request_buffering = false' "
        .. "forbids" },
    { { backend = "app", compress = { level = 5 } },
      "compress: unknown key 'level'; did you mean 'levels'?" },
    { { root = "/srv", precompressed = 1 }, "precompressed: expected true or false, got 1" },
    { { close = true, compress = true },
      "'compress' does not go with 'close', which makes this a close decision" },
    { { backend = "app", deadline = 0 },
      'deadline: expected a duration such as 5, "250ms", "2m" or "1h", above zero, got 0' },
    { { backend = "app", body_deadline = "soon" },
      'body_deadline: expected a duration such as 5, "250ms", "2m" or "1h", above zero, '
        .. 'got "soon"' },
    { { file = "/a", deadline = 1 },
      "'deadline' does not go with 'file', which makes this a file decision" },
    { { backend = "app", read_timeout = 0 },
      'read_timeout: expected a duration such as 5, "250ms", "2m" or "1h", above zero, got 0' },
    { { backend = "app", body_limit = -1 },
      'body_limit: expected a size such as 4096, "16k", "1M" or "1G", got -1' },
    { { backend = "app", attempts = 0 },
      "attempts: expected a whole number from 1 to 100, got 0" },
    { { backend = "app", request_buffering = 1 },
      "request_buffering: expected true or false, got 1" },
    { { backend = "app", server = "x" }, "server: expected an address such as" },
    { { backend = "app", params = 1 },
      "params: expected a table from name to text, number or false, got 1" },
    { { backend = "app", params = { A = true } },
      "params: 'A': expected a text, a number or false, got true" },
    { { backend = "app", params = { A = {} } },
      "params: 'A': expected a text, a number or false, got a table" },
    { { backend = "app", params = { "x" } },
      "params: the keys are names of params, as in { APP_ENV = \"test\" }; there is one without" },
    { { backend = "app", params = { PHP_VALUE = "x" } },
      "params: 'PHP_VALUE' is refused: PHP-FPM's processes keep such settings for the next "
      .. "request, whosever that is; 'ini' of the backend and the decision sets them safely" },
    { { backend = "app", params = { PHP_ADMIN_VALUE = "x" } },
      "params: 'PHP_ADMIN_VALUE' is refused: " },
    { { backend = "app", params = { CONTENT_LENGTH = "1" } },
      "params: 'CONTENT_LENGTH' cannot be changed: it is the number of bytes that follow" },
    { { root = "/srv", index = { "a/b" } }, "index: 'a/b' is not the name of a file" },
    { { root = "/srv", index = {} }, "index: the list is empty" },
    { { root = "/srv", index = { 1 } }, "index: expected a list of file names" },
    { { root = "/srv", cache_control = "a\nb" },
      "cache_control: a control character in 'a?b'" },
    { { root = "/srv", cache_control = true }, "cache_control: expected a text, got true" },
    { { root = "/srv", cache_control = 5 }, "cache_control: expected a text, got 5" },
    { { root = "/srv", try = {} }, "try: the list is empty" },
    { { root = "/srv", try = 1 }, "try: expected a list of paths" },
    { { root = "/srv", try = { "$path", { statsu = 404 } } }, "try: in the decision at its end: "
      .. "unknown key 'statsu' in a decision; did you mean 'status'?" },
    { { root = "/srv", try = { {}, "x" } }, "try: expected a list of paths" },
    { { status = 99 }, "status: expected a whole number from 200 to 599, got 99" },
    { { status = "404" }, 'status: expected a whole number from 200 to 599, got "404"' },
    { { status = 200.5 }, "status: expected a whole number from 200 to 599, got 200.5" },
    { { status = 200, body = 1 }, "body: expected a text, got 1" },
    { { status = 200, headers = 1 }, "headers: expected a table of headers, got 1" },
    { { status = 200, headers = { "a" } }, "headers: the keys are names of headers, as in" },
    { { status = 200, headers = { B = "c", ["a b"] = "c" } },
      "headers: 'a b' cannot be the name of a header" },
    { { status = 200, headers = { A = "b\r\nC: d" } },
      "headers: 'A': a control character in 'b??C: d'" },
    { { status = 200, headers = { A = { "b", "\n" } } },
      "headers: 'A': a control character in '?'" },
    { { status = 200, headers = { A = true } },
      "headers: 'A': expected a text or a list of them, got true" },
    { { redirect = "" }, 'redirect: expected a URL or a path, got ""' },
    { { redirect = "/a\nb" }, 'redirect: expected a URL or a path, got "/a?b"' },
    { { redirect = 1 }, "redirect: expected a URL or a path, got 1" },
    { { redirect = "/", status = 200 },
      "status: expected a whole number from 300 to 399, got 200" },
    { { close = false }, "close: expected true, got false" },
    { { backend = "app", role = "respnder" },
      'role: expected "responder", "authorizer" or "filter", got "respnder"' },
    { { backend = "app", response_buffering = "no" },
      'response_buffering: expected true or false, got "no"' },
    { setmetatable({}, { __call = print }),
      "this is a router, and it was not asked: say `return r(req)`" },
    { { backend = "app", data = "/a.txt" },
      "data: it is for filters, which 'role = \"filter\"' asks" },
    { { backend = "app", role = "filter", data = "a.txt" },
      'data: expected a path that begins with "/", got "a.txt"' },
    { { backend = "app", authorize = {} }, "authorize: 'backend' is missing: who is asked?" },
    { { root = "/srv", authorize = "auth" },
      'authorize: expected a decision such as { backend = "auth" }, got "auth"' },
    { { root = "/srv", authorize = setmetatable({}, { __index = { backend = "auth" } }) },
      "authorize: its metatable has __index: the keys of a decision are its own" },
    { { status = 200, authorize = { backend = "auth", headers = {} } },
      "authorize: unknown key 'headers'" },
    { { redirect = "/x", authorize = { backend = "auth", script = "x" } },
      "authorize: script: expected a path that begins with \"/\", got \"x\"" },
    { { close = true, authorize = { backend = "auth" } },
      "'authorize' does not go with 'close', which makes this a close decision" },
    { { backend = "app", authorize_key = "x" }, "'authorize' is missing: who is asked?" },
    { { backend = "app", authorize_ttl = 5 }, "'authorize' is missing: who is asked?" },
    { { backend = "app", authorize = { backend = "auth" }, authorize_key = "x" },
      "authorize_key: 'authorize_ttl' is missing: for how long does a grant hold?" },
    { { backend = "app", authorize = { backend = "auth" }, authorize_ttl = 0 },
      "authorize_ttl: expected " },
    { { backend = "app", hash_key = 5 }, "hash_key: expected a text, got 5" },
    { { backend = "app", internal = "/x" },
      "internal: expected a table from prefix to folder such" },
    { { backend = "app", internal = { ["/x"] = "srv" } },
      "internal: '/x': expected an absolute path such as \"/srv/private\"" },
    { { backend = "app", ini = "x=y" }, "ini: expected a table from setting to value such as" },
    { { backend = "app", ini = { extension = "x" } }, "ini: 'extension' is refused: " },
    { { backend = "app", ini = { a = "it's" } }, "ini: 'a': a single quote in its value" },
    { { root = "/srv", ini = {} },
      "'ini' does not go with 'root', which makes this a file decision" },
    { { backend = "app", intercept_errors = false },
      "intercept_errors: expected true, or a list of statuses from 400 to 599, got false" },
    { { backend = "app", intercept_errors = {} }, "intercept_errors: the list is empty" },
    { { backend = "app", intercept_errors = { 404, 399 } },
      "intercept_errors: expected true, or a list of statuses from 400 to 599, got 399 in it" },
    { { backend = "app", intercept_errors = { [404] = true } },
      "intercept_errors: the list is empty" },
    { { backend = "app", intercept_errors = { 404, x = 500 } },
      "intercept_errors: expected true, or a list of statuses from 400 to 599, got " },
  }) do
    it("says: " .. case[2]:gsub("%c", "?"), function()
      assert.equal(case[2], (decision.problem(case[1]) or "nothing"):sub(1, #case[2]))
    end)
  end

  it("checks the backend's name where it knows the settings", function()
    local settings = { backends = { { name = "php82" }, { name = "php74" } } }
    assert.is_nil(decision.problem({ backend = "php82" }, settings))
    assert.equal("there is no backend 'php81'; did you mean 'php82'?",
      decision.problem({ backend = "php81" }, settings))
    assert.equal("there is no backend 'ruby'", decision.problem({ backend = "ruby" }, settings))
    assert.equal("there is no backend 'ruby'",
      decision.problem({ root = "/", try = { "$path", { backend = "ruby" } } }, settings))
    assert.is_nil(decision.problem({ root = "/", try = { "$path", { status = 404 } } }, settings))
  end)
end)
