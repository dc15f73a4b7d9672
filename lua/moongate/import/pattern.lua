-- moongate.import.pattern owns regular expressions of web servers in Lua: those that a Lua pattern
-- says as
-- well become one, all others stay what they are, for PCRE2 (`ngx.re`). Called by the importers.

local M = {}

local CLASSES = { d = "%d", w = "[%w_]", s = "%s", D = "%D", S = "%S" }
local IN_SET = { d = "%d", w = "%w_", s = "%s", D = "%D", S = "%S" }

-- A literal character as a Lua pattern has it.
local function literal(c)
  return c:find("%w") and c or c:find("[%s_/]") and c or "%" .. c
end

-- A set, from the bracket on: what Lua calls it, and where it ends.
local function set(text, at)
  local stop = at + 1
  local made = "["
  if text:sub(stop, stop) == "^" then
    made, stop = "[^", stop + 1
  end
  local first = true
  while true do
    local c = text:sub(stop, stop)
    if c == "" or c == "[" then
      return nil
    elseif c == "]" and not first then
      return made .. "]", stop
    elseif c == "\\" then
      local e = text:sub(stop + 1, stop + 1)
      if e:find("%w") and not IN_SET[e] then
        return nil
      end
      made = made .. (IN_SET[e] or "%" .. e)
      stop = stop + 2
    elseif c == "-" then
      local from, to = text:match("(%w)%-(%w)", stop - 1)
      local is_range = text:sub(stop - 1, stop + 1):find("^%w%-%w$")
      made = made .. (is_range and from and to and "-" or "%-")
      stop = stop + 1
    else
      made = made .. (c:find("[%w_/%s]") and c or "%" .. c)
      stop = stop + 1
    end
    first = false
  end
end

--- A Lua pattern that matches and captures the same, or nil.
---@param regex string
---@return string|nil
function M.lua(regex)
  local at, out, open, groups = 1, {}, 0, 0
  local atom -- may what came last be repeated?
  while at <= #regex do
    local c = regex:sub(at, at)
    if c == "^" then
      if at ~= 1 then
        return nil
      end
      out[#out + 1], atom = "^", false
    elseif c == "$" then
      if at ~= #regex then
        return nil
      end
      out[#out + 1], atom = "$", false
    elseif c == "(" then
      if regex:sub(at + 1, at + 1) == "?" or open > 0 then
        return nil
      end
      out[#out + 1], open, groups, atom = "(", open + 1, groups + 1, false
    elseif c == ")" then
      if open == 0 or regex:find("^[*+?{]", at + 1) or out[#out] == "(" then
        return nil
      end
      out[#out + 1], open, atom = ")", open - 1, false
    elseif c == "*" or c == "+" or c == "?" then
      if not atom then
        return nil
      end
      local lazy = regex:sub(at + 1, at + 1)
      if lazy == "?" and c == "*" then
        c, at = "-", at + 1
      elseif lazy == "?" or lazy == "+" then
        return nil
      end
      out[#out + 1], atom = c, false
    elseif c == "|" or c == "{" or c == "}" then
      return nil
    elseif c == "[" then
      local made, stop = set(regex, at)
      if not made then
        return nil
      end
      out[#out + 1], at, atom = made, stop, true
    elseif c == "\\" then
      at = at + 1
      local e = regex:sub(at, at)
      if e == "" or e:find("%w") and not CLASSES[e] then
        return nil
      end
      out[#out + 1], atom = CLASSES[e] or literal(e), true
    elseif c == "." then
      out[#out + 1], atom = ".", true
    else
      out[#out + 1], atom = literal(c), true
    end
    at = at + 1
  end
  local made = table.concat(out)
  if open > 0 or groups > 9 or not pcall(string.find, "", made) then
    return nil
  end
  return made
end

--- A text as a literal of Lua, in brackets where it has backslashes.
---@param text string
---@return string
function M.quote(text)
  if text:find("\\", 1, true) and not text:find("[%z\1-\31]") and text:sub(-1) ~= "]" then
    local level = ""
    while text:find("]" .. level .. "]", 1, true) do
      level = level .. "="
    end
    return ("[%s[%s]%s]"):format(level, text, level)
  end
  return '"' .. text:gsub('[%c"\\]', function(c)
    return c == '"' and '\\"' or c == "\\" and "\\\\" or c == "\n" and "\\n"
      or ("\\%03d"):format(c:byte())
  end) .. '"'
end

--- A test in Lua: does the text that `subject` stands for match?
---@param subject string Lua
---@param regex string
---@param nocase boolean|nil
---@return string expression, boolean uses_ngx
function M.test(subject, regex, nocase)
  local made = not nocase and M.lua(regex)
  if made then
    return ("%s:find(%s)"):format(subject, M.quote(made)), false
  end
  return ("ngx.re.find(%s, %s, %q)"):format(subject, M.quote(regex), nocase and "ijo" or "jo"), true
end

--- An expression that is a table of captures where it matches; what tells that it does is put
--- behind it.
---@return string expression
---@return string matched what is behind the variable's name in a test
---@return boolean uses_ngx
function M.captures(subject, regex, nocase)
  local made = not nocase and M.lua(regex)
  if made then
    return ("{ %s:match(%s) }"):format(subject, M.quote(made)), "[1]", false
  end
  return ("ngx.re.match(%s, %s, %q)"):format(subject, M.quote(regex), nocase and "ijo" or "jo"), "",
    true
end

return M
