-- Heads of applications that are not quite as they should be, and what becomes of what they say
-- when something else is served in their place.

local http = require("tests.support.http")
local net = require("tests.support.net")
local rig = require("tests.support.rig")
local socket = require("socket")
local stage = require("tests.support.stage")

-- `header=` commands of the responder.
local function headers(list)
  local commands = {}
  for i, line in ipairs(list) do
    commands[i] = "header=" .. http.escape(line)
  end
  return table.concat(commands, "&")
end

describe("a head", function()
  local r

  setup(function()
    r = rig.start({ backend = "keepalive = 1" })
  end)

  teardown(function() r:stop() end)

  it("may have each of these once: the first counts, and the log says so", function()
    for _, name in ipairs({ "Date", "ETag", "Last-Modified", "Expires", "Server", "Retry-After",
      "Content-Disposition", "Age" }) do
      local mark = r.server:mark()
      local res = r:get(headers({ name .. ": first", name:lower() .. ": second" }))
      assert.same({ "first" }, res:all(name))
      r.server:wait_log("the header '" .. name:lower():gsub("%p", "%%%0")
        .. "' came again: the first one counts", 3, mark)
    end
    local res = r:get("status=301&" .. headers({ "Location: http://a/", "Location: http://b/" }))
    assert.same({ "http://a/" }, res:all("Location"))
    assert.same({ "text/css" }, r:get("type=text/css&" .. headers({ "Content-Type: text/html" }))
      :all("Content-Type"))
    assert.equal(404, r:get("status=404&" .. headers({ "Status: 500" })).status)
  end)

  it("may have all others as often as it likes", function()
    local res = r:get(headers({ "Set-Cookie: a=1", "Set-Cookie: b=2", "Vary: A", "Vary: B",
      "WWW-Authenticate: Basic", "WWW-Authenticate: Digest" }))
    assert.same({ "a=1", "b=2" }, res:all("Set-Cookie"))
    assert.same({ "A", "B" }, res:all("Vary"))
    assert.same({ "Basic", "Digest" }, res:all("WWW-Authenticate"))
  end)

  it("may have a status with a colon behind it", function()
    for text, reason in pairs({ ["404: Not Found"] = "Not Found", ["404:Gone"] = "Gone",
      ["404:"] = "Not Found", ["404 Lost"] = "Lost" }) do
      local res = r:get("status=" .. http.escape(text))
      assert.equal(404, res.status)
      assert.equal(reason, res.reason)
    end
  end)

  it("that is broken is quoted in the log", function()
    for commands, text in pairs({
      ["head=no-colon"] = "a header line without a colon: 'this line has no colon'",
      ["head=control"] = "a control byte in a header: 'X-Control: a\\x01b'",
      ["head=nul"] = "a control byte in a header: 'X-Nul: a\\x00b'",
      ["head=space"] = "a header name with a character that is not allowed: 'X Space: a'",
      ["status=fine"] = "a status that is not a number from 200 to 599: 'Status: fine'",
    }) do
      local mark = r.server:mark()
      assert.equal(502, r:get(commands).status)
      r.server:wait_log(text:gsub("%p", "%%%0"), 3, mark)
    end
  end)
end)

-- A login that ends in a redirect of the server's own --------------------------------------------

describe("the cookies of an answer that redirects within the server", function()
  local r
  local folder = stage.files({ ["file.txt"] = "a file\n" })

  setup(function()
    r = rig.start({
      settings = [[on_response = function(req, res)
        if req.args.Strip then res.headers["Set-Cookie"] = nil end
        if req.args.Count then
          res.headers["X-Cookies"] = tostring(#res.headers:all("Set-Cookie"))
        end
      end]],
      on_request = ([[
        if req.path == "/reply" then return { status = 200, body = "a reply\n" }
        elseif req.path == "/redirect" then return { redirect = "/elsewhere" }
        elseif req.path == "/file.txt" then return { root = %q } end
        do return { backend = "app", docroot = "/srv/app", internal = { ["/in/"] = %q } } end
      ]]):format(folder, folder),
    })
  end)

  teardown(function() r:stop() end)

  local function login(target)
    return r:get(headers({ "Set-Cookie: session=1", "Set-Cookie: user=2", "X-Other: 3",
      "Location: " .. target }))
  end

  for target, want in pairs({
    ["/y.php?body=end"] = { 200, { "session=1", "user=2" } },
    ["/y.php?" .. headers({ "Set-Cookie: own=3" })] = { 200, { "own=3", "session=1", "user=2" } },
    ["/y.php?" .. headers({ "Set-Cookie: own=3", "Location: /z.php?x" })] =
      { 200, { "own=3", "session=1", "user=2" } },
    ["/y.php?Strip=1"] = { 200, {} },
    ["/y.php?Count=1"] = { 200, { "session=1", "user=2" } },
    ["/y.php?" .. headers({ "X-Accel-Redirect: /in/file.txt" })] =
      { 200, { "session=1", "user=2" } },
    ["/y.php?fail=close-before-head"] = { 502, { "session=1", "user=2" } },
    ["/reply"] = { 200, { "session=1", "user=2" } },
    ["/redirect"] = { 302, { "session=1", "user=2" } },
    ["/file.txt"] = { 200, { "session=1", "user=2" } },
  }) do
    it("are in the last answer: " .. target, function()
      local res = login(target)
      assert.equal(want[1], res.status)
      local cookies = res:all("Set-Cookie")
      table.sort(cookies)
      assert.same(want[2], cookies)
      assert.is_nil(res.headers["x-other"])
      if target:find("Count") then
        assert.equal("2", res.headers["x-cookies"])
      end
    end)
  end
end)

-- Another route in the application's place --------------------------------------------------------

describe("X-Accel-Redirect to a path that is true in `internal`", function()
  local r
  local folder = stage.files({ ["a.txt"] = "a file\n" })

  setup(function()
    r = rig.start({
      backend = ([[internal = { ["/render/"] = true, ["/files"] = %q }]]):format(folder),
      backends = function(addresses)
        return ("render = %q"):format(addresses[1])
      end,
      on_request = [[
        if req.path:find("^/render/") then
          if not req.internal then return { status = 404, body = "not yours\n" } end
          return { backend = "render", docroot = "/srv/render" }
        elseif req.path == "/own.php" then
          return { backend = "app", docroot = "/srv/app", internal = { ["/own/"] = true } }
        elseif req.path:find("^/own/") then
          return { status = 200, body = tostring(req.internal) .. " " .. req.method }
        end
      ]],
    })
  end)

  teardown(function() r:stop() end)

  local function hand_over(target, more)
    return headers({ "X-Accel-Redirect: " .. target, more })
  end

  it("goes to what on_request says of it, as a GET without a body", function()
    local res = r:get(hand_over("/render/page.php?dump&x=1", "Set-Cookie: a=1"),
      { method = "POST", body = "a body", headers = { ["Content-Type"] = "text/x" } })
    assert.equal(200, res.status)
    local params = rig.params(res)
    assert.equal("/srv/render/render/page.php", params.SCRIPT_FILENAME)
    assert.equal("GET", params.REQUEST_METHOD)
    assert.equal("dump&x=1", params.QUERY_STRING)
    assert.is_nil(params.CONTENT_TYPE)
    assert.is_nil(params.CONTENT_LENGTH)
    assert.same({ "a=1" }, res:all("Set-Cookie"))
    assert.is_nil(res.headers["x-accel-redirect"])
  end)

  it("is not for clients, and files stay files", function()
    assert.equal("not yours\n", http.get(r.address, "/render/page.php").body)
    assert.equal("a file\n", r:get(hand_over("/files/a.txt")).body)
    assert.equal(502, r:get(hand_over("/elsewhere/a.txt")).status)
  end)

  it("may be the decision's own", function()
    local res = http.get(r.address, "/own.php?" .. hand_over("/own/x"))
    assert.equal("true GET", res.body)
  end)

  it("ends after ten times", function()
    -- A page that hands over to itself: the responder reads its commands from the query.
    local loop = rig.start({
      backend = [[internal = { ["/"] = true }]],
      settings = [[on_params = function(_, params)
        params.QUERY_STRING = "header=X-Accel-Redirect:%20/x.php"
      end]],
    })
    finally(function() loop:stop() end)
    assert.equal(500, loop:get("").status)
    assert.equal(11, #loop:events("START"))
  end)
end)

-- on_error may look before it replaces ------------------------------------------------------------

describe("an answer that is intercepted", function()
  local r

  setup(function()
    r = rig.start({
      backend = [[keepalive = 1, read_timeout = "2s"]],
      on_request = [[do
        return { backend = "app", docroot = "/srv/app", intercept_errors = { 404, 500 } }
      end]],
      settings = [[on_error = function(req, err)
        if err.kind ~= "status" then
          assert(err.headers == nil and err.has_body == nil)
          return nil
        end
        local type = err.headers["Content-Type"]
        if req.args.Look then
          for name in err.headers:each() do assert(#name > 0) end
          return { status = 200, body = ("%s %s"):format(type, tostring(err.has_body)) }
        elseif not err.has_body then
          return { status = err.status, body = "a page of ours" }
        end
      end]],
    })
  end)

  teardown(function() r:stop() end)

  local CASES = {
    -- commands, whether there is a body
    { "body=", "false" },
    { "body=&length", "false" },
    { "body=x&length", "true" },
    { "body=x", "true" },
    { "body=x&record=1", "true" },
    { "body=&eof", "false" },
    { "body=x&body_delay=100", "true" },
    { "body=&body_delay=50&end_delay=100", "false" },
    { "size=100000&body_delay=50", "true" },
    { "body=&stderr=oh&stderr_at=end", "false" },
  }

  for _, case in ipairs(CASES) do
    it(("tells whether it has a body: %s"):format(case[1]), function()
      local res = r:get("status=500&type=application/json&Look=1&" .. case[1])
      assert.equal("application/json " .. case[2], res.body)
      local usual = r:get("status=500&type=application/json&" .. case[1])
      assert.equal(500, usual.status)
      if case[2] == "false" then
        assert.equal("a page of ours", usual.body)
      else
        assert.equal("application/json", usual.headers["content-type"])
        assert.is_true(usual.body == (case[1]:find("size") and rig.pattern(100000) or "x"))
      end
    end)
  end

  it("is told of as it comes where no hook asks", function()
    local plain = rig.start({
      on_request = [[do return { backend = "app", docroot = "/x", intercept_errors = true } end]],
    })
    finally(function() plain:stop() end)
    local client = http.open(plain.address)
    client:send({ path = rig.target("status=404&body=late&body_delay=hold") })
    assert.is_truthy(client.conn:read_until("\r\n\r\n"):find(" 404 ", 1, true))
    plain:release()
    assert.is_truthy(client.conn:read_until("late"))
    client:close()
  end)

  it("is an error of another kind where it breaks off before its body", function()
    assert.equal(502, r:get("status=500&fail=close-after-head&body_delay=50").status)
    local begun = socket.gettime()
    assert.equal(504, r:get("status=500&fail=hang-after-head").status)
    assert.is_true(socket.gettime() - begun < 30) -- 60 by default
    assert.equal("hello\n", r:get("").body)
  end)

  it("has headers that are gone with the hook", function()
    assert.equal(200, r:get("status=500&Look=1").status)
    local other = rig.start({
      on_request = [[
        if kept then return { status = 200, body = tostring(kept["X-A"]) } end
        do return { backend = "app", docroot = "/x", intercept_errors = true } end
      ]],
      settings = [[on_error = function(_, err) kept = err.headers end]],
      before = "local kept",
    })
    finally(function() other:stop() end)
    assert.equal(404, other:get("status=404").status)
    assert.equal(500, other:get("").status)
    other.server:wait_log("this response is gone")
  end)
end)

describe("Early Hints", function()
  local HEAD = "status=103&header=Link:%20%3C/a.css%3E;%20rel=preload&header=X-No:%201"
    .. "&type=&body=Status:%20201%0D%0AX-Yes:%201%0D%0A%0D%0Awhole"

  it("of an application go ahead to clients that may know them", function()
    local r = rig.start()
    finally(function() r:stop() end)
    local conn = net.connect(r.address)
    conn:send("GET " .. rig.target(HEAD) .. " HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    local hints, rest = conn:read_all():match("^(.-\r\n\r\n)(.*)$")
    conn:close()
    assert.equal("HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n", hints)
    assert.matches("^HTTP/1.1 201 Created\r\nX%-Yes: 1\r\n", rest)
    assert.matches("\r\n\r\nwhole$", rest)
    assert.is_nil(rest:find("X-No", 1, true))
    r.server:wait_access('" 201 5 ')
    local res = http.request(r.address, { path = rig.target(HEAD), version = "1.0" })
    assert.equal(201, res.status)
    assert.same({}, res.interim)
    -- Without a head behind them they are no answer; other interim statuses neither.
    assert.equal(502, r:get("status=103&header=Link:%20a").status)
    assert.equal(502, r:get("status=102").status)
  end)

  it("of a decision go before the server is asked", function()
    local r = rig.start({ on_request = [[
      do return { backend = "app", docroot = "/srv/app", early_hints = {
        "</app.css>; rel=preload; as=style", "</app.js>; rel=preload; as=script" } } end]] })
    finally(function() r:stop() end)
    local conn = net.connect(r.address)
    conn:send("GET " .. rig.target("delay=600000") .. " HTTP/1.1\r\nHost: a\r\n\r\n")
    assert.equal("HTTP/1.1 103 Early Hints\r\nLink: </app.css>; rel=preload; as=style\r\n"
      .. "Link: </app.js>; rel=preload; as=script\r\n\r\n", conn:read_until("\r\n\r\n"))
    conn:reset()
    local res = r:get("body=a")
    assert.same({ 103 }, res.interim)
    assert.equal("a", res.body)
  end)
end)
