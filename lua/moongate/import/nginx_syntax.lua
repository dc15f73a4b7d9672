-- moongate.import.nginx_syntax owns the syntax of nginx: from files to a tree of directives. Called
-- by
-- moongate.import.nginx.

local files = require("moongate.import.files")

local M = {}

local DEPTH, MOST = 32, 100000

---@class moongate.import.Directive
---@field name string
---@field args string[]
---@field block moongate.import.Directive[]|nil
---@field where string FILE:LINE

-- What Debian and the projects put beside nginx; where such a file is not there, it is known.
local KNOWN = {
  ["fastcgi_params"] = "", ["fastcgi.conf"] = "", ["mime.types"] = "", ["proxy_params"] = "",
  ["fastcgi-php.conf"] = [[
fastcgi_split_path_info ^(.+?\.php)(/.*)$;
try_files $fastcgi_script_name =404;
]],
}

local Reader = {}
Reader.__index = Reader

function Reader:where()
  return self.name .. ":" .. self.line
end

-- Blanks and comments; counts lines.
function Reader:skip()
  while true do
    local from, to = self.text:find("^%s+", self.at)
    if not from then
      from, to = self.text:find("^#[^\n]*", self.at)
    end
    if not from then
      return
    end
    self:count(from, to)
    self.at = to + 1
  end
end

function Reader:count(from, to)
  for _ in self.text:sub(from, to):gmatch("\n") do
    self.line = self.line + 1
  end
end

local ESCAPES = { n = "\n", t = "\t", r = "\r" }

local function quoted(self, quote)
  local at, parts, start = self.at + 1, {}, self.at + 1
  while true do
    local stop = self.text:find("[\\" .. quote .. "]", at)
    if not stop then
      files.fail(self:where(), "this quote is not closed")
    elseif self.text:sub(stop, stop) == quote then
      parts[#parts + 1] = self.text:sub(start, stop - 1)
      self:count(self.at, stop)
      self.at = stop + 1
      return table.concat(parts)
    end
    local next_one = self.text:sub(stop + 1, stop + 1)
    local plain = (next_one == quote or next_one == "\\") and next_one or ESCAPES[next_one]
    if plain then
      parts[#parts + 1] = self.text:sub(start, stop - 1) .. plain
      start = stop + 2
    end
    at = stop + 2
  end
end

local function bare(self)
  local at = self.at
  while true do
    local stop = self.text:find("[%s;{}\\$]", at)
    if not stop then
      at = #self.text + 1
      break
    end
    local c = self.text:sub(stop, stop)
    if c == "\\" then
      at = stop + 2
    elseif c == "$" and self.text:sub(stop + 1, stop + 1) == "{" then
      at = (self.text:find("}", stop, true) or stop) + 1
    elseif c == "$" then
      at = stop + 1
    else
      at = stop
      break
    end
  end
  local word = self.text:sub(self.at, at - 1)
  self.at = math.max(at, self.at + 1)
  return word
end

--- The next token: ";", "{", "}" with true, or a word; nil at the end.
function Reader:token()
  self:skip()
  local c = self.text:sub(self.at, self.at)
  if c == "" then
    return nil
  elseif c == ";" or c == "{" or c == "}" then
    self.at = self.at + 1
    return c, true
  elseif c == '"' or c == "'" then
    return quoted(self, c)
  end
  return bare(self)
end

-- The Lua of OpenResty between braces is not read as directives.
local function skip_code(self)
  local depth = 1
  while depth > 0 do
    local at = self.text:find("[{}]", self.at)
    if not at then
      files.fail(self:where(), "'}' is missing")
    end
    depth = depth + (self.text:sub(at, at) == "{" and 1 or -1)
    self:count(self.at, at)
    self.at = at + 1
  end
end

local read_block

local function include(self, directive, list)
  local path = directive.args[1]
  if not path or #directive.args > 1 then
    files.fail(directive.where, "include: expected one file")
  end
  local base = self.base
  local full = files.join(base, path)
  local paths = files.is_pattern(path) and self.files:glob(full) or { full }
  for _, name in ipairs(paths) do
    local known = KNOWN[name:match("[^/]*$")]
    local text
    local ok, problem = pcall(self.files.open, self.files, name, directive.where)
    if ok then
      text = problem
    elseif known and type(problem) == "table" and not problem.import:find("itself") then
      text = known
      self.files.stack[#self.files.stack + 1] = name
    else
      error(problem, 0)
    end
    local reader = setmetatable({
      text = text, name = name, line = 1, at = 1, base = base, files = self.files,
        total = self.total,
    }, Reader)
    read_block(reader, list, 0, true)
    self.files:close()
  end
end

function read_block(self, list, depth, top)
  if depth > DEPTH then
    files.fail(self:where(), "blocks are nested more than %d deep", DEPTH)
  end
  local directive
  while true do
    local token, mark = self:token()
    if token == nil then
      if directive then
        files.fail(directive.where, "';' is missing behind '%s'", directive.name)
      elseif not top then
        files.fail(self:where(), "'}' is missing")
      end
      return list
    elseif mark and token == "}" then
      if directive then
        files.fail(directive.where, "';' is missing behind '%s'", directive.name)
      elseif top then
        files.fail(self:where(), "unexpected '}'")
      end
      return list
    elseif mark and not directive then
      files.fail(self:where(), "unexpected '%s'", token)
    elseif mark and token == ";" then
      if directive.name == "include" then
        include(self, directive, list)
      else
        list[#list + 1] = directive
      end
      directive = nil
    elseif mark then
      list[#list + 1] = directive
      directive.block = {}
      if directive.name:find("_by_lua_block$") then
        skip_code(self)
      else
        read_block(self, directive.block, depth + 1, false)
      end
      directive = nil
    elseif directive then
      directive.args[#directive.args + 1] = token
    else
      self.total.count = self.total.count + 1
      if self.total.count > MOST then
        files.fail(self:where(), "more than %d directives", MOST)
      end
      directive = { name = token, args = {}, where = self:where() }
    end
  end
end

--- Reads a file and what it includes. Raises a table with `import`, a message, where that can't be
--- done.
---@param path string from the root on; includes are relative to its folder
---@param opened moongate.import.Files
---@return moongate.import.Directive[]
function M.read(path, opened)
  local reader = setmetatable({
    text = opened:open(path), name = path, line = 1, at = 1, base = path:match("^(.*)/") or "",
    files = opened, total = { count = 0 },
  }, Reader)
  reader.base = reader.base == "" and "/" or reader.base
  local list = read_block(reader, {}, 0, true)
  opened:close()
  return list
end

return M
