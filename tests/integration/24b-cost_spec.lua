-- What a request may cost: however its bytes are chosen within the limits, the worker spends at
-- most ten times on it what it spends on a plain one of as many bytes. A plain target is looked
-- through once, and the script here asks for each of its arguments: there it is 25 times. What grew
-- with the square of 8 KB would be hundreds of times. Both are measured in one run, in turns, as
-- the time that the worker ran, so other load of the machine weighs on neither.
--
-- Runs alone: it measures time.

local http = require("tests.support.http")
local net = require("tests.support.net")
local process = require("tests.support.process")
local rig = require("tests.support.rig")
local stage = require("tests.support.stage")

local MOST, MOST_OF_TARGETS = 10, 25

-- Nanoseconds that a process has run.
local function cpu(pid)
  local text = process.read_file(("/proc/%d/schedstat"):format(pid))
  return tonumber(text:match("^(%d+)"))
end

-- Sends `count` times the same bytes on one connection, each when the answer before has come; or,
-- where answers close the connection, on one each. Returns the nanoseconds that one took.
local function measure(r, bytes, count)
  local pid, conn = r.workers[1], nil
  local before = cpu(pid)
  for _ = 1, count do
    conn = conn or http.open(r.address)
    conn.conn:send(bytes)
    local res = conn:receive("POST")
    if res.headers.connection == "close" then
      conn:close()
      conn = nil
    end
  end
  local took = (cpu(pid) - before) / count
  if conn then
    conn:close()
  end
  return took
end

-- The least of several turns each: what else ran in between has less to say there.
local function ratio(r, plain, nasty, count)
  local least = {}
  for _ = 1, 4 do
    for i, bytes in ipairs({ plain, nasty }) do
      local took = measure(r, bytes, count)
      least[i] = math.min(least[i] or took, took)
    end
  end
  return least[2] / least[1], least[1], least[2]
end

local function assert_fair(r, plain, nasty, count, most)
  local times, one, other = ratio(r, plain, nasty, count or 20)
  if os.getenv("MOONGATE_SAY_COST") then
    print(("%8.0f ns plain, %8.0f ns nasty: %.1f"):format(one, other, times))
  end
  assert.is_true(times <= (most or MOST),
    ("%.1f times (%.0f and %.0f ns)"):format(times, one, other))
end

-- A head of `size` bytes, or a few less, of which `make` fills in the headers.
local function head(first, size, make)
  local before = first .. "\r\nHost: a\r\n"
  return before .. make(size - #before - 2) .. "\r\n"
end

local function fill(piece, last)
  return function(room)
    last = last or ""
    return piece:rep(math.floor((room - #last) / #piece)) .. last
  end
end

-- Long values in a few headers, as cookies and tokens are.
local function plain(room)
  local lines = {}
  for i = 1, 4 do
    lines[i] = ("X-Plain-%d: %s\r\n"):format(i, ("v"):rep(math.floor(room / 4) - 13))
  end
  return table.concat(lines)
end

local SIZE = 16000

local HEADS = {
  ["the same header 95 times"] = function(room)
    return ("X-A: %s\r\n"):format(("v"):rep(math.floor(room / 95) - 7)):rep(95)
  end,
  ["Cookie 95 times"] = function(room)
    return ("Cookie: %s\r\n"):format(("a=b;"):rep(math.floor((room / 95 - 10) / 4))):rep(95)
  end,
  ["Connection of commas"] = function(room)
    return "Connection: " .. (","):rep(room - 14) .. "\r\n"
  end,
  ["Connection of names, and 90 headers that it names"] = function(room)
    local lines = {}
    for i = 1, 90 do
      lines[i] = ("X-A%d: %s\r\n"):format(i, ("v"):rep(math.floor(room / 90) - 20))
    end
    return table.concat(lines) .. "Connection: " .. ("X-A90,"):rep(90) .. "x\r\n"
  end,
  ["95 headers that no application gets"] = function(room)
    local lines = {}
    for i = 1, 95 do
      lines[i] = ("X_%d: %s\r\n"):format(i, ("v"):rep(math.floor(room / 95) - 10))
    end
    return table.concat(lines)
  end,
  ["one cookie of thousands"] = function(room)
    return "Cookie: " .. fill("a=;")(room - 20) .. "\r\n"
  end,
  ["thousands of cookies"] = function(room)
    local list = {}
    for i = 1, math.floor((room - 20) / 8) do
      list[i] = ("c%04d=;"):format(i)
    end
    return "Cookie: " .. table.concat(list) .. "\r\n"
  end,
  ["tabs"] = function(room)
    return "X-A:" .. fill("\t ")(room - 20) .. "x\r\nX-B: \t\t\t\t\r\n"
  end,
  ["a list of ranges and of tags"] = function(room)
    return "Range: bytes=" .. fill("1-1,")(math.floor(room / 2) - 30) .. "2-2\r\nIf-None-Match: "
      .. fill("\"a\",")(math.floor(room / 2) - 30) .. "\"b\"\r\n"
  end,
}

local TARGETS = {
  ["dot segments"] = fill("/a/.."), ["slashes"] = fill("/"), ["single dots"] = fill("/."),
  ["segments"] = fill("/a"), ["scripts"] = fill("/x.php"), ["escapes"] = fill("%61"),
  ["arguments"] = function(room) return "?" .. fill("a&")(room) end,
  ["arguments with values"] = function(room) return "?" .. fill("a=%20&")(room) end,
  ["pluses"] = function(room) return "?a=" .. fill("+")(room - 3) end,
}

describe("a head costs no more than its bytes:", function()
  local r

  local folder = stage.files({ ["file.txt"] = ("a file\n"):rep(100), ["index.php"] = "" })

  setup(function()
    r = rig.start({
      before = ([[local site = require("moongate.php").site { root = %q, backend = "app" }]])
        :format(folder),
      settings = "limits = { request_line = '16k', keepalive_requests = 1000000 },"
        .. "log = { error = '/dev/null' }",
      on_request = ([[
        if req.path == "/read" then -- as a script that asks again and again
          local n = 0
          for _ = 1, 100 do
            n = n + #(req.headers["X-A"] or req.headers["X-Plain-1"] or req.headers.Cookie or "")
          end
          return { status = 200, body = "read " .. n }
        elseif req.path == "/file.txt" then
          return { root = %q }
        elseif req.path ~= "/x.php" then
          local n = 0
          for _ in req.args:each() do n = n + 1 end
          return site(req)
        end
        local n = 0
        for _ in req.cookies:each() do n = n + 1 end
      ]]):format(folder),
    })
  end)

  teardown(function() r:stop() end)

  for name, make in pairs(HEADS) do
    for _, target in ipairs({ "/x.php", "/read", "/file.txt" }) do
      it(name .. ", for " .. target, function()
        local first = ("GET %s HTTP/1.1"):format(target)
        assert_fair(r, head(first, SIZE, plain), head(first, SIZE, make))
      end)
    end
  end

  for name, make in pairs(TARGETS) do
    it("a path or query of " .. name, function()
      local function request(path)
        return ("GET /%s HTTP/1.1\r\nHost: a\r\n\r\n"):format(path)
      end
      assert_fair(r, request(("a"):rep(SIZE / 2)), request(make(SIZE / 2)), 20, MOST_OF_TARGETS)
    end)
  end
end)

describe("a body costs no more than its bytes:", function()
  local r

  setup(function()
    r = rig.start({
      settings = [[limits = { request_memory = "1k", keepalive_requests = 1000000 }]],
      on_request = [[if req.args.Streamed then
        return { backend = "app", docroot = "/srv/app", request_buffering = false }
      end]],
      violations = true,
    })
  end)

  teardown(function() r:stop() end)

  for _, commands in ipairs({ "", "&Streamed=1" }) do
    for name, unit in pairs({ ["a byte"] = "1\r\nx\r\n", ["two bytes"] = "2\r\nxx\r\n",
      ["a byte, and an extension"] = "1;a=b\r\nx\r\n" }) do
      it(("in chunks of %s %s"):format(name, commands), function()
        local function request(body)
          return "POST /x.php?sum" .. commands
            .. " HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" .. body
        end
        local size = 15000
        assert_fair(r, request(http.chunks({ ("x"):rep(size) })),
          request(unit:rep(math.floor(size / #unit)) .. "0\r\n\r\n"))
      end)
    end
  end

  it("an endless dribble of empty lines is refused", function()
    local conn = net.connect(r.address)
    conn:try_send(("\r\n"):rep(20000))
    conn:try_send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert.is_truthy(conn:read_all(5):find("^HTTP/1%.1 4%d%d "))
    conn:close()
  end)
end)
