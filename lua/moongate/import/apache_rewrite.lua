-- moongate.import.apache_rewrite owns mod_rewrite in Lua: rules with their conditions as lines.
-- Called by
-- moongate.import.apache.

local pattern = require("moongate.import.pattern")
local writer = require("moongate.import.writer")

local M = {}

local quote = pattern.quote
local add = writer.add

local VARIABLES = {
  REQUEST_URI = "req.path",
  REQUEST_FILENAME = "req.path", SCRIPT_FILENAME = "req.path", QUERY_STRING = '(req.query or "")',
  HTTP_HOST = '(req.headers["Host"] or "")', SERVER_NAME = '(req.host or "")',
    REQUEST_METHOD = "req.method",
  REMOTE_ADDR = "req.ip", REQUEST_SCHEME = "req.scheme", SERVER_PORT = "req.server_port",
  HTTPS = '(req.scheme == "https" and "on" or "off")',
    HTTP_USER_AGENT = '(req.headers["User-Agent"] or "")',
  HTTP_REFERER = '(req.headers["Referer"] or "")', HTTP_COOKIE = '(req.headers["Cookie"] or "")',
  HTTP_ACCEPT = '(req.headers["Accept"] or "")', SERVER_PROTOCOL = '("HTTP/" .. req.version)',
  THE_REQUEST = '(req.method .. " " .. req.uri .. " HTTP/" .. req.version)',
    REMOTE_PORT = '(req.client_port or "")',
  SERVER_ADDR = "req.server_ip",
}

local function variable(name, scope)
  if name == "DOCUMENT_ROOT" then
    return quote(scope.root)
  end
  local header = name:match("^HTTP:([%w-]+)$")
  if header then
    return ("(req.headers[%q] or \"\")"):format(header)
  end
  if name:match("^ENV:") then
    return nil
  end
  return VARIABLES[name]
end

--- A substitution or a test string as an expression: "$1", "%1", "%{NAME}". nil where a part is not
--- known.
---@param scope table root, rule (name of captures), cond, url
---@return string|nil expression, boolean is_constant
function M.expression(text, scope)
  local out, at, constant = {}, 1, true
  local function literal(piece)
    if piece ~= "" then
      out[#out + 1] = quote((piece:gsub("\\(.)", "%1")))
    end
  end
  while at <= #text do
    local from, to, kind, what = text:find("([$%%])([%d{])", at)
    if not from then
      literal(text:sub(at))
      break
    elseif from > 1 and text:sub(from - 1, from - 1) == "\\" then
      literal(text:sub(at, from))
      at = from + 1
    else
      literal(text:sub(at, from - 1))
      local made
      if what == "{" then
        local name
        name, to = text:match("^{([^}]+)}()", from + 1)
        made = kind == "%" and name and variable(name, scope)
        to = to and to - 1
        if made and scope.url and made == "req.path" then
          made = "rewrite.escape(req.path)"
        end
      else
        local captures = kind == "$" and scope.rule or kind == "%" and scope.cond
        if what == "0" then
          made = nil
        else
          made = captures and ('(%s[%s] or "")'):format(captures, what)
        end
        if made and scope.url and not scope.in_query then
          made = ("rewrite.escape%s"):format(made)
        end
      end
      if not made or not to then
        return nil, false
      end
      out[#out + 1], constant = made, false
      at = to + 1
    end
  end
  return #out == 0 and '""' or table.concat(out, " .. "), constant
end

local function flags_of(text)
  local flags = {}
  for flag in (text or ""):gsub("^%[", ""):gsub("%]$", ""):gmatch("[^,]+") do
    local name, value = flag:match("^%s*([^=]+)=?(.-)%s*$")
    name = (name or ""):upper()
    local long = { LAST = "L", REDIRECT = "R", FORBIDDEN = "F", GONE = "G", NOCASE = "NC",
      QSAPPEND = "QSA",
      QSDISCARD = "QSD", ORNEXT = "OR", PASSTHROUGH = "PT", NOESCAPE = "NE", PROXY = "P", ENV = "E",
        CHAIN = "C",
      NEXT = "N", SKIP = "S", HANDLER = "H", TYPE = "T", COOKIE = "CO" }
    flags[long[name] or name] = value or ""
  end
  return flags
end

-- A test with "(captures)" or not.
local function subject_of(text)
  return (text:find("^[%w_.]+$") or text:find("^%b()$")) and text or "(" .. text .. ")"
end

-- Is the test about a file? REQUEST_FILENAME of a rule of a server is a URL's path.
local function file_root(text, scope)
  if text == "%{REQUEST_FILENAME}" or text == "%{SCRIPT_FILENAME}" then
    return scope.per_dir and scope.root or "/", "req.path"
  end
  local rest = text:match("^%%{DOCUMENT_ROOT}/?(.*)$")
  if rest then
    local made = M.expression(rest:sub(1, 1) == "/" and rest or "/" .. rest, scope)
    rest = rest:gsub("^/", "")
    if rest == "%{REQUEST_URI}" or rest == "%{REQUEST_FILENAME}" then
      made = "req.path"
    end
    return made and scope.document_root, made
  end
  local folder, tail = text:match("^(/[^%%$]*)(/?.*)$")
  if folder and tail then
    local made = M.expression(text, scope)
    return made and "/", made
  end
  local made = text:match("^%%{REQUEST_FILENAME}(.*)$")
  if made then
    local more = M.expression(made, scope)
    return more and (scope.per_dir and scope.root or "/"), more and "req.path .. " .. more
  end
  return nil
end

--- A condition.
---@return string|nil test, string|nil before a line, for captures
local function condition(node, scope, wants)
  local text, test = node.args[1], node.args[2]
  local flags = flags_of(node.args[3])
  if not test or text == "expr" then
    return nil
  end
  local negated = test:sub(1, 1) == "!"
  local plain = negated and test:sub(2) or test
  local no = negated and "not " or ""
  if plain == "-f" or plain == "-d" or plain == "-s" or plain == "-F" or plain == "-e" then
    local root, path = file_root(text, scope)
    if not root then
      return nil
    elseif not scope.per_dir and text == "%{REQUEST_FILENAME}" then
      scope.model:trap(node.where,
        "%{REQUEST_FILENAME} outside of <Directory> and .htaccess is the URL's path, not a file: "
        .. "write %{DOCUMENT_ROOT}%{REQUEST_URI}")
    end
    return ("%srewrite.%s(%s, %s)"):format(no, plain == "-d" and "is_folder" or "is_file",
      quote(root), path)
  elseif plain == "-l" or plain == "-h" or plain == "-L" or plain == "-x" then
    return negated and "true" or "false"
  end
  local left = M.expression(text, scope)
  if not left then
    return nil
  end
  local operator, value = plain:match("^(=)(.*)$")
  if operator then
    value = value:gsub('^"(.*)"$', "%1")
    if flags.NC then
      return ("(%s):lower() %s %s"):format(left, negated and "~=" or "==", quote(value:lower()))
    end
    return ("%s %s %s"):format(left, negated and "~=" or "==", quote(value))
  elseif plain:find("^[<>]") or plain:find("^%-%a%a$") then
    return nil
  elseif plain == "" or plain == "^$" then
    return ("%s %s \"\""):format(left, negated and "~=" or "==")
  elseif plain == "." or plain == ".+" then
    return ("%s %s \"\""):format(left, negated and "==" or "~=")
  end
  if wants and not negated then
    local made, matched = pattern.captures(subject_of(left), plain, flags.NC)
    return "m" .. matched, "local m = " .. made
  end
  return no .. (pattern.test(subject_of(left), plain, flags.NC))
end

local ALL = { ["."] = true, ["^"] = true, [".*"] = true, ["^.*$"] = true, ["^(.*)$"] = true,
  ["(.*)"] = true,
  ["^(.+)$"] = true, [""] = true, [".?"] = true, ["^.*"] = true, ["(.+)"] = true, ["^.+$"] = true,
    ["^(.*)"] = true,
  ["(^.*)"] = true, [".+"] = true }

--- Is this rule a front controller, and nothing behind it? Its path, and what is looked for before.
---@param rule table node, conditions
---@return string|nil front, string[]|nil try
function M.front(rule, base)
  local node = rule.node
  local flags = flags_of(node.args[3])
  local to = node.args[2] or ""
  if not ALL[node.args[1] or "-"] or flags.R or flags.F or flags.C or flags.E or to:find("[$%%?]")
    or to == "-"
    or to:find("^%a+:") then
    return nil
  end
  local file, folder = false, false
  for _, cond in ipairs(rule.conditions) do
    local text, test = cond.args[1], cond.args[2]
    local is_file = text == "%{REQUEST_FILENAME}" or text == "%{DOCUMENT_ROOT}%{REQUEST_URI}"
      or text == "%{DOCUMENT_ROOT}/%{REQUEST_URI}" or text == "%{DOCUMENT_ROOT}%{REQUEST_FILENAME}"
    if flags_of(cond.args[3]).OR then
      return nil
    elseif is_file and test == "!-f" then
      file = true
    elseif is_file and test == "!-d" then
      folder = true
    elseif not (is_file and test == "!-l") and not (text == "%{REQUEST_URI}"
      and test:find("^!=?%^?/?" .. "favicon")) then
      return nil
    end
  end
  if not file then
    return nil
  end
  local path = to:sub(1, 1) == "/" and to or base .. to
  return path, folder and { "$path", "$path/", path } or { "$path", path }
end

--- The lines of one rule. False where it can't be said.
---@param lines string[]
---@param indent integer
---@param rule table node, conditions
---@param scope table per_dir (nil or the URL's prefix, "/" at its end), base, root, document_root,
--- model, serve
---@return boolean
function M.write(lines, indent, rule, scope)
  local node = rule.node
  local regex, to, flags = node.args[1], node.args[2], flags_of(node.args[3])
  if not to or flags.P or flags.C or flags.N or flags.S or flags.H or flags.T or flags.CO then
    return false, flags.P and "the proxy flag" or "a flag"
  end
  local negated = regex:sub(1, 1) == "!"
  regex = negated and regex:sub(2) or regex
  local used = to .. " "
  for _, cond in ipairs(rule.conditions) do
    used = used .. cond.args[1] .. " "
  end
  local wants_rule, wants_cond = used:find("%$%d") ~= nil, used:find("%%%d") ~= nil
  local subject = "req.path"
  if scope.per_dir then
    subject = ("req.path:sub(%d)"):format(#scope.per_dir + 1)
  end
  local inner = setmetatable({ rule = wants_rule and "c" or nil, cond = wants_cond and "m" or nil },
    { __index = scope })
  local before, tests = {}, {}
  if not (ALL[regex] and not wants_rule) then
    if wants_rule and not negated then
      local made, matched = pattern.captures(subject, regex, flags.NC)
      before[#before + 1] = "local c = " .. made
      tests[#tests + 1] = { text = "c" .. matched }
    else
      tests[#tests + 1] = { text = (negated and "not " or "") .. (pattern.test(subject, regex,
        flags.NC)) }
    end
  end
  if scope.per_dir and scope.per_dir ~= "/" then
    table.insert(tests, 1, { text = ("req.path:sub(1, %d) == %s"):format(#scope.per_dir,
      quote(scope.per_dir)) })
  end
  local last_regex
  for i, cond in ipairs(rule.conditions) do
    local plain = cond.args[2] or ""
    if not plain:find("^!?%-%a$") and plain:sub(1, 1) ~= "!" and plain:sub(1, 1) ~= "=" then
      last_regex = i
    end
  end
  for i, cond in ipairs(rule.conditions) do
    local test, line = condition(cond, inner, wants_cond and i == last_regex)
    if not test then
      return false, "a condition: " .. table.concat(cond.args, " ")
    end
    before[#before + 1] = line
    tests[#tests + 1] = { text = test, either = flags_of(cond.args[3]).OR ~= nil }
  end
  -- "a [OR] b" is one test.
  local parts, group = {}, {}
  for _, test in ipairs(tests) do
    group[#group + 1] = test.text
    if not test.either then
      parts[#parts + 1] = #group > 1 and "(" .. table.concat(group, " or ") .. ")" or group[1]
      group = {}
    end
  end
  if #group > 0 then
    parts[#parts + 1] = "(" .. table.concat(group, " or ") .. ")"
  end
  local action = {}
  if flags.F or (flags.R or ""):find("^[45]%d%d$") then
    action[1] = ("return { status = %s }"):format(flags.F and "403" or flags.R)
  elseif flags.G then
    action[1] = "return { status = 410 }"
  elseif to == "-" then
    if flags.E then
      local name = flags.E:match("^([^:]+)")
      if name == "HTTP_AUTHORIZATION" then
        return true -- Moongate passes it on
      end
      return false, "an environment variable: `params`"
    elseif not (flags.L or flags.END) then
      return true
    end
    action[1] = ("return %s(req)"):format(scope.serve)
  else
    local path, query = to:match("^([^?]*)%?(.*)$")
    path = path or to
    local absolute = path:find("^%a[%w+.-]*://") or path:find("^%%{REQUEST_SCHEME}")
      or path:find("^https?:")
    local redirect = flags.R or absolute
    if not absolute and path:sub(1, 1) ~= "/" and not path:find("^%%[{%d]") then
      path = (scope.base or "/") .. path
    end
    inner.url = redirect and true or nil
    local path_text = M.expression(path, inner)
    inner.in_query = true
    local query_text = query and query ~= "" and M.expression(query, inner)
    if not path_text or query and query ~= "" and not query_text then
      return false, "a variable of the substitution"
    end
    if redirect then
      local text = path_text
      if query_text then
        text = text .. ' .. "?" .. ' .. query_text
        if flags.QSA then
          text = text .. ' .. (req.query and "&" .. req.query or "")'
        end
      elseif query == nil and not flags.QSD then
        text = text .. ' .. (req.query and "?" .. req.query or "")'
      end
      local status = tonumber(flags.R) or (flags.R == "permanent" and 301) or (flags.R == "seeother"
        and 303) or 302
      action[1] = ("return { redirect = %s, status = %d }"):format(text, status)
    else
      local new_query = "req.query"
      if query_text then
        new_query = flags.QSA and query_text .. ' .. (req.query and "&" .. req.query or "")'
          or query_text
      elseif query == "" or flags.QSD then
        new_query = "nil"
      end
      local made = ("rewrite.to(req, %s, %s)"):format(path_text, new_query)
      if flags.L or flags.END or flags.PT and not scope.per_dir then
        action[1] = ("return %s(%s)"):format(flags.PT and scope.serve or scope.serve, made)
      else
        action[1] = "req = " .. made
      end
      scope.server.rewrites = true
    end
  end
  local at = indent
  if #before > 0 then
    add(lines, at, "do")
    at = at + 1
    for _, line in ipairs(before) do
      add(lines, at, "%s", line)
    end
  end
  if #parts > 0 then
    add(lines, at, "if %s then", table.concat(parts, " and "))
  else
    add(lines, at, "do")
  end
  for _, line in ipairs(action) do
    add(lines, at + 1, "%s", line)
  end
  add(lines, at, "end")
  if #before > 0 then
    add(lines, indent, "end")
  end
  return true
end

return M
