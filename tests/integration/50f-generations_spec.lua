-- `moongate generations` and `moongate rollback`: what was loaded when, and an earlier script that
-- serves again from the files that it was loaded from.

local http = require("tests.support.http")
local json = require("moongate.base.json")
local poll = require("tests.support.poll")
local process = require("tests.support.process")
local server = require("tests.support.server")

local control, s

-- A route that answers with what its module says; more code may be in front.
local function route(before)
  return ([[
    %s
    local word = require("word")
    return {
      control = %q,
      on_start = function()
        if io.open(%q) then error("on_start may not now") end
      end,
      on_request = function() return { status = 200, body = word } end,
    }]]):format(before or "", control, s and s.dir .. "/refuse" or "/nonexistent")
end

local function module(word)
  return ("return %q"):format(word)
end

local function start(options)
  options = options or {}
  control = ("unix:%s/control.sock"):format(process.tempdir("generations"))
  options.route = options.route or route()
  options.files = { ["word.lua"] = module("one") }
  options.workers = options.workers or 2
  s = server.start(options)
  finally(function()
    s:stop()
    s = nil
  end)
end

local function command(...)
  local words = { ... }
  words[#words + 1] = "--control"
  words[#words + 1] = control
  return server.command(words)
end

local function done(...)
  local result = command(...)
  assert.equal(0, result.code, result.stderr)
  return result.stdout
end

local function generations()
  return json.decode(done("generations", "--json")).generations
end

-- Each on a connection of its own, so that several workers answer.
local function assert_answers(word)
  for _ = 1, 8 do
    assert.equal(word, http.get(s.address, "/").body)
  end
end

local function reload_word(word)
  s:rewrite(module(word), s.dir .. "/word.lua")
  done("reload")
end

describe("generations", function()
  it("are listed with hash, outcome and reason, those that failed with the error", function()
    start()
    s:reload(route())
    s:rewrite("return {", s.route_path)
    local failed = command("reload")
    assert.equal(1, failed.code)
    assert.equal(1, command("reload").code)
    s:reload(route("-- another"))
    local list = generations()
    local words = {}
    for i, load in ipairs(list) do
      words[i] = ("%s %s %s"):format(load.number or "-", load.outcome, load.reason)
      assert.equal(load.outcome == "serving", load.serving)
      assert.equal(load.outcome ~= "failed", load.kept)
    end
    assert.same({
      "3 serving HUP", "- failed reload", "- failed reload", "2 served HUP",
      "1 served start",
    }, words)
    assert.matches("route%.lua:1: ", list[2].error)
    assert.equal(list[1].at, list[4]["until"])
    assert.matches("^%x%x%x%x%x%x%x%x%x%x%x%x$", list[1].hash)
    assert.are_not.equal(list[1].hash, list[4].hash)
    local text = done("generations")
    assert.matches("\n3 +serving +%d+%-%d+%-%d+ %d+:%d+:%d+ +%x+  kept  HUP\n", text)
    assert.matches("\n +failed [^\n]+  reload: [^\n]+route%.lua:1: [^\n]+\n", text)
  end)
end)

describe("rollback", function()
  it("serves from kept files, whatever has become of those on the disk", function()
    start()
    reload_word("two")
    assert_answers("two")
    assert(os.remove(s.dir .. "/word.lua"))
    s:rewrite("this is no Lua", s.route_path)
    assert.equal("generation 3 serves\n", done("rollback", "1"))
    assert_answers("one")
    local list = generations()
    assert.equal("rollback to 1", list[1].reason)
    assert.equal(list[3].hash, list[1].hash)
    assert.matches("\n  ! generation 3 has the files of generation 1, not those on the disk, until "
      .. "the next reload\n", done("status"))
    assert.equal(1, json.decode(done("status", "--json")).kept_from)
    -- A worker that takes the place of another has them, too.
    local before = {}
    for _, worker in ipairs(json.decode(done("status", "--json")).workers) do
      before[worker.pid] = true
      process.signal(worker.pid, "KILL")
    end
    poll.wait(function()
      local result, fresh = command("status", "--json"), 0
      for _, worker in ipairs(result.code == 0 and json.decode(result.stdout).workers or {}) do
        fresh = fresh + (worker.ready and not before[worker.pid] and 1 or 0)
      end
      return fresh == 2
    end, "two other workers")
    assert_answers("one")
    -- The disk counts again with the next reload.
    assert.equal(1, command("reload").code)
    assert_answers("one")
    s:rewrite(module("three"), s.dir .. "/word.lua")
    s:reload(route())
    assert_answers("three")
    assert.is_nil(json.decode(done("status", "--json")).kept_from)
  end)

  it("goes to the latest with other files where none is named, and back", function()
    start({ workers = 1 })
    local refused = command("rollback")
    assert.equal(1, refused.code)
    assert.matches("no earlier generation had other files", refused.stderr)
    reload_word("two")
    done("reload")
    assert.equal("generation 4 serves\n", done("rollback"))
    assert_answers("one")
    assert.equal("generation 5 serves\n", done("rollback"))
    assert_answers("two")
    for _, case in ipairs({
      { "5", 1, "generation 5 serves already" },
      { "9", 1, "are not kept; there are those of 1, 2" },
      { "-1", 2, "unknown option" }, { "x1", 2, "'x1' is no number of a generation" },
    }) do
      local result = command("rollback", case[1])
      assert.equal(case[2], result.code)
      assert.matches(case[3], result.stderr, 1, true)
    end
  end)

  it("changes nothing where the script can't start again", function()
    start()
    s:reload(route())
    reload_word("two")
    process.write_file(s.dir .. "/refuse", "")
    local result = command("rollback", "2")
    assert.equal(1, result.code)
    assert.matches("on_start may not now", result.stderr)
    assert_answers("two")
    local list = generations()
    assert.equal("failed", list[1].outcome)
    assert.equal("rollback to 2", list[1].reason)
    assert.is_true(list[2].serving)
    assert(os.remove(s.dir .. "/refuse"))
    done("rollback", "2")
    assert_answers("one")
  end)

  it("is not undone by watch, until a file changes", function()
    control = ("unix:%s/control.sock"):format(process.tempdir("generations"))
    local address = "127.0.0.1:" .. require("tests.support.net").free_port()
    local text = ("return { watch = true, workers = 1, listen = %q, control = %q, on_request = "
      .. "function() return { status = 200, body = require('moongate') and %q } end }\n")
    local function version(word)
      return text:format(address, control, word)
    end
    s = server.start({ own = true, address = address, route = version("one") })
    finally(function()
      s:stop()
      s = nil
    end)
    local function wait_answer(word)
      poll.wait(function() return http.get(address, "/").body == word end, word)
    end
    -- The new worker answers before the master knows that it serves.
    local function wait_listed(reason)
      poll.wait(function()
        local latest = generations()[1]
        return latest.outcome == "serving" and latest.reason == reason
      end, "a generation that serves by " .. reason)
    end
    s:rewrite(version("two"))
    wait_answer("two")
    wait_listed("watch")
    done("rollback", "1")
    wait_answer("one")
    wait_listed("rollback to 1")
    -- A watch that takes the disk for a change would see it at its next look.
    local from = s:mark()
    assert.is_nil(poll.try(function()
      return s:errors():find("has changed", from + 1, true)
    end, 1))
    s:rewrite(version("six"))
    wait_answer("six")
    wait_listed("watch")
    assert.equal("rollback to 1", generations()[2].reason)
  end)
end)
