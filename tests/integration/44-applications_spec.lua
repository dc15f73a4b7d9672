-- Applications of other makers, each as Debian packages it, behind the routes of
-- docs/applications.md: php-cgi, cgit and git behind fcgiwrap, a threaded program on libfcgi,
-- Perl's CGI::Fast, and a WSGI application in uWSGI.

local apps = require("tests.support.apps")
local http = require("tests.support.http")
local pages = require("tests.support.pages")
local poll = require("tests.support.poll")
local process = require("tests.support.process")
local server = require("tests.support.server")
local stage = require("tests.support.stage")

-- Bytes that do not repeat, and that no compression makes small.
local function noise(size)
  local file = assert(io.open("/dev/urandom", "rb"))
  local bytes = file:read(size)
  file:close()
  return bytes
end

local function sum_of(bytes)
  local sum = 0
  for i = 1, #bytes do
    sum = (sum * 31 + bytes:byte(i)) % 2 ^ 32
  end
  return ("%.0f"):format(sum)
end

-- The application, and a server with a route of docs/applications.md.
local function serving(app, number, changes)
  changes = changes or {}
  local route = pages.block("docs/applications.md", "lua", number)
  changes[#changes + 1] = { route:match('"(unix:[^"]+)"'), app.address }
  local gate = server.start({ route = pages.replaced(route, changes) })
  return gate, function()
    gate:stop()
    app:stop()
  end
end

local PHP = {
  ["index.php"] = [[<?php
    echo $_SERVER['SCRIPT_NAME'], ' ', $_SERVER['PATH_INFO'] ?? '-', ' ', php_sapi_name();]],
  ["upload.php"] = "<?php echo md5_file($_FILES['f']['tmp_name']), ' ', $_FILES['f']['name'];",
}

describe("php-cgi", function()
  local gate, stop

  setup(function()
    local app = apps.php_cgi({ PHP_FCGI_CHILDREN = "2", PHP_FCGI_MAX_REQUESTS = "3" })
    gate, stop = serving(app, 1, { { "/srv/app", stage.files(PHP) } })
  end)

  teardown(function()
    if stop then
      stop()
    end
  end)

  it("runs pages, with what follows a script's name", function()
    assert.equal("/index.php - cgi-fcgi", http.get(gate.address, "/").body)
    assert.equal("/index.php /a/b cgi-fcgi", http.get(gate.address, "/index.php/a/b").body)
  end)

  it("gets an upload", function()
    local content = noise(300000)
    local body, kind = http.multipart({ { name = "f", filename = "n.bin", content = content } })
    local res = http.post(gate.address, "/upload.php", body, { ["Content-Type"] = kind })
    local md5 = process.run({ argv = { "md5sum" }, input = content }).stdout:match("^%x+")
    assert.equal(md5 .. " n.bin", res.body)
  end)

  it("loses no request as its children end after three", function()
    for _ = 1, 30 do
      assert.equal(200, http.get(gate.address, "/index.php").status)
      assert.equal(200, http.post(gate.address, "/index.php", "a=b").status)
    end
  end)
end)

describe("fcgiwrap", function()
  local gate, app, git_root, work
  local content = noise(3000000)

  local function git(...)
    local result = process.run({
      argv = { "git", "-c", "user.name=T", "-c", "user.email=t@example.test", ... }, cwd = work,
      env = { GIT_CONFIG_NOSYSTEM = "1", HOME = git_root },
    }, 60)
    assert.equal(0, result.code, table.concat({ ... }, " ") .. ":\n" .. result.stderr)
    return result.stdout
  end

  local function commit(name, bytes)
    process.write_file(work .. "/" .. name, bytes)
    git("add", ".")
    git("commit", "-q", "-m", "Adds " .. name)
  end

  setup(function()
    git_root, work = process.tempdir("git"), process.tempdir("work")
    git("init", "-q", "-b", "main", ".")
    commit("big", content)
    git("clone", "-q", "--bare", ".", git_root .. "/project.git")
    git("--git-dir=" .. git_root .. "/project.git", "config", "http.receivepack", "true")
    process.write_file(git_root .. "/cgitrc", ([[
virtual-root=/cgit/
snapshots=tar.gz
enable-http-clone=1
repo.url=project
repo.path=%s/project.git
]]):format(git_root))
    app = apps.fcgiwrap(3)
    gate = server.start({
      folder = "examples/cgit", route = "route.lua",
      env = { CGI = app.address, GIT_ROOT = git_root, CGIT_CONFIG = git_root .. "/cgitrc",
        CGIT = apps.ROOT .. "/usr/lib/cgit/cgit.cgi" },
    })
  end)

  teardown(function()
    if gate then
      gate:stop()
    end
    if app then
      app:stop()
    end
  end)

  it("shows the pages of cgit", function()
    local list = http.get(gate.address, "/cgit/")
    assert.equal(200, list.status)
    assert.matches("project", list.body)
    local log = http.get(gate.address, "/cgit/project/log/")
    assert.equal(200, log.status)
    assert.matches("Adds big", log.body)
    assert.equal(404, http.get(gate.address, "/cgit/none/").status)
  end)

  it("hands out a snapshot, byte for byte", function()
    local res = http.get(gate.address, "/cgit/project/snapshot/project-main.tar.gz")
    assert.equal(200, res.status)
    local dir = process.tempdir("snapshot")
    process.write_file(dir .. "/it.tar.gz", res.body)
    assert.equal(0, process.run({ argv = { "tar", "-xzf", "it.tar.gz" }, cwd = dir }, 30).code)
    assert.is_true(process.read_file(dir .. "/project-main/big") == content)
  end)

  it("is cloned by git, in both of its ways", function()
    for i, url in ipairs({ "/git/project.git", "/cgit/project" }) do
      local clone = process.tempdir("clone") .. "/it"
      git("clone", "-q", "http://" .. gate.address .. url, clone)
      assert.is_true(process.read_file(clone .. "/big") == content, "way " .. i)
    end
  end)

  it("takes what git pushes in chunks", function()
    commit("more", noise(2500000))
    local url = "http://" .. gate.address .. "/git/project.git"
    git("-c", "http.postBuffer=65536", "push", "-q", url, "main")
    assert.equal(git("rev-parse", "main"),
      git("--git-dir=" .. git_root .. "/project.git", "rev-parse", "main"))
    gate:wait_access("POST /git/project%.git/git%-receive%-pack")
  end)
end)

describe("a threaded program on libfcgi", function()
  local gate, stop

  setup(function()
    gate, stop = serving(apps.compiled("tests/support/threads.c"), 2)
  end)

  teardown(function()
    if stop then
      stop()
    end
  end)

  it("works at four requests at a time", function()
    local clients = {}
    for i = 1, 4 do
      clients[i] = http.open(gate.address)
      clients[i]:send({ path = "/meet" })
    end
    for i = 1, 4 do
      assert.equal("/meet 0 0", clients[i]:receive("GET").body)
      clients[i]:close()
    end
  end)

  it("gets each body whole, on connections that are kept", function()
    local client = http.open(gate.address)
    for _, size in ipairs({ 0, 1, 100, 65535, 65536, 300000 }) do
      local body = noise(size)
      local res = client:request({ method = "POST", path = "/x", body = body or "" })
      assert.equal(("/x %d %s"):format(size, sum_of(body or "")), res.body)
    end
    client:close()
  end)

  it("has its STDERR and its exit status in the logs", function()
    assert.equal("/complain 0 0", http.get(gate.address, "/complain").body)
    gate:wait_log("threads: complains")
  end)
end)

-- Sockets that the kernel has of a listening path: the listener, and its ends of connections.
local function sockets_of(address)
  local path, count = address:match("^unix:(.*)$"), 0
  for line in process.read_file("/proc/net/unix"):gmatch("[^\n]+") do
    count = count + (line:sub(-#path) == path and 1 or 0)
  end
  return count
end

describe("CGI::Fast", function()
  local app, gate, stop

  setup(function()
    local dir = stage.files({ ["app.pl"] = [[
use CGI::Fast;
use Digest::MD5;
my $served = 0;
while (my $q = CGI::Fast->new) {
  $served++;
  print $q->header('text/plain');
  my $file = $q->upload('f');
  if ($file) {
    binmode $file;
    print Digest::MD5->new->addfile($file)->hexdigest, " ";
  }
  print $q->path_info, " ", $q->param('a') // '-', " ", $served;
}
]] })
    app = apps.spawn("perl", { "/usr/bin/perl", dir .. "/app.pl" })
    gate, stop = serving(app, 3)
  end)

  teardown(function() stop() end)

  it("gets an upload, one request after another", function()
    local content = noise(200000)
    local md5 = process.run({ argv = { "md5sum" }, input = content }).stdout:match("^%x+")
    assert.equal("/p/q b&c 1", http.get(gate.address, "/p/q?a=b%26c").body)
    local body, kind = http.multipart({
      { name = "a", content = "x" }, { name = "f", filename = "n", content = content },
    })
    for served = 2, 4 do
      local res = http.post(gate.address, "/up", body, { ["Content-Type"] = kind })
      assert.equal(("%s /up x %d"):format(md5, served), res.body)
    end
  end)

  -- libfcgi takes the end of a connection for the end of PARAMS, unless a pair is cut short.
  it("does not serve a POST that went to another connection, as it did not read", function()
    local before = tonumber(http.get(gate.address, "/").body:match("%d+$"))
    local client = http.open(gate.address)
    app.process:kill("STOP")
    local ok, problem = pcall(function()
      client:send({ method = "POST", path = "/once", body = "a=b",
        headers = { ["Content-Type"] = "application/x-www-form-urlencoded" } })
      poll.wait(function()
        return sockets_of(app.address) == 3
      end, "the listener, the connection that was kept, and another one")
    end)
    app.process:kill("CONT")
    assert.is_true(ok, problem)
    assert.equal("/once b " .. before + 1, client:receive("POST").body)
    client:close()
  end)
end)

describe("uWSGI", function()
  it("runs a WSGI application", function()
    local dir = stage.files({ ["app.py"] = [[
import hashlib
def application(env, start_response):
    body = env['wsgi.input'].read(int(env.get('CONTENT_LENGTH') or 0))
    start_response('200 OK', [('Content-Type', 'text/plain'), ('X-Host', env['HTTP_HOST'])])
    said = [env['REQUEST_METHOD'], env['SCRIPT_NAME'], env['PATH_INFO'], env['QUERY_STRING'],
            hashlib.md5(body).hexdigest()]
    return [' '.join(said).encode()]
]] })
    local gate, stop = serving(apps.uwsgi(dir .. "/app.py", 2), 4)
    finally(stop)
    local body = noise(100000)
    local md5 = process.run({ argv = { "md5sum" }, input = body }).stdout:match("^%x+")
    for _ = 1, 5 do
      local res = http.post(gate.address, "/py/a%20b?c=d", body)
      assert.equal("POST /py /a b c=d " .. md5, res.body)
      assert.equal("localhost", res.headers["x-host"])
    end
  end)
end)
