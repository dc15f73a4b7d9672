-- moongate.cli.printable: what clients have sent, on a terminal.

local printable = require("moongate.cli.printable").printable

describe("a text of a client", function()
  it("moves no cursor and hides nothing", function()
    assert.equal("a b~", printable("a b~"))
    assert.equal("\\x1b[31m\\x00\\x7f\\xc3\\xa9\\x0a", printable("\27[31m\0\127\195\169\n"))
  end)

  it("is cut", function()
    assert.equal(("x"):rep(100), printable(("x"):rep(100)))
    assert.equal(("x"):rep(97) .. "...", printable(("x"):rep(101)))
  end)
end)
