-- Specs of moongate.rewrite.

local filesystem = require("moongate.base.fs")
local rewrite = require("moongate.rewrite")

describe("rewrite.to", function()
  local req = { path = "/a", query = "x=1", uri = "/a?x=1", ip = "127.0.0.1" }

  it("changes path and query, and nothing else", function()
    local view = rewrite.to(req, "/b", "y=2")
    assert.equal("/b", view.path)
    assert.equal("y=2", view.query)
    assert.equal("/a?x=1", view.uri)
    assert.equal("127.0.0.1", view.ip)
    assert.is_nil(rewrite.to(req, "/b").query)
  end)

  it("lets no client's words climb", function()
    assert.equal("/etc/passwd", rewrite.to(req, "/files/../../etc/passwd").path)
    assert.equal("/a/b/", rewrite.to(req, "//a/./x/../b/.").path)
    assert.equal("/", rewrite.to(req, "/..").path)
  end)

  it("ends a circle", function()
    local function again(r)
      return again(rewrite.to(r, "/x"))
    end
    assert.has_error(function() again(req) end)
  end)

  it("says what is wrong", function()
    assert.has_error(function() rewrite.to(req, "b") end,
      'rewrite.to: expected a path such as "/index.php", got "b"')
  end)
end)

describe("rewrite.is_file and is_folder", function()
  local probe = filesystem.probe

  after_each(function()
    filesystem.probe = probe
  end)

  it("look below a folder only", function()
    local asked
    filesystem.probe = function(root, path)
      asked = root .. " " .. path
      return path == "/a.txt" and "file" or path == "/b" and "directory" or nil
    end
    assert.is_true(rewrite.is_file("/srv", "/a.txt"))
    assert.is_false(rewrite.is_folder("/srv", "/a.txt"))
    assert.is_true(rewrite.is_folder("/srv", "/b"))
    assert.is_false(rewrite.is_file("/srv", "/x/../../c"))
    assert.equal("/srv /c", asked)
  end)
end)

describe("rewrite.escape", function()
  it("makes a path one of a URL", function()
    assert.equal("/a%20b/%0D%0A", rewrite.escape("/a b/\r\n"))
  end)
end)
