-- Listeners on one port: a reload that changes which of its addresses are listened on, and those
-- that lie beside one another.

local http = require("tests.support.http")
local load = require("tests.support.load")
local net = require("tests.support.net")
local process = require("tests.support.process")
local server = require("tests.support.server")
local socket = require("socket")
local stage = require("tests.support.stage")

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

  -- Twenty answers, so that each worker has given some.
  local function answers(key, word)
    for _ = 1, 20 do
      local res = http.get(loopback, "/")
      assert.equal(word, key == "body" and res.body or res.headers.listener)
    end
  end

  before_each(function()
    port = tostring(net.free_port("*"))
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
      answers("body", "word" .. i)
    end
    s:reload(listening('"127.0.0.2:PORT"'))
    assert.equal(200, http.get("127.0.0.2:" .. port, "/").status)
    assert.is_nil(net.try_connect(loopback))
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
    answers("listener", "all")
  end)

  it("is not had twice in different words", function()
    local twice = '"127.0.0.1:PORT", "localhost:PORT"'
    start('"127.0.0.1:PORT"')
    local message = s:reload_fails(listening(twice))
    assert.matches("both 127%.0%.0%.1:%d+ and localhost:%d+: they are the same address", message)
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

describe("a name that is listened on", function()
  -- As Debian writes it. Where this process can't be given it, the system's own names count.
  local STOCK = "127.0.0.1\tlocalhost\n::1\t\tlocalhost ip6-localhost ip6-loopback\n"
  local launcher, port, addresses

  -- The addresses of localhost that a socket can have here.
  local function usable(hosts)
    local list = {}
    for _, host in ipairs({ "127.0.0.1", "::1" }) do
      local probe = socket.bind(host, 0)
      if probe and hosts:find("\n" .. host .. "%s+localhost%f[%s]") then
        list[#list + 1] = (host:find(":") and "[%s]:%d" or "%s:%d"):format(host, port)
      end
      if probe then
        probe:close()
      end
    end
    return list
  end

  before_each(function()
    port = net.free_port("*")
    launcher = stage.replacing("/etc/hosts", STOCK)
    addresses = usable("\n" .. (launcher and STOCK or process.read_file("/etc/hosts")))
    assert.truthy(#addresses > 0)
  end)

  local function start(options)
    options.launcher, options.address = launcher, "127.0.0.1:" .. port
    local s = server.start(options)
    finally(function() s:stop() end)
    return s
  end

  local function answers(word)
    for _, address in ipairs(addresses) do
      assert.equal(word, http.get(address, "/").headers.listener, address)
    end
  end

  it("is so at each of its addresses", function()
    local s = start({ own = true, route = route(("'localhost:%d'"):format(port)) })
    answers("localhost:" .. port)
    for _, address in ipairs(addresses) do
      assert.truthy(s:errors():find("http://" .. address, 1, true), s:errors())
    end
  end)

  it("may be given on the command line", function()
    start({ own = true, route = route("':1'"), args = { "--listen", "localhost:" .. port } })
    answers("localhost:" .. port)
  end)

  it("is compared by its addresses in a reload: some stay, the others come and go", function()
    local name = ("{ address = 'localhost:%d', name = 'name' }"):format(port)
    local number = ("{ address = '127.0.0.1:%d', name = 'number' }"):format(port)
    local s = start({ own = true, route = route(number) })
    s:reload(route(name))
    answers("name")
    s:reload(route(number))
    for i, address in ipairs({ unpack(addresses) }) do
      if address:sub(1, 4) ~= "127." then
        assert.is_nil(net.try_connect(address))
        table.remove(addresses, i)
      end
    end
    answers("number")
  end)

  it("is where commands come in as well", function()
    local control = "localhost:" .. net.free_port()
    local text = route(("'127.0.0.1:%d'"):format(port)):gsub("control = false",
      ("control = %q"):format(control))
    local s = start({ own = true, route = text })
    for i = 1, #addresses do
      local place = addresses[i]:gsub("%d+$", control:match("%d+$"))
      local result = server.command({ "status", "--control", place })
      assert.equal(0, result.code, result.stderr)
    end
    -- A change of it waits for a restart: until then commands come in where they did.
    s:reload((text:gsub('control = "[^"]+"', "control = '127.0.0.1:1'")))
    assert.equal(0, server.command({ "status", "--control", control }).code)
  end)

  it("may have an address that this machine doesn't have: it is left out", function()
    launcher = stage.replacing("/etc/hosts", "127.0.0.1 far.test\n192.0.2.7 far.test away.test\n")
    if not launcher then
      return -- the system's names are as they are
    end
    local s = start({ own = true, route = route(("'far.test:%d'"):format(port)) })
    assert.equal("hello", http.get("127.0.0.1:" .. port, "/").body)
    assert.matches("far%.test:%d+: 192%.0%.2%.7:%d+ is no address of this machine; it is left out",
      s:errors())
    assert.matches("can't listen on 192%.0%.2%.7:%d+: Cannot assign requested address",
      s:reload_fails(route(("'away.test:%d'"):format(port))))
  end)

  it("must be known", function()
    local s = start({ own = true, route = route(("'127.0.0.1:%d'"):format(port)) })
    -- A label of more than 63 bytes: nobody is asked for it.
    assert.matches("can't listen on x+%.test:%d+: %u%a+",
      s:reload_fails(route(("'%s.test:%d'"):format(("x"):rep(64), port))))
    assert.equal("hello", http.get("127.0.0.1:" .. port, "/").body)
  end)
end)
