-- What applications write to STDERR without an end: the error log has a bounded number of messages
-- of each script and of each tenant, and lines that count the others.

local http = require("tests.support.http")
local rig = require("tests.support.rig")
local socket = require("socket")

local OF_SCRIPT, OF_TENANT = 100, 300 -- in ten seconds

--- A command that writes so many messages of one word.
local function messages(word, count)
  return "stderr=" .. http.escape((word .. "\n"):rep(count))
end

local function count(text, pattern)
  return select(2, text:gsub(pattern, ""))
end

--- The sum of the numbers that lines give for what they have left out.
local function left_out(text, of)
  local sum = 0
  local line = "(%d+) more messages of " .. of .. " on STDERR in the last %d+ s were"
  for number in text:gmatch(line) do
    sum = sum + tonumber(number)
  end
  return sum
end

describe("messages on STDERR", function()
  local r

  before_each(function()
    r = rig.start({
      on_request = [[
        do return { backend = "app", docroot = "/srv", tenant = req.host } end]],
    })
  end)

  local function say(path, host, word, number)
    assert.equal(200, http.request(r.address, {
      path = path .. "?" .. messages(word, number), host = host,
    }).status)
  end

  it("of one script are bounded and counted, and cost no other tenant its own", function()
    say("/x.php", "loud.example", "loud", 250)
    say("/x.php", "quiet.example", "quiet", 3) -- the same script
    r.server:wait_log("quiet")
    -- One line has the number, soon after the ten seconds.
    r.server:wait_log("150 more messages of /srv/x%.php %(tenant loud%.example%) on STDERR in the "
      .. "last %d+ s were left out$", 60)
    r:stop()
    local text = r.server:errors()
    assert.equal(OF_SCRIPT, count(text, ": loud;"))
    assert.equal(3, count(text, ": quiet;"))
  end)

  it("of all scripts of a tenant are", function()
    local begun, sent = socket.gettime(), 0
    for i = 1, 8 do
      say(("/%d.php"):format(i), "loud.example", "loud", 150)
      sent = sent + 150
    end
    local windows = 1 + math.ceil((socket.gettime() - begun) / 10)
    say("/1.php", "quiet.example", "quiet", 1)
    r.server:wait_log("quiet")
    r:stop() -- the end of a worker has all counts
    local text = r.server:errors()
    local said = count(text, ": loud;")
    assert.is_true(said >= OF_TENANT and said <= OF_TENANT * windows, said)
    local of_scripts = left_out(text, "/srv/%d%.php %(tenant loud%.example%)")
    local of_tenant = left_out(text, "tenant loud%.example")
    assert.is_true(of_scripts >= 8 * 50 and of_tenant > 0)
    assert.equal(sent, said + of_scripts + of_tenant, text:sub(-2000))
  end)
end)
