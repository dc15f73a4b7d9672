-- Workers that a page's script ends again and again: the page is answered without its script for
-- some time. What a lost worker had under way is in the access log.

local http = require("tests.support.http")
local json = require("moongate.base.json")
local net = require("tests.support.net")
local poll = require("tests.support.poll")
local process = require("tests.support.process")
local server = require("tests.support.server")

server.inspect()

local ROUTE = [[return { %s
  control = false, script_timeout = 1, stop_timeout = 10,
  on_request = function(req)
    if req.path == "/exit" then require("ffi").C._exit(3) end
    if req.path == "/loop" then while true do end end
    if req.path == "/wait" then require("moongate").sleep(60) end
    return { status = 200, body = "hello" }
  end,
  on_error = function() require("ffi").C._exit(4) end,
}]]
local FFI = [[require("ffi").cdef("void _exit(int status);") ]]

local function lost(s)
  return select(2, s:errors():gsub("another one takes its place", ""))
end

local function send(s, path)
  local ok, conn = pcall(net.connect, s.address)
  if ok then
    conn:send(("GET %s HTTP/1.1\r\nHost: shop.example\r\n\r\n"):format(path))
    return conn
  end
end

describe("a page that ends its worker", function()
  for _, case in ipairs({ { 1, "/exit" }, { 2, "/exit" }, { 2, "/loop" } }) do
    local workers, path = case[1], case[2]
    it(("%s, of %d workers, costs two or three of them"):format(path, workers), function()
      local s = server.start({ workers = workers, route = FFI .. ROUTE:format("") })
      finally(function() s:stop() end)
      local victims = {}
      for i = 1, 10 do
        victims[i] = send(s, path .. "?n=" .. i)
      end
      local served, failed = http.ask_beside(s.address, "/good", "hello", 5, function()
        victims[#victims + 1] = send(s, path)
      end)
      local line = s:wait_log("the page shop%.example" .. path .. " has cost workers")
      assert.truthy(line:find("answered 500 for 10 s", 1, true), line)
      local said = ("%d workers lost, %d served, %d failed"):format(lost(s), served, failed)
      assert.is_true(lost(s) >= 2 and lost(s) <= 3, said)
      assert.is_true(served > 0 and failed <= 3, said)
      local res = http.request(s.address, { path = path .. "?x=1", host = "shop.example" })
      assert.equal(500, res.status)
      for _, conn in pairs(victims) do
        conn:close()
      end
    end)
  end

  it("is tried again after that, and out for twice as long if it does it again", function()
    local s = server.start({ workers = 2, route = FFI .. ROUTE:format("") })
    finally(function() s:stop() end)
    local function lose(count)
      for _ = lost(s) + 1, count do
        local before = lost(s)
        local conn = send(s, "/exit")
        poll.wait(function() return lost(s) > before end, "the end of a worker")
        conn:close()
      end
    end
    lose(2)
    s:wait_log("answered 500 for 10 s")
    s:wait_log("the page shop%.example/exit is tried again after 10 s", 20)
    poll.wait(function() return #s:workers() == 2 end, "both workers")
    lose(3)
    s:wait_log("answered 500 for 20 s")
  end)

  it("is tried again with a new script", function()
    local s = server.start({ workers = 2, route = FFI .. ROUTE:format("") })
    finally(function() s:stop() end)
    for count = 1, 2 do
      local conn = send(s, "/exit")
      poll.wait(function() return lost(s) == count end, "the end of a worker")
      conn:close()
    end
    s:wait_log("answered 500 for 10 s")
    poll.wait(function() return #s:workers() == 2 end, "both workers")
    local function get()
      return http.request(s.address, { path = "/exit", host = "shop.example" })
    end
    assert.equal(500, get().status)
    process.write_file(s.route_path, [[return { control = false,
      on_request = function() return { status = 200, body = "mended" } end }]])
    s:reload()
    assert.equal("mended", get().body)
    s:wait_log("shop%.example/exit is tried again, with the new script")
  end)
end)

describe("the requests of a worker that ends", function()
  local function cut(log)
    local s = server.start({ workers = 1, route = FFI .. ROUTE:format(log) })
    local waiting = {}
    for i = 1, 5 do
      waiting[i] = send(s, "/wait?n=" .. i)
    end
    -- The worker has them once it has answered what came behind them.
    for _ = 1, 3 do
      assert.equal("hello", http.get(s.address, "/good").body)
    end
    waiting[6] = send(s, "/exit")
    s:wait_log("requests cut with the worker: 6,")
    s:wait_access("/exit")
    for _, conn in ipairs(waiting) do
      conn:close()
    end
    return s
  end

  it("have their lines in the access log", function()
    local s = cut("")
    finally(function() s:stop() end)
    for i = 1, 5 do
      local line = s:wait_access("/wait%?n=" .. i)
      assert.truthy(line:find('^127.0.0.1 %- %- %[[^]]+%] "GET /wait%?n=' .. i ..
        ' HTTP/1.1" 502 0 "%-" "%-"$'), line)
    end
    assert.equal(5, select(2, s:access():gsub("/wait", "")))
    assert.equal(3, select(2, s:access():gsub("/good", "")))
  end)

  it("also as JSON, with what is known", function()
    local s = cut("log = { format = 'json' },")
    finally(function() s:stop() end)
    local line = s:wait_access("/wait%?n=3")
    local entry = json.decode(line:match("{.*}"))
    assert.equal(502, entry.status)
    assert.equal("shop.example", entry.host)
    assert.equal("GET", entry.method)
    assert.equal("/wait?n=3", entry.uri)
    assert.equal("127.0.0.1", entry.client)
    assert.equal("its worker ended with status 3", entry.error)
    assert.equal(16, #entry.id)
    assert.is_true(entry.duration >= 0 and entry.duration < 60)
  end)
end)
