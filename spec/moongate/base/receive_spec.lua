-- Specs of moongate.base.receive, on a socket whose bytes come in pieces.

describe("moongate.base.receive", function()
  local Socket, before

  setup(function()
    before = {
      package.loaded["moongate.core"], package.preload["moongate.core"],
      package.loaded["moongate.base.receive"],
    }
    local core = { tcp_methods = {} }
    function core.tcp_find(s, text, from)
      if s.busy then
        return false, "socket busy reading"
      elseif not text then
        return #s.bytes
      end
      local at = s.bytes:find(text, from + 1, true)
      if at then
        return at - 1
      end
      return nil, math.max(#s.bytes - #text + 1, 0)
    end
    function core.tcp_take(s, size, skip)
      if s.busy then
        return false, "socket busy reading"
      elseif #s.bytes < size + (skip or 0) then
        return nil
      end
      local taken = s.bytes:sub(1, size)
      s.bytes = s.bytes:sub(size + (skip or 0) + 1)
      return taken
    end
    function core.tcp_fill(s)
      local piece = table.remove(s, 1)
      if piece then
        s.bytes = s.bytes .. piece
        return true
      end
      local part = s.bytes
      s.bytes = ""
      return nil, s.reason or "closed", part
    end
    package.loaded["moongate.core"], package.loaded["moongate.base.receive"] = core, nil
    require("moongate.base.receive")
    Socket = { __index = core.tcp_methods }
  end)

  teardown(function()
    package.loaded["moongate.core"], package.preload["moongate.core"] = before[1], before[2]
    package.loaded["moongate.base.receive"] = before[3]
  end)

  local function socket(...)
    local s = { ... }
    s.bytes = ""
    return setmetatable(s, Socket)
  end

  local function results(...)
    return { n = select("#", ...), ... }
  end

  it("finds lines in any pieces", function()
    local s = socket("on", "e\r", "\ntwo\n\n", "r", "est")
    assert.same({ "one", "two", "", nil, "closed", "rest" },
      { s:receive(), s:receive("*l"), s:receive(nil), s:receive() })
  end)

  it("gives so many bytes, and all", function()
    local s = socket("ab", "cdef", "gh")
    assert.equal("", s:receive(0))
    assert.equal("abcd", s:receive("4"))
    assert.same({ "e", "f" }, { s:receiveany(1), s:receiveany(9) })
    assert.equal("gh", s:receive("*a"))
    assert.same({ n = 3, nil, "closed", "" }, results(s:receive(1)))
  end)

  it("hands out what came before a time-out, also of all", function()
    local s = socket("abc")
    s.reason = "timeout"
    assert.same({ n = 3, nil, "timeout", "abc" }, results(s:receive("*a")))
  end)

  it("says two things where nothing can be read", function()
    local s = socket()
    s.busy = true
    local busy = { n = 2, nil, "socket busy reading" }
    assert.same(busy, results(s:receive()))
    assert.same(busy, results(s:receive("*a")))
    assert.same(busy, results(s:receive(3)))
    assert.same(busy, results(s:receiveany(3)))
    assert.same(busy, results(s:receiveuntil("x")()))
  end)

  it("hands out a stretch in parts, whatever its size", function()
    for size = 0, 9 do
      local text = ("x"):rep(size)
      local reader, parts = socket(text .. "EN", "D" .. text .. "END"):receiveuntil("END"), {}
      for _ = 1, 2 do
        local read, part = {}, reader(3)
        while part do
          read[#read + 1], part = part, reader(3)
        end
        parts[#parts + 1] = table.concat(read)
      end
      assert.same({ text, text }, parts)
      assert.same({ n = 3, nil, "closed", "" }, results(reader(3)))
    end
  end)

  it("refuses what is no size and no text", function()
    local s = socket()
    for message, fn in pairs({
      ['receive: expected a number of bytes, "%*l" or "%*a", got "%*x"'] = function()
        s:receive("*x")
      end,
      ["receive: expected a number of bytes, got 1.5"] = function()
        s:receive(1.5)
      end,
      ["receiveany: expected a number of bytes, got nothing"] = function()
        s:receiveany()
      end,
      ["receiveuntil's iterator: expected a number of bytes, got %-1"] = function()
        s:receiveuntil("x")(-1)
      end,
    }) do
      local ok, said = pcall(fn)
      assert.is_false(ok)
      assert.matches(message, said)
    end
    assert.same({ n = 2, nil, "more than 64 MB at once" }, results(s:receive(2 ^ 30)))
  end)
end)
