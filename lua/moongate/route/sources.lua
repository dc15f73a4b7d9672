-- moongate.route.sources owns the list of the files that a route is made of: the script, the
-- modules that it finds on package.path, and what it runs by dofile and loadfile; `watch` waits for
-- changes of them. Called by load, while a route is loaded; scripts see nothing of it. Files that a
-- hook requires or runs later are not on the list.
--
-- A worker loads what the loader has loaded, whatever is on the disk by then: core/ hands it a
-- snapshot of these files, so that all workers of a generation run the same script, also one that
-- takes the place of another days later.

local M = {}

local open = io.open -- a script may put its own there

--- Notes a file of the route that is being loaded; else nothing is done. Set by M.of.
---@type fun(path: string)
M.note = function() end

--- From now on files are opened by this function, in place of io.open.
---@param opener fun(path: string): file*|nil, string|nil
function M.confine(opener)
  open = opener
end

--- More files than this are not watched.
M.MAX = 1000

-- From path to content; nil where the disk counts.
local snapshot

local SNAPSHOT_FILE = 16 * 1024 ^ 2 -- bytes; a route with a larger file has no snapshot

--- What files hold now, for M.use_snapshot: for each file a line "SIZE PATH" and its bytes. A file
--- that can't be read is left out: for it the disk counts.
---@param files string[]
---@return string|nil text nil: it can't be made
function M.snapshot(files)
  local parts = {}
  for _, path in ipairs(files) do
    local file = open(path, "rb")
    local text, problem
    if file then
      local size = file:seek("end") or 0 -- a read of so many bytes would take their memory at once
      if size <= SNAPSHOT_FILE and file:seek("set") then
        text, problem = file:read("*a")
        text = not problem and text
      end
      file:close()
      if size > SNAPSHOT_FILE or text and #text > SNAPSHOT_FILE then
        return nil
      end
    end
    if text then
      parts[#parts + 1] = ("%d %s\n%s"):format(#text, path, text)
    end
  end
  return table.concat(parts)
end

--- The snapshot that the next route is loaded from.
---@param text string|nil made by M.snapshot
function M.use_snapshot(text)
  snapshot = text and {}
  local at = 1
  while text and at <= #text do
    local size, path, from = text:match("^(%d+) ([^\n]+)\n()", at)
    if not size then
      error("the snapshot of the script cannot be read")
    end
    snapshot[path] = text:sub(from, from + tonumber(size) - 1)
    at = from + tonumber(size)
  end
end

--- What a file held when the generation was loaded.
---@param path string absolute
---@return string|nil text nil: ask the disk
function M.kept(path)
  return snapshot and snapshot[path]
end

--- A path from the root on, without "." and double slashes. ".." and symlinks stay: what they lead
--- to may change.
---@param path string
---@param fs table
---@return string
local function absolute(path, fs)
  if path:sub(1, 1) ~= "/" then
    local ok, folder = pcall(fs.getcwd)
    if not ok or not folder then
      return path -- unknown outside of the program
    end
    path = folder .. "/" .. path
  end
  path = path:gsub("//+", "/")
  local count
  repeat
    path, count = path:gsub("/%./", "/")
  until count == 0
  return path
end

--- A list that takes each path once. Under the path it keeps the file's stamp of then, before the
--- file was read: what is saved later is a change that the route does not know.
---@param fs table
---@return string[] list
---@return fun(path: any) note
local function collection(fs)
  local list, seen = {}, {}
  return list, function(path)
    if type(path) ~= "string" or path:find("%c") or #list >= M.MAX then
      return -- a name with control characters can't be shown
    end
    path = absolute(path, fs)
    if not seen[path] then
      seen[path] = true
      list[#list + 1] = path
      list[path] = not snapshot and fs.stamp and fs.stamp(path) or nil
    end
  end
end

--- Notes where a module lies; of one that lies nowhere, each place where it is looked for: it may
--- be about to be written.
local function note_module(name, note)
  local path, places = package.searchpath(name, package.path)
  note(path)
  for place in (places or ""):gmatch("no file '([^\n]+)'") do
    note(place)
  end
end

--- Stands in front of Lua's own loader of modules. A file is noted before it is loaded, so that it
--- is known where it cannot be.
local function watching(loader, note, fs)
  return function(name)
    if type(name) ~= "string" or type(package.path) ~= "string" then
      return loader(name)
    end
    for template in (snapshot and package.path or ""):gmatch("[^;]+") do
      local file = name:gsub("%.", "/"):gsub("%%", "%%%%")
      local path = absolute((template:gsub("%?", file)), fs)
      if snapshot[path] then
        note(path)
        return assert(loadstring((snapshot[path]:gsub("^#[^\n]*", "")), "@" .. path))
      end
    end
    note_module(name, note)
    return loader(name)
  end
end

--- loadfile, from the snapshot where that has the file.
local function loadfile_kept(path, ...)
  local text = type(path) == "string" and snapshot
    and snapshot[absolute(path, { getcwd = M.getcwd })]
  if text then
    return loadstring((text:gsub("^#[^\n]*", "")), "@" .. path)
  end
  return loadfile(path, ...)
end

local function dofile_kept(path)
  if snapshot and type(path) == "string" then
    return assert(loadfile_kept(path))()
  end
  return dofile(path)
end

--- The same function, for files. Its results and errors are those of the original.
local function noting(original, note)
  return function(path, ...)
    note(path)
    return original(path, ...)
  end
end

--- Puts one value for another in a list, wherever that has gone.
local function replace(list, old, new)
  for i, value in ipairs(list) do
    if value == old then
      list[i] = new
    end
  end
end

--- Calls a function and lists the files that are loaded in it.
---@param fs table moongate.base.fs
---@param first string|nil a file that belongs to them
---@param fn function
---@return table files absolute paths, in the order of their first use, and by path its fs.stamp
---@return boolean ok
---@return any value what fn returned, or its error
function M.of(fs, first, fn)
  local files, note = collection(fs)
  note(first)
  local loaders, loader = package.loaders, package.loaders[2]
  local noted_before = M.note
  M.note = note
  M.getcwd = fs.getcwd
  local watcher = watching(loader, note, fs)
  local own = {
    dofile = noting(snapshot and dofile_kept or dofile, note),
    loadfile = noting(snapshot and loadfile_kept or loadfile, note),
  }
  local original = { dofile = dofile, loadfile = loadfile }
  replace(loaders, loader, watcher)
  for name, wrapped in pairs(own) do
    _G[name] = wrapped
  end
  local ok, value = pcall(fn)
  M.note = noted_before
  replace(loaders, watcher, loader)
  for name, wrapped in pairs(own) do
    if _G[name] == wrapped then -- the script may have put its own there
      _G[name] = original[name]
    end
  end
  return files, ok, value
end

return M
