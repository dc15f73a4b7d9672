-- Specs of moongate.json, with the lua-cjson of the system.

local json = require("moongate.json")

describe("moongate.json", function()
  it("writes and reads values", function()
    assert.equal('{"list":[1,2,"a"]}', json.encode({ list = { 1, 2, "a" } }))
    assert.equal("[null,true]", json.encode({ json.null, true }))
    assert.equal("{}", json.encode({}))
    assert.same({ a = { 1, json.null, { b = false } }, c = "\195\164\226\130\172" },
      json.decode('{"a": [1, null, {"b": false}], "c": "\195\164\\u20ac"}'))
    assert.equal(json.null, json.decode("null"))
    assert.equal(0.5, json.decode("0.5"))
    assert.equal('{"1":1,"100000":2}', (json.encode({ [1] = 1, [100000] = 2 })
      :gsub('{"100000":2,"1":1}', '{"1":1,"100000":2}')))
  end)

  it("says what is no JSON, or can't be", function()
    for text, place in pairs({ [""] = 1, ["{"] = 2, ["NaN"] = 1, ["[1] x"] = 5 }) do
      local value, problem = json.decode(text)
      assert.is_nil(value)
      assert.matches("^Expected .* but found .* at character " .. place .. "$", problem)
    end
    local text, problem = json.encode({ f = print })
    assert.is_nil(text)
    assert.matches("type not supported", problem)
  end)

  it("goes a hundred levels deep, in both directions", function()
    local function deep(levels)
      return ("["):rep(levels) .. ("]"):rep(levels)
    end
    assert.is_table(json.decode(deep(100)))
    local value, problem = json.decode(deep(101))
    assert.is_nil(value)
    assert.matches("^Found too many nested data structures", problem)
    local circle = {}
    circle[1] = circle
    value, problem = json.encode(circle)
    assert.is_nil(value)
    assert.matches("excessive", problem)
  end)

  it("is not changed by what a script says to cjson", function()
    local cjson = require("cjson")
    cjson.decode_max_depth(5)
    finally(function() cjson.decode_max_depth(1000) end)
    assert.is_table(json.decode(("["):rep(50) .. ("]"):rep(50)))
  end)

  it("says whose mistake it is", function()
    local ok, message = pcall(function()
      local value = json.decode(nil)
      return value
    end)
    assert.is_false(ok)
    assert.matches("json_spec.lua:%d+: json.decode: expected a text, got nothing$", message)
  end)
end)
