-- moongate.types owns what an editor is told of a route: definition files for the Lua language
-- server (LuaLS), which complete `req.` and the keys of decisions and settings, and show what they
-- are. Written to disk by `moongate types`; never loaded by a route.
-- spec/moongate/types/init_spec.lua compares every class with the code that it describes.

local M = {}

--- The first words of each file: what begins so was written by `moongate types`.
M.MARK = "-- Written by `moongate types`"

--- By the name that is required; the file's is the last part of that.
---@type table<string, string>
M.files = {
  ["moongate"] = require("moongate.types.moongate"),
  ["moongate.router"] = require("moongate.types.router"),
  ["moongate.php"] = require("moongate.types.php"),
  ["moongate.testing"] = require("moongate.types.testing"),
  ["moongate.canary"] = require("moongate.types.canary"),
  ["moongate.shadow"] = require("moongate.types.shadow"),
  ["moongate.health"] = require("moongate.types.health"),
  ["moongate.limit"] = require("moongate.types.limit"),
  ["moongate.maintenance"] = require("moongate.types.maintenance"),
  ["moongate.headers"] = require("moongate.types.headers"),
  ["moongate.cors"] = require("moongate.types.cors"),
  ["moongate.auth"] = require("moongate.types.auth"),
  ["moongate.proxypass"] = require("moongate.types.proxypass"),
  ["moongate.http"] = require("moongate.types.http"),
  ["moongate.tenants"] = require("moongate.types.tenants"),
  ["moongate.rewrite"] = require("moongate.types.rewrite"),
  ["moongate.tls"] = require("moongate.types.tls"),
  ["moongate.cache"] = require("moongate.types.cache"),
  ["moongate.hash"] = require("moongate.types.hash"),
  ["moongate.random"] = require("moongate.types.random"),
  ["moongate.metrics"] = require("moongate.types.metrics"),
  ["moongate.json"] = require("moongate.types.json"),
  ["moongate.net.cidr"] = require("moongate.types.cidr"),
}

--- The text of a file, with the head that says what it is.
---@param name string as it is required
---@param version string of the program
---@return string
function M.text(name, version)
  return ("%s of moongate %s, for the Lua language server; not loaded by anything.\n"
    .. "---@meta %s\n\n%s"):format(M.MARK, version, name, M.files[name])
end

return M
