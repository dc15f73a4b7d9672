-- `watch`: a route that is changed on disk is loaded again, however an editor or a release tool
-- goes about it, and once for each burst of changes.

local http = require("tests.support.http")
local net = require("tests.support.net")
local poll = require("tests.support.poll")
local process = require("tests.support.process")
local server = require("tests.support.server")
local stage = require("tests.support.stage")

local address, s

local function route(word, watch, expression)
  return ([[
local word = %s
return {
  control = false, workers = 1, listen = %q, watch = %s,
  on_request = function() return { status = 200, body = word } end,
}
]]):format(expression or ("%q"):format(word), address, tostring(watch ~= false))
end

-- One that loads its answer.
local function loading(expression)
  return route(nil, true, expression)
end

-- Starts a route that lies at `path`; files go into a folder of their own before.
local function start(path, args)
  s = server.start({ own = true, address = address, route = path, args = args })
  return s
end

local function answer()
  return http.get(address, "/").body
end

local function wait_answer(word)
  poll.wait(function() return answer() == word end, ("the answer %q instead of %q"):format(word,
    answer()))
end

-- How many reloads there were since the mark, good and bad. Workers answer a moment before the
-- master says so.
local function reloads(from)
  local log = s:errors():sub(from + 1)
  return select(2, log:gsub("generation %d+ serves", "")) + select(2, log:gsub("reload failed", ""))
end

local function write_in_place(path, text)
  local file = assert(io.open(path, "w"))
  file:write(text)
  file:close()
end

describe("watch", function()
  local dir, path

  before_each(function()
    address = "127.0.0.1:" .. net.free_port()
    dir = stage.files({ ["route.lua"] = route("one") })
    path = dir .. "/route.lua"
  end)

  after_each(function()
    s:stop()
  end)

  it("sees a file that is written in place", function()
    start(path)
    write_in_place(path, route("two"))
    wait_answer("two")
    write_in_place(path, route("six")) -- the same size
    wait_answer("six")
  end)

  it("sees a file that takes the other's place, as editors save", function()
    start(path)
    for _, word in ipairs({ "two", "three" }) do
      write_in_place(dir .. "/.route.lua.swp", route(word))
      assert(os.rename(dir .. "/.route.lua.swp", path))
      wait_answer(word)
    end
    -- With a backup, so for a moment there is none.
    for _, word in ipairs({ "four", "five" }) do
      assert(os.rename(path, path .. "~"))
      write_in_place(path, route(word))
      wait_answer(word)
    end
  end)

  it("sees the modules and files that the script loads, and those that it did not load before",
    function()
      stage.write(dir, {
        ["route.lua"] = loading('require("sites.words").text'),
        ["sites/words.lua"] = "return { text = 'one' }",
      })
      start(path)
      assert.equal("one", answer())
      write_in_place(dir .. "/sites/words.lua", "return { text = 'two' }")
      wait_answer("two")
      write_in_place(dir .. "/sites/more.lua", "return 'three'")
      write_in_place(dir .. "/sites/words.lua", "return { text = require('sites.more') }")
      wait_answer("three")
      write_in_place(dir .. "/sites/more.lua", "return dofile('" .. dir .. "/data.lua')")
      write_in_place(dir .. "/data.lua", "return 'four'")
      wait_answer("four")
      write_in_place(dir .. "/data.lua", "return 'five'")
      wait_answer("five")
    end)

  it("sees a release folder that a link is switched to", function()
    for _, word in ipairs({ "one", "two", "three" }) do
      stage.write(dir, {
        ["releases/" .. word .. "/route.lua"] = loading('require("word")'),
        ["releases/" .. word .. "/word.lua"] = ("return %q"):format(word),
      })
    end
    local function switch(word)
      assert(os.execute(("ln -sfn releases/%s %s/new && mv -T %s/new %s/current"):format(word, dir,
        dir, dir)) == 0)
    end
    switch("one")
    start(dir .. "/current/route.lua")
    assert.equal("one", answer())
    for _, word in ipairs({ "two", "three", "one" }) do
      switch(word)
      wait_answer(word)
    end
  end)

  it("takes a burst for one change, and others' files for none", function()
    start(path)
    write_in_place(dir .. "/notes.txt", "nothing of ours")
    write_in_place(dir .. "/other.lua", "return 1")
    local from = s:mark()
    for i = 1, 10 do -- within 50 ms
      write_in_place(path, route("w" .. i))
      require("socket").sleep(0.004)
    end
    wait_answer("w10")
    -- A change of its own comes behind whatever else there might be.
    write_in_place(path, route("end"))
    wait_answer("end")
    poll.wait(function() return reloads(from) >= 2 end, "both reloads in the log")
    assert.equal(2, reloads(from), "reloads for 10 writes together and one more")
  end)

  it("goes on behind a script that was no good", function()
    start(path)
    local from = s:mark()
    write_in_place(path, "return {")
    s:wait_log("the reload failed", nil, from)
    assert.equal("one", answer())
    write_in_place(path, route("two"))
    wait_answer("two")
    -- The module that is at fault was not part of the route before.
    write_in_place(dir .. "/part.lua", "return {")
    from = s:mark()
    write_in_place(path, loading('require("part")'))
    s:wait_log("the reload failed.-part%.lua", nil, from)
    write_in_place(dir .. "/part.lua", "return 'three'")
    wait_answer("three")
  end)

  it("begins and ends with a reload", function()
    write_in_place(path, route("one", false))
    start(path)
    local from = s:mark()
    write_in_place(path, route("two", true))
    s.process:kill("HUP")
    assert.truthy((s:wait_reloaded(from)))
    from = s:mark()
    write_in_place(path, route("three", false))
    assert.truthy((s:wait_reloaded(from)))
    wait_answer("three")
    from = s:mark()
    write_in_place(path, route("four", false))
    assert.is_nil(poll.try(function() return reloads(from) > 0 end, 0.5), "it is still watched")
    assert.equal("three", answer())
  end)

  it("is what --watch says, and --no-watch", function()
    write_in_place(path, route("one", false))
    start(path, { "--watch" })
    write_in_place(path, route("two", false))
    wait_answer("two")
    s:stop()
    start(path, { "--no-watch" })
    local from = s:mark()
    write_in_place(path, route("three", true))
    assert.is_nil(poll.try(function() return reloads(from) > 0 end, 0.5), "it is watched")
    assert.equal("two", answer())
  end)

  it("overlooks no change that comes while the script is being loaded", function()
    write_in_place(path, "local t = os.clock() while os.clock() < t + 0.3 do end\n" .. route("one"))
    start(path)
    local from = s:mark()
    write_in_place(path, "local t = os.clock() while os.clock() < t + 0.3 do end\n" .. route("two"))
    poll.wait(function() return #process.children(s.process.pid) > 1 end, "the loader")
    write_in_place(path, route("three"))
    wait_answer("three")
    assert.is_true(reloads(from) <= 2)
  end)
end)
