-- The configurations of docs/behind-a-proxy.md, each in the real server, with a client that claims
-- to be somebody else. Only addresses and ports are put in place of the page's.

local fronts = require("tests.support.fronts")
local http = require("tests.support.http")
local net = require("tests.support.net")
local pages = require("tests.support.pages")
local php = require("tests.support.php")
local process = require("tests.support.process")
local rig = require("tests.support.rig")
local server = require("tests.support.server")

local function block(language, number)
  return pages.block("docs/behind-a-proxy.md", language, number)
end

local FORGED = {
  ["X-Forwarded-For"] = "6.6.6.6", ["X-Forwarded-Host"] = "evil.test",
  ["X-Forwarded-Proto"] = "https", ["X-Forwarded-Port"] = "666",
  Forwarded = "for=6.6.6.6;proto=https;host=evil.test",
}

-- What the application is told of a client that comes from 127.0.0.`last` and forges what it can.
local function params_of(address, last, headers)
  local client = http.open(address, { from = "127.0.0." .. last })
  local res = client:request({
    path = rig.target("dump"), host = "shop.test:" .. address:match("%d+$"),
    headers = headers or FORGED,
  })
  client:close()
  assert.equal(200, res.status, res.body)
  return rig.params(res)
end

-- The whole of what follows from a plain HTTP request through a front.
local function assert_told(r, front)
  local port = front.address:match(":(%d+)$")
  for last = 5, 7 do
    local params = params_of(front.address, last)
    assert.equal("127.0.0." .. last, params.REMOTE_ADDR)
    assert.equal("shop.test", params.SERVER_NAME)
    assert.matches("^shop%.test", params.HTTP_HOST)
    assert.equal(port, params.SERVER_PORT)
    assert.equal("http", params.REQUEST_SCHEME)
    assert.is_nil(params.HTTPS)
    r.server:wait_access("^127%.0%.0%." .. last .. " ")
  end
  assert.is_nil(r.server:access():find("6.6.6.6", 1, true))
  -- A client that says nothing is told apart all the same.
  assert.equal("127.0.0.8", params_of(front.address, 8, {}).REMOTE_ADDR)
end

local function trusting(what, options)
  options = options or {}
  options.settings = ("trusted_proxies = %q"):format(what)
  return rig.start(options)
end

-- Stops these at the end of the test, in this order.
local function ending(...)
  local list = { ... }
  finally(function()
    for _, one in ipairs(list) do
      one:stop()
    end
  end)
end

-- The page's nginx in front of `to`, with further changes.
local function nginx_before(to, changes)
  return fronts.nginx(function(address)
    local text = pages.replaced(block("nginx"), { { "listen 80", "listen " .. address } })
    return pages.replaced(pages.replaced(text, changes or {}), { { "127.0.0.1:8080", to } })
  end)
end

describe("behind HAProxy", function()
  local function config(r, tls)
    return function(address)
      return pages.replaced(block("haproxy"), {
        { "bind :80", "bind " .. address },
        { "bind :443 ssl crt /etc/haproxy/site.pem",
          ("bind %s ssl crt '%s/tests/support/site.pem'"):format(tls, process.cwd()) },
        { "127.0.0.1:8080", r.address },
      })
    end
  end

  it("the page's configuration says who the client is", function()
    local r = trusting("127.0.0.1")
    finally(function() r:stop() end)
    local tls = "127.0.0.1:" .. net.free_port()
    local front = fronts.haproxy(config(r, tls))
    ending(front, r)
    assert_told(r, front)
    -- Another one speaks TLS to the first, in place of a browser.
    local browser = fronts.haproxy(function(address)
      return ([[
        defaults
            mode http
            timeout connect 5s
            timeout client 60s
            timeout server 60s
        frontend in
            bind %s
            default_backend tls
        backend tls
            server tls %s ssl verify none
      ]]):format(address, tls) .. "\n"
    end)
    ending(browser, front, r)
    local params = params_of(browser.address, 5, { ["X-Forwarded-Proto"] = "http" })
    assert.equal("on", params.HTTPS)
    assert.equal("https", params.REQUEST_SCHEME)
    assert.equal(tls:match(":(%d+)$"), params.SERVER_PORT)
    assert.equal("127.0.0.1", params.REMOTE_ADDR) -- the "browser"
  end)

  it("it may append to what the client sent", function()
    local r = trusting("127.0.0.1")
    local front = fronts.haproxy(function(address)
      local text = pages.replaced(config(r, address)(address), {
        { "http-request set-header X-Forwarded-For %[src]", "option forwardfor" },
      })
      return (text:gsub("[^\n]*ssl crt[^\n]*\n", ""))
    end)
    ending(front, r)
    assert_told(r, front)
  end)

  it("the other family, Forwarded, says the same", function()
    local r = trusting("127.0.0.1")
    local front = fronts.haproxy(function(address)
      local text = config(r, address)(address):gsub("[^\n]*ssl crt[^\n]*\n", "")
        :gsub("http%-request set%-header (X%-Forwarded%-%w+)[^\n]*",
          "http-request del-header %1")
      return pages.replaced(text, { {
        "http-request del-header Forwarded\n", "http-request set-header Forwarded "
        .. "for=%[src];proto=http;host=\\\"%[req.hdr(Host)]\\\"\n",
      } })
    end)
    ending(front, r)
    assert_told(r, front)
  end)

  for _, send in ipairs({ "send-proxy-v2", "send-proxy",
    "send-proxy-v2 check check-send-proxy inter 20" }) do
    it("the PROXY protocol does: " .. send, function()
      local address = "127.0.0.1:" .. net.free_port()
      local r = rig.start({
        settings = ("listen = { { address = %q, proxy_protocol = true } }, watch = false, "
          .. "workers = 1, trusted_proxies = '127.0.0.1'"):format(address),
        server = { own = true, address = address },
      })
      local front = fronts.haproxy(function(bind)
        return ([[
          defaults
              timeout connect 5s
              timeout client 60s
              timeout server 60s
          frontend web
              mode tcp
              bind %s
              default_backend moongate
        ]]):format(bind) .. "\n" .. pages.replaced(block("haproxy", 2), {
          { "127.0.0.1:8080", address }, { "send-proxy-v2", send },
        })
      end)
      ending(front, r)
      for last = 5, 7 do
        local params = params_of(front.address, last)
        assert.equal("127.0.0." .. last, params.REMOTE_ADDR)
        assert.equal("127.0.0.1", params.SERVER_ADDR)
        assert.equal(front.address:match(":(%d+)$"), params.SERVER_PORT)
        assert.equal("shop.test", params.SERVER_NAME)
        assert.is_nil(params.HTTPS)
        assert.is_nil(params.HTTP_X_FORWARDED_FOR)
        r.server:wait_access("^127%.0%.0%." .. last .. " ")
      end
      assert.is_nil(r.server:errors():find("PROXY", 1, true))
    end)
  end
end)

describe("behind nginx", function()
  it("the page's configuration says who the client is", function()
    local r = trusting("127.0.0.1")
    local front = nginx_before(r.address)
    ending(front, r)
    assert_told(r, front)
  end)

  it("it may append to what the client sent, and come through a unix socket", function()
    local dir = process.tempdir("listen")
    local r = trusting("unix:", { server = { address = "unix:" .. dir .. "/http.sock" } })
    local front = nginx_before("unix:" .. dir .. "/http.sock", {
      { "X-Forwarded-For $remote_addr", "X-Forwarded-For $proxy_add_x_forwarded_for" },
    })
    ending(front, r)
    assert_told(r, front)
  end)

  it("without its part of the bargain the contradiction is seen", function()
    local r = trusting("127.0.0.1")
    local front = nginx_before(r.address, { { 'proxy_set_header Forwarded "";', "" } })
    ending(front, r)
    assert.equal(400, http.request(front.address, { headers = FORGED }).status)
    r.server:wait_log("contradict each other")
    assert.equal("127.0.0.5", params_of(front.address, 5, {}).REMOTE_ADDR)
  end)
end)

describe("a page of PHP", function()
  it("sees its visitor through nginx, and nobody where the socket's peer is not trusted", function()
    local fpm = php.start({ pages = "tests/pages" })
    local socket = "unix:" .. process.tempdir("listen") .. "/http.sock"
    local route = [[return {
      %s backends = { app = "]] .. fpm.address .. [[" },
      on_request = function() return { backend = "app", root = "]] .. fpm.root .. [[" } end,
    }]]
    local s = server.start({
      address = socket, route = route:format([[trusted_proxies = "unix:",]]),
    })
    local front = nginx_before(socket)
    ending(front, s, fpm)
    local function told()
      local client, seen = http.open(front.address, { from = "127.0.0.5" }), {}
      local res = client:request({ path = "/server.php", host = "shop.test", headers = FORGED })
      client:close()
      assert.equal(200, res.status)
      for name, value in res.body:gmatch("([^=\n]+)=([^\n]*)") do
        seen[name] = value
      end
      return seen
    end
    local seen = told()
    assert.equal("127.0.0.5", seen.REMOTE_ADDR)
    assert.equal("shop.test", seen.SERVER_NAME)
    assert.equal("shop.test", seen.HTTP_HOST)
    assert.is_nil(seen.HTTPS)
    s:reload(route:format([[trusted_proxies = "127.0.0.1",]]))
    seen = told()
    assert.is_nil(seen.REMOTE_ADDR)
    assert.is_nil(seen.HTTP_X_FORWARDED_FOR)
    assert.equal("80", seen.SERVER_PORT)
  end)
end)

describe("behind Apache", function()
  it("the page's configuration says who the client is", function()
    local r = trusting("127.0.0.1")
    local front = fronts.apache(function()
      return pages.replaced(block("apache"), { { "127.0.0.1:8080", r.address } })
    end)
    ending(front, r)
    assert_told(r, front)
  end)
end)

describe("behind two in a row", function()
  it("the first address that is none of theirs is the client", function()
    local r = trusting("127.0.0.1")
    local inner = nginx_before(r.address, {
      { "X-Forwarded-For $remote_addr", "X-Forwarded-For $proxy_add_x_forwarded_for" },
      { "X-Forwarded-Proto $scheme", "X-Forwarded-Proto $http_x_forwarded_proto" },
      { "X-Forwarded-Host $http_host", "X-Forwarded-Host $http_x_forwarded_host" },
      { "X-Forwarded-Port $server_port", "X-Forwarded-Port $http_x_forwarded_port" },
    })
    local outer = nginx_before(inner.address)
    ending(outer, inner, r)
    assert_told(r, outer)
  end)
end)
