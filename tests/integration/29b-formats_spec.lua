-- The formats of the access log: with the host, with fields of the route's own, and JSON.

local http = require("tests.support.http")
local json = require("moongate.base.json")
local net = require("tests.support.net")
local rig = require("tests.support.rig")
local server = require("tests.support.server")

server.inspect()

describe("a line of the access log", function()
  it("has host, port and duration in vcombined", function()
    local r = rig.start({ settings = [[log = { format = "vcombined" }]] })
    finally(function() r:stop() end)
    r:get("body=hello", {
      host = "Shop.Example", headers = { ["User-Agent"] = 'a "b"', Referer = "http://x.example/" },
    })
    local port = r.address:match(":(%d+)$")
    assert.matches('^shop%.example:' .. port .. ' 127%.0%.0%.1 %- %- %[%d+/%a+/%d+:%d+:%d+:%d+ '
      .. '[+-]%d+%] "GET /x%.php%?body=hello HTTP/1%.1" 200 5 "http://x%.example/" '
      .. '"a \\x22b\\x22" %d+%.?%d*$', r.server:wait_access("body=hello"))
  end)

  it("has the fields that the route names, and no byte of a client ends one", function()
    local r = rig.start({
      settings = [[log = { format =
        '$id|$method|$host|$status|$tenant|$backend|$attempts|$app_status|$user|$http_x_mark|'
          .. '"$http_x_mark"|$uri|${version}|$scheme|$bytes|$request_length' }]],
      on_request = [[do return { backend = "app", docroot = "/srv", tenant = "blue",
        params = { REMOTE_USER = "ann b" } } end]],
    })
    finally(function() r:stop() end)
    local request = "POST /x.php?body=12345 HTTP/1.1\r\nHost: a.example\r\n"
      .. "X-Mark: a| \t\"\\ \xff\r\nContent-Length: 3\r\nConnection: close\r\n\r\n"
    local conn = net.connect(r.address)
    conn:send(request .. "abc")
    conn:read_all()
    conn:close()
    local line = r.server:wait_access("body=12345")
    assert.equal([[POST|a.example|200|blue|app|1|0|ann\x20b|a|\x20\x09\x22\x5C\x20\xFF|]]
      .. [["a| \x09\x22\x5C \xFF"|/x.php?body=12345|1.1|http|5|]] .. #request + 3,
      line:match("^%x+|(.*)$"))
  end)

  it("is JSON with all that is known of a request", function()
    local r = rig.start({ settings = [[log = { format = "json" }]] })
    finally(function() r:stop() end)
    r:get("body=12345", { headers = { ["User-Agent"] = "a\"b", Referer = "http://x.example/" } })
    local entry = json.decode(r.server:wait_access("body=12345"))
    assert.same({ "http", "1.1", 'a"b', "http://x.example/", "app" },
      { entry.scheme, entry.version, entry.user_agent, entry.referer, entry.backend })
    assert.is_true(entry.request_length > 60 and entry.bytes_in == 0)
    assert.equal(1, #entry.attempts)
  end)

  it("is in the route's format for the requests of a worker that was killed, too", function()
    local s = server.start({ workers = 1, route = [[require("ffi").cdef("void _exit(int status);")
      return { control = false, log = { format = "$status\t$host\t$uri\t$error\t$http_x" },
        on_request = function(req)
          if req.path == "/exit" then require("ffi").C._exit(3) end
          return { status = 200, body = "hello" }
        end }]] })
    finally(function() s:stop() end)
    assert.equal("hello", http.request(s.address, { path = "/x", host = "a.example",
      headers = { X = "1 2" } }).body)
    local conn = net.connect(s.address)
    conn:send("GET /exit HTTP/1.1\r\nHost: shop.example\r\n\r\n")
    s:wait_access("^502\tshop%.example\t/exit\tits worker ended with status 3\t%-$")
    conn:close()
  end)

  it("follows a reload to another format", function()
    local r = rig.start({ settings = [[log = { format = "one $uri" }]] })
    finally(function() r:stop() end)
    r:get("N=1")
    r.server:wait_access("^one /x%.php%?N=1$")
    r.server:reload(r:route({ settings = [[log = { format = "two $uri" }]] }))
    r:get("N=2")
    r.server:wait_access("^two /x%.php%?N=2$")
  end)
end)
