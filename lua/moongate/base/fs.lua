-- moongate.base.fs owns the library's view of the disk: every test for a file goes through this
-- table. Called by docroot, decision, php and load. The functions are core's own; `explain` and the
-- specs put others in their place, so call them as fs.probe(...) and keep no reference.

local M = {}

local has_core, core = pcall(require, "moongate.core")

local function unavailable()
  error("files can be looked at only inside the moongate program", 2)
end

--- What lies at a path below a root, symlinks followed but never out of `within`. The second result
--- is "outside" where one leads out.
---@type fun(root: string, path: string, within: string|string[]|nil): string|nil, string|nil
M.probe = has_core and core.probe or unavailable

--- The first bytes of a regular file below a root, confined like `probe`. Looked at and opened in
--- one, so that what is there meanwhile (a named pipe, a link that leads out) neither stops the
--- worker nor is read.
---@type fun(root: string, path: string, within: string|string[]|nil, size: integer): string|nil
M.read_start = has_core and core.read_start or unavailable

--- Who owns what lies at a path below a root, confined like `probe`.
---@type fun(root: string, path: string, within: string|string[]|nil): integer|nil uid
M.owner = has_core and core.owner or unavailable

--- What a path is: "file", "directory", "socket", "other", or nil and why not.
---@type fun(path: string): string|nil, string|nil
M.stat = has_core and core.stat or unavailable

--- A word that is another one when the file is: "-" where there is none, "?" where it can't be
--- looked at.
---@type fun(path: string): string
M.stamp = has_core and core.stamp or function()
  return "?"
end

--- May this user read a file, or list and enter a folder?
---@type fun(path: string): boolean|nil, string|nil
M.readable = has_core and core.readable or unavailable

--- May this user make files in a folder?
---@type fun(path: string): boolean|nil, string|nil
M.writable = has_core and core.writable or unavailable

--- The path without symlinks, "." and "..".
---@type fun(path: string): string|nil, string|nil
M.realpath = has_core and core.realpath or unavailable

--- The folder that relative paths start from.
---@type fun(): string
M.getcwd = has_core and core.getcwd or unavailable

--- Whom the files are looked at as.
---@type fun(): string
M.user_name = has_core and core.user_name or function()
  return os.getenv("USER") or "?"
end

--- The number of the user of that name, or nil.
---@type fun(name: string): integer|nil
M.user_id = has_core and core.user_id or unavailable

--- Writes to the error log.
---@type fun(level: string, text: string)
M.log = has_core and core.log or function(level, text)
  io.stderr:write(level, ": ", text, "\n")
end

--- Is a line of this level written?
---@type fun(level: string): boolean
M.logs = has_core and core.logs or function(level)
  return level ~= "debug"
end

--- The first line of a small file below a root, confined like `probe`.
---@param root string
---@param path string
---@param within string|string[]|nil
---@return string|nil line without blanks around it; nil where there is no such regular file
function M.first_line(root, path, within)
  local text = M.read_start(root, path, within, 256)
  return text and text ~= "" and text:match("^[^\r\n]*"):match("^%s*(.-)%s*$") or nil
end

return M
