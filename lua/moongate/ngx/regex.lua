-- moongate.ngx.regex owns ngx.re: match, find, sub and gsub with the part of Perl's patterns that
-- the system's extended regular expressions have too (regex(7)). What they lack (lazy repeats, look
-- ahead and behind, named groups) is an error, not another meaning. Of several ways to match at a
-- place they take the longest, where Perl takes the first. Called by ngx.

local core = require("moongate.core")

local M = {}

local CLASSES = { d = "0-9", w = "A-Za-z0-9_", s = " \t\r\n\f\v" }
local CONTROLS = { n = "\n", r = "\r", t = "\t", f = "\f", v = "\v" }

local function refuse(pattern, what)
  error(("ngx.re: '%s': %s not available"):format(pattern, what), 0)
end

-- What stands in brackets from `at` on: there a backslash is only a backslash.
local function translate_set(pattern, at)
  local negated, rest = pattern:match("^%[(%^?)(%]?)", at)
  local out, i = "", at + 1 + #negated + #rest
  local first = rest -- a bracket that comes first is one of the set
  while true do
    local c = pattern:sub(i, i)
    if c == "" then
      refuse(pattern, "a set without its end is")
    elseif c == "]" then
      return "[" .. negated .. first .. out .. "]", i + 1
    elseif c == "[" and pattern:match("^%[:%a+:%]", i) then
      c = pattern:match("^%[:%a+:%]", i)
      out, i = out .. c, i + #c
    elseif c == "\\" then
      local escaped = pattern:sub(i + 1, i + 1)
      if escaped == "]" then
        first = "]"
      elseif escaped:match("[%-%^%[]") then
        out = out .. "[." .. escaped .. ".]"
      elseif escaped:match("%a") and not (CLASSES[escaped] or CONTROLS[escaped]) then
        refuse(pattern, "\\" .. escaped .. " in a set is")
      else
        out = out .. (CLASSES[escaped] or CONTROLS[escaped] or escaped)
      end
      i = i + 2
    else
      out, i = out .. (c == "[" and "[.[.]" or c), i + 1
    end
  end
end

-- What a backslash and a letter mean.
local function translate_escape(pattern, c)
  if c:match("[dws]") then
    return "[" .. CLASSES[c] .. "]"
  elseif c:match("[DWS]") then
    return "[^" .. CLASSES[c:lower()] .. "]"
  elseif CONTROLS[c] then
    return CONTROLS[c]
  elseif c:match("[%dbB]") then
    return "\\" .. c
  elseif c:match("%w") or c == "" then
    refuse(pattern, "\\" .. c .. " is")
  end
  return "\\" .. c
end

--- An extended regular expression for Perl's; and which of its groups count.
---@param pattern string
---@return string
---@return integer[] groups
function M.translate(pattern)
  local out, groups, count, i = {}, {}, 0, 1
  while i <= #pattern do
    local c = pattern:sub(i, i)
    local piece
    if c == "\\" then
      piece, i = translate_escape(pattern, pattern:sub(i + 1, i + 1)), i + 2
    elseif c == "[" then
      piece, i = translate_set(pattern, i)
    elseif c == "(" then
      count = count + 1
      if pattern:sub(i + 1, i + 1) ~= "?" then
        groups[#groups + 1] = count
        i = i + 1
      elseif pattern:sub(i + 2, i + 2) == ":" then
        i = i + 3
      else
        refuse(pattern, "a group with '(?' is")
      end
      piece = "("
    else
      if c:match("[*+?}]") and pattern:match("^[?+]", i + 1) then
        refuse(pattern, "a lazy or possessive repeat is")
      end
      piece, i = c == "." and "[^\n]" or c, i + 1
    end
    out[#out + 1] = piece
  end
  return table.concat(out), groups
end

local CACHED = 200
local cache, cached = {}, 0

local function compile(pattern, options)
  options = options or ""
  local other = options:match("[^joai]")
  if other then
    return nil, ("option '%s' is not available"):format(other)
  end
  local key = options .. "\0" .. pattern
  local entry = cache[key]
  if not entry then
    local anchored = options:find("a") ~= nil -- matches where the search begins, or not at all
    local ok, text, groups = pcall(M.translate, anchored and "^(?:" .. pattern .. ")" or pattern)
    if not ok then
      return nil, text
    end
    local compiled, reason = core.pattern(text, options:find("i") ~= nil)
    if not compiled then
      return nil, reason
    end
    entry = { pattern = compiled, groups = groups, anchored = anchored }
    if cached == CACHED then
      cache, cached = {}, 0
    end
    cache[key], cached = entry, cached + 1
  end
  return entry
end

-- { from, to, captures } of the first match from `init` on.
local function search(entry, text, init)
  local skipped = entry.anchored and init - 1 or 0
  text = text:sub(skipped + 1)
  local at = init - skipped <= #text + 1 and entry.pattern:find(text, init - skipped)
  if not at then
    return nil
  end
  local captures = { [0] = text:sub(at[1], at[2]) }
  for i, group in ipairs(entry.groups) do
    local from = at[group * 2 + 1]
    captures[i] = from and from > 0 and text:sub(from, at[group * 2 + 2]) or false
  end
  return { from = at[1] + skipped, to = at[2] + skipped, captures = captures }
end

--- As ngx.re.match: the captures, [0] is all of it; false for a group without a part in it.
function M.match(text, pattern, options, ctx)
  local entry, reason = compile(pattern, options)
  if not entry then
    return nil, reason
  end
  local found = search(entry, tostring(text), ctx and ctx.pos or 1)
  if found and ctx then
    ctx.pos = found.to + 1
  end
  return found and found.captures
end

--- As ngx.re.find: from where to where.
function M.find(text, pattern, options, ctx)
  local entry, reason = compile(pattern, options)
  if not entry then
    return nil, nil, reason
  end
  local found = search(entry, tostring(text), ctx and ctx.pos or 1)
  if found then
    return found.from, found.to
  end
  return nil
end

-- "$1", "${1}", "$0" and "$$" in a text that replaces.
local function expand(template, captures)
  return (template:gsub("%$(%$?)(%{?)(%d*)(%}?)", function(dollar, open, number, close)
    if dollar == "$" then
      return "$" .. open .. number .. close
    elseif number == "" or (open == "{") ~= (close == "}") and open == "{" then
      error("ngx.re: invalid capturing variable name found in the replacement", 0)
    end
    return (captures[tonumber(number)] or "") .. (open == "" and close or "")
  end))
end

local function replace(text, pattern, with, options, most)
  local entry, reason = compile(pattern, options)
  if not entry then
    return nil, nil, reason
  end
  text = tostring(text)
  local out, at, count = {}, 1, 0
  while count < most do
    local found = search(entry, text, at)
    if not found then
      break
    end
    local ok, piece = pcall(type(with) == "function" and with or expand,
      type(with) == "function" and found.captures or with, found.captures)
    if not ok then
      return nil, nil, piece
    end
    count = count + 1
    out[#out + 1] = text:sub(at, found.from - 1) .. tostring(piece)
    if found.to < found.from then -- an empty match: on with the next byte
      out[#out + 1] = text:sub(found.from, found.from)
      at = found.from + 1
    else
      at = found.to + 1
    end
  end
  return table.concat(out) .. text:sub(at), count
end

--- As ngx.re.sub: the text with the first match replaced, and how many were.
function M.sub(text, pattern, with, options)
  return replace(text, pattern, with, options, 1)
end

--- The same for all matches.
function M.gsub(text, pattern, with, options)
  return replace(text, pattern, with, options, math.huge)
end

return M
