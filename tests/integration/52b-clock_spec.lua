-- A machine whose clock is set while requests are under way, as NTP does after a virtual machine
-- was paused: what waits and what lasts is measured with a clock that nobody sets. libfaketime (a
-- package of Debian) sets the clock of the server alone.

local clock = require("tests.support.clock")
local http = require("tests.support.http")
local json = require("moongate.base.json")
local poll = require("tests.support.poll")
local process = require("tests.support.process")
local rig = require("tests.support.rig")
local stage = require("tests.support.stage")

local HOURS = 7200

-- A rig, and what sets its server's clock to so many seconds from the machine's.
local function start(options)
  local dir = stage.files({ clock = "+0\n" })
  local name = dir .. "/clock"
  options.server = {
    env = {
      LD_PRELOAD = clock.library(), FAKETIME_TIMESTAMP_FILE = name, FAKETIME_NO_CACHE = "1",
      FAKETIME_DONT_FAKE_MONOTONIC = "1", FAKETIME_DISABLE_SHM = "1", NO_FAKE_STAT = "1",
      ASAN_OPTIONS = (os.getenv("ASAN_OPTIONS") or "") .. ":verify_asan_link_order=0",
    },
  }
  local r = rig.start(options)
  return r, function(seconds)
    process.write_file(name .. ".new", ("%+d\n"):format(seconds))
    assert(os.rename(name .. ".new", name))
  end
end

-- The hour of an answer's Date, as a number of seconds from this machine's clock.
local function clock_of(r)
  local date = r:get("").headers.date
  local told = process.run({ argv = { "date", "-ud", date, "+%s" } }).stdout
  return tonumber(told) - os.time()
end

local function wait_clock(r, seconds)
  poll.wait(function()
    return math.abs(clock_of(r) - seconds) < 600
  end, ("the server's clock to be set by %d s"):format(seconds))
end

describe("a clock that is set forward", function()
  it("ends no request and no connection, and a request has not lasted longer", function()
    local r, set = start({ backend = "keepalive = 1, read_timeout = 600, connect_timeout = 1",
      settings = 'log = { format = "json" }, limits = { keepalive_timeout = 600 }',
      on_request = [[if req.args.brief then
        return { backend = "app", docroot = "/srv/app", read_timeout = 3 }
      end]] })
    local kept = http.open(r.address)
    kept:send({ path = rig.target("") })
    assert.equal(200, kept:receive().status)
    local held = http.open(r.address)
    held:send({ path = rig.target("delay=hold&body=there") })
    r:wait_started("delay=hold", 1)
    set(HOURS)
    wait_clock(r, HOURS)
    -- The connection of the held request was given a second: its timer has run out by now, too.
    assert.equal(504, r:get("delay=60000&brief").status)
    kept:send({ path = rig.target("") })
    assert.equal(200, kept:receive().status)
    r:release()
    assert.equal("there", held:receive().body)
    held:close()
    kept:close()
    poll.wait(function()
      return r.server:access():find("delay=hold", 1, true)
    end, "the line of the request")
    for line in r.server:access():gmatch("[^\n]+") do
      local duration = json.decode(line).duration
      assert.truthy(duration >= 0 and duration < HOURS / 2, line)
    end
    r:stop()
  end)
end)

describe("a clock that is set back", function()
  it("makes no request wait for longer than its time", function()
    local r, set = start({ backend = "keepalive = 1, read_timeout = 3",
      settings = 'log = { format = "json" }' })
    local held = http.open(r.address)
    held:send({ path = rig.target("delay=hold&body=there") })
    r:wait_started("delay=hold", 1)
    set(-HOURS)
    assert.equal(504, held:receive().status)
    held:close()
    wait_clock(r, -HOURS)
    poll.wait(function()
      return r.server:access():find("delay=hold", 1, true)
    end, "the line of the request")
    for line in r.server:access():gmatch("[^\n]+") do
      local duration = json.decode(line).duration
      assert.truthy(duration >= 0 and duration < HOURS / 2, line)
    end
    r:stop()
  end)
end)
