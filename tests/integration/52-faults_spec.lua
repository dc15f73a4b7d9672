-- What runs out, under load: descriptors, memory, disks. Some requests may be refused, each of them
-- properly; nothing hangs, nothing is mixed up, and all is well when there is room again.

local http = require("tests.support.http")
local load = require("tests.support.load")
local net = require("tests.support.net")
local poll = require("tests.support.poll")
local process = require("tests.support.process")
local rig = require("tests.support.rig")
local server = require("tests.support.server")
local stage = require("tests.support.stage")

server.inspect()

local MEGABYTE = 1024 * 1024
local FOREVER = 2 ^ 53

-- Limits of a process may be changed by its own user only.
local SAME_USER = process.is_root() and { "--user", "root" } or {}

local function descriptor_limit(pid, spare)
  local most = 0
  for fd in pairs(process.descriptors(pid)) do
    most = math.max(most, fd)
  end
  return most + 1 + spare
end

describe("out of descriptors", function()
  it("a file is not taken for one that is not there", function()
    local root = stage.files({ ["a.txt"] = "a", ["index.html"] = "index" })
    local s = server.start({ args = SAME_USER, route = ([[
      local site = require("moongate.php").site { root = %q, backend = "down" }
      return { control = false, backends = { down = "unix:/nonexistent/x.sock" },
        on_request = function(req)
          return req.query == "site" and site(req) or { root = %q }
        end }]]):format(root, root) })
    finally(function() s:stop() end)
    local worker = s:workers()[1]
    for path, body in pairs({ ["/a.txt?site"] = "a", ["/a.txt"] = "a", ["/"] = "index" }) do
      local client = http.open(s.address)
      assert.equal(body, client:request({ path = path }).body)
      local before = process.limit(worker, "NOFILE", descriptor_limit(worker, 0))
      local status = client:request({ path = path }).status
      process.limit(worker, "NOFILE", before)
      client:close()
      assert.equal(500, status, path)
      assert.equal(body, http.get(s.address, path).body)
    end
  end)

  it("clients wait, and requests without a connection to the backend are 503", function()
    local r = rig.start({ backend = "attempts = 1", args = SAME_USER })
    local kept = load.start(r.address, {
      { name = "kept", clients = 8, path = rig.target("delay=1&body=token=@;") },
    })
    finally(function() kept:abandon() r:stop() end)
    poll.wait(function() return #r:events("REQUEST") > 200 end, "200 requests")
    local pid = r.workers[1]
    local before = process.limit(pid, "NOFILE", descriptor_limit(pid, 0))
    local crowd = load.start(r.address, {
      timeout = 20,
      { name = "crowd", clients = 30, close = true, path = rig.target("delay=1&body=token=@;") },
    })
    finally(function() kept:abandon() crowd:abandon() r:stop() end)
    r.server:wait_log("waiting for free descriptors")
    local seen = #r:events("REQUEST")
    poll.try(function() return #r:events("REQUEST") > seen + 300 end, 2)
    local meanwhile = #r:events("REQUEST") - seen
    process.limit(pid, "NOFILE", before)
    seen = #r:events("REQUEST")
    poll.wait(function() return #r:events("REQUEST") > seen + 500 end, "500 more requests")
    local old, new = kept:stop().kept, crowd:stop().crowd
    local said = ("%d requests reached the backend meanwhile; %s; %s"):format(meanwhile, old.text,
      new.text)
    assert.equal(0, old.failed, said)
    assert.equal(0, new.failed, said)
    assert.equal(old.requests, old[200] + old[503], said)
    assert.equal(new.requests, new[200] + new[503], said)
    assert.is_true(new[200] > 0 and old[200] > old[503], said)
    load.assert_all(load.run(r.address, { { clients = 20, requests = 400,
      path = rig.target("body=token=@;") } }).all)
  end)

  it("a reload fails or works, and serves on", function()
    local s = server.start({ workers = 2, args = SAME_USER, route = [[return { control = false,
      on_request = function() return { status = 200, body = "hello" } end }]] })
    local run = load.start(s.address, { { clients = 8 } })
    finally(function() run:abandon() s:stop() end)
    local limits = {}
    for i, pid in ipairs(s:workers()) do
      limits[i] = { pid, process.limit(pid, "NOFILE", descriptor_limit(pid, 0)) }
    end
    local outcomes = {}
    for i = 1, 3 do
      local from = s:mark()
      s.process:kill("HUP")
      outcomes[i] = tostring((s:wait_reloaded(from)))
    end
    for _, limit in ipairs(limits) do
      process.limit(limit[1], "NOFILE", limit[2])
    end
    assert.equal(limits[1][1], s:workers()[1], "a worker died; reloads: " .. table.concat(outcomes,
      " "))
    s:reload()
    poll.wait(function() return http.get(s.address, "/").body == "hello" end, "an answer")
    load.assert_all(run:stop().all)
  end)

  it("a worker that can't have all its listeners keeps those that it has", function()
    local all = {}
    for i = 1, 3 do
      all[i] = "127.0.0.1:" .. net.free_port()
    end
    local s = server.start({ own = true, address = all[1], args = SAME_USER, route = ([[return {
      control = false, watch = false, workers = 2, listen = { "%s" },
      on_request = function() return { status = 200, body = "hello" } end,
    }]]):format(table.concat(all, '", "')) })
    finally(function() s:stop() end)
    local worker, told = s:workers()[1], 0
    for spare = 1, 7 do
      local before = process.limit(worker, "NOFILE", descriptor_limit(worker, spare))
      local from = s:mark()
      s.process:kill("HUP")
      local generation = s:wait_reloaded(from)
      process.limit(worker, "NOFILE", before)
      if s:errors():find("no file descriptors left for the listening sockets", from, true) then
        told = told + 1
        assert.is_nil(generation)
      end
      for _, address in ipairs(all) do
        assert.equal("hello", http.get(address, "/").body, spare .. " descriptors to spare")
      end
      assert.equal(worker, s:workers()[1])
    end
    assert.is_true(told > 0, "there were always enough")
    assert.truthy(s:reload())
  end)

  it("the master closes what it has opened of listeners that can't be had", function()
    local route = [[return { control = false, watch = false, workers = %d, listen = %q,
      on_request = function() return { status = 200, body = "hello" } end }]]
    local address = "127.0.0.1:" .. net.free_port()
    local s = server.start({ own = true, address = address, route = route:format(1, address) })
    finally(function() s:stop() end)
    local function sockets()
      local count = 0
      for _, what in pairs(process.descriptors(s.process.pid)) do
        count = count + (what:find("^socket:") and 1 or 0)
      end
      return count
    end
    local before, master = sockets(), s.process.pid
    local limit = process.limit(master, "NOFILE", descriptor_limit(master, 8))
    local said = s:reload_fails(route:format(16, address))
    process.limit(master, "NOFILE", limit)
    assert.truthy(said:find("Too many open files", 1, true), said)
    assert.equal(before, sockets())
    s:reload(route:format(1, address))
    for _ = 1, 30 do
      assert.equal("hello", http.get(address, "/").body)
    end
  end)
end)

describe("out of memory for Lua", function()
  it("costs one request, or its worker, and nobody else", function()
    local r = rig.start({
      workers = 2, dies = true, backend = "keepalive = 8", args = SAME_USER,
      settings = "script_timeout = 5",
      on_request = [[if req.args.Huge then
        local t = {} for i = 1, 1e9 do t[i] = ("x"):rep(4000) .. i end end]],
    })
    local run = load.start(r.address, { { clients = 16, path = rig.target("body=token=@;") } })
    finally(function() run:abandon() r:stop() end)
    poll.wait(function() return #r:events("REQUEST") > 500 end, "500 requests")
    for _, pid in ipairs(r.workers) do
      process.limit(pid, "AS", process.status(pid, "VmSize") + 64 * MEGABYTE)
    end
    local ok, res = pcall(r.get, r, "body=x&Huge=1")
    local ends = ok and res.status or "cut"
    assert.is_true(ends == 500 or ends == "cut", tostring(ends))
    poll.wait(function() return #r.server:workers() == 2 end, "two workers", 10)
    local died = 0
    for _, pid in ipairs(r.workers) do
      died = died + (process.gone(pid) and 1 or 0)
    end
    for _, pid in ipairs(r.server:workers()) do
      process.limit(pid, "AS", FOREVER)
    end
    local before = #r:events("REQUEST")
    poll.wait(function() return #r:events("REQUEST") > before + 500 end, "500 more requests", 20)
    local result = run:stop().all
    local said = ("out of memory: %s; %d workers died; %s; %s"):format(ends, died, result.text,
      r.server:errors():sub(-600))
    if died == 0 then
      r.server:wait_log("not enough memory")
      assert.equal(0, result.failed, said)
    end
    assert.is_true(result.failed <= 16 * died, said)
    assert.equal(result.requests, result[200], said)
  end)

  it("a script that keeps something of each request is seen in status, a reload ends it", function()
    local leak = { control = true, workers = 1, before = "local keep = {}",
      on_request = [[keep[#keep + 1] = ("%d"):format(req.id:byte(1)):rep(5000) .. #keep]] }
    local r = rig.start(leak)
    finally(function() r:stop() end)
    -- It shows what it has once a second.
    local function lua_memory(least, most)
      return poll.wait(function()
        r:get("body=x")
        local bytes = r:status().workers[1].lua_memory
        return bytes >= least and bytes <= most and bytes
      end, ("lua_memory between %d and %d"):format(least, most), 5)
    end
    local early = lua_memory(1, 4 * MEGABYTE)
    load.assert_all(load.run(r.address, { { clients = 8, requests = 1500,
      path = rig.target("body=token=@;") } }).all)
    local late = lua_memory(early + 12 * MEGABYTE, FOREVER)
    assert.truthy(r:tell("status"):find("%d%d%.%dM"), "the table of status")
    r.server:reload(r:route({ on_request = "", before = "" }))
    local after = lua_memory(1, 4 * MEGABYTE)
    assert.is_true(after < late, ("%d, %d, then %d bytes"):format(early, late, after))
  end)
end)

describe("a full disk", function()
  it("for logs costs no request", function()
    local r = rig.start({ workers = 2,
      settings = "log = { access = '/dev/full', error = '/dev/full' }" })
    finally(function() r:stop() end)
    local result = load.run(r.address, {
      { name = "good", clients = 8, requests = 2000, path = rig.target("body=token=@;") },
      { name = "bad", clients = 2, requests = 200, path = rig.target("stderr=PHP%20Notice:%20x") },
      { name = "none", clients = 2, requests = 200, path = rig.target("fail=close-before-head") },
    })
    load.assert_all(result.good)
    load.assert_all(result.bad)
    load.assert_all(result.none, 502)
    -- A HUP can't be watched in this log: a changed answer can.
    r.server:rewrite(r:route({ on_request = "if true then return { status = 204 } end" }))
    r.server.process:kill("HUP")
    poll.wait(function() return r:get("body=x").status == 204 end, "the reload")
  end)

  it("for logs, when there is room again, lets lines through", function()
    local dir = process.tempdir("logs")
    local r = rig.start({ args = SAME_USER,
      settings = ("log = { access = '%s/access' }"):format(dir) })
    finally(function() r:stop() end)
    local path = dir .. "/access"
    local function size() return #(process.read_file(path) or "") end
    load.assert_all(load.run(r.address, { { clients = 4, requests = 500,
      path = rig.target("body=x") } }).all)
    poll.wait(function() return size() > 10000 end, "lines")
    local pid = r.workers[1]
    process.limit(pid, "FSIZE", size() + 100)
    load.assert_all(load.run(r.address, { { clients = 4, requests = 2000,
      path = rig.target("body=x") } }).all)
    local full = size()
    process.limit(pid, "FSIZE", FOREVER)
    load.assert_all(load.run(r.address, { { clients = 4, requests = 500,
      path = rig.target("body=late") } }).all)
    poll.wait(function() return size() > full + 10000 end, "lines again")
    local text
    poll.try(function()
      text = process.read_file(path)
      return select(2, text:gsub("body=late", "")) >= 500
    end, poll.PATIENCE)
    local lines = select(2, text:gsub("body=late", ""))
    assert.equal(500, lines, ("%d lines of the 500 requests after it"):format(lines))
    assert.equal("\n", text:sub(-1))
  end)

  it("for spools costs only the requests that need one", function()
    local r = rig.start({ args = SAME_USER,
      settings = "limits = { request_memory = '16k', response_memory = '64k' }" })
    finally(function() r:stop() end)
    process.limit(r.workers[1], "FSIZE", 100000) -- the error log has room
    local groups = {
      { name = "small", clients = 8, requests = 2000, path = rig.target("body=token=@;") },
      { name = "upload", clients = 4, requests = 60, method = "POST", body = 200000,
        path = rig.target("check") },
      { name = "short", clients = 2, requests = 200, method = "POST", body = 8000,
        path = rig.target("check") },
    }
    local result = load.run(r.address, groups)
    load.assert_all(result.small)
    load.assert_all(result.short)
    local upload = result.upload
    assert.equal(60, upload[503] + upload.failed, upload.text)
    assert.is_true(upload[503] >= 30, upload.text) -- who still sends may be cut while it does
    r.server:wait_log("spool")
    -- A slow client's reply comes whole, from the application's pipe instead of from the disk.
    local conn = net.connect(r.address)
    conn:send(("GET %s HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"):format(
      rig.target("size=3000000&length")))
    r:wait_started("size=3000000", 1)
    r.server:wait_log("spool.-/tmp", 3)
    local bytes = conn:read_all(20)
    conn:close()
    assert.equal(rig.pattern(3000000), bytes:match("\r\n\r\n(.*)$"))
    process.limit(r.workers[1], "FSIZE", FOREVER)
    load.assert_all(load.run(r.address, groups).upload)
  end)
end)
