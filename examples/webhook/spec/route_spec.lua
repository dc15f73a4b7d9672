-- `moongate test examples/webhook/route.lua`

local hash = require("moongate.hash")
local route = require("moongate.testing").load("route.lua")

local function call(body, signature)
  return route:request {
    url = "http://localhost/hook", method = "POST", body = body,
    headers = { ["X-Hub-Signature-256"] = signature
      or "sha256=" .. hash.hmac("sha256", "a secret of this example", body) },
  }
end

describe("web hooks", function()
  it("go where their body says", function()
    assert.equal("builds", call('{"action":"push"}').backend)
    assert.equal("events", call('{"action":"star"}').backend)
    assert.equal("events", call("no JSON").backend)
  end)

  it("are refused where nobody has signed them", function()
    assert.equal(403, call('{"action":"push"}', "sha256=0").status)
    assert.equal(403, call('{"action":"push"}', "").status)
  end)

  it("have a body that fits into memory", function()
    assert.equal(413, call(("x"):rep(100000)).status)
  end)
end)
