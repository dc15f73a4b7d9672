-- req:body(): hooks read the body of a request, and the application gets the same bytes.

local http = require("tests.support.http")
local rig = require("tests.support.rig")

local ON_REQUEST = [[
if req.path == "/twice.php" then
  local first, second = req:body(), req:body()
  return { body = ("%d %s"):format(#first, tostring(first == second)) }
elseif req.path == "/file" then
  local body = req:body()
  return body == "wanted" and { root = "/etc", path = "/hostname" } or { status = 404 }
elseif req.path == "/wrong" then
  return { body = req.body() }
elseif req.path ~= "/plain.php" then
  local body, problem = req:body()
  return { backend = "app", docroot = "/srv/app", request_buffering = req.path ~= "/stream.php",
    body_limit = req.path == "/small.php" and 10 or nil,
    headers = { ["X-Body"] = body and #body .. " " .. body:sub(1, 20):gsub("%c", "?") or problem } }
end
]]

local function post(r, path, body, fields)
  local request = { path = path, method = "POST", body = body }
  for key, value in pairs(fields or {}) do
    request[key] = value
  end
  return http.request(r.address, request)
end

local function start()
  return rig.start({ on_request = ON_REQUEST,
    settings = 'limits = { request_memory = "4k", body = "1M" }' })
end

--- A body as chunks of some bytes each.
local function chunked(body, size)
  local parts = {}
  for at = 1, #body, size do
    local part = body:sub(at, at + size - 1)
    parts[#parts + 1] = ("%x\r\n%s\r\n"):format(#part, part)
  end
  return table.concat(parts) .. "0\r\n\r\n"
end

describe("a body", function()
  it("is read by a hook, and goes on", function()
    local r = start()
    finally(function() r:stop() end)
    for _, path in ipairs({ "/x.php?sum", "/stream.php?sum" }) do
      for _, size in ipairs({ 1, 100, 4096 }) do
        local body = rig.pattern(size)
        local res = post(r, path, body)
        assert.equal(200, res.status)
        assert.equal(rig.sum(body), res.body, path .. size)
        assert.equal(tostring(size), res.headers["x-body"]:match("^%d+"))
      end
    end
    local res = http.get(r.address, "/x.php?size=1")
    assert.equal("0", res.headers["x-body"]:match("^%d+"))
    assert.equal("6 true", post(r, "/twice.php", "wanted").body)
  end)

  it("that is too large for a hook goes on whole", function()
    local r = start()
    finally(function() r:stop() end)
    for _, size in ipairs({ 4097, 300000 }) do
      local body = rig.pattern(size)
      local res = post(r, "/x.php?sum", body)
      assert.equal(200, res.status)
      assert.equal("too large", res.headers["x-body"])
      assert.equal(rig.sum(body), res.body)
      for _, path in ipairs({ "/x.php?sum", "/stream.php?sum" }) do
        local client = http.open(r.address)
        client.conn:send(("POST %s HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
          .. "%s"):format(path, chunked(body, 1000)))
        res = client:receive()
        client:close()
        assert.equal(200, res.status)
        assert.equal("too large", res.headers["x-body"])
        assert.equal(rig.sum(body), res.body, path .. size)
      end
    end
  end)

  it("over the limit is refused as ever", function()
    local r = start()
    finally(function() r:stop() end)
    assert.equal(413, post(r, "/x.php?sum", ("x"):rep(1048577)).status)
    assert.equal(413, post(r, "/small.php?sum", ("x"):rep(11)).status)
    assert.equal(200, post(r, "/small.php?sum", ("x"):rep(10)).status)
  end)

  it("is waited for, while others go on", function()
    local r = start()
    finally(function() r:stop() end)
    local client = http.open(r.address)
    client.conn:send("POST /x.php?sum HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\nwan")
    assert.equal(200, http.get(r.address, "/plain.php?size=1").status)
    client.conn:send("ted")
    local res = client:receive()
    assert.equal("6 wanted", res.headers["x-body"])
    client.conn:send("GET /plain.php?size=1 HTTP/1.1\r\nHost: a\r\n\r\n") -- the connection is kept
    assert.equal(200, client:receive().status)
    client.conn:send("POST /x.php HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nwan"
      .. "\r\nX")
    assert.equal(400, client:receive().status)
    client:close()
    client = http.open(r.address) -- it leaves
    client.conn:send("POST /x.php HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\nwan")
    assert.equal(200, http.get(r.address, "/plain.php?size=1").status)
    client:close()
    assert.equal(200, http.get(r.address, "/plain.php?size=1").status)
  end)

  it("decides where a request goes", function()
    local r = start()
    finally(function() r:stop() end)
    assert.equal(404, post(r, "/file", "other").status)
    assert.equal(405, post(r, "/file", "wanted").status)
    assert.equal(500, post(r, "/wrong", "x").status)
    r.server:wait_log("req:body%(%)")
  end)
end)
