-- moongate.ngx.regex owns ngx.re: match, find, gmatch, sub and gsub with PCRE2, as OpenResty has
-- them. Called by ngx.

local core = require("moongate.core")

local M = {}

-- Compiled patterns by their options and text, with and without the option o. A script that makes
-- patterns of what clients send has any number of them: when there are too many all are forgotten.
local CACHED = 200
local cache, cached = {}, 0

local function compile(pattern, options)
  pattern, options = tostring(pattern), options or ""
  local key = options .. "\0" .. pattern
  local compiled = cache[key]
  if not compiled then
    local reason
    compiled, reason = core.pattern(pattern, options)
    if not compiled then
      return nil, ("ngx.re: '%s': %s"):format(pattern:sub(1, 60), reason)
    end
    if cached == CACHED then
      cache, cached = {}, 0
    end
    cache[key], cached = compiled, cached + 1
  end
  return compiled
end

-- The first match from `init` on: from, to, captures; or nil, and the reason if there is one.
local function search(pattern, text, init, captures)
  local from, to = pattern:search(text, init, captures, 0)
  if not from then
    return nil, to
  end
  return from, to, captures
end

-- Where the next search begins: after an empty match one character on, which is one byte, but with
-- the option u (or U) as many as UTF-8 has of it.
local function after(text, options, from, to)
  if to >= from then
    return to + 1
  end
  local utf = from <= #text and (options or ""):find("[uU]")
  return utf and text:match("^[\128-\191]*()", from + 1) or from + 1
end

--- The captures of the first match: [0] is all of it, [1] and ["name"] are groups, false for one
--- without a part in it. nil where there is none; nil and the reason for a wrong pattern, and for a
--- search that takes too much time or memory.
---@param text any
---@param pattern string
---@param options string|nil letters
---@param ctx table|nil the search begins at ctx.pos, which is left behind the match
---@param captures table|nil filled in place of a new one
---@return table|nil captures
---@return string|nil reason
function M.match(text, pattern, options, ctx, captures)
  local compiled, reason = compile(pattern, options)
  if not compiled then
    return nil, reason
  end
  local from, to, found = search(compiled, tostring(text), ctx and ctx.pos or 1, captures or {})
  if not from then
    return nil, to
  end
  if ctx then
    ctx.pos = to + 1
  end
  return found
end

--- From where to where the first match goes, or its group of the number `nth`.
---@return integer|nil from
---@return integer|nil to
---@return string|nil reason
function M.find(text, pattern, options, ctx, nth)
  local compiled, reason = compile(pattern, options)
  if not compiled then
    return nil, nil, reason
  end
  local from, to, last = compiled:search(tostring(text), ctx and ctx.pos or 1, nil, nth or 0)
  if not from then
    return nil, nil, to
  end
  if ctx then
    ctx.pos = last + 1
  end
  return from, to
end

--- A function that returns the captures of the next match, nil after the last.
---@return function|nil
---@return string|nil reason
function M.gmatch(text, pattern, options)
  local compiled, reason = compile(pattern, options)
  if not compiled then
    return nil, reason
  end
  local at = 1
  text = tostring(text)
  return function()
    local from, to, captures = search(compiled, text, at, {})
    if not from then
      at = #text + 2 -- no more of it, after an error either
      return nil, to
    end
    at = after(text, options, from, to)
    return captures
  end
end

-- "$1", "${1}", "$0" and "$$" in a text that replaces; nil where something else follows a dollar.
local function expand(template, captures)
  local wrong
  local made = template:gsub("%$(%$?)(%{?)(%d*)(%}?)", function(dollar, open, number, close)
    if dollar == "$" then
      return "$" .. open .. number .. close
    elseif number == "" or (open == "{" and close == "") then
      wrong = true
    end
    return (captures[tonumber(number)] or "") .. (open == "" and close or "")
  end)
  return not wrong and made or nil
end

local function replace(text, pattern, with, options, most)
  local compiled, reason = compile(pattern, options)
  if not compiled then
    return nil, nil, reason
  end
  text = tostring(text)
  local call = type(with) == "function"
  local out, at, copied, count = {}, 1, 1, 0
  while count < most do
    local from, to, captures = search(compiled, text, at, {})
    if not from and to then
      return nil, nil, to
    elseif not from then
      break
    end
    local piece = call and tostring(with(captures)) or not call and expand(tostring(with), captures)
    if not piece then
      return nil, nil, ("ngx.re: invalid capturing variable name found in the replacement '%s'")
        :format(tostring(with))
    end
    count = count + 1
    out[#out + 1] = text:sub(copied, from - 1)
    out[#out + 1] = piece
    copied, at = to + 1, after(text, options, from, to)
  end
  return table.concat(out) .. text:sub(copied), count
end

--- The text with the first match replaced, by a text with "$1" or what a function of the captures
--- returns; and how many were.
---@return string|nil
---@return integer|nil
---@return string|nil reason
function M.sub(text, pattern, with, options)
  return replace(text, pattern, with, options, 1)
end

--- The same for all matches.
function M.gsub(text, pattern, with, options)
  return replace(text, pattern, with, options, math.huge)
end

return M
