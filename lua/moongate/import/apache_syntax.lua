-- moongate.import.apache_syntax owns the syntax of Apache: from files to a tree of directives and
-- sections. Called by
-- moongate.import.apache.

local files = require("moongate.import.files")

local M = {}

local DEPTH, MOST, LINE = 32, 100000, 16384

-- The words of a line: quoted ones keep blanks; a backslash before a quote makes it a character.
local function words_of(text, where)
  local words, at = {}, 1
  while true do
    at = text:find("%S", at)
    if not at then
      return words
    end
    local quote = text:sub(at, at)
    if quote == '"' or quote == "'" then
      local made, i = {}, at + 1
      while true do
        local c = text:sub(i, i)
        if c == "" then
          files.fail(where, "this quote is not closed")
        elseif c == "\\" and (text:sub(i + 1, i + 1) == quote or text:sub(i + 1,
          i + 1) == "\\") then
          -- Of two backslashes both stay, as they are those of a regular expression.
          made[#made + 1] = text:sub(i + 1, i + 1) == quote and quote or "\\\\"
          i = i + 1
        elseif c == quote then
          break
        else
          made[#made + 1] = c
        end
        i = i + 1
      end
      words[#words + 1], at = table.concat(made), i + 1
    else
      local stop = text:find("%s", at) or #text + 1
      words[#words + 1], at = text:sub(at, stop - 1), stop
    end
  end
end

local Reader = {}
Reader.__index = Reader

-- What `Define` and the environment have said.
local function expand(self, text)
  return (text:gsub("%${([%w_]+)}", function(name)
    return self.shared.defines[name]
  end))
end

local read_file

local function include(self, node, optional, list)
  local path = node.args[1] or ""
  local full = files.join(self.shared.root or self.base, path)
  if not self.shared.root and path:sub(1, 1) ~= "/" then
    full = files.join(self.base, path)
  end
  local paths = files.is_pattern(full) and self.files:glob(full) or { full }
  if optional and not files.is_pattern(full) and not self.files.fs.read(full, 1) then
    paths = {}
  end
  for _, name in ipairs(paths) do
    read_file(name, self.files, self.shared, list, node.where)
  end
end

-- One line that is whole: a directive, or the begin or end of a section.
local function take(self, line, where)
  local stack = self.stack
  local list = stack[#stack].block
  local closing = line:match("^</%s*(%S-)%s*>")
  if closing then
    local open = table.remove(stack)
    if #stack == 0 or open.name ~= closing:lower() then
      files.fail(where, "</%s> without its beginning", closing)
    end
    return
  end
  self.shared.count = self.shared.count + 1
  if self.shared.count > MOST then
    files.fail(where, "more than %d directives", MOST)
  end
  local section, rest = line:match("^<%s*([%a_]+)%s*(.-)%s*>%s*$")
  if line:sub(1, 1) == "<" and not section then
    files.fail(where, "'>' is missing")
  end
  local name = section or line:match("^%S+")
  local text = section and rest or line:sub(#name + 1)
  local node = { name = name:lower(), shown = name, where = where,
    text = text:match("^%s*(.-)%s*$") }
  -- Expressions have quotes of their own.
  node.args = node.name == "if" and { node.text } or words_of(expand(self, text), where)
  if section then
    node.block = {}
    list[#list + 1] = node
    stack[#stack + 1] = node
    if #stack > DEPTH then
      files.fail(where, "sections are nested more than %d deep", DEPTH)
    end
  elseif node.name == "include" or node.name == "includeoptional" then
    include(self, node, node.name == "includeoptional", list)
  elseif node.name == "define" and node.args[1] then
    self.shared.defines[node.args[1]] = node.args[2] or ""
  else
    if node.name == "serverroot" then
      self.shared.root = node.args[1]
    end
    list[#list + 1] = node
  end
end

function read_file(path, opened, shared, list, where)
  local self = setmetatable({
    files = opened, shared = shared, base = path:match("^(.*)/") or "",
      stack = { { block = list } },
  }, Reader)
  local text = opened:open(path, where)
  local number, pending, from = 0, nil, nil
  for line in (text .. "\n"):gmatch("(.-)\r?\n") do
    number = number + 1
    local here = path .. ":" .. (from or number)
    if pending then
      line = pending .. line
    end
    if #line > LINE then
      files.fail(here, "a line of more than %d bytes", LINE)
    end
    if line:sub(-1) == "\\" and line:sub(-2) ~= "\\\\" and not (line:match("^%s*#")
      and not pending) then
      pending, from = line:sub(1, -2), from or number
    else
      pending, from = nil, nil
      line = line:match("^%s*(.-)%s*$")
      if line ~= "" and line:sub(1, 1) ~= "#" then
        take(self, line, here)
      end
    end
  end
  if #self.stack > 1 then
    files.fail(self.stack[#self.stack].where, "</%s> is missing", self.stack[#self.stack].shown)
  end
  opened:close()
  return list
end

--- Reads a file and what it includes. Raises a table with `import`, a message, where that can't be
--- done.
---@param path string
---@param opened moongate.import.Files
---@param shared table|nil of files read before: what they defined
---@return table[] nodes with name (lower case), shown, args, text, where, block
function M.read(path, opened, shared)
  shared = shared or M.shared()
  return read_file(path, opened, shared, {})
end

--- What files that are read one after the other have in common.
function M.shared()
  return { defines = {}, count = 0 }
end

return M
