-- moongate.import.files owns the reading of configurations: bounds on their number, size and depth,
-- and
-- the names that an include's pattern stands for. Called by the syntaxes; the disk comes in as
-- `fs`.

local M = {}

M.SIZE = 4 * 1024 * 1024
M.COUNT, M.DEPTH = 2000, 32

---@class moongate.import.Files
---@field fs table read(path, size) -> text|nil, problem; list(folder) -> names|nil
---@field names string[] what has been read
local Files = {}
Files.__index = Files

--- A path from the root on.
---@param base string a folder
---@param path string
---@return string
function M.join(base, path)
  if path:sub(1, 1) == "/" then
    return path
  end
  return (base == "/" and "" or base) .. "/" .. path:gsub("^%./", "")
end

--- Raises a problem: the text of the message that a user reads.
---@param where string FILE:LINE
function M.fail(where, text, ...)
  error({ import = where .. ": " .. text:format(...) }, 0)
end

--- The text of a file. Raises a problem where it can't be read, or includes itself.
---@param path string
---@param where string|nil FILE:LINE of the include
---@return string
function Files:open(path, where)
  for _, open in ipairs(self.stack) do
    if open == path then
      M.fail(where or path, "%s includes itself", path)
    end
  end
  if #self.stack >= M.DEPTH then
    M.fail(where or path, "includes are nested more than %d deep", M.DEPTH)
  elseif #self.names >= M.COUNT then
    M.fail(where or path, "more than %d files are included", M.COUNT)
  end
  local text, problem = self.fs.read(path, M.SIZE + 1)
  if not text then
    M.fail(where or path, "%s", (problem or "can't be read"):find(path, 1, true) and problem
      or path .. ": " .. (problem or "can't be read"))
  end
  self.size = self.size + #text
  if self.size > M.SIZE then
    M.fail(where or path, "the configuration has more than %d MB", M.SIZE / 1024 / 1024)
  end
  self.names[#self.names + 1] = path
  self.stack[#self.stack + 1] = path
  return text
end

--- The file that was opened last has been read.
function Files:close()
  self.stack[#self.stack] = nil
end

-- A part of a pattern, with "*", "?" and sets, as Lua has it.
local function part_pattern(part)
  local made = part:gsub("[%^%$%(%)%%%.%+%-]", "%%%0"):gsub("%*", "[^/]*"):gsub("%?", "[^/]")
  return "^" .. made .. "$"
end

--- The files that a path with "*", "?" or a set stands for, in order.
---@param pattern string from the root on
---@return string[]
function Files:glob(pattern)
  local found = { "" }
  for part in pattern:gmatch("[^/]+") do
    local more = {}
    local wild = part:find("[*?%[]") and part_pattern(part)
    for _, base in ipairs(found) do
      for _, name in ipairs(wild and (self.fs.list(base == "" and "/" or base) or {})
        or { part }) do
        local fits = not wild or pcall(string.find, "", wild) and name:find(wild)
          and (name:sub(1, 1) ~= "." or part:sub(1, 1) == ".")
        if fits and #more < M.COUNT then
          more[#more + 1] = base .. "/" .. name
        end
      end
    end
    table.sort(more)
    found = more
  end
  return found
end

--- Is a path a pattern?
function M.is_pattern(path)
  return path:find("[*?%[]") ~= nil
end

---@param fs table
---@return moongate.import.Files
function M.new(fs)
  return setmetatable({ fs = fs, names = {}, stack = {}, size = 0 }, Files)
end

return M
