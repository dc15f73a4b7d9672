-- What `moongate status` shows of troubles: what is degraded first, the last errors of the script
-- and since when they no longer hold, tenants, and the last messages of each script on STDERR.

local http = require("tests.support.http")
local json = require("moongate.base.json")
local poll = require("tests.support.poll")
local process = require("tests.support.process")
local rig = require("tests.support.rig")

local r

local function start(options)
  options.control, options.workers = true, 2
  r = rig.start(options)
  finally(function() r:stop() end)
  return r
end

local function messages()
  local address = r.control:gsub("^unix:", "")
  local result = process.run({
    argv = { "curl", "-s", "--unix-socket", address, "http://localhost/messages" },
  })
  return json.decode(result.stdout).messages
end

local FAILS = [[
    if req.path == "/fails" then error("it fails") end
    if req.path == "/wrong" then return 5 end]]

local function hook_errors()
  local list = {}
  for _, one in ipairs(r:status().errors) do
    if one.generation then
      list[#list + 1] = one
    end
  end
  return list
end

describe("moongate status", function()
  it("counts the errors of hooks with their line, and says which no longer hold", function()
    start({ on_request = FAILS })
    for _ = 1, 6 do
      assert.equal(500, http.get(r.address, "/fails").status)
    end
    assert.equal(500, http.get(r.address, "/wrong").status)
    local list = hook_errors()
    assert.equal(2, #list)
    local one = list[1].count == 6 and list[1] or list[2]
    assert.equal(6, one.count)
    assert.equal("on_request", one.what)
    assert.matches("route%.lua:%d+: it fails$", one.text)
    assert.is_true(one.holds)
    assert.equal(1, one.generation)
    assert.matches("\n  last at [%d:%- ]+, 6 times: on_request: [^\n]+route%.lua:%d+: it fails\n",
      r:tell("status"))
    r.server:reload(r:route({ on_request = "" }))
    poll.wait(function() return r:status().generation == 2 end, "generation 2")
    for _, error in ipairs(hook_errors()) do
      assert.is_false(error.holds)
    end
    assert.matches("\n  not since [%d:%- ]+, generation 1, 6 times: on_request: ", r:tell("status"))
  end)

  it("shows a reload that failed, until a later one serves", function()
    start({})
    r.server:reload_fails("return {")
    local one = poll.wait(function() return r:status().errors[1] end, "the failure in the status")
    assert.same({ "HUP", true }, { one.what, one.holds })
    assert.matches("route%.lua:1: ", one.text)
    assert.matches("\n  ! the last load failed %(HUP%): [^\n]+route%.lua:1: ", r:tell("status"))
    r.server:reload(r:route())
    poll.wait(function() return r:status().generation == 2 end, "generation 2")
    assert.is_false(r:status().errors[1].holds)
    assert.is_nil(r:tell("status"):find("! the last load failed", 1, true))
  end)

  it("shows first what is degraded", function()
    start({ responder = { count = 2 }, backend = "max_fails = 1, fail_timeout = '10m'," })
    local a, b = unpack(r.back.addresses)
    assert.same({}, r:status().degraded)
    r:tell("drain", "app", a)
    r:tell("server", "weight", "app", b, "3")
    r:tell("hold", "app")
    local text = r:tell("status")
    local at = text:find("\n  ! backend 'app' is held", 1, true)
    assert.is_true(at < text:find("\nWORKER", 1, true))
    assert.is_truthy(text:find("! backend 'app': server " .. a .. " is drained", 1, true))
    assert.is_truthy(text:find("server " .. b .. " has weight 3 at run time", 1, true))
    local kinds = {}
    for _, one in ipairs(r:status().degraded) do
      kinds[one.what] = true
    end
    assert.same({ held = true, draining = true, change = true }, kinds)
    r:tell("resume", "app")
  end)

  it("counts the requests of tenants", function()
    start({ backend = "max_conns = 2, queue_timeout = '120s',",
      on_request = "if req.path ~= '/' then "
      .. "return { backend = 'app', docroot = '/srv/app', tenant = req.path:sub(2) } end" })
    for _ = 1, 3 do
      http.get(r.address, "/shop?body=x")
    end
    http.get(r.address, "/blog?status=404&body=x")
    http.get(r.address, "/shop?status=500&body=x")
    local list
    poll.wait(function()
      list = r:status().tenants
      return #list == 2 and list[1].requests == 4 and list[2].requests == 1
    end, "five requests")
    local function tenant(name, active, queued, requests, client_errors, server_errors)
      return {
        name = name, active = active, queued = queued, requests = requests,
        client_errors = client_errors, server_errors = server_errors,
      }
    end
    assert.same({ tenant("shop", 0, 0, 4, 0, 1), tenant("blog", 0, 0, 1, 1, 0) }, list)
    -- Two of blog's have the servers' places, another one and two of shop's wait.
    local clients = {}
    for i, path in ipairs({ "/blog", "/blog", "/blog", "/shop", "/shop" }) do
      clients[i] = http.open(r.address)
      clients[i]:send({ path = path .. "?body=x&delay=hold" })
      poll.wait(function()
        local sum = 0
        for _, one in ipairs(r:status().tenants) do
          sum = sum + one.active + one.queued
        end
        return sum == i
      end, "a request at a server, or in the queue")
    end
    assert.same({ tenant("blog", 2, 1, 1, 1, 0), tenant("shop", 0, 2, 4, 0, 1) },
      r:status().tenants)
    assert.matches("\nTENANT +ACTIVE +QUEUED +REQUESTS  4XX  5XX\n"
      .. "blog +2 +1 +1 +1 +0\nshop +0 +2 +4 +0 +1\n", r:tell("status"))
    r:release(2)
    r:release(2) -- those that have waited
    r:release(1)
    for _, client in ipairs(clients) do
      assert.equal(200, client:receive().status)
      client:close()
    end
    poll.wait(function()
      list = r:status().tenants
      return list[1].requests + list[2].requests == 10
    end, "all requests")
    assert.same({ tenant("shop", 0, 0, 6, 0, 1), tenant("blog", 0, 0, 4, 1, 0) }, list)
  end)
end)

describe("GET /messages", function()
  it("has the last message of each script, over all workers", function()
    start({})
    for i = 1, 8 do
      http.get(r.address, ("/a.php?body=x&stderr=%d"):format(i))
    end
    http.get(r.address, "/b.php?body=x&stderr=30")
    local list
    poll.wait(function()
      list = messages()
      return #list == 2 and list[1].count + list[2].count == 9
    end, "nine messages")
    table.sort(list, function(x, y) return x.script < y.script end)
    assert.same({ "/srv/app/a.php", 8 }, { list[1].script, list[1].count })
    assert.same({ "/srv/app/b.php", 1 }, { list[2].script, list[2].count })
    assert.is_true(#list[1].text > 0 and list[1].last >= list[1].first)
  end)
end)
