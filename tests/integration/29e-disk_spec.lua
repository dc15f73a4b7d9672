-- Logs on a disk that is slow: requests are served meanwhile, lines come in their order, and those
-- that there is no room for are counted. The disk is a library of ours in front of write(2).

local http = require("tests.support.http")
local poll = require("tests.support.poll")
local process = require("tests.support.process")
local server = require("tests.support.server")

server.inspect()

local LIBRARY = server.binary():match("^(.*/)") .. "tests/slow_disk.so"

describe("the access log on a slow disk", function()
  local s, folder, log, hold

  before_each(function()
    folder = process.tempdir("disk")
    process.chmod(folder, "777")
    log, hold = folder .. "/access.log", folder .. "/hold"
    -- LD_PRELOAD takes a blank in a path for the end of it
    local library = folder .. "/slow_disk.so"
    process.write_file(library, process.read_file(LIBRARY))
    local asan = os.getenv("ASAN_OPTIONS") or "detect_leaks=1:abort_on_error=0"
    s = server.start({
      env = { LD_PRELOAD = library, SLOW_FILE = log, SLOW_WHILE = hold,
        ASAN_OPTIONS = asan .. ":verify_asan_link_order=0" },
      route = ([[return { control = false, script_timeout = 20,
        log = { access = %q, format = "$uri", error = %q },
        on_request = function(req) return { status = 200, body = req.path } end,
      }]]):format(log, folder .. "/error.log"),
    })
  end)

  after_each(function()
    os.remove(hold)
    s:stop()
  end)

  local function get(path)
    local res = http.get(s.address, path)
    assert.equal(200, res.status)
  end

  local function lines(path)
    local list = {}
    for line in (process.read_file(path or log) or ""):gmatch("([^\n]*)\n") do
      list[#list + 1] = line
    end
    return list
  end

  --- The numbers of lines "/PREFIX-NUMBER".
  local function numbers(prefix, path)
    local list = {}
    for _, line in ipairs(lines(path)) do
      list[#list + 1] = tonumber(line:match("^/" .. prefix .. "%-(%d+)$"))
    end
    return list
  end

  --- Requests until the thread waits for the disk: it has taken the first line.
  local function block()
    process.write_file(hold, "")
    get("/blocked-1")
    poll.wait(function()
      local stat = {}
      for _, pid in ipairs(s:workers()) do
        local tasks = io.popen(("cat /proc/%d/task/*/wchan 2>/dev/null"):format(pid)):read("*a")
        stat[#stat + 1] = tasks
      end
      return table.concat(stat):find("nanosleep", 1, true)
    end, "a thread that waits for the disk")
  end

  it("waits for no request, and has all lines in their order afterwards", function()
    block()
    for i = 2, 300 do
      get("/blocked-" .. i)
    end
    assert.same({}, lines())
    os.remove(hold)
    poll.wait(function() return #lines() == 300 end, "all lines")
    for i, number in ipairs(numbers("blocked")) do
      assert.equal(i, number)
    end
  end)

  it("drops lines beyond its buffer, and says how many", function()
    local filler = ("x"):rep(1000)
    block()
    for i = 2, 400 do
      get(("/long-%d?%s"):format(i, filler))
    end
    os.remove(hold)
    poll.wait(function() return #lines() > 1 end, "room")
    get("/last-1")
    poll.wait(function() return #numbers("last") == 1 end, "the last line")
    local kept = #lines() - 2
    assert.is_true(kept > 50 and kept < 399, kept)
    poll.wait(function()
      local lost = 0 -- it is said at once, and again when there is room
      for count in process.read_file(folder .. "/error.log"):gmatch(
        "lines of the access log are lost: the disk took too long %((%d+) of this process%)") do
        lost = lost + tonumber(count)
      end
      return lost == 399 - kept
    end, ("%d lost lines in the error log"):format(399 - kept))
  end)

  it("is opened again by USR1 meanwhile, and no line is lost", function()
    block()
    for i = 2, 20 do
      get("/blocked-" .. i)
    end
    assert(os.rename(log, log .. ".1"))
    process.signal(s.process.pid, "USR1")
    poll.wait(function()
      for _, path in pairs(process.descriptors(s:workers()[1])) do
        if path == log then
          return true
        end
      end
    end, "a worker that has the new file")
    for i = 21, 40 do
      get("/blocked-" .. i)
    end
    os.remove(hold)
    poll.wait(function() return #lines() + #lines(log .. ".1") == 40 end, "all lines")
    local all = numbers("blocked", log .. ".1")
    for _, number in ipairs(numbers("blocked")) do
      all[#all + 1] = number
    end
    for i, number in ipairs(all) do
      assert.equal(i, number)
    end
    assert.is_true(#lines() >= 20)
  end)

  it("loses no line of a worker that is killed meanwhile", function()
    block()
    for i = 2, 50 do
      get("/blocked-" .. i)
    end
    local pid = s:workers()[1]
    process.signal(pid, "KILL")
    os.remove(hold)
    poll.wait(function() return #numbers("blocked") >= 50 end, "the lines")
    for i, number in ipairs(numbers("blocked")) do
      assert.equal(i, number)
    end
  end)

  it("does not keep a worker from its end", function()
    block()
    get("/blocked-2")
    process.signal(s.process.pid, "TERM")
    poll.wait(function() return #s:workers() == 0 end, "the worker's end")
    os.remove(hold)
    poll.wait(function() return not s.process:alive() end, "the master's end")
    assert.same({ 1, 2 }, numbers("blocked"))
  end)
end)

describe("the error log on a slow disk", function()
  local s, folder, log, hold

  local ROUTE = [[return { control = false, script_timeout = 20,
    log = { access = false, error = %q },
    on_request = function(req)
      if req.args.Print then print(req.path) end
      if req.args.Log then require("moongate").log("error", "log %%s.", req.path) end
      return { status = 200, body = req.path }
    end,
  }]]

  --- `printed`: standard output is the file on the slow disk.
  local function begin(error_log, printed)
    folder = process.tempdir("disk")
    process.chmod(folder, "777")
    log, hold = folder .. "/slow.log", folder .. "/hold"
    local library = folder .. "/slow_disk.so"
    process.write_file(library, process.read_file(LIBRARY))
    local asan = os.getenv("ASAN_OPTIONS") or "detect_leaks=1:abort_on_error=0"
    s = server.start({
      route = ROUTE:format(error_log or log),
      env = { LD_PRELOAD = library, SLOW_FILE = log, SLOW_WHILE = hold,
        ASAN_OPTIONS = asan .. ":verify_asan_link_order=0" },
      launcher = printed and { "sh", "-c", ([[exec "$@" >>'%s']]):format(log), "sh" } or nil,
    })
  end

  after_each(function()
    os.remove(hold)
    s:stop()
  end)

  local function get(path)
    assert.equal(200, http.get(s.address, path).status)
  end

  --- The numbers of all lines that name "/PREFIX-NUMBER".
  local function numbers(prefix)
    local list = {}
    for number in (process.read_file(log) or ""):gmatch("/" .. prefix .. "%-(%d+)[.\n]") do
      list[#list + 1] = tonumber(number)
    end
    return list
  end

  --- Makes requests until a line is in the file before the answer, as it is on a disk that is not
  --- slow unless the machine holds up the thread. Returns their number.
  local function start_fast(query)
    local count = 0
    poll.wait(function()
      count = count + 1
      get(("/line-%d?%s"):format(count, query))
      return #numbers("line") == count
    end, "a line before its answer")
    return count
  end

  local function check_all(prefix, count)
    poll.wait(function() return #numbers(prefix) == count end, "all lines")
    for i, number in ipairs(numbers(prefix)) do
      assert.equal(i, number)
    end
  end

  it("keeps no request waiting, and has all lines in their order afterwards", function()
    begin()
    local before = start_fast("Log")
    process.write_file(hold, "")
    for i = before + 1, before + 99 do
      get(("/line-%d?Log"):format(i))
    end
    assert.equal(before, #numbers("line"))
    os.remove(hold)
    check_all("line", before + 99)
    get(("/line-%d?Log"):format(before + 100))
    check_all("line", before + 100)
  end)

  it("drops lines beyond its buffer, and says how many", function()
    begin()
    process.write_file(hold, "")
    local filler = ("x"):rep(700)
    for i = 1, 200 do
      get(("/line-%d?Log&%s"):format(i, filler))
    end
    os.remove(hold)
    poll.wait(function()
      local lost = 0
      for count in process.read_file(log):gmatch(
        "lines of the error log are lost: the disk took too long %((%d+) of this process%)") do
        lost = lost + tonumber(count)
      end
      return lost > 0 and lost + #numbers("line") == 200
    end, "each line or its count")
  end)

  it("loses no line of a worker that is killed meanwhile", function()
    begin()
    process.write_file(hold, "")
    for i = 1, 30 do
      get(("/line-%d?Log"):format(i))
    end
    process.signal(s:workers()[1], "KILL")
    os.remove(hold)
    poll.wait(function() return #numbers("line") >= 30 end, "the lines")
    for i, number in ipairs(numbers("line")) do
      assert.equal(i, number)
    end
  end)

  it("does not keep a worker from its end", function()
    begin()
    process.write_file(hold, "")
    get("/line-1?Log")
    local pid = s:workers()[1]
    process.signal(pid, "TERM")
    poll.wait(function() return s:workers()[1] ~= pid end, "the worker's end")
    os.remove(hold)
    check_all("line", 1)
  end)

  it("keeps the master from no duty: workers are replaced, and a reload works", function()
    begin()
    local pid = s:workers()[1]
    process.write_file(hold, "")
    process.signal(pid, "KILL")
    poll.wait(function()
      local ok, res = pcall(http.get, s.address, "/line-1?Log")
      return s:workers()[1] ~= pid and ok and res.status == 200
    end, "another worker")
    process.write_file(s.route_path, ROUTE:format(log):gsub("body = req.path", "body = 'new'"))
    process.signal(s.process.pid, "HUP")
    poll.wait(function()
      return http.get(s.address, "/").body == "new"
    end, "the new script")
    assert.is_nil(process.read_file(log):find("SIGKILL", 1, true)) -- the disk still hangs
    os.remove(hold)
    poll.wait(function()
      return process.read_file(log)
        :find("signal 9.*another one takes its place.*generation 2 serves")
    end, "the master's lines, in their order")
    assert.same({ 1 }, numbers("line"))
  end)

  it("is one of standard output, too: what scripts print waits for no disk", function()
    begin("stderr", true)
    local before = start_fast("Print")
    process.write_file(hold, "")
    for i = before + 1, before + 49 do
      get(("/line-%d?Print"):format(i))
    end
    assert.equal(before, #numbers("line"))
    os.remove(hold)
    check_all("line", before + 49)
  end)
end)
