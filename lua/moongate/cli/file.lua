-- moongate.cli.file owns the reading of small files, such as those of /proc. Called by commands.

local M = {}

--- All of a file.
---@param path string
---@return string|nil text nil where it can't be read
function M.text(path)
  local file = io.open(path)
  local text = file and file:read("*a")
  if file then
    file:close()
  end
  return text
end

return M
