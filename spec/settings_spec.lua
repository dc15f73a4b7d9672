-- Specs of names that stand on two sides: settings in lua/moongate/route/schema.lua and
-- core/script/settings.c, balance policies in their folder, in settings and in the types.

local schema = require("moongate.route.schema")
local values = require("moongate.route.values")

-- What the library uses up itself, and what the loader reports to the master.
local LUA_ONLY = {
  backend = { max_conns = true, ini = true },
  limits = { shared = true },
  tracing = { -- of lua/moongate/worker/spans.lua
    resource = true, service = true,
  },
}

--- The texts in quotes of a file: the keys that it reads are among them.
local function quoted(path)
  local file = assert(io.open(path))
  local found = {}
  for text in file:read("*a"):gmatch('"([%w_]+)"') do
    found[text] = true
  end
  file:close()
  return found
end

describe("core/script/settings.c", function()
  local read = quoted("core/script/settings.c")
  local keys = schema.keys()

  for _, name in ipairs({ "limits", "backend", "server", "health", "tracing" }) do
    it("reads what a route may say of " .. name, function()
      for _, key in ipairs(keys[name]) do
        local own = LUA_ONLY[name] and LUA_ONLY[name][key]
        assert.truthy(read[key] or own, ("nobody reads %s of %s"):format(key, name))
        assert.falsy(own and read[key] and key ~= "max_conns",
          ("%s of %s is read by core/"):format(key, name))
      end
    end)
  end
end)

describe("a balance policy", function()
  it("is a file, a name that a route may say, and one that editors complete", function()
    local files, names = {}, { unpack(values.POLICIES) }
    local pipe = assert(io.popen("ls lua/moongate/balance"))
    for line in pipe:lines() do
      files[#files + 1] = line:match("^(.*)%.lua$")
    end
    pipe:close()
    table.sort(files)
    table.sort(names)
    assert.same(files, names)
    local file = assert(io.open("lua/moongate/types/moongate.lua"))
    local line = file:read("*a"):match("%-%-%-@field balance%? ([^\n]*)")
    file:close()
    for _, name in ipairs(names) do
      assert.truthy(line:find(('"%s"'):format(name), 1, true), name)
    end
  end)
end)
