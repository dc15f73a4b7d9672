-- limits.script_memory: a script that asks for more gets an error, other requests notice nothing,
-- and a script that keeps ever more begins anew in its worker.

local http = require("tests.support.http")
local poll = require("tests.support.poll")
local process = require("tests.support.process")
local rig = require("tests.support.rig")

local ON_REQUEST = [[
  local path = req.path
  if path == "/rows" then
    local t = {}
    for i = 1, 1e9 do t[i] = { i } end
  elseif path == "/array" then
    local t = {}
    for i = 1, 1e9 do t[i] = i end
  elseif path == "/rep" then
    return { body = tostring(#("x"):rep(2 ^ 30)) }
  elseif path == "/double" then
    local s = "x"
    while true do s = s .. s end
  elseif path == "/coroutines" then
    local t = {}
    for i = 1, 1e9 do t[i] = coroutine.create(function() return t end) end
  elseif path == "/waited" then
    moongate.sleep(0.01)
    local t = {}
    for i = 1, 1e9 do t[i] = { i } end
  elseif path == "/caught" then
    jit.off(true, true)
    local ok, err = pcall(function()
      local t = {}
      for i = 1, 1e9 do t[i] = { i } end
    end)
    return { body = tostring(ok) .. " " .. err }
  elseif path == "/garbage" then
    local n = 0
    for i = 1, 200 do n = n + #(("%d "):format(i):rep(2 ^ 17)) end
    return { body = tostring(n) }
  elseif path == "/leak" then
    kept[#kept + 1] = ("%05d"):format(#kept):rep(40000)
    return { body = tostring(#kept) }
  elseif path == "/held" then
    collectgarbage()
    collectgarbage()
    return { body = ("%d"):format(collectgarbage("count") / 1024) }
  elseif path == "/starts" then
    return { body = tostring(moongate.shared("starts"):get("n")) }
  end
  if path == "/plain" then return { body = "plain" } end
]]

local function start(options)
  local all = {
    before = 'local moongate = require("moongate")\nlocal kept = {}',
    on_request = ON_REQUEST,
    settings = [[limits = { script_memory = "32M" }, script_timeout = 60,
      on_start = function() moongate.shared("starts"):incr("n", 1, 0) end]],
  }
  for key, value in pairs(options or {}) do
    all[key] = value
  end
  return rig.start(all)
end

local function get(r, path)
  return http.get(r.address, path)
end

--- Lets the script keep ever more until it is full, or has begun anew.
local function leak(r)
  local last = 0
  for _ = 1, 2000 do
    local res = get(r, "/leak")
    local kept = tonumber(res.body)
    if res.status ~= 200 or kept < last then
      return
    end
    last = kept
  end
  error("it kept 400 MB")
end

describe("limits.script_memory", function()
  it("is an error of the hook that asks for more, and nothing else", function()
    local r = start()
    finally(function() r:stop() end) -- with the check that the worker is the same
    for _, path in ipairs({ "/rows", "/array", "/rep", "/double", "/coroutines", "/waited" }) do
      local mark = r.server:mark()
      assert.equal(500, get(r, path).status, path)
      r.server:wait_log("route%.lua:%d+: limits%.script_memory: the script needs more than 32 MB"
        .. ".-GET " .. path, nil, mark)
      assert.equal("plain", get(r, "/plain").body)
    end
    assert.matches("^false .*route%.lua:%d+: limits%.script_memory: the script needs more than "
      .. "32 MB$", get(r, "/caught").body)
    assert.equal(200, get(r, "/garbage").status)
    assert.is_true(tonumber(get(r, "/held").body) < 16)
    assert.equal("1", get(r, "/starts").body)
  end)

  it("begins a script anew that keeps ever more, while others are served", function()
    local r = start()
    finally(function() r:stop() end)
    local client = http.open(r.address) -- stays through all of it
    local held = http.open(r.address)
    held:send({ path = rig.target("delay=hold&body=held") })
    r:wait_started("delay=hold", 1)
    for starts = 2, 3 do
      leak(r)
      poll.wait(function()
        client:send({ path = "/plain" })
        assert.equal("plain", client:receive().body)
        return get(r, "/starts").body == tostring(starts)
      end, "the script to begin anew")
    end
    r:release()
    assert.equal("held", held:receive().body)
    held:close()
    client:close()
    r.server:wait_log("limits%.script_memory: the script held %d+ MB after a collection, of 32 MB; "
      .. "it has begun anew in this worker")
    poll.wait(function()
      return get(r, "/leak").body == "1" or tonumber(get(r, "/held").body) < 16
    end, "the memory of the old state to be gone")
  end)

  it("begins anew with the files of its generation, not with those on the disk", function()
    local r = start()
    finally(function() r:stop() end)
    process.write_file(r.server.route_path, "return nonsense")
    leak(r)
    poll.wait(function() return get(r, "/starts").body == "2" end, "the script to begin anew")
    assert.equal("plain", get(r, "/plain").body)
  end)

  it("goes on with what it has where it can't begin anew", function()
    local r = start({ settings = [[limits = { script_memory = "32M" }, script_timeout = 60,
      on_start = function()
        if moongate.shared("starts"):incr("n", 1, 0) > 1 then error("not now") end
      end]] })
    finally(function() r:stop() end)
    leak(r)
    r.server:wait_log("on_start .-not now")
    r.server:wait_log("limits%.script_memory: the script holds most of it, and can't begin anew in "
      .. "this worker: ")
    assert.equal("plain", get(r, "/plain").body)
  end)
end)
