-- When a server fails: what is tried again and what never is, and on_error, which may answer
-- instead. 21-failure_spec has what a client sees without it.

local http = require("tests.support.http")
local net = require("tests.support.net")
local poll = require("tests.support.poll")
local process = require("tests.support.process")
local responder = require("tests.support.responder")
local rig = require("tests.support.rig")
local stage = require("tests.support.stage")

describe("an internal redirect", function()
  it("that comes while the body is streamed leaves the rest of it to nobody", function()
    local r = rig.start({
      violations = true, backend = "keepalive = 2",
      on_request = [[do
        return { backend = "app", docroot = "/srv/app", request_buffering = false }
      end]],
    })
    finally(function() r:stop() end)
    local client = http.open(r.address)
    client.conn:send("POST /x.php?early&header=Location:%20/y.php%3fdelay=400%26who%26b=redirected "
      .. "HTTP/1.1\r\nHost: a\r\nContent-Length: 60000\r\n\r\n" .. ("a"):rep(20000))
    r:wait_started("b=redirected", 2) -- in the first one's own text, and then for itself
    client.conn:send(("b"):rep(40000))
    local res = client:receive("POST")
    assert.equal(200, res.status)
    assert.is_nil(r.back:log():find("VIOLATION", 1, true))
    client:close()
  end)
end)

describe("a request that failed", function()
  local r

  setup(function()
    r = rig.start({
      responder = { count = 2 },
      backend = "max_fails = 0, keepalive = 2",
      on_request = [[
        if req.args.Stream then
          return { backend = "app", docroot = "/srv/app", request_buffering = false }
        elseif req.args.Once then
          return { backend = "app", docroot = "/srv/app", attempts = 1 }
        end
      ]],
    })
  end)

  teardown(function() r:stop() end)

  -- How often this request has been seen, whatever became of it.
  local tag = 0
  local function try(commands, request)
    tag = tag + 1
    local mark = ("a=tag%dend"):format(tag)
    local res = r:get(commands .. "&" .. mark, request)
    local seen = 0
    for _, count in pairs(r:shares(mark)) do
      seen = seen + count
    end
    return res, seen
  end

  for _, method in ipairs({ "GET", "HEAD", "PUT", "DELETE", "OPTIONS" }) do
    it("without an answer is tried elsewhere where that does no harm: " .. method, function()
      for _ = 1, 2 do -- each of the two is the first once
        local body = method == "PUT" and "what is put" or nil
        local res, seen = try("1.fail=close-before-head&who&sum", { method = method, body = body })
        assert.equal(200, res.status)
        assert.equal("2", res.headers["x-listener"])
        assert.is_true(seen <= 2)
        if body then
          assert.equal(rig.sum(body), res.body)
        end
      end
    end)
  end

  for _, method in ipairs({ "POST", "PATCH" }) do
    it("that may have been acted on is never tried again: " .. method, function()
      for _ = 1, 4 do
        local res, seen = try("fail=close-before-head", { method = method, body = "once" })
        assert.equal(502, res.status)
        assert.equal(1, seen)
      end
    end)
  end

  it("of which the client has something is never tried again", function()
    local before = #r:events("REQUEST")
    local client = http.open(r.address)
    client:send({ path = rig.target("size=100000&body_delay=hold&fail=close-mid-body") })
    local head = client.conn:read_until("\r\n\r\n")
    r:release()
    rig.assert_cut(head .. client.conn:read_all())
    client:close()
    assert.equal(before + 1, #r:events("REQUEST"))
  end)

  it("is not tried more often than `attempts` says", function()
    local res, seen = try("fail=close-before-head")
    assert.equal(502, res.status)
    assert.equal(2, seen)
    res, seen = try("fail=close-before-head&Once=1", {})
    assert.equal(502, res.status)
    assert.equal(1, seen)
  end)

  it("while its body was being streamed is not tried with half of it", function()
    local body = rig.bytes(2000000)
    local res, seen = try("fail=close-before-head&Stream=1", { method = "PUT", body = body })
    assert.equal(502, res.status)
    assert.equal(1, seen)
  end)

  it("with a spooled body is tried with all of it", function()
    local body = rig.bytes(2000000)
    for _ = 1, 2 do
      local res = try("1.fail=close-before-head&sum", { method = "PUT", body = body })
      assert.equal(rig.sum(body), res.body)
    end
  end)
end)

describe("FCGI_OVERLOADED", function()
  it("goes back to the queue where there is nobody else, until there is room", function()
    local page = process.tempdir("page") .. "/x"
    process.write_file(page, "protocol=2")
    local r = rig.start({
      responder = { args = { "--page", "/x.php=" .. page } },
      backend = [[keepalive = 2, queue_timeout = "60s"]],
    })
    finally(function() r:stop() end)
    local client = http.open(r.address)
    client:send({ method = "POST", path = "/x.php", body = "once" })
    assert.is_true(client.conn:silent(0.3))
    process.write_file(page .. ".new", "sum")
    assert(os.rename(page .. ".new", page))
    assert.equal(rig.sum("once"), client:receive().body)
    local complete = 0
    for _, event in ipairs(r:events("REQUEST")) do
      complete = complete + (event["end"] == "complete" and 1 or 0)
    end
    assert.equal(1, complete)
    -- It does not ask as fast as it can.
    assert.is_true(#r:events("REQUEST") < 100, #r:events("REQUEST"))
    client:close()
  end)

  it("for longer than queue_timeout is 503", function()
    local r = rig.start({ backend = [[queue_timeout = "300ms"]] })
    finally(function() r:stop() end)
    local res = r:get("protocol=2", { method = "POST", body = "x" })
    assert.equal(503, res.status)
    assert.is_truthy(tonumber(res.headers["retry-after"]))
  end)

  it("is said when it begins and at its end, not each time that the server was asked", function()
    local r = rig.start({ backend = [[queue_timeout = "2s"]] })
    finally(function() r:stop() end)
    r:get("protocol=2", { method = "POST", body = "x" })
    assert.is_true(#r:events("REQUEST") > 3, #r:events("REQUEST"))
    r.server:wait_log("%[error%].*FCGI_OVERLOADED")
    local errors = r.server:errors()
    local _, warned = errors:gsub("%[warn%][^\n]*FCGI_OVERLOADED", "")
    local _, failed = errors:gsub("%[error%][^\n]*FCGI_OVERLOADED", "")
    assert.same({ 1, 1 }, { warned, failed })
  end)
end)

describe("on_error", function()
  local r, spare, dead, root

  local HOOK = [[
    on_error = function(req, err)
      local how = req.args.How or "tell"
      if how == "nil" then return nil
      elseif how == "tell" then
        return { status = 500, headers = { ["X-Kind"] = err.kind,
          ["X-Status"] = tostring(err.status) }, body = "kind " .. err.kind .. "\n" }
      elseif how == "spare" then
        return { backend = "spare", docroot = "/srv/spare" }
      elseif how == "again" then
        return { backend = req.args.b or "app", docroot = "/srv/app" }
      elseif how == "file" then
        return { file = ROOT .. "/sorry.html" }
      elseif how == "redirect" then
        return { redirect = "/elsewhere" }
      elseif how == "close" then
        return { close = true }
      elseif how == "raise" then
        error("no excuse")
      elseif how == "wrong" then
        return { backend = "nobody" }
      elseif how == "text" then
        return "sorry"
      end
    end]]

  setup(function()
    spare = responder.start()
    dead = "127.0.0.1:" .. net.free_port()
    root = stage.files({ ["sorry.html"] = "we are sorry\n" })
    r = rig.start({
      before = ("local ROOT = %q"):format(root),
      backend = [[keepalive = 2, read_timeout = "3s", queue_timeout = "1s", max_fails = 0]],
      backends = ([[
        spare = { servers = { %q } },
        dead = { servers = { %q } },
        small = { servers = { %q }, max_conns = 1, queue = 1, queue_timeout = "100ms" },
      ]]):format(spare.address, dead, spare.address),
      on_request = [[
        local b = req.args.b
        if b == "script" then error("the request's hook") end
        if req.args.Catch then
          return { backend = "app", docroot = "/srv/app", intercept_errors =
            req.args.Catch == "all" or { 404, 503 } }
        elseif b then
          return { backend = b, docroot = "/srv/app" }
        end
      ]],
      settings = HOOK,
    })
  end)

  teardown(function()
    r:stop()
    spare:stop()
  end)

  for _, case in ipairs({
    { "connect", "b=dead" },
    { "timeout", "fail=hang" },
    { "closed", "fail=close-before-head" },
    { "closed", "fail=no-end&head=no-end&body=" },
    { "protocol", "fail=garbage" },
    { "protocol", "head=none&body=no%20header" },
    { "protocol", "fail=wrong-id" },
    { "too_large", "big=70000" },
    { "busy", "protocol=2" },
  }) do
    it(("is told what it was: %s (%s)"):format(case[1], case[2]), function()
      local res = r:get(case[2])
      assert.equal(500, res.status)
      assert.equal(case[1], res.headers["x-kind"])
      assert.equal(("kind %s\n"):format(case[1]), res.body)
      assert.equal(200, r:get("").status)
    end)
  end

  it("is told of a full queue: busy", function()
    local client = http.open(r.address)
    client:send({ path = rig.target("b=small&delay=hold&How=nil") })
    poll.wait(function()
      return spare:log():find("b=small", 1, true)
    end, "the request at the server")
    local res = r:get("b=small")
    assert.equal("busy", res.headers["x-kind"])
    spare.process:kill("USR2")
    assert.equal(200, client:receive().status)
    client:close()
  end)

  it("is told of a hook that fails: script", function()
    local res = r:get("b=script")
    assert.equal("script", res.headers["x-kind"])
    r.server:wait_log("route%.lua:%d+: the request's hook")
    assert.equal(500, r:get("b=script&How=nil").status)
  end)

  it("is told of a status that is to be intercepted, and of no other", function()
    for _, status in ipairs({ 404, 503 }) do
      local res = r:get("Catch=some&body=own&status=" .. status)
      assert.equal("status", res.headers["x-kind"])
      assert.equal(tostring(status), res.headers["x-status"])
      assert.is_nil(res.body:find("own", 1, true))
    end
    for _, commands in ipairs({ "Catch=some&status=500", "Catch=some&status=200",
      "Catch=all&status=302&header=Location:%20http://a.example/" }) do
      local res = r:get(commands .. "&body=own")
      assert.equal("own", res.body)
      assert.is_nil(res.headers["x-kind"])
    end
    assert.equal("status", r:get("Catch=all&status=410").headers["x-kind"])
  end)

  it("that says nothing leaves an intercepted reply, or the usual page", function()
    local res = r:get("Catch=all&status=404&body=own&How=nil")
    assert.equal(404, res.status)
    for commands, status in pairs({
      ["b=dead"] = 503, ["fail=hang"] = 504, ["fail=close-before-head"] = 502,
      ["big=70000"] = 502, ["protocol=2"] = 503,
    }) do
      assert.equal(status, r:get(commands .. "&How=nil").status, commands)
    end
  end)

  it("may send it to another backend, with its body", function()
    local body = rig.bytes(300000)
    for _, method in ipairs({ "POST", "PUT", "GET" }) do
      local res = r:get("b=dead&How=spare&sum", { method = method, body = body })
      assert.equal(200, res.status)
      assert.equal(rig.sum(body), res.body)
    end
  end)

  it("may send a file, a redirect, or hang up", function()
    local res = r:get("b=dead&How=file")
    assert.equal("we are sorry\n", res.body)
    assert.is_truthy(res.headers["content-type"]:find("text/html", 1, true))
    res = r:get("b=dead&How=redirect")
    assert.equal(302, res.status)
    local client = http.open(r.address)
    client:send({ path = rig.target("b=dead&How=close") })
    assert.is_true(client.conn:closes(2))
    client:close()
  end)

  for _, how in ipairs({ "raise", "wrong", "text" }) do
    it("that fails itself is 500 with its place in the log: " .. how, function()
      local mark = r.server:mark()
      assert.equal(500, r:get("b=dead&How=" .. how).status)
      r.server:wait_log("route%.lua:%d+: ", nil, mark)
      assert.equal(200, r:get("").status)
    end)
  end

  it("that sends it back again and again is stopped", function()
    for _, commands in ipairs({ "b=dead&How=again", "fail=close-before-head&How=again",
      "fail=garbage&How=again" }) do
      local before = #r:events("REQUEST")
      local res = r:get(commands)
      assert.is_true(res.status >= 500 and res.status <= 504, res.status)
      assert.is_true(#r:events("REQUEST") - before <= 25)
    end
    assert.equal(200, r:get("").status)
  end)

  it("is not asked where the client has something already", function()
    local client = http.open(r.address)
    client:send({ path = rig.target("size=100000&body_delay=hold&fail=close-mid-body&How=spare") })
    local head = client.conn:read_until("\r\n\r\n")
    r:release()
    rig.assert_cut(head .. client.conn:read_all())
    client:close()
    assert.is_nil(spare:log():find("close-mid-body", 1, true))
  end)

  it("is not asked for a client that has left", function()
    local client = http.open(r.address)
    client:send({ path = rig.target("fail=hang&How=spare&Left") })
    r:wait_started("Left", 1)
    client.conn:reset()
    r.server:wait_access('Left HTTP/1.1" 499 ')
    assert.equal(200, r:get("").status)
    assert.is_nil(spare:log():find("Left", 1, true))
  end)

  it("leaves the connection to the client in order", function()
    local client = http.open(r.address)
    for _ = 1, 3 do
      assert.equal(500, client:request({ path = rig.target("b=dead") }).status)
      local res = client:request({
        method = "POST", path = rig.target("fail=close-before-head&How=file"), body = "x",
      })
      assert.equal("we are sorry\n", res.body)
    end
    client:assert_quiet()
    client:close()
  end)
end)
