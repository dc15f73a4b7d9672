-- What the two logs say of a request: who asked, of which site and tenant, and which lines a client
-- can't have at the default level, however often it asks.

local http = require("tests.support.http")
local json = require("moongate.base.json")
local process = require("tests.support.process")
local rig = require("tests.support.rig")

local function escaped(text)
  return (text:gsub("[^%w]", function(c)
    return ("%%%02x"):format(c:byte())
  end))
end

describe("the status line", function()
  it("has the application's phrase, and not another status's", function()
    local r = rig.start({
      settings = [[on_response = function(req, res)
        if req.args.Other then res.status = 503 end
        if req.args.Same then res.status = 460 end
      end]],
    })
    finally(function() r:stop() end)
    for _, case in ipairs({
      { "status=" .. escaped("460 Custom thing"), 460, "Custom thing" },
      { "Same&status=" .. escaped("460 Custom thing"), 460, "Custom thing" },
      { "Other&status=" .. escaped("460 Custom thing"), 503, "Service Unavailable" },
      { "status=" .. escaped("200 Fine"), 200, "Fine" },
      { "status=" .. escaped("404  \xc3\xbcnbekannt "), 404, "\xc3\xbcnbekannt" },
      { "status=404", 404, "Not Found" },
      { "status=460", 460, "" },
    }) do
      local res = r:get(case[1])
      assert.same({ case[2], case[3] }, { res.status, res.reason })
    end
    -- A long one, and a byte that would end the line.
    local long = ("x"):rep(400)
    assert.is_true(long == r:get("status=460%20" .. long).reason)
    assert.equal(502, r:get("status=460%20a%0db").status)
  end)
end)

describe("the user of the access log", function()
  it("is what a script says, or the application, and never a client", function()
    local r = rig.start({
      settings = [[on_params = function(req, params)
        if req.args.Param then params.REMOTE_USER = req.args.Param end
      end]],
      on_request = [[
        if req.args.Decided then
          return { backend = "app", docroot = "/srv", params = { REMOTE_USER = req.args.Decided } }
        end]],
    })
    finally(function() r:stop() end)
    for i, case in ipairs({
      { "Param=ann", "ann" }, { "Decided=bob", "bob" }, { "Decided=bob&Param=ann", "ann" },
      { "header=Variable-REMOTE_USER:%20carl", "carl" },
      { "Param=ann&header=Variable-REMOTE_USER:%20carl", "carl" },
      { "Param=a%20b%22%5d", "a\\x20b\\x22]" }, { "body=x", "-" },
    }) do
      local res = r:get(case[1] .. "&N=" .. i, {
        headers = { ["Remote-User"] = "eve", ["Variable-Remote-User"] = "eve" },
      })
      assert.equal(200, res.status)
      assert.is_nil(res.headers["variable-remote_user"])
      local line = r.server:wait_access("&N=" .. i .. " HTTP")
      assert.equal("127.0.0.1 - " .. case[2], line:match("^(.-) %[%d"))
    end
  end)

  it("is in JSON and in `log`, too", function()
    local r = rig.start({
      settings = [[log = { format = "json" },
        on_log = function(req, log)
          if req.args.Text then return "user: " .. tostring(log.user) .. " " .. req.args.Text end
        end]],
      on_request = [[if not req.args.Nobody then
          return { backend = "app", docroot = "/srv", params = { REMOTE_USER = "ann" } }
        end]],
    })
    finally(function() r:stop() end)
    r:get("body=x")
    assert.equal("ann", json.decode(r.server:wait_access("body=x")).user)
    r:get("Nobody&body=y")
    assert.is_nil(json.decode(r.server:wait_access("body=y")).user)
    r:get("Text=1")
    assert.equal("user: ann 1", r.server:wait_access("^user.*1$"))
    r:get("Text=2&Nobody")
    assert.equal("user: nil 2", r.server:wait_access("^user.*2$"))
  end)
end)

describe("a line of the error log", function()
  it("names host, tenant and request", function()
    local r = rig.start({
      on_request = [[
        if req.args.Error then error("broken") end
        if req.args.Wrong then return { backnd = "app" } end
        do return { backend = "app", docroot = "/srv", tenant = "blue" } end]],
    })
    finally(function() r:stop() end)
    local host = { host = "Shop.Example:8080" }
    local of_request = "/x%.php.*, request %x+, host shop%.example"
    r:get("stderr=oops", host)
    r.server:wait_log("stderr of backend 'app': oops; GET " .. of_request .. ", tenant blue$")
    r:get("fail=close-before-head", host)
    r.server:wait_log("closed: .*; GET " .. of_request .. ", tenant blue$")
    r:get("Error", host)
    r.server:wait_log("broken")
    r.server:wait_log("; GET " .. of_request .. "$")
    r:get("Wrong", host)
    r.server:wait_log("'backnd'.*; GET " .. of_request .. "$")
    -- Without a host there is none, and a long one has its place.
    local client = http.open(r.address)
    client.conn:send("GET /x.php?stderr=none HTTP/1.0\r\n\r\n")
    client:receive()
    client:close()
    r.server:wait_log("none; GET /x%.php%?stderr=none, request %x+, tenant blue$")
    local long = ("a"):rep(255)
    r:get("stderr=long", { host = long })
    r.server:wait_log("long; GET .*, host " .. long .. ", tenant blue$")
  end)

  it("is none for what any client can have: absent files, names that are not served", function()
    local dir = process.tempdir("site")
    process.write_file(dir .. "/there.txt", "there\n")
    assert(os.execute(("ln -s /etc/passwd '%s/out'"):format(dir)) == 0)
    local files = ("do return { root = %q } end"):format(dir)
    local r = rig.start({ on_request = "if req.args.Nil then return nil end " .. files })
    finally(function() r:stop() end)
    local mark = r.server:mark()
    for path, status in pairs({
      ["/none.txt"] = 404, ["/none.txt?Nil"] = 404, ["/.git/config"] = 403, ["/x.php"] = 403,
      ["/x.bak"] = 403,
    }) do
      assert.equal(status, http.request(r.address, { path = path }).status)
    end
    assert.equal(405, http.request(r.address, { method = "POST", path = "/there.txt" }).status)
    -- The site's own fault is one, and comes after all of them.
    assert.equal(403, http.request(r.address, { path = "/out" }).status)
    r.server:wait_log("/out: 403, a symlink leads out of the root; GET /out, request %x+, host")
    local _, lines = r.server:errors():sub(mark + 1):gsub("\n", "")
    assert.equal(1, lines)
  end)

  it("names the page for an error that is not there", function()
    local r = rig.start({
      settings = [[on_error = function() return { file = "/nonexistent/sorry.html" } end]],
      servers = { "unix:/nonexistent/app.sock" }, responder = false,
    })
    finally(function() r:stop() end)
    assert.equal(503, r:get("").status)
    r.server:wait_log("%[error%] .*the page for an error, /nonexistent/sorry.html: 404, there is "
      .. "no such file; GET /x.php", 10)
  end)

  it("says why at the level debug", function()
    local dir = process.tempdir("site")
    local r = rig.start({
      settings = [[log = { level = "debug" }]],
      on_request = ("if req.args.Nil then return nil end do return { root = %q } end"):format(dir),
    })
    finally(function() r:stop() end)
    http.request(r.address, { path = "/none.txt" })
    r.server:wait_log("%[debug%] .*/none.txt: 404, there is no such file; GET /none.txt, request")
    http.request(r.address, { path = "/?Nil" })
    r.server:wait_log("%[debug%] .*answered 404: on_request returned nil; GET /%?Nil, request")
    http.request(r.address, { path = "/.env" })
    r.server:wait_log("%[debug%] .*/%.env: 403, dotfiles are not served; GET /%.env, request")
  end)
end)

describe("a line of moongate.log", function()
  it("names the request whose hook runs, and no other", function()
    local r = rig.start({
      before = "local moongate = require('moongate')",
      settings = [[
        on_start = function()
          moongate.log("info", "line of on_start")
          moongate.every(0.05, function() moongate.log("info", "line of every") end)
        end,
        on_params = function() moongate.log("info", "line of on_params") end,
        on_response = function() moongate.log("info", "line of on_response") end,
        on_stderr = function() moongate.log("info", "line of on_stderr") end,
        on_log = function() moongate.log("info", "line of on_log") end]],
      on_request = [[
        moongate.log("warn", "line of on_request\nits second")
        moongate.spawn(function() moongate.log("info", "line of spawn") end)
        moongate.sleep(0.01)
        moongate.log("info", "line after sleep")
        if req.args.Tenant then
          return { backend = "app", docroot = "/srv", tenant = req.args.Tenant }
        end]],
    })
    finally(function() r:stop() end)
    local about = "; GET /x%.php%?stderr=oops&Tenant=blue, request %x+, host shop%.example"
    r:get("stderr=oops&Tenant=blue", { host = "shop.example" })
    r.server:wait_log("%[warn%] %d+: line of on_request$")
    r.server:wait_log("^\tits second" .. about .. "$")
    r.server:wait_log("line after sleep" .. about .. "$")
    for _, hook in ipairs({ "on_params", "on_response", "on_stderr", "on_log" }) do
      r.server:wait_log("line of " .. hook .. about .. ", tenant blue$")
    end
    for _, outside in ipairs({ "on_start", "spawn", "every" }) do
      r.server:wait_log("line of " .. outside .. "$")
    end
  end)

  it("can't be continued by a name that a client or a script has chosen", function()
    local r = rig.start({
      before = "local moongate = require('moongate')",
      settings = [[on_params = function() moongate.log("info", "line of on_params") end]],
      on_request = [[
        do return { backend = "app", docroot = "/srv", tenant = "a, host b; c \"d\"" } end]],
    })
    finally(function() r:stop() end)
    local res = r:get("A=b,%20request%20c;d", { host = "shop.example" })
    assert.equal(200, res.status)
    local line = r.server:wait_log("line of on_params")
    local tail = line:match("; (.*)$")
    local uri, host, tenant = tail:match("^GET (%S+), request %x+, host ([^,]+), tenant ([^,;]+)$")
    assert.same({ "/x.php?A=b,%20request%20c;d", "shop.example",
      "a\\x2c host b\\x3b c \\x22d\\x22" }, { uri, host, tenant }, line)
  end)

  it("has id, host and tenant, however long the rest is", function()
    local r = rig.start({
      before = "local moongate = require('moongate')",
      settings = [[on_params = function()
          moongate.log("info", "%s", "long" .. ("\1"):rep(20000))
        end]],
      on_request = [[do return { backend = "app", docroot = "/srv", tenant = "blue" } end]],
    })
    finally(function() r:stop() end)
    assert.equal(200, r:get("a=" .. ("x"):rep(5000), { host = "shop.example" }).status)
    local line = r.server:wait_log("long\\x01")
    assert.matches("; GET /x%.php%?a=x+%.%.%., request %x+, host shop%.example, tenant blue$", line)
    assert.is_true(#line < 16384)
  end)
end)
