-- `watch`: a route that is changed on disk is loaded again, however an editor or a release tool
-- goes about it, and once for each burst of changes.

local http = require("tests.support.http")
local net = require("tests.support.net")
local poll = require("tests.support.poll")
local process = require("tests.support.process")
local server = require("tests.support.server")
local socket = require("socket")
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
    -- The master looks ten times a second, so the writes are several looks long; and they are
    -- together unless something has kept this process from the processor for a look, as a busy
    -- machine may at some of the tries.
    local count, tries, found = 0, 0
    repeat
      tries = tries + 1
      local from = s:mark()
      for _ = 1, 10 do
        count = count + 1
        write_in_place(path, route("w" .. count))
        socket.sleep(0.03)
      end
      wait_answer("w" .. count)
      -- A change of its own comes behind whatever else there might be.
      write_in_place(path, route("end" .. count))
      wait_answer("end" .. count)
      poll.wait(function() -- the worker before it leaves once the log has the last line
        return #s:workers() == 1 and reloads(from) >= 2
      end, "the reloads in the log")
      found = reloads(from)
    until found == 2 or tries == 20
    assert.equal(2, found, "reloads for 10 writes together and one more")
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

  it("sees a folder that goes and comes again, and what is saved in it later", function()
    stage.write(dir, {
      ["route.lua"] = loading('require("app.sites.words")'),
      ["app/sites/words.lua"] = "return 'one'",
    })
    start(path)
    -- Somebody's shell stays in what is removed.
    local shell = process.spawn({ argv = { "sleep", "600" }, cwd = dir .. "/app/sites" })
    finally(function() shell:stop() end)
    for _, words in ipairs({ { "two", "three" }, { "four", "five" } }) do
      local from = s:mark()
      assert(os.execute("rm -r " .. dir .. "/app") == 0)
      s:wait_log("the reload failed.-words", nil, from)
      stage.write(dir, { ["app/sites/words.lua"] = ("return %q"):format(words[1]) })
      wait_answer(words[1])
      write_in_place(dir .. "/app/sites/words.lua", ("return %q"):format(words[2]))
      wait_answer(words[2])
    end
  end)

  it("sees a folder further up that is put in another's place", function()
    stage.write(dir, {
      ["route.lua"] = loading('require("app.sites.words")'),
      ["app/sites/words.lua"] = "return 'one'",
      ["new/sites/words.lua"] = "return 'two'",
    })
    start(path)
    assert(os.execute(("cd %s && mv app old && mv new app"):format(dir)) == 0)
    wait_answer("two")
    write_in_place(dir .. "/app/sites/words.lua", "return 'three'")
    wait_answer("three")
  end)

  it("sees what a link leads to, also where that is missing for a while", function()
    stage.write(dir, {
      ["route.lua"] = loading('require("word")'),
      ["releases/one/word.lua"] = "return 'one'",
    })
    assert(os.execute(("cd %s && ln -s releases/one current && ln -s current/word.lua word.lua")
      :format(dir)) == 0)
    start(path)
    write_in_place(dir .. "/releases/one/word.lua", "return 'two'")
    wait_answer("two")
    local from = s:mark()
    assert(os.execute("rm -r " .. dir .. "/releases") == 0)
    s:wait_log("the reload failed.-word", nil, from)
    stage.write(dir, { ["releases/one/word.lua"] = "return 'three'" })
    wait_answer("three")
  end)

  it("sees a module that was missing when it was asked for", function()
    start(path)
    local from = s:mark()
    write_in_place(path, loading('require("sites.late")'))
    s:wait_log("the reload failed.-sites%.late", nil, from)
    stage.write(dir, { ["sites/late.lua"] = "return 'two'" })
    wait_answer("two")
  end)

  -- A script whose on_start waits until it may go on.
  local function waiting(name, word)
    return ([[
local moongate = require("moongate")
local word = %s
return {
  control = false, workers = 1, listen = %q, watch = true,
  on_start = function()
    moongate.log("info", "%s waits")
    repeat
      moongate.sleep(0.01)
      local go = io.open("%s/go")
    until go and go:close()
  end,
  on_request = function() return { status = 200, body = word } end,
}
]]):format(word, address, name, dir)
  end

  it("overlooks no change that comes while the first script is being started", function()
    stage.write(dir, {
      ["route.lua"] = waiting("first", 'require("word")'),
      ["word.lua"] = "return 'one'",
    })
    s = server.start({ own = true, address = address, route = path, wait = false })
    s:wait_log("first waits")
    write_in_place(dir .. "/word.lua", "return 'two'")
    write_in_place(dir .. "/go", "")
    s:wait_serving()
    wait_answer("two")
  end)

  it("overlooks no change to a file that is new, while its script is being started", function()
    start(path)
    write_in_place(dir .. "/word.lua", "return 'two'")
    write_in_place(path, waiting("second", 'require("word")'))
    s:wait_log("second waits")
    write_in_place(dir .. "/word.lua", "return 'three'")
    write_in_place(dir .. "/go", "")
    wait_answer("three")
    s:wait_log("generation 3 serves")
    local from = s:mark()
    assert.is_nil(poll.try(function() return reloads(from) > 0 end, 0.5), "it does not end")
  end)

  it("goes on behind a script that could not be started, for a file that is new", function()
    start(path)
    write_in_place(dir .. "/ready.lua", "return false")
    local from = s:mark()
    write_in_place(path, ([[
local ready = require("ready")
return {
  control = false, workers = 1, listen = %q, watch = true,
  on_start = function() assert(ready, "not ready") end,
  on_request = function() return { status = 200, body = "two" } end,
}
]]):format(address))
    s:wait_log("the reload failed.-not ready", nil, from)
    write_in_place(dir .. "/ready.lua", "return true")
    wait_answer("two")
  end)

  it("does not wait for a script that never comes to its end once a newer one is there", function()
    start(path)
    local from = s:mark()
    write_in_place(path, "io.stderr:write('loading\\n') while true do end")
    s:wait_log("^loading", nil, from)
    assert.equal("one", answer())
    write_in_place(path, route("two"))
    poll.wait(function() return answer() == "two" end, "the newer one", 30)
    s:wait_log("newer reload is asked for", nil, from)
    poll.wait(function() return #process.children(s.process.pid) == 1 end, "no loader to be left")
  end)

  it("lets a slow script come to its end, though newer ones are there all the time", function()
    write_in_place(path, route("one", false))
    start(path)
    -- By the wall clock, so a busy machine makes it no slower.
    write_in_place(path, "local t = os.time() repeat until os.time() > t + 2\n"
      .. route("two", false))
    poll.wait(function()
      s.process:kill("HUP")
      return answer() == "two"
    end, "the slow one", 60)
  end)
end)
