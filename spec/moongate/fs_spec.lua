-- Specs of moongate.fs.

describe("fs.first_line", function()
  local fs = require("moongate.fs")
  local probe, name

  before_each(function()
    probe = fs.probe
    name = os.tmpname()
  end)
  after_each(function()
    fs.probe = probe
    os.remove(name)
  end)

  --- The first line of a file with this text.
  local function first_line(text, what)
    local file = assert(io.open(name, "wb"))
    file:write(text)
    file:close()
    fs.probe = function()
      return what or "file"
    end
    return fs.first_line("", name)
  end

  it("is the line without blanks around it", function()
    assert.equal("8.2", first_line("8.2"))
    assert.equal("8.2", first_line("8.2\n"))
    assert.equal("8.2", first_line("8.2\r\n7.4\n"))
    assert.equal("8.2", first_line("  8.2  \nx"))
    assert.equal("8.2 beta", first_line("8.2 beta\n"))
    assert.is_nil(first_line(""))
  end)

  it("opens regular files only", function()
    assert.is_nil(first_line("8.2\n", "directory"))
    fs.probe = function()
      return nil
    end
    assert.is_nil(fs.first_line("", name))
  end)

  it("is nil where the file has gone meanwhile", function()
    fs.probe = function()
      return "file"
    end
    assert.is_nil(fs.first_line("", name .. ".gone"))
  end)
end)

describe("fs without the program", function()
  it("says that it needs it", function()
    package.loaded["moongate.fs"] = nil
    local fs = require("moongate.fs")
    local ok, message = pcall(fs.probe, "/", "/")
    assert.is_false(ok)
    assert.matches("only inside the moongate program", message)
  end)
end)
