-- moongate.route.locate owns the question "in which line of the script is this key?". Called by
-- settings and load, and only to word an error, so it reads the text anew each time.

local M = {}

---@class moongate.Token
---@field text string a name, the content of a string, or one punctuation character
---@field kind "name"|"string"|"mark"
---@field line integer
---@field depth integer how many brackets are open around it

local OPEN = { ["{"] = true, ["("] = true, ["["] = true }
local CLOSE = { ["}"] = true, [")"] = true, ["]"] = true }

--- The end of the quoted string that begins at `at`.
local function quoted_end(text, at)
  local quote = text:sub(at, at)
  local i = at + 1
  while i <= #text do
    local char = text:sub(i, i)
    if char == "\\" then
      i = i + 1
    elseif char == quote or char == "\n" then
      return i
    end
    i = i + 1
  end
  return #text
end

--- One token or stretch of blanks and comments from `at` on.
---@return integer stop, string|nil kind, string|nil value
local function scan(text, at)
  local _, stop = text:find("^%s+", at)
  if stop then
    return stop
  end
  local equals = text:match("^%-%-%[(=*)%[", at) or text:match("^%[(=*)%[", at)
  if equals then
    local _, long_end = text:find("]" .. equals .. "]", at, true)
    return long_end or #text -- a long string cannot be a key in practice; a comment never is
  end
  _, stop = text:find("^%-%-[^\n]*", at)
  if stop then
    return stop
  end
  _, stop = text:find("^[%a_][%w_]*", at)
  if stop then
    return stop, "name", text:sub(at, stop)
  end
  if text:find("^[\"']", at) then
    stop = quoted_end(text, at)
    return stop, "string", text:sub(at + 1, stop - 1)
  end
  _, stop = text:find("^[=~<>]=", at)
  if stop then
    return stop, "mark", text:sub(at, stop)
  end
  return at, "mark", text:sub(at, at)
end

---@param text string
---@return moongate.Token[]
local function tokens_of(text)
  local tokens, line, depth, at = {}, 1, 0, 1
  while at <= #text do
    local stop, kind, value = scan(text, at)
    if kind then
      if kind == "mark" and CLOSE[value] then
        depth = math.max(0, depth - 1)
      end
      tokens[#tokens + 1] = { kind = kind, text = value, line = line, depth = depth }
      if kind == "mark" and OPEN[value] then
        depth = depth + 1
      end
    end
    local _, newlines = text:sub(at, stop):gsub("\n", "")
    line = line + newlines
    at = stop + 1
  end
  return tokens
end

---@return boolean
local function is_mark(token, text)
  return token ~= nil and token.kind == "mark" and token.text == text
end

--- Is the token at `i` the key of an assignment: `key =` or `["key"] =`?
---@return integer|nil depth the depth of the table that the key is in
local function key_depth(tokens, i, key)
  local token = tokens[i]
  if token.text ~= key then
    return nil
  elseif token.kind == "name" and is_mark(tokens[i + 1], "=") then
    return token.depth
  elseif token.kind == "string" and is_mark(tokens[i - 1], "[") and is_mark(tokens[i + 1], "]")
    and is_mark(tokens[i + 2], "=") then
    return token.depth - 1
  end
  return nil
end

--- The first assignment to `key` in tokens first..last; at `depth` if given.
local function find_key(tokens, key, first, last, depth)
  for i = first, last do
    local found = key_depth(tokens, i, key)
    if found and (not depth or found == depth) then
      return i, found
    end
  end
  return nil
end

--- The last token of the value whose key is at `i` and in a table of this depth.
local function value_end(tokens, i, depth)
  local in_brackets = tokens[i].depth > depth
  for j = i + (in_brackets and 2 or 1), #tokens do
    local token = tokens[j]
    if token.depth < depth or (token.depth == depth and is_mark(token, ",")) then
      return j
    end
  end
  return #tokens
end

local function last_return(tokens)
  for i = #tokens, 1, -1 do
    local token = tokens[i]
    if token.kind == "name" and token.text == "return" and token.depth == 0 then
      return i
    end
  end
  return nil
end

--- The line in which a key of the returned table is set.
--- Keys are looked for where they should be (in the table of their parent), then anywhere, since a
--- script may build its parts in locals; what is not found at all is given its parent's line, or
--- that of the last `return`.
---@param text string the script
---@param path (string|integer)[] keys from the top, such as { "backends", "app", "root" }
---@return integer line
function M.line(text, path)
  local tokens = tokens_of(text)
  local start = last_return(tokens)
  local line = start and tokens[start].line or 1
  local first, last, depth = start or 1, #tokens, start and 1 or nil
  for _, key in ipairs(path) do
    if type(key) == "string" and #tokens > 0 then
      local i, found = find_key(tokens, key, first, last, depth)
      if not i then
        i, found = find_key(tokens, key, first, last)
      end
      if not i then
        i, found = find_key(tokens, key, 1, #tokens)
      end
      if not i then
        return line
      end
      line, first, last, depth = tokens[i].line, i + 1, value_end(tokens, i, found), found + 1
    end
  end
  return line
end

return M
