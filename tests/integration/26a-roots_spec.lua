-- Roots that a script makes of what a client sends: its host, arguments, cookies, headers. None of
-- them is ever a folder above the one that was meant.

local http = require("tests.support.http")
local process = require("tests.support.process")
local rig = require("tests.support.rig")

-- A folder with one for each host, and beside the hosts what is nobody's business.
local function hosts()
  local dir = process.tempdir("hosts")
  assert(os.execute(("mkdir -p '%s/sites/blue.example/sub' '%s/other'"):format(dir, dir)) == 0)
  process.write_file(dir .. "/secret.txt", "secret\n")
  process.write_file(dir .. "/sites/secret.txt", "secret\n")
  process.write_file(dir .. "/other/secret.txt", "secret\n")
  process.write_file(dir .. "/sites/blue.example/blue.txt", "blue\n")
  process.write_file(dir .. "/sites/blue.example/sub/secret.txt", "a folder of that site\n")
  return dir
end

-- The answer to a head as it stands.
local function send(address, head)
  local client = http.open(address)
  client.conn:send(head)
  local res = client:receive("GET")
  client:close()
  return res
end

local function get(r, host, path)
  return send(r.address, ("GET %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n"):format(
    path or "/secret.txt", host))
end

describe("a root", function()
  it("of a missing or empty host is an error, not the folder above", function()
    local dir = hosts()
    local r = rig.start({
      on_request = ([[
        if req.args.Host then
          return { status = 200, body = type(req.host) .. " " .. tostring(req.host) }
        end
        local host = req.host
        if req.args.Or then host = host or "" end
        do return { root = %q .. "/sites/" .. host } end]]):format(dir),
    })
    finally(function() r:stop() end)
    assert.equal("blue\n", get(r, "blue.example", "/blue.txt").body)
    assert.equal("nil nil", get(r, "", "/?Host").body)
    assert.equal("nil nil", send(r.address, "GET /?Host HTTP/1.0\r\n\r\n").body)
    assert.equal("string x", get(r, "X.", "/?Host").body)
    for _, head in ipairs({
      "GET /secret.txt%s HTTP/1.0\r\n\r\n", "GET /secret.txt%s HTTP/1.1\r\nHost:\r\n\r\n",
      "GET /secret.txt%s HTTP/1.1\r\nHost: \t \r\n\r\n",
    }) do
      local mark = r.server:mark()
      assert.equal(500, send(r.address, head:format("")).status)
      r.server:wait_log("route.lua:%d+: attempt to concatenate", 10, mark)
      assert.equal(500, send(r.address, head:format("?Or")).status)
      r.server:wait_log("root: '.*/sites/' has an empty segment, '.' or '..' in it", 10, mark)
    end
  end)

  it("of a hostile host is none", function()
    local dir = hosts()
    local r = rig.start({ on_request = ("do return { root = %q .. '/sites/' .. req.host } end")
      :format(dir) })
    finally(function() r:stop() end)
    for _, host in ipairs({
      "..", ".", "../other", "blue.example/sub", "a..b", ".blue.example", "%2e%2e", "..:80",
      "[..]", "[::1", "a\\b", ("a"):rep(256), ("a."):rep(300), "blue.example, other", "a b", "*",
    }) do
      assert.equal(400, get(r, host).status, host)
    end
    for _, host in ipairs({
      "other", "secret.txt", "[::1]", "127.0.0.1", ("a"):rep(255), "_", "-",
    }) do
      assert.equal(404, get(r, host).status, host)
    end
    -- A host in the request line counts, and is checked as well.
    assert.equal(400, send(r.address,
      "GET http://../secret.txt HTTP/1.1\r\nHost: blue.example\r\n\r\n").status)
  end)

  it("of an argument, a cookie or a header has names only", function()
    local dir = hosts()
    local r = rig.start({
      backends = function(addresses) return ("spare = %q"):format(addresses[1]) end,
      before = ([[
        local php = require("moongate.php")
        local function name(req)
          return req.headers["X-Site"] or req.cookies.site or req.args.site
        end
        local site = php.site { backend = "app", root = function(req)
          return %q .. "/sites/" .. name(req)
        end }]]):format(dir),
      on_request = ([[
        local root = %q .. "/sites/" .. name(req)
        if req.args.Site then return site(req) end
        if req.args.File then return { file = root .. "/secret.txt" } end
        if req.args.Within then return { root = %q .. "/sites", within = root } end
        if req.args.Docroot then return { backend = "app", docroot = root } end
        if req.args.Run then return { backend = "app", root = root } end
        do return { root = root } end]]):format(dir, dir),
    })
    finally(function() r:stop() end)
    local path = "/secret.txt?%s&site=%s"
    for _, kind in ipairs({ "Plain", "Site", "File", "Within", "Docroot", "Run" }) do
      for _, name in ipairs({ "..", ".", "../other", "blue.example/../..", "%2e%2e%2fother" }) do
        local mark = r.server:mark()
        local res = get(r, "x", path:format(kind, name))
        assert.equal(500, res.status, kind .. " " .. name)
        assert.is_nil(res.body:find("secret", 1, true))
        r.server:wait_log("has an empty segment, '.' or '..' in it", 10, mark)
      end
      assert.equal(500, get(r, "x", path:format(kind, "")).status, kind)
    end
    assert.equal("a folder of that site\n",
      get(r, "x", path:format("Plain", "blue.example/sub")).body)
    for _, header in ipairs({
      "Cookie: site=..", "X-Site: ../other", "Cookie: site=", "X-Site:",
    }) do
      for _, kind in ipairs({ "Plain", "Site" }) do
        local res = send(r.address, ("GET /secret.txt?%s HTTP/1.1\r\nHost: x\r\n%s\r\n\r\n"):format(
          kind, header))
        assert.equal(500, res.status, header)
      end
    end
  end)
end)
