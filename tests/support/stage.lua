-- Puts files where the user that servers drop to can read them: the project's folder may be one
-- that only root can enter. Used by server.lua, php.lua and the scenarios.

local process = require("tests.support.process")

local stage = {}

local function mkdir(path)
  if os.execute("mkdir -p -m 755 -- " .. process.quote(path)) ~= 0 then
    error("cannot make " .. path, 3)
  end
end

--- Copies a folder of the project into a temporary one, readable by everybody.
---@param folder string path below the top of the project
---@param into? string an existing temporary folder; a new one by default
---@return string path of the copy, named like the original
function stage.copy(folder, into)
  into = into or process.tempdir("stage")
  local copy = into .. "/" .. folder:match("([^/]+)/*$")
  local command = ("cp -RL -- %s %s && chmod -R u+rwX,go+rX %s"):format(
    process.quote(folder), process.quote(copy), process.quote(copy))
  if os.execute(command) ~= 0 then
    error("cannot copy " .. folder, 2)
  end
  return copy
end

--- The words (`launcher` of server.lua) that start a program which finds another text in a file of
--- the system; nil where mounting is not permitted, as in a container.
---@param path string of the system's file
---@param text string
---@return string[]|nil
function stage.replacing(path, text)
  local file = process.tempdir("own") .. "/file"
  process.write_file(file, text)
  local launcher = { "unshare", "--mount", "sh", "-c",
    ('mount --bind %s %s && exec "$@"'):format(file, path), "sh" }
  local probe = { unpack(launcher) }
  probe[#probe + 1] = "true"
  return process.run({ argv = probe }).code == 0 and launcher or nil
end

--- The LD_LIBRARY_PATH of programs that are unpacked and not installed: their own libraries lie
--- beside them, some in /lib.
---@param root string
---@return string
function stage.libraries(root)
  local script = [[for folder in "$1"/usr/lib/*-linux-gnu "$1"/lib/*-linux-gnu; do
    [ ! -d "$folder" ] || printf '%s:' "$folder"
  done]]
  local list = process.run({ argv = { "sh", "-c", script, "sh", root } })
  return (list.stdout:gsub(":$", ""))
end

--- Writes files below a folder, making the folders on the way.
---@param dir string
---@param files table<string, string> relative path -> content
function stage.write(dir, files)
  for name, content in pairs(files) do
    local parent = name:match("^(.*)/[^/]*$")
    if parent then
      mkdir(dir .. "/" .. parent)
    end
    process.write_file(dir .. "/" .. name, content)
  end
end

--- A temporary folder with the given files in it.
---@param files table<string, string>
---@return string path
function stage.files(files)
  local dir = process.tempdir("files")
  stage.write(dir, files)
  return dir
end

return stage
