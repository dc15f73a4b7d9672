-- Specs of moongate.base.fs.

describe("fs.first_line", function()
  local fs = require("moongate.base.fs")
  local read_start

  before_each(function()
    read_start = fs.read_start
  end)
  after_each(function()
    fs.read_start = read_start
  end)

  --- The first line of a file that begins so.
  local function first_line(text)
    fs.read_start = function(root, path, within, size)
      assert.same({ "/srv", "/x", "/within", 256 }, { root, path, within, size })
      return text
    end
    return fs.first_line("/srv", "/x", "/within")
  end

  it("is the line without blanks around it", function()
    assert.equal("8.2", first_line("8.2"))
    assert.equal("8.2", first_line("8.2\n"))
    assert.equal("8.2", first_line("8.2\r\n7.4\n"))
    assert.equal("8.2", first_line("  8.2  \nx"))
    assert.equal("8.2 beta", first_line("8.2 beta\n"))
    assert.is_nil(first_line(""))
  end)

  it("is nil where there is no such file", function()
    assert.is_nil(first_line(nil))
  end)
end)

describe("fs without the program", function()
  it("says that it needs it", function()
    package.loaded["moongate.base.fs"] = nil
    local fs = require("moongate.base.fs")
    local ok, message = pcall(fs.probe, "/", "/")
    assert.is_false(ok)
    assert.matches("only inside the moongate program", message)
  end)
end)
