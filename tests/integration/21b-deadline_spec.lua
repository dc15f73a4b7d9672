-- deadline and body_deadline: the time that a request, and its body, may take in all, whatever is
-- still within the time-outs between two reads.

local http = require("tests.support.http")
local rig = require("tests.support.rig")

local ON_REQUEST = [[
if req.path == "/none.php" then
  return { backend = "app", docroot = "/a", deadline = "1h", body_deadline = "1h" }
elseif req.path == "/hook.php" then
  require("moongate").sleep(1.2)
elseif req.path == "/body.php" then
  local _, problem = req:body()
  return { body = tostring(problem) }
elseif req.path == "/blind.php" then
  req:body()
end
]]

-- What on_error is told is in the answer.
local ON_ERROR = [[on_error = function(req, err)
  if req.args.spare then
    return { backend = "app", docroot = "/a", deadline = "1m", params = { QUERY_STRING = "dump" } }
  elseif req.args.told then
    return { status = err.status, body = err.kind .. ": " .. err.message }
  end
end]]

local function start(options)
  options.on_request = options.on_request or ON_REQUEST
  options.settings = (options.settings and options.settings .. ", " or "") .. ON_ERROR
  return rig.start(options)
end

-- A body that comes byte by byte, faster than body_timeout and for as long as it is let.
local function drip(r, path, extra)
  local client = http.open(r.address)
  client.conn:send(("POST %s HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n%s\r\n"):format(path,
    extra or ""))
  client.conn:drip({ "a", "b", "c", "d", "e" }, 0.3)
  return client
end

describe("the deadline of a request", function()
  local r

  setup(function()
    r = start({ backend = [[deadline = "1s", read_timeout = "2m", queue_timeout = "2m"]] })
  end)

  teardown(function()
    r:stop()
  end)

  it("is a 504, and the log and on_error know why", function()
    local mark = r.server:mark()
    assert.equal(504, r:get("fail=hang").status)
    local line = r.server:wait_log("the deadline of 1 s is over: no answer had come", nil, mark)
    assert.is_truthy(line:find("backend 'app', server", 1, true), line)
    local res = r:get("fail=hang&told")
    assert.equal(504, res.status)
    assert.equal("timeout: the deadline of 1 s is over: no answer had come", res.body)
  end)

  it("ends an answer whose parts keep coming", function()
    local mark = r.server:mark()
    rig.assert_cut(r:raw("size=1000000&length&pieces=1000&piece_delay=100"))
    local line = r.server:wait_log("the deadline of 1 s is over", nil, mark)
    assert.is_truthy(line:find("%d+ bytes of its answer had come"), line)
  end)

  it("counts the time in a hook", function()
    local res = http.get(r.address, "/hook.php?told")
    assert.equal("timeout: the deadline of 1 s is over: a hook had not decided", res.body)
  end)

  it("is the decision's, if it has one", function()
    assert.equal(200, http.get(r.address, "/none.php?delay=1500").status)
  end)

  it("counts the body of a slow client, which is a 408", function()
    local mark = r.server:mark()
    local client = drip(r, "/x.php?told")
    local res = client:receive()
    assert.equal(408, res.status)
    assert.equal("timeout: the deadline of 1 s is over: its body was still coming", res.body)
    client:close()
    client = drip(r, "/x.php")
    assert.equal(408, client:receive().status)
    client:close()
    r.server:wait_log("answered 408: the deadline of 1 s is over: .*; POST /x.php, ", nil, mark)
  end)

  it("is anew for what on_error decides on", function()
    local res = r:get("fail=hang&spare")
    assert.equal(200, res.status)
    assert.equal("dump", rig.params(res).QUERY_STRING)
  end)

end)

describe("the deadline of a request on a kept connection", function()
  it("is its own, not what one before it has left", function()
    local r = start({ backend = [[deadline = "6s", read_timeout = "2m"]] })
    local client = http.open(r.address)
    finally(function()
      client:close()
      r:stop()
    end)
    for _ = 1, 2 do
      assert.equal(200, client:request({ path = rig.target("delay=3100") }).status)
    end
  end)
end)

describe("the deadline of a request that waits for a place", function()
  it("says so", function()
    local r = start({ backend = [[max_conns = 1, read_timeout = "2m", queue_timeout = "2m"]],
      on_request = [[if req.args.told then
        return { backend = "app", docroot = "/a", deadline = "500ms" }
      end]] })
    finally(function() r:stop() end)
    local holder = http.open(r.address)
    holder:send({ path = rig.target("delay=hold") })
    r:wait_started("hold", 1)
    local res = r:get("told")
    assert.equal(504, res.status)
    assert.is_truthy(res.body:find(
      "the deadline of 0.5 s is over: it waited in the queue: 1 active", 1, true), res.body)
    r:release()
    assert.equal(200, holder:receive().status)
    holder:close()
  end)
end)

describe("the deadline of a body", function()
  local r

  setup(function()
    r = start({ settings = [[limits = { body_deadline = "1s" }]],
      on_request = [[local streamed = req.path == "/stream.php"
      ]] .. ON_REQUEST .. [[do
        return { backend = "app", docroot = "/a", request_buffering = not streamed }
      end]] })
  end)

  teardown(function()
    r:stop()
  end)

  for _, path in ipairs({ "/x.php", "/stream.php", "/blind.php" }) do
    it("is a 408, and the log and on_error know why: " .. path, function()
      local mark = r.server:mark()
      local client = drip(r, path .. "?read&told")
      local res = client:receive()
      client:close()
      assert.equal(408, res.status)
      assert.is_truthy(res.body:find(
        "^timeout: the body did not come within body_deadline 1 s: %d of 1000 bytes had come"),
        res.body)
      r.server:wait_log("answered 408: the body did not come within body_deadline 1 s", nil, mark)
    end)
  end

  it("is not asked for a second time", function()
    local client = drip(r, "/x.php?spare")
    assert.equal(408, client:receive().status)
    client:close()
  end)

  it("ends a hook's waiting for it", function()
    local client = drip(r, "/body.php")
    assert.equal("timeout", client:receive().body)
    client:close()
  end)

  it("is the decision's, if it has one", function()
    local client = drip(r, "/none.php?sum")
    client.conn:send(("x"):rep(995))
    local res = client:receive()
    client:close()
    assert.equal(rig.sum("abcde" .. ("x"):rep(995)), res.body)
  end)
end)

describe("a script's own request", function()
  it("ends at the deadline of its backend", function()
    local r = start({ backend = [[deadline = "500ms", read_timeout = "2m"]], on_request = [[
      if req.path == "/own" then
        local res, problem = require("moongate").fastcgi("app", { REQUEST_METHOD = "GET",
          SCRIPT_FILENAME = "/x", SCRIPT_NAME = "/x",
          REQUEST_URI = "/x?fail=hang", QUERY_STRING = "fail=hang" })
        return { body = tostring(problem) }
      end]] })
    finally(function() r:stop() end)
    assert.equal("timeout: the deadline is over", http.get(r.address, "/own").body)
  end)
end)
