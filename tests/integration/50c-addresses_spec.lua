-- Listeners on one port: a reload that changes which of its addresses are listened on, and those
-- that lie beside one another.

local http = require("tests.support.http")
local load = require("tests.support.load")
local net = require("tests.support.net")
local process = require("tests.support.process")
local server = require("tests.support.server")
local socket = require("socket")

local function route(listen, word)
  return ([[
return {
  control = false, watch = false, workers = 2, listen = { %s },
  on_request = function(req)
    return { status = 200, body = "%s", headers = { Listener = req.listener } }
  end,
}
]]):format(listen, word or "hello")
end

-- Free on all addresses, and none that a client's connection may get meanwhile.
local function free_port()
  for port = 20000 + process.pid() % 5000, 30000 do
    local probe = socket.bind("*", port)
    if probe then
      probe:close()
      return port
    end
  end
  error("no port is free")
end

describe("an address", function()
  local port, loopback, s

  -- `PORT` stands for it.
  local function listening(listen, word)
    return route(listen:gsub("PORT", port), word)
  end

  local function start(listen, sockets)
    s = server.start({
      own = true, address = loopback, route = listening(listen), sockets = sockets,
    })
  end

  before_each(function()
    port = tostring(free_port())
    loopback = "127.0.0.1:" .. port
  end)

  after_each(function()
    s:stop()
  end)

  it("is changed by a reload to another one of the same port", function()
    start('":PORT"')
    local changes = {
      "127.0.0.1:PORT", "localhost:PORT", "127.0.0.1:PORT", "*:PORT", "0.0.0.0:PORT", ":PORT",
      "localhost:PORT", ":PORT",
    }
    for i, address in ipairs(changes) do
      s:reload(listening(("%q"):format(address), "word" .. i))
      for _ = 1, 20 do
        assert.equal("word" .. i, http.get(loopback, "/").body)
      end
    end
    s:reload(listening('"127.0.0.2:PORT"'))
    assert.equal(200, http.get("127.0.0.2:" .. port, "/").status)
    assert.is_nil((net.try_connect(loopback)))
  end)

  it("loses nobody when it becomes one of several, under load", function()
    start('":PORT"')
    local run = load.start(loopback, {
      { name = "kept", clients = 4 }, { name = "new", clients = 4, close = true },
    })
    finally(function() run:abandon() end)
    for _ = 1, 10 do
      s:reload(listening('":PORT", "127.0.0.1:PORT"'))
    end
    s:reload(listening('"127.0.0.1:PORT"'))
    local result = run:stop()
    load.assert_all(result.kept)
    load.assert_all(result.new)
    assert.is_true(result.new.requests > 100, result.new.text)
  end)

  it("is had beside all the others of its port: a connection is the more exact one's", function()
    start('{ address = ":PORT", name = "all" }, { address = "127.0.0.1:PORT", name = "one" }')
    for _ = 1, 20 do
      assert.equal("one", http.get(loopback, "/").headers.listener)
      assert.equal("all", http.get("127.0.0.2:" .. port, "/").headers.listener)
    end
    s:reload(listening('{ address = ":PORT", name = "all" }'))
    assert.equal("all", http.get(loopback, "/").headers.listener)
  end)

  it("is not had twice in different words", function()
    local twice = '"localhost:PORT", "127.0.0.1:PORT"'
    start('"127.0.0.1:PORT"')
    local message = s:reload_fails(listening(twice))
    assert.matches("both localhost:%d+ and 127%.0%.0%.1:%d+: they are the same address", message)
    assert.equal("hello", http.get(loopback, "/").body)
    s:stop()
    s:rewrite(listening(twice))
    local result = server.command({ "run", s.route_path })
    assert.equal(1, result.code)
    assert.matches("they are the same address", result.stderr)
  end)

  it("is still not taken from another process", function()
    local other = assert(socket.bind("127.0.0.2", port))
    finally(function() other:close() end)
    start('"127.0.0.1:PORT"')
    local message = s:reload_fails(listening('"127.0.0.2:PORT"'))
    assert.matches("can't listen on 127%.0%.0%.2:%d+: it is in use", message)
    assert.matches("can't listen on", s:reload_fails(listening('":PORT"')))
    assert.equal("hello", http.get(loopback, "/").body)
  end)

  it("says so where a socket that was handed over can't share the port", function()
    process.inherit(true)
    local handed = assert(socket.bind("127.0.0.1", port))
    finally(function()
      handed:close()
      process.inherit(false)
    end)
    start('"127.0.0.1:PORT"', { handed:getfd() })
    assert.matches("beside a listener of this instance that is there already; restart it",
      s:reload_fails(listening('":PORT"')))
    assert.equal("hello", http.get(loopback, "/").body)
  end)
end)
