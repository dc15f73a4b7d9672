-- Specs of the layers of core/ and of lua/moongate: what the page on architecture says of folders
-- and files is what lies there. No file of core/ reaches around the include path that the Makefile
-- gives its room; no module of lua/moongate requires what lies above it.

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

--- The names in the first column of a table of the page.
local function names_of(rows)
  local names = {}
  for first in ("\n" .. rows):gmatch("\n|([^|]*)|") do
    for name in first:gmatch("`([%w_/]+)`") do
      names[#names + 1] = name
    end
  end
  return names
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
      for _, name in ipairs(names_of(tables)) do
        local path = ("core/%s/%s"):format(room, name)
        local file = io.open(path .. ".c") or io.open(path .. ".h")
        assert.truthy(file, "docs/architecture.md: there is no " .. path)
        file:close()
      end
    end)
  end

  it("have a row for each header without a file of its name", function()
    local missing = {}
    for _, path in ipairs(lines_of("find core -name '*.h'")) do
      local room, name = path:match("^core/(%l+)/(.*)%.h$")
      local file = io.open(path:gsub("h$", "c"), "r")
      if file then
        file:close()
      else
        local tables = page:match("\n| " .. room .. "/ | owns |\n(.-)\n\n")
        if not tables:find(("`%s`"):format(name), 1, true) then
          missing[#missing + 1] = path
        end
      end
    end
    assert.same({}, missing)
  end)


  it("are counted by tools/lines, every line once", function()
    local named, total = {}, nil
    for _, line in ipairs(lines_of("tools/lines")) do
      local room, code, comments, blank, all = line:match(
        "^| (%l+) | (%d+) | (%d+) | (%d+) | (%d+) |")
      if room then
        assert.equal(tonumber(all), code + comments + blank)
        named[#named + 1], total = room, tonumber(all)
      end
    end
    assert.equal("all", table.remove(named))
    assert.same(rooms, named)
    local cat = "find core -name '*.[ch]' -exec cat {} + | wc -l"
    assert.equal(tonumber(lines_of(cat)[1]), total)
  end)

  it("include the headers of a library where the page says so", function()
    local seen = 0
    for files, header in page:gsub("\n", " "):gmatch("only `([^`]+)` includes? `([^`]+)`") do
      local found = lines_of(("grep -rlE '#include <(.*/)?%s>' core"):format(header))
      assert.is_true(#found > 0, header)
      for _, path in ipairs(found) do
        local pattern = "^core/" .. files:gsub("%p", "%%%0"):gsub("%%%*", ".*")
        assert.truthy(path:gsub("%.h$", ".c"):find(pattern), path .. " includes " .. header)
      end
      seen = seen + 1
    end
    assert.is_true(seen >= 4)
  end)

  it("are left by no include that names another folder", function()
    assert.same({}, lines_of("grep -rn 'include \"\\.' core"))
  end)
end)

describe("the folders of lua/moongate", function()
  local page = read("docs/architecture.md")

  --- In which line of the picture, counted from the top, a file or folder stands.
  local lines = {}
  do
    local count = 0
    for line in page:match("\n    lua/moongate/\n(.-\n)\n"):gmatch("(.-)\n") do
      count = count + 1
      for name in line:match("^      (%S.-)  "):gmatch("%S+") do
        lines[name] = count
      end
    end
  end

  --- Every module, such as "init" or "route/load": what it requires of the library, by the same
  --- names. A name that is put together while it runs counts as its folder.
  local modules = {}
  local knows_core = {}
  for _, path in ipairs(lines_of("cd lua/moongate && find . -name '*.lua' | LC_ALL=C sort")) do
    local name = path:match("^%./(.*)%.lua$")
    local code = ("\n" .. read("lua/moongate/" .. path)):gsub("\n%s*%-%-[^\n]*", "")
    local found = {}
    for required in code:gmatch('require[(,]%s*"(moongate[%w_.]*)"') do
      local module = required == "moongate" and "init"
        or required:sub(#"moongate." + 1):gsub("%.", "/")
      if module:match("^core%f[/%z]") then
        knows_core[name] = not name:match("^cli/") or nil
      else
        found[module] = true
      end
    end
    modules[name] = found
  end

  --- The file of a module that is required.
  local function file_of(module)
    return modules[module] and module or modules[module .. "/init"] and module .. "/init" or nil
  end

  local function line_of(name)
    return lines[name:match("^(.-/)") or name]
  end

  it("are those of the picture", function()
    local there = {}
    for name in pairs(modules) do
      there[name:match("^(.-/)") or name] = true
    end
    for name in pairs(there) do
      assert.truthy(lines[name], "docs/architecture.md: the picture has no " .. name)
    end
    for name in pairs(lines) do
      assert.truthy(there[name], "lua/moongate: there is no " .. name)
    end
  end)

  it("know only what lies in their own line of it, and below", function()
    local wrong, seen = {}, 0
    for name, found in pairs(modules) do
      for module in pairs(found) do
        seen = seen + 1
        local other = file_of(module) or module:match("/$") and module
        assert.truthy(other, name .. " requires " .. module)
        if line_of(other) < line_of(name) then
          wrong[#wrong + 1] = name .. " requires " .. module
        end
      end
    end
    assert.same({}, wrong)
    assert.is_true(seen > 100)
  end)

  it("have no circle", function()
    local state = {}
    local function visit(name, way)
      assert.not_equal("open", state[name], way .. " > " .. name)
      if not state[name] then
        state[name] = "open"
        for module in pairs(modules[name]) do
          if file_of(module) then
            visit(file_of(module), way .. " > " .. name)
          end
        end
        state[name] = "done"
      end
    end
    for name in pairs(modules) do
      visit(name, "")
    end
  end)

  it("have a row for each module", function()
    for name in pairs(modules) do
      local folder, base = name:match("^(.-/)(.*)$")
      local rows = page:match("\n| lua/moongate/" .. (folder or "") .. " | owns |\n(.-)\n\n")
      assert.truthy(rows and rows:find("`" .. (base or name) .. "`", 1, true),
        "docs/architecture.md: no row names " .. name)
    end
  end)

  it("are all there that have a row", function()
    local seen = 0
    local apart = page:gsub("\n\n", "\n\n\n") -- so that a table does not end where the next begins
    for folder, rows in apart:gmatch("\n| lua/moongate/([%l_/]*) | owns |\n(.-)\n\n") do
      for _, name in ipairs(names_of(rows)) do
        assert.truthy(file_of(folder .. name), ("docs/architecture.md: there is no %s%s"):format(
          folder, name))
        seen = seen + 1
      end
    end
    assert.is_true(seen > 150)
  end)

  it("know the core where the page says so", function()
    local said = {}
    local names = page:gsub("\n", " "):match("Only ([^.]-) and the commands know `moongate.core`")
    for name in names:gmatch("`([^`]+)`") do
      said[name] = true
    end
    assert.same(knows_core, said)
  end)

  it("have their specs in the same place", function()
    for _, path in ipairs(lines_of("cd spec/moongate && find . -name '*.lua'")) do
      local name = path:match("^%./(.*)_spec%.lua$")
      assert.truthy(modules[name], "there is a spec of " .. tostring(name) .. ", and no module")
    end
  end)
end)
