-- Stale responses that are sent at once while a newer one is made in the background.

local http = require("tests.support.http")
local json = require("moongate.base.json")
local poll = require("tests.support.poll")
local process = require("tests.support.process")
local rig = require("tests.support.rig")

local CACHE = "{ ttl = '0.05s', stale = '1h', key = 'one', background = true }"

local function start(cache, options)
  options = options or {}
  local path = process.tempdir("background")
  assert(os.execute("chmod 1777 " .. process.quote(path)) == 0)
  options.workers = options.workers or 2
  options.control = true
  options.settings = ("cache = { path = %q }%s"):format(path,
    options.settings and ", " .. options.settings or "")
  options.on_request = options.on_request or ([[
    do return { backend = "app", docroot = "/srv/app", cache = %s } end]]):format(cache)
  local r = rig.start(options)
  finally(function() r:stop() end)
  return r
end

local function asked(r, pattern)
  local count = 0
  for _, event in ipairs(r:events("START")) do
    count = count + (event.uri:find(pattern) and 1 or 0)
  end
  return count
end

local function metric(r, name)
  local text = http.request(r.control, { path = "/metrics" }).body
  return tonumber(text:match("\n" .. name .. " (%d+)\n"))
end

-- Asks until the kept response is stale: this request has a newer one made. (The first one makes
-- what is kept, and the next ones may find it fresh.)
local function until_stale(r, commands, request)
  return poll.wait(function()
    local res = r:get(commands, request)
    return res.headers["x-cache"] == "stale" and res
  end, "a stale response to " .. commands)
end

local function until_body(r, body, commands)
  return poll.wait(function()
    return r:get(commands or "body=other").body == body
  end, "the response " .. body)
end

describe("a stale response in the background", function()
  it("is sent at once to all, and made anew by one", function()
    local r = start(CACHE)
    assert.equal("miss", r:get("body=old").headers["x-cache"])
    local res = until_stale(r, "delay=hold&body=new")
    assert.same({ 200, "old" }, { res.status, res.body })
    r:wait_started("hold", 1)
    for _ = 1, 20 do
      res = r:get("delay=hold&body=new")
      assert.same({ "stale", "old" }, { res.headers["x-cache"], res.body })
    end
    assert.equal(1, asked(r, "delay=hold"))
    assert.equal(1, metric(r, "moongate_cache_refreshes_total"))
    r:release()
    until_body(r, "new")
  end)

  it("holds for as long as stale-while-revalidate says", function()
    local r = start("{ key = 'one' }")
    local function commands(body, control)
      return ("body=%s&header=Cache-Control:%%20%s"):format(body, control)
    end
    r:get(commands("old", "max-age=1,%20stale-while-revalidate=1000"))
    local res = until_stale(r, commands("new", "max-age=1,%20stale-if-error=1000"))
    assert.equal("old", res.body)
    until_body(r, "new", commands("new", "max-age=1,%20stale-if-error=1000"))
    -- What is kept now is for errors alone.
    poll.wait(function()
      local next = r:get(commands("next", "max-age=1000"))
      assert.not_equal("stale", next.headers["x-cache"])
      return next.headers["x-cache"] == "miss"
    end, "a miss")
  end)

  it("is never so with background = false", function()
    local r = start("{ key = 'one', background = false }")
    local commands = "body=x&header=Cache-Control:%20max-age=1,%20stale-while-revalidate=1000"
    r:get(commands)
    poll.wait(function()
      local res = r:get(commands)
      assert.not_equal("stale", res.headers["x-cache"])
      return res.headers["x-cache"] == "miss"
    end, "a miss")
    assert.equal(0, metric(r, "moongate_cache_refreshes_total"))
  end)

  it("asks with the tag of what is kept, and a 304 makes it fresh", function()
    local r = start("{ stale = '1h', key = 'one', background = true }")
    local function commands(more)
      return "body=old&header=ETag:%20%22v1%22&header=Cache-Control:%20max-age=" .. more
    end
    r:get(commands("1"))
    until_stale(r, commands("1000&status=304"))
    local res = poll.wait(function()
      local one = r:get("never")
      return one.headers["x-cache"] == "hit" and one
    end, "a hit")
    assert.same({ "old", "max-age=1000" }, { res.body, res.headers["cache-control"] })
  end)

  it("stays when the application fails, without on_error", function()
    local r = start(CACHE, { settings = [[on_error = function(_, err)
      require("moongate").log.error("on_error " .. err.kind) end]] })
    r:get("body=old")
    for _, commands in ipairs({ "status=500&body=bad", "fail=close-before-head",
      "fail=close-mid-body&size=100000" }) do
      until_stale(r, commands)
      poll.wait(function() -- a second passes between two that fail
        assert.equal("old", r:get(commands).body)
        return asked(r, (commands:gsub("%p", "%%%0"))) > 0
      end, commands)
      assert.same({ "stale", "old" }, { r:get(commands).headers["x-cache"], r:get(commands).body })
    end
    assert.is_nil(r.server:errors():find("on_error", 1, true))
    until_body(r, "new", "body=new")
  end)

  it("goes when the application's reply may not be kept", function()
    local r = start(CACHE)
    r:get("body=old")
    until_stale(r, "header=Set-Cookie:%20a=b&body=own")
    local res = poll.wait(function()
      local one = r:get("header=Set-Cookie:%20a=b&body=own")
      return one.headers["x-cache"] == "miss" and one
    end, "a miss")
    assert.same({ "own", "a=b" }, { res.body, res.headers["set-cookie"] })
  end)

  it("has hooks, a line and a time-out of its own request", function()
    local r = start(nil, { on_request = ([[
      do return { backend = "app", docroot = "/srv/app", cache = %s, read_timeout = 1,
        flush = false, compress = true } end]]):format(CACHE),
      settings = [[log = { access = "stdout" }, compress = true,
        on_params = function(req, params) params.X_SEEN = req.path end,
        on_response = function(_, res) res.headers["X-Seen"] = "yes" end]] })
    r:get("body=old")
    until_stale(r, "delay=hold&body=never")
    r.server:wait_log("timeout")
    r:release()
    until_body(r, "new", "body=new")
    assert.equal("yes", r:get("body=new").headers["x-seen"])
  end)

  it("is made for a client that has left", function()
    local r = start(CACHE, { workers = 1 })
    r:get("body=old")
    poll.wait(function()
      local client = http.open(r.address)
      client:send({ path = rig.target("body=new") })
      client.conn:reset()
      return r:get("body=other", { headers = { Cookie = "a=b" } }).status == 200
        and r:get("body=new").body == "new"
    end, "a new response")
  end)

  it("survives a reload, and is given up by a server that stops", function()
    local r = start(CACHE)
    r:get("body=old")
    until_stale(r, "delay=hold&body=new")
    r:wait_started("hold", 1)
    r.server:reload(r:route())
    assert.equal("old", r:get("body=other").body)
    r:release()
    until_body(r, "new")
    poll.wait(function() -- another newer one may be on its way for what is stale now
      assert.equal(200, r:get("delay=hold&body=newer").status)
      return asked(r, "newer") > 0
    end, "the last one to be asked for") -- the server stops meanwhile
  end)

  it("is shown by `moongate requests` while it is made, and may be killed", function()
    local r = start(CACHE)
    r:get("body=old")
    until_stale(r, "delay=hold&body=new")
    r:wait_started("hold", 1)
    local function listed()
      for _, one in ipairs(json.decode(r:tell("requests", "--json")).requests) do
        if one.uri:find("hold", 1, true) then
          return one
        end
      end
    end
    r:tell("kill", poll.wait(listed, "the request in the list").id)
    poll.wait(function() return not listed() end, "its end")
    r:release()
    assert.equal("old", r:get("body=old").body)
  end)
end)
