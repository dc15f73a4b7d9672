-- Connections beyond limits.per_ip on a listener that speaks HTTP/1 and HTTP/2: each client is
-- refused in the protocol that it speaks.

local h2 = require("tests.support.h2")
local http = require("tests.support.http")
local net = require("tests.support.net")
local server = require("tests.support.server")
local tls = require("tests.support.tls")

local ROUTE = [[
return {
  listen = { { address = %q, h2c = true, proxy_protocol = %s } },
  trusted_proxies = { %s },
  workers = 1, watch = false, control = false,
  limits = { per_ip = 1 },
  on_request = function(req) return { status = 200, body = "by " .. req.version .. "\n" } end,
}
]]

-- SETTINGS, and a GOAWAY of stream 0 with ENHANCE_YOUR_CALM.
local REFUSAL = h2.frame(h2.SETTINGS, 0, 0)
  .. h2.frame(h2.GOAWAY, 0, 0, "\0\0\0\0\0\0\0" .. string.char(h2.ENHANCE_YOUR_CALM))

local function start(proxy)
  local address = "127.0.0.1:" .. net.free_port()
  local gate = server.start({ own = true, address = address,
    route = ROUTE:format(address, tostring(proxy), proxy and '"127.0.0.0/8"' or "") })
  return gate
end

describe("one connection too many", function()
  it("gets a GOAWAY where it begins with HTTP/2's preface, else a 503", function()
    local gate = start(false)
    finally(function() gate:stop() end)
    local first = http.open(gate.address)
    assert.equal("by 1.1\n", first:request({ path = "/" }).body)
    for _, bytes in ipairs({ h2.PREFACE .. h2.frame(h2.SETTINGS, 0, 0), "PRI" }) do
      local conn = net.connect(gate.address)
      conn:send(bytes)
      assert.equal(REFUSAL, conn:read_all())
      conn:close()
    end
    local conn = net.connect(gate.address)
    conn:send("PUT / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert.matches("^HTTP/1.1 503 ", conn:read_all())
    conn:close()
    gate:wait_log("limits.per_ip: 1 connections of client 127.0.0.1 are open: GOAWAY with "
      .. "ENHANCE_YOUR_CALM")
    first:close()
  end)

  it("is closed where it says nothing", function()
    local gate = start(false)
    finally(function() gate:stop() end)
    local first = http.open(gate.address)
    assert.equal("by 1.1\n", first:request({ path = "/" }).body)
    local conn = net.connect(gate.address)
    assert.equal("", conn:read_all())
    conn:close()
    gate:wait_log("127.0.0.1 are open: its connection is closed without an answer")
    first:close()
  end)

  it("is said to be a 503 where it speaks HTTP/1, or the listener has no HTTP/2", function()
    local gate = start(false)
    finally(function() gate:stop() end)
    local first = http.open(gate.address)
    assert.equal("by 1.1\n", first:request({ path = "/" }).body)
    local conn = net.connect(gate.address)
    conn:send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert.matches("^HTTP/1.1 503 ", conn:read_all())
    conn:close()
    gate:wait_log("127.0.0.1 are open: 503")
    first:close()
  end)

  it("is said to be closed where it speaks TLS, and refused where it speaks FastCGI", function()
    local pair = tls.authority():issue({ "a.test" })
    for more, case in pairs({
      ["tls = " .. tls.setting(pair)] = { "GET", "its connection is closed without an answer" },
      ['protocol = "fastcgi"'] = { "", "FCGI_OVERLOADED for its requests" },
    }) do
      local plain, other = "127.0.0.1:" .. net.free_port(), "127.0.0.1:" .. net.free_port()
      local gate = server.start({ own = true, address = plain, route = ([[
        return {
          listen = { %q, { address = %q, %s } }, workers = 1, watch = false, control = false,
          limits = { connections = 1 },
          on_request = function(req) return { status = 200, body = "by " .. req.version } end,
        }]]):format(plain, other, more) })
      finally(function() gate:stop() end)
      local first = http.open(plain)
      assert.equal("by 1.1", first:request({ path = "/" }).body)
      local conn = net.connect(other)
      pcall(conn.send, conn, case[1])
      gate:wait_log("limits.connections: 1 are open; client %S+ " .. case[2])
      conn:close()
      first:close()
    end
  end)

  it("is known by its PROXY header, and the bytes behind it say what it speaks", function()
    local gate = start(true)
    finally(function() gate:stop() end)
    local header = "PROXY TCP4 192.0.2.7 192.0.2.1 5000 80\r\n"
    local first = net.connect(gate.address)
    first:send(header .. "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert.matches("by 1.1", first:read_until("by 1.1"), 1, true)
    local conn = net.connect(gate.address)
    conn:send(header .. h2.PREFACE)
    assert.equal(REFUSAL, conn:read_all())
    conn:close()
    conn = net.connect(gate.address)
    conn:send(header .. "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert.matches("^HTTP/1.1 503 ", conn:read_all())
    conn:close()
    first:close()
  end)
end)
