-- Keys of session tickets over a day of the server's clock (libfaketime): the master makes a new
-- key every 8 hours, the two before it still open tickets, and a ticket is good for 16 hours.

local clock = require("tests.support.clock")
local net = require("tests.support.net")
local poll = require("tests.support.poll")
local process = require("tests.support.process")
local server = require("tests.support.server")
local stage = require("tests.support.stage")
local tls = require("tests.support.tls")

local WORKERS, HOUR = 2, 3600

local site

setup(function()
  site = tls.authority():issue({ "site.test" })
end)

-- A server, and what sets both of its clocks to so many hours from the machine's.
local function start()
  local name = stage.files({ clock = "+0\n" }) .. "/clock"
  local address = "127.0.0.1:" .. net.free_port()
  local s = server.start({ own = true, address = address,
    env = {
      LD_PRELOAD = clock.library(), FAKETIME_TIMESTAMP_FILE = name, FAKETIME_NO_CACHE = "1",
      FAKETIME_DISABLE_SHM = "1", NO_FAKE_STAT = "1",
      ASAN_OPTIONS = (os.getenv("ASAN_OPTIONS") or "") .. ":verify_asan_link_order=0",
    },
    route = ([[
      return {
        listen = { { address = %q, tls = %s } }, workers = %d, watch = false, control = false,
        on_request = function()
          return { status = 200, body = "worker " .. require("moongate").worker .. "\n" }
        end,
      }]]):format(address, tls.setting(site), WORKERS) })
  return s, function(hours)
    process.write_file(name .. ".new", ("%+d\n"):format(hours * HOUR))
    assert(os.rename(name .. ".new", name))
  end
end

-- A new session in a file.
local function make(s, version, file)
  local said = tls.client(s.address, { version, "-servername", "site.test", "-sess_out", file })
  assert.is_nil(said:find("Reused, TLS", 1, true))
end

-- The name of the key with which the ticket of a session is encrypted: its first bytes.
local function key_of(file)
  local text = process.run({ argv = { "openssl", "sess_id", "-noout", "-text", "-in", file } })
  return assert(text.stdout:match("TLS session ticket:\n +0000 %- (%x%x[ %-%x]-)   "), text.stdout)
end

-- Whether each worker resumes the session; they must agree. Connections are spread over them.
local function is_resumed(s, version, file)
  local resumed, seen, count = nil, {}, 0
  poll.wait(function()
    local said = tls.client(s.address, { version, "-servername", "site.test", "-sess_in", file })
    local worker, reused = said:match("worker (%d)"), said:find("Reused, TLS", 1, true) ~= nil
    assert.truthy(worker, said)
    assert.is_true(resumed == nil or resumed == reused, "the workers don't agree")
    resumed = reused
    count = count + (seen[worker] and 0 or 1)
    seen[worker] = true
    return count == WORKERS
  end, "an answer of each worker", 120)
  return resumed
end

-- Sets the clock, and waits until tickets are encrypted by another key than that of the session.
local function pass(s, set, hours, version, file)
  local before, new = key_of(file), file .. ".new"
  set(hours)
  poll.wait(function()
    make(s, version, new)
    return key_of(new) ~= before
  end, "a new key of tickets", 120)
  return new
end

for _, version in ipairs({ "-tls1_2", "-tls1_3" }) do
  describe("a ticket of " .. version:sub(2), function()
    it("outlives two new keys, but not its 16 hours, with each worker", function()
      local s, set = start()
      finally(function() s:stop() end)
      local dir = process.tempdir("sessions")
      local first, second = dir .. "/first", dir .. "/second"
      make(s, version, first)
      assert.is_true(is_resumed(s, version, first))
      set(7.5)
      make(s, version, second)
      assert.equal(key_of(first), key_of(second))

      local third = pass(s, set, 8.5, version, first)
      assert.is_true(is_resumed(s, version, first))
      assert.is_true(is_resumed(s, version, second))

      local fourth = pass(s, set, 17, version, third)
      assert.is_false(is_resumed(s, version, first)) -- its time is over
      assert.is_true(is_resumed(s, version, second)) -- of the same key, which is the third now
      assert.is_true(is_resumed(s, version, third))

      pass(s, set, 25.5, version, fourth)
      assert.is_false(is_resumed(s, version, second)) -- its key is gone, too
      assert.is_false(is_resumed(s, version, third))
      assert.is_true(is_resumed(s, version, fourth))
    end)
  end)
end
