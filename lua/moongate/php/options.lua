-- moongate.php.options owns the options of php.site: what is allowed, and how `try` and `run` are
-- read. Called by moongate.php once for each site, at load.

local copy_of = require("moongate.base.copy")
local decision = require("moongate.decision")
local describe = require("moongate.base.describe")
local docroot = require("moongate.docroot")
local headers = require("moongate.decision.headers")
local suggest = require("moongate.base.suggest")
local sorted_keys = require("moongate.base.keys").sorted

local M = {}

local SLASH, DOT = 47, 46

local KEYS = {
  front = true, try = true, index = true, scripts = true, run = true, never = true, static = true,
  versions = true, version = true, owner = true, errors = true, not_found = true,
  always = true, authorize = true, authorize_key = true, authorize_ttl = true,
}
local STATIC = {
  cache_control = true, headers = true, sources = true, compress = true, precompressed = true,
}

-- What the site itself finds, what has one value only, and what is of all decisions of a site.
local NO_VALUES = {
  always = true, script = true, path_info = true, script_filename = true, role = true, data = true,
  authorize = true, authorize_key = true, authorize_ttl = true,
}

--- The keys of FastCGI decisions that are options, each a value or a function of the request.
---@type string[]
M.VALUES = {}
for _, key in ipairs(decision.keys("fastcgi")) do
  if not NO_VALUES[key] then
    M.VALUES[#M.VALUES + 1] = key
    KEYS[key] = true
  end
end

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
  headers = { { table = true, ["function"] = true }, "a table of headers, or a function" },
  always = { { table = true, ["function"] = true }, "a table of headers, or a function" },
  authorize = { { table = true, ["function"] = true }, "a decision, or a function" },
  authorize_key = { { string = true, ["function"] = true }, "a text, or a function" },
  authorize_ttl = {
    { string = true, number = true, ["function"] = true }, "a duration, or a function",
  },
  static = {
    { table = true, boolean = true, ["function"] = true }, "a table, a function, or false",
  },
  owner = { { boolean = true }, "true or false" },
  errors = { { table = true }, "a table from status to page, such as { [404] = \"/404.html\" }" },
  not_found = { { string = true, table = true }, "a page such as \"/404.html\", or a decision" },
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
    elseif TYPES[key] and not TYPES[key][1][type(value)] then
      return ("%s: expected %s, got %s"):format(key, TYPES[key][2], describe(value))
    end
  end
  if options.root == nil and options.docroot == nil then
    return "'root' is missing: the folder of the site; or 'docroot', where only the backend has it"
  end
  return nil
end

--- What needs files on this machine, where there are none.
local NEEDS_ROOT = { "within", "owner", "try", "static" }

--- What is wrong with a site that has no folder here.
---@param options table
---@return string|nil
function M.unseen_problem(options)
  for _, key in ipairs(NEEDS_ROOT) do
    if options[key] then
      return ("%s: without 'root' no file can be looked at"):format(key)
    end
  end
  if options.version == ".php-version" then
    return "version: without 'root' no .php-version can be read"
  elseif type(options.not_found) == "string" then
    return "not_found: without 'root' it is a decision, not a file"
  end
  for status, page in pairs(options.errors or {}) do
    if type(page) == "string" then
      return ("errors[%s]: without 'root' it is a decision, not a file"):format(
        suggest.name(status))
    end
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

--- What is wrong with the keys of `static` that are those of a file decision, or of one rule of it.
local function rule_problem(rule, where, scripts, known)
  for _, key in ipairs(sorted_keys(rule)) do
    if STATIC[key] then
      local problem = decision.key_problem("file", key, rule[key])
      if problem then
        return where .. "." .. problem
      end
    elseif not (known and known(key)) then
      return ("%s: unknown key '%s'%s"):format(where, suggest.name(key), suggest.hint(key, STATIC))
    end
  end
  return sources_problem(rule, scripts)
end

--- Is this key of `static` one of a rule: an extension, or a place in the list of patterns?
local function names_rule(key)
  return type(key) == "number" or type(key) == "string" and key:byte() == DOT
end

local function static_problem(options)
  local static = type(options.static) == "table" and options.static or {}
  local problem = rule_problem(static, "static", options.scripts, names_rule)
  for _, key in ipairs(problem and {} or sorted_keys(static)) do
    local rule = static[key]
    local where = ("static[%s]"):format(type(key) == "number" and key or ("'%s'"):format(key))
    if not names_rule(key) then
      problem = nil
    elseif type(key) == "number" and (type(rule) ~= "table" or type(rule.match) ~= "string") then
      problem = where .. ": expected a table with a pattern, such as { match = \"^/assets/\", "
        .. "cache_control = \"max-age=60\" }, got " .. describe(rule)
    elseif type(rule) == "table" then
      problem = rule_problem(rule, where, options.scripts, function(name)
        return name == "match" and type(key) == "number"
      end) or type(key) == "number" and pattern_problem(where .. ".match", rule.match) or nil
    elseif rule ~= false then
      problem = ("%s: expected a table, or false, got %s"):format(where, describe(rule))
    end
    if problem then
      return problem
    end
  end
  return problem
end

--- A copy of an `authorize` whose folder lies beside the script, as the site's own may.
local function asked_beside(authorize, source, fs)
  if type(authorize) ~= "table" or type(authorize.root) ~= "string" then
    return authorize
  end
  local copy = copy_of.table(authorize)
  copy.root = M.absolute(copy.root, source, fs)
  return copy
end

--- What will stand in every decision is checked before the first one.
local function decision_problem(options)
  for _, key in ipairs(M.VALUES) do
    local value = options[key]
    if key == "docroot" or key == "within" then
      value = M.folders(value)
    end
    local problem = value ~= nil and key ~= "root" and key ~= "strip"
      and type(value) ~= "function" and decision.key_problem("fastcgi", key, value)
    if problem then
      return problem
    end
  end
  for _, key in ipairs({ "authorize", "authorize_key", "authorize_ttl" }) do
    local value = options[key]
    if key == "authorize" then
      value = asked_beside(value, "@/", { realpath = function() end })
    end
    local problem = value ~= nil and type(value) ~= "function"
      and decision.key_problem("fastcgi", key, value)
    if problem then
      return problem
    elseif value ~= nil and options.authorize == nil then
      return key .. ": 'authorize' is missing: who is asked?"
    end
  end
  return options.authorize_key ~= nil and options.authorize_ttl == nil
    and "authorize_key: 'authorize_ttl' is missing: for how long does a grant hold?" or nil
end

--- What is wrong with the page for an error.
local function page_problem(where, page, scripts)
  if type(page) == "table" then
    local problem = decision.problem(page)
    return problem and ("%s: %s"):format(where, problem)
  elseif type(page) ~= "string" or page:byte() ~= SLASH or page:match("/$") then
    return ("%s: expected %s, got %s"):format(where, TYPES.not_found[2], describe(page))
  elseif docroot.is_script(page, scripts or docroot.SCRIPTS) then
    return ("%s: %s is a script, which says its status itself: a decision with `backend` and "
      .. "`script` runs it"):format(where, page)
  end
  return nil
end

local function errors_problem(options)
  local problem = options.not_found ~= nil
    and page_problem("not_found", options.not_found, options.scripts) or nil
  for _, status in ipairs(sorted_keys(options.errors or {})) do
    if type(status) ~= "number" or status % 1 ~= 0 or status < 400 or status > 599 then
      problem = problem or ("errors: expected statuses from 400 to 599 as keys, got %s"):format(
        describe(status))
    elseif status == 404 and options.not_found ~= nil then
      problem = problem or "errors: 404 is 'not_found' already"
    end
    problem = problem or page_problem(("errors[%s]"):format(suggest.name(status)),
      options.errors[status], options.scripts)
  end
  return problem
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
    or options.root == nil and M.unseen_problem(options)
    or list_problem("index", options.index, "^[^/]+$")
    or list_problem("scripts", options.scripts, "^%.[^/]+$")
    or options.scripts and #options.scripts == 0
      and ("scripts: the list is empty; expected %s"):format(TYPES.scripts[2])
    or list_problem("run", options.run, "^/")
    or pattern_problem("run", type(options.run) == "string" and options.run or {})
    or pattern_problem("never", options.never or {})
    or path_problem(options)
    or decision_problem(options)
    or static_problem(options)
    or errors_problem(options)
    or try_problem(options)
    or version_problem(options)
end

--- The decision that ends `try`, with the headers of the site.
---@param item integer|table
---@param given table|nil headers of the site
---@param standing table|nil headers of an answer of the site's own
---@return table
function M.ending(item, given, standing)
  if type(item) == "number" then
    return { status = item, headers = standing }
  elseif item.close or not given then
    return item
  end
  return headers.copy_with(item, "headers", given)
end

---@class moongate.Try
---@field literal string|nil a path to look for
---@field suffix string|nil what to look for behind the request's path ("" and "/" are usual)
---@field folder boolean a folder is looked for, not a file
---@field ending integer|table|nil the status or decision that ends the list

--- The elements of `try`, read once.
---@param options table
---@return moongate.Try[]
function M.try(options)
  local list = options.try or { "$path", "$path/", options.front or nil }
  local elements = {}
  for i, item in ipairs(list) do
    if type(item) == "string" then
      local suffix = item:match("^%$path(.*)$")
      elements[i] = {
        literal = not suffix and item or nil, suffix = suffix, folder = item:byte(-1) == SLASH,
      }
    else
      elements[i] = { ending = item }
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
  if not path:find("/[/.]") and path:byte(-1) ~= SLASH then
    return path
  end
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

---@class moongate.php.rule what holds for a file
---@field cache_control string|nil
---@field sources string|string[]|nil
---@field headers table|nil without those of the site
---@field compress boolean|table|nil
---@field precompressed boolean|nil
---@field lasts boolean it is the same table for other requests

---@class moongate.php.static
---@field headers table|nil of all answers that are not a script's
---@field rule moongate.php.rule for files that no other rule names
---@field rule_of nil|fun(path: string): moongate.php.rule|nil where there are others
---@field decide nil|fun(req: table, path: string): table|false|nil

--- A rule of `static` over those that hold for all files.
local function rule_of(rule, base)
  local function of(key)
    if rule[key] == nil then
      return base[key]
    end
    return rule[key]
  end
  return {
    compress = of("compress"), precompressed = of("precompressed"),
    cache_control = rule.cache_control or base.cache_control,
    sources = rule.sources or base.sources,
    headers = headers.merged(base.headers, rule.headers), lasts = true,
  }
end

--- `static`, read once.
---@param options table
---@return moongate.php.static
function M.static(options)
  local given = type(options.static) == "table" and options.static or {}
  local static = { headers = given.headers, rule = rule_of(given, {}) }
  if type(options.static) == "function" then
    static.decide, static.headers = options.static, nil
    return static
  end
  local extensions, patterns = {}, {}
  for key, rule in pairs(given) do
    if names_rule(key) and type(key) == "string" then
      extensions[key] = rule and rule_of(rule, given)
    end
  end
  for i, rule in ipairs(given) do
    patterns[i] = { match = rule.match, rule = rule_of(rule, given) }
  end
  if next(extensions) or #patterns > 0 then
    function static.rule_of(path)
      for i = 1, #patterns do
        if path:find(patterns[i].match) then
          return patterns[i].rule
        end
      end
      local extension = path:match("%.[^./]+$")
      local rule = extension and extensions[extension]
      if rule == nil then
        rule = static.rule
      end
      return rule or nil
    end
  end
  return static
end

--- What the function for `static` has said of one file, as a rule.
---@param static moongate.php.static
---@param result any
---@param source string file:line of the site
---@return moongate.php.rule|nil
function M.static_result(static, result, source)
  if result == nil then
    return static.rule
  elseif result == false then
    return nil
  end
  local problem = type(result) ~= "table"
    and "expected a table, false or nil, got " .. describe(result) or nil
  for key, value in pairs(type(result) == "table" and result or {}) do
    problem = problem or not STATIC[key] and ("unknown key '%s'%s"):format(suggest.name(key),
      suggest.hint(key, STATIC)) or STATIC[key] and decision.key_problem("file", key, value)
  end
  if problem then
    error(("%s: php.site: the function for 'static': %s"):format(source, problem), 0)
  end
  return {
    cache_control = result.cache_control, sources = result.sources, headers = result.headers,
    compress = result.compress, precompressed = result.precompressed,
  }
end

--- The pages for errors.
---@param options table
---@return table<integer, string|table> errors from status to a path below the root, or a decision
function M.errors(options)
  local errors = copy_of.table(options.errors or {})
  errors[404] = errors[404] or options.not_found
  return errors
end

--- Valid options as a site uses them: folders absolute, and without a slash at their end.
---@param options table
---@param source string of the script, as debug.getinfo says it
---@param fs table see moongate.base.fs
---@return table own a copy
function M.own(options, source, fs)
  local own = copy_of.table(options)
  own.root = M.absolute(own.root, source, fs)
  own.docroot, own.within = M.folders(own.docroot), M.folders(own.within)
  own.authorize = asked_beside(own.authorize, source, fs)
  own.strip = type(own.strip) == "string" and own.strip:match("^(.-)/*$") or own.strip
  return own
end

return M
