-- A gigabyte in each direction, and replies that must not wait: whole to the byte, in bounded
-- memory, at once. Sanitizers make every byte dearer, so with them it is a sixteenth.
--
-- Runs alone: it measures time, and takes all of the machine that it gets.

local http = require("tests.support.http")
local load = require("tests.support.load")
local php = require("tests.support.php")
local poll = require("tests.support.poll")
local process = require("tests.support.process")
local rig = require("tests.support.rig")
local server = require("tests.support.server")
local socket = require("socket")

local MEGABYTE = 1024 * 1024
local ASAN = server.binary():find("asan", 1, true)
local SIZE = (ASAN and 64 or 1024) * MEGABYTE
-- What a body of any size may add to a worker. The sanitizers' allocator keeps what was freed.
local ALLOWED = (ASAN and 48 or 2) * MEGABYTE

-- The most memory that the worker has ever had.
local function peak(r)
  local text = process.read_file(("/proc/%d/status"):format(r.server:workers()[1]))
  return tonumber(text:match("VmHWM:%s+(%d+)")) * 1024
end

describe("a body of a gigabyte", function()
  local r

  setup(function()
    r = rig.start({
      backend = "keepalive = 2",
      on_request = [[
        if req.args.Stream then
          return { backend = "app", docroot = "/srv/app", request_buffering = false }
        elseif req.args.Pass then
          return { backend = "app", docroot = "/srv/app", response_buffering = false }
        end
      ]],
    })
  end)

  teardown(function() r:stop() end)

  -- The same request, first with a body that is small but larger than every buffer, so that what is
  -- allocated once is there; then it must not need more.
  local function run(make)
    load.assert_all(load.run(r.address, { timeout = 60, make(8 * MEGABYTE) }).all)
    local before = peak(r)
    load.assert_all(load.run(r.address, { timeout = 120, make(SIZE) }).all)
    local more = peak(r) - before
    assert.is_true(more < ALLOWED, ("%.1f MB more"):format(more / MEGABYTE))
  end

  for name, commands in pairs({
    ["in chunks"] = "", ["with its length"] = "&length", ["without a buffer"] = "&Pass=1",
  }) do
    it("comes down whole, " .. name, function()
      run(function(size)
        return { requests = 1, path = rig.target("size=" .. size .. commands), pattern = size }
      end)
    end)
  end

  for name, commands in pairs({ ["from a spool file"] = "", ["as it comes"] = "&Stream=1" }) do
    it("goes up whole, with its CONTENT_LENGTH, " .. name, function()
      -- `check` compares what came with what is sent; the responder itself compares CONTENT_LENGTH.
      run(function(size)
        return { requests = 1, method = "POST", body = size,
          path = rig.target("check&header=X-T:%20token=@;" .. commands) }
      end)
      local body = rig.pattern(70000)
      assert.equal("length=70000 same=1\n",
        r:get("check" .. commands, { method = "POST", body = body }).body)
      local last
      for _, event in ipairs(r:events("REQUEST")) do
        last = event.stdin == tostring(SIZE) and event or last
      end
      assert.equal("complete", last and last["end"])
      assert.equal("1", last.same)
    end)
  end

  it("leaves nothing in the spool's folder", function()
    poll.wait(function()
      return process.run({ argv = { "ls", r.server.temporary } }).stdout == ""
    end, "the spool files to be gone")
  end)
end)

describe("a reply that the client does not take", function()
  local r

  setup(function()
    r = rig.start({
      on_request = [[
        if req.args.Pass then
          return { backend = "app", docroot = "/srv/app", response_buffering = false }
        end
      ]],
    })
  end)

  teardown(function() r:stop() end)

  -- Whether the application is done with it while its client has read next to nothing. `seconds`:
  -- how long it is looked at where it must not be.
  local function is_done(commands, mark, seconds)
    local client = http.open(r.address)
    client:send({ path = rig.target(commands .. "&" .. mark) })
    client.conn:read(1000)
    local done = poll.try(function()
      return r.back:log():find("REQUEST [^\n]*" .. mark)
    end, seconds or poll.PATIENCE)
    client:close()
    poll.wait(function()
      return r:open_connections() == 0
    end, "its connection to be given up")
    return done ~= nil
  end

  it("does not hold the application, up to `spool`", function()
    assert.is_true(is_done("size=40000000", "Spooled"))
    assert.is_true(is_done("size=40000000&length", "Counted"))
  end)

  it("holds it where there is to be no buffer", function()
    assert.is_false(is_done("size=40000000&Pass=1", "Decision", 1.5))
    assert.is_false(is_done("size=40000000&header=X-Accel-Buffering:%20no", "Header",
      1.5))
    assert.is_true(is_done("size=40000000&header=X-Accel-Buffering:%20yes", "Other"))
  end)
end)

describe("an event stream", function()
  it("reaches the browser within milliseconds, piece by piece", function()
    local fpm = php.start({ pages = "tests/pages", children = 1 })
    local r = rig.start({
      responder = false, servers = { fpm.address },
      before = ("local ROOT = %q"):format(fpm.root),
      on_request = [[do return { backend = "app", docroot = ROOT } end]],
    })
    finally(function()
      r:stop()
      fpm:stop()
    end)
    local client, took = http.open(r.address), {}
    local res = client:request({ path = "/events.php?count=40&pause=100" }, function(bytes)
      local now = socket.gettime()
      for time in bytes:gmatch("data: ([%d.]+)\n\n") do
        took[#took + 1] = now - tonumber(time)
      end
    end)
    client:close()
    local _, count = res.body:gsub("data: [%d.]+\n\n", "")
    assert.equal(40, count)
    -- Some moments belong to whatever else the machine does. An event that waits for the next one
    -- would take 100 ms.
    table.sort(took)
    assert.is_true(took[20] < 0.02 and took[30] < 0.05,
      ("half within %.1f ms, three quarters within %.1f ms"):format(took[20] * 1000,
        took[30] * 1000))
  end)
end)
