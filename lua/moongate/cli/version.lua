-- moongate.cli.version owns `moongate version`. Called by cli.commands.

local core = require("moongate.core")

local M = {
  usage = "version", summary = "print the version", options = {}, min = 0, max = 0,
}

---@return integer status
function M.main()
  io.stdout:write(("moongate %s (%s)\n"):format(core.version, jit.version))
  return 0
end

return M
