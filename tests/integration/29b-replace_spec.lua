-- on_stderr with a decision: another answer in the place of the application's, as long as the
-- client has nothing of that.

local http = require("tests.support.http")
local poll = require("tests.support.poll")
local rig = require("tests.support.rig")

local FATAL = "PHP message: PHP Fatal error:  Uncaught Error: moon in /srv/app/x.php:7"
local WARNING = "PHP message: PHP Warning:  Undefined variable $a in /srv/app/x.php on line 3"

-- /WHAT.php is answered by WHAT; /false.php and /100000.php say how the answer is flushed.
local ON_REQUEST = [[
local word = req.path:match("^/(.-)%.php$")
local flush = tonumber(word) or nil
if word == "false" then
  flush = false
end
do return { backend = "app", docroot = "/srv/app", flush = flush,
  headers = { ["X-Standing"] = "holds" } } end
]]

local SETTINGS = [[
  limits = { response_memory = "64k" },
  on_stderr = function(req, messages)
    req.ctx.calls = (req.ctx.calls or 0) + 1
    local what = req.args.o
    for _, message in ipairs(messages) do
      if message.level == "fatal" and (not what or what == "page") then
        return { status = 500, headers = { ["Content-Type"] = "text/html" },
          body = "sorry: " .. message.level }
      elseif message.level == "fatal" and what == "again" then
        return { backend = "app", docroot = "/srv/app", script = "/other.php",
          flush = false }
      elseif message.level == "fatal" and what == "once" and not req.ctx.again then
        req.ctx.again = true
        return { backend = "spare", docroot = "/srv/spare", script = "/other.php" }
      elseif message.level == "fatal" and what == "nowhere" then
        return { backend = "nowhere" }
      elseif message.level == "fatal" and what == "number" then
        return 7
      end
    end
  end,
  on_log = function(req, log)
    return ("ended %s %d calls=%s"):format(req.args.t or "-", log.status,
      tostring(req.ctx.calls))
  end
]]

local function says(text)
  return "stderr=" .. http.escape(text)
end

describe("an answer is replaced by on_stderr", function()
  local r

  setup(function()
    r = rig.start({ on_request = ON_REQUEST, settings = SETTINGS, backend = "keepalive = 2",
      backends = function(addresses)
        return ("spare = { servers = { %q } }"):format(addresses[1])
      end })
  end)

  teardown(function() r:stop() end)

  local function get(path, commands, method)
    return http.request(r.address, { path = path .. "?" .. commands, method = method })
  end

  local function assert_page(res, name)
    assert.equal(500, res.status, name)
    assert.equal("sorry: fatal", res.body)
    assert.equal("text/html", res.headers["content-type"])
    assert.equal("holds", res.headers["x-standing"])
  end

  it("where the message came before the head", function()
    for _, more in ipairs({ "", "&size=3000000", "&length&size=2000", "&record=7", "&write=5",
      "&status=404", "&head=none", "&header=Location:%20/elsewhere.php" }) do
      assert_page(get("/x.php", says(FATAL) .. more))
    end
    assert.equal(500, get("/x.php", says(FATAL) .. "&size=2000", "HEAD").status)
  end)

  it("and its messages are in the log all the same", function()
    local mark = r.server:mark()
    assert_page(get("/x.php", says(WARNING .. "; " .. FATAL)))
    r.server:wait_log("PHP Warning: Undefined variable", nil, mark)
    r.server:wait_log("PHP Fatal error: Uncaught Error: moon", nil, mark)
  end)

  it("but not where the hook says nothing", function()
    local res = get("/x.php", says(WARNING) .. "&size=2000")
    assert.equal(200, res.status)
    assert.equal(rig.pattern(2000), res.body)
  end)

  it("until its end, where flush = false keeps it", function()
    for _, at in ipairs({ "head", "body", "end" }) do
      for _, more in ipairs({ "&pieces=3", "&pieces=2&record=100&write=50" }) do
        assert_page(get("/false.php", says(FATAL) .. "&size=2000&stderr_at=" .. at .. more),
          at .. more)
      end
    end
    assert_page(get("/false.php", says(FATAL) .. "&size=2000&length&pieces=3&stderr_at=body"))
  end)

  it("as long as fewer bytes have come than flush keeps", function()
    assert_page(get("/30000.php", says(FATAL) .. "&size=20000&stderr_at=end"))
    local mark = r.server:mark()
    local res = get("/10000.php", says(FATAL) .. "&size=20000&stderr_at=end")
    assert.equal(200, res.status)
    assert.equal(rig.pattern(20000), res.body)
    r.server:wait_log("on_stderr returned a decision, which has no effect: a part of the answer",
      nil, mark)
  end)

  it("by another backend, which has the request anew", function()
    local res = get("/x.php", "o=once&dump&" .. says(FATAL))
    assert.equal(200, res.status)
    local p = rig.params(res)
    assert.equal("/srv/spare/other.php", p.SCRIPT_FILENAME)
    assert.equal("holds", res.headers["x-standing"])
  end)

  it("ten times at most", function()
    local before = #r:events("REQUEST")
    assert.equal(500, get("/x.php", "o=again&" .. says(FATAL)).status)
    assert.equal(11, #r:events("REQUEST") - before)
  end)

  it("also where the application has failed behind its message", function()
    assert_page(get("/x.php", says(FATAL) .. "&fail=close-after-head"))
    assert_page(get("/false.php", says(FATAL) .. "&size=2000&fail=close-mid-body"))
  end)

  it("and the connection of a whole answer is kept", function()
    assert_page(get("/false.php", says(FATAL) .. "&size=200"))
    assert.equal(200, get("/x.php", "who").status)
    local first = get("/x.php", "who").headers["x-connection"]
    assert_page(get("/false.php", says(FATAL) .. "&size=200&stderr_at=end"))
    assert.equal(first, get("/x.php", "who").headers["x-connection"])
  end)
end)

describe("a decision of on_stderr that comes too late", function()
  local r

  setup(function()
    r = rig.start({ on_request = ON_REQUEST, settings = SETTINGS })
  end)

  teardown(function() r:stop() end)

  it("has no effect, and one line in the log says so", function()
    local mark = r.server:mark()
    local client = http.open(r.address)
    client:send({ path = "/x.php?t=late&size=2000&pieces=2&piece_delay=hold&stderr_at=end&"
      .. says(FATAL) })
    client.conn:read_until("\r\n\r\n", poll.PATIENCE)
    client.conn:read_until("\r\n", poll.PATIENCE)
    r:release()
    client.conn:read_until("\r\n0\r\n\r\n", poll.PATIENCE)
    client:close()
    r.server:wait_access("^ended late 200 calls=1")
    r.server:wait_log("on_stderr returned a decision, which has no effect: .*GET /x%.php", nil,
      mark)
    local _, lines = r.server:errors():sub(mark):gsub("which has no effect", "")
    assert.equal(1, lines)
  end)

  it("and one that can't be used cost nothing, and name the hook", function()
    for what, expected in pairs({
      nowhere = "route%.lua:%d+: on_stderr returned a decision that can't be used: there",
      number = "route%.lua:%d+.*expected true, false, a decision or nothing as its result, got 7",
    }) do
      local mark = r.server:mark()
      local res = http.get(r.address, "/x.php?size=2000&o=" .. what .. "&" .. says(FATAL))
      assert.equal(rig.pattern(2000), res.body)
      r.server:wait_log(expected, nil, mark)
      r.server:wait_log("PHP Fatal error: +Uncaught Error: moon", nil, mark)
    end
  end)
end)

describe("an authorizer's message", function()
  local r

  setup(function()
    r = rig.start({
      on_request = [[
        do return { backend = "app", docroot = "/srv/app", authorize = { backend = "app",
          docroot = "/srv/auth",
          params = { QUERY_STRING = req.headers["X-Auth"] } } } end
      ]],
      settings = [[
        on_stderr = function(req, messages)
          if messages[1].level == "fatal" then
            return { status = 403, body = "role " .. tostring(req.role) }
          end
        end
      ]],
    })
  end)

  teardown(function() r:stop() end)

  local function get(auth, commands)
    return http.request(r.address, { path = "/x.php?" .. commands,
      headers = { ["X-Auth"] = auth } })
  end

  it("replaces its refusal, and lets nothing in", function()
    local res = get("status=401&body=login&" .. says(FATAL), "body=secret")
    assert.equal(403, res.status)
    assert.equal("role authorizer", res.body)
  end)

  it("has no effect where it has let the request on", function()
    local mark = r.server:mark()
    local res = get("status=200&" .. says(FATAL), "body=page")
    assert.equal("page", res.body)
    r.server:wait_log("no effect: the authorizer has let the request on", nil, mark)
  end)
end)
