-- Specs of moongate.worker.arguments: what a script sees of a query and of cookies.

local arguments = require("moongate.worker.arguments")

--- All that `each` gives, and the lists of `all`.
local function told(t)
  local values, lists = {}, {}
  for name, value in t:each() do
    values[name], lists[name] = value, t:all(name)
  end
  return values, lists
end

describe("args", function()
  it("are read as PHP reads a query", function()
    local values, lists = told(arguments.args("a=1&b=x+y%20z&a=2&c&=5&&d=%zz%4&e=1=2&%61=3&f=%00"))
    assert.same({ a = "3", b = "x y z", c = "", d = "%zz%4", e = "1=2", f = "\0" }, values)
    assert.same({ "1", "2", "3" }, lists.a)
    assert.same({ "" }, lists.c)
  end)

  it("are none without a query", function()
    for _, query in ipairs({ "", "&", "=", "&&=x" }) do
      assert.same({}, (told(arguments.args(query))))
    end
    local none = arguments.args(nil)
    assert.is_nil(none.a)
    assert.same({}, none:all("a"))
  end)

  it("can't shadow the methods", function()
    local args = arguments.args("all=1&each=2&__index=3")
    assert.equal(arguments.methods.all, args.all)
    assert.same({ "1" }, args:all("all"))
    assert.equal("3", args.__index)
  end)

  it("take the text that is not UTF-8, and keys of all kinds", function()
    local args = arguments.args("\255=%ff")
    assert.equal("\255", args["\255"])
    assert.is_nil(args[1])
    assert.is_nil(args[nil])
  end)

  it("are read-only, and their methods want a colon", function()
    local args = arguments.args("a=1")
    assert.has_error(function()
      args.a = 2
    end, "req.args and req.cookies can't be assigned: req is read-only")
    assert.error_matches(function()
      args.all("a")
    end, 'with a colon%), got "a"$')
    assert.error_matches(function()
      args.each({})
    end, "with a colon%), got a table$")
    assert.error_matches(function()
      args:all(5)
    end, "all: expected the name of an argument or cookie, got 5$")
    assert.equal("moongate.pairs", getmetatable(args))
  end)
end)

describe("cookies", function()
  it("are read as PHP reads them", function()
    local values, lists = told(arguments.cookies("a=1; b = x%20+y ;a=2;\tc;; =5;d=\"q\""))
    assert.same({ a = "1", b = "x +y", c = "", d = '"q"' }, values)
    assert.same({ "1", "2" }, lists.a)
  end)
end)
