-- What formats the access log may have, and what is said of others.

local log_format = require("moongate.route.log_format")

local function problem(text)
  local normalized, _, why = log_format.check(text)
  assert.is_nil(normalized)
  return why
end

describe("a format of the access log", function()
  it("is a name, a function, or a text with fields", function()
    local fn = function() end
    for _, value in ipairs({
      "combined", "json", fn, "$client", "a ${uri}b $$ $http_x_real_ip", '{"t":$time}', "$uri\t$id",
    }) do
      assert.equal(value, log_format.check(value))
    end
    assert.equal(log_format.NAMED.vcombined, log_format.check("vcombined"))
    for _, value in ipairs({ "apache", "", "%h %u", 7, true }) do
      local normalized, expected, why = log_format.check(value)
      assert.is_nil(normalized)
      assert.matches('^"combined", "vcombined", "json", a text with fields', expected)
      assert.is_nil(why)
    end
  end)

  it("knows each of its fields, and what other servers call them", function()
    for _, name in ipairs(log_format.fields()) do
      assert.equal("$" .. name, log_format.check("$" .. name))
    end
    assert.equal("there is no field '$clint'; did you mean 'client'?", problem("a $clint b"))
    assert.equal("there is no field '$remote_addr'; here it is '$client'", problem("$remote_addr"))
    assert.equal("there is no field '$zzzzzzzz'", problem("$client $zzzzzzzz"))
    assert.equal("a '$' without the name of a field; the sign itself is '$$'", problem("$client $"))
    assert.matches("^there is no field '$http'", problem("$http-x"))
    assert.equal("'${client' has no '}'", problem("${client $uri"))
  end)

  it("is one line, and not without end", function()
    assert.equal("a format has no control bytes but tabs: a request is one line",
      problem("$client\n$uri"))
    assert.equal("a format has at most 4096 bytes", problem("$uri" .. ("x"):rep(4093)))
    assert.equal("a format has at most 60 fields", problem(("$uri "):rep(61)))
    assert.equal(("$uri "):rep(60), log_format.check(("$uri "):rep(60)))
  end)

  it("has the fields that its page lists", function()
    local file = assert(io.open("docs/logs.md"))
    local page = file:read("*a")
    file:close()
    for _, name in ipairs(log_format.fields()) do
      assert.truthy(page:find("`$" .. name .. "`", 1, true), "docs/logs.md lacks $" .. name)
    end
  end)
end)
