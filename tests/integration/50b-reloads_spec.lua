-- Many reloads: under full load, in a storm of signals, and so many that a leak would show.
-- SOAK=10000 makes the last one as long as wished.
--
-- Runs alone: it takes all of the machine that it gets.

local http = require("tests.support.http")
local load = require("tests.support.load")
local net = require("tests.support.net")
local poll = require("tests.support.poll")
local process = require("tests.support.process")
local rig = require("tests.support.rig")
local server = require("tests.support.server")

server.inspect()

local ASAN = server.binary():find("asan", 1, true) ~= nil
local MEGABYTE = 1024 * 1024

describe("under full load", function()
  -- What changes with each of the reloads: listeners, workers, backends, limits, hooks.
  local function variant(r, ports, i)
    local listen = { ("%q"):format(r.address) }
    if i % 2 == 1 then
      listen[2] = ("%q"):format(ports[1 + i % 3])
    end
    return r:route({
      settings = ([[listen = { %s }, workers = %d, watch = false,
        limits = { header = "%dk" },
        on_response = function(req, res) res.headers["X-Generation"] = "%d" end]]):format(
        table.concat(listen, ", "), 1 + i % 4, 16 + i % 2, i),
      backends = function(list)
        return i % 3 == 0 and ("extra%d = %q,"):format(i % 2, list[2]) or ""
      end,
      backend = ("keepalive = %d, queue_timeout = '30s'%s"):format(i % 5 == 0 and 4 or 16,
        i % 7 == 0 and ", max_conns = 8" or ""),
    })
  end

  it("100 reloads of all kinds lose no request", function()
    local address = "127.0.0.1:" .. net.free_port()
    local ports = {}
    for i = 1, 3 do
      ports[i] = "127.0.0.1:" .. net.free_port()
    end
    local options = {
      responder = { count = 2 }, backend = "keepalive = 16", workers = false, dies = true,
      servers = function(list) return ("%q"):format(list[1]) end,
      settings = ("listen = %q, workers = 2, watch = false"):format(address),
      server = { own = true, address = address },
    }
    local r = rig.start(options)
    finally(function() r:stop() end)
    local groups = {
      timeout = 20,
      { name = "kept", clients = 24, path = rig.target("body=token=@;") },
      { name = "new", clients = 4, close = true, path = rig.target("body=token=@;") },
      { name = "post", clients = 4, method = "POST", body = 20000, path = rig.target("check") },
      { name = "big", clients = 2, path = rig.target("size=300000"), pattern = 300000 },
    }
    groups.seconds = 2
    local calm = load.run(r.address, groups)
    groups.seconds = nil
    local run = load.start(r.address, groups)
    finally(function() run:abandon() r:stop() end)
    local begun = require("socket").gettime()
    for i = 1, 100 do
      r.server:reload(variant(r, ports, i))
    end
    local took = require("socket").gettime() - begun
    local result = run:stop()
    local requests = 0
    local report = { ("100 reloads in %.1f s; p99 ms without and with them:"):format(took) }
    for _, group in ipairs(groups) do
      local before, after = calm[group.name], result[group.name]
      requests = requests + after.requests
      report[#report + 1] = ("%s %.1f %.1f (%d requests, %d failed)"):format(group.name,
        before.p99 * 1000, after.p99 * 1000, after.requests, after.failed)
    end
    report = table.concat(report, " ")
    for _, group in ipairs(groups) do
      load.assert_all(calm[group.name])
      local ok, problem = pcall(load.assert_all, result[group.name])
      assert.is_true(ok, tostring(problem) .. "\n" .. report)
    end
    assert.is_true(requests > 1000, report)
    io.stderr:write(report, "\n")
    -- Nothing has died on the way, nor been left behind.
    assert.is_nil(r.server:errors():find("another one takes its place", 1, true), r.server:errors())
    poll.wait(function() return #r.server:workers() == 1 end, "1 worker, as the last script says")
  end)
end)

describe("a storm of HUPs", function()
  local function route(word)
    return ([[return { control = false, on_request = function() return { status = 200, body = "%s" }
      end }]]):format(word)
  end

  local function served(s, from)
    return select(2, s:errors():sub(from + 1):gsub("generation %d+ serves", ""))
  end

  it("is a few reloads, the last of which serves the newest script", function()
    local s = server.start({ route = route("one"), workers = 2 })
    finally(function() s:stop() end)
    local run = load.start(s.address, { { clients = 8 } })
    finally(function() run:abandon() s:stop() end)
    local from = s:mark()
    s:rewrite(route("two"))
    for _ = 1, 50 do
      s.process:kill("HUP")
    end
    poll.wait(function() return http.get(s.address, "/").body == "two" end, "the new script")
    for i = 1, 50 do
      s:rewrite(route("word" .. i))
      s.process:kill("HUP")
    end
    poll.wait(function() return http.get(s.address, "/").body == "word50" end, "the newest script")
    -- One more is told from all before it by its answer, and comes behind them.
    s:reload(route("end"))
    poll.wait(function() return http.get(s.address, "/").body == "end" end, "the end")
    local count = served(s, from)
    assert.is_true(count <= 60, ("%d reloads for 101 HUPs"):format(count))
    load.assert_all(run:stop().all)
  end)

  it("through the control listener answers everybody", function()
    local r = rig.start({ control = true, workers = 2 })
    finally(function() r:stop() end)
    local running = {}
    local from = r.server:mark()
    for i = 1, 12 do
      running[i] = process.spawn({
        argv = { server.binary(), "reload", "--control", r.control },
      })
    end
    for i = 1, 12 do
      assert.equal("exit status 0", running[i]:wait(20))
    end
    local count = served(r.server, from)
    assert.is_true(count >= 1 and count <= 12, count .. " reloads for 12 commands")
  end)
end)

describe("a long run", function()
  -- Everything that a generation may own, so that all of it can be forgotten.
  local function text(r, i)
    return r:route({
      before = "local lists = {} for n = 1, 2000 do lists[n] = { n, tostring(n) } end",
      settings = ([[limits = { headers = %d }, on_start = function() end,
        on_stop = function() end, on_response = function(req, res) res.headers.A = #lists end,
        log = { access = false, format = function(req, log) return "x" end }]]):format(100 + i % 2),
      backends = function(list)
        return ("other = { servers = { 'localhost:%d', %q }, health = { ping = '/ping', "
          .. "interval = '1h' } },"):format(1000 + i % 2, list[1])
      end,
    })
  end

  local function memory(r)
    local list = {}
    for i, pid in ipairs({ r.server.process.pid, unpack(r.server:workers()) }) do
      list[i] = process.status(pid, "RssAnon")
    end
    return list
  end

  local function descriptors(r)
    local list = {}
    for i, pid in ipairs({ r.server.process.pid, unpack(r.server:workers()) }) do
      local count = 0
      for _ in pairs(process.descriptors(pid)) do
        count = count + 1
      end
      list[i] = count
    end
    return list
  end

  it("ends with the memory and the descriptors of its first hundred", function()
    local total = tonumber(os.getenv("SOAK") or "") or ASAN and 60 or 300
    -- The master keeps the files of 32 generations, a descriptor each.
    local first = math.min(100, math.max(40, math.floor(total / 3)))
    local r = rig.start({ control = true, workers = 2, backend = "keepalive = 4",
      responder = { args = { "--page", "/ping=/dev/null" } } })
    finally(function() r:stop() end)
    local kept = http.open(r.address)
    local early, early_fds
    local function some_requests(word)
      for _ = 1, 5 do
        assert.equal(200, r:get("body=x").status)
        assert.equal(word, kept:request({ path = rig.target("body=" .. word) }).body)
      end
    end
    local function rest()
      some_requests("rest")
      poll.wait(function() return r:status().generations == 1 end, "one generation")
    end
    for i = 1, total do
      r.server:reload(text(r, i))
      if i % 10 == 0 then
        some_requests("w" .. i)
      end
      if i == first then
        rest()
        early, early_fds = memory(r), descriptors(r)
      end
    end
    rest()
    kept:close()
    local late, late_fds = memory(r), descriptors(r)
    local said = {}
    for i, before in ipairs(early) do
      said[i] = ("%s: %.2f MB after %d, %.2f MB after %d"):format(
        i == 1 and "master" or "worker " .. i - 1, before / MEGABYTE, first, late[i] / MEGABYTE,
        total)
    end
    said = table.concat(said, "; ")
    io.stderr:write(said, "\n")
    for i, before in ipairs(early_fds) do
      assert.is_true(late_fds[i] <= before + 2, ("process %d: %d descriptors, then %d"):format(i,
        before, late_fds[i]))
    end
    for i, before in ipairs(early) do
      -- What malloc and LuaJIT keep varies; a leak of 10 KB a reload would be 2 MB after 200.
      assert.is_true(ASAN or late[i] <= before + 1.5 * MEGABYTE, said)
    end
    assert.equal(3, #process.children(r.server.process.pid) + 1, "processes")
  end)
end)
