-- Specs of the layers of core/: what the page on architecture says of its folders and files is what
-- lies there, and no file reaches around the include path that the Makefile gives its room.

local function read(name)
  local file = assert(io.open(name))
  local text = file:read("*a")
  file:close()
  return text
end

--- The lines that a command prints.
local function lines_of(command)
  local lines = {}
  local pipe = assert(io.popen(command))
  for line in pipe:lines() do
    lines[#lines + 1] = line
  end
  pipe:close()
  return lines
end

describe("the rooms of core/", function()
  local page = read("docs/architecture.md")
  local rooms = lines_of("ls core")

  it("are those of the picture and of the Makefile", function()
    local drawn = {}
    for line in page:match("\n    core/\n(.-\n)\n"):gmatch("(.-)\n") do
      drawn[#drawn + 1] = line:match("^      (%l+)/")
    end
    table.sort(drawn)
    assert.same(rooms, drawn)
    local made = {}
    for room in read("Makefile"):match("\nROOMS%s*= ([%l ]+)"):gmatch("%l+") do
      made[#made + 1] = room
    end
    table.sort(made)
    assert.same(rooms, made)
  end)

  for _, room in ipairs(rooms) do
    it("have a row for each file of " .. room, function()
      local tables = page:match("\n| " .. room .. "/ | owns |\n(.-)\n\n")
      local named = {}
      for name in tables:gmatch("`([%l%d_/]+)`") do
        named[name] = true
      end
      for _, path in ipairs(lines_of("cd core/" .. room .. " && find . -name '*.c'")) do
        local name = path:match("^%./(.*)%.c$")
        assert.truthy(named[name], "docs/architecture.md: no row of " .. room .. " names " .. name)
      end
    end)
  end

  it("are left by no include that names another folder", function()
    assert.same({}, lines_of("grep -rn 'include \"\\.' core"))
  end)
end)
