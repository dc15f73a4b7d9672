-- What others on the same machine, and scripts, must not be able to do to the processes that serve:
-- files of sockets, descriptors that are inherited, bytes in logs.

local http = require("tests.support.http")
local net = require("tests.support.net")
local poll = require("tests.support.poll")
local process = require("tests.support.process")
local server = require("tests.support.server")
local unix = require("socket.unix")

server.inspect()

local HELLO = [[return {
  control = false,
  on_request = function() return { status = 200, body = "hello" } end,
}]]

local function mode(path)
  return (process.run({ argv = { "stat", "-c", "%a", path } }).stdout:gsub("%s", ""))
end

local function refused(address)
  local route = process.tempdir("route") .. "/route.lua"
  process.write_file(route, HELLO)
  return server.command({ "run", route, "--listen", address }, { timeout = 10 })
end

describe("the file of a unix listener", function()
  it("has its mode from the beginning, whatever the umask", function()
    local dir = process.tempdir("unix")
    local site, control = "unix:" .. dir .. "/site.sock", "unix:" .. dir .. "/control.sock"
    local s = server.start({
      route = HELLO:gsub("control = false", ("control = %q"):format(control)), address = site,
      launcher = { "sh", "-c", 'umask 077; exec "$0" "$@"' },
    })
    finally(function() s:stop() end)
    assert.equal("666", mode(dir .. "/site.sock"))
    assert.equal("600", mode(dir .. "/control.sock"))
    -- What is made after it has the umask of who has started it.
    assert.equal(77, process.status(s.process.pid, "Umask"))
  end)

  -- Between bind and chmod the name may become a link to any file. So there is no such call.
  it("is not changed by its path: the program can't", function()
    local symbols = process.run({ argv = { "nm", "-D", "--undefined-only", server.binary() } })
    assert.equal(0, symbols.code, symbols.stderr)
    assert.truthy(symbols.stdout:find(" U bind", 1, true), symbols.stdout)
    for name in symbols.stdout:gmatch(" U ([%w_]+)") do -- fchmod takes a descriptor
      assert.is_falsy(name == "chmod" or name == "fchmodat" or name == "chown" or name == "lchown",
        name)
    end
  end)

  it("that somebody has who accepts nothing is in use, at start and at a reload", function()
    local dir = process.tempdir("unix")
    local owner, first = assert(unix.stream()), assert(unix.stream())
    assert(owner:bind(dir .. "/held.sock"))
    assert(owner:listen(0))
    first:settimeout(0)
    first:connect(dir .. "/held.sock") -- the queue is full
    local s = server.start({ route = HELLO })
    finally(function() s:stop() owner:close() first:close() end)
    local result = refused("unix:" .. dir .. "/held.sock")
    assert.equal(1, result.code)
    assert.truthy(result.stderr:find("it is in use", 1, true), result.stderr)
    local text = HELLO:gsub("control = false", ("control = false, listen = { %q }"):format(
      "unix:" .. dir .. "/held.sock"))
    local own = "unix:" .. dir .. "/own.sock"
    local t = server.start({ own = true, address = own,
      route = HELLO:gsub("control", ("listen = %q, control"):format(own)) })
    finally(function() s:stop() t:stop() owner:close() first:close() end)
    assert.truthy(t:reload_fails(text):find("it is in use", 1, true))
    assert.equal("hello", http.get(t.address, "/").body)
  end)

  it("of another kind of socket is not ours to remove", function()
    local dir = process.tempdir("unix")
    local other = assert(unix.dgram())
    assert(other:bind(dir .. "/log.sock"))
    local result = refused("unix:" .. dir .. "/log.sock")
    other:close()
    assert.equal(1, result.code)
    assert.truthy(result.stderr:find("it is in use", 1, true), result.stderr)
    assert.equal(0, process.run({ argv = { "test", "-S", dir .. "/log.sock" } }).code)
  end)

  it("that is a link is neither followed nor removed", function()
    local dir = process.tempdir("unix")
    local stale = assert(unix.stream())
    assert(stale:bind(dir .. "/stale.sock"))
    stale:close() -- its file stays
    assert.equal(0, process.run({ argv = { "ln", "-s", "stale.sock", dir .. "/link.sock" } }).code)
    local result = refused("unix:" .. dir .. "/link.sock")
    assert.equal(1, result.code)
    assert.equal(0, process.run({ argv = { "test", "-S", dir .. "/stale.sock" } }).code)
    assert.equal(0, process.run({ argv = { "test", "-L", dir .. "/link.sock" } }).code)
  end)
end)

describe("what a script starts", function()
  it("has none of the server's descriptors", function()
    local dir = process.tempdir("fds")
    process.chmod(dir, "777") -- everybody's
    local s = server.start({ route = ([[
      local moongate = require("moongate")
      return {
        control = "unix:%s/control.sock", backends = { app = "unix:%s/none.sock" },
        log = { access = "%s/access", error = "%s/error" },
        on_request = function()
          moongate.shared("x"):set("key", 1)
          os.execute("ls -l /proc/self/fd >%s/list")
          return { status = 200, body = "hello" }
        end,
      }]]):gsub("%%s", dir) })
    finally(function() s:stop() end)
    local client = http.open(s.address)
    assert.equal("hello", client:request({ path = "/" }).body)
    client:close()
    local list = process.read_file(dir .. "/list")
    local count = 0
    for fd, what in list:gmatch(" (%d+) %-> ([^\n]+)") do
      count = count + 1
      -- ls has opened the folder itself.
      assert.is_truthy(tonumber(fd) <= 2 or what:find("^/proc/%d+/fd$"), list)
    end
    assert.is_true(count >= 3, list)
  end)
end)

describe("the error log", function()
  it("has no control byte that a terminal would heed, and all that can be read", function()
    local s = server.start({ route = [[
      local moongate = require("moongate")
      return { control = false, on_request = function(req)
        moongate.log("error", "%s", "a\155b\194\155c\27d é\226\130\172")
        return { status = 200, body = "hello" }
      end }]] })
    finally(function() s:stop() end)
    assert.equal("hello", http.get(s.address, "/").body)
    local line = s:wait_log("a\\x9bb")
    assert.truthy(line:find("a\\x9bb\\xc2\\x9bc\\x1bd é€", 1, true), line)
  end)

  it("nor has a line of on_log in the access log", function()
    local s = server.start({ route = [[
      return { control = false,
        on_log = function() return "a\155b\194\155c\27d é" end,
        on_request = function() return { status = 200, body = "hello" } end,
      }]] })
    finally(function() s:stop() end)
    assert.equal("hello", http.get(s.address, "/").body)
    assert.equal("a\\x9Bb\\xC2\\x9Bc\\x1Bd é", s:wait_access("^a"))
  end)
end)

describe("a graceful stop", function()
  -- What a client gets whose request takes `seconds`, of a server that is told meanwhile to end.
  local function stopped_meanwhile(stop_timeout, seconds)
    local s = server.start({ route = ([[
      local moongate = require("moongate")
      return { control = false, stop_timeout = %g, on_request = function(req)
        moongate.sleep(tonumber(req.args.t))
        return { status = 200, body = "done" }
      end }]]):format(stop_timeout) })
    local client = http.open(s.address)
    client:send({ path = "/?t=" .. seconds })
    poll.wait(function() return select(1, net.connections(s:workers()[1], s.address)) == 1 end,
      "the request")
    s.process:kill("TERM")
    local res = client:receive("GET")
    client:close()
    s:stop()
    return res, s
  end

  it("has all of stop_timeout, be it short", function()
    assert.equal("done", stopped_meanwhile(5, 3.5).body)
  end)

  it("tells whose time is over, and does not log that they have left", function()
    local res, s = stopped_meanwhile(0.2, 20)
    assert.equal(503, res.status)
    assert.truthy(s:access():find('"GET /?t=20 HTTP/1.1" 503 ', 1, true), s:access())
    assert.is_nil(s:access():find(" 499 ", 1, true))
  end)
end)

describe("a log that nobody reads", function()
  local ROUTE = [[
    local moongate = require("moongate")
    local text = ("x"):rep(2000)
    return {
      control = false, watch = false, script_timeout = 10, stop_timeout = 2,
      on_request = function(req)
        for _ = 1, 20 do moongate.log("error", "%s", text) end
        print(text)
        return { status = 200, body = "hello" }
      end,
    }]]

  -- What runs `moongate` with both outputs in pipes that are read into files once `go` is there.
  local READER = [[
    dir=$1; shift
    mkfifo $dir/out $dir/err
    exec 3<>$dir/out 4<>$dir/err
    (while [ ! -e $dir/go ]; do sleep 0.1; done; exec 5<$dir/out 6<$dir/err 3>&- 4>&-
      cat <&5 >$dir/stdout & cat <&6 >$dir/stderr; wait) &
    exec "$@" 3>&- 4>&- >$dir/out 2>$dir/err]]

  it("stops no worker and not the master, and what is lost is counted", function()
    local dir = process.tempdir("pipes")
    local s = server.start({
      workers = 2, route = ROUTE, wait = false,
      launcher = { "sh", "-c", READER, "sh", dir },
    })
    poll.wait(function() return net.listening(s.address) end, "the listener")
    for _ = 1, 40 do -- 1.6 MB for a pipe of 64 KB
      assert.equal("hello", http.get(s.address, "/").body)
    end
    -- The master says something as well, and goes on.
    local children = s:workers() -- and the reader, which came first
    s.process:kill("HUP")
    process.signal(children[#children], "KILL")
    poll.wait(function() return process.gone(children[#children]) end, "its end")
    for _ = 1, 20 do
      assert.equal("hello", http.get(s.address, "/").body)
    end
    poll.wait(function() -- a stop before that would find the killed one, and fail for it
      local now = s:workers()
      return #now == #children and now[#now] ~= children[#children]
    end, "the workers of the new generation")
    process.write_file(dir .. "/go", "")
    poll.wait(function()
      http.get(s.address, "/")
      return (process.read_file(dir .. "/stderr") or ""):find("lines of the error log are lost")
    end, "the count")
    s.process:kill("TERM")
    assert.equal("exit status 0", s.process:wait(10))
  end)

  -- What scripts print, by Lua's own means, through a library in C and in a child.
  local PRINTING = [[
    local ffi = require("ffi")
    ffi.cdef("int puts(const char *text); long write(int fd, const void *bytes, size_t n);")
    local text = (("x"):rep(99) .. "\n"):rep(10000)
    return {
      control = false, watch = false, script_timeout = 10, stop_timeout = 2,
      log = { access = false },
      on_request = function(req)
        if req.path == "/print" then print(text) end
        if req.path == "/write" then io.write(text) io.stderr:write(text) io.stdout:flush() end
        if req.path == "/library" then ffi.C.puts(text) ffi.C.write(1, text, #text) end
        if req.path == "/child" then os.execute("yes xxxxxxxxxxxxxxxxxxx | head -c 300000") end
        if req.path == "/few" then os.execute("seq -f 'few %g' 100") end
        return { status = 200, body = "hello" }
      end,
    }]]

  for kind, open in pairs({
    pipe = process.pipe, socket = process.socketpair, -- as under systemd
  }) do
    it("holds up nobody when a script prints to it: a full " .. kind, function()
      local here, there = open()
      local s = server.start({ workers = 1, route = PRINTING, stdout = there })
      finally(function()
        process.close(here)
        s:stop()
      end)
      process.close(there)
      local pid = s:workers()[1]
      for _, path in ipairs({ "/print", "/write", "/library", "/child", "/print" }) do
        assert.equal("hello", http.get(s.address, path).body)
        assert.equal("hello", http.get(s.address, "/").body)
      end
      assert.equal(pid, s:workers()[1])
      -- Whoever reads again learns how much is missing, and has whole lines of the rest.
      local got = {}
      poll.wait(function()
        got[#got + 1] = process.read_some(here)
        http.get(s.address, "/")
        local lost = 0
        for count in s:errors():gmatch("standard output are lost: nobody read [^\n]- %((%d+)") do
          lost = lost + tonumber(count)
        end
        return lost > 20000
      end, "the count")
      assert.matches(("x"):rep(99) .. "\n", table.concat(got), 1, true)
      -- Behind what waited nothing is lost.
      poll.wait(function()
        local text = ""
        assert.equal("hello", http.get(s.address, "/few").body)
        poll.try(function()
          text = text .. process.read_some(here)
          return text:find("few 100\n", 1, true)
        end, 1)
        local _, count = text:gsub("few %d+\n", "")
        return count == 100
      end, "all lines of a child")
    end)
  end

  it("is no reason to change what others have opened", function()
    local dir = process.tempdir("pipes")
    -- The shell's own description of the pipe must not become non-blocking.
    local s = server.start({ route = HELLO, wait = false, launcher = { "sh", "-c", [[
      dir=$1; shift; mkfifo $dir/err; exec 4<>$dir/err
      "$@" 2>&4 & pid=$!
      trap 'kill $pid; wait $pid; exit 0' TERM
      while ! grep -q serving $dir/seen 2>/dev/null; do
        timeout 2 cat <&4 >>$dir/seen; done
      grep flags: /proc/$$/fdinfo/4 >$dir/flags.new; mv $dir/flags.new $dir/flags
      wait $pid]], "sh", dir } })
    local flags = poll.wait(function() return process.read_file(dir .. "/flags") end, "the flags")
    s.process:kill("TERM")
    s.process:wait(10)
    assert.equal(0, bit.band(tonumber(flags:match("(%d+)"), 8), tonumber("4000", 8)), flags)
  end)
end)

describe("lines of the access log", function()
  it("that a killed worker had not written are written by the master", function()
    local s = server.start({ route = HELLO })
    finally(function() s:stop() end)
    local pid = s:workers()[1]
    local client = http.open(s.address)
    for i = 1, 5 do
      assert.equal("hello", client:request({ path = "/line" .. i }).body)
    end
    process.signal(pid, "KILL")
    client:close()
    poll.wait(function() return process.gone(pid) end, "its end")
    s:wait_log("another one takes its place")
    s:wait_access("/line5")
    for i = 1, 5 do
      assert.truthy(s:access():find("GET /line" .. i .. " HTTP", 1, true), s:access())
    end
  end)
end)

describe("a log that the route names, where the master is root,", function()
  if not process.is_root() then
    return
  end

  local function logging(path)
    return ([[return { control = false, watch = false, log = { access = %q },
      on_request = function() return { status = 200, body = "hello" } end }]]):format(path)
  end

  local function fails(path)
    local dir = process.tempdir("route")
    process.write_file(dir .. "/route.lua", logging(path))
    local result = server.command({ "run", dir .. "/route.lua", "--listen",
      "127.0.0.1:" .. net.free_port() }, { timeout = 10 })
    assert.equal(1, result.code)
    assert.truthy(result.stderr:find("can't open the log " .. path, 1, true), result.stderr)
  end

  it("is no file of root's, by its name or by a link", function()
    local dir = process.tempdir("logs")
    process.chmod(dir, "777")
    process.write_file(dir .. "/mine", "before\n") -- root's, 644
    fails(dir .. "/mine")
    local other = process.tempdir("root")
    process.write_file(other .. "/passwd", "before\n")
    assert.equal(0, process.run({ argv = { "ln", "-s", other .. "/passwd", dir .. "/log" } }).code)
    fails(dir .. "/log")
    fails("/etc/moongate-no-such-log")
    assert.equal("before\n", process.read_file(other .. "/passwd"))
    assert.is_nil(process.read_file("/etc/moongate-no-such-log"))
  end)

  it("is the workers' user's", function()
    local dir = process.tempdir("logs")
    process.chmod(dir, "777")
    local s = server.start({ route = logging(dir .. "/access"), args = { "--user", "nobody" } })
    finally(function() s:stop() end)
    assert.equal("hello", http.get(s.address, "/").body)
    local owner = process.run({ argv = { "stat", "-c", "%U", dir .. "/access" } }).stdout
    assert.is_falsy(owner:find("root", 1, true))
    -- The master is root again.
    assert.equal(0, process.status(s.process.pid, "Uid"))
    s:reload(logging(dir .. "/other"))
    assert.truthy(process.read_file(dir .. "/other"))
  end)
end)

describe("a worker that writes anything into what all share", function()
  it("does not end the master, which takes nothing in there for true", function()
    local s = server.start({ workers = 2, route = [[
      local ffi = require("ffi")
      local function scribble()
        for line in io.lines("/proc/self/maps") do
          local from, to = line:match("^(%x+)%-(%x+) rw%-s .* /dev/zero")
          if from then
            from, to = tonumber(from, 16), tonumber(to, 16)
            local words = math.floor(math.min(to - from, 8 * 2 ^ 20) / 4)
            local at = ffi.cast("uint32_t *", from)
            for i = 0, words - 1 do at[i] = math.random(0, 2 ^ 32 - 1) end
          end
        end
        ffi.cdef("int raise(int);")
        ffi.C.raise(9)
      end
      return { control = false, stop_timeout = 1,
        backends = { app = { servers = { "127.0.0.1:1" }, max_conns = 2 } },
        limits = { per_ip = 1000 },
        on_request = function(req)
          if req.path == "/scribble" then scribble() end
          return { backend = "app", docroot = "/" }
        end }]] })
    finally(function() s.process:stop(10) end)
    http.get(s.address, "/")
    local client = http.open(s.address)
    client:send({ path = "/scribble" })
    s:wait_log("another one takes its place", 20)
    client:close()
    assert.is_true(s.process:alive())
    s.process:kill("TERM")
    local ending = s.process:wait(15)
    assert.truthy(ending and ending:find("exit status", 1, true), tostring(ending))
  end)
end)
