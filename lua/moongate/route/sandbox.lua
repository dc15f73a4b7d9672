-- moongate.route.sandbox owns what a route has that is loaded with `sandbox = true`: a set of
-- globals of its own, without doors to the process, and files of its own folder. Called by load,
-- before the route is run.
--
-- The library is in the same Lua state and keeps its globals. What stands between is that a script
-- gets nothing whose fields, metatable or environment lead there: modules are shown through tables
-- that only read, getfenv and setfenv know the script's own functions alone, and `debug`, which
-- could look into functions, is not there. Behind that, for functions of the library that are given
-- names of files, io.open of the whole state knows the folder alone, and so does the core.

local schema = require("moongate.route.schema")
local sources = require("moongate.route.sources")

local M = {}

local has_core, core = pcall(require, "moongate.core")

-- Taken before a script runs.
local getfenv, setfenv, load, getmetatable = getfenv, setfenv, load, getmetatable
local require, open, get_raw = require, io.open, debug.getmetatable

--- The library's modules that a route may require. What is not here is none of a route's business,
--- or would be a door: moongate.testing loads other routes.
M.MODULES = {}
for name in ([[moongate moongate.auth moongate.cache
  moongate.canary moongate.cors moongate.docroot moongate.hash
  moongate.headers moongate.health moongate.http moongate.json moongate.limit moongate.maintenance
  moongate.net.cidr moongate.php moongate.proxypass moongate.random moongate.rewrite moongate.router
  moongate.shadow moongate.tenants ngx bit table.new table.clear]]):gmatch("%S+") do
  M.MODULES[name] = true
end

local BASE = [[assert collectgarbage error ipairs next pairs pcall print rawequal rawget rawset
  select setmetatable tonumber tostring type unpack xpcall _VERSION]]

-- Names that are there outside of a sandbox, for the error about them.
local GONE = {}
for name in ("debug dofile ffi gcinfo io jit loadfile module newproxy"):gmatch("%S+") do
  GONE[name] = true
end

--- A text without comments and strings, as far as they are on one line.
local function code_of(text)
  return (text:gsub("%-%-%[%[.-%]%]", ""):gsub("%-%-[^\n]*", ""):gsub('"[^"\n]*"', '""')
    :gsub("'[^'\n]*'", "''"))
end

--- Does the text of a route ask for a sandbox? It must be known before the first line is run, so
--- the words themselves have to be there.
---@param text string
---@return boolean
function M.is_asked_for(text)
  return code_of(text):find("%f[%w_]sandbox%s*=%s*true%f[^%w_]") ~= nil
end

local function copy(from, ...)
  local to = {}
  for name, value in pairs(from) do
    to[name] = value
  end
  for _, name in ipairs({ ... }) do
    to[name] = nil
  end
  return to
end

--- A module as a script sees it: all of its names, none of which can be set.
local function shown(module, name)
  if type(module) ~= "table" then
    return module
  end
  local meta = getmetatable(module)
  return setmetatable({}, {
    __index = function(_, key)
      return module[key]
    end,
    __newindex = function()
      error(("sandbox: '%s' is the library's, a route can't change it"):format(name), 2)
    end,
    __call = type(meta) == "table" and meta.__call and function(_, ...)
      return module(...)
    end or nil,
    __metatable = false,
  })
end

--- Opens a file below the folder for reading; links that lead out of it are none.
---@return file*|nil
---@return string|nil reason
local function open_below(path)
  local descriptor, reason = core.open_confined(path)
  if not descriptor then
    return nil, ("%s: %s"):format(tostring(path), reason)
  end
  local file, problem = open("/proc/self/fd/" .. descriptor, "rb")
  core.close_descriptor(descriptor)
  return file, problem
end

--- The text of a file of Lua below the folder, as it was when the generation was loaded.
---@return string|nil text
---@return string|nil reason
local function text_of(path, folder)
  if type(path) ~= "string" then
    return nil, "expected the name of a file"
  elseif path:sub(1, 1) ~= "/" then
    path = folder .. "/" .. path
  end
  local kept = sources.kept(path)
  if kept then
    sources.note(path)
    return kept, path
  end
  local file, reason = M.open(path)
  if not file then
    return nil, reason
  end
  sources.note(path)
  local text = file:read("*a")
  file:close()
  return text and (text:gsub("^#[^\n]*", "")) or "", path
end

--- getfenv, setfenv and what loads code. `known` has the environments that are the script's.
local function add_environments(globals, known)
  globals.getfenv = function(f)
    if type(f) == "number" or f == nil then
      f = (f or 1) > 0 and (f or 1) + 1 or 0
    end
    local env = f ~= 0 and getfenv(f)
    return known[env] and env or globals
  end
  globals.setfenv = function(f, env)
    local level = type(f) == "number" and f > 0 and f + 1 or f
    if level == 0 or not known[getfenv(level)] then
      error("sandbox: setfenv is for functions of the route itself", 2)
    end
    if type(env) ~= "table" then
      error("setfenv: expected a table as environment", 2)
    end
    known[env] = true
    local done = setfenv(level, env)
    return type(f) == "function" and done or nil
  end
  globals.load = function(chunk, name, mode, env)
    if mode == "b" then
      return nil, "sandbox: compiled Lua is not loaded"
    end
    env = env == nil and globals or env
    if type(env) ~= "table" then
      error("load: expected a table as environment", 2)
    end
    known[env] = true
    return load(chunk, name or (type(chunk) == "string" and chunk or "=(load)"), "t", env)
  end
  globals.loadstring = function(chunk, name)
    if type(chunk) ~= "string" then
      error("loadstring: expected a text", 2)
    end
    return globals.load(chunk, name)
  end
end

--- loadfile, dofile and require, for files below the folder.
local function add_files(globals, folder)
  globals.loadfile = function(path, mode, env)
    local text, found = text_of(path, folder)
    if not text then
      return nil, found
    end
    return globals.load(text, "@" .. found, mode, env)
  end
  globals.dofile = function(path)
    local chunk, reason = globals.loadfile(path)
    if not chunk then
      error(reason, 2)
    end
    return chunk()
  end
  local package = {
    loaded = {}, preload = {}, config = "/\n;\n?\n!\n-\n", cpath = "",
    path = ("%s/?.lua;%s/?/init.lua"):format(folder, folder),
  }
  globals.package = package

  --- What makes a module: the script's preload, a file of its folder, or the library.
  local function maker(name)
    local preload = rawget(package, "preload")
    local given = type(preload) == "table" and rawget(preload, name)
    if given then
      return given
    end
    local file = name:gsub("%.", "/")
    for _, path in ipairs({ file .. ".lua", file .. "/init.lua" }) do
      local text, found = text_of(path, folder)
      if text then
        return assert(globals.load(text, "@" .. found))
      end
    end
    local policy = name:match("^moongate%.balance%.[%w_]+$")
    if M.MODULES[name] or policy then
      return function()
        local module = shown(require(name), name)
        if name == "ngx" then
          globals.ngx = module
        end
        return module
      end
    end
  end

  globals.require = function(name)
    if type(name) ~= "string" or not name:match("^[%w_-][%w_.-]*$") or name:find("..", 1, true) then
      error("require: expected the name of a module", 2)
    end
    local loaded = package.loaded
    if loaded[name] ~= nil then
      return loaded[name]
    end
    local make = maker(name)
    if not make then
      error(("sandbox: there is no module '%s' below %s, and none of the library's that a route in "
        .. "a sandbox may have"):format(name, folder), 2)
    end
    local value = make(name)
    if value ~= nil then
      loaded[name] = value
    elseif loaded[name] == nil then
      loaded[name] = true
    end
    return loaded[name]
  end
end

--- The globals of a route in a sandbox.
---@param folder string absolute
---@return table globals
---@return fun(env: table) own an environment is the script's
function M.globals(folder)
  local globals, known = {}, setmetatable({}, { __mode = "k" })
  for name in BASE:gmatch("%S+") do
    globals[name] = _G[name]
  end
  globals._G, known[globals] = globals, true
  globals.string, globals.table = copy(string, "dump"), copy(table)
  globals.math, globals.bit = copy(math), copy(bit)
  globals.coroutine = copy(coroutine)
  globals.os = { time = os.time, date = os.date, clock = os.clock, difftime = os.difftime }
  -- A text's metatable leads to the library's own string functions.
  globals.getmetatable = function(object)
    if type(object) ~= "table" then
      return nil
    end
    return getmetatable(object)
  end
  add_environments(globals, known)
  add_files(globals, folder)
  for name, library in pairs(globals) do
    if type(library) == "table" and name ~= "package" then
      globals.package.loaded[name] = library
    end
  end
  return globals, function(env)
    known[env] = true
  end
end

--- Why a name is not there; nil: it is no name that a sandbox takes away.
---@param name any
---@return string|nil message
function M.missing(name)
  return GONE[name] and ("sandbox: '%s' is not for this route"):format(name) or nil
end

-- Files that the library reads for itself.
local function is_own(path)
  return path == "/dev/urandom" or type(path) == "string" and path:find("^/proc/%d+/stat$") ~= nil
end

--- Takes away what leads out of the process, for all of the Lua state.
local function close_doors()
  -- luacheck: push ignore 122
  local function none(what)
    return function()
      error(("sandbox: %s is not for this route"):format(what), 2)
    end
  end
  for _, name in ipairs({ "popen", "input", "output", "read", "lines", "tmpfile" }) do
    io[name] = none("io." .. name)
  end
  io.open = function(path, mode)
    if is_own(path) then
      return open(path, mode)
    elseif mode and not mode:find("^rb?$") then
      return nil, tostring(path) .. ": sandbox: files are only read"
    end
    return open_below(path)
  end
  for _, name in ipairs({ "execute", "exit", "remove", "rename", "tmpname" }) do
    os[name] = none("os." .. name)
  end
  package.loadlib = none("package.loadlib")
  package.preload.ffi, package.loaded.ffi = none("ffi"), nil
  string.dump = nil
  -- luacheck: pop
end

--- From now on this process serves files of the folder alone, and scripts read no others.
---@param folder string absolute
---@param whole boolean the state is a server's: the library's doors are closed, too
function M.confine(folder, whole)
  get_raw("").__metatable = "string"
  if not has_core then
    return
  end
  local ok, reason = core.confine(folder)
  if not ok then
    error(reason, 0)
  end
  M.open = open_below
  if whole then
    sources.confine(open_below)
    close_doors()
  end
end

--- A route without a sandbox is loaded. A process that has had one doesn't serve it: what it knows
--- of files is about the folder.
function M.release()
  local ok, reason = true, nil
  if has_core and core.confine then
    ok, reason = core.confine(nil)
  end
  if not ok then
    error(reason, 0)
  end
end

--- How the folder's files are opened; outside of the program nothing confines them.
M.open = open

--- What a route in a sandbox can't say, since the master would do it as root, or all others feel
--- it.
local NOT_ITS_OWN = {
  user = "--user of the command line says whom it runs as",
  group = "--user of the command line says whom it runs as",
  control = "--control of the command line says where commands come in",
  test = "specs are run outside of a sandbox",
}

--- The first setting that is not for a route in a sandbox.
---@param normalized table as the settings have been read: what a script gives may change at each
--- look
---@return (string|integer)[]|nil path
---@return string|nil message
function M.refused(normalized)
  for _, key in ipairs({ "user", "group", "control", "test" }) do
    if normalized[key] or key == "control" and next(normalized.tokens) then
      return { key }, ("sandbox: '%s' is not for the route: %s"):format(key, NOT_ITS_OWN[key])
    end
  end
  for key, word in pairs({ access = "stdout", error = "stderr" }) do
    if normalized.log[key] and normalized.log[key] ~= word then
      return { "log", key }, ("sandbox: log.%s may be \"%s\": other logs are opened by the "
        .. "master"):format(key, word)
    end
  end
  if normalized.tracing and (normalized.tracing.export or ""):find("^/") then
    return { "tracing", "export" }, "sandbox: tracing.export is the URL of a collector: a file "
      .. "is not for the route"
  end
  if normalized.limits.spool_dir ~= schema.SPOOL_DIR then
    return { "limits", "spool_dir" }, "sandbox: limits.spool_dir is not for the route"
  end
  if normalized.cache.path ~= schema.CACHE.path[2] then
    return { "cache", "path" }, "sandbox: cache.path is not for the route"
  end
  for i, listener in ipairs(normalized.listen) do
    if listener.address:find("^unix:") then
      return { "listen", i }, "sandbox: a unix socket is made by the master, as root: --listen of "
        .. "the command line says where"
    end
  end
  return nil
end

return M
