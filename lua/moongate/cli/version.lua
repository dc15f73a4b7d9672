-- moongate.cli.version owns `moongate version`. Called by cli.commands.

local core = require("moongate.core")
local features = require("moongate.base.features")

local M = {
  usage = "version", summary = "print the version, and what this build has", options = {},
  min = 0, max = 0,
}

---@return integer status
function M.main()
  local there, missing = features.words()
  io.stdout:write(("moongate %s (%s)\nwith %s%s\n"):format(core.version, jit.version,
    table.concat(there, ", "),
    missing[1] and "; without " .. table.concat(missing, ", ") or ""))
  return 0
end

return M
