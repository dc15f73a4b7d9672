-- flush: when the parts of an application's answer leave.

local http = require("tests.support.http")
local poll = require("tests.support.poll")
local rig = require("tests.support.rig")

-- "/false.php" and the like: how the answer is flushed.
local ON_REQUEST = [[
local word = req.path:match("^/(.-)%.php$")
local flush = tonumber(word) or word
if word == "false" or word == "unbuffered" then
  flush = false
elseif word == "true" then
  flush = true
elseif word == "x" then
  flush = nil
end
return { backend = "app", docroot = "/a", flush = flush,
  response_buffering = word ~= "unbuffered" }
]]

local function target(flush, commands)
  return ("/%s.php?%s"):format(flush, commands)
end

describe("the parts of an answer leave", function()
  local r

  setup(function()
    r = rig.start({ on_request = "do " .. ON_REQUEST .. " end",
      settings = [[limits = { response_memory = "64k" }]] })
  end)

  teardown(function()
    r:stop()
  end)

  local function get(flush, commands, method)
    return http.request(r.address, { path = target(flush, commands), method = method })
  end

  -- An answer of which the application holds the second half of the body.
  local function before_the_end(flush, more)
    local client = http.open(r.address)
    client:send({ path = target(flush, "size=2000&pieces=2&piece_delay=hold" .. (more or "")) })
    poll.wait(function()
      return #r:events("HELD") > (r.released or 0)
    end, "the answer to be held")
    return client
  end

  local function cut(flush)
    local conn = http.open(r.address).conn
    conn:send(("GET %s HTTP/1.1\r\nHost: a\r\n\r\n"):format(target(flush,
      "size=2000&fail=close-mid-body")))
    local raw = conn:read_all(poll.PATIENCE)
    conn:close()
    return raw
  end

  local function rest(client)
    r:release()
    local res = client:receive()
    client:close()
    assert.equal(rig.pattern(2000), res.body)
    return res
  end

  it("as they come, if nothing else is said", function()
    for _, flush in ipairs({ "true", "x" }) do
      local client = before_the_end(flush)
      assert.is_false(client.conn:silent(poll.PATIENCE))
      assert.equal("chunked", rest(client).framing)
    end
  end)

  it("when the answer is whole", function()
    local client = before_the_end("false")
    assert.is_true(client.conn:silent(0.5))
    assert.equal("length", rest(client).framing)
  end)

  it("but for the head", function()
    local client = before_the_end("headers")
    local head = client.conn:read_until("\r\n\r\n", poll.PATIENCE)
    assert.is_truthy(head:find("^HTTP/1.1 200"), head)
    assert.is_true(client.conn:silent(0.5))
    r:release()
    local body = client.conn:read_until("0\r\n\r\n", poll.PATIENCE)
    client:close()
    assert.equal(("7d0\r\n%s\r\n0\r\n\r\n"):format(rig.pattern(2000)), body)
  end)

  it("when there are so many bytes", function()
    local client = before_the_end("1500")
    assert.is_true(client.conn:silent(0.5))
    rest(client)
    client = before_the_end("700")
    assert.is_false(client.conn:silent(poll.PATIENCE))
    rest(client)
  end)

  it("when more than response_memory would wait", function()
    local res = get("false", "size=3000000")
    assert.equal(rig.pattern(3000000), res.body)
    assert.equal("chunked", res.framing)
    res = get("unbuffered", "size=3000000")
    assert.equal(rig.pattern(3000000), res.body)
    res = get("100000", "size=300000&length")
    assert.equal(rig.pattern(300000), res.body)
  end)

  it("as an error page where the rest does not come", function()
    local res = get("false", "size=2000&fail=close-mid-body")
    assert.equal(502, res.status)
    rig.assert_cut(cut("headers"))
    rig.assert_cut(cut("100"))
  end)

  it("as they come where the application says that they are waited for", function()
    local client = before_the_end("false", "&header=X-Accel-Buffering:no")
    assert.is_false(client.conn:silent(poll.PATIENCE))
    rest(client)
  end)

  it("of no answer without a body", function()
    assert.equal(204, get("false", "status=204").status)
    assert.equal(200, get("false", "size=0").status)
    assert.equal(200, get("headers", "size=9", "HEAD").status)
  end)
end)
