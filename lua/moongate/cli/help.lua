-- moongate.cli.help owns `moongate help`. Called by cli.commands.

local M = {
  usage = "help [COMMAND]", summary = "list the commands, or explain one", options = {},
  min = 0, max = 1,
}

---@param args string[]
---@return integer status, string|nil message
function M.main(args)
  local cli = require("moongate.cli.commands") -- here, since that module needs this one
  if not args[1] then
    io.stdout:write(cli.overview())
    return 0
  end
  local text, problem = cli.page(args[1])
  if not text then
    return 2, problem
  end
  io.stdout:write(text)
  return 0
end

return M
