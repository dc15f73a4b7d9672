-- Replies to clients that are slower than the application: what waits for them lies in memory, then
-- in an unlinked file of spool_dir, then the application waits; whatever happens, what the client
-- reads is every byte in its order. And what becomes of a body that can't be kept.

local http = require("tests.support.http")
local net = require("tests.support.net")
local poll = require("tests.support.poll")
local process = require("tests.support.process")
local rig = require("tests.support.rig")
local server = require("tests.support.server")
local socket = require("socket")

server.inspect()

local MEGABYTE = 1024 * 1024

-- A folder that the worker's user may write.
local function spool_folder()
  local dir = process.tempdir("spool")
  process.chmod(dir, "777")
  return dir
end

local function start(limits, dir, args)
  return rig.start({
    args = args, server = { env = server.MEASURED },
    backend = "keepalive = 4",
    settings = ("limits = { spool_dir = %q, %s }"):format(dir or spool_folder(), limits or ""),
  })
end

--- The files without a name that the worker has open, but for those of its dictionaries, which lie
--- in memory.
---@return { size: integer, disk: integer }[]
local function spools(r)
  local found = process.run({
    argv = { "find", ("/proc/%d/fd"):format(r.server:workers()[1]), "-maxdepth", "1",
      "-lname", "/* (deleted)", "-not", "-lname", "/memfd:*",
      "-exec", "stat", "-L", "-c", "%s %b", "{}", "+" },
  }).stdout
  local list = {}
  for size, blocks in found:gmatch("(%d+) (%d+)\n") do
    list[#list + 1] = { size = tonumber(size), disk = tonumber(blocks) * 512 }
  end
  return list
end

-- Runs `action` while the test run and what it starts may write files up to this size only: what a
-- full disk does, without a disk.
local function with_file_size(size, action)
  local function prlimit(...)
    local res = process.run({ argv = { "prlimit", "--pid", tostring(process.pid()), ... } })
    assert(res.code == 0, res.stderr)
    return res.stdout:match("%S+")
  end
  local before = prlimit("--fsize", "--raw", "--noheadings", "--output", "SOFT")
  prlimit(("--fsize=%d:"):format(size))
  local ok, result = pcall(action)
  prlimit(("--fsize=%s:"):format(before))
  assert(ok, result)
  return result
end

-- Waits until the application has nothing more to send because nobody takes it: `least` bytes have
-- come, where that is known, and no more come.
local function wait_until_still(r, least)
  local last, same
  poll.wait(function()
    local file = spools(r)[1] or { size = 0 }
    same = file.size == last and same + 1 or 0
    last = file.size
    return same >= 12 and last >= (least or 0)
  end, "the spool to stand still", 120)
  return last
end

local function no_spools(r)
  poll.wait(function()
    return #spools(r) == 0
  end, "the spool file to be closed")
end

-- Asks for a reply of which nothing is read until the scenario does so.
local function ask(r, commands, request)
  local client = http.open(r.address, { timeout = 20 })
  request = request or {}
  request.path = rig.target(commands)
  return client:send(request)
end

local function assert_body(expected, client, method)
  local res = client:receive(method)
  assert.equal(200, res.status)
  assert.equal(#expected, #res.body)
  assert.is_true(expected == res.body)
  return res
end

describe("a slow client", function()
  local r
  local whole = rig.pattern(20 * MEGABYTE)

  setup(function() r = start() end)
  teardown(function() r:stop() end)

  for name, framing in pairs({ ["with its length"] = "&length", ["in chunks"] = "" }) do
    it("does not hold the application that replies " .. name, function()
      local before = #r:events("REQUEST")
      local client = ask(r, "close=end&size=" .. #whole .. framing)
      poll.wait(function()
        return #r:events("REQUEST") == before + 1 and r:open_connections() == 0
      end, "the application to be done")
      assert.equal("complete", r:events("REQUEST")[before + 1]["end"])
      local files = spools(r)
      assert.equal(1, #files)
      assert.is_true(files[1].size > 5 * MEGABYTE and files[1].size < #whole)
      assert_body(whole, client)
      no_spools(r)
      -- The connection goes on.
      assert.equal("hello\n", client:request({ path = rig.target("") }).body)
      client:assert_quiet()
      client:close()
    end)
  end

  it("gets pipelined replies one after another", function()
    local client = ask(r, "size=" .. #whole)
    client:send({ path = rig.target("body=second") })
    client:send({ path = rig.target("length&size=" .. #whole) })
    client:send({ path = rig.target("body=fourth") })
    wait_until_still(r)
    assert_body(whole, client)
    assert.equal("second", client:receive().body)
    assert_body(whole, client)
    assert.equal("fourth", client:receive().body)
    client:assert_quiet()
    client:close()
    no_spools(r)
  end)

  it("of HTTP/1.0 gets all of it up to the end of the connection", function()
    local client = ask(r, "size=" .. #whole, { version = "1.0" })
    wait_until_still(r)
    assert.equal("close", assert_body(whole, client).framing)
    client:close()
    no_spools(r)
  end)

  it("that reads in fits and starts gets every byte", function()
    local client = ask(r, "length&size=" .. #whole .. "&pieces=40&piece_delay=5")
    client.conn:read_until("\r\n\r\n")
    local pieces, have = {}, 0
    local state = 1
    while have < #whole do
      state = state * 1103 % 65521
      local n = math.min(#whole - have, state % 5 == 0 and MEGABYTE or state * 4)
      pieces[#pieces + 1] = client.conn:read(n)
      have = have + n
      client.conn:silent(state % 4 / 1000) -- looks away for a moment
    end
    assert.is_true(table.concat(pieces) == whole)
    client:close()
    no_spools(r)
  end)

  it("sees that a reply was cut, behind all that had come", function()
    local client = ask(r, "fail=close-mid-body&size=" .. #whole)
    r.server:wait_log("before END_REQUEST")
    local file = spools(r)[1]
    assert.is_true(file.size > MEGABYTE)
    local bytes = rig.assert_cut(client.conn:read_all())
    client:close()
    local at, pieces = bytes:find("\r\n\r\n", 1, true) + 4, {}
    while at <= #bytes do
      local size, from = bytes:match("^(%x+)\r\n()", at)
      assert(size, at)
      pieces[#pieces + 1] = bytes:sub(from, from + tonumber(size, 16) - 1)
      at = from + tonumber(size, 16) + 2
    end
    local body = table.concat(pieces)
    assert.is_true(#body >= #whole / 2)
    assert.is_true(whole:sub(1, #body) == body)
    no_spools(r)
  end)

  it("that leaves takes its spool with it", function()
    local client = ask(r, "size=" .. #whole)
    wait_until_still(r)
    client.conn:reset()
    no_spools(r)
    client = ask(r, "size=" .. 100 * #whole)
    poll.wait(function()
      local file = spools(r)[1]
      return file and file.size > 10 * MEGABYTE
    end, "the spool to fill")
    client.conn:reset()
    no_spools(r)
    poll.wait(function()
      return r:open_connections() <= 1
    end, "the application's connection to be given up")
  end)

  it("costs the worker little memory for a reply of 1 GB", function()
    local function peak()
      local text = process.read_file(("/proc/%d/status"):format(r.server:workers()[1]))
      return tonumber(text:match("VmHWM:%s+(%d+)")) * 1024
    end
    local before = peak() -- of replies that were spooled, too
    local client = ask(r, "length&size=" .. 1000 * MEGABYTE)
    poll.wait(function()
      local file = spools(r)[1]
      return file and file.size > 980 * MEGABYTE
    end, "the spool to fill", 240)
    wait_until_still(r)
    client:close()
    no_spools(r)
    local allowed = (server.binary():find("asan", 1, true) and 16 or 2) * MEGABYTE
    assert.is_true(peak() - before < allowed, peak() - before)
  end)
end)

describe("a full spool", function()
  local whole = rig.pattern(30 * MEGABYTE)

  -- Nothing is read until everything stands still; then all of it.
  local function check(limits, most, least)
    local r = start(limits)
    for _, framing in ipairs({ "&length", "" }) do
      local before = #r:events("REQUEST")
      local client = ask(r, "size=" .. #whole .. framing)
      local size = wait_until_still(r, least or most)
      -- The last read takes no more than there is room for; framing makes it a little less.
      assert.is_true(size <= most, size .. " of " .. most)
      assert.equal(before, #r:events("REQUEST")) -- the application waits
      assert_body(whole, client)
      poll.wait(function()
        local file = spools(r)[1]
        assert.is_true(not file or file.disk <= most)
        return not file
      end, "the spool to be closed")
      client:close()
    end
    r:stop()
  end

  it("of 1 MB holds the application back, and no more than that is on the disk", function()
    check("spool = '1M'", MEGABYTE, MEGABYTE - 65536)
  end)

  it("that is smaller than one read does too", function()
    check("spool = 10000, response_memory = 5000", 10000, 0)
  end)

  it("of 0 makes no file", function()
    check("spool = 0", 0)
    check("spool = 0, response_memory = 1", 0)
  end)

  it("has room again while the client reads: the disk holds what waits", function()
    local r = start("spool = '8M'")
    local size = 200 * MEGABYTE
    local client = ask(r, "length&size=" .. size)
    client.conn:read_until("\r\n\r\n")
    local still = wait_until_still(r, 7 * MEGABYTE)
    assert.is_true(still <= 8 * MEGABYTE, still .. " bytes")
    local block = rig.pattern(MEGABYTE)
    local more = false
    for i = 1, size / MEGABYTE do
      assert.is_true(client.conn:read(MEGABYTE) == block, i)
      local file = spools(r)[1]
      assert.is_true(not file or file.disk <= 8 * MEGABYTE)
      more = more or file and file.size > 8 * MEGABYTE
    end
    assert.is_true(more)
    client:close()
    r:stop()
  end)
end)

describe("a spool_dir that can't be used", function()
  local whole = rig.pattern(20 * MEGABYTE)

  -- Two slow replies and a quick one: each slow one says what is wrong, once.
  local function check(r, expected)
    for _ = 1, 2 do
      local mark = r.server:mark()
      local client = ask(r, "size=" .. #whole)
      local line = r.server:wait_log("spool_dir ", 10, mark)
      assert.is_truthy(line:find(expected, 1, true), line)
      assert.is_truthy(line:find("the application waits for the client; GET /x.php", 1, true), line)
      assert.is_truthy(line:find("request %x%x%x%x%x%x%x%x%x%x%x%x%x%x%x%x, host "), line)
      wait_until_still(r)
      assert_body(whole, client)
      local _, lines = r.server:errors():sub(mark + 1):gsub("\n", "")
      assert.equal(1, lines)
      assert.equal("hello\n", client:request({ path = rig.target("") }).body)
      client:close()
      no_spools(r)
    end
  end

  it("because it has gone is no error of a reply", function()
    local dir = spool_folder()
    local r = start("", dir)
    process.remove(dir)
    check(r, dir .. ": No such file or directory")
    r:stop()
  end)

  it("because of its mode is no error of a reply", function()
    local dir = spool_folder()
    local r = start("", dir, process.is_root() and { "--user", "nobody" } or nil)
    if process.is_root() then -- the worker is somebody else
      process.chmod(dir, "700")
    else
      process.chmod(dir, "500")
    end
    check(r, dir .. ": Permission denied")
    r:stop()
  end)

  it("because the file can't grow is no error of a reply", function()
    local r = with_file_size(3000000, start)
    check(r, ": File too large")
    r:stop()
  end)

  it("is a 503 for a body, with the reason in the log", function()
    local dir = spool_folder()
    local r = start("", dir)
    process.remove(dir)
    local before = #r:events("REQUEST")
    local function post(size, status)
      local mark = r.server:mark()
      local res = r:get("sum", { method = "POST", body = rig.bytes(size) })
      assert.equal(status, res.status)
      if status == 503 then
        assert.equal("5", res.headers["retry-after"])
        local line = r.server:wait_log("could not be kept", 5, mark)
        assert.is_truthy(line:find(dir .. ": No such file or directory", 1, true), line)
        assert.is_truthy(line:find(res.body:match("Request (%x+)"), 1, true), line)
      end
    end
    post(65536, 200) -- memory is enough
    post(65537, 503)
    assert.equal(before + 1, #r:events("REQUEST"))
    r:stop()
  end)

  it("because the file can't grow is a 503 for a body", function()
    local r = with_file_size(100000, start)
    local res = r:get("sum", { method = "POST", body = rig.bytes(200000) })
    assert.equal(503, res.status)
    r.server:wait_log("could not be kept in spool_dir .*: File too large")
    assert.equal(rig.sum("abc"), r:get("sum", { method = "POST", body = "abc" }).body)
    no_spools(r)
    r:stop()
  end)
end)

describe("a client that takes nothing", function()
  it("is cut off after send_timeout, though the application goes on", function()
    local r = start("send_timeout = 1")
    local client = ask(r, "length&size=40000000&pieces=200&piece_delay=300") -- for 60 s
    local started = socket.gettime()
    r.server:wait_access('" 499 ')
    assert.is_true(socket.gettime() - started < 40)
    poll.wait(function()
      return r:open_connections() == 0
    end, "the application's connection to be given up")
    no_spools(r)
    client:close()
    r:stop()
  end)

  it("for less than send_timeout each time gets all of it", function()
    local r = start("send_timeout = 4")
    local whole = rig.pattern(20 * MEGABYTE)
    local client = ask(r, "length&size=" .. #whole)
    client.conn:read_until("\r\n\r\n")
    local pieces = {}
    for i = 1, 10 do -- 5 s in all
      pieces[i] = client.conn:read(2 * MEGABYTE)
      socket.sleep(0.5) -- a client that takes its time
    end
    assert.is_true(table.concat(pieces) == whole)
    client:close()
    r:stop()
  end)
end)

describe("a graceful stop", function()
  it("waits for a spooled reply to be read", function()
    local r = start()
    local whole = rig.pattern(20 * MEGABYTE)
    local client = ask(r, "size=" .. #whole)
    wait_until_still(r)
    local pid = r.server:workers()[1]
    r.server.process:kill("TERM")
    poll.wait(function()
      return not net.listening(r.address)
    end, "the listener to close")
    assert.is_truthy(process.read_file(("/proc/%d/status"):format(pid)))
    assert_body(whole, client)
    assert.is_true(client.conn:closes(3))
    assert.equal("exit status 0", r.server.process:wait(5))
    r.server:check_reports()
    r.back:stop()
  end)
end)
