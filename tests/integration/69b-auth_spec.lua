-- moongate.auth with the real program: passwords are checked beside the loop, remembered by all
-- workers, and limited where they fail; signed URLs and cookies.

local http = require("tests.support.http")
local poll = require("tests.support.poll")
local process = require("tests.support.process")
local rig = require("tests.support.rig")
local server = require("tests.support.server")
local stage = require("tests.support.stage")

-- By password_hash of PHP (bcrypt of cost 4, and 13 for `slow`), openssl passwd and openssl dgst.
local FILE = [[
frank:$2y$04$GXOtoSxvHDW5PfV12m.mj.cjzDWm6/Ls0i6Ua/PPylgETaZFcsJnG
slow:$2y$13$20H1QdyiUfiYlC/QDU3REeLmFeSJgCMTQJiw9xucG4/2VNkG6EqAq
apr:$apr1$abcd$kQ6YyobdHTyl/DukqNpY10
sha:$5$abcd$zZA/0qLgoSH67pe3824tVxM.c9kUup4SAH1VanH0FR.
sha1:{SHA}GpHWL3ymc5liWkNopqtdSjuqYHM=
]]
local NINA = "nina:$2y$04$fk7QuRsu5wzG8ojTAnNEm.zkDdEZmM4c/OXBnJsfQZCicib2Gf5Gm\n"

local BEFORE = [[
local auth = require("moongate.auth")
local staff = auth.basic { file = %q, realm = "Staff", failures = "4/h",
  key = function(req) return req.headers["x-client"] or req.ip end }
local link = auth.signed_url { key = ("k"):rep(16) }
local session = auth.signed_cookie { name = "session", key = ("k"):rep(16) }
local site = staff:wrap(function(req)
  return { backend = "app", docroot = "/srv/app" }
end)
]]

local ON_REQUEST = [[
if req.path == "/open" then
  return { body = "open" }
elseif req.path == "/sign" then
  return { body = link:sign("/file?x=1", req.args.time),
    headers = { ["Set-Cookie"] = session:cookie("frank") } }
elseif req.path == "/file" then
  return link(req) or { body = "file" }
elseif req.path == "/session" then
  return session(req) or { body = session:value(req) }
elseif req.path == "/any" then
  return auth.any(auth.addresses { allow = "127.0.0.2" }, staff)(req) or { body = "any" }
end
do return site(req) end
]]

local BASE64 = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"

--- The header Authorization of a name and a password.
local function basic(text)
  local bits = text:gsub(".", function(char)
    local byte, out = char:byte(), {}
    for i = 7, 0, -1 do
      out[#out + 1] = math.floor(byte / 2 ^ i) % 2
    end
    return table.concat(out)
  end)
  bits = bits .. ("0"):rep(-#bits % 6)
  local coded = bits:gsub("......", function(six)
    local at = tonumber(six, 2) + 1
    return BASE64:sub(at, at)
  end)
  return "Basic " .. coded .. ("="):rep(-#coded % 4)
end

local function start(options)
  options = options or {}
  local folder = process.tempdir("auth")
  stage.write(folder, { htpasswd = FILE })
  options.before = BEFORE:format(folder .. "/htpasswd")
  options.on_request = ON_REQUEST
  options.control = true
  local r = rig.start(options)
  r.folder = folder
  return r
end

--- One request by a client of that name.
local function login(r, who, client, path)
  return http.request(r.address, { path = path or "/x.php?dump", headers = {
    Authorization = who and basic(who), ["X-Client"] = client,
  } })
end

local function write_file(r, text)
  stage.write(r.folder, { new = text })
  assert(os.rename(r.folder .. "/new", r.folder .. "/htpasswd"))
end

describe("logins", function()
  it("are checked against each kind of hash", function()
    local r = start()
    finally(function() r:stop() end)
    for user, password in pairs({ frank = "secret", apr = "pw", sha = "pw", sha1 = "pw" }) do
      local res = login(r, user .. ":" .. password, user)
      assert.equal(200, res.status, user)
      local params = rig.params(res)
      assert.equal(user, params.REMOTE_USER)
      assert.equal("Basic", params.AUTH_TYPE)
      for _, wrong in ipairs({ "", "Secret", password .. "x" }) do
        res = login(r, user .. ":" .. wrong, user)
        assert.equal(401, res.status, user .. ":" .. wrong)
      end
    end
    assert.equal('Basic realm="Staff", charset="UTF-8"',
      login(r, "nobody:pw", "n").headers["www-authenticate"])
    r.server:wait_access("%- frank ")
  end)

  it("need a header that is one", function()
    local r = start()
    finally(function() r:stop() end)
    for _, value in ipairs({ "", "Basic", "Basic !", "Basic ZnJhbms=", basic("frank:secret\0"),
      basic(":secret"), "Bearer abc", (basic("frank:secret"):gsub("Basic", "Digest")),
      basic("frank:" .. ("x"):rep(1100)) }) do
      local res = http.request(r.address, { path = "/x.php",
        headers = { Authorization = value } })
      assert.equal(401, res.status, value)
    end
    local res = http.request(r.address, { path = "/x.php",
      headers = { Authorization = (basic("frank:secret"):gsub("Basic", "bAsIc")) } })
    assert.equal(200, res.status)
  end)

  it("that take long hold nobody up", function()
    local r = start()
    finally(function() r:stop() end)
    local first, second = http.open(r.address), http.open(r.address)
    local request = { path = "/x.php?size=1", headers = { Authorization = basic("slow:secret") } }
    first:send(request)
    second:send(request)
    for _ = 1, 10 do
      assert.equal("open", http.get(r.address, "/open").body)
    end
    assert.equal(200, first:receive().status)
    assert.equal(200, second:receive().status)
    first:close()
    second:close()
    -- Lines are written when requests end: those that came meanwhile had not to wait.
    local lines = poll.wait(function()
      local text = r.server:access()
      local count = select(2, text:gsub("\n", "\n"))
      return count == 12 and text
    end, "all lines of the log")
    assert.truthy(lines:match("/open.*/open.*/open.*/open.*/open.*/x%.php"), lines)
  end)

  it("that fail are limited for each client, and cost a good one nothing", function()
    local r = start({ workers = 2 })
    finally(function() r:stop() end)
    assert.equal(200, login(r, "frank:secret", "a").status)
    local statuses = {}
    for i = 1, 8 do
      local res = login(r, "frank:guess" .. i, "a")
      statuses[i] = res.status
      if res.status == 429 then
        assert.truthy(tonumber(res.headers["retry-after"]) <= 900)
      end
    end
    assert.same({ 401, 401, 401, 401, 429, 429, 429, 429 }, statuses)
    for _ = 1, 20 do -- by both workers, of which one has not seen the login itself
      assert.equal(200, login(r, "frank:secret", "a").status)
    end
    assert.equal(429, login(r, "apr:pw", "a").status)
    assert.equal(200, login(r, "apr:pw", "b").status)
    r:tell("reload")
    assert.equal(200, login(r, "frank:secret", "a").status)
    assert.equal(429, login(r, "frank:guess9", "a").status)
  end)

  it("that are wrong again and again are one failure", function()
    local r = start()
    finally(function() r:stop() end)
    for _ = 1, 20 do
      assert.equal(401, login(r, "frank:old", "a").status)
    end
    assert.equal(401, login(r, "frank:older", "a").status)
  end)

  it("are answered although the client that began the check has left", function()
    local r = start()
    finally(function() r:stop() end)
    local request = { path = "/x.php?size=1", headers = { Authorization = basic("slow:secret") } }
    local first, second = http.open(r.address), http.open(r.address)
    first:send(request)
    second:send(request)
    assert.equal("open", http.get(r.address, "/open").body)
    first:close()
    assert.equal(200, second:receive().status)
    second:close()
  end)

  it("outlive a reload", function()
    local r = start()
    finally(function() r:stop() end)
    local client = http.open(r.address)
    client:send({ path = "/x.php?size=1", headers = { Authorization = basic("slow:secret") } })
    assert.equal("open", http.get(r.address, "/open").body)
    r:tell("reload")
    assert.equal(200, client:receive().status)
    client:close()
  end)

  it("are those of the file as it is now", function()
    local r = start()
    finally(function() r:stop() end)
    assert.equal(401, login(r, "nina:pw", "a").status)
    write_file(r, FILE .. NINA)
    poll.wait(function()
      return login(r, "nina:pw", "b").status == 200
    end, "the new name")
    assert.equal(200, login(r, "frank:secret", "b").status)
    write_file(r, FILE .. "nina:pw\n")
    poll.wait(function()
      assert.equal(200, login(r, "nina:pw", "b").status)
      return r.server:errors():find("htpasswd:6: expected a hash as", 1, true)
    end, "the file's problem")
    assert.truthy(r.server:errors():find("; the logins stay as they were", 1, true))
    write_file(r, NINA)
    poll.wait(function()
      return login(r, "frank:secret", "b").status == 401
    end, "the name to be gone")
  end)

  it("are not needed where an address is enough", function()
    local r = start()
    finally(function() r:stop() end)
    assert.equal(401, login(r, nil, "a", "/any").status)
    assert.equal("any", login(r, "frank:secret", "a", "/any").body)
  end)

  it("of a route that can't be used are told with their line", function()
    local folder = process.tempdir("auth")
    stage.write(folder, { htpasswd = "frank:secret\n", ["route.lua"] = ([[
local auth = require("moongate.auth")
local staff = auth.basic { file = %q }
return { on_request = staff:wrap({ body = "x" }) }
]]):format(folder .. "/htpasswd") })
    local result = server.command({ "check", folder .. "/route.lua" })
    assert.equal(1, result.code)
    assert.truthy(result.stderr:find(("route.lua:2: auth.basic: %s/htpasswd:1: expected a hash as "
      .. "`htpasswd -B` makes it"):format(folder), 1, true), result.stderr)
  end)

  it("work in explain", function()
    local folder = process.tempdir("auth")
    -- The time that a hash takes is not the script's: this one takes longer than script_timeout.
    local dear = FILE:match("slow:(%S+)"):gsub("^%$2y%$13", "$2y$15")
    stage.write(folder, { htpasswd = FILE .. "dear:" .. dear .. "\n", ["route.lua"] = ([[
local auth = require("moongate.auth")
local staff = auth.basic { file = %q }
return { on_request = function(req) return staff(req) or { body = auth.user(req) } end }
]]):format(folder .. "/htpasswd") })
    for who, expected in pairs({ ["frank:secret"] = 'body  "frank"', ["apr:pw"] = 'body  "apr"',
      ["sha1:pw"] = 'body  "sha1"', ["frank:x"] = "401", ["nobody:x"] = "401",
      ["dear:x"] = "401" }) do
      local result = server.command({ "explain", folder .. "/route.lua", "http://a/", "-H",
        "Authorization: " .. basic(who) })
      assert.truthy(result.stdout:find(expected, 1, true), result.stdout .. result.stderr)
    end
  end)
end)

describe("signatures", function()
  it("open what they are for, and end", function()
    local r = start()
    finally(function() r:stop() end)
    local res = http.get(r.address, "/sign?time=1h")
    local url = res.body
    assert.equal("file", http.get(r.address, url).body)
    assert.equal(403, http.get(r.address, url .. "x").status)
    assert.equal(403, http.get(r.address, (url:gsub("x=1", "x=2"))).status)
    assert.equal(403, http.get(r.address, "/file").status)
    local cookie = res.headers["set-cookie"]:match("^[^;]+")
    assert.equal("frank", http.get(r.address, "/session", { Cookie = cookie }).body)
    assert.equal(403, http.get(r.address, "/session", { Cookie = cookie .. "x" }).status)
    assert.equal(403, http.get(r.address, "/session").status)
    url = http.get(r.address, "/sign?time=1s").body
    poll.wait(function()
      return http.get(r.address, url).status == 403
    end, "the end of the signature")
  end)
end)
