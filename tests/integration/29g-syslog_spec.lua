-- Logs as datagrams: to a syslog server, RFC 3164 and RFC 5424, and to systemd's journal. Requests
-- are served whatever the reader does, and lines are counted that it did not take.

local datagrams = require("tests.support.datagrams")
local http = require("tests.support.http")
local json = require("moongate.base.json")
local poll = require("tests.support.poll")
local process = require("tests.support.process")
local rsyslog = require("tests.support.rsyslog")
local server = require("tests.support.server")

local STAMP = "%u%l%l [%d ]%d %d%d:%d%d:%d%d "

local function folder()
  local dir = process.tempdir("syslog")
  process.chmod(dir, "777")
  return dir
end

local function start(log, options)
  options = options or {}
  options.args = process.is_root() and { "--user", "nobody" } or nil
  options.route = ([[return { control = false, script_timeout = 20, log = { %s }, %s
    backends = { app = "unix:/nonexistent/app.sock" },
    on_request = function(req)
      if req.path == "/error" then error("broken") end
      if req.args.tenant then
        return { backend = "app", script = "/srv/x.php", tenant = req.args.tenant }
      end
      return { status = 200, body = req.path }
    end,
  }]]):format(log, options.settings or "")
  return server.start(options)
end

local function get(s, path, status)
  assert.equal(status or 200, http.get(s.address, path).status)
end

describe("a syslog server", function()
  it("gets both logs as RFC 3164 has it, a line in a datagram", function()
    local dir = folder()
    local reader = datagrams.listen(dir .. "/log")
    local target = "syslog:server=unix:" .. dir .. "/log"
    local s = start(('access = "%s,facility=local3,tag=web,severity=notice", error = "%s"')
      :format(target, target))
    finally(function() s:stop() reader:close() end)
    get(s, "/one")
    local line = reader:wait("/one")
    assert.truthy(line:find("^<157>" .. STAMP .. "web%[" .. s:workers()[1]
      .. "%]: 127%.0%.0%.1 %- %- %[.*%] \"GET /one HTTP/1%.1\" 200 %d+ \"%-\" \"[^\n]*\"$"), line)
    get(s, "/error", 500)
    line = reader:wait("broken")
    assert.truthy(line:find("^<187>" .. STAMP .. "moongate%[%d+%]: %[error%] "), line)
    assert.is_nil(line:find("\n", 1, true))
    line = reader:wait("traceback")
    assert.truthy(line:find("^<187>" .. STAMP .. "moongate%[%d+%]: %[error%]     "), line)
  end)

  it("gets RFC 5424 by UDP, with the name of the machine", function()
    local reader = datagrams.udp()
    local s = start(([[access = "syslog:server=localhost:%d,format=rfc5424,tag=web",
      format = "$uri"]]):format(reader.port))
    finally(function() s:stop() reader:close() end)
    get(s, "/one")
    local line = reader:wait("/one")
    local host = line:match("^<190>1 %d+%-%d%d%-%d%dT%d%d:%d%d:%d%d%.%d+[+-]%d%d:%d%d (%S+) web "
      .. "%d+ %- %- /one$")
    assert.equal(process.run({ argv = { "hostname" } }).stdout:gsub("\n", ""), host, line)
  end)

  it("gets the name of the machine by UDP, unless it wants none", function()
    local reader = datagrams.udp()
    local target = "syslog:server=127.0.0.1:" .. reader.port
    local s = start(('format = "$uri", access = "%s", error = "%s,nohostname"'):format(target,
      target))
    finally(function() s:stop() reader:close() end)
    get(s, "/one")
    reader:wait("^<190>" .. STAMP .. "[^ %[]+ moongate%[%d+%]: /one$")
    get(s, "/error", 500)
    reader:wait("^<187>" .. STAMP .. "moongate%[%d+%]: %[error%] .*broken")
  end)
end)

describe("rsyslog", function()
  it("understands each part, finds them in its socket again, and cuts nothing short", function()
    local syslog = rsyslog.start()
    local target = "syslog:server=unix:" .. syslog.path
    local s = start(('access = "%s,facility=local3,tag=web", error = "%s"'):format(target, target))
    finally(function() s:stop() syslog:stop() end)
    get(s, "/one")
    local line = syslog:wait("/one")
    assert.truthy(line:find("^local3|info|[^|]+|web|" .. s:workers()[1]
      .. "| 127%.0%.0%.1 %- %- %[.*\"GET /one HTTP/1%.1\" 200 "), line)
    get(s, "/error", 500)
    line = syslog:wait("broken")
    assert.truthy(line:find("^local7|err|[^|]+|moongate|%d+| %[error%] .*broken"), line)
    syslog:wait("^local7|err|[^|]+|moongate|%d+| %[error%]     [^|]*traceback")
    syslog:stop()
    for i = 1, 20 do
      get(s, "/later-" .. i .. ";")
    end
    syslog:start()
    for i = 1, 20 do
      syslog:wait("/later%-" .. i .. ";")
    end
    get(s, "/long?" .. ("x"):rep(6500) .. "end")
    syslog:wait("/long%?" .. ("x"):rep(100) .. "x+end HTTP/1%.1")
  end)

  for _, format in ipairs({ "rfc3164", "rfc5424" }) do
    it("understands " .. format .. " by UDP", function()
      local syslog = rsyslog.start()
      local s = start(('access = "syslog:server=127.0.0.1:%d,tag=web,format=%s", format = "$uri"')
        :format(syslog.port, format))
      finally(function() s:stop() syslog:stop() end)
      get(s, "/one")
      local host = process.run({ argv = { "hostname" } }).stdout:match("[^\n]+")
      local line = syslog:wait("/one")
      assert.equal(("local7|info|%s|web|%d|"):format(host, s:workers()[1]),
        line:match("^(.*|) ?/one$"))
    end)
  end
end)

-- Requests whose lines do not fit into what is kept.
local MOST, FILLER = 400, ("x"):rep(1000)

local function numbers(reader, list)
  for text in reader.next, reader do
    list[#list + 1] = tonumber(text:match("/long%-(%d+)"))
  end
  return list
end

describe("a reader that takes no lines", function()
  local function lost(s)
    local count = 0
    for number in s:errors():gmatch("lines of the access log are lost: [^\n]* %((%d+) of this") do
      count = count + number
    end
    return count
  end

  for _, how in ipairs({ "is stopped", "is not there", "has ended" }) do
    it(("keeps no request waiting where it %s"):format(how), function()
      local dir = folder()
      local reader = how ~= "is not there" and datagrams.listen(dir .. "/log")
      if how == "has ended" then
        reader:close()
      end
      local s = start(('access = "syslog:server=unix:%s/log", format = "$uri"'):format(dir))
      finally(function() s:stop() reader:close() end)
      for i = 1, MOST do
        get(s, ("/long-%d?%s"):format(i, FILLER))
      end
      if how ~= "is stopped" then
        reader = datagrams.listen(dir .. "/log") -- it comes again
      end
      local came = {}
      poll.wait(function()
        return #numbers(reader, came) + lost(s) == MOST
      end, "each line or its count")
      for i, number in ipairs(came) do
        assert.equal(i, number)
      end
      assert.is_true(#came > 50 and #came < MOST, #came)
      get(s, "/last")
      reader:wait("/last")
      assert.truthy(s:errors():find(how == "is stopped" and "lost: nobody read them in time"
        or "lost: unix:" .. dir .. "/log: ", 1, true), s:errors())
    end)
  end

  it("gets the lines of a worker that was killed meanwhile", function()
    local dir = folder()
    local s = start(('access = "syslog:server=unix:%s/log", format = "$uri"'):format(dir))
    local reader
    finally(function() s:stop() reader:close() end)
    for i = 1, 50 do
      get(s, "/long-" .. i)
    end
    local pid = s:workers()[1]
    process.signal(pid, "KILL")
    s:wait_log("another one takes its place")
    reader = datagrams.listen(dir .. "/log")
    local came = {}
    poll.wait(function() return #numbers(reader, came) == 50 end, "all lines")
    get(s, "/last")
    reader:wait("/last")
  end)

  it("does not lose the error log's lines while it is restarted", function()
    local dir = folder()
    local reader = datagrams.listen(dir .. "/log")
    local s = start(('access = false, error = "syslog:server=unix:%s/log"'):format(dir))
    finally(function() s:stop() reader:close() end)
    get(s, "/error?n=0;", 500)
    reader:wait("GET /error%?n=0;")
    reader:close()
    for i = 1, 20 do
      get(s, "/error?n=" .. i .. ";", 500)
    end
    reader = datagrams.listen(dir .. "/log")
    for i = 1, 20 do
      reader:wait("GET /error%?n=" .. i .. ";")
    end
  end)
end)

describe("a log that moves", function()
  it("from a file to a syslog server and back by reloads, and stays there with USR1", function()
    local dir = folder()
    local reader = datagrams.listen(dir .. "/log")
    local file = dir .. "/access.log"
    local s = start(('access = %q, format = "$uri"'):format(file))
    finally(function() s:stop() reader:close() end)
    local text = process.read_file(s.route_path)
    get(s, "/file-1")
    s:reload((text:gsub('access = "[^"]*"', ('access = "syslog:server=unix:%s/log"'):format(dir))))
    get(s, "/syslog-1")
    reader:wait("moongate%[%d+%]: /syslog%-1$")
    local mark = s:mark()
    process.signal(s.process.pid, "USR1")
    s:wait_log("the logs are open again", nil, mark)
    get(s, "/syslog-2")
    reader:wait("/syslog%-2$")
    s:reload((text:gsub('access = "[^"]*"', ('access = "journal:%s/log"'):format(dir))))
    get(s, "/journal-1")
    reader:wait("MESSAGE=/journal%-1\n")
    mark = s:mark()
    process.signal(s.process.pid, "USR1")
    s:wait_log("the logs are open again", nil, mark)
    get(s, "/journal-2")
    reader:wait("MESSAGE=/journal%-2\n")
    s:reload(text)
    get(s, "/file-2")
    poll.wait(function()
      return process.read_file(file) == "/file-1\n/file-2\n"
    end, "both lines in the file")
  end)
end)

-- The fields of a datagram in systemd's native protocol.
local function fields(text)
  local got, at = {}, 1
  while at <= #text do
    local name, sign, from = text:match("^([%u_]+)([=\n])()", at)
    assert.truthy(name, text)
    local value, to
    if sign == "=" then
      value, to = text:match("^([^\n]*)\n()", from)
    else
      local size = 0
      for i = 7, 0, -1 do
        size = size * 256 + text:byte(from + i)
      end
      value, to = text:sub(from + 8, from + 7 + size), from + 8 + size + 1
      assert.equal("\n", text:sub(to - 1, to - 1))
    end
    got[name], at = value, to
  end
  return got
end

describe("the journal", function()
  it("gets lines with fields", function()
    local dir = folder()
    local reader = datagrams.listen(dir .. "/journal")
    local target = "journal:" .. dir .. "/journal"
    local s = start(('access = %q, error = %q'):format(target, target))
    finally(function() s:stop() reader:close() end)
    get(s, "/one?tenant=blue", 503)
    local got = fields(reader:wait("MOONGATE_LOG=error"))
    assert.equal("3", got.PRIORITY)
    assert.equal("blue", got.MOONGATE_TENANT)
    local id = got.MOONGATE_REQUEST_ID
    got = fields(reader:wait("MOONGATE_LOG=access"))
    assert.truthy(got.MESSAGE:find('"GET /one?tenant=blue HTTP/1.1" 503', 1, true))
    assert.equal(id, got.MOONGATE_REQUEST_ID)
    for name, value in pairs({
      PRIORITY = "6", SYSLOG_IDENTIFIER = "moongate", LOG = "access", STATUS = "503",
      BACKEND = "app",
      METHOD = "GET", URI = "/one?tenant=blue", TENANT = "blue", CLIENT = "127.0.0.1",
      SCHEME = "http", GENERATION = "1", HOST = "localhost",
    }) do
      assert.equal(value, got["MOONGATE_" .. name] or got[name], name)
    end
    assert.is_nil(got.MOONGATE_REFERER)
    get(s, "/error", 500)
    got = fields(reader:wait("broken"))
    assert.equal("3", got.PRIORITY)
    assert.equal("error", got.MOONGATE_LOG)
    assert.truthy(got.MESSAGE:find("broken.*\n\t"), got.MESSAGE)
    assert.truthy(got.MOONGATE_REQUEST_ID:find("^%x+$"))
    assert.equal("/error", got.MOONGATE_URI)
  end)

  it("gets no field that a client or a script has made up", function()
    local dir = folder()
    local reader = datagrams.listen(dir .. "/journal")
    local s = start(('access = "journal:%s/journal"'):format(dir), { settings = [[
      on_log = function(req) return "x\nA=b\31FORGED=1\30c " .. req.path end,]] })
    finally(function() s:stop() reader:close() end)
    get(s, "/one")
    local got = fields(reader:wait("/one"))
    assert.is_nil(got.FORGED)
    assert.equal([[x\x0AA=b\x1FFORGED=1\x1Ec /one]], got.MESSAGE)
  end)

  -- A journald of its own needs a /run of its own.
  local JOURNALD = "/lib/systemd/systemd-journald"
  local may = process.run({ argv = { "unshare", "-m", "true" } }).code == 0
  if process.is_root() and may and io.open(JOURNALD) then
    it("of systemd has all of them", function()
      local dir = folder()
      local run = dir .. "/run"
      assert(os.execute(("mkdir -p '%s/systemd/journal' '%s/log/journal'"):format(run, run)) == 0)
      local socket = run .. "/systemd/journal/socket"
      local script = ("mount --bind '%s' /run && exec %s"):format(run, JOURNALD)
      local journald = process.spawn({ argv = { "unshare", "-m", "sh", "-c", script },
        stdout = dir .. "/out", stderr = dir .. "/out" })
      finally(function() journald:stop() end)
      poll.wait(function()
        assert(journald:alive(), process.read_file(dir .. "/out"))
        return os.execute(("test -S '%s'"):format(socket)) == 0
      end, "journald's socket")
      local s = start(('access = "journal:%s", error = "journal:%s"'):format(socket, socket))
      finally(function() s:stop() journald:stop() end)
      get(s, "/one?tenant=blue", 503)
      get(s, "/error", 500)
      local function entry(...)
        local words = { "journalctl", "-D", run .. "/log/journal", "-o", "json", ... }
        return poll.wait(function()
          local line = process.run({ argv = words }).stdout:match("^[^\n]+")
          return line and json.decode(line)
        end, table.concat({ ... }, " "))
      end
      local got = entry("MOONGATE_TENANT=blue", "MOONGATE_STATUS=503")
      assert.equal("/one?tenant=blue", got.MOONGATE_URI)
      assert.equal("moongate", got.SYSLOG_IDENTIFIER)
      assert.equal(tostring(s:workers()[1]), got._PID)
      got = entry("MOONGATE_LOG=error", "MOONGATE_URI=/error")
      assert.equal("3", got.PRIORITY)
      assert.truthy(got.MESSAGE:find("broken.*\n\t"), got.MESSAGE)
    end)
  end

  it("is told the level of each line where standard error is its stream", function()
    local perl = [[
      use Socket; socketpair(my $near, my $far, AF_UNIX, SOCK_STREAM, 0) or die;
      if (!fork) { if (!fork) { close $near;
        while (sysread($far, my $bytes, 65536)) { syswrite(STDERR, $bytes) } } exit }
      wait; close $far;
      my @stat = stat($near);
      $ENV{JOURNAL_STREAM} = "$stat[0]:$stat[1]";
      open(STDERR, ">&", $near) or die;
      exec @ARGV or die;]]
    local s = start('level = "info"', { launcher = { "perl", "-e", perl, "--" } })
    finally(function() s:stop() end)
    s:reload()
    s:wait_log("^<6>%d+/%d+/%d+ %S+ %[info%] %d+: generation 2 serves")
    get(s, "/error", 500)
    s:wait_log("^<3>.*broken")
    s:wait_log("^<3>\t.*traceback")
    get(s, "/two")
    assert.is_nil(s:wait_access("/two"):find("^<"))
  end)
end)

describe("check", function()
  local function check(log)
    local dir = process.tempdir("check")
    process.write_file(dir .. "/route.lua", ([[return { log = { %s },
      on_request = function() return { status = 200, body = "" } end }]]):format(log))
    local result = server.command({ "check", dir .. "/route.lua" })
    return result.code, result.stdout .. result.stderr
  end

  it("says what to write in place of a wrong target", function()
    for given, expected in pairs({
      ['access = "syslog:server=/dev/log"'] = "log.access: the socket /dev/log is written "
        .. "'server=unix:/dev/log'",
      ['error = "syslog:severity=info"'] = "log.error: the severity of a line is its level",
      ['access = "syslog:facility=local9"'] = "there is no facility 'local9'",
    }) do
      local code, text = check(given)
      assert.not_equal(0, code, text)
      assert.truthy(text:find(expected, 1, true), text)
    end
  end)

  it("warns of a socket that is not there", function()
    local code, text = check('access = "syslog:server=unix:/nonexistent/log", error = "stderr"')
    assert.equal(0, code, text)
    assert.truthy(text:find("log.access: /nonexistent/log is not a socket on this machine: lines "
      .. "wait until a syslog server listens there", 1, true), text)
  end)
end)
