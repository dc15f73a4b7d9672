-- Specs of moongate.route.sources. What a route loads is in load_spec.lua.

local sources = require("moongate.route.sources")

describe("sources.of", function()
  local fs = {
    getcwd = function()
      return "/home/ann"
    end,
  }

  --- The files that are noted for these arguments of loadfile.
  local function noted(first, paths, with)
    return (sources.of(with or fs, first, function()
      for _, path in ipairs(paths) do
        loadfile(path)
      end
    end))
  end

  it("gives what the function gives", function()
    local files, ok, value = sources.of(fs, nil, function()
      return 7
    end)
    assert.same({ {}, true, 7 }, { files, ok, value })
    files, ok, value = sources.of(fs, "/a", function()
      error({ code = 5 })
    end)
    assert.same({ { "/a" }, false, { code = 5 } }, { files, ok, value })
  end)

  it("makes paths absolute, and says each once", function()
    assert.same({ "/srv/r.lua", "/home/ann/a.lua", "/home/ann/b/c.lua", "/x/../y.lua" },
      noted("/srv/r.lua", { "a.lua", "./a.lua", "b//./././c.lua", "/x/../y.lua", "/srv//r.lua" }))
  end)

  it("leaves a path as it is where nobody knows the current folder", function()
    assert.same({ "a.lua" }, noted(nil, { "a.lua" }, { getcwd = error }))
    assert.same({ "a.lua" }, noted(nil, { "a.lua" }, {}))
  end)

  it("leaves out names that would break a line", function()
    assert.same({ "/a" }, noted("/a", { "/b\tc", "/b\nfile\t/d" }))
  end)

  it("is bounded", function()
    local paths = {}
    for i = 1, sources.MAX + 5 do
      paths[i] = "/nowhere/" .. i
    end
    assert.equal(1000, #noted(nil, paths))
  end)

  it("says what each file was before it was read", function()
    local count = 0
    local files = noted("/srv/r.lua", { "/srv/a.lua", "/srv/r.lua" }, {
      getcwd = fs.getcwd,
      stamp = function(path)
        count = count + 1
        return path .. count
      end,
    })
    assert.same({
      "/srv/r.lua", "/srv/a.lua",
      ["/srv/r.lua"] = "/srv/r.lua1", ["/srv/a.lua"] = "/srv/a.lua2",
    }, files)
  end)

  it("knows where a module that is missing may come to lie", function()
    local before = package.path
    finally(function()
      package.path = before
    end)
    package.path = "/srv/?.lua;lib/?/init.lua"
    local files = sources.of(fs, nil, function()
      pcall(require, "sources_spec.none")
    end)
    assert.same({ "/srv/sources_spec/none.lua", "/home/ann/lib/sources_spec/none/init.lua" }, files)
  end)

  it("shows a script nothing else than Lua does", function()
    local plain = { pcall(dofile, "/nowhere/x.lua") }
    local missing = { loadfile("/nowhere/x.lua") }
    local absent = { pcall(require, "sources_spec_none") }
    sources.of(fs, nil, function()
      assert.same(plain, { pcall(dofile, "/nowhere/x.lua") })
      assert.same(missing, { loadfile("/nowhere/x.lua") })
      assert.same(absent, { pcall(require, "sources_spec_none") })
    end)
  end)

  it("leaves a loader and a function of the script's own in place", function()
    local loader, own = package.loaders[2], function() end
    finally(function()
      table.remove(package.loaders, 1)
      _G.dofile = dofile -- luacheck: ignore 122
    end)
    local original = dofile
    sources.of(fs, nil, function()
      table.insert(package.loaders, 1, own)
      _G.dofile = own -- luacheck: ignore 122
    end)
    assert.equal(own, package.loaders[1])
    assert.equal(loader, package.loaders[3])
    assert.equal(own, _G.dofile)
    _G.dofile = original -- luacheck: ignore 122
  end)
end)

describe("sources.snapshot", function()
  local path = os.tmpname()

  local function write(text)
    local file = assert(io.open(path, "wb"))
    file:write(text)
    file:close()
  end

  after_each(function()
    sources.use_snapshot(nil)
    os.remove(path)
  end)

  it("holds what the files held, whatever bytes these are", function()
    local text = "a\0b\n12 /etc/passwd\n"
    write(text)
    sources.use_snapshot(sources.snapshot({ path, "/nowhere", path }))
    write("later")
    assert.equal(text, sources.kept(path))
    assert.is_nil(sources.kept("/nowhere"))
  end)

  it("of an empty file is empty", function()
    write("")
    sources.use_snapshot(sources.snapshot({ path }))
    assert.equal("", sources.kept(path))
  end)

  it("is not made of a file beyond 16 MB", function()
    write(("x"):rep(16 * 1024 ^ 2 + 1))
    assert.is_nil(sources.snapshot({ path }))
  end)
end)
