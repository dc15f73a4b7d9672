-- moongate.limit over workers: no more than the limit, whichever worker is asked; places of
-- requests that end, of clients that leave and of workers that are killed are free again.

local http = require("tests.support.http")
local poll = require("tests.support.poll")
local rig = require("tests.support.rig")
local server = require("tests.support.server")
local process = require("tests.support.process")

server.inspect()

local BEFORE = [[
local limit = require("moongate.limit")
local moongate = require("moongate")
local rate = limit.rate { name = "api", rate = "20/h",
  key = function(req) return req.headers.client end }
local places = limit.concurrency { name = "places", limit = 3,
  key = function(req) return req.headers.client end }
local wrapped = rate:wrap(function() return { status = 200, body = "wrapped" } end)
]]

local ON_REQUEST = [[
if req.path == "/rate" then
  return rate(req) or { status = 200, body = "ok" }
elseif req.path == "/wrapped" then
  return wrapped(req)
elseif req.path == "/count" then
  local count = moongate.shared("moongate.limit.places"):get("places a")
  return { body = ("%d"):format(count or 0) }
elseif req.path == "/places" then
  local refused = places(req)
  if refused then
    return refused
  end
end
]]

local function start(options)
  options = options or {}
  options.before, options.on_request = BEFORE, ON_REQUEST
  options.workers = options.workers or 2
  return rig.start(options)
end

local function status(r, path, client)
  return http.get(r.address, path, { Client = client }).status
end

describe("a rate", function()
  it("holds over all workers, and outlives a reload", function()
    local r = start({ control = true })
    finally(function() r:stop() end)
    local ok, refused = 0, nil
    for _ = 1, 40 do
      local res = http.get(r.address, "/rate", { Client = "a" })
      if res.status == 200 then
        ok = ok + 1
      else
        assert.equal(429, res.status)
        refused = res
      end
    end
    assert.equal(20, ok)
    assert.truthy(tonumber(refused.headers["retry-after"]) <= 180)
    assert.equal('"api";q=20;w=3600', refused.headers["ratelimit-policy"])
    assert.equal(200, status(r, "/rate", "b"))
    r:tell("reload")
    assert.equal(429, status(r, "/rate", "a"))
  end)

  it("is said on answers", function()
    local r = start()
    finally(function() r:stop() end)
    for left = 19, 15, -1 do
      local res = http.get(r.address, "/wrapped", { Client = "c" })
      assert.equal(200, res.status)
      assert.truthy(res.headers.ratelimit:find(('"api";r=%d;'):format(left), 1, true))
    end
  end)
end)

describe("places", function()
  -- A request gives its place back when it has ended, which is after its client has the answer.
  local function wait_count(r, count)
    poll.wait(function()
      return http.get(r.address, "/count").body == tostring(count)
    end, count .. " places taken", 30)
  end

  -- Takes places with requests that get no answer.
  local function occupy(r, count)
    local clients = {}
    wait_count(r, 0)
    for i = 1, count do
      clients[i] = http.open(r.address)
      clients[i]:send({ path = "/places?delay=60000", headers = { Client = "a" } })
      wait_count(r, i)
    end
    return clients
  end

  local function until_status(r, wanted)
    poll.wait(function()
      return status(r, "/places", "a") == wanted
    end, ("status %d"):format(wanted), 30)
  end

  it("are as many as the limit says, over all workers, and end with their requests", function()
    local r = start()
    finally(function() r:stop() end)
    for _ = 1, 20 do
      wait_count(r, 0)
      assert.equal(200, status(r, "/places", "a"))
    end
    local clients = occupy(r, 3)
    assert.equal(429, status(r, "/places", "a"))
    assert.equal(200, status(r, "/places", "b"))
    for _, client in ipairs(clients) do
      client.conn:reset()
    end
    until_status(r, 200)
  end)

  it("of a worker that was killed are given back", function()
    local r = start({ dies = true, workers = 1 })
    finally(function() r:stop() end)
    local clients = occupy(r, 3)
    assert.equal(429, status(r, "/places", "a"))
    process.signal(r.workers[1], "KILL")
    for _, client in ipairs(clients) do
      client.conn:reset()
    end
    poll.wait(function()
      local ok, code = pcall(status, r, "/places", "a")
      return ok and code == 200
    end, "a free place", 30)
  end)
end)
