-- The things that users of PHP behind a web server suffer from most, and the scenario that shows
-- each gone. A scenario that is renamed or lost fails here; one that fails says so itself. And the
-- messages that docs/troubleshooting.md quotes, each provoked before a real PHP-FPM.

local http = require("tests.support.http")
local net = require("tests.support.net")
local php = require("tests.support.php")
local poll = require("tests.support.poll")
local process = require("tests.support.process")
local server = require("tests.support.server")
local stage = require("tests.support.stage")

local PAINS = {
  { "'Primary script unknown', and no word why", {
    { "tests/integration/30-php_spec.lua", "explains a script that PHP does not find" },
    { "tests/integration/29d-missing_spec.lua", "is one at the level debug, with all that" },
    { "tests/integration/33-start_spec.lua", "is named in the log of the first request" },
  } },
  { "the docroot differs in PHP's container", {
    { "tests/integration/29-stderr_spec.lua", "has the paths of this machine, not the" },
    { "tests/integration/34-php-engine_spec.lua", "is named by X-Sendfile, as the" },
    { "spec/moongate/php_spec.lua", "docroot" },
  } },
  { "a sub-directory builds a doubled path", {
    { "spec/moongate/docroot_spec.lua", "takes whole segments off" },
    { "spec/moongate/php_spec.lua", "strip" },
  } },
  { "prefixes and encodings in SCRIPT_FILENAME", {
    { "tests/integration/30-php_spec.lua", "is decoded once" },
    { "tests/integration/22-http_spec.lua", "an encoded slash decodes before dot segments go" },
  } },
  { "a chunked upload arrives empty or hangs", {
    { "tests/integration/30-php_spec.lua", "that is chunked arrives whole, with its length" },
    { "tests/integration/34-php-engine_spec.lua", "gets chunked uploads with their length" },
  } },
  { "kept connections exhaust PHP-FPM", {
    { "tests/integration/27-queue_spec.lua", "counts kept connections, too, and of all workers" },
    { "tests/integration/27-queue_spec.lua", "of one worker are given up when another waits" },
    { "tests/integration/30-php_spec.lua", "is free again as soon as it has answered" },
  } },
  { "kept connections mix or delay replies", {
    { "tests/integration/34-php-engine_spec.lua", "that works on after fastcgi_finish_request" },
    { "tests/integration/34-php-engine_spec.lua", "keeps its connection in order after bodies" },
    { "tests/integration/24-attack_spec.lua", "behind an answer never become the next one" },
    { "tests/integration/20-fastcgi_spec.lua", "bytes came after END_REQUEST" },
  } },
  { "half a reply looks like a whole one", {
    { "tests/integration/21-failure_spec.lua", "is cut so that the client can tell: " },
    { "tests/integration/30-php_spec.lua", "that dies in the middle of a reply" },
    { "tests/integration/34-php-engine_spec.lua", "that is killed costs the one request" },
  } },
  { "'upstream sent too big header'", {
    { "tests/integration/20-fastcgi_spec.lua", "may have a head of up to response_header" },
    { "tests/integration/39-recovery_spec.lua", "too_large" },
  } },
  { "the Authorization header is lost", {
    { "tests/integration/30-php_spec.lua", "has Authorization, and PHP's own parts of it" },
  } },
  { "an event stream does not reach the browser", {
    { "tests/integration/35-big_spec.lua", "reaches the browser within milliseconds" },
    { "tests/integration/35-big_spec.lua", "holds it where there is to be no buffer" },
    { "tests/integration/30-php_spec.lua", "comes at once, piece by piece" },
  } },
  { "a deploy by symlink goes on serving old code", {
    { "tests/integration/24-attack_spec.lua", "a symlink below the root" },
    { "tests/integration/34-php-engine_spec.lua", "serves the new code within a second or so" },
  } },
  { "the backend's address changes, and it is 502 until a reload", {
    { "tests/integration/38-names_spec.lua", "is asked for again: a new address gets the next" },
    { "tests/integration/38-names_spec.lua", "is asked for at once after a failed connect" },
    { "tests/integration/38-names_spec.lua", "keeps its last addresses when the DNS server dies" },
  } },
  { "PATH_INFO runs uploads, or is lost", {
    { "tests/integration/30-php_spec.lua", "are not run as scripts by a made up PATH_INFO" },
    { "tests/integration/30-php_spec.lua", "is split into script and PATH_INFO" },
  } },
  { "a .php file is downloaded as source", {
    { "tests/integration/30-php_spec.lua", "are never the source of a script" },
  } },
  { "headers are smuggled by _ and .", {
    { "tests/integration/20-fastcgi_spec.lua", "never carry what a client must not set" },
    { "tests/integration/24-attack_spec.lua", "a header that no application gets" },
  } },
  { "HTTPS and the address of the client behind a balancer", {
    { "tests/integration/24-attack_spec.lua", "is not told of HTTPS by a target that merely says" },
    { "tests/integration/42-proxies_spec.lua", "tell applications, scripts and the access" },
  } },
  { "PHP-FPM is full: EAGAIN, 502, or endless waiting", {
    { "tests/integration/34-php-engine_spec.lua", "at its socket (EAGAIN) is waited for" },
    { "tests/integration/27-queue_spec.lua", "is waited in for queue_timeout, then it is 503" },
    { "tests/integration/27-queue_spec.lua", "that is full is 503 with Retry-After" },
    { "tests/integration/21-failure_spec.lua", "of a unix socket that gets free in time" },
  } },
  { "an upgrade of PHP-FPM drops requests", {
    { "tests/integration/34-php-engine_spec.lua", "fails no request: " },
    { "tests/integration/27-queue_spec.lua", "under load fails nobody, and nothing reaches" },
  } },
  { "health checks are wrong or missing", {
    { "tests/integration/37-health_spec.lua", "speaks FastCGI, and never merely connects" },
    { "tests/integration/34-php-engine_spec.lua", "with our own requests is not dead" },
  } },
  { "PHP_VALUE sticks to the child and leaks to the next site", {
    { "tests/integration/34-php-engine_spec.lua", "are its own, whoever had the child before" },
    { "tests/integration/34-php-engine_spec.lua", "are its own after a request that died" },
    { "tests/integration/34-php-engine_spec.lua", "has the backend's settings, and may bring" },
    { "tests/integration/34-php-engine_spec.lua", "stays in PHP-FPM, of which the operator" },
    { "tests/integration/21-failure_spec.lua", "php_value" },
  } },
  { "a reload leaves fat old workers, or loses its state", {
    { "tests/integration/50-reload_spec.lua", "serves the new script in every worker" },
    { "tests/integration/50b-reloads_spec.lua", "ends with the memory and the descriptors of its" },
    { "tests/integration/60-shared_spec.lua", "over a reload" },
  } },
  { "the balancer's hook can't resolve names or wait", {
    { "tests/integration/28-balance_spec.lua", "is asked again for the next attempt" },
    { "tests/integration/38-names_spec.lua", "with two addresses is two servers" },
    { "tests/integration/64-hooks_spec.lua", "on_request waits often, and sends to a backend" },
  } },
  { "scripts can't be tested", {
    { "tests/integration/32a-testing_spec.lua", "does what the server does with a request" },
    { "tests/integration/32a-testing_spec.lua", "fails with file and line" },
  } },
  { "several versions of PHP, and one that is stuck takes the others down", {
    { "tests/integration/32b-sites_spec.lua", "has each request run by the version that is" },
    { "tests/integration/34-php-engine_spec.lua", "does not make another pool slow" },
  } },
  { "a retry doubles a POST", {
    { "tests/integration/27-queue_spec.lua", "never make it see a POST twice" },
    { "tests/integration/39-recovery_spec.lua", "that may have been acted on is never" },
  } },
  { "a script that never ends blocks a worker", {
    { "tests/integration/51a-stuck_spec.lua", "is stopped in time, and the log says where" },
  } },
}

describe("the pain", function()
  for _, pain in ipairs(PAINS) do
    it(("%q has a scenario"):format(pain[1]), function()
      assert.is_true(#pain[2] > 0)
      for _, scenario in ipairs(pain[2]) do
        local text = process.read_file(scenario[1])
        assert.is_truthy(text, scenario[1])
        assert.is_truthy(text:find(scenario[2], 1, true), scenario[1] .. ": " .. scenario[2])
      end
    end)
  end
end)

-- Each message that docs/troubleshooting.md quotes, and who gets it: the request to make, what its
-- client sees, or the command. `…` stands for what differs.
local MESSAGES = {
  { "connect: Permission denied: the socket is of … mode … and the worker's user is '…'",
    get = "/denied/hello.php", status = 503 },
  { "connect: No such file or directory: there is no such socket",
    get = "/absent/hello.php", status = 503 },
  { "connect: Connection refused: nothing listens there",
    get = "/closed/hello.php", status = 503 },
  { "connect: the socket is not of the user that", get = "/strange/hello.php", status = 503 },
  { "the user '…' may not connect (see listen.owner, listen.group and listen.mode of PHP-FPM",
    explain = "/denied/hello.php", code = 1 },
  { "No such file or directory (is PHP-FPM running, and is this its 'listen'?)",
    explain = "/absent/hello.php", code = 1 },
  { "nobody listens there (is PHP-FPM running?)", explain = "/closed/hello.php", code = 1 },
  { "503: no server of backend '…' takes connections", explain = "/closed/hello.php", code = 1 },
  { "this is a folder, not a socket", explain = "/folder/hello.php", code = 1 },
  { "Primary script unknown: SCRIPT_FILENAME was '…' … it does not exist here",
    get = "/app/missing.php", status = 404, body = "File not found." },
  { "that file exists here, so 'docroot' is probably not the site as PHP sees it",
    get = "/mapped/hello.php", status = 404, body = "File not found." },
  { "has been denied (see security.limit_extensions)",
    get = "/app/page.inc", status = 403, body = "Access denied." },
  { 'PHP-FPM answers 404 "File not found." (Primary script unknown): … is not there',
    explain = "/app/missing.php", code = 0 },
  { 'PHP-FPM answers 403 "Access denied.": security.limit_extensions allows .php only',
    explain = "/app/page.inc", code = 0 },
  { "timeout: no answer within read_timeout", get = "/hasty/wait.php", status = 504 },
  { "the deadline of … s is over: no answer had come", get = "/late/wait.php", status = 504 },
  { "before END_REQUEST; 0 bytes had come", get = "/app/die.php", status = 502 },
  { "before END_REQUEST; … bytes had come", get = "/app/storm.php?die=1", cut = true },
  { "too_large: a head larger than limits.response_header (… the largest header so far is",
    get = "/app/headers.php?long=100000", status = 502 },
  { "stderr of backend '…': PHP Fatal error: Uncaught",
    get = "/app/exception.php", status = 500, body = "" },
  { "busy: the queue is full", get = "/full/hello.php", status = 503, retry = true },
  { "busy: it waited in the queue for queue_timeout",
    get = "/waits/hello.php", status = 503, retry = true },
  { "a body larger than limits.body", get = "/app/hello.php", post = ("x"):rep(2000),
    status = 413 },
  { "the request header '…' is dropped: as a param its name could pose as another's",
    get = "/app/hello.php", headers = { X_Odd = "1" }, status = 200 },
  { "on_request (…): …: boom", get = "/boom", status = 500 },
  { "unknown key '…'; did you mean '…'?", check = "return {\n  backend = {},\n}\n", code = 1 },
}

local ROUTE = [[
local ROOT, FPM, GATE = %q, %q, %q
return {
  control = false, script_timeout = 20, log = { level = "debug" },
  limits = { body = "1k" },
  backends = {
    app = { servers = { FPM } },
    hasty = { servers = { FPM }, read_timeout = "1s" },
    late = { servers = { FPM }, deadline = "1s" },
    strange = { servers = { { address = FPM, owner = 54321 } } },
    full = { servers = { GATE }, max_conns = 1, queue = 0, read_timeout = "5m" },
    waits = { servers = { GATE }, max_conns = 1, queue_timeout = "1s", read_timeout = "5m" },
    denied = { servers = { %q } },
    absent = { servers = { "unix:" .. ROOT .. "/none.sock" } },
    folder = { servers = { "unix:" .. ROOT } },
    closed = { servers = { "127.0.0.1:%d" } },
  },
  on_request = function(req)
    if req.path == "/boom" then error("boom") end
    local backend, script = req.path:match("^/(%%a+)(/.*)$")
    if backend == "mapped" then
      return { backend = "app", root = ROOT, docroot = "/srv/site", script = script }
    end
    return { backend = backend, root = ROOT, script = script }
  end,
}
]]

-- Says that it has begun, and waits until it may end.
local WAIT = [[<?php
if (isset($_GET['begun'])) touch($_GET['begun']);
while (!file_exists(%q)) { usleep(10000); clearstatcache(); }
]]

local PAGE = "docs/troubleshooting.md"

describe("the message", function()
  local fpm, gate, holders

  setup(function()
    fpm = php.start({ pages = "tests/pages", more = {
      denied = {}, one = { "pm.max_children = 3" },
    } })
    stage.write(fpm.root, {
      ["page.inc"] = "x", ["die.php"] = "<?php posix_kill(getmypid(), 9);",
      ["wait.php"] = WAIT:format(fpm.data .. "/end"),
    })
    process.chmod(fpm.more.denied:match("^unix:(.*)$"), "000")
    gate = server.start({ route = ROUTE:format(
      fpm.root, fpm.address, fpm.more.one, fpm.more.denied, net.free_port()) })
    holders = {}
    for i, backend in ipairs({ "full", "waits" }) do
      local mark = fpm.data .. "/" .. backend
      holders[i] = http.open(gate.address)
      holders[i]:send({ path = ("/%s/wait.php?begun=%s"):format(backend, mark) })
      poll.wait(function() return process.read_file(mark) end, "a page that waits")
    end
  end)

  teardown(function()
    assert(io.open(fpm.data .. "/end", "w")):close()
    for _, holder in ipairs(holders) do
      assert.equal(200, holder:receive().status)
      holder:close()
    end
    gate:stop()
    fpm:stop()
  end)

  -- Finds the parts of a quoted message in one line of a text, in their order.
  local function says(text, message)
    local pattern = message:gsub("…", "\0"):gsub("%p", "%%%0"):gsub("%z", "[^\n]*")
    return text:find(pattern) ~= nil
  end

  local function ask(case, message)
    local mark = gate:mark()
    local ok, res = pcall(http.request, gate.address, {
      method = case.post and "POST", path = case.get, body = case.post, headers = case.headers,
    })
    assert.equal(not case.cut, ok, tostring(res))
    if ok then
      assert.equal(case.status, res.status)
      assert.is_truthy(not case.body or res.body:gsub("\n$", "") == case.body, res.body)
      assert.is_truthy(not case.retry or res.headers["retry-after"])
    end
    poll.wait(function()
      return says(gate:errors():sub(mark + 1), message)
    end, "the log to say: " .. message)
  end

  local function run(case, message)
    local argv = case.explain and { "explain", gate.route_path, "http://localhost" .. case.explain }
      or { "check", stage.files({ ["route.lua"] = case.check }) .. "/route.lua" }
    local result = server.command(argv)
    local said = result.stdout .. result.stderr
    assert.equal(case.code, result.code, said)
    assert.is_true(says(said, message), said)
  end

  for _, case in ipairs(MESSAGES) do
    local message = case[1]
    it(("%q is on the page, and is what is said"):format(message), function()
      local page = process.read_file(PAGE)
      assert.is_truthy(page:find("`" .. message .. "`", 1, true), "not on the page")
      local run_it = case.get and ask or run
      run_it(case, message)
    end)
  end

  it("that the page quotes is provoked here, whichever it is", function()
    local known, count = {}, 0
    for _, case in ipairs(MESSAGES) do
      known[case[1]] = true
    end
    local page = process.read_file(PAGE):match("^(.-)\n## What users of other")
    for message in page:gmatch("\n| [^|\n]+ | `([^`\n]+)` | ") do
      assert.is_true(known[message] or false, message)
      count = count + 1
    end
    assert.is_true(count > 20)
  end)
end)
