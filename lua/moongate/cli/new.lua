-- moongate.cli.new owns `moongate init`: an example of the project, written into a folder as the
-- start of a route. The examples are in the program. Called by cli.commands.

local common = require("moongate.cli.common")
local core = require("moongate.core")
local suggest = require("moongate.base.suggest")

local FIRST = "hello"

local M = {
  usage = "init [NAME] [DIR] [--list]", summary = "write an example into a folder, as a start",
  help = [[
Writes the files of the example NAME (without one: hello) into DIR (without one: the current
folder), which is made if it isn't there. Where one of the files exists, nothing is written.
`moongate init --list` says which examples there are.
]],
  options = {
    { name = "--list", help = "print the names of the examples, and what each is" },
  },
  min = 0, max = 2,
}

--- The files of each example: name -> path below its folder -> text.
---@return table<string, table<string, string>> examples
---@return string[] names in order
local function examples()
  local list, names = {}, {}
  for path, text in pairs(require("moongate.core.examples")) do
    local name, rest = path:match("^([^/]+)/(.+)$")
    if not list[name] then
      list[name] = {}
      names[#names + 1] = name
    end
    list[name][rest] = text
  end
  table.sort(names)
  return list, names
end

--- What an example is: the first sentence of the comment above its route.
local function summary(files)
  local comment = files["route.lua"]:match("^%-%- [^:\n]+: (.-)\n%-?%-?\n") or ""
  local sentence = comment:gsub("\n%-%- ?", " ")
  return (sentence:match("^(.-)%.%s") or sentence):gsub("%.$", "")
end

local function list_examples()
  local list, names = examples()
  local width = 0
  for _, name in ipairs(names) do
    width = math.max(width, #name)
  end
  for _, name in ipairs(names) do
    io.stdout:write(("%-" .. width .. "s  %s\n"):format(name, summary(list[name])))
  end
  return 0
end

local function quoted(path)
  return "'" .. path:gsub("'", "'\\''") .. "'"
end

--- Paths of an example's files in order, the route's last: what stopped half-way has no route.
local function paths_of(files)
  local paths = {}
  for path in pairs(files) do
    paths[#paths + 1] = path
  end
  table.sort(paths, function(a, b)
    if (a == "route.lua") ~= (b == "route.lua") then
      return b == "route.lua"
    end
    return a < b
  end)
  return paths
end

--- Writes the files, unless one of them exists.
---@return string|nil problem
local function write_all(files, folder)
  local paths = paths_of(files)
  for _, path in ipairs(paths) do
    if core.stat(folder .. "/" .. path) then
      return ("%s/%s: it exists, and nothing has been written; name another folder"):format(
        folder, path)
    end
  end
  for _, path in ipairs(paths) do
    local full = folder .. "/" .. path
    local parent = full:match("^(.*)/")
    if core.stat(parent) ~= "directory" and os.execute("mkdir -p -- " .. quoted(parent)) ~= 0 then
      return parent .. ": the folder cannot be made"
    end
    local problem = common.write(full, files[path])
    if problem then
      return problem
    end
    io.stdout:write(full, "\n")
  end
  return nil
end

---@param args table
---@return integer status, string|nil message
function M.main(args)
  if args.list then
    return list_examples()
  end
  local name, folder = args[1] or FIRST, (args[2] or "."):gsub("(.)/+$", "%1")
  local list, names = examples()
  if not list[name] then
    return 1, ("no example is called '%s'%s (`moongate init --list` names them)"):format(
      name, suggest.hint(name, names))
  end
  local problem = write_all(list[name], folder)
  if problem then
    return 1, problem
  end
  local route = folder == "." and "route.lua" or folder .. "/route.lua"
  route = route:find("[^%w/._-]") and quoted(route) or route -- the lines are for a shell
  io.stdout:write(("\nRead %s: its first lines say what it does. Then:\n"):format(route),
    ("  moongate check %s\n  moongate run %s --php auto\n"):format(route, route))
  return 0
end

return M
