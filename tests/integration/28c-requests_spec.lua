-- `moongate requests`, `moongate kill` and `moongate tail`: the requests under way of all workers,
-- the end of one, and the lines of those that have ended.

local gateway = require("tests.support.gateway")
local http = require("tests.support.http")
local json = require("moongate.base.json")
local net = require("tests.support.net")
local poll = require("tests.support.poll")
local process = require("tests.support.process")
local rig = require("tests.support.rig")
local server = require("tests.support.server")

local HOOK = [[
  if req.path == "/hook.php" then require("moongate").sleep(3600) end
]]

local r, clients

describe("a request under way", function()
  local function start(options)
    options.control = true
    options.on_request = HOOK
    options.settings = (options.settings and options.settings .. ", " or "")
      .. "log = { format = \"json\" }"
    r = rig.start(options)
    clients = {}
  end

  local function stop()
    for _, client in ipairs(clients) do
      client:close()
    end
    r:stop()
  end

  local function send(request)
    local client = http.open(r.address)
    clients[#clients + 1] = client
    client:send(request)
    return client
  end

  local function list()
    local value = json.decode(r:tell("requests", "--json"))
    assert.equal(0, value.more)
    return value.requests
  end

  --- The one whose URI has the text, as soon as it is in that state.
  local function in_state(text, state)
    local found
    poll.wait(function()
      found = nil
      for _, request in ipairs(list()) do
        if request.uri:find(text, 1, true) then
          found = request
        end
      end
      return found and found.state == state
    end, ("%s in state %s"):format(text, state))
    return found
  end

  local function gone()
    poll.wait(function() return #list() == 0 end, "the end of all requests")
  end

  it("is listed with its state, over all workers, the oldest first", function()
    start({
      workers = 2, backend = [[max_conns = 2, queue_timeout = "120s"]],
    })
    finally(stop)
    send({ path = "/first.php?delay=hold", host = "Shop.Example" })
    local first = in_state("first", "waiting")
    assert.equal("GET", first.method)
    assert.equal("shop.example", first.host)
    assert.equal("/first.php", first.path)
    assert.equal("/first.php?delay=hold", first.uri)
    assert.equal("app", first.backend)
    assert.equal(r.back.address, first.server)
    assert.equal("127.0.0.1", first.client)
    assert.equal(0, first.sent)
    assert.matches("^%x%x%x%x%x%x%x%x%x%x%x%x%x%x%x%x$", first.id)
    send({ path = "/x.php?size=5000&body_delay=hold" })
    local streaming = in_state("body_delay", "streaming")
    assert.equal("app", streaming.backend)
    send({ path = "/third.php?" })
    local queued = in_state("third", "queue")
    assert.equal("app", queued.backend)
    assert.is_nil(queued.server)
    send({ path = "/hook.php" })
    in_state("/hook.php", "hook")
    send({ method = "POST", path = "/body.php", headers = { ["Content-Length"] = "1000000" } })
    in_state("/body.php", "body")
    local all = list()
    assert.equal(5, #all)
    assert.matches("first", all[1].uri)
    for i = 2, #all do
      assert.is_true(all[i - 1].age >= all[i].age)
    end
    local text = r:tell("requests")
    assert.matches(first.id .. "  waiting", text, 1, true)
    assert.matches("GET shop.example/first.php?delay=hold", text, 1, true)
    -- More than one worker has some of them, sooner or later.
    poll.wait(function()
      send({ path = "/hook.php" })
      local workers = {}
      for _, request in ipairs(list()) do
        workers[request.worker] = true
      end
      return workers[0] and workers[1]
    end, "requests in both workers")
    for _, client in ipairs(clients) do
      client:close()
    end
    clients = {}
    r:release(2)
    gone()
    assert.equal("no request is under way\n", r:tell("requests"))
  end)

  it("that connects is listed so", function()
    start({
      backend = [[connect_timeout = "120s"]],
      responder = { tcp = true, args = { "--no-accept", "--backlog", "1" } },
    })
    -- Linux lets one more connection wait than the backlog says.
    local held = { net.connect(r.back.address), net.connect(r.back.address) }
    finally(function()
      for _, conn in ipairs(held) do
        conn:close()
      end
      stop()
    end)
    send({ path = rig.target("") })
    assert.equal(r.back.address, in_state("/x.php", "connect").server)
    r:tell("kill", in_state("/x.php", "connect").id)
    assert.equal(503, clients[1]:receive().status)
  end)

  it("is killed wherever it is: 503, with a line in both logs", function()
    start({ workers = 2, backend = [[max_conns = 1, queue_timeout = "120s"]] })
    finally(stop)
    local states = { { "/x.php?delay=hold", "waiting" }, { "/next.php?", "queue" },
      { "/hook.php", "hook" } }
    local ids = {}
    for i, case in ipairs(states) do
      send({ path = case[1] })
      ids[i] = in_state(case[1], case[2]).id
    end
    for i = #states, 1, -1 do -- the first one last, so that the second one stays in the queue
      local mark = r.server:mark()
      assert.equal(("request %s is told to end\n"):format(ids[i]), r:tell("kill", ids[i]))
      local res = clients[i]:receive()
      assert.equal(503, res.status)
      assert.matches(ids[i], res.body)
      local about = "; GET " .. states[i][1]:gsub("%p", "%%%0")
      r.server:wait_log("an operator ends a request" .. about, 20, mark)
    end
    gone()
    for _, id in ipairs(ids) do
      local line = json.decode(r.server:wait_access(id))
      assert.equal(503, line.status)
      assert.equal("killed by an operator", line.error)
    end
    r:release()
    assert.equal(200, r:get("").status)
  end)

  it("that is killed while its response is on its way ends short", function()
    start({ workers = 1 })
    finally(stop)
    local client = send({ path = "/x.php?size=5000&body_delay=hold" })
    local id = in_state("body_delay", "streaming").id
    r:tell("kill", id:upper())
    local bytes = client.conn:read_all()
    assert.matches("^HTTP/1.1 200 ", bytes)
    assert.is_nil(bytes:find("\r\n0\r\n\r\n", 1, true)) -- no last chunk
    assert.equal(200, json.decode(r.server:wait_access(id)).status)
    r:release()
    gone()
  end)

  it("that is killed while a slow client takes its response ends at once", function()
    start({ workers = 1 })
    finally(stop)
    local client = http.open(r.address)
    clients[1] = client
    client:send({ path = "/x.php?size=20000000" })
    local before = in_state("size=", "streaming")
    poll.wait(function() return in_state("size=", "streaming").sent > 0 end, "bytes")
    r:tell("kill", before.id)
    gone()
  end)

  it("of a web server is killed without harm to the others on its connection", function()
    local web_address = "unix:" .. process.tempdir("web") .. "/fastcgi.sock"
    local address = "127.0.0.1:" .. net.free_port()
    start({
      settings = ("listen = { %q, { address = %q, protocol = 'fastcgi' } }, workers = 1, "
        .. "watch = false"):format(address, web_address),
      server = { own = true, address = address },
    })
    finally(stop)
    local web = gateway.open(web_address)
    local paths = { "/first.php?delay=hold", "/next.php?size=5000&body_delay=hold",
      "/last.php?delay=hold" }
    for id, path in ipairs(paths) do
      web:send(gateway.format({ id = id, params = { REQUEST_URI = path } }))
    end
    r:tell("kill", in_state("/first.php", "waiting").id)
    assert.equal(503, web:answer(1).status)
    r:tell("kill", in_state("/next.php", "streaming").id)
    assert.equal(gateway.OVERLOADED, web:answer(2, { bare = true }).protocol_status)
    in_state("/last.php", "waiting")
    r:release(3)
    assert.equal(200, web:answer(3).status)
    web:close()
  end)

  it("that is not there can't be killed, and no other word is an id", function()
    start({})
    finally(stop)
    for word, problem in pairs({
      ["0123456789abcdef"] = "no request under way has the id '0123456789abcdef'; "
        .. "`moongate requests` lists them",
      ["a b"] = "'a b' is no id of a request: expected 1 to 64 letters, digits and -._:=/+@",
    }) do
      local result = r:command("kill", word)
      assert.equal(1, result.code)
      assert.matches(problem, result.stderr, 1, true)
    end
  end)
end)

describe("the access log", function()
  --- What `moongate tail` with these words shows, while requests are made until it ends.
  ---@param words string[]
  ---@param ask fun(number: integer)
  local function tail(words, ask)
    local path = process.tempdir("tail") .. "/out"
    local command = process.spawn({
      argv = { server.binary(), "tail", "--control", r.control, unpack(words) }, stdout = path,
    })
    finally(function() command:stop() end)
    local number = 0
    poll.wait(function()
      number = number + 1
      ask(number)
      return not command:alive()
    end, "the end of moongate tail")
    return process.read_file(path)
  end

  before_each(function()
    r = rig.start({ control = true, workers = 2, settings = "log = { access = false }" })
  end)
  after_each(function() r:stop() end)

  it("is shown live, over all workers, though the route logs nothing", function()
    local text = tail({ "--json", "--count", "20" }, function(number)
      r:get("", { path = ("/n%d.php?status=404"):format(number), host = "a.test" })
    end)
    local count, last = 0, 0
    for line in text:gmatch("[^\n]+") do
      local fields = json.decode(line)
      local number = tonumber(fields.uri:match("^/n(%d+)"))
      assert.equal("a.test", fields.host)
      assert.equal(404, fields.status)
      assert.is_true(number > last) -- each request has its answer before the next one begins
      count, last = count + 1, number
    end
    assert.equal(20, count)
  end)

  it("is filtered by host and by class of status", function()
    local text = tail({ "--host", "*.test", "--status", "5xx", "--count", "2" }, function()
      r:get("", { path = "/x.php?", host = "a.test" })
      r:get("", { path = "/x.php?status=503", host = "test" })
      r:get("", { path = "/x.php?status=503", host = "a.test" })
    end)
    local _, lines = text:gsub("\n", "")
    assert.equal(2, lines)
    local _, wanted = text:gsub("  503  GET a%.test/x%.php%?status=503  ", "")
    assert.equal(2, wanted)
  end)

  it("is asked for in words that make sense", function()
    for _, case in ipairs({
      { "--status", "6xx", "expected a status such as 404, or a class such as 5xx" },
      { "--count", "0", "expected a number from 1 on" },
      { "--wait", "soon", "--wait: 'soon': expected" },
    }) do
      local result = r:command("tail", case[1], case[2])
      assert.equal(2, result.code)
      assert.matches(case[3], result.stderr, 1, true)
    end
  end)
end)
