-- support.folder owns the temporary folders of specs, below the one of the run (tools/test).

local M = {}

--- A new folder.
---@param ... string folders to make in it: "spec/sub"
---@return string path
function M.new(...)
  local path = os.tmpname()
  assert(os.remove(path))
  for _, name in ipairs({ "", ... }) do
    assert(os.execute(("mkdir -p '%s/%s'"):format(path, name)) == 0)
  end
  return path
end

--- Writes a file.
---@param path string
---@param text string
function M.write(path, text)
  local file = assert(io.open(path, "w"))
  assert(file:write(text))
  assert(file:close())
end

--- Removes a folder and all that is in it.
---@param path string of M.new
function M.remove(path)
  assert(os.execute("rm -r '" .. path .. "'") == 0)
end

return M
