-- limits.connections and limits.per_ip: counted over all workers, given back by whoever leaves or
-- dies; one connection too many is told so and closed.

local http = require("tests.support.http")
local net = require("tests.support.net")
local poll = require("tests.support.poll")
local process = require("tests.support.process")
local server = require("tests.support.server")

local function start(limits, workers)
  return server.start({
    workers = workers,
    route = ([[
      return {
        control = false,
        limits = { %s },
        on_request = function() return { status = 200, body = "hello" } end,
      }
    ]]):format(limits),
  })
end

-- A connection that is in use: its first request has been answered.
local function enter(s)
  local client = http.open(s.address)
  local res = client:request({ path = "/" })
  if res.status == 200 then
    return client
  end
  return nil, res, client
end

local function assert_refused(s)
  local client, res, refused = enter(s)
  assert.equal(nil, client)
  assert.equal(503, res.status)
  assert.equal("close", res.headers.connection)
  assert.equal("5", res.headers["retry-after"])
  assert.is_truthy(res.headers.date)
  assert.is_truthy(res.body:find("<h1>503 ", 1, true))
  assert.is_true(refused.conn:closes(3))
  refused:close()
end

-- A place becomes free when the server has seen that the client left.
local function wait_welcome(s)
  return poll.wait(function()
    local client, _, refused = enter(s)
    if refused then
      refused:close()
    end
    return client
  end, "a place to become free")
end

for _, limit in ipairs({ "connections", "per_ip" }) do
  describe("limits." .. limit, function()
    it("counts the connections of all workers", function()
      local s = start(limit .. " = 5", 3)
      local clients = {}
      for i = 1, 5 do
        clients[i] = assert(enter(s))
      end
      for _ = 1, 10 do
        assert_refused(s)
      end
      for i = 1, 5 do -- those that are in go on
        assert.equal("hello", clients[i]:request({ path = "/" }).body)
      end
      clients[1]:close()
      clients[1] = wait_welcome(s)
      assert_refused(s)
      s:wait_log("limits%." .. limit .. ": .*127%.0%.0%.1.*: 503")
      for i = 1, 5 do
        clients[i]:close()
      end
      s:stop()
    end)

    it("is told before anything is asked", function()
      local s = start(limit .. " = 1")
      local client = assert(enter(s))
      local conn = net.connect(s.address)
      assert.is_truthy(conn:read_all(5):find("^HTTP/1%.1 503 "))
      conn:close()
      client:close()
      wait_welcome(s):close()
      s:stop()
    end)

    it("gets back what a dead worker had", function()
      local s = start(limit .. " = 4", 2)
      local clients = {}
      for i = 1, 4 do
        clients[i] = assert(enter(s))
      end
      assert_refused(s)
      for _, pid in ipairs(s:workers()) do
        process.signal(pid, "KILL")
      end
      for i = 1, 4 do
        assert.is_true(clients[i].conn:closes(5))
        clients[i]:close()
      end
      for i = 1, 4 do
        clients[i] = poll.wait(function()
          local ok, client = pcall(enter, s)
          return ok and client
        end, "new workers with room")
      end
      assert_refused(s)
      for i = 1, 4 do
        clients[i]:close()
      end
      s:stop()
    end)

    it("of a flood are refused in bounded numbers, and then there is room again", function()
      local s = start(limit .. " = 2")
      local first, second = assert(enter(s)), assert(enter(s))
      local flood = {}
      for i = 1, 400 do
        flood[i] = net.connect(s.address)
      end
      local told, silent = 0, 0
      for i = 1, 400 do
        local ok, bytes = pcall(flood[i].read_all, flood[i], 5)
        assert.is_true(ok)
        told = told + (bytes:find("^HTTP/1%.1 503 ") and 1 or 0)
        silent = silent + (bytes == "" and 1 or 0)
      end
      assert.equal(400, told + silent)
      assert.is_true(told >= 256)
      for i = 1, 400 do
        flood[i]:close()
      end
      assert.equal("hello", first:request({ path = "/" }).body)
      first:close()
      second:close()
      wait_welcome(s):close()
      local _, lines = s:errors():gsub("limits%." .. limit, "")
      assert.is_true(lines <= 3, lines)
      s:stop()
    end)
  end)
end
