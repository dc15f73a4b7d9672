-- Specs of README.md and docs/ as a whole: links lead somewhere, also where the pages are
-- installed; pages, examples, commands and settings that there are, are named.

local upcoming = require("moongate.base.upcoming")

local function read(path)
  local file = io.open(path)
  local text = file and file:read("*a")
  if file then
    file:close()
  end
  return text
end

local function list(pattern)
  local pipe = assert(io.popen("ls -d " .. pattern))
  local found = {}
  for line in pipe:lines() do
    found[#found + 1] = line
  end
  pipe:close()
  return found
end

local PAGES = list("README.md CONTRIBUTING.md CHANGELOG.md docs/*.md examples/*/*.md")

--- What `make install` puts beside one another, by the Makefile.
local INSTALLED = {}
local TO = " \"[^\n\"]*share/doc/moongate/\""
for files in read("Makefile"):gmatch("\n\tinstall %-m 644 ([^\n]-)" .. TO) do
  for name in files:gmatch("%S+") do
    INSTALLED[#INSTALLED + 1] = name
  end
end
for folders in read("Makefile"):gmatch("\n\tcp %-r ([^\n]-)" .. TO) do
  for name in folders:gmatch("%S+") do
    INSTALLED[#INSTALLED + 1] = name .. "/"
  end
end

--- A page's text without what is code.
local function prose(path)
  return ("\n" .. read(path)):gsub("\n```.-\n```", "\n"):gsub("`[^`\n]*`", function(code)
    return (code:gsub("[%[%]()]", " "))
  end)
end

--- The names of a page's headings, as its readers' programs make them.
local function anchors(path)
  local found = {}
  for heading in (("\n" .. read(path)):gsub("\n```.-\n```", "\n")):gmatch("\n#+ ([^\n]+)") do
    local text = heading:gsub("%[([^%]]*)%]%([^)]*%)", "%1"):lower()
    found[(text:gsub("[^%w _-]", ""):gsub(" ", "-"))] = true
  end
  return found
end

--- "docs/../examples/x" is "examples/x".
local function join(page, target)
  local path = (page:match("^(.*/)") or "") .. target
  while path:find("[^/]+/%.%./") do
    path = path:gsub("[^/]+/%.%./", "", 1)
  end
  return path
end

local function is_installed(path)
  for _, name in ipairs(INSTALLED) do
    if path == name or path .. "/" == name
      or (name:sub(-1) == "/" and path:find(name, 1, true) == 1) then
      return true
    end
  end
  return false
end

describe("the links of", function()
  for _, page in ipairs(PAGES) do
    it(page .. " lead somewhere, also once they are installed", function()
      for target in prose(page):gmatch("%]%(([^)%s]+)%)") do
        if not target:match("^%a[%w+.-]*:") then
          local path, anchor = target:match("^([^#]*)#?(.*)$")
          local where = path == "" and page or join(page, path)
          local what = page .. ": " .. target
          assert.is_truthy(os.rename(where, where), what .. ": not there")
          assert.is_true(is_installed(where), what .. ": not installed")
          if anchor ~= "" then
            assert.is_true(anchors(where)[anchor] or false, what .. ": no such heading")
          end
        end
      end
    end)
  end
end)

describe("README.md", function()
  local text = read("README.md")

  it("names every page and example", function()
    for _, path in ipairs(list("docs/*.md examples/*/route.lua")) do
      local named = text:find("(" .. path, 1, true)
        or text:find("(" .. path:gsub("route%.lua$", "README.md"), 1, true)
      assert.is_truthy(named, path)
    end
  end)

  it("names every command", function()
    local commands = read("lua/moongate/cli/commands.lua"):match("\nlocal COMMANDS = (%b{})")
    local count = 0
    for name in commands:gmatch('"(%w+)"') do
      assert.is_truthy(text:find("moongate " .. name .. "%f[^%w]"), name)
      count = count + 1
    end
    assert.is_true(count > 10)
  end)
end)

describe("docs/route.md", function()
  local page = read("docs/route.md")

  --- The keys of a table of moongate.route.schema.
  local function keys(name)
    local block = read("lua/moongate/route/schema.lua"):match("\nM%." .. name .. " = (%b{})")
    local found, depth = {}, 0
    for line in block:gmatch("[^\n]+") do
      local key = depth == 1 and line:match("^%s+([%a_]+) = ")
      found[#found + 1] = key or nil
      depth = depth + select(2, line:gsub("{", "")) - select(2, line:gsub("}", ""))
    end
    return found
  end

  for _, name in ipairs({ "TOP", "LIMITS", "BACKEND" }) do
    it("has every key of " .. name .. " that this version has", function()
      local found = keys(name)
      assert.is_true(#found > 5)
      for _, key in ipairs(found) do
        assert.is_truthy(page:find("`" .. key .. "`", 1, true) or upcoming.backend[key], key)
      end
    end)
  end
end)
