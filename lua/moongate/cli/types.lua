-- moongate.cli.types owns `moongate types`: definition files for editors. Called by cli.commands.

local common = require("moongate.cli.common")
local core = require("moongate.core")
local types = require("moongate.types")

local FOLDER = "moongate-types"

local M = {
  usage = "types [DIR]", summary = "write what an editor needs to complete routes",
  help = [[
Writes DIR/moongate-types (DIR: the current folder, or the one given, usually a route's): definition
files for the Lua language server, which complete `req.` and the keys of settings and decisions.
Run it again after an update of moongate. Files that it has not written itself are left alone.

In the route, say what it is:

    ---@type moongate.Route
    local route = { ... }
    return route
]],
  options = {},
  min = 0, max = 1,
}

local function quoted(path)
  return "'" .. path:gsub("'", "'\\''") .. "'"
end

--- The paths of the files, by the names that are required, and those in order.
local function paths(folder)
  local list, names = {}, {}
  for name in pairs(types.files) do
    names[#names + 1] = name
    list[name] = ("%s/%s.lua"):format(folder, name:match("[^.]+$"))
  end
  table.sort(names)
  return list, names
end

--- True for a file of another author, or no file at all: to open a pipe may wait for ever.
local function foreign(path)
  local what = core.stat(path)
  if what and what ~= "file" then
    return true
  end
  local file = io.open(path, "r")
  if not file then
    return false
  end
  local line = file:read("*l") or ""
  file:close()
  return line:sub(1, #types.MARK) ~= types.MARK
end

---@param args table
---@return integer status, string|nil message
function M.main(args)
  local base = (args[1] or "."):match("^(.-)/*$")
  base = args[1] and base == "" and "/" or base
  local what, reason = core.stat(base)
  if what ~= "directory" then
    return 1, ("%s: %s"):format(base, what and "this is no folder" or reason)
  end
  local folder = base .. "/" .. FOLDER
  local list, names = paths(folder)
  for _, name in ipairs(names) do
    if foreign(list[name]) then
      return 1, ("%s: this file was not written by `moongate types`; move it away first"):format(
        list[name])
    end
  end
  if core.stat(folder) ~= "directory" and os.execute("mkdir -- " .. quoted(folder)) ~= 0 then
    return 1, folder .. ": the folder cannot be made"
  end
  for _, name in ipairs(names) do
    local problem = common.write(list[name], types.text(name, core.version))
    if problem then
      return 1, problem
    end
    io.stdout:write(list[name], "\n")
  end
  io.stdout:write(([[

The Lua language server reads them where the folder belongs to the project. Elsewhere, .luarc.json:
  { "runtime.version": "LuaJIT", "workspace.library": [%q] }
A route says what it is: `---@type moongate.Route` above `local route = {`; a function of its own:
`---@param req moongate.Request`.
]]):format(folder:sub(1, 1) == "/" and folder or core.getcwd() .. "/" .. folder:gsub("^%./", "")))
  return 0
end

return M
