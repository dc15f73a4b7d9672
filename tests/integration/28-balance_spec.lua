-- Which server a request goes to: the policies, weights, backups, on_balance, a cookie, a hash. The
-- responder tells which of its addresses was asked.

local http = require("tests.support.http")
local load = require("tests.support.load")
local net = require("tests.support.net")
local poll = require("tests.support.poll")
local responder = require("tests.support.responder")
local rig = require("tests.support.rig")

-- The number of the address that answers.
local function who(r, commands, request)
  return tonumber(r:get("who&" .. (commands or ""), request).headers["x-listener"])
end

-- How often each address answers, one request after another.
local function shares(r, count, commands, request)
  local list = {}
  for _ = 1, count do
    local number = who(r, commands, request)
    list[number] = (list[number] or 0) + 1
  end
  return list
end

-- The text of a route's servers, with more keys for some of them.
local function servers(keys)
  return function(addresses)
    local list = {}
    for i, address in ipairs(addresses) do
      list[i] = ("{ address = %q, %s }"):format(address, keys[i] or "")
    end
    return table.concat(list, ", ")
  end
end

local function size_of(set)
  local count = 0
  for _ in pairs(set) do
    count = count + 1
  end
  return count
end

-- Adds so many clients that wait for ever, one after another, to the list.
local function open_hanging(r, clients, count)
  for _ = 1, count do
    local client = http.open(r.address)
    clients[#clients + 1] = client
    client:send({ path = rig.target("fail=hang&Hanging") })
    r:wait_started("Hanging", #clients)
  end
end

-- By a reset: after an orderly close the server would still wait for an answer.
local function close_all(clients)
  for _, client in ipairs(clients) do
    client.conn:reset()
  end
end

-- The address of each hanging request.
local function hanging_at(r)
  local list = {}
  for _, event in ipairs(r:events("START")) do
    if event.uri:find("Hanging") then
      list[#list + 1] = tonumber(event.listener)
    end
  end
  table.sort(list)
  return list
end

describe("round_robin", function()
  it("goes by weight, evenly spread", function()
    local r = rig.start({
      responder = { count = 3 }, backend = [[balance = "round_robin"]],
      servers = servers({ "weight = 5" }),
    })
    finally(function() r:stop() end)
    for round = 1, 3 do
      local longest, run = 0, 0
      local list = {}
      for _ = 1, 7 do
        local number = who(r)
        list[number] = (list[number] or 0) + 1
        run = number == 1 and run + 1 or 0
        longest = math.max(longest, run)
      end
      assert.same({ 5, 1, 1 }, list, "round " .. round)
      assert.is_true(longest <= 4, "in a row: " .. longest) -- not 1111123
    end
  end)

  it("of 0 weight is a server that nobody is sent to, or a refused setting", function()
    local ok, r = pcall(rig.start, {
      responder = { count = 2 }, servers = servers({ "weight = 0" }),
    })
    if not ok then
      assert.is_truthy(tostring(r):find("weight", 1, true), r)
      return
    end
    finally(function() r:stop() end)
    assert.same({ [2] = 10 }, shares(r, 10))
  end)
end)

-- So many that the policies don't look at each of them.
describe("eighty servers", function()
  local COUNT = 80
  local r
  local POLICIES = { "round_robin", "random", "p2c", "least_conn", "hash", "ip_hash" }

  local function list_of(addresses, keys)
    local list = {}
    for i, address in ipairs(addresses) do
      list[i] = ("{ address = %q, %s }"):format(address, keys and keys(i) or "")
    end
    return table.concat(list, ", ")
  end

  -- Each policy has a backend; `in_lua` is `hash` as a function, which sees the list of all.
  setup(function()
    r = rig.start({
      responder = { count = COUNT },
      backends = function(addresses)
        local list = {}
        for _, policy in ipairs(POLICIES) do
          list[#list + 1] = ("%s = { servers = { %s }, balance = %q }"):format(policy,
            list_of(addresses), policy)
        end
        list[#list + 1] = ([[weighed = { servers = { %s }, balance = "round_robin" }]]):format(
          list_of(addresses, function(i) return i == 7 and "weight = 20" or "" end))
        list[#list + 1] = ([[drawn = { servers = { %s }, balance = "random" }]]):format(
          list_of(addresses, function(i) return i == 7 and "weight = 80" or "" end))
        list[#list + 1] = ([[narrow = { servers = { %s }, max_conns = 1 }]]):format(
          list_of(addresses))
        list[#list + 1] = ([[spare = { servers = { %s } }]]):format(
          list_of(addresses, function(i) return i > 3 and "backup = true" or "" end))
        list[#list + 1] = ([[in_lua = { servers = { %s }, balance = (function()
          local pick = require("moongate.balance.hash").picker()
          return function(req, servers) return pick(req.hash_key, servers) end
        end)() }]]):format(list_of(addresses))
        return table.concat(list, ", ")
      end,
      on_request = [[
        if req.args.b then
          return { backend = req.args.b, docroot = "/srv/app", hash_key = req.args.k }
        end
      ]],
    })
  end)

  teardown(function() r:stop() end)

  for _, backend in ipairs({ "round_robin", "least_conn" }) do
    it(("have a turn each (%s)"):format(backend), function()
      for round = 1, 2 do
        assert.equal(COUNT, size_of(shares(r, COUNT, "b=" .. backend)), "round " .. round)
      end
    end)
  end

  it("have turns by their weights, evenly spread", function()
    local list = {}
    for i = 1, 198 do
      list[i] = who(r, "b=weighed")
    end
    local seventh, last = 0, nil
    for i, number in ipairs(list) do
      if number == 7 then
        seventh = seventh + 1
        assert.is_true(not last or i - last > 1, "two in a row")
        last = i
      end
    end
    assert.equal(40, seventh) -- 20 of 99, twice
    assert.equal(COUNT, size_of(shares(r, 99, "b=weighed")))
  end)

  for _, backend in ipairs({ "random", "p2c", "drawn" }) do
    it(("are drawn (%s)"):format(backend), function()
      local list = shares(r, 600, "b=" .. backend)
      assert.is_true(size_of(list) > COUNT * 0.9, size_of(list)) -- p2c and random: 79.9
      if backend == "drawn" then -- 302 are expected, and 12 is the deviation
        assert.is_true(list[7] > 230 and list[7] < 370, list[7])
      end
    end)
  end

  it("have keys each, which stay", function()
    local first, seen = {}, {}
    for i = 1, 400 do
      first[i] = who(r, "b=hash&k=user" .. i)
      seen[first[i]] = true
    end
    assert.is_true(size_of(seen) > COUNT * 0.9) -- 79.5 are expected
    for i = 1, 100 do
      assert.equal(first[i], who(r, "b=hash&k=user" .. i))
      assert.equal(first[i], who(r, "b=in_lua&k=user" .. i), "as a list of all says")
    end
    assert.equal(1, size_of(shares(r, 20, "b=ip_hash")))
  end)

  it("that are all busy have no turn", function()
    local clients = {}
    finally(function() close_all(clients) end)
    for i = 1, COUNT - 1 do
      local client = http.open(r.address)
      clients[i] = client
      client:send({ path = rig.target("b=narrow&fail=hang&Hanging") })
      r:wait_started("Hanging", i)
    end
    local taken = {}
    for _, number in ipairs(hanging_at(r)) do
      assert.is_nil(taken[number])
      taken[number] = true
    end
    local free = shares(r, 5, "b=narrow")
    assert.equal(1, size_of(free))
    assert.is_nil(taken[next(free)])
  end)

  it("that are backups have none while others are there", function()
    assert.same({ 20, 20, 20 }, shares(r, 60, "b=spare"))
  end)
end)

describe("least_conn", function()
  for _, workers in ipairs({ 1, 2 }) do
    it(("knows what all workers have in use (%d workers)"):format(workers), function()
      local r = rig.start({
        responder = { count = 3 }, workers = workers, backend = [[balance = "least_conn"]],
      })
      local clients = {}
      finally(function()
        close_all(clients)
        r:stop()
      end)
      open_hanging(r, clients, 3)
      assert.same({ 1, 2, 3 }, hanging_at(r))
      open_hanging(r, clients, 2)
      local busy = {}
      for _, number in ipairs(hanging_at(r)) do
        busy[number] = (busy[number] or 0) + 1
      end
      local free = busy[1] == 1 and 1 or busy[2] == 1 and 2 or 3
      assert.same({ [free] = 12 }, shares(r, 12))
    end)
  end

  it("goes by weight", function()
    local r = rig.start({
      responder = { count = 2 }, backend = [[balance = "least_conn"]],
      servers = servers({ "weight = 3" }),
    })
    local clients = {}
    finally(function()
      close_all(clients)
      r:stop()
    end)
    open_hanging(r, clients, 8)
    assert.same({ 1, 1, 1, 1, 1, 1, 2, 2 }, hanging_at(r))
  end)
end)

describe("random", function()
  it("is even in the long run, and in no fixed order", function()
    local r = rig.start({ responder = { count = 3 }, backend = [[balance = "random"]] })
    finally(function() r:stop() end)
    local result = load.run(r.address, {
      { clients = 4, requests = 900, path = rig.target("") },
    })
    load.assert_all(result.all)
    local list = r:shares()
    for i = 1, 3 do -- 300 is expected, with a deviation of 14
      assert.is_true(list[i] > 230 and list[i] < 370, table.concat(list, " "))
    end
    local order = {}
    for i = 1, 30 do
      order[i] = who(r)
    end
    assert.is_nil(table.concat(order):match("^" .. ("123"):rep(5)))
  end)
end)

describe("p2c", function()
  it("prefers those that answer soon", function()
    local r = rig.start({ responder = { count = 3 }, backend = [[balance = "p2c"]] })
    finally(function() r:stop() end)
    local result = load.run(r.address, {
      seconds = 2.5, { clients = 6, path = rig.target("1.delay=500&2.delay=3&3.delay=3") },
    })
    load.assert_all(result.all)
    local list = r:shares()
    local all = list[1] + list[2] + list[3]
    assert.is_true(list[1] < all * 0.2, table.concat(list, " "))
    assert.is_true(list[2] > all * 0.2 and list[3] > all * 0.2, table.concat(list, " "))
  end)
end)

describe("hash", function()
  local BY_KEY = [[
    do return { backend = "app", docroot = "/srv/app", hash_key = req.args.k } end
  ]]

  -- key -> address. The hash is of the addresses, too, which are others in each run: of so many
  -- keys a server has 60, with a deviation of 6.
  local function places(r)
    local list = {}
    for i = 1, 180 do
      list[i] = who(r, "k=user" .. i)
    end
    return list
  end

  local function counts(list)
    local found = {}
    for _, number in pairs(list) do
      found[number] = (found[number] or 0) + 1
    end
    return found
  end

  it("sends a key to the same server, in every worker and after a restart", function()
    local options = {
      responder = { count = 3 }, workers = 2, backend = [[balance = "hash"]],
      on_request = BY_KEY,
    }
    local r = rig.start(options)
    finally(function() r:stop() end)
    local first = places(r)
    assert.same(first, places(r))
    for i = 1, 3 do
      local count = counts(first)[i] or 0
      assert.is_true(count >= 24, "of 180: " .. count)
    end
    local again = rig.start({
      responder = false, servers = r.back.addresses, backend = options.backend,
      on_request = BY_KEY,
    })
    finally(function()
      again:stop()
      r:stop()
    end)
    assert.same(first, places(again))
  end)

  it("moves only the keys of a server that is gone, and takes them back", function()
    local r = rig.start({
      responder = { count = 3 }, control = true, backend = [[balance = "hash"]],
      on_request = BY_KEY,
    })
    finally(function() r:stop() end)
    local first = places(r)
    r:tell("drain", "app", r.back.addresses[2])
    local moved = { [1] = 0, [3] = 0 }
    for i, number in ipairs(places(r)) do
      if first[i] == 2 then
        moved[number] = moved[number] + 1
      else
        assert.equal(first[i], number, "key " .. i)
      end
    end
    assert.is_true(moved[1] > 0 and moved[3] > 0, "all went to one server")
    r:tell("undrain", "app", r.back.addresses[2])
    assert.same(first, places(r))
  end)

  it("without a key goes on working", function()
    local r = rig.start({ responder = { count = 2 }, backend = [[balance = "hash"]] })
    finally(function() r:stop() end)
    for _ = 1, 5 do
      assert.is_truthy(who(r))
    end
  end)
end)

describe("ip_hash", function()
  it("sends an address to the same server", function()
    local r = rig.start({ responder = { count = 3 }, backend = [[balance = "ip_hash"]] })
    finally(function() r:stop() end)
    local function from(address)
      local client = http.open(r.address, { from = address })
      local res = client:request({ path = rig.target("who") })
      client:close()
      return tonumber(res.headers["x-listener"])
    end
    local seen = {}
    for i = 1, 20 do
      local address = ("127.0.%d.%d"):format(i, 7 * i)
      local number = from(address)
      assert.equal(number, from(address))
      seen[number] = true
    end
    assert.is_true(size_of(seen) >= 2, "20 addresses went to one server")
  end)
end)

describe("sticky", function()
  local r

  setup(function()
    r = rig.start({
      responder = { count = 3 }, control = true, workers = 2, backend = [[balance = "sticky"]],
    })
  end)

  teardown(function() r:stop() end)

  local function visit(cookie)
    local res = r:get("who", { headers = cookie and { Cookie = cookie } or nil })
    assert.equal(200, res.status)
    return tonumber(res.headers["x-listener"]), res.headers["set-cookie"]
  end

  it("keeps a browser where it was", function()
    local seen = {}
    for _ = 1, 6 do
      local number, set = visit()
      seen[number] = true
      assert.is_truthy(set, "no cookie")
      assert.is_truthy(set:find("HttpOnly", 1, true) and set:find("Path=/", 1, true), set)
      local cookie = set:match("^[^;]+")
      for _ = 1, 4 do
        local again, next_set = visit("theme=dark; " .. cookie)
        assert.equal(number, again)
        assert.is_nil(next_set)
      end
    end
    assert.is_true(size_of(seen) >= 2, "all browsers are at one server")
  end)

  it("does not tell where that is", function()
    local _, set = visit()
    for _, address in ipairs(r.back.addresses) do
      assert.is_nil(set:find(address:match("[^/:]+$"), 1, true), set)
    end
  end)

  it("gives a new place to a browser whose server takes nothing new", function()
    local number, set = visit()
    local cookie = set:match("^[^;]+")
    r:tell("drain", "app", r.back.addresses[number])
    local other, new = visit(cookie)
    assert.is_true(other ~= number)
    assert.equal(other, (visit(new:match("^[^;]+"))))
    r:tell("undrain", "app", r.back.addresses[number])
  end)

  it("does not mind what a client makes of the cookie", function()
    local _, set = visit()
    local name = set:match("^[^=]+")
    for _, value in ipairs({ "", "x", "0", "-1", "99999999999999999999", ("z"):rep(3000),
      "%00%0d%0a", '"a"', "../../x" }) do
      local number, new = visit(name .. "=" .. value)
      assert.is_truthy(number)
      assert.is_truthy(new, value)
    end
  end)
end)

describe("sticky, where one server does not answer", function()
  it("gives each browser the cookie of the server that did", function()
    local dead = "127.0.0.1:" .. net.free_port()
    local r = rig.start({
      backend = 'balance = "sticky", max_fails = 0',
      servers = function(addresses)
        return ("%q, %q, %q"):format(dead, addresses[1], addresses[2])
      end,
      responder = { count = 2 },
    })
    finally(function() r:stop() end)
    local of_cookie = {}
    for _ = 1, 12 do
      local res = r:get("who")
      local cookie = assert(res.headers["set-cookie"], "no cookie"):match("^[^;]+")
      of_cookie[cookie] = of_cookie[cookie] or res.headers["x-listener"]
      assert.equal(of_cookie[cookie], res.headers["x-listener"])
    end
    assert.equal(2, size_of(of_cookie))
  end)

  it("gives a cookie also where only one is left", function()
    local dead = "127.0.0.1:" .. net.free_port()
    local r = rig.start({
      backend = 'balance = "sticky", max_fails = 1, fail_timeout = "60s"',
      servers = function(addresses) return ("%q, %q"):format(dead, addresses[1]) end,
    })
    finally(function() r:stop() end)
    local cookie
    for _ = 1, 5 do
      local set = assert(r:get("who").headers["set-cookie"], "no cookie")
      cookie = cookie or set
      assert.equal(cookie, set)
    end
  end)
end)

describe("a policy", function()
  for _, policy in ipairs({ "round_robin", "least_conn", "random", "p2c", "hash", "ip_hash" }) do
    it("can choose from one that is left: " .. policy, function()
      local dead = "127.0.0.1:" .. net.free_port()
      local r = rig.start({
        backend = ("balance = %q, max_fails = 1, fail_timeout = '60s'"):format(policy),
        servers = function(addresses) return ("%q, %q"):format(dead, addresses[1]) end,
      })
      finally(function() r:stop() end)
      for _ = 1, 6 do
        assert.equal(200, r:get("who").status)
      end
    end)
  end
end)

describe("a backup", function()
  it("is asked when no other is left, and not before", function()
    local main = responder.start()
    local r = rig.start({
      servers = function(addresses)
        return ("%q, { address = %q, backup = true }"):format(main.address, addresses[1])
      end,
      backend = [[max_fails = 1, fail_timeout = "300ms"]],
    })
    finally(function()
      r:stop()
      main:stop()
    end)
    for _ = 1, 6 do
      assert.equal(200, r:get("").status)
    end
    assert.equal(0, #r:events("REQUEST"))
    main:stop()
    for _ = 1, 4 do
      assert.equal(200, r:get("").status)
    end
    assert.equal(4, #r:events("REQUEST"))
    main = responder.start({ addresses = main.addresses })
    poll.wait(function()
      local before = #r:events("REQUEST")
      return r:get("").status == 200 and #r:events("REQUEST") == before
    end, "the first one to be asked again")
  end)
end)

describe("slow_start", function()
  it("gives a server that is back its share by and by", function()
    local other = responder.start()
    local r = rig.start({
      servers = function(addresses)
        return ("%q, %q"):format(addresses[1], other.address)
      end,
      backend = [[max_fails = 1, fail_timeout = "200ms", slow_start = "8s"]],
    })
    finally(function()
      r:stop()
      other:stop()
    end)
    -- Of so many requests, those that the other one had.
    local function share(count)
      local before = #r:events("REQUEST")
      for _ = 1, count do
        assert.equal(200, r:get("").status)
      end
      return (count - (#r:events("REQUEST") - before)) / count
    end
    assert.is_true(math.abs(share(20) - 0.5) < 0.11)
    other:stop()
    assert.equal(0, share(10))
    other = responder.start({ addresses = other.addresses })
    poll.wait(function()
      return share(1) == 1
    end, "its probe")
    local first = share(30)
    assert.is_true(first < 0.35, "at once: " .. first)
    poll.wait(function()
      return share(20) >= 0.45
    end, "its whole share", 5)
  end)
end)

describe("a policy of one's own", function()
  local CASES = [[
    local function choose(req, servers, attempt)
      local how = req.args.How
      if how == "last" then return servers[#servers]
      elseif how == "none" then return nil
      elseif how == "raise" then error("no choice today")
      elseif how == "text" then return "unix:/somewhere"
      elseif how == "table" then return { address = servers[1].address }
      elseif how == "attempt" then return servers[attempt] or servers[1]
      elseif how == "look" then
        local parts = {}
        for _, s in ipairs(servers) do
          for _, key in ipairs({ "active", "queued", "requests", "fails", "latency", "weight" }) do
            assert(type(s[key]) == "number", key)
          end
          for _, key in ipairs({ "up", "backup", "draining" }) do
            assert(type(s[key]) == "boolean", key)
          end
          parts[#parts + 1] = s.requests
        end
        req.ctx.seen = table.concat(parts, " ")
        return servers[1]
      end
      return servers[2]
    end
  ]]

  for name, keys in pairs({
    balance = { backend = "balance = choose" },
    on_balance = { settings = "on_balance = choose" },
  }) do
    describe("as " .. name, function()
      local r

      setup(function()
        r = rig.start({
          responder = { count = 3 }, before = CASES, backend = keys.backend,
          settings = (keys.settings and keys.settings .. ", " or "") .. [[
            on_log = function(req) return "seen " .. tostring(req.ctx.seen) end]],
        })
      end)

      teardown(function() r:stop() end)

      it("decides", function()
        assert.same({ [2] = 6 }, shares(r, 6))
        assert.same({ [3] = 6 }, shares(r, 6, "How=last"))
      end)

      it("may leave it to the usual", function()
        local list = shares(r, 9, "How=none")
        if name == "on_balance" then
          assert.same({ 3, 3, 3 }, list)
        else
          assert.same({ [1] = 9 }, list)
        end
      end)

      for _, how in ipairs({ "raise", "text", "table" }) do
        it("that fails is 500, with its place in the log: " .. how, function()
          local mark = r.server:mark()
          assert.equal(500, r:get("How=" .. how).status)
          r.server:wait_log("route%.lua:%d+", 3, mark)
          assert.equal(200, r:get("").status)
        end)
      end

      it("is asked again for the next attempt, without the server that was tried", function()
        -- Two are left then: `servers[attempt]` is the last of them.
        local res = r:get("who&How=attempt&1.fail=close-before-head")
        assert.equal(200, res.status)
        assert.equal("3", res.headers["x-listener"])
      end)

      it("sees what there is to know about each", function()
        assert.equal(1, who(r, "How=look"))
        local line = r.server:wait_access("^seen %d+ %d+ %d+")
        assert.is_truthy(line)
      end)
    end)
  end

  it("is not asked where there is one server", function()
    local r = rig.start({
      settings = [[on_balance = function() error("nobody should ask") end]],
    })
    finally(function() r:stop() end)
    assert.equal(200, r:get("").status)
  end)
end)

describe("a decision's server", function()
  it("wins over every policy, and is not replaced by another", function()
    local r = rig.start({
      responder = { count = 2 }, backend = [[balance = "least_conn"]],
      settings = [[on_balance = function() error("nobody should ask") end]],
      on_request = [[
        do return { backend = "app", docroot = "/srv/app", server = req.args.s } end
      ]],
    })
    finally(function() r:stop() end)
    local second = http.escape(r.back.addresses[2])
    assert.same({ [2] = 5 }, shares(r, 5, "s=" .. second))
    assert.equal(502, r:get("2.fail=close-before-head&s=" .. second).status)
    assert.is_nil(r:shares()[1])
  end)
end)
