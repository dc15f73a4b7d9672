-- A reload of an instance with one worker: another one is started beside it and takes its place,
-- its connections and nothing of its requests.

local http = require("tests.support.http")
local json = require("moongate.base.json")
local load = require("tests.support.load")
local net = require("tests.support.net")
local poll = require("tests.support.poll")
local process = require("tests.support.process")
local server = require("tests.support.server")
local socket = require("socket")

local dir

-- A route that answers a word; /wait waits for a file. `before` is at its top.
local function route(word, before, settings)
  return ([[
%s
local moongate = require("moongate")
return {
  control = false, stop_timeout = 20, %s
  on_request = function(req)
    while req.path == "/wait" and not io.open(%q) do moongate.sleep(0.02) end
    return { status = 200, body = moongate.worker .. %q }
  end,
}]]):format(before or "", settings or "", dir .. "/go", word)
end

local SHORT = "stop_timeout = 1,"
-- A fast machine asks more than 10,000 times on a connection while the script is loaded.
local MANY = "limits = { keepalive_requests = 1e9 },"

local function go()
  process.write_file(dir .. "/go", "")
end

local function ask(client, path)
  return client:request({ path = path or "/" }).body
end

describe("a single worker", function()
  local s

  local function start(text, options)
    options = options or {}
    options.route = text
    s = server.start(options)
  end

  local function workers_become(count)
    poll.wait(function() return #s:workers() == count end, count .. " workers")
  end

  before_each(function()
    dir = process.tempdir("single")
    process.chmod(dir, "777")
  end)

  after_each(function()
    s:stop()
  end)

  it("answers everybody while a script that takes long is loaded, and goes", function()
    start(route("one", nil, MANY))
    local clients, from = {}, s:mark()
    for i = 1, 8 do
      clients[i] = http.open(s.address)
      assert.equal("1one", ask(clients[i]))
    end
    local first = s:workers()[1]
    s:rewrite(route("two", "os.execute('sleep 4')", MANY))
    s.process:kill("HUP")
    local slowest = 0
    repeat
      local done = s:errors():find("generation 2 serves", from, true)
      for i = 1, #clients + 1 do
        local begun = socket.gettime()
        local body = clients[i] and ask(clients[i]) or http.get(s.address, "/").body
        slowest = math.max(slowest, socket.gettime() - begun)
        assert.truthy(body == "1two" or not done and body == "1one", body)
      end
    until done
    assert.is_true(slowest < 3, slowest .. " s")
    poll.wait(function() return process.gone(first) end, "the first worker's end")
    for _, client in ipairs(clients) do
      assert.equal("1two", ask(client))
      client:close()
    end
    workers_become(1)
  end)

  it("loses nobody over many reloads under load, kept or new, and none is told the old word after",
    function()
      start(route("0"))
      local run = load.start(s.address, {
        { name = "kept", clients = 8, path = "/" },
        { name = "new", clients = 4, path = "/", close = true },
      })
      finally(function() run:abandon() end)
      local client = http.open(s.address)
      for word = 1, 30 do
        s:reload(route(tostring(word)))
        assert.equal("1" .. word, ask(client))
        assert.equal("1" .. word, http.get(s.address, "/").body)
      end
      local result = run:stop()
      load.assert_all(result.kept)
      load.assert_all(result.new)
      client:close()
      workers_become(1)
    end)

  it("passes hundreds of idle connections on", function()
    start(route("one"))
    local clients = {}
    for i = 1, 700 do
      clients[i] = net.connect(s.address)
    end
    s:reload(route("two"))
    for i = 1, 700 do
      clients[i]:send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    end
    for i = 1, 700 do
      assert.truthy(clients[i]:read_all():find("1two", 1, true))
    end
  end)

  it("ends a request on the script that it began with, however long, and keeps its connection",
    function()
      start(route("one", nil, SHORT))
      local slow, from = http.open(s.address), s:mark()
      slow:send({ path = "/wait" })
      poll.wait(function() -- it has begun
        return http.get(s.address, "/").body == "1one"
      end, "an answer")
      s:reload(route("two", nil, SHORT))
      workers_become(2)
      assert.is_nil(poll.try(function() return #s:workers() == 1 end, 1.5), "stop_timeout counts")
      s:reload(route("three", nil, SHORT)) -- twice: it goes to the latest
      poll.wait(function() return #s:workers() == 2 end, "the second to go")
      go()
      assert.equal("1one", slow:receive("GET").body)
      assert.equal("1three", ask(slow))
      slow:close()
      workers_become(1)
      assert.is_nil(s:errors():find("cut", from, true))
    end)

  -- As many reloads, with a request of each generation that does not end before `go`.
  local function reloads_with_slow_requests(first, last)
    local clients = {}
    for word = first, last do
      local client = http.open(s.address)
      assert.equal("1" .. word - 1, ask(client))
      client:send({ path = "/wait" })
      clients[word] = client
      poll.wait(function() -- it has begun
        return http.get(s.address, "/").body == "1" .. word - 1
      end, "an answer")
      s:reload(route(tostring(word)))
      assert.equal("1" .. word, http.get(s.address, "/").body)
    end
    return clients
  end

  -- Each by the script that it began with; and then by the one that serves.
  local function all_are_answered(clients, latest)
    for word, client in ipairs(clients) do
      assert.equal("1" .. word - 1, client:receive("GET").body)
      assert.equal(latest, ask(client))
      client:close()
    end
    workers_become(1)
  end

  it("loads the script itself where too many have not left, after a while and with a warning",
    function()
      start(route("0"))
      local clients = reloads_with_slow_requests(1, 16)
      assert.equal(17, #s:workers())
      assert.is_nil(s:errors():find("loads the script itself", 1, true))
      local from, begun = s:mark(), socket.gettime()
      s:reload(route("17"))
      assert.is_true(socket.gettime() - begun >= 5)
      s:wait_log("the only worker loads the script itself.*16 workers of earlier", nil, from)
      assert.equal("117", http.get(s.address, "/").body)
      assert.equal(17, #s:workers())
      go()
      all_are_answered(clients, "117")
    end)

  it("waits for one of many to leave, and loads nothing", function()
    start(route("0"))
    local clients = reloads_with_slow_requests(1, 16)
    local from = s:mark()
    s:rewrite(route("17"))
    s.process:kill("HUP")
    assert.is_falsy(poll.try(function()
      return s:errors():find("generation 18", from, true)
    end, 0.5), "nothing is free yet")
    go()
    s:wait_reloaded(from)
    assert.is_nil(s:errors():find("loads the script itself", 1, true))
    all_are_answered(clients, "117")
  end)

  it("goes on where the one that was to come can't serve", function()
    start(route("one"))
    local client, pid = http.open(s.address), s:workers()[1]
    for _, what in ipairs({ "error('no')", "require('ffi').cast('int *', 0)[0] = 1" }) do
      -- The trial is the first one that loads it, the worker the second.
      local said = s:reload_fails(route("two", ([[
        local count = io.open(%q, "a+")
        count:write("x")
        count:flush()
        count:seek("set")
        if #count:read("*a") == 2 then %s end]]):format(dir .. "/count", what)))
      assert.truthy(said:find("the reload failed", 1, true), said)
      os.remove(dir .. "/count")
      assert.equal("1one", ask(client))
      assert.equal("1one", http.get(s.address, "/").body)
    end
    workers_become(1)
    assert.equal(pid, s:workers()[1])
    s:reload(route("three"))
    assert.equal("1three", ask(client))
    client:close()
  end)

  it("that dies while the other one loads is started again, and the reload has failed", function()
    start(route("one"))
    local first = s:workers()[1]
    local from = s:mark()
    -- The trial is the first one that loads it, the worker the second, which waits for `go`.
    s:rewrite(route("two", ([[
      local count = io.open(%q, "a+")
      count:write("x")
      count:flush()
      count:seek("set")
      if count:read("*a") == "xx" then
        while not io.open(%q) do os.execute("sleep 0.02") end
      end]]):format(dir .. "/count", dir .. "/go")))
    s.process:kill("HUP")
    poll.wait(function() return process.read_file(dir .. "/count") == "xx" end, "it loads")
    process.signal(first, "KILL")
    local _, line = s:wait_reloaded(from)
    go()
    assert.truthy(line:find("killed by signal 9", 1, true), line)
    poll.wait(function()
      local ok, res = pcall(http.get, s.address, "/")
      return ok and res.body == "1one"
    end, "the old script")
    s:reload(route("three"))
    assert.equal("1three", http.get(s.address, "/").body)
  end)

  it("that dies before it has left takes its own requests with it, no others", function()
    start(route("one", nil, ("log = { access = %q },"):format(dir .. "/access")))
    local first, slow, kept = s:workers()[1], http.open(s.address), http.open(s.address)
    assert.equal("1one", ask(kept))
    slow:send({ path = "/wait" })
    assert.equal("1one", http.get(s.address, "/").body)
    s:reload(route("two", nil, ("log = { access = %q },"):format(dir .. "/access")))
    process.signal(first, "KILL")
    workers_become(1)
    slow:close()
    assert.equal("1two", ask(kept))
    kept:close()
    poll.wait(function()
      return process.read_file(dir .. "/access"):find("GET /wait[^\n]* 502 ")
    end, "its line")
    poll.wait(function() -- a thread of the master writes it
      return s:errors():find("a worker of an earlier generation was killed", 1, true)
    end, "the error log's line")
  end)

  it("that has come is replaced when it dies; who has not left ends what it has", function()
    start(route("one"))
    local first, slow = s:workers()[1], http.open(s.address)
    slow:send({ path = "/wait" })
    assert.equal("1one", http.get(s.address, "/").body)
    s:reload(route("two"))
    for _, pid in ipairs(s:workers()) do
      if pid ~= first then
        process.signal(pid, "KILL")
      end
    end
    poll.wait(function()
      local ok, res = pcall(http.get, s.address, "/")
      return ok and res.body == "1two"
    end, "another one")
    go()
    assert.equal("1one", slow:receive("GET").body)
    slow:close()
    workers_become(1)
  end)

  it("stops while another one loads, and while one has not left", function()
    start(route("one"))
    local slow = http.open(s.address)
    slow:send({ path = "/wait" })
    assert.equal("1one", http.get(s.address, "/").body)
    s:reload(route("two"))
    s:rewrite(route("three", "os.execute('sleep 0.5')"))
    s.process:kill("HUP")
    s.process:kill("TERM")
    go()
    assert.equal("1one", slow:receive("GET").body)
    slow:close()
  end)

  it("is cut with stop_timeout where a request has no end", function()
    start(route("one", nil, SHORT))
    local slow = http.open(s.address)
    slow:send({ path = "/wait" })
    assert.equal("1one", http.get(s.address, "/").body)
    s:reload(route("two", nil, SHORT))
    local begun = socket.gettime()
    s.process:kill("TERM")
    assert.equal(503, slow:receive("GET").status)
    assert.is_true(socket.gettime() - begun < 20)
    slow:close()
  end)

  it("counts its connections on: those at limits.per_ip stay welcome", function()
    local limits = "limits = { per_ip = 2 },"
    start(route("0", nil, limits))
    local one, two = http.open(s.address), http.open(s.address)
    for word = 1, 20 do
      s:reload(route(tostring(word), nil, limits))
      assert.equal("1" .. word, ask(one))
      assert.equal("1" .. word, ask(two))
      assert.equal(503, http.get(s.address, "/").status)
    end
    one:close()
    two:close()
    poll.wait(function() return http.get(s.address, "/").status == 200 end, "a place")
  end)

  it("hands over to another binary while one has not left", function()
    local binary = dir .. "/moongate"
    assert(os.execute(("cp %s %s"):format(process.quote(server.binary()), binary)) == 0)
    process.inherit(true)
    finally(function() process.inherit(false) end)
    start(route("one"), { binary = binary })
    local slow = http.open(s.address)
    slow:send({ path = "/wait" })
    assert.equal("1one", http.get(s.address, "/").body)
    s:reload(route("two"))
    local kept, old, from = http.open(s.address), s.process, s:mark()
    assert.equal("1two", ask(kept))
    s:rewrite(route("three"))
    old:kill("USR2")
    local line = s:wait_log("pid %d+ serves in our place", 20, from)
    s.process = process.adopt(tonumber(line:match("pid (%d+) serves")), "moongate")
    poll.wait(function() -- the old worker accepts until it reads that it is retired
      return http.get(s.address, "/").body == "1three"
    end, "the old worker to have stopped accepting")
    assert.equal("1two", ask(kept)) -- once more
    go()
    assert.equal("1one", slow:receive("GET").body)
    assert.truthy(old:wait(20), "the old master goes on")
    assert.equal("exit status 0", old:ending(), s:errors())
    kept:close()
    slow:close()
    s:stop()
  end)

  it("becomes several, and one again", function()
    local address = "127.0.0.1:" .. net.free_port()
    local function text(word, count)
      return (route(word):gsub("control = false", ("%%0, watch = false, listen = %q, workers = %d")
        :format(address, count)))
    end
    start(text("0", 1), { own = true, address = address })
    local client = http.open(address)
    assert.equal("10", ask(client))
    for word, count in ipairs({ 1, 3, 1, 1, 2, 1 }) do
      s:reload(text(tostring(word), count))
      assert.equal(tostring(word), ask(client):sub(2))
      for _ = 1, 6 do
        assert.equal(tostring(word), http.get(address, "/").body:sub(2))
      end
      workers_become(count)
      client:close()
      client = http.open(address)
    end
    client:close()
  end)

  it("is a row of its own in the status until it has left", function()
    local control = "unix:" .. dir .. "/control.sock"
    start((route("one"):gsub("control = false", ("control = %q"):format(control))))
    local slow, first = http.open(s.address), s:workers()[1]
    slow:send({ path = "/wait" })
    assert.equal("1one", http.get(s.address, "/").body)
    local told = server.command({ "reload", "--control", control })
    assert.equal(0, told.code, told.stderr)
    local value = json.decode(server.command({ "status", "--json", "--control", control }).stdout)
    assert.equal(2, value.generations)
    assert.equal(2, #value.workers)
    for _, worker in ipairs(value.workers) do
      assert.equal(0, worker.index)
      assert.equal(worker.pid == first, worker.leaving)
    end
    local text = server.command({ "status", "--control", control }).stdout
    assert.truthy(text:find(first .. "%s+leaving"), text)
    go()
    assert.equal("1one", slow:receive("GET").body)
    slow:close()
    workers_become(1)
  end)
end)
