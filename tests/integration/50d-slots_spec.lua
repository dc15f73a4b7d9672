-- Which worker accepts from which socket. A client in a socket that nobody accepts from waits for
-- ever. The kernel spreads connections over all sockets of an address, so some of forty would be in
-- it. 53-upgrade_spec has the same of a successor.

local http = require("tests.support.http")
local net = require("tests.support.net")
local poll = require("tests.support.poll")
local process = require("tests.support.process")
local server = require("tests.support.server")

describe("new clients", function()
  local dir, address, clients

  before_each(function()
    dir = process.tempdir("slots")
    process.chmod(dir, "777")
    address = "127.0.0.1:" .. net.free_port()
    clients = {}
  end)

  after_each(function()
    for _, client in ipairs(clients) do
      client:close()
    end
  end)

  -- A route that answers its word and the worker; /held waits until there is a file "go".
  local function text(workers, word, more)
    return ([[
      local moongate = require("moongate")
      local function file(name)
        local f = io.open(%q .. name)
        return f and f:close()
      end
      return {
        control = "unix:%s/c.sock", watch = false, listen = %q, workers = %d, %s
        on_request = function(req)
          while req.path == "/held" and not file("go") do moongate.sleep(0.02) end
          return { status = 200, body = %q .. moongate.worker }
        end,
      }]]):format(dir .. "/", dir, address, workers, more or "", word)
  end

  local function start(route_text)
    return server.start({ own = true, address = address, route = route_text })
  end

  -- All are there at once, and all are answered; what they are told, each once.
  local function forty()
    local seen, list = {}, {}
    for i = 1, 40 do
      clients[i] = http.open(address)
      clients[i]:send({ path = "/" })
    end
    for _, client in ipairs(clients) do
      local word = client:receive("GET").body
      client:close()
      list[#list + 1] = not seen[word] and word or nil
      seen[word] = true
    end
    clients = {}
    table.sort(list)
    return table.concat(list, " ")
  end

  local function command(name, ...)
    return server.command({ name, "--control", ("unix:%s/c.sock"):format(dir), ... })
  end

  local FAILING = { ["all workers"] = "true", ["new ones"] = "moongate.worker > 1" }
  for name, condition in pairs(FAILING) do
    it("are answered when a reload to more workers has failed in " .. name, function()
      local s = start(text(1, "a"))
      finally(function() s:stop() end)
      for _ = 1, 2 do
        s:rewrite(text(4, "b", ([[on_start = function()
          moongate.sleep(0.05)
          if %s then error("no database") end
        end,]]):format(condition)))
        local result = command("reload")
        assert.equal(1, result.code, result.stdout)
        assert.truthy(result.stderr:find("no database", 1, true), result.stderr)
        assert.truthy(command("status").stdout:find("no database", 1, true))
        assert.equal("a1", forty())
        poll.wait(function() return #s:workers() == 1 end, "the new workers' end")
      end
      assert.equal(0, select(2, s:errors():gsub("a new worker can't serve", "")), s:errors())
      s:reload(text(4, "c"))
      poll.wait(function() return forty() == "c1 c2 c3 c4" end, "all workers")
    end)
  end

  it("are answered when a new worker dies, or never comes to its end, in a reload", function()
    local s = start(text(1, "a"))
    finally(function() s:stop() end)
    s:rewrite(text(3, "b", [[on_start = function()
      if moongate.worker > 1 then
        local ffi = require("ffi")
        ffi.cdef("void _exit(int);")
        ffi.C._exit(9)
      end
    end,]]))
    local result = command("reload")
    assert.equal(1, result.code, result.stdout)
    assert.truthy(result.stderr:find("a new worker ended with status 9", 1, true), result.stderr)
    assert.equal("a1", forty())
    s:rewrite(text(3, "c", [[on_start = function()
      if moongate.worker > 1 then while true do ("x"):rep(2) end end
    end,]]))
    assert.equal(1, command("reload").code)
    assert.equal("a1", forty())
  end)

  it("are answered by the old script while new workers start, then by all workers", function()
    local s = start(text(1, "a"))
    finally(function() s:stop() end)
    local from = s:mark()
    s:rewrite(text(4, "b", [[on_start = function()
      if moongate.worker > 1 then
        io.stderr:write("starting\n")
        while not file("go") do moongate.sleep(0.02) end
      end
    end,]]))
    s.process:kill("HUP")
    poll.wait(function()
      return select(2, s:errors():sub(from + 1):gsub("starting", "")) == 3
    end, "three workers that start")
    assert.equal("a1", forty())
    process.write_file(dir .. "/go", "")
    assert.truthy(s:wait_reloaded(from))
    poll.wait(function() return forty() == "b1 b2 b3 b4" end, "all workers")
  end)

  it("are answered while a worker that was not needed has not left", function()
    local s = start(text(2, "a"))
    finally(function()
      process.write_file(dir .. "/go", "")
      s:stop()
    end)
    local busy
    poll.wait(function()
      busy = http.open(address)
      clients[#clients + 1] = busy
      return busy:request({ path = "/" }).body == "a2"
    end, "a client of the second worker")
    busy:send({ path = "/held" })
    s:reload(text(1, "b"))
    assert.equal("b1", forty())
    s:reload(text(2, "c"))
    assert.equal("c1 c2", forty())
    process.write_file(dir .. "/go", "")
    assert.equal("a2", busy:receive("GET").body)
    busy:close()
    poll.wait(function() return #s:workers() == 2 end, "its end")
  end)

  it("are answered by the others while a worker that died can't come back", function()
    local s = start(text(3, "a", [[on_start = function()
      if file("broken") then error("no database") end
    end,]]))
    finally(function() s:stop() end)
    poll.wait(function() return forty() == "a1 a2 a3" end, "all workers")
    process.write_file(dir .. "/broken", "")
    local from, workers = s:mark(), s:workers()
    process.signal(workers[1], "KILL")
    process.signal(workers[3], "KILL")
    poll.wait(function()
      return select(2, s:errors():sub(from + 1):gsub("a new worker can't serve", "")) >= 2
    end, "two tries")
    assert.equal("a2", forty())
    assert.truthy(command("status").stdout:find("no database", 1, true))
    -- A reload to the very worker that can't come back ends none that serves.
    s:rewrite(text(1, "b", [[on_start = function()
      if moongate.worker == 1 then error("still no database") end
    end,]]))
    local result = command("reload")
    assert.equal(1, result.code, result.stdout)
    assert.truthy(result.stderr:find("still no database", 1, true), result.stderr)
    assert.equal("a2", forty())
    os.remove(dir .. "/broken")
    s:reload(text(3, "c")) -- which waits for no pause
    poll.wait(function() return forty() == "c1 c2 c3" end, "all workers")
    assert.is_false(process.gone(workers[2]))
  end)

  it("of an address that a reload adds are let in when it serves", function()
    local more = "127.0.0.1:" .. net.free_port()
    local both = ("%s', '%s"):format(address, more)
    local function added(word, on_start)
      return (text(2, word, on_start):gsub(("listen = %q"):format(address),
        ("listen = { '%s' }"):format(both)))
    end
    local s = start(text(2, "a"))
    finally(function() s:stop() end)
    local from = s:mark()
    s:rewrite(added("b", [[on_start = function()
      io.stderr:write("starting\n")
      while not file("go") do moongate.sleep(0.02) end
      if moongate.worker == 2 then error("no database") end
    end,]]))
    s.process:kill("HUP")
    s:wait_log("^starting", nil, from)
    assert.is_nil(net.try_connect(more))
    process.write_file(dir .. "/go", "")
    assert.is_nil((s:wait_reloaded(from)))
    assert.is_nil(net.try_connect(more))
    s:reload(added("c"))
    for _ = 1, 20 do
      assert.equal("c", http.get(more, "/").body:sub(1, 1))
    end
  end)
end)
