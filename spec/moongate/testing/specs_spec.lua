-- Specs of moongate.testing.specs. Specs are run in a process of their own: busted has one state.

local folder = require("support.folder")

describe("specs.check", function()
  local dir
  before_each(function()
    dir = folder.new("spec/sub", "none")
  end)
  after_each(function()
    folder.remove(dir)
  end)

  local function write(name, text)
    folder.write(dir .. "/" .. name, text)
  end

  --- What specs.check says about the folder, in a process of its own.
  local function check(name, before)
    write("run.lua", ([[
      %s
      local specs, fs = require("moongate.testing.specs"), require("moongate.base.fs")
      fs.stat = function(path) return path:find("%%.lua$") and "file" or "directory" end
      io.write(tostring(specs.check({ test = %q, source = %q })))
    ]]):format(before or "", dir .. "/" .. name, dir .. "/route.lua"))
    local pipe = assert(io.popen("LUA_PATH='lua/?.lua;lua/?/init.lua;;' luajit '" .. dir
      .. "/run.lua' 2>&1"))
    local text = pipe:read("*a")
    pipe:close()
    return text
  end

  it("is content with specs that pass", function()
    write("route.lua", "return { on_request = print }")
    write("spec/a_spec.lua", [[
      local testing = require("moongate.testing")
      describe("a", function()
        it("finds the route beside its specs, by name and without", function()
          assert.is_function(testing.load("route.lua").settings.hooks.on_request)
          assert.equal(testing.load("./route.lua").settings.source, testing.load().settings.source)
        end)
        pending("is not counted as a failure")
      end)]])
    write("spec/sub/b_spec.lua", "it('b', function() end)")
    write("spec/helper.lua", "error('is no spec')")
    assert.equal("nil", check("spec"))
  end)

  it("names the failures, with file and line", function()
    write("spec/a_spec.lua", [[describe("cart", function()
      it("is empty", function()
        assert.equal(1, 2)
      end)
      it("breaks", function() error("boom") end)
      it("is fine", function() end)
    end)]])
    write("spec/sub/b_spec.lua", "return {")
    local text = check("spec")
    local a = dir .. "/spec/a_spec.lua"
    for _, line in ipairs({
      dir .. "/spec/sub/b_spec.lua:1: unexpected symbol near '<eof>'\n",
      "\n" .. a .. ":3: cart is empty: Expected objects to be equal.\n",
      "\n" .. a .. ":5: cart breaks: boom",
    }) do
      assert.is_truthy(text:find(line, 1, true), line .. " is not in\n" .. text)
    end
    assert.is_nil(text:find("is fine", 1, true))
  end)

  it("says a long file's name in full", function()
    local long = ("x"):rep(70) .. "_spec.lua"
    write("spec/" .. long, "it('a', function() error('boom') end)")
    assert.equal(dir .. "/spec/" .. long .. ":1: a: boom", check("spec"))
  end)

  it("stays short", function()
    write("spec/a_spec.lua", "for i = 1, 25 do\n"
      .. "it('n' .. i, function() error(('x\\n'):rep(99)) end) end")
    local text = check("spec")
    assert.matches("\nand 15 more$", text)
    assert.is_true(#text < 4000)
  end)

  it("does not take no specs for good ones", function()
    assert.matches("No test files found", check("none"))
  end)

  it("says what to install where there is no busted", function()
    assert.equal(dir .. "/route.lua: test: busted is not installed; on Debian: apt-get install "
      .. "lua-busted", check("spec", 'package.path = "lua/?.lua;lua/?/init.lua"'))
  end)

  it("runs nothing where none are named", function()
    assert.is_nil(require("moongate.testing.specs").check({ source = "r.lua" }))
  end)
end)
