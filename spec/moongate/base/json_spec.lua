-- Specs of moongate.base.json.

local json = require("moongate.base.json")

describe("json.encode", function()
  it("writes values", function()
    assert.equal("null", json.encode(nil))
    assert.equal("true", json.encode(true))
    assert.equal("5", json.encode(5))
    assert.equal("-5", json.encode(-5))
    assert.equal("0.25", json.encode(0.25))
    assert.equal("1000000000000", json.encode(1e12))
    assert.equal("null", json.encode(0 / 0))
    assert.equal("null", json.encode(math.huge))
    assert.equal('"a function"', json.encode(print))
  end)

  it("escapes texts", function()
    assert.equal([["a\"b\\c\n\u0000\u001f\u007f/"]], json.encode('a"b\\c\n\0\31\127/'))
    assert.equal('"h\195\169"', json.encode("h\195\169"))
  end)

  it("replaces bytes that are not UTF-8", function()
    local bad = "\239\191\189"
    assert.equal('"a' .. bad .. 'b"', json.encode("a\255b"))
    assert.equal('"' .. bad .. bad .. '"', json.encode("\192\128"))
    assert.equal('"' .. bad:rep(3) .. '"', json.encode("\237\160\128"))
    assert.equal('"' .. bad .. '"', json.encode("\195"))
    assert.equal('"\226\130\172\240\159\145\141"', json.encode("\226\130\172\240\159\145\141"))
  end)

  it("writes lists, empty ones where they are marked", function()
    assert.equal("[\n  1,\n  2\n]", json.encode({ 1, 2 }))
    assert.equal("[]", json.encode(json.list({})))
    assert.equal("{}", json.encode({}))
  end)

  it("writes keys in order", function()
    assert.equal('{\n  "a": 1,\n  "b": {\n    "c": []\n  }\n}',
      json.encode({ b = { c = json.list({}) }, a = 1 }))
  end)
end)

describe("json.decode", function()
  it("reads what encode writes", function()
    local value = {
      a = { 1, -2.5, 1e20, "x" }, b = true, c = false, d = {}, ['"\\\n\t'] = 'ä"\1/', e = { {} },
    }
    assert.same(value, json.decode(json.encode(value)))
  end)

  it("reads every form", function()
    for text, value in pairs({
      ["1"] = 1, [" -0.5e+2 "] = -50, ["true"] = true, ["false"] = false, ['""'] = "",
      ['"a\\u00e4\\u20AC\\ud83d\\ude00\\/\\b"'] = "aä€😀/\b", ['"\\ud83d"'] = "\239\191\189",
      ["[]"] = {}, ["{}"] = {}, ["[1,[2],{}]"] = { 1, { 2 }, {} },
      ['{ "a" : null, "b": [ ] }'] = { b = {} },
    }) do
      local got, problem = json.decode(text)
      assert.is_nil(problem)
      assert.same(value, got)
    end
    assert.is_nil((json.decode("null")))
  end)

  it("keeps an empty list a list", function()
    assert.equal("[]", json.encode(json.decode("[]")))
  end)

  for _, case in ipairs({
    { "", "byte 1: expected a value" }, { "x", "byte 1: expected a value" },
    { "tru", "byte 1: expected a value" }, { "[1", "byte 3: expected ',' or ']'" },
    { "[1,]", "byte 4: expected a value" }, { '{"a"}', "byte 5: expected ':'" },
    { "{a:1}", "byte 2: expected a key" }, { '{"a":1', "byte 7: expected ',' or '}'" },
    { '"a', "byte 3: expected the end of a text" },
    { '"\n"', "byte 2: expected the end of a text" },
    { '"\\x"', "byte 2: expected an escape" }, { '"\\u12"', "byte 2: expected four hex digits" },
    { "1 2", "byte 3: expected the end" }, { "-", "byte 1: expected a value" },
    { ("["):rep(200), "byte 101: expected fewer levels" },
  }) do
    it("rejects " .. case[1]:sub(1, 10):gsub("%c", "?"), function()
      local value, problem = json.decode(case[1])
      assert.is_nil(value)
      assert.equal(case[2], problem)
    end)
  end
end)

describe("json.each", function()
  local function members(text, last)
    local list = {}
    local problem = json.each(text, function(key, value)
      list[#list + 1] = key .. "=" .. tostring(value)
      return key ~= last
    end)
    return table.concat(list, " "), problem
  end

  it("goes through the members of an object in their order", function()
    assert.equal("b=1 a=x b=true", (members(' {"b":1, "a":"x","b":true} ')))
    assert.equal("", (members("{}")))
    assert.equal("b=1", (members('{"b":1,"a":2}', "b")))
  end)

  it("says where the text is none", function()
    local found, problem = members('{"a":1,"b"')
    assert.equal("a=1", found)
    assert.equal("byte 11: expected ':'", problem)
    assert.equal("byte 1: expected '{'", select(2, members("[1]")))
    assert.equal("byte 4: expected the end", select(2, members("{} 5")))
  end)
end)
