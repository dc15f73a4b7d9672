-- `moongate test examples/cluster/route.lua`: a Redis of the spec's stands in for the real one.

local route = require("moongate.testing").load("route.lua")

describe("a Moongate of the cluster", function()
  local answer

  before_each(function()
    answer = { 1, "10.0.0.2:9000" }
    local client = { set_timeout = function() end, set_keepalive = function() end,
      close = function() end }
    function client.connect()
      return answer and 1, "connection refused"
    end
    function client.eval()
      return answer
    end
    package.loaded["resty.redis"] = { new = function() return client end }
  end)

  after_each(function()
    package.loaded["resty.redis"] = nil
  end)

  local function ask(host)
    return route:request { url = "http://" .. host .. "/" }
  end

  it("passes on what Redis has counted", function()
    local out = ask("blue.localhost")
    assert.equal("app", out.backend)
    assert.equal("1", out.params.COUNT)
    assert.equal("blue.localhost", out.params.TENANT)
  end)

  it("refuses who asks too often, wherever that was", function()
    answer[1] = 21
    local out = ask("blue.localhost")
    assert.equal(429, out.status)
    assert.equal(10, out.headers["Retry-After"])
  end)

  it("knows its tenants only", function()
    assert.equal(404, ask("other.localhost").status)
  end)

  it("serves all the same while Redis is away", function()
    answer = nil
    local out = ask("blue.localhost")
    assert.equal("app", out.backend)
    assert.equal("unknown", out.params.COUNT)
  end)
end)
