-- Specs of README.md and docs/: every piece of Lua in them can be read by Lua, and those that stand
-- for a route are one.

--- The Lua blocks of a page.
local function blocks_of(name)
  local file = assert(io.open(name))
  local text = file:read("*a")
  file:close()
  local blocks = {}
  for block in text:gmatch("\n```lua\n(.-)\n```") do
    blocks[#blocks + 1] = block
  end
  return blocks
end

describe("the Lua in", function()
  for _, name in ipairs({ "README.md", "docs/route.md", "docs/params.md", "docs/balancing.md" }) do
    it(name .. " is Lua", function()
      local blocks = blocks_of(name)
      assert.is_true(#blocks > 0)
      for _, block in ipairs(blocks) do
        -- Lines of a script, or fields of the table that a route returns.
        local chunk, problem = loadstring(block)
        assert.is_function(chunk or loadstring("return {\n" .. block .. "\n}"), problem)
      end
    end)
  end

  it("balancing.md is all valid routes", function()
    local load = require("moongate.load")
    for i, block in ipairs(blocks_of("docs/balancing.md")) do
      if not block:find("\nreturn {", 1, true) and not block:find("^return {") then
        local hook = block:find("on_request", 1, true) and "" or "\non_request = print,"
        block = ("return {%s\n%s\n}"):format(hook, block)
      end
      local ok, problem = pcall(load.source, block, "block-" .. i)
      assert.is_true(ok, problem)
    end
  end)

  it("the README and route.md begin with a valid route", function()
    local load = require("moongate.load")
    for _, name in ipairs({ "README.md", "docs/route.md" }) do
      local settings = load.source(blocks_of(name)[1], "route.lua")
      assert.equal("php82", settings.backends[#settings.backends].name)
    end
  end)
end)
