-- moongate.import.nginx_values owns the values of nginx's directives in Lua: variables, times,
-- sizes, conditions.
-- Called by moongate.import.nginx.

local pattern = require("moongate.import.pattern")

local M = {}

-- nginx's variables in Lua; `e` where the text of a URL is needed and this one is decoded.
local VARIABLES = {
  uri = "req.path", document_uri = "req.path", fastcgi_script_name = "req.path",
  request_uri = "req.uri", args = '(req.query or "")', query_string = '(req.query or "")',
  is_args = '(req.query and "?" or "")', host = '(req.host or "")',
  http_host = '(req.headers["Host"] or "")', scheme = "req.scheme", server_port = "req.server_port",
  remote_addr = "req.ip", remote_port = '(req.client_port or "")', request_method = "req.method",
  server_addr = "req.server_ip", request_id = "req.id",
    server_protocol = '("HTTP/" .. req.version)',
  https = '(req.scheme == "https" and "on" or "")', binary_remote_addr = "req.ip",
  content_type = '(req.headers["Content-Type"] or "")',
  content_length = '(req.headers["Content-Length"] or "")',
  proxy_add_x_forwarded_for = '(req.headers["X-Forwarded-For"] or req.ip)',
}
local DECODED = { uri = true, document_uri = true, fastcgi_script_name = true }

local function header_name(name)
  return (name:gsub("_", "-"):gsub("%f[%a]%a", string.upper))
end

--- Where a variable of `set` stands: in what belongs to the request, since a hook may wait (for a
--- password's check) while others run.
---@param name string
---@return string
function M.variable(name)
  return "req.ctx.var_" .. name
end

-- One variable; nil where it is not known.
local function variable(name, scope)
  local number = tonumber(name)
  if number then
    if not scope.captures then
      return nil
    end
    local text = ("(%s[%d] or \"\")"):format(scope.captures, number)
    return scope.url and ("rewrite.escape%s"):format(text) or text
  elseif scope.constants[name] then
    return pattern.quote(scope.constants[name])
  elseif scope.variables and scope.variables[name] then
    return M.variable(name)
  elseif scope.named and scope.named[name] then
    return ('(%s[%q] or "")'):format(scope.captures, name)
  elseif VARIABLES[name] then
    local text = VARIABLES[name]
    return scope.url and DECODED[name] and ("rewrite.escape(%s)"):format(text) or text
  end
  local kind, rest = name:match("^(%a+)_(.+)$")
  if kind == "arg" then
    return ('(req.args[%q] or "")'):format(rest)
  elseif kind == "cookie" then
    return ('(req.cookies[%q] or "")'):format(rest)
  elseif kind == "http" then
    return ('(req.headers[%q] or "")'):format(header_name(rest))
  end
  return nil
end

--- The variables of a text, one after the other: plain texts and names.
---@return table[] parts { text= } or { name= }
function M.parts(text)
  local parts, at = {}, 1
  while at <= #text do
    local from, to, name = text:find("%${([%w_]+)}", at)
    local from2, to2, name2 = text:find("%$([%w_]+)", at)
    if from2 and (not from or from2 < from) then
      from, to, name = from2, to2, name2
      if name:find("^%d") then -- "$12" is a capture of one digit
        name, to = name:sub(1, 1), from + 1
      end
    end
    if not from then
      parts[#parts + 1] = { text = text:sub(at) }
      break
    end
    if from > at then
      parts[#parts + 1] = { text = text:sub(at, from - 1) }
    end
    parts[#parts + 1] = { name = name }
    at = to + 1
  end
  return parts
end

--- The variables that `set` makes in these blocks, each with the place where it does so first.
---@param directives table[]
---@param found table<string, string> is added to
---@return table<string, string> found
function M.set_names(directives, found)
  for _, directive in ipairs(directives) do
    if directive.name == "set" then
      local name = (directive.args[1] or ""):match("^%$([%a_][%w_]*)$")
      if name then
        found[name] = found[name] or directive.where
      end
    end
    M.set_names(directive.block or {}, found)
  end
  return found
end

--- The first of these variables that a directive reads.
---@param directive table
---@param variables table<string, string> of set_names
---@return string|nil name
function M.reads(directive, variables)
  for _, arg in ipairs(directive.args) do
    for _, part in ipairs(M.parts(arg)) do
      if part.name and variables[part.name] then
        return part.name
      end
    end
  end
  return nil
end

--- A text with variables as an expression of Lua.
---@param text string
---@param scope table constants, variables, captures, url
---@return string|nil expression nil where a variable is not known
---@return string|nil constant the text, where it has no variables but constant ones
function M.expression(text, scope)
  local out, constant = {}, {}
  for _, part in ipairs(M.parts(text)) do
    local fixed = part.text or scope.constants[part.name]
    if fixed then
      constant[#constant + 1] = fixed
      if out.text then
        out[#out] = pattern.quote(out.text .. fixed)
        out.text = out.text .. fixed
      else
        out[#out + 1] = pattern.quote(fixed)
        out.text = fixed
      end
    else
      local made = variable(part.name, scope)
      if not made then
        return nil, nil, part.name
      end
      out[#out + 1], out.text, constant.broken = made, nil, true
    end
  end
  if #out == 0 then
    return '""', ""
  end
  return table.concat(out, " .. "), not constant.broken and table.concat(constant) or nil
end

local TIMES = { ms = 0.001, s = 1, m = 60, h = 3600, d = 86400, w = 604800, M = 2592000,
  y = 31536000 }

--- Seconds, or nil.
function M.time(text)
  local sum, rest = 0, text
  if text:find("^%d+$") then
    return tonumber(text)
  end
  while rest ~= "" do
    local number, unit, more = rest:match("^(%d+)(%a*)%s*(.*)$")
    if not number or not (TIMES[unit] or unit == "") then
      return nil
    end
    sum, rest = sum + tonumber(number) * (TIMES[unit] or 1), more
  end
  return sum
end

--- A size as Moongate writes it, or nil.
function M.size(text)
  local number, unit = text:match("^(%d+)([kKmMgG]?)$")
  if not number then
    return nil
  end
  return unit == "" and tonumber(number) or number .. (unit:lower() == "k" and "k" or unit:upper())
end

--- A condition of `if`, as a test in Lua, and a line that sets captures before it.
---@param args string[] without the parentheses
---@param scope table
---@param wants boolean are captures used behind it?
---@return string|nil test
---@return string|nil before a line of Lua
function M.condition(args, scope, wants)
  local first, operator, value = args[1], args[2], args[3]
  if not first then
    return nil
  end
  local kind = first:match("^!?%-[fde]$")
  if kind and operator then
    local path = operator == "$request_filename" and "req.path"
      or operator:match("^%$document_root(.*)$")
        and M.expression(operator:match("^%$document_root(.*)$"), scope)
    if not path or not scope.root then
      return nil
    end
    local root = pattern.quote(scope.root)
    local test
    if kind:find("f") then
      test = ("rewrite.is_file(%s, %s)"):format(root, path)
    elseif kind:find("d") then
      test = ("rewrite.is_folder(%s, %s)"):format(root, path)
    else
      test = ("(rewrite.is_file(%s, %s) or rewrite.is_folder(%s, %s))"):format(root, path, root,
        path)
    end
    return (kind:sub(1, 1) == "!" and "not " or "") .. test
  end
  local left = M.expression(first, scope)
  if not left then
    return nil
  elseif not operator then
    return ('(%s ~= "" and %s ~= "0")'):format(left, left)
  elseif operator == "=" or operator == "!=" then
    local right = M.expression(value or "", scope)
    return right and ("%s %s %s"):format(left, operator == "=" and "==" or "~=", right)
  end
  local negated, nocase = operator:sub(1, 1) == "!", operator:sub(-1) == "*"
  if not operator:find("^!?~%*?$") or not value then
    return nil
  elseif wants and not negated then
    local made, matched = pattern.captures(left:find("^[%w_.]+$") and left or "(" .. left .. ")",
      value, nocase)
    scope.captures = "m"
    return "m" .. matched, "local m = " .. made
  end
  local subject = left:find("^[%w_.]+$") and left or left:find("^%b()$") and left or "(" .. left
    .. ")"
  local test = pattern.test(subject, value, nocase)
  return (negated and "not " or "") .. test
end

return M
