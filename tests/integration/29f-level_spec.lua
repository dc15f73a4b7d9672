-- `moongate log-level`: the level of the error log, changed while the route serves, for all workers
-- and the master, until --forget, the end of its time, or a reload.

local http = require("tests.support.http")
local json = require("moongate.base.json")
local poll = require("tests.support.poll")
local process = require("tests.support.process")
local rig = require("tests.support.rig")

local ROUTE = {
  workers = 2, control = true, dies = true,
  before = "local moongate = require('moongate')",
  on_request = [[
    if req.args.Worker then
      return { status = 200, body = tostring(moongate.worker) }
    end
    moongate.log("debug", "said %s", req.args.Say or "nothing")
    if req.args.Misfit then
      moongate.log("debug", "%d", "no number")
    end
    do return { status = 200, body = "hello" } end]],
}

describe("the level of the error log", function()
  local r

  local folder = process.tempdir("log")
  local access = folder .. "/access.log"

  setup(function()
    process.chmod(folder, "777") -- the log is opened as the user of the workers
    ROUTE.settings = ("log = { access = %q }"):format(access)
    r = rig.start(ROUTE)
  end)
  teardown(function() r:stop() end)

  -- Asks on new connections until each worker has answered `path`.
  local function ask_all(path)
    local seen, count = {}, 0
    poll.wait(function()
      local conn = http.open(r.address)
      conn:send({ path = "/?Worker=1" })
      local worker = conn:receive("GET").body
      conn:send({ path = path })
      assert.equal("hello", conn:receive("GET").body)
      conn:close()
      count = count + (seen[worker] and 0 or 1)
      seen[worker] = true
      return count == 2
    end, "both workers")
  end

  -- The workers that have said a word.
  local function sayers(word)
    local pids, count = {}, 0
    for pid in r.server:errors():gmatch("%[debug%] (%d+): said " .. word .. ";") do
      count = count + (pids[pid] and 0 or 1)
      pids[pid] = true
    end
    return count
  end

  -- The lines of both are there: they may come a moment after the answers.
  local function wait_said(word)
    poll.wait(function() return sayers(word) == 2 end, ("%q of both workers"):format(word))
  end

  it("is the route's, and what is below it is neither written nor formatted", function()
    assert.equal("info\n", r:tell("log-level"))
    assert.same({ level = "info", route = "info", ordered = false },
      json.decode(r:tell("log-level", "--json")))
    assert.is_nil(r:tell("status"):find("log level", 1, true))
    ask_all("/?Say=first&Misfit=1")
    assert.equal(0, sayers("first"))
  end)

  it("holds in all workers at once, also in one that comes later", function()
    assert.equal("debug until the next reload; the route says info\n",
      r:tell("log-level", "debug"))
    r.server:wait_log("%[warn%] %d+: the level of this log is debug, by an operator$")
    assert.matches("\nlog level: debug until the next reload; the route says info\n",
      r:tell("status"))
    assert.same({ level = "debug", route = "info", ordered = true }, r:status().log)
    ask_all("/?Say=second")
    wait_said("second")
    local pid = r.server:workers()[1]
    assert(os.execute("kill -KILL " .. pid) == 0)
    poll.wait(function()
      local now = r.server:workers()
      return #now == 2 and now[1] ~= pid and now[2] ~= pid
    end, "another worker")
    ask_all("/?Say=third")
    wait_said("third")
  end)

  it("holds in the master", function()
    assert.equal("error until the next reload; the route says info\n",
      r:tell("log-level", "error"))
    local mark = r.server:mark()
    -- The master says at `info` that it has opened the logs again. The second file shows that it is
    -- past the line about the first.
    for _ = 1, 2 do
      assert(os.remove(access))
      r.server.process:kill("USR1")
      poll.wait(function()
        local file = io.open(access)
        return file and file:close()
      end, "the new access log")
    end
    assert.is_nil(r.server:errors():find("the logs are open again", mark + 1, true))
    r:tell("log-level", "--forget")
    r.server:wait_log("%[warn%] %d+: the level of this log is info again, as the route says, by an "
      .. "operator$", nil, mark)
    r.server.process:kill("USR1")
    r.server:wait_log("the logs are open again", nil, mark)
  end)

  it("ends by --forget, and with its time", function()
    r:tell("log-level", "debug")
    assert.equal("info\n", r:tell("log-level", "--forget"))
    ask_all("/?Say=fourth")
    assert.equal(0, sayers("fourth"))
    assert.matches("^debug for another %d+h %d+m; the route says info\n$",
      r:tell("log-level", "debug", "--for", "2h"))
    assert.is_true(r:status().log.left > 7000)
    r:tell("log-level", "warn", "--for", "300ms")
    poll.wait(function() return not r:status().log.ordered end, "the end of its time")
    assert.equal("info", r:status().log.level)
    ask_all("/?Say=fifth")
    assert.equal(0, sayers("fifth"))
  end)

  it("ends with a reload that succeeds, and with no other", function()
    r:tell("log-level", "debug")
    r.server:rewrite("return {")
    assert.equal(1, r:command("reload").code)
    assert.equal("debug", r:status().log.level)
    r.server:rewrite(r:route())
    r:tell("reload")
    assert.same({ level = "info", route = "info", ordered = false }, r:status().log)
    ask_all("/?Say=sixth")
    assert.equal(0, sayers("sixth"))
  end)

  it("is refused with what was meant", function()
    for _, case in ipairs({
      { { "log-level", "debgu" }, "'level': expected debug, info, warn or error, got 'debgu'; "
        .. "did you mean 'debug'?" },
      { { "log-level", "debug", "--for", "soon" }, "'for': expected a duration" },
      { { "log-level", "debug", "--for", "0" }, "'for': expected a duration" },
      { { "log-level", "--for", "1m" }, "--for needs a LEVEL" },
      { { "log-level", "debug", "--forget" }, "--forget takes no level and no --for" },
    }) do
      local result = r:command(unpack(case[1]))
      assert.is_true(result.code > 0)
      assert.matches(case[2], result.stderr, 1, true)
    end
    assert.is_false(r:status().log.ordered)
  end)
end)
