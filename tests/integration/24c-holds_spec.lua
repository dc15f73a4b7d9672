-- What a connection can make a worker hold, at most, in each protocol: docs/limits.md. Many
-- connections are brought to the same place, and the growth of the worker's memory is divided by
-- their number. MOONGATE_SAY_HOLDS=1 prints the figures.
--
-- Runs alone: it measures memory.

local gateway = require("tests.support.gateway")
local h2 = require("tests.support.h2")
local http = require("tests.support.http")
local net = require("tests.support.net")
local server = require("tests.support.server")
local ssl = require("tests.support.ssl")
local tls = require("tests.support.tls")

local KB = 1024

-- Sanitizers put red zones around each piece.
local SLACK = (os.getenv("MOONGATE") or ""):find("asan", 1, true) and 3 or 1

local ROUTE = [[
return {
  listen = {
    { address = %q, h2c = true }, { address = %q, tls = { cert = %q, key = %q } },
    { address = %q, protocol = "fastcgi" }, { address = %q, proxy_protocol = true },
  },
  trusted_proxies = { "127.0.0.0/8" },
  workers = 1, watch = false, control = false,
  limits = { header_timeout = "10m", keepalive_timeout = "10m" },
  on_request = function() return { status = 200, body = "hello\n" } end,
}
]]

describe("a connection holds no more than docs/limits.md says", function()
  local gate, pair
  local at = {}

  setup(function()
    pair = tls.authority():issue({ "site.test" })
  end)

  -- A worker of its own for each case: memory that it has had before is used again.
  before_each(function()
    for _, name in ipairs({ "plain", "tls", "fastcgi", "proxy" }) do
      at[name] = "127.0.0.1:" .. net.free_port()
    end
    gate = server.start({ own = true, address = at.plain, env = server.MEASURED,
      route = ROUTE:format(at.plain, at.tls, pair.cert, pair.key, at.fastcgi, at.proxy) })
  end)

  after_each(function()
    gate:stop()
  end)

  -- A request of its own has been answered: what was sent before it has been read.
  local function settle()
    assert.equal("hello\n", http.get(at.plain, "/").body)
    assert.equal("hello\n", http.get(at.plain, "/").body)
  end

  -- Bytes for each of `count` connections that `open` makes, beyond those of the first ones, whose
  -- memory the worker keeps for reuse.
  local function each(count, open)
    local list = {}
    local function more(n)
      for _ = 1, n do
        list[#list + 1] = open()
      end
      settle()
      return gate:memory()
    end
    local before = more(20)
    local bytes = (more(count) - before) / count
    for _, conn in ipairs(list) do
      conn:close()
    end
    settle()
    return bytes
  end

  local function holds(what, most, count, open)
    it(what, function()
      local bytes = each(count, open)
      if os.getenv("MOONGATE_SAY_HOLDS") then
        print(("%-60s %8.1f KB"):format(what, bytes / KB))
      end
      assert.is_true(bytes <= most * SLACK, ("%.1f KB, at most %.1f"):format(bytes / KB, most / KB))
    end)
  end

  -- A connection to an address that has sent these bytes.
  local function sent(name, bytes)
    return function()
      local conn = net.connect(at[name])
      conn:send(bytes)
      return conn
    end
  end

  local function record(bytes)
    return "\22\3\1" .. string.char(math.floor(#bytes / 256), #bytes % 256) .. bytes
  end

  -- A ClientHello of 128 KB but for its last byte, in records as large as may be.
  local function hello()
    local length = 131000
    local body = "\1" .. string.char(math.floor(length / 65536), math.floor(length / 256) % 256,
      length % 256) .. "\3\3" .. ("r"):rep(32) .. "\0" .. "\0\2\19\1" .. "\1\0"
    local rest = length - (#body - 4) - 2
    body = body .. string.char(math.floor(rest / 256) % 256, rest % 256)
    body = body .. ("x"):rep(length + 4 - #body - 1)
    local out = {}
    for from = 1, #body, 16384 do
      out[#out + 1] = record(body:sub(from, from + 16383))
    end
    return table.concat(out)
  end

  holds("HTTP/1, idle", 2 * KB, 600, function()
    local conn = http.open(at.plain)
    assert.equal("hello\n", conn:request({ path = "/" }).body)
    return conn
  end)

  holds("HTTP/1, a head of 16 KB without its end", 40 * KB, 300,
    sent("plain", "GET / HTTP/1.1\r\nX-A: " .. ("a"):rep(16000)))

  holds("HTTP/2, not idle long enough to be packed", 40 * KB, 300, function()
    local client = h2.open(at.plain)
    assert.equal(200, client:request({ path = "/" }).status)
    return client
  end)

  holds("TLS, nothing has come", 4 * KB, 600, sent("tls", ""))

  holds("TLS, a ClientHello of 16 KB without its end", 80 * KB, 200,
    sent("tls", record(hello():sub(6, 16005)):sub(1, -2)))

  holds("TLS, a ClientHello of 128 KB without its end", 200 * KB, 100, sent("tls", hello()))

  holds("TLS, open and idle", 32 * KB, 200, function()
    local conn = ssl.connect(at.tls)
    conn:send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert.matches("^HTTP/1.1 200 ", conn:read_some())
    return conn
  end)

  holds("TLS, open and half a record of 16 KB", 64 * KB, 100, function()
    local conn = ssl.connect(at.tls)
    conn.conn:send("\23\3\3\64\17" .. ("x"):rep(16000))
    return conn
  end)

  holds("PROXY, a header of 4 KB without its end", 16 * KB, 300,
    sent("proxy", "\r\n\r\n\0\r\nQUIT\n\33\17\15\240" .. ("x"):rep(4000)))

  holds("FastCGI, idle", 4 * KB, 300, function()
    local web = gateway.open(at.fastcgi)
    local res = web:request({ keep = true })
    assert.equal("hello\n", res.body)
    return web
  end)

  holds("FastCGI, params of 48 KB without their end", 150 * KB, 100, function()
    local web = gateway.open(at.fastcgi)
    web:send(gateway.begin(1, 1, true)
      .. gateway.record(gateway.PARAMS, 1, ("x"):rep(16000)):rep(3))
    return web
  end)
end)
