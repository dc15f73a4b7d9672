-- `multiplex`: several requests share a connection to an application that can do so. Whatever one
-- of them does, its client or the application, the others get their own bytes, and in time.

local gateway = require("tests.support.gateway")
local http = require("tests.support.http")
local load = require("tests.support.load")
local net = require("tests.support.net")
local php = require("tests.support.php")
local poll = require("tests.support.poll")
local rig = require("tests.support.rig")

local MEGABYTE = 1024 * 1024

-- How many requests of the run against losses: a million by hand.
local REQUESTS = tonumber(os.getenv("MOONGATE_MULTIPLEX_REQUESTS") or 20000)

-- The multiplexer with a worker in front. `backend` replaces "multiplex = true".
local function start(options)
  options = options or {}
  options.backend = options.backend or "multiplex = true"
  local back = { program = "multiplexer" }
  for key, value in pairs(options.responder or {}) do
    back[key] = value
  end
  options.responder = back
  return rig.start(options)
end

local function ask(r, commands, request)
  local copy = { path = rig.target(commands) }
  for key, value in pairs(request or {}) do
    copy[key] = value
  end
  local client = http.open(r.address)
  client:send(copy)
  return client
end

-- Waits until so many requests are on the application's connections.
local function wait_begun(r, count)
  poll.wait(function()
    return #r:events("BEGIN") >= count
  end, ("%d requests at the application"):format(count))
end

local function most_active(r)
  local most = 0
  for _, event in ipairs(r:events("BEGIN")) do
    most = math.max(most, tonumber(event.active))
  end
  return most
end

describe("a shared connection", function()
  it("carries requests at the same time, whose ids are used again", function()
    local r = start()
    local clients = {}
    for i = 1, 20 do
      clients[i] = ask(r, ("token=%d&size=5000&record=100&pad=%d&delay=2000"):format(i, i))
    end
    for i = 1, 20 do
      local res = clients[i]:receive()
      assert.equal(200, res.status)
      assert.equal(("token=%d;"):format(i) .. rig.pattern(5000), res.body)
      clients[i]:close()
    end
    assert.equal(1, #r:events("OPEN"))
    assert.is_true(most_active(r) >= 10)
    for i = 1, 5 do
      assert.equal(("token=%d;"):format(i), r:get("token=" .. i).body)
    end
    assert.equal(1, #r:events("OPEN"))
    local begun = r:events("BEGIN")
    assert.equal("1", begun[#begun].id)
    r:stop()
  end)

  it("has at most max_reqs, then there is another one; with max_conns they wait", function()
    local r = start({ backend = "multiplex = true, max_reqs = 4" })
    local clients = {}
    for i = 1, 10 do
      clients[i] = ask(r, "delay=2000&token=" .. i)
    end
    for i = 1, 10 do
      assert.equal(("token=%d;"):format(i), clients[i]:receive().body)
      clients[i]:close()
    end
    assert.equal(3, #r:events("OPEN"))
    assert.equal(4, most_active(r))
    r:stop()
    r = start({ backend = "multiplex = true, max_reqs = 4, max_conns = 1" })
    for i = 1, 10 do
      clients[i] = ask(r, "delay=600&token=" .. i)
    end
    for i = 1, 10 do
      assert.equal(("token=%d;"):format(i), clients[i]:receive().body)
      clients[i]:close()
    end
    assert.equal(1, #r:events("OPEN"))
    assert.equal(4, most_active(r))
    r:stop()
  end)

  it("of one worker is given up when another one's request waits", function()
    local r = start({ backend = "multiplex = true, max_conns = 1", workers = 2 })
    local result = load.run(r.address,
      { { clients = 32, requests = 2000, path = rig.target("token=@&size=100") } })
    load.assert_all(result.all)
    assert.equal(1, r:open_max())
    r:stop()
  end)

  it("is read for all while one client reads nothing", function()
    local r = start({ settings = "limits = { response_memory = '64k', spool = '200m' }" })
    local slow = ask(r, "token=1&size=" .. 60 * MEGABYTE)
    wait_begun(r, 1)
    for i = 2, 40 do
      assert.equal(("token=%d;"):format(i) .. rig.pattern(20000),
        r:get(("token=%d&size=20000"):format(i)).body)
    end
    r.back:wait_log("REQUEST id=%d+ stdin=0 end=complete active=%d+ query=token=1&", 30)
    local res = slow:receive()
    assert.equal("token=1;" .. rig.pattern(60 * MEGABYTE), res.body)
    slow:close()
    assert.equal(1, #r:events("OPEN"))
    r:stop()
  end)

  it("is read for all although a client's answer is not buffered", function()
    local r = start({
      settings = "limits = { response_memory = '64k', spool = '200m' }",
      on_request = [[if req.args.Unbuffered then
        return { backend = "app", docroot = "/srv/app", response_buffering = false }
      end]],
    })
    local slow = ask(r, "token=1&Unbuffered=1&size=" .. 30 * MEGABYTE)
    wait_begun(r, 1)
    r.back:wait_log("REQUEST id=%d+ stdin=0 end=complete active=%d+ query=token=1&", 30)
    for i = 2, 5 do
      assert.equal(("token=%d;"):format(i), r:get("token=" .. i).body)
    end
    assert.equal("token=1;" .. rig.pattern(30 * MEGABYTE), slow:receive().body)
    slow:close()
    r:stop()
  end)

  it("ends the request of a client that is slower than limits.spool holds", function()
    local r = start({ settings = "limits = { response_memory = '64k', spool = '1m' }" })
    local slow = ask(r, "token=1&length&size=" .. 60 * MEGABYTE)
    r.back:wait_log("ABORT id=%d+ query=token=1&", 30)
    assert.equal("token=2;", r:get("token=2").body)
    rig.assert_cut(slow.conn:read_all(30))
    slow:close()
    r.server:wait_log("limits%.spool is reached")
    assert.equal(1, #r:events("OPEN"))
    r:stop()
  end)
end)

describe("a client that leaves", function()
  it("has its request aborted, and the id is reserved until END_REQUEST", function()
    local r = start()
    local client = ask(r, "token=1&delay=60000&deaf=4000")
    wait_begun(r, 1)
    client.conn:reset()
    r.back:wait_log("ABORT id=1 ")
    for i = 2, 5 do
      assert.equal(("token=%d;"):format(i), r:get("token=" .. i).body)
    end
    for i, event in ipairs(r:events("BEGIN")) do
      assert.equal(i == 1 and "1" or "2", event.id)
    end
    r.back:wait_log("REQUEST id=1 stdin=0 end=aborted")
    poll.wait(function()
      r:get("token=6")
      local begun = r:events("BEGIN")
      return begun[#begun].id == "1"
    end, "the id to be used again")
    assert.equal(1, #r:events("OPEN"))
    r:stop()
  end)

  it("while its body is sent leaves the others whole", function()
    local r = start({ settings = "limits = { body_timeout = '20s' }", on_request = [[
      if req.args.Streamed then
        return { backend = "app", docroot = "/srv/app", request_buffering = false }
      end]] })
    local client = ask(r, "token=1&Streamed=1", {
      method = "POST", headers = { ["Content-Length"] = tostring(50 * MEGABYTE) },
    })
    wait_begun(r, 1)
    client.conn:send(("x"):rep(300000))
    local body = ("%015d\n"):format(2) .. rig.pattern(200000):sub(17)
    local res = r:get("token=2&mark", { method = "POST", body = body })
    assert.equal("token=2;length=200000 same=1\n", res.body)
    client.conn:reset()
    r.back:wait_log("REQUEST id=%d+ stdin=%d+ end=aborted")
    assert.equal("token=3;", r:get("token=3").body)
    assert.equal(1, #r:events("OPEN"))
    r:stop()
  end)
end)

describe("a connection that breaks", function()
  it("costs requests that can be sent again nothing, and the others a 502", function()
    local r = start({ settings = "log = { access = false }" })
    local clients = {}
    for i = 1, 8 do
      clients[i] = ask(r, "delay=1500&token=" .. i)
    end
    clients[9] = ask(r, "delay=60000&token=9", { method = "POST", body = "once" })
    wait_begun(r, 9)
    local crash = ask(r, "crash&token=10")
    for i = 1, 8 do
      assert.equal(("token=%d;"):format(i), clients[i]:receive().body)
      clients[i]:close()
    end
    assert.equal(502, clients[9]:receive().status)
    clients[9]:close()
    assert.equal(502, crash:receive().status) -- it has broken its own connection, too
    crash:close()
    local posts = 0
    for _, event in ipairs(r:events("REQUEST")) do
      posts = posts + (event.stdin == "4" and 1 or 0)
    end
    assert.equal(0, posts)
    r:stop()
  end)

  it("by records of nobody's sends no bytes to others", function()
    for _, how in ipairs({ "foreign", "garbage", "short-end", "after-end", "twice" }) do
      local r = start()
      local clients = {}
      for i = 1, 5 do
        clients[i] = ask(r, "delay=700&token=" .. i)
      end
      wait_begun(r, 5)
      local bad = ask(r, "token=6&fail=" .. how)
      local res = bad:receive()
      assert.is_true(res.status == 502 or res.body == "token=6;", how)
      bad:close()
      for i = 1, 5 do
        assert.equal(("token=%d;"):format(i), clients[i]:receive().body)
        clients[i]:close()
      end
      assert.equal("token=7;", r:get("token=7").body)
      r:stop()
    end
  end)

  it("is not broken by management records, nor by a record that no application sends", function()
    local r = start()
    local client = ask(r, "delay=500&token=1")
    assert.equal("token=2;", r:get("token=2&fail=mgmt").body)
    assert.equal(502, r:get("token=3&fail=type").status)
    assert.equal(502, r:get("token=3&fail=begin").status)
    assert.equal("token=1;", client:receive().body)
    client:close()
    r:stop()
  end)

  it("times out one request alone", function()
    local r = start({ backend = "multiplex = true, read_timeout = '3s'" })
    local client = ask(r, "token=1&fail=no-end")
    wait_begun(r, 1)
    assert.equal("token=2;", r:get("token=2").body)
    rig.assert_cut(client.conn:read_all(10))
    client:close()
    r.back:wait_log("ABORT id=1 ")
    assert.equal(504, r:get("token=3&delay=60000").status)
    assert.equal("token=4;", r:get("token=4").body)
    r:stop()
  end)
end)

describe("statuses of END_REQUEST:", function()
  it("a server that can't multiplex gets one request on a connection", function()
    local r = start()
    local clients = {}
    for i = 1, 12 do
      clients[i] = ask(r, "mpx=1&delay=200&token=" .. i, i % 3 == 0
        and { method = "POST", body = "once" } or nil)
    end
    for i = 1, 12 do
      assert.equal(("token=%d;"):format(i), clients[i]:receive().body)
      clients[i]:close()
    end
    r.server:wait_log("takes one request on a connection")
    local opened = #r:events("OPEN")
    assert.is_true(opened >= 2)
    for i = 1, 4 do
      clients[i] = ask(r, "mpx=1&delay=100&token=" .. i)
    end
    for i = 1, 4 do
      assert.equal(("token=%d;"):format(i), clients[i]:receive().body)
      clients[i]:close()
    end
    assert.equal(opened + 4, #r:events("OPEN"))
    r:stop()
  end)

  it("overloaded is 503 after queue_timeout, an unknown role 502, others go on", function()
    local r = start({ backend = "multiplex = true, queue_timeout = '300ms'" })
    local client = ask(r, "delay=1000&token=1")
    wait_begun(r, 1)
    assert.equal(503, r:get("protocol=2").status)
    assert.equal(502, r:get("protocol=3").status)
    r.server:wait_log("FCGI_UNKNOWN_ROLE")
    assert.equal("token=1;", client:receive().body)
    client:close()
    r:stop()
  end)
end)

describe("an answer that is whole by its Content-Length", function()
  for _, multiplex in ipairs({ "true", "false" }) do
    it("is the client's at once, multiplex = " .. multiplex, function()
      local r = start({
        backend = ("multiplex = %s, keepalive = 4"):format(multiplex),
        settings = "log = { format = 'json' }",
      })
      local client = http.open(r.address)
      for i = 1, 3 do
        local res = client:request({ path = rig.target(
          ("length&size=70000&token=%d&end_delay=5000&late=bye"):format(i)) })
        assert.equal(("token=%d;"):format(i) .. rig.pattern(70000), res.body)
      end
      assert.equal(0, #r:events("REQUEST")) -- none of them has ended
      client:close()
      r.back:wait_log("REQUEST .*token=3&")
      r.server:wait_log("wrote after its answer: bye")
      local opened = #r:events("OPEN")
      assert.equal(multiplex == "true" and 1 or 3, opened)
      poll.wait(function() -- the connections are used again
        return r:get("token=4").status == 200 and #r:events("OPEN") == opened
      end, "a kept connection")
      assert.equal(0, #r:events("CLOSE"))
      r:stop()
    end)
  end
end)

describe("multiplex = \"auto\"", function()
  local function opened_by_ten(r)
    local before, clients = #r:events("OPEN"), {}
    for i = 1, 10 do
      clients[i] = ask(r, "delay=200&token=" .. i)
    end
    for i = 1, 10 do
      assert.equal(("token=%d;"):format(i), clients[i]:receive().body)
      clients[i]:close()
    end
    return #r:events("OPEN") - before
  end

  it("shares connections with a server that says so", function()
    local r = start({ backend = "multiplex = 'auto'" })
    assert.equal("token=1;", r:get("token=1").body)
    r.server:wait_log("multiplexes %(FCGI_MAX_CONNS 100, FCGI_MAX_REQS 1000", 5)
    assert.equal(1, opened_by_ten(r))
    assert.equal(1, #r:events("VALUES"))
    r:stop()
  end)

  it("heeds FCGI_MAX_REQS and FCGI_MAX_CONNS", function()
    local r = start({
      backend = "multiplex = 'auto'", responder = { args = { "--values", "2,5,1" } },
    })
    assert.equal("token=1;", r:get("token=1").body)
    r.server:wait_log("multiplexes", 5)
    opened_by_ten(r)
    local active = 0
    for line in r.back:log():gmatch("[^\n]+") do
      active = active + (line:find("^BEGIN") and 1 or line:find("^REQUEST") and -1 or 0)
      assert.is_true(active <= 5)
    end
    r:stop()
  end)

  for name, args in pairs({
    ["says no"] = { "--values", "1,1,0" }, ["closes the connection"] = { "--no-values" },
    ["says nothing"] = { "--mute-values" },
  }) do
    it("is as false, and costs no request, where the server " .. name, function()
      local r = start({
        backend = "multiplex = 'auto', max_conns = 20", responder = { args = args },
      })
      for i = 1, 5 do
        assert.equal(("token=%d;"):format(i), r:get("token=" .. i).body)
      end
      r.back:wait_log("VALUES")
      poll.wait(function() return r:open_connections() == 0 end, "the question to be over")
      assert.equal(10, opened_by_ten(r))
      assert.equal(1, #r:events("VALUES"))
      for _, event in ipairs(r:events("BEGIN")) do
        assert.equal("1", event.active)
      end
      r:stop()
    end)
  end
end)

describe("nothing is lost or mixed", function()
  -- The account of the clients below: a read of the connection may end inside the token.
  it("where a reply's first bytes come in several chunks", function()
    local r = rig.start({})
    local path = rig.target("body=token%3D@%3B&pieces=4&piece_delay=1")
    local result = load.run(r.address, { { requests = 20, path = path } })
    load.assert_all(result.all)
    path = rig.target("body=token%3D1@%3B&pieces=4&piece_delay=1")
    result = load.run(r.address, { { requests = 20, path = path } })
    assert.equal(20, result.all.wrong)
    assert.matches("wrong reply to token 1:.*token=11;", result.all.text)
    r:stop()
  end)

  for _, case in ipairs({
    { commands = "", name = "" }, { commands = "&echo", name = ", echoed" },
    { commands = "&echo", name = ", echoed, in pieces", pieces = 12000 },
  }) do
    it(("in %d POSTs of 64 clients%s"):format(REQUESTS, case.name), function()
      local r = start({ settings = "log = { access = false }" })
      local result = load.run(r.address, {
        seconds = REQUESTS > 20000 and 3600 or nil,
        {
          clients = 64, requests = REQUESTS, method = "POST", body = 16384, mark = true,
          path = rig.target("token=@&mark" .. case.commands), pieces = case.pieces,
        },
      })
      load.assert_all(result.all)
      assert.equal(REQUESTS, result.all.requests)
      r:stop()
    end)
  end

  it("with clients that leave, of two workers and a reload", function()
    local r = start({ workers = 2, control = true, settings = "log = { access = false }" })
    local run = load.start(r.address, {
      { name = "stay", clients = 24, path = rig.target("token=@&size=3000&record=500") },
      { name = "post", clients = 16, method = "POST", body = 40000, mark = true,
        path = rig.target("token=@&mark&record=7") },
      { name = "leave", clients = 16, path = rig.target("token=@&delay=60000"), leave = 30 },
    })
    local function wait_more()
      local before = #r:events("BEGIN")
      poll.wait(function() return #r:events("BEGIN") > before + 500 end, "the run to go on")
    end
    wait_more()
    r:tell("reload")
    wait_more()
    local result = run:stop()
    load.assert_all(result.stay)
    load.assert_all(result.post)
    assert.is_true(result.leave.left > 0)
    r:stop()
  end)
end)

describe("`multiplex = \"auto\"` before PHP-FPM", function()
  it("hears that it can't, and gives each request a connection of its own", function()
    local r, fpm = php.rig({ pages = "tests/pages", children = 4 }, function(fpm)
      return {
        backend = 'multiplex = "auto", max_conns = 4, keepalive = 4',
        before = ("local ROOT = %q"):format(fpm.root),
        on_request = 'do return { backend = "app", docroot = ROOT } end',
      }
    end)
    finally(function() r:stop() end)
    local run = load.start(r.address, {
      { name = "all", clients = 8, requests = 200, path = "/hello.php" },
    })
    load.assert_all(run:finish().all)
    assert.is_true(fpm:connections() <= 4)
  end)
end)

describe("on shared connections", function()
  -- The multiplexer is application and authorizer.
  local function start_gateway(options)
    local address, web = "127.0.0.1:" .. net.free_port(), "127.0.0.1:" .. net.free_port()
    options.settings = ('listen = { %q, { address = %q, protocol = "fastcgi" } }, '
      .. "workers = 1, watch = false"):format(address, web)
    options.server = { own = true, address = address }
    local r = start(options)
    r.web = web
    return r
  end

  it("params have the limit that they have elsewhere, and the first one may be refused", function()
    for _, multiplex in ipairs({ true, false }) do
      local r = start({ backend = ("multiplex = %s"):format(multiplex), on_request = [[
        do local params = {}
          for i = 1, tonumber(req.args.Count) do params["P" .. i] = ("x"):rep(60000) end
          return { backend = "app", docroot = "/srv/app", params = params } end]] })
      for _, count in ipairs({ 300, 281, 200, 300, 1 }) do
        local res = r:get(("token=%d&Count=%d"):format(count, count))
        assert.equal(count > 280 and 431 or 200, res.status, count)
        assert.truthy(res.status == 431 or res.body == ("token=%d;"):format(count))
      end
      r.server:wait_log("all params together are larger than 16 MB")
      assert.equal(multiplex and 1 or 2, #r:events("OPEN"))
      r:stop()
    end
  end)

  it("scripts' own requests with too many params fail, and others go on", function()
    local r = start({ settings = "limits = { body = '1m' }", on_request = [[
      if req.args.Own then
        local params = { SCRIPT_NAME = "/x", QUERY_STRING = "token=9" }
        for i = 1, tonumber(req.args.Own) do params["P" .. i] = ("x"):rep(60000) end
        params.LONG = ("x"):rep(tonumber(req.args.Long or 1))
        local answer, reason = require("moongate").fastcgi("app", params)
        do return { status = answer and 200 or 599, body = answer and answer.body or reason } end
      end]] })
    local held = ask(r, "token=1&delay=500")
    wait_begun(r, 1)
    for _, own in ipairs({ "Own=300", "Own=2000", "Own=1&Long=66000" }) do
      local res = r:get(own)
      assert.equal(599, res.status, own)
      assert.matches("the params are larger than a request may have", res.body, 1, true)
    end
    assert.equal("token=9;", r:get("Own=1").body)
    assert.equal("token=1;", held:receive().body)
    held:close()
    r:stop()
  end)

  it("authorizers are asked, and Early Hints sent", function()
    local r = start({ backends = function(addresses)
      return ("auth = { servers = { %q }, multiplex = true },"):format(addresses[1])
    end, on_request = [[do return { backend = "app", docroot = "/srv/app",
        early_hints = "</a.css>; rel=preload",
        authorize = { backend = "auth", params = { QUERY_STRING = "token=0&delay=100" } } } end]] })
    local clients = {}
    for i = 1, 20 do
      clients[i] = net.connect(r.address)
      clients[i]:send(("POST %s HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"
        .. "Content-Length: 5\r\n\r\n%05d")
        :format(rig.target(("token=%d&echo&delay=100"):format(i)), i))
    end
    for i = 1, 20 do
      local text = clients[i]:read_all()
      assert.matches("^HTTP/1%.1 103 .-\r\nLink: </a%.css>; rel=preload\r\n\r\nHTTP/1%.1 200 ",
        text)
      assert.truthy(text:find(("token=%d;%05d"):format(i, i), 1, true), text)
      clients[i]:close()
    end
    assert.equal(2, #r:events("OPEN"))
    r:stop()
  end)

  it("requests of a web server's one connection are answered by one of ours", function()
    local r = start_gateway({})
    local web = gateway.open(r.web)
    for id = 1, 30 do
      web:send(gateway.format({ id = id, stdin = ("%05d"):format(id), params = {
        REQUEST_URI = rig.target(("token=%d&echo&size=20000&delay=%d"):format(id, 300 - id * 5)),
      } }))
    end
    for _ = 1, 30 do
      local res = web:answer(0)
      assert.equal(200, res.status)
      assert.truthy(res.body:find(("token=%d;"):format(res.id), 1, true))
      assert.truthy(res.body:find(("%05d"):format(res.id), 1, true))
    end
    web:close()
    assert.equal(1, #r:events("OPEN"))
    r:stop()
  end)

  it("status counts requests as well as connections", function()
    local r = start({ control = true })
    local clients = {}
    for i = 1, 7 do
      clients[i] = ask(r, "delay=600000&token=" .. i)
    end
    wait_begun(r, 7)
    local backend = r:status().backends[1]
    assert.equal(7, backend.servers[1].serving)
    assert.equal(1, backend.servers[1].active)
    assert.equal(7, backend.totals.serving)
    assert.matches("SERVING +ACTIVE", r:tell("status"))
    for i = 1, 7 do
      clients[i].conn:reset()
    end
    poll.wait(function()
      return r:status().backends[1].servers[1].serving == 0
    end, "the requests to be given up")
    r:stop()
  end)
end)
