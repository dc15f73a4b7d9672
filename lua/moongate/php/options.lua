-- moongate.php.options owns the options of php.site: what is allowed, and how `try` and `run` are
-- read. Called by moongate.php once for each site, at load.

local decision = require("moongate.decision")
local describe = require("moongate.base.describe")
local docroot = require("moongate.docroot")
local headers = require("moongate.decision.headers")
local suggest = require("moongate.base.suggest")
local sorted_keys = require("moongate.base.keys").sorted

local M = {}

local SLASH = 47

local KEYS = {
  backend = true, root = true, docroot = true, within = true, strip = true, params = true,
  ini = true, tenant = true, front = true, try = true, index = true, scripts = true, run = true,
  never = true, headers = true, static = true, versions = true, version = true,
}
local STATIC = { cache_control = true, headers = true, sources = true }

--- The keys of php.site, and of its `static`: moongate.types is compared with them.
M.KEYS, M.STATIC = KEYS, STATIC

-- What each option may be, and how that is said.
local TYPES = {
  backend = { { string = true, ["function"] = true }, "the name of a backend, or a function" },
  root = { { string = true, ["function"] = true }, "a folder, or a function" },
  docroot = { { string = true, ["function"] = true }, "a folder, or a function" },
  within = { { string = true, table = true, ["function"] = true }, "a folder or a list of them" },
  strip = { { string = true, ["function"] = true }, "a prefix such as \"/wiki\", or a function" },
  params = { { table = true, ["function"] = true }, "a table from name to value, or a function" },
  ini = { { table = true, ["function"] = true }, "a table from setting to value, or a function" },
  tenant = { { string = true, ["function"] = true }, "a text, or a function" },
  front = { { string = true, boolean = true }, "a path such as \"/index.php\", or false" },
  try = { { table = true }, "a list of paths" },
  index = { { table = true }, "a list of names such as \"index.php\"" },
  scripts = { { table = true }, "a list of extensions such as \".php\"" },
  run = { { string = true, table = true }, "a list of scripts, or a pattern" },
  never = { { string = true, table = true }, "a list of patterns" },
  headers = { { table = true }, "a table of headers" },
  static = { { table = true, boolean = true }, "a table, or false" },
  versions = { { table = true }, "a table from version to backend" },
  version = {
    { string = true, ["function"] = true }, "a version, a function or \".php-version\"",
  },
}

local function key_problem(options)
  for _, key in ipairs(sorted_keys(options)) do
    local value = options[key]
    if not KEYS[key] then
      return ("unknown key '%s'%s"):format(suggest.name(key), suggest.hint(key, KEYS))
    elseif not TYPES[key][1][type(value)] then
      return ("%s: expected %s, got %s"):format(key, TYPES[key][2], describe(value))
    end
  end
  if options.root == nil then
    return "'root' is missing: the folder of the site"
  end
  return nil
end

local function list_problem(key, list, pattern)
  for _, item in ipairs(type(list) == "table" and list or {}) do
    if type(item) ~= "string" or not item:match(pattern) then
      return ("%s: expected %s, got %s in it"):format(key, TYPES[key][2], describe(item))
    end
  end
  return nil
end

--- Patterns are tried at load: a broken one must not wait for a request.
local function pattern_problem(key, value)
  for _, pattern in ipairs(type(value) == "table" and value or { value }) do
    if type(pattern) ~= "string" or not pcall(string.find, "/", pattern) then
      return ("%s: '%s' is not a Lua pattern"):format(key, tostring(pattern))
    end
  end
  return nil
end

local function path_problem(options)
  if type(options.strip) == "string" and not options.strip:match("^/.*[^/]") then
    return "strip: expected a prefix such as \"/wiki\", got " .. describe(options.strip)
  elseif type(options.docroot) == "string" and options.docroot:byte() ~= SLASH then
    return "docroot: expected an absolute path (the site as the backend sees it), got "
      .. describe(options.docroot)
  elseif options.front == true
    or (options.front and (options.front:byte() ~= SLASH or options.front:match("/$"))) then
    return "front: expected " .. TYPES.front[2] .. ", got " .. describe(options.front)
  elseif options.static == true then
    return "static: expected " .. TYPES.static[2] .. ", got true"
  end
  return nil
end

local function version_problem(options)
  local version, versions = options.version, options.versions
  if version ~= nil and versions == nil then
    return "version: 'versions' is missing: which backend runs which version?"
  elseif type(version) == "string" and version ~= ".php-version" and not versions[version] then
    return ("version: '%s' is not in 'versions'%s"):format(version,
      suggest.hint(version, versions))
  end
  for name, backend in pairs(versions or {}) do
    if type(name) ~= "string" or type(backend) ~= "string" then
      return ("versions: expected a table from version to backend, such as { [\"8.2\"] = "
        .. "\"php82\" }, got %s for %s"):format(describe(backend), describe(name))
    end
  end
  if options.backend == nil and version == nil then
    return "'backend' is missing: the name of the backend that runs the scripts"
  end
  return nil
end

--- What the site runs it does not show: a link to it would be its text.
local function sources_problem(static, scripts)
  local shown = type(static.sources) == "table" and static.sources or { static.sources }
  for _, script in ipairs(scripts or docroot.SCRIPTS) do
    for _, source in ipairs(shown) do
      if docroot.is_source(source, { script }) then
        return ("static.sources: '%s' is what this site runs ('scripts')"):format(source)
      end
    end
  end
  return nil
end

local function static_problem(options)
  local static = type(options.static) == "table" and options.static or {}
  for _, key in ipairs(sorted_keys(static)) do
    if not STATIC[key] then
      return ("static: unknown key '%s'%s"):format(suggest.name(key),
        suggest.hint(key, STATIC))
    end
    local problem = decision.key_problem("file", key, static[key])
    if problem then
      return "static." .. problem
    end
  end
  return sources_problem(static, options.scripts)
end

--- What will stand in every decision is checked before the first one.
local function decision_problem(options)
  for _, key in ipairs({ "docroot", "within", "params", "ini", "tenant", "backend", "headers" }) do
    local value = M.folders(options[key])
    local problem = value ~= nil and type(value) ~= "function"
      and decision.key_problem("fastcgi", key, value)
    if problem then
      return problem
    end
  end
  return nil
end

local function try_problem(options)
  local list = options.try or {}
  for i, item in ipairs(list) do
    local kind, last = type(item), i == #list
    if kind == "string" then
      if not item:match("^%$path") and item:byte() ~= SLASH or item:find("$path", 2, true) then
        return ("try: '%s' begins neither with \"$path\" nor with \"/\""):format(item)
      end
    elseif not last or not (kind == "table"
      or (kind == "number" and item % 1 == 0 and item >= 200 and item <= 599)) then
      return "try: expected paths, and as the last one a path, a status or a decision, got "
        .. describe(item)
    end
    local problem = kind == "table" and decision.problem(item)
    if problem then
      return "try: in the decision at its end: " .. problem
    end
  end
  return options.try and #list == 0 and "try: the list is empty" or nil
end

--- What is wrong with the options of a site.
---@param options any
---@return string|nil message nil where they are valid
function M.problem(options)
  if type(options) ~= "table" then
    return ("expected a table of options, got %s"):format(describe(options))
  end
  return key_problem(options)
    or list_problem("index", options.index, "^[^/]+$")
    or list_problem("scripts", options.scripts, "^%.[^/]+$")
    or list_problem("run", options.run, "^/")
    or pattern_problem("run", type(options.run) == "string" and options.run or {})
    or pattern_problem("never", options.never or {})
    or path_problem(options)
    or decision_problem(options)
    or static_problem(options)
    or try_problem(options)
    or version_problem(options)
end

--- The decision that ends `try`, with the headers of the site.
---@param item integer|table
---@param options table
---@param standing table|nil headers of an answer of the site's own
---@return table
local function answer(item, options, standing)
  if type(item) == "number" then
    return { status = item, headers = standing }
  elseif item.close or not options.headers then
    return item
  end
  local copy = {}
  for key, value in pairs(item) do
    copy[key] = value
  end
  copy.headers = headers.merged(options.headers, item.headers)
  return copy
end

---@class moongate.Try
---@field literal string|nil a path to look for
---@field suffix string|nil what to look for behind the request's path ("" and "/" are usual)
---@field folder boolean a folder is looked for, not a file
---@field answer table|nil the decision that ends the list

--- The elements of `try`, read once.
---@param options table
---@param standing table|nil headers of an answer of the site's own
---@return moongate.Try[]
function M.try(options, standing)
  local list = options.try or { "$path", "$path/", options.front or nil }
  local elements = {}
  for i, item in ipairs(list) do
    if type(item) == "string" then
      local suffix = item:match("^%$path(.*)$")
      elements[i] = {
        literal = not suffix and item or nil, suffix = suffix, folder = item:byte(-1) == SLASH,
      }
    else
      elements[i] = { answer = answer(item, options, standing) }
    end
  end
  return elements
end

--- `run` as a test of a script's path.
---@param options table
---@return nil|fun(script: string): boolean # nil: all may run
function M.run(options)
  local run = options.run
  if type(run) == "string" then
    return function(script)
      return script:find(run) ~= nil
    end
  elseif run == nil then
    return nil
  end
  local allowed = {}
  for _, script in ipairs(run) do
    allowed[script] = true
  end
  return function(script)
    return allowed[script] == true
  end
end

--- A text without slashes at its end; a list of them. What is neither stays as it is.
---@param value any `docroot` or `within` of a site
---@return any value
function M.folders(value)
  if type(value) == "string" then
    return value:match("^(.+)/+$") and value:match("^(.-)/*$") or value
  elseif type(value) ~= "table" or #value == 0 then
    return value
  end
  local list = {}
  for i, item in ipairs(value) do
    list[i] = M.folders(item)
  end
  return list
end

--- A path that the route's author wrote, without "." and "..", doubled slashes and one at its end:
--- in a decision these would be taken for the work of a hostile name.
local function plain(path, fs)
  path = path:gsub("//+", "/"):gsub("/%./", "/"):gsub("/%./", "/"):gsub("/%.$", "/")
  -- What ".." means is for the file system to say, where a symlink may lie on the way.
  local climb = path:match("^(.*/%.%.)$") or path:match("^(.*/%.%.)/")
  local real = climb and fs.realpath(climb)
  if real then
    path = (real == "/" and "" or real) .. path:sub(#climb + 1)
  end
  while path:find("/[^/]+/%.%.%f[/%z]") do
    path = path:gsub("/[^/]+/%.%.%f[/%z]", "", 1)
  end
  path = path:gsub("^/%.%.%f[/%z]", "")
  path = path:match("^(.-)/*$")
  return path == "" and "/" or path
end

--- A folder given in a script may be relative to the folder of that script.
---@param path any
---@param source string the script's source as debug.getinfo says it
---@param fs table see moongate.base.fs
---@return any path absolute, without a slash at its end; what is no text stays as it is
function M.absolute(path, source, fs)
  if type(path) ~= "string" then
    return path
  end
  if path:byte() ~= SLASH then
    local folder = source:match("^@(.*)/[^/]*$") or (source:match("^@/") and "") or "."
    if folder:byte() ~= SLASH and folder ~= "" then
      folder = folder == "." and fs.getcwd() or fs.getcwd() .. "/" .. folder:gsub("^%./", "")
    end
    path = path:gsub("^%./", "")
    path = (path == "." or path == "") and folder or folder .. "/" .. path
  end
  return plain(path, fs)
end

--- Valid options as a site uses them: folders absolute, and without a slash at their end.
---@param options table
---@param source string of the script, as debug.getinfo says it
---@param fs table see moongate.base.fs
---@return table own a copy
function M.own(options, source, fs)
  local own = {}
  for key, value in pairs(options) do
    own[key] = value
  end
  own.root = M.absolute(own.root, source, fs)
  own.docroot, own.within = M.folders(own.docroot), M.folders(own.within)
  own.strip = type(own.strip) == "string" and own.strip:match("^(.-)/*$") or own.strip
  return own
end

return M
