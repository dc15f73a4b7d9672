-- `moongate server`: servers of a backend that are added, removed and weighed while the route
-- serves, over all workers, reloads and the death of a worker.

local http = require("tests.support.http")
local json = require("moongate.base.json")
local poll = require("tests.support.poll")
local process = require("tests.support.process")
local rig = require("tests.support.rig")

local r

local function start(options)
  options = options or {}
  options.control, options.workers, options.dies = true, 2, true
  options.responder = { count = 3 }
  r = rig.start(options)
  finally(function() r:stop() end)
  return unpack(r.back.addresses)
end

local function quoted(addresses, count)
  local list = {}
  for i = 1, count do
    list[i] = ("%q"):format(addresses[i])
  end
  return table.concat(list, ", ")
end

-- The first `count` of the responder's addresses as the servers of the route.
local function first(count)
  return function(addresses)
    return quoted(addresses, count)
  end
end

local function backend(name)
  for _, one in ipairs(r:status().backends) do
    if one.name == (name or "app") then
      return one
    end
  end
end

-- How many requests each server has had so far, by address; one that is not there is nil.
local function counts(name)
  local map = {}
  for _, server in ipairs(backend(name).servers) do
    map[server.address] = server.requests
  end
  return map
end

-- Sends so many requests, each on a connection of its own; returns how many each server has got.
local function spread(number, path, name)
  local before = counts(name)
  for _ = 1, number do
    assert.equal(200, http.get(r.address, path or "/x?body=x").status)
  end
  local after, got = counts(name), {}
  for address, count in pairs(after) do
    got[address] = count - (before[address] or 0)
  end
  return got
end

local function fails(text, ...)
  local result = r:command(...)
  assert.equal(1, result.code)
  assert.matches(text, result.stderr, 1, true)
end

local function kill_workers()
  local old = {}
  for _, worker in ipairs(r:status().workers) do
    old[worker.pid] = true
    process.signal(worker.pid, "KILL")
  end
  poll.wait(function()
    local result, fresh = r:command("status", "--json"), 0
    for _, worker in ipairs(result.code == 0 and json.decode(result.stdout).workers or {}) do
      fresh = fresh + (worker.ready and not old[worker.pid] and 1 or 0)
    end
    return fresh == 2
  end, "two other workers")
end

describe("moongate server weight", function()
  it("holds for all workers, outlives them and reloads, until the script says the same", function()
    local a, b = start({ servers = first(2), backend = "balance = 'round_robin'," })
    local function heavy()
      local got = spread(60)
      assert.is_true(got[a] > 2 * got[b], got[a] .. " and " .. got[b])
    end
    local got = spread(20)
    assert.is_true(got[a] < 2 * got[b], got[a] .. " and " .. got[b])
    r:tell("server", "weight", "app", a, "9")
    heavy()
    assert.equal("weight", backend().servers[1].changed)
    assert.equal(9, backend().servers[1].weight)
    local line = ("\napp +%s +weight 9 +%%d+%%-"):format((a:gsub("%p", "%%%0")))
    assert.matches(line, r:tell("server", "list"))
    kill_workers()
    heavy()
    r.server:reload(r:route())
    heavy()
    r.server:reload(r:route({ servers = function(list)
      return ("{ address = %q, weight = 9 }, %q"):format(list[1], list[2])
    end }))
    poll.wait(function() return #r:status().changes == 0 end, "no change")
    assert.equal("all servers are as the script has them\n", r:tell("server", "list"))
    heavy()
  end)

  it("is dropped by --forget", function()
    local a, b, c = start({ servers = first(2) })
    r:tell("server", "weight", "app", a, "5")
    r:tell("server", "weight", "app", b, "6")
    r:tell("server", "--forget", "app", b)
    assert.equal(1, #r:status().changes)
    assert.same({ 5, 1 }, { backend().servers[1].weight, backend().servers[2].weight })
    r:tell("server", "weight", "app", b, "7")
    r:tell("server", "--forget", "app")
    assert.same({}, r:status().changes)
    assert.equal(1, backend().servers[1].weight)
    fails("has no server '" .. c, "server", "weight", "app", c, "2")
    fails("from 1 to 1000", "server", "weight", "app", a, "0")
    fails("there is no backend 'ap'; did you mean 'app'?", "server", "weight", "ap", a, "2")
  end)
end)

describe("moongate server add and remove", function()
  it("change who gets requests, over all workers, outlive them and reloads", function()
    local a, b, c = start({ servers = first(2), backend = "balance = 'round_robin'," })
    r:tell("server", "add", "app", c, "--weight", "2")
    local function three()
      local got = spread(40)
      assert.is_true(got[a] > 0 and got[b] > 0 and got[c] > 0)
    end
    three()
    r:tell("server", "remove", "app", b)
    local function without_b()
      local got = spread(30)
      assert.is_nil(got[b])
      assert.is_true(got[a] > 0 and got[c] > 0)
    end
    without_b()
    local servers = backend().servers
    assert.same({ nil, "added", 2 }, { servers[1].changed, servers[2].changed, servers[2].weight })
    assert.same({ { address = b, active = 0 } }, backend().removed)
    local text = r:tell("status")
    assert.matches("\n  " .. c:gsub("%p", "%%%0") .. " +up, added +0 ", text)
    assert.matches("\n  " .. b:gsub("%p", "%%%0") .. " +removed\n", text)
    kill_workers()
    without_b()
    r.server:reload(r:route())
    without_b()
    -- The script says the same: both changes are its own.
    r.server:reload(r:route({ servers = function(list)
      return ("%q, %q"):format(list[1], list[3])
    end }))
    poll.wait(function() return #r:status().changes == 0 end, "no change")
    without_b()
    r.server:reload(r:route({ servers = first(3) }))
    three()
  end)

  it("take nothing from requests in flight, and can be taken back", function()
    local a, b = start({ servers = first(2), backend = "balance = 'round_robin'," })
    local clients = {}
    for i = 1, 4 do
      clients[i] = http.open(r.address)
      clients[i]:send({ path = "/held?delay=hold&body=whole" })
    end
    r:wait_started("/held", 4)
    local result = r:command("server", "remove", "app", b, "--wait", "0.2s")
    assert.equal(1, result.code)
    assert.matches("is removed, but %d requests? %l+ still in flight", result.stderr)
    assert.is_nil(spread(10)[b])
    r:release(4)
    for _, client in ipairs(clients) do
      assert.equal("whole", client:receive("GET").body)
      client:close()
    end
    r:tell("server", "add", "app", b)
    assert.same({}, r:status().changes)
    assert.is_true(spread(20)[b] > 0)
    r:tell("server", "remove", "app", b)
    r:tell("server", "--forget")
    assert.is_true(spread(20)[b] > 0)
    assert.is_true(spread(20)[a] > 0)
  end)

  it("refuse what is no server, the last one, and one more than can be kept", function()
    local a, b, c = start({
      servers = first(1),
      backends = function(list) return ("other = { servers = { %q } },"):format(list[2]) end,
    })
    fails("would have no server left", "server", "remove", "app", a)
    fails("has no server '" .. c, "server", "remove", "app", c)
    fails("is a server of backend 'app' already", "server", "add", "app", a)
    fails("is a server of backend 'other'", "server", "add", "app", b)
    fails("only numeric addresses", "server", "add", "app", "php.example:9000")
    fails("expected an address", "server", "add", "app", "nonsense")
    fails("needs an absolute path", "server", "add", "app", "unix:x.sock")
    fails("from 1 to 1000", "server", "add", "app", c, "--weight", "many")
    assert.equal(2, r:command("server", "add", "app").code)
    assert.equal(2, r:command("server", "grow", "app", a).code)
    for i = 1, 64 do
      r:tell("server", "add", "app", "127.0.0.1:" .. i)
    end
    fails("there are 64 changes", "server", "add", "app", "127.0.0.1:65")
    r:tell("server", "weight", "app", "127.0.0.1:64", "3") -- one that is there may change
    r:tell("server", "--forget")
    assert.same({}, r:status().changes)
    assert.equal(1, #backend().servers)
  end)

  it("are heeded by all policies", function()
    local policies = { "round_robin", "least_conn", "random", "p2c", "hash", "ip_hash", "sticky" }
    local a, b, c = start({
      servers = first(3),
      backends = function(list)
        local lines = {}
        for i, policy in ipairs(policies) do
          lines[i] = ("%s = { servers = { %s }, balance = %q },"):format(policy, quoted(list, 3),
            policy)
        end
        return table.concat(lines, "\n")
      end,
      on_request = "local name = req.path:match('^/([%l%d_]+)/') "
        .. "if name then return { backend = name, docroot = '/srv/app' } end",
    })
    for _, policy in ipairs(policies) do
      r:tell("server", "remove", policy, a)
      r:tell("server", "weight", policy, b, "3")
      local got = spread(12, ("/%s/x?body=x"):format(policy), policy)
      assert.is_nil(got[a])
      assert.equal(12, got[b] + got[c], policy)
      r:tell("server", "remove", policy, b)
      assert.same({ [c] = 4 }, spread(4, ("/%s/x?body=x"):format(policy), policy))
    end
  end)
end)
