-- Specs of README.md and docs/: every piece of Lua in them can be read by Lua.

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
  for _, name in ipairs({ "README.md", "docs/route.md", "docs/params.md" }) do
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

  it("the README and route.md begin with a valid route", function()
    local load = require("moongate.load")
    for _, name in ipairs({ "README.md", "docs/route.md" }) do
      local settings = load.source(blocks_of(name)[1], "route.lua")
      assert.equal("php82", settings.backends[#settings.backends].name)
    end
  end)
end)
