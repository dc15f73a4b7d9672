-- Specs of the border between lua/moongate/route/schema.lua and core/script/settings.c: a setting
-- that a route may have is read by one of the two sides.

local schema = require("moongate.route.schema")

-- What the library uses up itself, and what the loader reports to the master.
local LUA_ONLY = {
  backend = { balance = true, max_conns = true, multiplex = true, ini = true },
  limits = { shared = true },
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

  for _, name in ipairs({ "limits", "backend", "server", "health" }) do
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
