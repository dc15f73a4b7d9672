-- moongate.worker.requests: the list of requests under way, and which of them is told to end.

local requests = require("moongate.worker.requests")

local function request(id, started)
  return { id = id, own_id = id, started = started, uri = "/a.php?b=1", state = "waiting" }
end

describe("the list of requests", function()
  it("has the oldest first, and their age and path", function()
    local list, more = requests.list({
      now = function() return 100 end,
      requests = function() return { request("b", 99), request("a", 90), request("c", 200) }, 3 end,
    })
    assert.same({ "a", "b", "c" }, { list[1].id, list[2].id, list[3].id })
    assert.same({ 10, 1, 0 }, { list[1].age, list[2].age, list[3].age }) -- 0: another clock
    assert.equal("/a.php", list[1].path)
    assert.equal(3, more)
  end)

  it("is bounded", function()
    local many = {}
    for i = 1, requests.MOST + 5 do
      many[i] = request(("%04d"):format(i), i)
    end
    local list, more = requests.list({
      now = function() return 1e6 end, requests = function() return many, 2 end,
    })
    assert.equal(requests.MOST, #list)
    assert.equal("0001", list[1].id)
    assert.equal(7, more)
  end)
end)

describe("the end of a request", function()
  local told
  local core = {
    requests = function() return { request("00000000000000ab", 1) }, 0 end,
    kill = function(id)
      told = id
      return true
    end,
  }

  before_each(function() told = nil end)

  it("is told to the worker that has it, whatever the id looks like", function()
    for _, id in ipairs({ "00000000000000ab", "AB", "ab", "0ab" }) do
      told = nil
      assert.is_true(requests.kill(core, id))
      assert.equal("00000000000000ab", told)
    end
  end)

  it("needs the id of a request that is under way", function()
    for id, status in pairs({ [""] = 400, ["a b"] = 400, ["x"] = 404, ["cd"] = 404,
      [("0"):rep(15) .. "ab"] = 404, [("a"):rep(65)] = 400 }) do
      local done, problem, code = requests.kill(core, id)
      assert.is_nil(done)
      assert.is_string(problem)
      assert.equal(status, code)
    end
    assert.is_nil(told)
  end)

  it("may be asked for by the id that a proxy has sent, or by the server's own", function()
    local given = { id = "edge-7", own_id = "00000000000000cd", started = 1, uri = "/" }
    local proxied = { requests = function() return { request("00ab", 1), given } end,
      kill = core.kill }
    for _, id in ipairs({ "edge-7", "cd", "00000000000000CD" }) do
      told = nil
      assert.is_true(requests.kill(proxied, id))
      assert.equal("00000000000000cd", told)
    end
    assert.equal(404, select(3, requests.kill(proxied, "EDGE-7")))
  end)

  it("needs the own id where a proxy has sent one with several requests", function()
    local twice = { requests = function()
      return { { id = "edge-7", own_id = "00000000000000cd", started = 1, uri = "/" },
        { id = "edge-7", own_id = "00000000000000ef", started = 1, uri = "/" } }
    end, kill = core.kill }
    local done, problem, code = requests.kill(twice, "edge-7")
    assert.is_nil(done)
    assert.equal(409, code)
    assert.truthy(problem:find("00000000000000cd, 00000000000000ef", 1, true), problem)
    assert.is_nil(told)
    assert.is_true(requests.kill(twice, "ef"))
    assert.equal("00000000000000ef", told)
  end)
end)
