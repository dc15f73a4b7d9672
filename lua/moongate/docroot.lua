-- moongate.docroot owns the way from a URL path to a script and its path info. Called by decision
-- for every FastCGI request and by php. Paths are decoded and normalized; they begin with "/".

local describe = require("moongate.base.describe")

local M = {}

local byte, find, lower, sub = string.byte, string.find, string.lower, string.sub
local BLANK, DOT, SLASH = 32, 46, 47

--- The extensions that make a file a script unless said otherwise.
M.SCRIPTS = { ".php" }

--- Why a path can't be a root. An empty segment, "." and ".." are what a root becomes that a
--- function makes of a client's words: "/srv/" .. "" is the folder above all sites.
---@param path any
---@return string|nil problem nil for an absolute path whose segments are all names, and for "/"
function M.root_problem(path)
  if type(path) ~= "string" or byte(path) ~= SLASH or find(path, "%z") then
    return "expected an absolute path such as \"/srv/www\", got " .. describe(path)
  elseif #path > 1 and find(path .. "/", "/%.?%.?/") then
    return ("'%s' has an empty segment, '.' or '..' in it, which is what a path becomes that is "
      .. "made of an empty or hostile name: look names of clients up in a table, and write no "
      .. "slash at the end"):format((path:gsub("%c", "?")))
  end
  return nil
end

--- Takes a prefix of whole segments off a path.
---@param path string
---@param prefix string such as "/wiki"; a slash at its end does not matter
---@return string|nil rest begins with "/"; nil where the path is not below the prefix
function M.strip(path, prefix)
  local length = #prefix
  while byte(prefix, length) == SLASH do
    length = length - 1
  end
  if sub(path, 1, length) ~= sub(prefix, 1, length) then
    return nil
  elseif #path == length then
    return "/"
  elseif byte(path, length + 1) == SLASH then
    return sub(path, length + 1)
  end
  return nil
end

--- The end of the first segment that ends in `extension`, looking from `from` on.
local function segment_end(path, extension, from)
  local start, stop = find(path, extension, from, true)
  while start do
    local after = byte(path, stop + 1)
    if after == SLASH or after == nil then
      return stop
    end
    start, stop = find(path, extension, start + 1, true)
  end
  return nil
end

--- The end of the first segment from `from` on whose name could be a script's.
---@param path string
---@param scripts string[] extensions
---@param from integer
---@return integer|nil
local function script_end(path, scripts, from)
  local nearest
  for i = 1, #scripts do
    local stop = segment_end(path, scripts[i], from)
    if stop and (not nearest or stop < nearest) then
      nearest = stop
    end
  end
  return nearest
end

--- Cuts a path behind position `stop`.
local function cut(path, stop)
  if stop == #path then
    return path, nil
  end
  return sub(path, 1, stop), sub(path, stop + 1)
end

--- What a function says of paths asked for lately is kept: paths repeat, and looking there costs a
--- tenth of looking through the path. It must depend on nothing else.
---@param tell fun(path: string): any never nil
---@return fun(path: string): any
local KEPT, KEPT_LENGTH = 256, 128
local function kept_of(tell)
  local said, count = {}, 0
  return function(path)
    local value = said[path]
    if value ~= nil then
      return value
    end
    value = tell(path)
    if #path <= KEPT_LENGTH then
      if count == KEPT then
        said, count = {}, 0
      end
      said[path], count = value, count + 1
    end
    return value
  end
end

local usual_end = kept_of(function(path)
  return script_end(path, M.SCRIPTS, 1) or false
end)

--- The end of the first segment whose name could be a script's, nil where there is none.
local function first_end(path, scripts)
  if scripts and scripts ~= M.SCRIPTS then
    return script_end(path, scripts, 1)
  end
  return usual_end(path) or nil
end

--- The script in a path, by its name alone.
---@param path string
---@param scripts string[]|nil extensions, default { ".php" }
---@return string|nil script nil where no segment has an allowed extension
---@return string|nil path_info what follows the script, never empty
function M.by_pattern(path, scripts)
  local stop = first_end(path, scripts)
  if not stop then
    return nil
  end
  return cut(path, stop)
end

--- Goes on with the script that ends at `stop`. It calls itself for the next one, since LuaJIT
--- compiles no function that runs into a loop: all requests for scripts were interpreted from here.
local function on_disk_from(path, root, within, scripts, fs, stop)
  if not stop then
    return nil
  end
  local script, path_info = cut(path, stop)
  local what, why = fs.probe(root, script, within)
  if what == "file" then
    return script, path_info
  elseif what ~= "directory" then
    return nil, nil, why and path_info and script -- nothing lies below what isn't there
  end
  return on_disk_from(path, root, within, scripts, fs, script_end(path, scripts, stop + 1))
end

--- The script in a path, by what is on disk: the first segment that is a regular file of the site
--- with an allowed extension.
---@param path string
---@param root string the site on this machine
---@param within string|string[]|nil where real paths must lie, default root
---@param scripts string[]|nil extensions, default { ".php" }
---@param fs table with `probe`, see moongate.base.fs
---@return string|nil script nil where there is none
---@return string|nil path_info what follows the script, never empty
---@return string|nil outside a script with path info that leads out of `within` by a link
function M.on_disk(path, root, within, scripts, fs)
  scripts = scripts or M.SCRIPTS
  return on_disk_from(path, root, within, scripts, fs, first_end(path, scripts))
end

--- Is a part of this path, but not all of it, a regular file? `/evil.jpg/x.php` is the known case:
--- PHP may go up the path to the file and run that.
---@param path string one that does not exist itself
---@param root string
---@param within string|string[]|nil
---@param fs table
---@return boolean
function M.climbs_over_file(path, root, within, fs)
  -- From the top: a long path of which nothing exists costs one look.
  local slash = find(path, "/", 2, true)
  while slash do
    local what = fs.probe(root, sub(path, 1, slash - 1), within)
    if what ~= "directory" then
      return what == "file"
    end
    slash = find(path, "/", slash + 1, true)
  end
  return false
end

local function ends_as_source(path, scripts)
  local stop = #path
  while byte(path, stop) == DOT or byte(path, stop) == BLANK do
    stop = stop - 1
  end
  for i = 1, #scripts do
    local extension = scripts[i]
    if lower(sub(path, stop - #extension + 1, stop)) == lower(extension) then
      return true
    end
  end
  return false
end

local function ends_as_script(path, scripts)
  for i = 1, #scripts do
    local extension = scripts[i]
    if sub(path, -#extension) == extension then
      return true
    end
  end
  return false
end

local usual_source = kept_of(function(path) return ends_as_source(path, M.SCRIPTS) end)
local usual_script = kept_of(function(path) return ends_as_script(path, M.SCRIPTS) end)

--- Would this name be a script but for letter case, dots or blanks at its end? Such a file is
--- neither run nor served: on another file system it is the script.
---@param path string
---@param scripts string[]|nil extensions, default { ".php" }
---@return boolean # true for real script names too
function M.is_source(path, scripts)
  if scripts and scripts ~= M.SCRIPTS then
    return ends_as_source(path, scripts)
  end
  return usual_source(path)
end

--- Does the name end in an extension of a script, as it is written?
---@param path string
---@param scripts string[]|nil extensions, default { ".php" }
---@return boolean
function M.is_script(path, scripts)
  if scripts and scripts ~= M.SCRIPTS then
    return ends_as_script(path, scripts)
  end
  return usual_script(path)
end

--- Is there a dotfile on this path? `.well-known` is none.
---@type fun(path: string): boolean
M.has_dotfile = kept_of(function(path)
  local at = find(path, "/.", 1, true)
  while at do
    if not find(path, "^%.well%-known%f[/%z]", at + 1) then
      return true
    end
    at = find(path, "/.", at + 1, true)
  end
  return false
end)

return M
