-- moongate.decision.looks: a listener is told of looks at the disk, and fs is as before afterwards.

local fs = require("moongate.base.fs")
local looks = require("moongate.decision.looks")
local trace = require("moongate.decision.trace")

describe("the looks of a hook", function()
  local kept = {}

  before_each(function()
    for name in pairs(fs) do kept[name] = fs[name] end
    fs.probe = function(_, path)
      return path == "/a" and "file" or nil, path == "/out" and "outside"
    end
    fs.read_start = function(_, path) return path == "/a" and "text" or nil end
    fs.stat = function() return nil end
    fs.realpath = function() return "/elsewhere" end
  end)

  after_each(function()
    for name, value in pairs(kept) do fs[name] = value end
  end)

  it("are told, with what was found", function()
    local told = {}
    local probe, read_start = fs.probe, fs.read_start
    looks.begin(function(text) told[#told + 1] = text end)
    assert.equal("file", (fs.probe("/srv", "/a")))
    fs.probe("/srv", "/b")
    fs.probe("/", "/out", { "/srv", "/www" })
    assert.equal("text", fs.read_start("/srv", "/a", nil, 10))
    trace.step("a remark")
    looks.stop()
    assert.same({ "looked for /srv/a: file", "looked for /srv/b: not there",
      "looked for /out: refused: its real path /elsewhere is outside of /srv, /www",
      "looked for /srv/a: file", "a remark" }, told)
    assert.equal(probe, fs.probe)
    assert.equal(read_start, fs.read_start)
    assert.is_nil(trace.step)
  end)

  it("go to the last one who listens, and the end may come twice", function()
    local first, last, probe = 0, 0, fs.probe
    looks.begin(function() first = first + 1 end)
    looks.begin(function() last = last + 1 end)
    fs.probe("/srv", "/a")
    looks.stop()
    looks.stop()
    assert.same({ 0, 1 }, { first, last })
    assert.equal(probe, fs.probe)
  end)
end)
