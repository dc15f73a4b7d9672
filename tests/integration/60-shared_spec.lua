-- moongate.shared: what one worker has written the others read, whatever becomes of scripts,
-- workers and masters meanwhile. The route runs the Lua that a request brings.

local http = require("tests.support.http")
local json = require("moongate.base.json")
local poll = require("tests.support.poll")
local process = require("tests.support.process")
local rig = require("tests.support.rig")
local server = require("tests.support.server")
local socket = require("socket")

server.inspect()

local BEFORE = [[
local moongate = require("moongate")
local d = moongate.shared("test")
local function run(code)
  local values = { n = 0 }
  local function take(...)
    for i = 1, select("#", ...) do
      local value = select(i, ...)
      values[i] = type(value) == "table" and table.concat(value, " ") or tostring(value)
    end
  end
  take(assert(loadstring("local d, moongate = ...; " .. code))(d, moongate))
  return table.concat(values, ", ")
end
]]

local ON_REQUEST = [[
if req.path == "/misuse" then
  return { body = d:set("k", {}) }
end
do
  return {
    headers = { ["X-Pid"] = tostring(require("moongate.core").worker().pid) },
    body = run(req.args.run),
  }
end
]]

local function start(options)
  options = options or {}
  options.responder = false
  options.servers = { "127.0.0.1:1" }
  options.before = BEFORE
  options.on_request = ON_REQUEST
  return rig.start(options)
end

local function target(code)
  return "/?run=" .. http.escape(code)
end

-- What the code returns, as text, with ", " between values; and the worker that has run it.
local function run(who, code)
  local request = { path = target(code) }
  local res = who.request and who:request(request) or http.request(who.address, request)
  assert.equal(200, res.status, code)
  return res.body, tonumber(res.headers["x-pid"])
end

-- A connection to each of two workers.
local function two_workers(r)
  local clients, spare, pids = {}, {}, {}
  poll.wait(function()
    local client = http.open(r.address)
    local _, pid = run(client, "return 1")
    local list = pids[pid] and spare or clients
    list[#list + 1] = client
    pids[pid] = true
    return #clients == 2
  end, "a connection to each worker")
  for _, client in ipairs(spare) do
    client:close()
  end
  return clients[1], clients[2]
end

-- Whether a process has mapped the memory of its instance's dictionaries.
local function has_mapped(pid)
  local maps = process.read_file(("/proc/%d/maps"):format(pid)) or ""
  return maps:find("/memfd:moongate-shared ", 1, true) ~= nil
end

local function exists(path)
  return os.rename(path, path) ~= nil
end

describe("a shared dictionary", function()
  it("is the same for all workers", function()
    local r = start({ workers = 2 })
    finally(function() r:stop() end)
    local a, b = two_workers(r)
    assert.equal("nil", run(a, [[return d:get("k")]]))
    assert.equal("true", run(a, [[return d:set("k", "one")]]))
    assert.equal("one", run(b, [[return d:get("k")]]))
    assert.equal("nil, exists", run(b, [[return d:add("k", "two")]]))
    assert.equal("true", run(b, [[return d:replace("k", 2.5)]]))
    assert.equal("4, number", run(a, [[return d:incr("k", 1.5), type(d:get("k"))]]))
    assert.equal("true", run(b, [[return d:set("k", false)]]))
    assert.equal("false, boolean", run(a, [[return d:get("k"), type(d:get("k"))]]))
    assert.equal("true", run(a, [[return d:delete("k")]]))
    assert.equal("nil, not found", run(b, [[return d:replace("k", 1)]]))
    assert.equal("nil, not found", run(b, [[return d:incr("k", 1)]]))
    assert.equal("6", run(b, [[return d:incr("k", 1, 5)]]))
    assert.equal("7", run(a, [[return d:incr("k")]]))
    a:close()
    b:close()
  end)

  it("has keys, and is not another one", function()
    local r = start()
    finally(function() r:stop() end)
    assert.equal("b 3 a, 3", run(r, [[
      d:set("b", 1) d:set(3, 1) d:set("a", 1) d:set("", 1) d:delete("")
      moongate.shared("other"):set("c", 1)
      local keys = d:keys()
      return keys[3] .. " " .. keys[1] .. " " .. keys[2], #keys]]))
    assert.equal("3", run(r, [[return d:keys(1)]]))
    assert.equal("c", run(r, [[return moongate.shared("other"):keys()]]))
    assert.equal("", run(r, [[return moongate.shared("empty"):keys()]]))
    assert.equal("true, shared: test", run(r, [[return moongate.shared("test") == d, tostring(d)]]))
    -- bytes are bytes
    assert.equal("3, true", run(r, [[
      d:set("\0\255", "\0\1\2")
      return #d:get("\0\255"), d:get("\0\255") == "\0\1\2"]]))
  end)

  it("counts exactly what two workers add at the same time", function()
    local r = start({ workers = 2 })
    finally(function() r:stop() end)
    local a, b = two_workers(r)
    local code = [[
      for i = 1, 10000 do
        assert(d:incr("sum", 1, 0))
      end
      return d:get("sum")]]
    a:send({ path = target(code) })
    b:send({ path = target(code) })
    local x, y = tonumber(a:receive().body), tonumber(b:receive().body)
    assert.equal(20000, math.max(x, y))
    assert.equal("20000", run(a, [[return d:get("sum")]]))
    a:close()
    b:close()
  end)

  it("forgets what has a time to live", function()
    local r = start()
    finally(function() r:stop() end)
    local since = socket.gettime()
    -- In one hook: between two requests the entries may end.
    assert.equal("true, true, 1, 1, 1, 2", run(r, [[
      return d:set("short", 1, 0.3), d:set("long", 1, 100), d:incr("n", 1, 0, 0.3),
        d:get("short"), d:get("long"), d:incr("n", 1, 0, 50)]]))
    poll.wait(function()
      return run(r, [[return d:get("short")]]) == "nil"
    end, "the end of an entry")
    assert.is_true(socket.gettime() - since >= 0.29)
    poll.wait(function()
      return run(r, [[return d:keys()]]) == "long"
    end, "the end of a counter")
    assert.equal("1, true", run(r, [[return d:incr("n", 1, 0), d:add("short", 1)]]))
  end)

  it("says when the memory is full, and loses nothing of it", function()
    local r = start({ settings = [[limits = { shared = "1M" }]] })
    finally(function() r:stop() end)
    local count, reason = run(r, [[
      local n, ok, why = 0
      repeat
        ok, why = d:set(n, ("x"):rep(100))
        n = n + (ok and 1 or 0)
      until not ok
      return n, why]]):match("^(%d+), (.*)$")
    assert.equal("no memory", reason)
    assert.is_true(tonumber(count) > 2000, count)
    assert.equal(count, run(r, [[return #d:keys(1000000)]]))
    assert.equal("100, true, nil, no memory", run(r, [[
      return #d:get(0), d:set(0, "y"), d:set("more", ("x"):rep(10000))]]))
    assert.equal("true, true", run(r, [[
      for _, key in ipairs(d:keys(1000000)) do
        assert(d:delete(key))
      end
      return d:set("more", ("x"):rep(10000)), #d:keys() == 1]]))
    assert.matches("^nil, the value is too long %(at most 65536 bytes", (run(r, [[
      return d:set("k", ("x"):rep(65536))]])))
    assert.equal("nil, the key is too long (at most 437 bytes)", run(r, [[
      return d:set(("k"):rep(438), 1)]]))
    assert.equal("true, 1", run(r, [[
      return d:set(("k"):rep(437), 1), d:get(("k"):rep(437))]]))
  end)

  it("makes room by what is over", function()
    local r = start({ settings = [[limits = { shared = "1M" }]] })
    finally(function() r:stop() end)
    local fill = [[ -- before its first entries are over, however slow the machine is
      local n = 0
      while d:set(%q .. n, ("x"):rep(500), %s) do
        n = n + 1
      end
      return n]]
    assert.is_true(tonumber((run(r, fill:format("a", "4")))) > 500)
    poll.wait(function()
      return run(r, [[return #d:keys()]]) == "0"
    end, "the end of all entries")
    assert.is_true(tonumber((run(r, fill:format("b", "nil")))) > 500)
  end)
end)

describe("misuse of a shared dictionary", function()
  it("is an error with file and line", function()
    local r = start()
    finally(function() r:stop() end)
    assert.equal(500, http.get(r.address, "/misuse").status)
    r.server:wait_log("route%.lua:%d+: shared: set: expected a string, a number or a boolean as "
      .. "value, got a table")
  end)

  it("says what was expected", function()
    local r = start()
    finally(function() r:stop() end)
    for code, message in pairs({
      ["d:set('k')"] = "set: expected a string, a number or a boolean as value, got nothing",
      ["d:set({}, 1)"] = "set: expected a string or a number as key, got a table",
      ["d:get()"] = "get: expected a string or a number as key, got nothing",
      ["d:add('k', 1, -1)"] = "add: expected seconds from 0 (for good) to 1e9 to live, got -1",
      ["d:set('k', 1, 0/0)"] = "set: expected seconds from 0 (for good) to 1e9 to live, got nan",
      ["d:set('k', 1, '5s')"] = "set: expected seconds from 0 (for good) to 1e9 to live, "
        .. 'got "5s"',
      ["d:incr('k', '1')"] = 'incr: expected a number to add, got "1"',
      ["d:incr('k', 1, true)"] = "incr: expected a number to begin with, got true",
      ["d:keys(0)"] = "keys: expected a whole number from 1 to 1000000, got 0",
      ["d.get('k')"] = "get is a method: call it as dictionary:get(...)",
      ["d.get(io.stdout, 'k')"] = "get is a method: call it as dictionary:get(...)",
      ["d:gett('k')"] = 'there is no method "gett": it has add, delete, get, incr, keys, replace, '
        .. "set and take",
      ["moongate.shared()"] = "expected a name of 1 to 64 bytes, got nothing",
      ["moongate.shared('')"] = 'expected a name of 1 to 64 bytes, got ""',
      ["moongate.shared(('n'):rep(65))"] = 'expected a name of 1 to 64 bytes, got "'
        .. ("n"):rep(57) .. '..."',
    }) do
      local got = run(r, ("return select(2, pcall(function() %s end))"):format(code))
      assert.equal("shared: " .. message, (got:gsub("^%[string .-%]:1: ", "")))
    end
    assert.equal("true", run(r, "return d:set('k', 1)"))
  end)
end)

describe("shared dictionaries live on", function()
  it("over a reload", function()
    local r = start({ workers = 2, control = true })
    finally(function() r:stop() end)
    assert.equal("true", run(r, [[return d:set("k", "old")]]))
    r:tell("reload")
    assert.equal("2", tostring(json.decode(r:tell("status", "--json")).generation))
    assert.equal("old", run(r, [[return d:get("k")]]))
    assert.equal("true", run(r, [[return d:set("k", "new")]]))
    assert.equal("new", run(r, [[return d:get("k")]]))
  end)

  it("when workers are killed, in the middle of writing, too", function()
    local r = start({ workers = 2, dies = true })
    finally(function() r:stop() end)
    assert.equal("true", run(r, [[return d:set("k", "v")]]))
    for i = 1, 3 do
      local a, b = two_workers(r)
      local _, pid = run(a, [[return d:set("steps", 0)]])
      -- A page that costs several workers is put into quarantine: each round has its own.
      a:send({ path = "/round" .. i .. target([[
        for i = 1, 1e8 do
          d:incr("steps", 1) d:set("x" .. i % 100, i, 100)
        end]]):sub(2) })
      poll.wait(function()
        return tonumber((run(b, [[return d:get("steps")]]))) > 1000 * i
      end, "a worker that writes")
      process.signal(pid, "KILL")
      assert.equal("v", run(b, [[return d:get("k")]]))
      assert.equal(tostring(i), run(b, [[return d:incr("deaths", 1, 0)]]))
      poll.wait(function()
        return select(2, r.server:errors():gsub("was killed by signal 9", "")) == i
      end, "the master's word about it")
      a:close()
      b:close()
    end
    for _, client in ipairs({ two_workers(r) }) do -- not before the last one serves
      assert.equal("v, 3", run(client, [[return d:get("k"), d:get("deaths")]]))
      client:close()
    end
  end)

  it("and so does who takes the place of a worker that was killed within a hook", function()
    local r = start({ workers = 2, dies = true, settings = "script_timeout = 1.5" })
    finally(function() r:stop() end)
    local a, b = two_workers(r)
    local _, pid = run(a, [[return d:set("steps", 0)]])
    a:send({ path = target([[while true do d:incr("steps", 1) end]]) })
    poll.wait(function()
      return run(b, [[return d:get("steps")]]) ~= "0"
    end, "a worker that writes")
    process.signal(pid, "KILL")
    r.server:wait_log("was killed by signal 9")
    a:close()
    b:close()
    -- Twice script_timeout without a request: the master must not take that for a script that runs.
    a, b = two_workers(r)
    assert.is_true(a.conn:silent(3.2))
    assert.equal("true", run(a, [[return d:get("steps") > 0]]))
    assert.equal("true", run(b, [[return d:get("steps") > 0]]))
    a:close()
    b:close()
  end)

  it("over an upgrade of the binary", function()
    local r = start({ workers = 2 })
    local successor
    finally(function()
      if successor then
        process.signal(successor, "TERM")
        poll.wait(function()
          return not exists(("/proc/%d"):format(successor))
            or (process.read_file(("/proc/%d/stat"):format(successor)) or ""):find(") Z", 1, true)
        end, "the end of the successor")
      end
      r.server:check_reports()
    end)
    assert.equal("true", run(r, [[return d:set("k", "old")]]))
    r.server.process:kill("USR2")
    successor = tonumber(r.server:wait_log("pid %d+ serves in our place"):match("pid (%d+) serves"))
    r.server.process:wait(10)
    assert.equal(0, r.server.process.code)
    assert.equal("old", run(r, [[return d:get("k")]]))
    assert.equal("true", run(r, [[return d:set("k", "new")]]))
  end)
end)

describe("the memory of shared dictionaries", function()
  it("is taken when a script first asks, and has no name in a file system",
    function()
      local r = rig.start({ control = true, responder = false, servers = { "127.0.0.1:1" } })
      local function shared()
        return json.decode(r:tell("status", "--json")).shared
      end
      assert.is_false(has_mapped(r.workers[1]))
      assert.same({ size = 14 * 2 ^ 20, used = 0 }, shared())
      r:stop()

      r = start({ control = true })
      assert.is_true(has_mapped(r.workers[1]))
      assert.equal("true, 5000", run(r, [[return d:set("k", ("x"):rep(5000)), #d:get("k")]]))
      assert.equal(14 * 2 ^ 20, shared().size)
      assert.is_true(shared().used >= 5000 and shared().used < 50000)
      r:stop()
    end)

  it("is a process's own outside of a server", function()
    local dir = process.tempdir("route")
    process.write_file(dir .. "/route.lua", [[
      local hits = require("moongate").shared("hits")
      assert(hits:incr("loads", 1, 0) == 1)
      return {
        on_request = function()
          return { status = 200 + hits:incr("loads", 1) }
        end,
      }
    ]])
    assert.equal(0, server.command({ "check", dir .. "/route.lua" }).code)
    local got = server.command({ "explain", dir .. "/route.lua", "/x" })
    assert.equal(0, got.code, got.stderr)
    assert.matches("202", got.stdout)
  end)
end)
