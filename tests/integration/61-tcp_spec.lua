-- moongate.tcp, each method and each error of it, against a server whose part the test plays.

local dns = require("tests.support.dns")
local http = require("tests.support.http")
local lab = require("tests.support.lab")
local net = require("tests.support.net")
local poll = require("tests.support.poll")
local process = require("tests.support.process")
local rig = require("tests.support.rig")
local socket = require("socket")
local unix = require("socket.unix")

describe("moongate.tcp", function()
  local l, listener, port

  setup(function()
    l = lab.start({ settings = "script_timeout = 20" })
  end)

  teardown(function()
    l:stop()
  end)

  before_each(function()
    listener = assert(socket.bind("127.0.0.1", 0))
    listener:settimeout(poll.PATIENCE)
    port = select(2, listener:getsockname())
  end)

  after_each(function()
    listener:close()
  end)

  -- Code with a connected `t`, and PORT replaced.
  local function code(text)
    return (("local t = moongate.tcp() assert(t:connect('127.0.0.1', PORT)) " .. text)
      :gsub("PORT", tostring(port)))
  end

  -- Begins it; returns the client and the connection that it has made.
  local function begin(text)
    local client = l:begin(code(text))
    local conn = assert(listener:accept())
    conn:settimeout(poll.PATIENCE)
    return client, conn
  end

  -- What the code returns when the server sends these pieces and closes.
  local function with(pieces, text)
    local client, conn = begin(text)
    for i, piece in ipairs(pieces) do
      if i > 1 then
        socket.sleep(0.02) -- so that they come apart; nothing depends on it
      end
      conn:send(piece)
    end
    conn:close()
    return l:finish(client)
  end

  describe("connect", function()
    it("connects", function()
      local client, conn = begin("return t:connect('127.0.0.1', PORT), t:getreusedtimes()")
      local second = assert(listener:accept()) -- the first one is closed for it
      assert.same({ nil, "closed", "" }, { conn:receive(1) })
      assert.equal("1, 0", l:finish(client))
      second:close()
    end)

    it("says why it can't", function()
      local free = net.free_port()
      assert.equal('nil, "connection refused"',
        l:run(("return moongate.tcp():connect('127.0.0.1', %d)"):format(free)))
      assert.equal('nil, "no such file or directory"',
        l:run("return moongate.tcp():connect('unix:/nothing/here.sock')"))
      assert.matches('^nil, "no%-such%.invalid could not be resolved %(.+%)"$',
        l:run("return moongate.tcp():connect('no-such.invalid', 80)"))
    end)

    it("takes the time it is given", function()
      -- A listener whose queue is full answers no more.
      local full = assert(socket.tcp())
      assert(full:bind("127.0.0.1", 0))
      assert(full:listen(0))
      local _, busy = full:getsockname()
      local fillers = {}
      for i = 1, 4 do
        fillers[i] = socket.tcp()
        fillers[i]:settimeout(0)
        fillers[i]:connect("127.0.0.1", busy)
      end
      local begun = socket.gettime()
      assert.equal('nil, "timeout"', l:run(("local t = moongate.tcp() t:settimeouts(150, nil, nil)"
        .. " return t:connect('127.0.0.1', %d)"):format(busy)))
      local took = socket.gettime() - begun
      assert.is_true(took > 0.14 and took < 20, tostring(took))
      for _, filler in ipairs(fillers) do
        filler:close()
      end
      full:close()
    end)

    it("connects to unix sockets", function()
      local path = process.tempdir("sock") .. "/s.sock"
      local server = assert(unix.stream())
      assert(server:bind(path))
      assert(server:listen(4))
      process.chmod(path, "777")
      local client = l:begin(("local t = moongate.tcp() assert(t:connect('unix:%s'))"
        .. " return t:receive()"):format(path))
      local conn = assert(server:accept())
      conn:send("hello\n")
      assert.equal('"hello"', l:finish(client))
      conn:close()
      server:close()
    end)

    it("says what is wrong with its arguments", function()
      for text, message in pairs({
        ["t:connect('127.0.0.1')"] = "expected a port from 0 to 65535",
        ["t:connect('127.0.0.1', 70000)"] = 'expected a port from 0 to 65535, got "70000"',
        ["t:connect()"] = 'connect: expected a host or "unix:/path", got nothing',
        ["t:connect('a', 1, 5)"] = "connect: expected a table such as { pool = .* got 5",
        ["t:receive({})"] = "receive: expected a number of bytes, .* got a table",
        ["t:receiveuntil()"] = "receiveuntil: expected a text, got nothing",
        ["t:receiveuntil('a', 1)"] = "receiveuntil: expected a table such as .* got 1",
        ["t:send()"] = "send: expected a text or a list of texts, got nothing",
        ["t:setoption()"] = "setoption: expected the name of an option, got nothing",
        ["t:connect('unix:relative')"] = "needs an absolute path",
        ["t:connect('a', 1, { pool = {} })"] = "as 'pool', got table",
        ["t:connect('a', 1, { pool_size = 0 })"] = "pool_size: expected a number of connections",
        ["t:connect('a', 1, { backlog = 5 })"] = "'backlog' is not available",
        ["t:connect('a%00b', 1)"] = "zero byte",
        ["t:settimeout(-1)"] = "settimeout: expected milliseconds from 0 to 2147483647, got %-1",
        ["t:settimeouts(1, 'x')"] = "settimeouts: expected milliseconds",
        ["t:receive('*x')"] = 'receive: expected a number of bytes, .* got "%*x"',
        ["t:receive(-1)"] = "receive: expected a number of bytes, got %-1",
        ["t:receiveany(0)"] = "receiveany: expected a number of bytes, got 0",
        ["t:receiveuntil('')"] = "expected a text of 1 to 4096 bytes, got one of 0",
        ["t:setkeepalive(1, 0)"] = "setkeepalive: size: expected",
        ["moongate.tcp.connect()"] = "attempt to index",
        ["t.connect('x')"] = 'expected a call such as sock:close%(%) .* got "x" before the name',
        ["t.close()"] = "expected a call such as sock:close%(%) .* got nothing before the name",
      }) do
        text = text:gsub("%%00", "\\0")
        local said = l:run("local t = moongate.tcp() return " .. text):gsub('\\"', '"')
        assert.matches(message, said, nil, text)
      end
    end)
  end)

  describe("a socket that is not connected", function()
    it("is closed for every method", function()
      for _, call in ipairs({ "send('x')", "receive()", "receive(0)", "receiveany(5)", "close()",
        "setkeepalive()", "getreusedtimes()", "receiveuntil('x')()", "setoption('keepalive', true)",
      }) do
        assert.equal('nil, "closed"', l:run("return moongate.tcp():" .. call), call)
      end
      assert.equal('nil, "closed"', l:run(code("assert(t:close() == 1) return t:close()")))
    end)
  end)

  describe("send", function()
    it("sends texts, numbers and nested lists, and says how many bytes", function()
      local client, conn = begin(
        "return t:send('ab'), t:send(12), t:send({'c', 3, {{'d', true}, {}}, 0.5})")
      assert.equal("ab12c3dtrue0.5", conn:receive(14))
      assert.equal("2, 2, 10", l:finish(client))
      conn:close()
    end)

    it("waits for a reader that is slow, sends all, and goes on", function()
      local client, conn = begin("local n = t:send(('0123456789abcdef'):rep(1048576))"
        .. " moongate.sleep(0.05) return n, t:receive(), t:send('bye')")
      local sum = 0
      while sum < 16777216 do
        local bytes, err, part = conn:receive(math.min(1000000, 16777216 - sum))
        assert.is_nil(err)
        sum = sum + #(bytes or part)
      end
      conn:send("thanks\n")
      assert.equal('16777216, "thanks", 3', l:finish(client))
      assert.equal("bye", conn:receive(3))
      conn:close()
    end)

    it("ends with a time-out, which closes", function()
      local client, conn = begin("t:settimeouts(1000, 100, 1000)"
        .. " local a, b = t:send(('x'):rep(33554432)) return a, b, t:send('y')")
      assert.equal('nil, "timeout", nil', l:finish(client):sub(1, 19))
      conn:close()
    end)

    it("says that the other side has gone", function()
      local client, conn = begin("t:receive() moongate.sleep(0.05) t:connect('127.0.0.1', PORT)"
        .. " t:receiveany(1) local n, e repeat n, e = t:send('x') moongate.sleep(0.01) until not n"
        .. " return n, e, t:send('x')")
      conn:close()
      conn = assert(listener:accept())
      conn:send("x")
      conn:setoption("linger", { on = true, timeout = 0 })
      conn:close()
      assert.matches('^nil, "%l[%l ]+", nil, "closed"$', l:finish(client))
    end)

    it("refuses what cannot be sent", function()
      local client, conn = begin("return pcall(t.send, t, {print})")
      assert.matches("send: expected a string, a number, a boolean, nil, or a list of them, got",
        l:finish(client))
      conn:close()
      client, conn = begin("local a = {} a[1] = a return pcall(t.send, t, a)")
      assert.matches("nested deeper than 32 levels", l:finish(client))
      conn:close()
      client, conn = begin(
        "local s = ('x'):rep(1048576) local a = {} for i = 1, 65 do a[i] = s end return t:send(a)")
      assert.equal('nil, "more than 64 MB at once"', l:finish(client))
      conn:close()
    end)
  end)

  describe("receive", function()
    it("reads lines with and without CR", function()
      assert.equal('"one", "two", "", "th\rree", nil, "closed", "rest"', (with(
        { "one\r", "\ntwo\n\r\nth\rr", "ee\nrest" },
        "return t:receive(), t:receive('*l'), t:receive(nil), t:receive(), t:receive()")
        :gsub("\\\r", "\r"):gsub("\\r", "\r"):gsub("\\13", "\r")))
    end)

    it("reads so many bytes", function()
      assert.equal('"abc", "", "de", nil, "closed", "f"',
        with({ "ab", "cd", "ef" },
          "return t:receive(3), t:receive(0), t:receive('2'), t:receive(5)"))
    end)

    it("reads all", function()
      assert.equal('"abcdef", nil, "closed"',
        with({ "abc", "def" }, "local all = t:receive('*a') return all, t:receive()"):sub(1, 23))
      assert.equal('""', with({}, "return (t:receive('*a'))"))
    end)

    it("reads a lot", function()
      local block = ("0123456789abcde\n"):rep(65536)
      assert.equal("8388608, 0", with({ block, block, block, block, block, block, block, block },
        "return #t:receive(8388608), #t:receive('*a')"))
      assert.equal("524288", with({ block, block, block, block, block, block, block, block },
        "local n = 0 while t:receive() do n = n + 1 end return n"))
    end)

    it("ends with a time-out that leaves the connection open", function()
      local client, conn = begin("t:settimeout(2000) local a, b, c = t:receive(5)"
        .. " t:send('late') return a, b, c, t:receive(5)")
      conn:send("abc")
      assert.equal("late", conn:receive(4))
      conn:send("defgh")
      assert.equal('nil, "timeout", "abc", "defgh"', l:finish(client))
      conn:close()
    end)

    it("counts the time between pieces", function()
      local client, conn = begin("t:settimeout(2000) return t:receive(6)")
      for i = 1, 6 do -- in 2.5 s
        conn:send(tostring(i))
        socket.sleep(0.5)
      end
      assert.equal('"123456"', l:finish(client))
      conn:close()
    end)

    it("says that the connection was reset", function()
      local client, conn = begin("t:send('x') return t:receive(5)")
      conn:receive(1)
      conn:setoption("linger", { on = true, timeout = 0 })
      conn:close()
      assert.equal('nil, "connection reset by peer", ""', l:finish(client))
    end)

    it("has a bound", function()
      local client, conn = begin(
        "local a, b, c = t:receive('*a') return a, b, #c, t:receive(), t:receive(100000000)")
      local block, sent = ("x"):rep(1048576), 0
      for _ = 1, 80 do
        local ok = conn:send(block)
        if not ok then
          break
        end
        sent = sent + 1
      end
      assert.is_true(sent >= 63 and sent < 80)
      assert.equal('nil, "more than 64 MB without an end", 0, nil, nil, "more than 64 MB at once"',
        l:finish(client))
      conn:close()
    end)

    it("is busy for a second reader", function()
      local client, conn = begin([[
        local done
        moongate.spawn(function() done = t:receive() end)
        moongate.sleep(0.05)
        local a, b = t:receive()
        local c, d = t:close()
        local e, f = t:connect("127.0.0.1", 1)
        local g = t:send("go\n")
        while not done do moongate.sleep(0.01) end
        return a, b, c, d, e, f, g, done]])
      assert.equal("go", conn:receive())
      conn:send("line\n")
      local busy = 'nil, "socket busy reading"'
      assert.equal(table.concat({ busy, busy, busy, '3, "line"' }, ", "), l:finish(client))
      conn:close()
    end)
  end)

  describe("receiveany", function()
    it("gives what there is", function()
      local client, conn = begin("local a = t:receiveany(2) t:send('.')"
        .. " return a, t:receiveany(1), t:receiveany(100), t:receiveany(100)")
      conn:send("abcde")
      conn:receive(1)
      conn:close()
      assert.equal('"ab", "c", "de", nil, "closed", ""', l:finish(client))
    end)

    it("ends with a time-out", function()
      local client, conn = begin("t:settimeout(50) return t:receiveany(2)")
      assert.equal('nil, "timeout", ""', l:finish(client))
      conn:close()
    end)
  end)

  describe("receiveuntil", function()
    it("reads up to the text, at every split", function()
      local text = "hello\r\n--bb\r\n--b\r\n--bbbye\r\n--"
      for split = 1, #text - 1 do
        assert.equal('"hello", "\r\n--b", "bye", nil, "closed", "\r\n--"', (with(
          { text:sub(1, split), text:sub(split + 1) }, [[
            local one, two = t:receiveuntil("\r\n--bb"), t:receiveuntil("bye", { inclusive = true })
            local a, b = one(), one()
            return a, b, two(), two()]])
          :gsub("\\13", "\r"):gsub("\\r", "\r"):gsub("\\\n", "\n")))
      end
    end)

    it("hands it out in parts, and nil at its end", function()
      local text = "hello, world! -agentzh\r\n--abcedhb blah blah"
      local reader = [[
        local reader, list = t:receiveuntil("\r\n--abcedhb"), {}
        while true do
          local data, err, partial = reader(4)
          if not data then
            list[#list + 1] = tostring(err)
            break
          end
          list[#list + 1] = data
        end
        return table.concat(list, "|"), t:receive("*a")]]
      assert.equal('"hell|o, w|orld|! -a|gent|zh|nil", " blah blah"', with({ text }, reader))
      for split = 1, #text - 1 do
        local got = with({ text:sub(1, split), text:sub(split + 1) }, reader)
        assert.equal('"hello, world! -agentzhnil", " blah blah"', (got:gsub("|", "")))
      end
      assert.equal('"abcd|nil", ""', with({ "abcd\r\n--abcedhb" }, reader))
      assert.equal('"abcd|ef|closed", ""', (with({ "abcdef" }, [[
        local reader, list = t:receiveuntil("END"), {}
        while true do
          local data, err, partial = reader(4)
          if not data then list[#list + 1] = partial .. "|" .. err break end
          list[#list + 1] = data
        end
        return table.concat(list, "|"), ""]])))
    end)

    it("may include the text", function()
      assert.equal('"a_END_", "b_END_", nil, "closed", "c"', with({ "a_END_b_E", "ND_c" },
        "local r = t:receiveuntil('_END_', { inclusive = true }) return r(), r(), r()"))
    end)

    it("gives what came when the time is over, and goes on", function()
      local client, conn = begin("t:settimeout(2000) local r = t:receiveuntil('\\n--')"
        .. " local a, b, c = r() t:send('x') return a, b, c, r(), r(0)")
      conn:send("abc")
      conn:receive(1)
      conn:send("d\n--")
      assert.equal('nil, "timeout", "abc", "d", ""', l:finish(client))
      conn:close()
    end)
  end)

  describe("setkeepalive", function()
    it("keeps the connection for the next", function()
      local client, conn = begin("t:send('1') return t:setkeepalive(10000, 5), t:send('x')")
      assert.equal('1, nil, "closed"', l:finish(client))
      assert.equal("1", conn:receive(1))
      for i = 1, 3 do
        assert.equal(tostring(i),
          l:run(code("t:send('2') local n = t:getreusedtimes() t:setkeepalive(10000, 5) return n")))
        assert.equal("2", conn:receive(1))
      end
      conn:close()
      l:collect(lab.AT_REST)
    end)

    it("keeps no more than the pool's size: the one that rests longest goes", function()
      local client = l:begin(code([[
        local list = { t }
        for i = 2, 4 do
          list[i] = moongate.tcp()
          assert(list[i]:connect("127.0.0.1", PORT, { pool = "named", pool_size = 2 }))
        end
        t:close()
        for i = 2, 4 do
          list[i]:send(i)
          assert(list[i]:setkeepalive())
        end
        local again = moongate.tcp()
        assert(again:connect("127.0.0.1", PORT, { pool = "named" }))
        again:send("again")
        local n = again:getreusedtimes()
        again:close()
        return n]]):gsub("PORT", tostring(port)))
      local got = {}
      for i = 1, 4 do
        got[i] = assert(listener:accept())
        got[i]:settimeout(poll.PATIENCE)
      end
      assert.equal("1", l:finish(client))
      assert.same({ nil, "closed", "" }, { got[1]:receive(1) })
      assert.same({ nil, "closed", "2" }, { got[2]:receive(9) })
      assert.same({ nil, "closed", "4again" }, { got[4]:receive(9) })
      got[3]:settimeout(0.1)
      assert.same({ nil, "timeout", "3" }, { got[3]:receive(9) }) -- it is kept
      got[3]:send("unasked") -- and not after this
      got[3]:settimeout(poll.PATIENCE)
      assert.same({ nil, "closed", "" }, { got[3]:receive(9) })
      for _, conn in ipairs(got) do
        conn:close()
      end
      l:collect(lab.AT_REST)
    end)

    it("keeps it for so long", function()
      local client, conn = begin("return t:setkeepalive(100)")
      assert.equal("1", l:finish(client))
      assert.same({ nil, "closed", "" }, { conn:receive(1) })
      conn:close()
    end)

    it("keeps nothing that is unfit", function()
      local client, conn = begin("t:receive(1) return t:setkeepalive()")
      conn:send("ab")
      assert.equal('nil, "unread data in buffer"', l:finish(client))
      conn:close()
      client, conn = begin("t:receive(1) moongate.sleep(1.5) return t:setkeepalive()")
      conn:send("a")
      conn:close()
      assert.equal('nil, "closed"', l:finish(client))
    end)

    it("gives no connection that has ended", function()
      local client, conn = begin("t:setkeepalive() return 1")
      assert.equal("1", l:finish(client))
      conn:close()
      client, conn = begin("t:send('x') return t:getreusedtimes()")
      assert.equal("x", conn:receive(1))
      assert.equal("0", l:finish(client))
      conn:close()
    end)
  end)

  it("accepts options, and has no TLS yet", function()
    local client, conn = begin([[
      return t:setoption("keepalive", true), t:setoption("tcp-nodelay", true),
        t:setoption("sndbuf", 65536), select(2, t:setoption("nonsense", 1)),
        t:sslhandshake(nil, "host", true)]])
    assert.equal('1, 1, 1, "unsupported option nonsense", nil, "not available"', l:finish(client))
    conn:close()
  end)

  it("can't wait in a coroutine of the script's own", function()
    local client, conn = begin(
      "return coroutine.wrap(function() return pcall(t.receive, t) end)()")
    assert.matches("^false, .*a coroutine of the script's own can't wait", l:finish(client))
    assert.same({ nil, "closed", "" }, { conn:receive(1) })
    conn:close()
  end)

  describe("when its request's client leaves", function()
    for name, text in pairs({
      receiving = "return t:receive()",
      sending = "return t:send(('x'):rep(33554432))",
      ["receiving in parts"] = "return t:receiveuntil('x')(5)",
    }) do
      it("is closed while it is " .. name, function()
        l:collect(lab.AT_REST) -- what is open then is this one
        local client, conn = begin(text)
        l:run("return 1") -- it has begun
        client.conn:reset()
        local ended = poll.try(function()
          conn:settimeout(0.5)
          local _, err = conn:receive(1000000)
          return err == "closed"
        end, poll.PATIENCE)
        assert.is_true(ended ~= nil and ended ~= false)
        conn:close()
        l:wait_sockets(lab.AT_REST)
      end)
    end

    it("stops asking for its name", function()
      local names = dns.start({})
      local other = lab.start({ settings = ("resolver = %q"):format(names.address) })
      finally(function()
        other:stop()
        names:stop()
      end)
      names:silence(true)
      local client = other:begin("return moongate.tcp():connect('silent.test', 80)")
      poll.wait(function()
        return other:sockets() >= 4
      end, "the question")
      client.conn:reset()
      assert.equal("1", other:run("return 1"))
      names:silence(false)
    end)
  end)

  -- Another function goes on with the socket of a request whose client has left: it sees the end.
  for name, text in pairs({
    ["a reader"] = { "t:receive()", "t:send(('x'):rep(33554432))", 'nil "closed"' },
    ["a writer"] = { "t:send(('x'):rep(33554432))", "t:receive()", 'nil "broken pipe"' },
  }) do
    it("shows " .. name .. " the end when the other direction is given up", function()
      local client, conn = begin(([[
        kept.result = nil
        moongate.spawn(function()
          local a, b = %s
          kept.result = tostring(a) .. " " .. ("%%q"):format(b)
        end)
        moongate.sleep(0.02)
        kept.begun = true
        return %s]]):format(text[1], text[2]))
      poll.wait(function()
        return l:run("return kept.begun") == "true"
      end, "both to wait")
      client.conn:reset()
      poll.wait(function()
        return l:run("return kept.result"):gsub("\\", "") == ("%q"):format(text[3]):gsub("\\", "")
      end, "the other one to end: " .. l:run("return kept.result"))
      l:run("kept.begun = nil")
      conn:close()
      l:wait_sockets(lab.AT_REST)
    end)
  end

  it("is refused in hooks that can't wait, and works in on_start", function()
    local path = process.tempdir("sock") .. "/s.sock"
    local server = assert(unix.stream())
    assert(server:bind(path))
    assert(server:listen(4))
    process.chmod(path, "777")
    local other = lab.start({ hooks = ([[
      on_start = function()
        local t = moongate.tcp()
        assert(t:connect("unix:%s"))
        slots.sent = t:send("started\n")
        t:close()
      end,
      on_log = function()
        local t = moongate.tcp()
        local ok, message = pcall(t.connect, t, "127.0.0.1", %d)
        moongate.log("warn", "on_log: %%s %%s", tostring(ok), message)
      end,
    ]]):format(path, port) })
    finally(function()
      other:stop()
      server:close()
    end)
    local conn = assert(server:accept())
    conn:settimeout(poll.PATIENCE)
    assert.equal("started", conn:receive())
    conn:close()
    assert.equal("8", other:run("return kept.sent"))
    other.server:wait_log("on_log: false .*this hook can't wait")
  end)

  it("ends with its generation: what is kept at once, what waits after stop_timeout", function()
    local other = lab.start({ settings = 'stop_timeout = "3s"' })
    finally(function() other:stop() end)
    local text = code([[
      kept.t = t
      local keep = moongate.tcp()
      assert(keep:connect("127.0.0.1", PORT))
      keep:setkeepalive(60000)
      moongate.spawn(function() t:receive() end)
      return 1]]):gsub("PORT", tostring(port))
    local client = other:begin(text)
    local waiting, kept = assert(listener:accept()), assert(listener:accept())
    waiting:settimeout(poll.PATIENCE)
    kept:settimeout(poll.PATIENCE)
    assert.equal("1", other:finish(client))
    other.server.process:kill("HUP")
    assert.same({ nil, "closed", "" }, { kept:receive(1) })
    waiting:settimeout(0)
    assert.same({ nil, "timeout", "" }, { waiting:receive(1) })
    waiting:settimeout(poll.PATIENCE)
    assert.same({ nil, "closed", "" }, { waiting:receive(1) })
    waiting:close()
    kept:close()
    assert.equal("1", other:run("return 1"))
  end)

  it("looks names up with the route's resolver", function()
    local names = dns.start({ ["app.test"] = { "127.0.0.1" }, ["two.test"] = { "127.0.0.1",
      "127.0.0.9" } })
    local other = lab.start({ settings = ("resolver = %q"):format(names.address) })
    finally(function()
      other:stop()
      names:stop()
    end)
    for _, name in ipairs({ "app.test", "two.test" }) do
      local client = other:begin(("local t = moongate.tcp() assert(t:connect(%q, %d))"
        .. " return t:receive()"):format(name, port))
      local conn = assert(listener:accept())
      conn:send("named\n")
      assert.equal('"named"', other:finish(client))
      conn:close()
    end
    assert.matches('^nil, "gone%.test could not be resolved %(.*not found%)"$',
      other:run("return moongate.tcp():connect('gone.test', 80)"))
    names:silence(true)
    assert.equal('nil, "timeout"', other:run(
      "local t = moongate.tcp() t:settimeout(100) return t:connect('slow.test', 80)"))
    names:silence(false)
  end)

  it("leaves nothing behind, forgotten or not", function()
    -- A listener's queue takes them: nobody needs to accept.
    local path = process.tempdir("sock") .. "/s.sock"
    local server = assert(unix.stream())
    assert(server:bind(path))
    assert(server:listen(1000))
    process.chmod(path, "777")
    for i = 1, 20 do
      assert.equal("true", l:run(([[
        for i = 1, 20 do
          local t = moongate.tcp()
          assert(t:connect("unix:%s"))
          if i > 10 then t:setkeepalive(50, 3) end
        end
        return true]]):format(path)), i)
    end
    l:collect(lab.AT_REST)
    -- They count for more than their memory, so not many wait for the collector.
    assert.equal("true", l:run(([[
      for i = 1, 500 do assert(moongate.tcp():connect("unix:%s")) end
      return true]]):format(path)))
    local open = l:sockets() - lab.AT_REST
    assert.is_true(open < 30, open .. " of 500 are open")
    server:close()
  end)

  it("has a bound on open sockets, for which the forgotten ones do not count", function()
    local servers, paths = {}, {}
    for i = 1, 3 do
      paths[i] = process.tempdir("sock") .. "/s.sock"
      servers[i] = assert(unix.stream())
      assert(servers[i]:bind(paths[i]))
      assert(servers[i]:listen(2000))
      process.chmod(paths[i], "777")
    end
    local text = ([[
      local list, reason = {}, nil
      for _, path in ipairs({ "%s", "%s", "%s" }) do
        for i = 1, 1500 do
          local t, ok = moongate.tcp(), nil
          ok, reason = t:connect("unix:" .. path)
          if not ok then break end
          list[#list + 1] = t
        end
      end
      return #list, reason]]):format(unpack(paths))
    local full = '4096, "too many open sockets"'
    assert.equal(full, l:run(text))
    for i = 1, 3 do
      servers[i]:settimeout(0)
      repeat
        local conn = servers[i]:accept()
        if conn then
          conn:close()
        end
      until not conn
    end
    -- A second later it looks for what nobody has any more.
    poll.wait(function()
      return l:run("local t = moongate.tcp() return t:connect('unix:" .. paths[1] .. "')") == "1"
    end, "a place", 5)
    l:collect(lab.AT_REST)
    for i = 1, 3 do
      servers[i]:close()
    end
  end)

  it("goes on for others while one waits", function()
    local client, conn = begin("return t:receive()")
    for _ = 1, 20 do
      assert.equal("page", http.get(l.address, "/").body)
    end
    conn:send("now\n")
    assert.equal('"now"', l:finish(client))
    conn:close()
  end)
end)

describe("a hook that computes for long", function()
  local BUSY = [[
    local moongate = require("moongate")
    local function compute()
      local stop = os.clock() + 1.2
      repeat until os.clock() > stop
    end
    if req.path == "/plain" then
      return { body = "plain" }
    elseif req.path == "/tcp" then
      local sock = moongate.tcp()
      compute()
      sock:settimeouts(1000, 1000, 1000)
      local good, problem = sock:connect("127.0.0.1", tonumber(req.args.port))
      if not good then
        return { body = "connect: " .. problem }
      end
      sock:send("GET /plain HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
      compute()
      local line, why = sock:receive()
      return { body = line or "receive: " .. why }
    elseif req.path == "/sleep" then
      compute()
      local clock = require("moongate.base.clock")
      local began = clock()
      moongate.sleep(1)
      return { body = clock() - began >= 0.99 and "slept" or "did not sleep" }
    end
  ]]

  it("has all of the time that it gives to what it waits for", function()
    local r = rig.start({ on_request = BUSY })
    finally(function() r:stop() end)
    local port = r.address:match(":(%d+)$")
    assert.equal("HTTP/1.1 200 OK", http.get(r.address, "/tcp?port=" .. port).body)
    assert.equal("slept", http.get(r.address, "/sleep").body)
  end)
end)
