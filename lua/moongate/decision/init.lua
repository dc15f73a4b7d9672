-- moongate.decision owns what a hook may return: the kinds, their keys, and what is wrong with a
-- table that fits none. Called by core/ for the message about a decision that it can't use, and by
-- modules that are given one before a request: router, php, load, testing and explain.

local addr = require("moongate.base.addr")
local caching = require("moongate.decision.caching")
local describe = require("moongate.base.describe")
local compress = require("moongate.decision.compress")
local docroot = require("moongate.docroot")
local ini = require("moongate.decision.ini")
local internal = require("moongate.decision.internal")
local suggest = require("moongate.base.suggest")
local units = require("moongate.base.units")
local upcoming = require("moongate.base.upcoming")
local sorted_keys = require("moongate.base.keys").sorted

local M = {}

local sub = string.sub
local real_metatable = debug.getmetatable

local TRY_MOST = 10 -- decisions of which each is the end of another one's `try`

--- Does a table get keys from another one? The core reads a table's own, so that what is decided
--- doesn't depend on the reader.
function M.inherits(d)
  return real_metatable(d).__index ~= nil
end

--- Are decisions at the end of `try` nested without an end, or nearly so?
function M.is_endless(d)
  for _ = 1, TRY_MOST do
    local list = d.try
    local last = type(list) == "table" and list[#list]
    if type(last) ~= "table" then
      return false
    end
    d = last
  end
  return true
end

--- Is `try` a list that can be walked? If not, `problem` says why.
function M.is_try_list(list)
  if type(list) ~= "table" or #list == 0 then
    return false
  end
  for i = 1, #list do
    local kind = type(list[i])
    if kind ~= "string" and not (kind == "table" and i == #list) then
      return false
    end
  end
  return true
end

--- A text that can stand in a line of the log.
local function printable(value)
  return (value:gsub("%c", "?"))
end

--- Each checker returns what was expected, or nil where the value will do; where the type is not
--- the matter, nil and the whole problem.
local function is(kind, expected)
  return function(value)
    return type(value) ~= kind and (expected or "a " .. kind) or nil
  end
end

local function text(value)
  return (type(value) ~= "string" or value:find("%z")) and "a text" or nil
end

local function absolute(value)
  local fits = type(value) == "string" and sub(value, 1, 1) == "/" and not value:find("%z")
  return not fits and 'an absolute path such as "/srv/www"' or nil
end

--- A folder that a decision names: not what a path becomes that is made of an empty name.
local function folder(value)
  if absolute(value) then
    return absolute(value)
  end
  return nil, docroot.root_problem(value)
end

--- A file; a slash at its end stands for the index of a folder.
local function file_path(value)
  if absolute(value) then
    return absolute(value)
  end
  return nil, docroot.root_problem(value:match("^(.-)/?$"))
end

local function url_path(value)
  local fits = type(value) == "string" and sub(value, 1, 1) == "/" and not value:find("%z")
  return not fits and 'a path that begins with "/"' or nil
end

local function duration(value)
  local seconds = units.duration(value)
  return (seconds == nil or seconds == 0) and units.DURATION .. ", above zero" or nil
end

local function size(value)
  return not units.size(value) and units.SIZE or nil
end

local function integer(low, high)
  return function(value)
    local fits = type(value) == "number" and value % 1 == 0 and value >= low and value <= high
    return not fits and ("a whole number from %d to %d"):format(low, high) or nil
  end
end

local function within(value)
  local expected = "an absolute path or a list of them"
  if type(value) ~= "table" then
    if absolute(value) then
      return expected
    end
    return nil, docroot.root_problem(value)
  elseif #value == 0 then
    return nil, "the list is empty"
  end
  for _, path in ipairs(value) do
    if absolute(path) then
      return nil, ("'%s' is not an absolute path"):format(suggest.name(path))
    end
    local problem = docroot.root_problem(path)
    if problem then
      return nil, problem
    end
  end
  return nil
end

local function names(value)
  local expected = 'a list of file names such as { "index.html" }'
  if type(value) == "string" then
    value = { value }
  elseif type(value) ~= "table" then
    return expected
  elseif next(value) == nil then
    return nil, "the list is empty"
  end
  for i, name in pairs(value) do
    if type(i) ~= "number" or type(name) ~= "string" then
      return expected
    elseif name == "" or name:find("[/%z]") then
      return nil, ("'%s' is not the name of a file"):format(printable(name))
    end
  end
  return nil
end

local function is_header_value(value)
  if type(value) == "string" then
    return not value:find("[%z\1-\8\10-\31\127]") -- a tab is allowed
  end
  return type(value) == "number"
end

local function headers(value)
  if type(value) ~= "table" then
    return "a table of headers"
  end
  for _, name in ipairs(sorted_keys(value)) do
    local content = value[name]
    if type(name) ~= "string" then
      return nil, 'the keys are names of headers, as in { ["X-A"] = "b" }; there is one without'
    elseif not name:match("^[%w!#$%%&'*+.^_`|~-]+$") then
      return nil, ("'%s' cannot be the name of a header"):format(printable(name))
    end
    for _, item in ipairs(type(content) == "table" and content or { content }) do
      if type(item) ~= "string" and type(item) ~= "number" then
        return nil, ("'%s': expected a text or a list of them, got %s"):format(name, describe(item))
      elseif not is_header_value(item) then
        return nil, ("'%s': a control character in '%s'"):format(name, printable(item))
      end
    end
  end
  return nil
end

local function header_value(value)
  if type(value) ~= "string" then
    return "a text"
  elseif not is_header_value(value) then
    return nil, ("a control character in '%s'"):format(printable(value))
  end
  return nil
end

local INI_PARAMS = { PHP_VALUE = true, PHP_ADMIN_VALUE = true }

local function params(value)
  if type(value) ~= "table" then
    return "a table from name to text, number or false"
  end
  for _, name in ipairs(sorted_keys(value)) do
    local content = value[name]
    local kind = type(content)
    if type(name) ~= "string" or name == "" or name:find("%z") then
      return nil, 'the keys are names of params, as in { APP_ENV = "test" }; there is one without'
    elseif INI_PARAMS[name] then
      return nil, ("'%s' is refused: PHP-FPM's processes keep such settings for the next request, "
        .. "whosever that is; 'ini' of the backend and the decision sets them safely"):format(name)
    elseif name == "CONTENT_LENGTH" then
      return nil, "'CONTENT_LENGTH' cannot be changed: it is the number of bytes that follow"
    elseif kind ~= "string" and kind ~= "number" and content ~= false then
      return nil, ("'%s': expected a text, a number or false, got %s"):format(name,
        describe(content))
    end
  end
  return nil
end

local function address(value)
  return not addr.parse(value, "connect") and addr.EXPECTED or nil
end

local function try_list(value)
  local expected =
    'a list of paths such as { "$path", "/index.html" }, of which the last may be a decision'
  if type(value) ~= "table" then
    return expected
  elseif #value == 0 then
    return nil, "the list is empty"
  elseif not M.is_try_list(value) then
    return nil, ("expected %s, got others"):format(expected)
  elseif M.is_endless({ try = value }) then
    return nil, ("more than %d decisions, each at the end of another one's"):format(TRY_MOST)
  end
  local last = value[#value]
  local problem = type(last) == "table" and M.problem(last)
  return nil, problem and "in the decision at its end: " .. problem or nil
end

local function extensions(value)
  local expected = 'a list of extensions such as { ".py" }'
  for i, item in pairs(type(value) == "table" and value or { value }) do
    if type(i) ~= "number" or type(item) ~= "string" or not item:match("^%.[^/%z]+$") then
      return expected
    end
  end
  return type(value) == "table" and #value == 0 and "at least one extension" or nil
end

--- By a module that owns what such a table is.
local function owned(module)
  return function(value)
    return nil, module.problem(value)
  end
end

local function hints(value)
  local list = type(value) == "string" and { value } or value
  local expected = 'a value of Link such as "</app.css>; rel=preload; as=style", or a list of them'
  if type(list) ~= "table" then
    return expected
  elseif #list == 0 or #list > 100 then
    return nil, #list == 0 and "the list is empty" or "more than 100 of them"
  end
  for i, item in pairs(list) do
    if type(i) ~= "number" or type(item) ~= "string" or not is_header_value(item) then
      return expected
    end
  end
  return nil
end

local function statuses(value)
  local expected = "true, or a list of statuses from 400 to 599"
  if value == true then
    return nil
  elseif type(value) ~= "table" then
    return expected
  elseif #value == 0 then
    return nil, "the list is empty"
  end
  for i, status in pairs(value) do
    if type(i) ~= "number" or type(status) ~= "number" or status % 1 ~= 0 or status < 400
      or status > 599 then
      return nil, ("expected %s, got %s in it"):format(expected, suggest.name(status))
    end
  end
  return nil
end

--- When the parts of an answer leave.
local function flush(value)
  local fits = type(value) == "boolean" or value == "headers" or (units.size(value) or 0) > 0
  return not fits and 'true, false, "headers" or a size such as 4096 or "16k", above zero' or nil
end

--- true, or the folder in which the file of a body lies.
local function request_file(value)
  if type(value) == "boolean" then
    return nil
  elseif type(value) ~= "string" or absolute(value) then
    return 'true, false or a folder such as "/srv/spool"'
  end
  return nil, docroot.root_problem(value)
end

local ROLES = { responder = true, authorizer = true, filter = true }

local function role(value)
  return not ROLES[value] and '"responder", "authorizer" or "filter"' or nil
end

local KINDS = {
  fastcgi = {
    title = "FastCGI",
    keys = {
      backend = text, root = folder, docroot = folder, within = within, script = url_path,
      path_info = text, script_filename = text, strip = url_path, params = params, server = address,
      tenant = text, hash_key = text, attempts = integer(1, 100), connect_timeout = duration,
      send_timeout = duration, first_byte_timeout = duration, read_timeout = duration,
      deadline = duration, body_deadline = duration, body_limit = size,
      request_file = request_file, flush = flush,
      request_buffering = is("boolean", "true or false"),
      response_buffering = is("boolean", "true or false"), intercept_errors = statuses,
      early_hints = hints, cache = owned(caching),
      headers = headers, always = headers,
      ini = owned(ini), internal = owned(internal), role = role, data = url_path,
    },
  },
  file = {
    title = "file",
    keys = {
      file = file_path, root = folder, path = url_path, index = names, headers = headers,
      always = headers,
      cache_control = header_value, try = try_list, within = within, scripts = extensions,
      sources = extensions, status = integer(400, 599),
      precompressed = is("boolean", "true or false"),
    },
  },
  reply = {
    title = "reply",
    keys = {
      status = integer(200, 599), headers = headers, always = headers,
      body = function(value)
        return type(value) ~= "string" and "a text" or nil
      end,
    },
  },
  redirect = {
    title = "redirect",
    keys = {
      redirect = function(value)
        local fits = type(value) == "string" and value ~= "" and is_header_value(value)
        return not fits and "a URL or a path" or nil
      end,
      status = integer(300, 399), headers = headers, always = headers,
    },
  },
  close = {
    title = "close",
    keys = {
      close = function(value)
        return value ~= true and "true" or nil
      end,
    },
  },
}

-- What a FastCGI decision may have where it is the `authorize` of another one.
local ASKS = {}
for key in ([[backend root docroot script script_filename params server tenant hash_key attempts
  connect_timeout send_timeout first_byte_timeout read_timeout]]):gmatch("%S+") do
  ASKS[key] = true
end

--- What is wrong with the value of a key.
local function value_problem(key, checker, value)
  local expected, problem = checker(value)
  if not expected then
    return problem and ("%s: %s"):format(key, problem) or nil
  end
  return ("%s: expected %s, got %s"):format(key, expected, describe(value))
end

local function authorize(value)
  if type(value) ~= "table" then
    return 'a decision such as { backend = "auth" }'
  elseif getmetatable(value) and M.inherits(value) then
    return nil, "its metatable has __index: the keys of a decision are its own"
  end
  for _, key in ipairs(sorted_keys(value)) do
    if not ASKS[key] then
      return nil, ("unknown key '%s'%s"):format(suggest.name(key), suggest.hint(key, ASKS))
    end
    local problem = value_problem(key, KINDS.fastcgi.keys[key], value[key])
    if problem then
      return nil, problem
    end
  end
  return nil, value.backend == nil and "'backend' is missing: who is asked?" or nil
end

for name, kind in pairs(KINDS) do
  if name ~= "close" then
    kind.keys.authorize, kind.keys.authorize_key = authorize, text
    kind.keys.authorize_ttl, kind.keys.compress = duration, owned(compress)
  end
end

-- The key that makes a table a decision of a kind, in the order in which they are looked for.
local MARKS = {
  { "backend", "fastcgi" }, { "redirect", "redirect" }, { "close", "close" }, { "file", "file" },
  { "root", "file" }, { "status", "reply" }, { "body", "reply" },
}

--- Which kind of decision a table is.
---@param d any
---@return "fastcgi"|"file"|"reply"|"redirect"|"close"|nil kind
---@return string|nil mark the key that says so
function M.kind(d)
  if type(d) == "table" then
    for _, mark in ipairs(MARKS) do
      if d[mark[1]] ~= nil then
        return mark[2], mark[1]
      end
    end
  end
  return nil
end

--- All keys of all kinds.
local function all_keys()
  local keys = {}
  for _, kind in pairs(KINDS) do
    for key in pairs(kind.keys) do
      keys[key] = true
    end
  end
  for key in pairs(upcoming.decision) do
    keys[key] = true
  end
  return keys
end

--- Why a key does not belong into a decision of a kind.
local function foreign_key(kind, mark, key)
  for other, spec in pairs(KINDS) do
    if other ~= kind and type(key) == "string" and spec.keys[key] then
      return ("'%s' does not go with '%s', which makes this a %s decision"):format(
        key, mark, KINDS[kind].title)
    end
  end
  return ("unknown key '%s' in a decision%s"):format(
    suggest.name(key), suggest.hint(key, all_keys()))
end

--- Does a valid decision name a backend, or a setting of PHP in its `ini`, that is not there?
--- Itself, or at the end of `try`.
---@param d table
---@param settings table normalized
---@return string|nil message
function M.backend_problem(d, settings)
  local last = type(d.try) == "table" and d.try[#d.try]
  local asked = type(d.authorize) == "table" and d.authorize.backend
    and M.backend_problem(d.authorize, settings)
  if asked then
    return "authorize: " .. asked
  elseif type(last) == "table" then
    return M.backend_problem(last, settings)
  elseif d.backend == nil then
    return nil
  end
  for _, backend in ipairs(settings.backends) do
    if backend.name == d.backend then
      local problem = d.ini and ini.foreign(d.ini, backend)
      return problem and "ini: " .. problem or nil
    end
  end
  local known = {}
  for _, backend in ipairs(settings.backends) do
    known[backend.name] = true
  end
  return ("there is no backend '%s'%s"):format(d.backend, suggest.hint(d.backend, known))
end

--- What fits the kind key by key, but not as a whole.
local function whole_problem(kind, d, settings)
  if kind == "file" and d.file ~= nil and (d.root ~= nil or d.path ~= nil or d.try ~= nil) then
    return "'file' names the whole path; 'root', 'path' and 'try' do not go with it"
  elseif d.authorize == nil and (d.authorize_key ~= nil or d.authorize_ttl ~= nil) then
    return "'authorize' is missing: who is asked?"
  elseif (d.authorize_key or "") ~= "" and d.authorize_ttl == nil then
    return "authorize_key: 'authorize_ttl' is missing: for how long does a grant hold?"
  elseif d.request_file and d.request_buffering == false then
    return "request_file: the body is kept in a file first, which is what "
      .. "'request_buffering = false' forbids"
  elseif d.data ~= nil and d.role ~= "filter" then
    return "data: it is for filters, which 'role = \"filter\"' asks"
  end
  return settings and M.backend_problem(d, settings) or nil
end

--- What is wrong with the value of one key.
---@param kind "fastcgi"|"file"|"reply"|"redirect"|"close"
---@param key string
---@param value any
---@return string|nil message begins with the key
function M.key_problem(kind, key, value)
  return value_problem(key, KINDS[kind].keys[key], value)
end

--- The keys of the decisions of a kind.
---@param kind "fastcgi"|"file"|"reply"|"redirect"|"close"
---@return string[] sorted
function M.keys(kind)
  return sorted_keys(KINDS[kind].keys)
end

--- Is this a key of some decision?
---@param name any
---@return boolean
function M.is_key(name)
  for _, kind in pairs(KINDS) do
    if kind.keys[name] then
      return true
    end
  end
  return false
end

--- What is wrong with one key of a decision.
local function one_problem(d, key, kind, mark)
  if not kind then
    local known = all_keys()
    if type(key) == "string" and known[key] then
      return ("'%s' alone is no decision: it needs 'backend', 'root', 'file', 'status', "
        .. "'redirect' or 'close' beside it"):format(key)
    end
    return ("unknown key '%s' in a decision%s"):format(
      suggest.name(key), suggest.hint(key, known))
  end
  local checker = KINDS[kind].keys[key]
  return upcoming.problem(upcoming.decision, key, d[key])
    or checker and value_problem(key, checker, d[key])
    or not checker and foreign_key(kind, mark, key) or nil
end

--- Why a hook's value cannot be used as a decision.
---@param d any what the hook returned
---@param settings table|nil normalized settings: if given, the backend's name is checked too
---@return string|nil message nil where the decision is valid
function M.problem(d, settings)
  if type(d) ~= "table" then
    return ("expected a decision (a table) or nil, got %s"):format(
      describe(d))
  end
  local meta = getmetatable(d)
  if type(meta) == "table" and meta.__call then
    return "this is a router, and it was not asked: say `return r(req)`"
  elseif next(d) == nil then
    return "an empty table is no decision"
  elseif meta and M.inherits(d) then
    return "its metatable has __index: the keys of a decision are its own"
  end
  local kind, mark = M.kind(d)
  for key in pairs(d) do
    if one_problem(d, key, kind, mark) then -- of several, the first one by its name is told
      for _, first in ipairs(sorted_keys(d)) do
        local problem = one_problem(d, first, kind, mark)
        if problem then
          return problem
        end
      end
    end
  end
  return whole_problem(kind, d, settings)
end

return M
