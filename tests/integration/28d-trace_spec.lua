-- `moongate trace`: the next matching request in full, whatever became of it, and nothing that
-- stays on in the workers.

local gateway = require("tests.support.gateway")
local http = require("tests.support.http")
local json = require("moongate.base.json")
local net = require("tests.support.net")
local poll = require("tests.support.poll")
local process = require("tests.support.process")
local rig = require("tests.support.rig")
local server = require("tests.support.server")

local r

local HOOK = [[
  if req.path == "/files/a.txt" then return { root = %q, path = "/a.txt" } end
  if req.path == "/boom" then error("it broke") end
  if req.path == "/close" then return { close = true } end
  if req.path == "/guarded.php" then
    do return { backend = "app", docroot = "/srv/app", authorize = {
      backend = "app", docroot = "/srv/auth", script = "/auth.php",
      params = { QUERY_STRING = "header=Variable-WHO:%%20ann" } } }
    end
  end
  if req.path:find("^/cached") then
    do return { backend = "app", docroot = "/srv/app", script = "/x.php",
      cache = { ttl = req.path == "/cached/ttl" and "1h" or nil } } end
  end
  if req.path:find("^/rule/") then return router(req) end
]]

local ROUTER = [[
local router = require("moongate.router").new()
router:path("/rule/*", function() return { status = 418, body = "tea" } end)
]]

describe("moongate trace", function()
  local folder, web

  setup(function()
    folder = process.tempdir("trace")
    assert(os.execute("chmod 1777 " .. process.quote(folder)) == 0) -- the workers' user keeps there
    web = "unix:" .. folder .. "/web.sock"
    local address = "127.0.0.1:" .. net.free_port()
    process.write_file(folder .. "/a.txt", "hello")
    r = rig.start({
      control = true, before = ROUTER, on_request = HOOK:format(folder),
      responder = { count = 2 }, backend = "balance = function(_, servers) return servers[1] end",
      settings = ("listen = { %q, { address = %q, protocol = 'fastcgi' } }, workers = 2, "
        .. "log = { access = false }, watch = false, cache = { path = %q, size = '1M' }, "
        .. "limits = { header = '96k' }"):format(address, web, folder),
      server = { own = true, address = address },
    })
  end)
  teardown(function() r:stop() end)

  --- Starts the command, and returns when the workers look for its requests.
  local function begin(...)
    local out = process.tempdir("trace-out")
    local command = process.spawn({
      argv = { server.binary(), "trace", "--control", r.control, ... },
      stdout = out .. "/out", stderr = out .. "/err",
    })
    finally(function() command:stop() end)
    poll.wait(function()
      return process.read_file(out .. "/err"):find("waiting for", 1, true) or not command:alive()
    end, "the order of moongate trace")
    return command, out
  end

  --- What the command says when it has ended.
  local function finish(command, out)
    poll.wait(function() return not command:alive() end, "the end of moongate trace")
    return process.read_file(out .. "/out"), process.read_file(out .. "/err")
  end

  --- The description of the request that `ask` makes.
  local function trace(ask, ...)
    local command, out = begin("--json", ...)
    ask()
    local text = finish(command, out)
    return json.decode(text), text
  end

  local function steps(request)
    local list = {}
    for i, step in ipairs(request.steps) do
      list[i] = step.text
      assert.is_true(i == 1 or step.at >= request.steps[i - 1].at)
    end
    return table.concat(list, "\n")
  end

  local function values(list)
    local all = {}
    for _, pair in ipairs(list) do
      all[pair.name] = pair.hidden and "hidden " .. pair.hidden or pair.value
    end
    return all
  end

  it("shows decision, params, attempts, STDERR and the head of the response", function()
    local request = trace(function()
      r:get("stderr=it%20said&header=X-Here:%201&status=201&body=tea", {
        host = "shop.test", headers = { ["X-There"] = "caf\xc3\xa9 \xff" } })
    end, "--host", "shop.test")
    assert.equal("GET", request.method)
    assert.equal("shop.test", request.host)
    assert.equal(201, request.status)
    assert.matches("^on_request %(.*route%.lua:%d+%)$", request.rule)
    assert.truthy(request.decision:find("backend 'app'", 1, true), request.decision)
    local asked = request.asked[1]
    assert.same({ "app", "responder" }, { asked.backend, asked.role })
    assert.equal("/srv/app/x.php", values(asked.params).SCRIPT_FILENAME)
    assert.equal("café \195\191", values(asked.params).HTTP_X_THERE)
    assert.equal("it said", request.stderr[1].text)
    assert.equal(201, request.response.status)
    assert.equal("1", values(request.response.headers)["X-Here"])
    assert.equal(1, #request.attempts)
    assert.equal(r.back.addresses[1], request.attempts[1].server)
    assert.is_true(request.attempts[1].total >= request.attempts[1].first_byte)
    assert.truthy(steps(request):find("the reply begins: status 201", 1, true))
    assert.equal(0, request.left_out)
  end)

  it("shows the rule as explain does, of what no application sees too", function()
    local request = trace(function()
      http.get(r.address, "/rule/x")
    end, "--path", "/rule/*")
    assert.matches("^path '/rule/%*' %(.*route%.lua:%d+%)$", request.rule)
    assert.equal("a reply with status 418 and 3 bytes", request.decision)
    assert.equal(418, request.response.status)
    assert.same({}, request.attempts)

    request = trace(function() http.get(r.address, "/files/a.txt") end, "--path", "/files/a.txt")
    assert.equal("the file /a.txt below " .. folder, request.decision)
    assert.matches("^text/plain", values(request.response.headers)["Content-Type"])
  end)

  it("shows failures: of a hook, of a head, of a server", function()
    local request = trace(function() http.get(r.address, "/boom") end, "--path", "/boom")
    assert.matches("route%.lua:%d+: it broke", steps(request))
    assert.equal(500, request.status)

    request = trace(function()
      local conn = net.connect(r.address)
      conn:send("GET / HTTP/1.1\r\nHost: a.test\r\nHost: b.test\r\n\r\n")
      conn:read_all()
      conn:close()
    end, "--status", "400")
    assert.equal(400, request.response.status)
    assert.truthy(steps(request):find("refused: ", 1, true), steps(request))

    request = trace(function() r:get("fail=close-before-head") end, "--path", "/x.php")
    assert.equal(502, request.status)
    assert.truthy(request.attempts[1].error:find("END_REQUEST", 1, true))
  end)

  it("shows an authorizer beside the application", function()
    local request = trace(function()
      r:get("", { path = "/guarded.php?body=x" })
    end, "--path", "/guarded.php")
    assert.same({ "authorizer", "responder" }, { request.asked[1].role, request.asked[2].role })
    assert.equal("ann", values(request.asked[2].params).WHO)
    assert.is_nil(values(request.asked[1].params).WHO)
    assert.same({ "authorizer", "responder" },
      { request.attempts[1].role, request.attempts[2].role })
    assert.truthy(steps(request):find("the authorizer lets the request on", 1, true))
  end)

  it("shows a request that a web server has sent by FastCGI", function()
    local request = trace(function()
      local front = gateway.open(web)
      local params = { REQUEST_URI = "/from/web.php", HTTP_HOST = "web.test" }
      front:send(gateway.format({ params = params }))
      front:answer(1)
      front:close()
    end, "--host", "web.test")
    assert.equal("/from/web.php", request.uri)
    assert.equal("192.0.2.7", values(request.asked[1].params).REMOTE_ADDR)
  end)

  it("says what the cache has done, and why it has kept nothing", function()
    local kept = "/cached/ttl?body=x"
    for _, case in ipairs({
      { kept, nil, "miss", nil, "kept for 3600 s" },
      { kept, nil, "hit", nil, "a fresh response of the key http://" },
      { kept, { headers = { Cookie = "a=b" } }, "bypass", "Cookie", "passed by: Cookie" },
      { kept .. "2", { method = "HEAD" }, "miss", "HEAD", "the cache has no response" },
      { "/cached/ttl?header=Set-Cookie:%20a=b", nil, "miss", "Set-Cookie", "kept: Set-Cookie" },
      { "/cached?body=x", nil, "miss", "no lifetime", "not kept: no lifetime" },
      { "/cached/ttl?big=20&size=3000000", nil, "miss", "too large", "not kept: too large" },
    }) do
      local request = trace(function()
        r:get("", { path = case[1], method = case[2] and case[2].method,
          headers = case[2] and case[2].headers })
      end, "--path", "/cached*")
      assert.same({ case[3], case[4] }, { request.cache, request.cache_reason }, case[1])
      assert.truthy(steps(request):find(case[5], 1, true), steps(request))
    end
    local command, out = begin("--path", "/cached")
    r:get("", { path = "/cached?header=Cache-Control:%20private" })
    assert.matches("\ncache: miss, not kept: Cache%-Control: private\n", (finish(command, out)))
  end)

  it("hides secrets, unless they are asked for", function()
    local function ask()
      r:get("header=Set-Cookie:%20sid=12345", { headers = {
        Cookie = "a=1", Authorization = "Basic abc", ["X-Api-Key"] = "k", ["X-Plain"] = "p" } })
    end
    local request, text = trace(ask, "--path", "/x.php")
    local params = values(request.asked[1].params)
    assert.same({ "hidden 3", "hidden 9", "hidden 1", "p" },
      { params.HTTP_COOKIE, params.HTTP_AUTHORIZATION, params.HTTP_X_API_KEY, params.HTTP_X_PLAIN })
    assert.equal("hidden 9", values(request.headers).Authorization)
    assert.equal("hidden 9", values(request.response.headers)["Set-Cookie"])
    assert.is_nil(text:find("Basic abc", 1, true))
    request = trace(ask, "--path", "/x.php", "--secrets")
    params = values(request.asked[1].params)
    assert.same({ "a=1", "Basic abc" }, { params.HTTP_COOKIE, params.HTTP_AUTHORIZATION })
    assert.equal("sid=12345", values(request.response.headers)["Set-Cookie"])
  end)

  it("stays within its record, however much there is", function()
    local headers = {}
    for i = 1, 60 do
      headers["X-" .. i] = ("\xff"):rep(900)
    end
    local request, text = trace(function()
      r:get("stderr_size=200000&size=10", { headers = headers })
    end, "--path", "/x.php")
    assert.is_true(#text <= 128 * 1024 + 1, #text)
    assert.is_true(request.left_out > 0)
    assert.equal(200, request.response.status)
    assert.is_true(#request.asked[1].params > 5)
  end)

  it("takes as many as it is told, of the status that it is told", function()
    local command, out = begin("--json", "--count", "3", "--status", "5xx")
    local number = 0
    poll.wait(function()
      number = number + 1
      r:get("", { path = "/ok.php?status=200" })
      r:get("", { path = ("/n%d.php?status=503"):format(number) })
      return not command:alive()
    end, "three requests")
    local count, last = 0, 0
    for line in finish(command, out):gmatch("[^\n]+") do
      local request = json.decode(line)
      assert.equal(503, request.status)
      local its = tonumber(request.uri:match("^/n(%d+)"))
      assert.is_true(its > last)
      count, last = count + 1, its
    end
    assert.equal(3, count)
  end)

  it("is text for people, in which a client can't write to the terminal", function()
    local command, out = begin("--path", "/x.php")
    r:get("stderr=a%0ab&body=x", { headers = { ["X-Odd"] = "\xc2\x9b31m" } })
    local text = finish(command, out)
    assert.matches("\nrule: on_request %(", text)
    assert.matches("\nparams of backend 'app' %(responder%)\n", text)
    assert.matches("\n  SCRIPT_FILENAME +/srv/app/x%.php\n", text)
    assert.matches("\nresponse: 200 OK\n", text)
    assert.is_nil(text:find("[%z\1-\9\11-\31\127-\255]"))
  end)

  it("leaves nothing on", function()
    -- A command that was killed: the order ends by itself, the place is free for others.
    local killed = {}
    for i = 1, 4 do
      killed[i] = begin("--host", "nobody.test")
    end
    local result = r:command("trace")
    assert.equal(1, result.code)
    assert.truthy(result.stderr:find("other traces wait", 1, true), result.stderr)
    for _, command in ipairs(killed) do
      command:kill("KILL")
    end
    poll.wait(function()
      return r:command("trace", "--wait", "0").code == 1
        and not r:command("trace", "--wait", "0").stderr:find("other traces", 1, true)
    end, "the end of orders that nobody asks about", 60)
    -- One that was answered, or has waited long enough, ends at once.
    for _ = 1, 6 do
      result = r:command("trace", "--host", "nobody.test", "--wait", "0")
      assert.truthy(result.stderr:find("no such request has ended in that time", 1, true))
    end
  end)

  it("is asked for in words that make sense", function()
    for _, case in ipairs({
      { 1, "--status", "6xx", "expected a status such as 404, or a class such as 5xx" },
      { 2, "--count", "0", "expected a number from 1 to 1000" },
      { 2, "--wait", "soon", "--wait: 'soon': expected" },
      { 1, "--host", ("x"):rep(300), "is too long" },
    }) do
      local result = r:command("trace", case[2], case[3])
      assert.equal(case[1], result.code)
      assert.matches(case[4], result.stderr, 1, true)
    end
  end)
end)

describe("a trace", function()
  it("shows each attempt at a server", function()
    local gone = "127.0.0.1:" .. net.free_port()
    r = rig.start({
      control = true,
      servers = function(addresses) return ("%q, %q"):format(gone, addresses[1]) end,
      backend = "balance = 'round_robin', max_fails = 0",
    })
    finally(function() r:stop() end)
    local out = process.tempdir("trace-out")
    local command = process.spawn({
      argv = { server.binary(), "trace", "--json", "--count", "2", "--control", r.control },
      stdout = out .. "/out", stderr = out .. "/err",
    })
    finally(function() command:stop() end)
    poll.wait(function()
      return process.read_file(out .. "/err"):find("waiting for 2", 1, true)
    end, "the order")
    r:get("body=x")
    r:get("body=x")
    poll.wait(function() return not command:alive() end, "both")
    local most = 0
    for line in process.read_file(out .. "/out"):gmatch("[^\n]+") do
      local request = json.decode(line)
      assert.equal(200, request.status)
      most = math.max(most, #request.attempts)
      if #request.attempts == 2 then
        assert.equal(gone, request.attempts[1].server)
        assert.matches("refused", request.attempts[1].error)
        assert.is_nil(request.attempts[2].error)
      end
    end
    assert.equal(2, most)
  end)
end)
