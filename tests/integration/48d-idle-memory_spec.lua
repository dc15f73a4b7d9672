-- What an idle connection of TLS and of HTTP/2 holds of its worker, at most, and that it goes on
-- afterwards.

local net = require("tests.support.net")
local poll = require("tests.support.poll")
local process = require("tests.support.process")
local secure_client = require("tests.bench.secure_client")
local server = require("tests.support.server")
local tls = require("tests.support.tls")

local COUNT = 300
local KILOBYTE = 1024
-- The sanitizers' allocator has more of its own around each piece than many pieces have.
local SHARE = server.binary():find("asan", 1, true) and 4 or 1

local ROUTE = [[
return {
  listen = { { address = %q, h2c = true }, { address = %q, tls = { cert = %q, key = %q } } },
  workers = 1, watch = false, limits = { keepalive_requests = 1e9, keepalive_timeout = "600s" },
  on_request = function(req) return { status = 200, body = req.version } end,
}
]]

-- Bytes that OpenSSL holds for a connection more than version 3.0 of Debian 12: 3.5 of Debian 13.
local NEWER = process.run({ argv = { "openssl", "version" } }).stdout:find("OpenSSL 3.0", 1, true)
  and 0 or 10 * KILOBYTE

local CASES = {
  { title = "HTTP/2 without TLS", http2 = true, most = 5 * KILOBYTE },
  { title = "HTTP/1.1 over TLS", tls = true, most = 18 * KILOBYTE + NEWER },
  { title = "HTTP/2 over TLS", tls = true, http2 = true,
    most = 22 * KILOBYTE + NEWER },
}

describe("an idle connection", function()
  -- A server, and a function that makes a connection and asks once.
  local function start(case)
    local pair = tls.authority():issue({ "localhost" })
    local plain, secure = "127.0.0.1:" .. net.free_port(), "127.0.0.1:" .. net.free_port()
    local own = server.start({ own = true, address = plain, env = server.MEASURED,
      route = ROUTE:format(plain, secure, pair.cert, pair.key) })
    finally(function() own:stop() end)
    local context = case.tls and secure_client.context({ http2 = case.http2 })
    return own, function()
      local conn = secure_client.open(case.tls and secure or plain, context)
      conn.ask = case.http2 and conn.get_by_http2 or conn.get
      conn:ask("/")
      return conn
    end
  end

  for _, case in ipairs(CASES) do
    it("of " .. case.title .. " is small, and goes on", function()
      local own, open = start(case)
      local list = {}
      for _ = 1, 20 do
        open():close()
      end
      local before, most = own:memory(), case.most * SHARE
      for i = 1, COUNT do
        list[i] = open()
      end
      local each
      local ok = pcall(poll.wait, function()
        each = (own:memory() - before) / COUNT
        return each < most
      end, "memory that is given back", 60)
      assert.is_true(ok, ("%.0f bytes for each, expected less than %d"):format(each, most))
      for round = 1, 3 do
        for i = 1, COUNT, round do
          list[i]:ask("/")
        end
      end
      for _, conn in ipairs(list) do
        conn:close()
      end
    end)
  end
end)
