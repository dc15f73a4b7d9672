-- Specs of moongate.cli.explain. Params and requests are made by core/, so those here are fakes.

local program = require("support.program")

describe("moongate explain", function()
  local core
  before_each(function()
    core = program.core()
    core.existing = {
      ["/srv"] = "directory", ["/srv/index.php"] = "file", ["/srv/dir.php"] = "directory",
      ["/srv/x.css"] = "file", ["/srv/link"] = "file", ["/srv/sub"] = "directory",
      ["/srv/sub/"] = "directory", ["/srv/sub/b.html"] = "file",
    }
    core.outside = {}
    function core.realpath(path)
      return core.outside[path] and "/etc/passwd" or path
    end
    function core.probe(root, path)
      if core.outside[root .. path] then
        return nil, "outside"
      end
      return core.existing[root .. path]
    end
    function core.request(opts)
      core.requested = opts
      if opts.url:find(" ", 1, true) then
        return nil, 400, "bad target"
      end
      local host
      for _, header in ipairs(opts.headers) do
        host = header[1]:lower() == "host" and header[2] or host
      end
      return { method = opts.method, path = opts.url:match("^[^?]*"), host = host }
    end
    function core.params(_, d, script, path_info, settings)
      assert(settings.hooks)
      local root = d.docroot or d.root or "/app"
      local values = {
        SCRIPT_NAME = script, PATH_INFO = path_info, DOCUMENT_ROOT = root,
        SCRIPT_FILENAME = d.script_filename or root .. script,
      }
      return setmetatable({}, {
        __index = function(_, name)
          if name == "each" then
            return function()
              return pairs(values)
            end
          end
          return values[name]
        end,
        __newindex = function(_, name, value)
          values[name] = value
        end,
      })
    end
    function core.resolve_file(d, path)
      local file = d.file or (d.root .. path):gsub("^//", "/")
      return {
        file = file, root = d.root, exists = not core.outside[file] and core.existing[file] or nil,
      }
    end
  end)

  local function explain(text, ...)
    return program.run_script(core, "explain", text, ...)
  end

  local APP = 'backends = { app = { "unix:/run/a.sock", "10.0.0.1:9000" } },\n'

  --- A route whose on_request returns this decision.
  local function route(decision, more)
    return "return {\n" .. APP .. (more or "") .. "on_request = function(req) return "
      .. decision .. " end }"
  end

  it("explains a script that is there", function()
    local status, stdout, stderr, path =
      explain(route('{ backend = "app", root = "/srv", docroot = "/app" }'), "/index.php/x?y=1")
    assert.equal("", stderr)
    assert.equal(0, status)
    for _, line in ipairs({
      "steps\n  on_request at " .. path .. ":3\n",
      "\n  looked for /srv/index.php: file (" .. path .. ":3)\n",
      "\n  split: script /index.php, path info /x (" .. path .. ":3)\n",
      "\n  mapped: root /srv here is /app for the backend (" .. path .. ":3)\n",
      '\ndecision\n  backend  "app"\n',
      "\nbackend\n  app: unix:/run/a.sock, 10.0.0.1:9000\n",
      "\n  SCRIPT_FILENAME  /app/index.php   <- docroot of the decision, and the script\n",
      "\n  file             /srv/index.php\n",
      "\nverdict\n  ok\n",
    }) do
      assert.is_truthy(stdout:find(line, 1, true), line .. "is not in\n" .. stdout)
    end
  end)

  --- The verdict about a decision.
  local function verdict(decision, ...)
    local _, stdout = explain(route(decision), ...)
    return stdout:match("\nverdict\n  (.*)\n$")
  end

  it("foresees what PHP-FPM will say", function()
    assert.matches("^PHP%-FPM answers 404 .*: /srv/a/b.php is not there, the nearest folder that "
      .. "is there is /srv$", verdict('{ backend = "app", root = "/srv" }', "/a/b.php"))
    assert.matches("^PHP%-FPM answers 403 .*limit_extensions",
      verdict('{ backend = "app", root = "/srv" }', "/x.css"))
    assert.matches("^PHP%-FPM answers 403 .*the script is a folder",
      verdict('{ backend = "app", root = "/srv" }', "/dir.php"))
    assert.matches("^no local root", verdict('{ backend = "app" }', "/x.php"))
    assert.equal("ok",
      verdict('{ backend = "app", script_filename = "/srv/index.php" }', "/x"))
    core.readable = function()
      return nil, "Permission denied"
    end
    assert.matches("is there, but the user '.*' cannot read it",
      verdict('{ backend = "app", root = "/srv" }', "/index.php"))
  end)

  it("says under which conditions the request runs, with the line of each", function()
    local text = [[
return {

limits = { script_memory = "64M", body_deadline = "1500ms" },
backends = { app = { servers = { "10.0.0.1:9000" }, deadline = "10s" } },
script_errors = { on_request = { backend = "app" },
on_params = "open", on_response = "fail" },
on_params = function() end, on_response = function() end,
on_stderr = function() end,
on_request = function(req)
  if req.path == "/fail" then error("oh") end
  return { backend = "app", flush = req.path == "/16k" and "16k" or false,
    deadline = req.path == "/16k" and 2.5 or nil }
end }]]
    local _, stdout, _, path = explain(text, "/x.php")
    for _, line in ipairs({
      "limits.script_memory: the script may hold 64 MB in each worker; a hook that needs more "
        .. "fails (%s:3)",
      "script_errors: where on_request fails, the response is that of { backend = \"app\" } (%s:5)",
      "script_errors: where on_params fails, the request goes on without it (%s:6)",
      "script_errors: where on_response fails, the response is 500 (%s:6)",
      "deadline: 10s for the whole request, from its first byte to the end of the response; "
        .. "then 504, or 408 while the body is coming (%s:4)",
      "body_deadline: 1500ms for the body of the request; then 408 (%s:3)",
      "flush: the response leaves when it is complete, or once 256 KB of it wait (%s:9)",
      "on_stderr: its decision replaces the response while nothing of that has left, at %s:8",
    }) do
      line = "\n  " .. line:format(path) .. "\n"
      assert.is_truthy(stdout:find(line, 1, true), line .. "is not in\n" .. stdout)
    end
    _, stdout = explain(text, "/16k")
    assert.is_truthy(stdout:find("\n  deadline: 2500ms for the whole", 1, true), stdout)
    assert.is_truthy(stdout:find("\n  flush: the response leaves in parts of 16384 bytes (", 1,
      true), stdout)
    local status, _, stderr = explain(text, "/fail")
    assert.equal(1, status)
    assert.matches("oh.*\nscript_errors: where on_request fails, the response is that of "
      .. "{ backend = \"app\" }\n$", stderr)
  end)

  it("names no condition that is everywhere", function()
    local _, stdout = explain(route('{ backend = "app" }', "on_stderr = nil, sandbox = false,\n"),
      "/x.php")
    for _, word in ipairs({ "sandbox", "script_memory", "script_errors", "deadline", "flush",
      "on_stderr" }) do
      assert.is_nil(stdout:find(word, 1, true), stdout)
    end
  end)

  it("explains the other kinds", function()
    assert.equal("404: on_request returned nil", verdict("nil", "/"))
    assert.equal("410 from the route itself", verdict("{ status = 410 }", "/"))
    assert.equal("301 to /x", verdict('{ redirect = "/x", status = 301 }', "/"))
    assert.matches("^the connection is closed", verdict("{ close = true }", "/"))
    assert.equal("ok", verdict('{ root = "/srv" }', "/x.css"))
    assert.equal("404: there is no such file", verdict('{ root = "/srv" }', "/y.css"))
    assert.matches("^301 .*: a folder$", verdict('{ root = "/srv" }', "/sub"))
    assert.equal("404: a folder without an index file", verdict('{ root = "/srv" }', "/sub/"))
    assert.equal("ok: the folder's index b.html",
      verdict('{ root = "/srv", index = { "a.html", "b.html" } }', "/sub/"))
    assert.matches("^405: .*not POST$", verdict('{ root = "/srv" }', "POST", "/x.css"))
    assert.equal("204: OPTIONS", verdict('{ root = "/srv" }', "OPTIONS", "/x.css"))
    core.existing["/srv/fifo"], core.outside["/srv/fifo"] = "other", true
    assert.equal("403: not a regular file", verdict('{ root = "/srv" }', "/fifo"))
    core.outside["/srv/link"] = true
    assert.matches("^403: a symlink leads out of the root: the real path is /etc/passwd$",
      verdict('{ root = "/srv" }', "/link"))
    assert.equal("ok", verdict('{ root = "/srv", try = { "$path", "/x.css" } }', "/y"))
  end)

  it("passes the request on", function()
    explain(route("nil"), "POST", "http://a.test/x?y", "-H", "X-A: b", "-HX-C:d")
    assert.equal("POST", core.requested.method)
    assert.equal("/x?y", core.requested.url)
    assert.same({ { "Host", "a.test" }, { "X-A", "b" }, { "X-C", "d" } }, core.requested.headers)
    explain(route("nil"), "/x", "-H", "host: b.test")
    assert.equal("GET", core.requested.method)
    assert.same({ { "host", "b.test" } }, core.requested.headers)
  end)

  it("runs on_params", function()
    local _, stdout, _, path = explain(route('{ backend = "app", root = "/srv" }',
      "on_params = function(_, params) params.APP_ENV = params.SCRIPT_NAME end,\n"), "/index.php")
    assert.is_truthy(stdout:find("\n  APP_ENV          /index.php   <- on_params at " .. path
      .. ":3\n", 1, true))
    assert.is_truthy(stdout:find("\n  on_params at " .. path .. ":3\n", 1, true))
  end)

  local MANY = [[return { backends = { app = {
    servers = { "10.0.0.1:9000", { address = "10.0.0.2:9000", weight = 2, max_conns = 8 },
      { address = "10.0.0.3:9000", backup = true } },
    balance = "least_conn", ini = { memory_limit = "128M", display_errors = false },
  } }, on_request = function(req) return %s end }]]

  it("names the servers, and who chooses among them", function()
    local _, stdout = explain(MANY:format('{ backend = "app" }'), "/index.php")
    assert.is_truthy(stdout:find("\n  servers by least_conn: 10.0.0.1:9000, 10.0.0.2:9000 (weight "
      .. "2, max_conns 8), 10.0.0.3:9000 (backup) (", 1, true), stdout)
    assert.is_truthy(stdout:find("\n  app: 10.0.0.1:9000, 10.0.0.2:9000, 10.0.0.3:9000\n", 1, true))
    _, stdout = explain(MANY:format('{ backend = "app", server = "10.0.0.2:9000" }'), "/index.php")
    assert.is_truthy(stdout:find("\n  app: 10.0.0.2:9000\n", 1, true), stdout)
    assert.is_nil(stdout:find("servers by", 1, true))
    _, stdout = explain(MANY:gsub('"least_conn"', "print"):format('{ backend = "app" }'), "/x.php")
    assert.is_truthy(stdout:find("\n  servers by a function of the route: 10", 1, true), stdout)
  end)

  it("shows the settings of PHP", function()
    local _, stdout = explain(MANY:format('{ backend = "app" }'), "/index.php")
    assert.is_truthy(stdout:find("\n  PHP_VALUE        display_errors='0'\n"
      .. "                   memory_limit='128M'   <- ini of backend 'app'\n", 1, true), stdout)
    _, stdout = explain(MANY:format('{ backend = "app", ini = { memory_limit = "1G" } }'),
      "/index.php", "--json")
    assert.is_truthy(stdout:find([["PHP_VALUE": "display_errors='0'\nmemory_limit='128M'\n]]
      .. [[memory_limit='1G'"]], 1, true), stdout)
    local status, _, stderr = explain(MANY:format('{ backend = "app", ini = { x = 1 } }'), "/")
    assert.equal(1, status)
    assert.matches("ini: 'x' is not in the 'ini' of backend 'app'", stderr)
  end)

  it("names the rule of a router", function()
    local _, stdout, _, path = explain(
      'local r = require("moongate.router").new()\nr:path("/x/*", { status = 410 })\n'
      .. "return { on_request = r }", "/x/y")
    assert.is_truthy(stdout:find("\n  rule: path '/x/*' (" .. path .. ":2)\n", 1, true), stdout)
  end)

  it("writes JSON", function()
    local status, stdout = explain(route('{ backend = "app", root = "/srv" }'), "/index.php",
      "--json")
    local empty
    assert.equal(0, status)
    for _, key in ipairs({
      "decision", "backend", "servers", "params", "files", "verdict", "steps",
    }) do
      assert.matches('\n  "' .. key .. '": ', stdout)
    end
    assert.matches('\n  "backend": "app",', stdout)
    status, empty = explain(route("nil"), "/", "--json")
    assert.equal(0, status)
    assert.matches('\n  "servers": %[%],', empty)
  end)

  it("fails where the route would", function()
    for _, case in ipairs({
      { '(error("broken"))', "^on_request %(.*:3%): .*:3: broken" },
      { '{ backend = "ap" }', "a decision that cannot be used: there is no backend 'ap'; did" },
      { '{ bakend = "app" }', "unknown key 'bakend' in a decision; did you mean 'backend'" },
    }) do
      local status, stdout, stderr = explain(route(case[1]), "/")
      assert.equal(1, status)
      assert.equal("", stdout)
      assert.matches(case[2], stderr)
    end
    local status, _, stderr = explain(route("nil"), "/a b")
    assert.equal(1, status)
    assert.equal("moongate: the client would get 400: bad target\n", stderr)
    status, _, stderr = explain("return {", "/")
    assert.equal(1, status)
    assert.matches(":1: ", stderr)
    status, _, stderr = explain(route("nil"), "/", "-H", "broken")
    assert.equal(2, status)
    assert.matches("expected 'Name: value'", stderr)
  end)

  it("says a symlink that leads out of the root", function()
    core.outside["/srv/index.php"] = true
    local _, stdout = explain(route('{ backend = "app", root = "/srv" }'), "/index.php")
    assert.is_truthy(stdout:find("\n  looked for /srv/index.php: refused: its real path "
      .. "/etc/passwd is outside of /srv (", 1, true), stdout)
  end)

  it("names the rule first, and each look once", function()
    core.existing["/srv"] = "directory"
    local _, stdout, _, path = explain([[
      local site = require("moongate.php").site { root = "/srv", backend = "app",
        run = { "/x.php" }, never = "secret" }
      local r = require("moongate.router").new():path("/*", site)
      return { backends = { app = ":9000" }, on_request = r }]], "/nope.php")
    assert.is_truthy(stdout:find("  rule: path '/*' (" .. path .. ":3) > php.site (" .. path
      .. ":1)\n  looked for /srv/nope.php: not there\n", 1, true), stdout)
    local _, count = stdout:gsub("looked for /srv/nope.php", "")
    assert.equal(1, count)
  end)

  it("says what never, run and strip refuse", function()
    for _, case in ipairs({
      { "/secret/x", "/secret/x fits 'secret' of 'never': 403" },
      { "/index.php", "/index.php is not among the scripts of 'run': 404" },
      { "/.git/x", "/.git/x: dotfiles are neither served nor run: 403" },
    }) do
      core.existing["/srv/.git/x"] = "file"
      local _, stdout = explain([[return { backends = { app = ":9000" },
        on_request = require("moongate.php").site { root = "/srv", backend = "app",
        run = { "/x.php" }, never = "secret" } }]], case[1])
      assert.is_truthy(stdout:find("\n  php.site: " .. case[2] .. "\n", 1, true), stdout)
    end
    local _, stdout = explain([[return { backends = { app = ":9000" },
      on_request = require("moongate.php").site { root = "/srv", backend = "app",
      strip = "/wiki" } }]], "/x")
    assert.matches("the path does not begin with '/wiki' %('strip'%): 404", stdout)
  end)

  it("passes the listener's port and https on", function()
    local listen = 'listen = { "unix:/x", ":8443" }, '
    for _, case in ipairs({
      { "/x", "/x", "localhost:8443" }, { "http://a.test/x", "/x", "a.test" },
      { "http://a.test:81/x", "/x", "a.test:81" }, { "http://a.test", "/", "a.test" },
      { "http://a.test?q", "/?q", "a.test" }, { "HTTPS://a.test/x", "https://a.test/x", "a.test" },
    }) do
      explain(route("nil", listen), case[1])
      assert.equal(case[2], core.requested.url)
      assert.same({ { "Host", case[3] } }, core.requested.headers)
      assert.equal(8443, core.requested.port)
    end
    explain(route("nil"), "https://a.test/x", "-H", "Host: b.test")
    assert.equal("https://b.test/x", core.requested.url)
  end)

  for _, url in ipairs({ "nope", "http://", "http:///x", "ftp://a.test/", "a.test/x" }) do
    it("takes " .. url .. " for wrong usage", function()
      local status, stdout, stderr = explain(route("nil"), url)
      assert.equal(2, status)
      assert.equal("", stdout)
      assert.matches("^moongate explain: '" .. url:gsub("%p", "%%%0")
        .. "': expected a path that begins with \"/\", or a URL", stderr)
    end)
  end
end)
