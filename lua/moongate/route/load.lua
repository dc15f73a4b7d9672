-- moongate.route.load owns the way from a file to a validated route. Called by core/ in the loader
-- child and in each worker (once per generation and Lua state), and by `check` and `explain`.

local certificate = require("moongate.decision.certificate")
local complete = require("moongate.decision.complete")
local copy_of = require("moongate.base.copy")
local decision = require("moongate.decision")
local filesystem = require("moongate.base.fs")
local ini = require("moongate.decision.ini")
local log_target = require("moongate.route.log_target")
local pages = require("moongate.decision.pages")
local registry = require("moongate.route.registry")
local sandbox = require("moongate.route.sandbox")
local schema = require("moongate.route.schema")
local settings = require("moongate.route.settings")
local sources = require("moongate.route.sources")
local strict = require("moongate.route.strict")
local upcoming = require("moongate.base.upcoming")
local walk = require("moongate.route.walk")
local tls = require("moongate.route.tls")
local warnings = require("moongate.route.warnings")

local M = {}

--- Puts the script's folder first on package.path.
local function add_folder(path)
  local folder = path:match("^(.*)/") or "."
  local templates = folder .. "/?.lua;" .. folder .. "/?/init.lua;"
  if package.path:sub(1, #templates) ~= templates then
    package.path = templates .. package.path
  end
end

--- What on the way to a path keeps this user from it.
---@param path string
---@param fs table
---@return string|nil message nil where nothing does
---@return string|nil what "file", "directory", ...
local function obstacle(path, fs)
  local prefix, what = "", "directory"
  for part in path:gmatch("/*[^/]+") do
    local folder, err = prefix == "" and "/" or prefix
    prefix = prefix .. part
    what, err = fs.stat(prefix)
    if not what and err and err:find("[Pp]ermission") then
      return ("%s: the user '%s' may not enter the folder %s; try `chmod o+x %s` or `--user NAME`")
        :format(path, fs.user_name(), folder, folder)
    elseif not what then
      return ("%s: %s does not exist"):format(path, prefix == path and "it" or prefix)
    end
  end
  return nil, what
end

--- Why a script could not be read, and what to do about it.
---@param path string
---@param reason string what the system said
---@param fs table
---@return string message
local function unreadable(path, reason, fs)
  local message, what = obstacle(path, fs)
  if message then
    return message
  elseif what == "directory" then
    return ("%s: this is a folder; name the script in it"):format(path)
  elseif reason:find("[Pp]ermission") then
    return ("%s: the user '%s' may not read the file; try `chmod o+r %s` or `--user NAME`")
      :format(path, fs.user_name(), path)
  end
  return ("%s: %s"):format(path, reason)
end

--- Fails, in words for the terminal, unless this user can use a folder. The route that `serve`
--- writes begins with it.
---@param path string
---@param fs table|nil default moongate.base.fs
function M.expect_folder(path, fs)
  fs = fs or filesystem
  local message, what = obstacle(path, fs)
  if not message and what ~= "directory" then
    message = ("%s: this is not a folder"):format(path)
  elseif not message and not (fs.readable(path) and fs.stat(path .. "/.")) then
    message = ("%s: the user '%s' may not read the folder; try `chmod o+rx %s` or `--user NAME`")
      :format(path, fs.user_name(), path)
  end
  if message then
    error({ message = message })
  end
end

---@return string text
local function read(path, fs)
  local kept = sources.kept(path)
  if kept then
    return kept
  end
  local file, reason = io.open(path, "r")
  local text
  if file then
    text, reason = file:read("*a")
    file:close()
  end
  if not text then
    error(unreadable(path, (reason or "cannot be read"):gsub("^" .. path:gsub("%p", "%%%0")
      .. ": ", ""), fs), 0)
  end
  return text
end

--- Lua shortens long file names in messages ("...ong/route.lua:3:"); this one says them in full.
local function in_full(message, name)
  if #name < 60 then
    return message
  end
  return copy_of.text(message, "..." .. name:sub(-(60 - 1 - 3)), name)
end

--- Makes an error of the running script `FILE:LINE: message` and a traceback.
local function traced(name)
  return function(err)
    if type(err) == "table" and type(err.message) == "string" then
      return err.message -- it says all that there is to say
    end
    local shown, text = pcall(tostring, err)
    local message = in_full(shown and text or "an error whose __tostring has failed", name)
    if not message:match("^[^\n:]+:%d+: ") then
      local level, line = 2, nil
      while not line do
        local info = debug.getinfo(level, "Sl")
        if not info then
          break
        end
        line = info.source == "@" .. name and info.currentline or nil
        level = level + 1
      end
      message = line and ("%s:%d: %s"):format(name, line, message)
        or ("%s: %s"):format(name, message)
    end
    -- What is below the script is this module, and says nothing to its author.
    local trace = debug.traceback(message, 2):gsub("\n%s*%[C%]: in function 'xpcall'.*$", "")
    return in_full(trace, name)
  end
end

--- `require` of a module that comes later says so. Behind the other loaders: a module of the
--- user's own with such a name is found first.
local function later_module(name)
  local problem = upcoming.module_problem(name)
  if problem then
    error(problem, 3) -- 2 is `require`, 3 is who says it
  end
  return nil
end

local function add_loader()
  local loaders = package.loaders
  if loaders[#loaders] ~= later_module then
    loaders[#loaders + 1] = later_module
  end
end

--- The decisions that were set up while the route was loaded name backends that are there.
local function check_registered(normalized)
  for _, entry in ipairs(registry.decisions) do
    local problem = decision.backend_problem(entry.decision, normalized)
    if problem then
      error(("%s: %s: %s"):format(entry.source, entry.what, problem), 0)
    end
  end
end

--- The folders that the settings name are there. Log files are opened by the master, which may
--- enter folders that this user may not: those are left to it.
local function check_folders(normalized, source, fs)
  local log, limits = normalized.log, normalized.limits
  for key, word in pairs({ access = "stdout", error = "stderr" }) do
    local file = log[key]
    local is_file = file and file ~= word and not log_target.parse(file)
    local folder = is_file and (file:match("^(.+)/[^/]*$") or "/")
    local what, reason
    if folder then
      what, reason = fs.stat(folder)
    end
    if folder and what ~= "directory" and not (reason and reason:find("[Pp]ermission")) then
      walk.fail(source, { "log", key }, ("log.%s: there is no folder %s"):format(key, folder))
    elseif folder and fs.stat(file) == "directory" then
      walk.fail(source, { "log", key }, ("log.%s: %s is a folder"):format(key, file))
    end
  end
  local spans = normalized.tracing and (normalized.tracing.export or ""):match("^(/.*)/[^/]+$")
  if spans and fs.stat(spans) ~= "directory" then
    walk.fail(source, { "tracing", "export" }, "tracing.export: there is no folder " .. spans)
  end
  if limits.spool_dir ~= schema.SPOOL_DIR then
    local message, what = obstacle(limits.spool_dir, fs)
    if not message and what ~= "directory" then
      message = ("%s: this is not a folder"):format(limits.spool_dir)
    end
    if message then
      walk.fail(source, { "limits", "spool_dir" }, "limits.spool_dir: " .. message)
    end
  end
end

--- The folder of specs is there, and from here on a path from the root on.
local function check_test(normalized, source, fs)
  local folder = normalized.test
  if not folder then
    return
  elseif folder:sub(1, 1) ~= "/" then
    local beside = source.name:match("^(.*)/") or "."
    folder = beside .. "/" .. folder:gsub("^%./+", "")
  end
  folder = folder:match("^(/.-)/*$") or folder
  local message, what = obstacle(folder, fs)
  if not message and what ~= "directory" then
    message = ("%s: this is not a folder"):format(folder)
  end
  if message then
    walk.fail(source, { "test" }, "test: " .. message)
  end
  normalized.test = folder
end

--- What is loaded leaves the hooks a quarter of their memory at least.
local function check_memory(normalized, source)
  local most = normalized.limits.script_memory
  if collectgarbage("count") * 1024 > most / 2 then
    collectgarbage()
    collectgarbage()
  end
  local held = collectgarbage("count") * 1024
  if held > most * 3 / 4 then
    walk.fail(source, { "limits", "script_memory" }, ("limits.script_memory: the script holds %.0f "
      .. "MB once it is loaded, of %.0f MB; a quarter is for its hooks"):format(held / 2 ^ 20,
      most / 2 ^ 20))
  end
end

--- Behind each request that has ended.
local function add_ends(hooks, sources_of, ends)
  local own = hooks.on_log
  sources_of.on_log = sources_of.on_log or sources_of.on_request
  hooks.on_log = function(req, log)
    for i = 1, #ends do
      ends[i](req, log)
    end
    if own then
      return own(req, log)
    end
  end
end

--- Before the route's own on_response.
local function add_responses(hooks, sources_of, responses)
  local own = hooks.on_response
  sources_of.on_response = sources_of.on_response or sources_of.on_request
  hooks.on_response = function(req, res)
    for i = 1, #responses do
      responses[i](req, res)
    end
    return own and own(req, res)
  end
end

--- Before the route's own on_error, and before the pages of its sites.
local function add_rescues(hooks, sources_of, rescues)
  local own = hooks.on_error
  sources_of.on_error = sources_of.on_error or sources_of.on_request
  hooks.on_error = function(req, err)
    for i = 1, err.kind ~= pages.REFUSED and #rescues or 0 do
      local d, over = rescues[i](req, err)
      if d ~= nil or over then
        return d
      end
    end
    return own and own(req, err)
  end
end

--- What modules of the library do at hooks, before or behind the route's own.
local function add_library_hooks(normalized)
  local hooks, sources_of = normalized.hooks, normalized.hook_source
  if registry.pages then
    normalized.has_pages = true
    hooks.on_error = pages.behind(hooks.on_error)
    sources_of.on_error = sources_of.on_error or registry.pages
  end
  if #registry.rescues > 0 then
    add_rescues(hooks, sources_of, registry.rescues)
  end
  local starts, own = registry.starts, hooks.on_start
  if #starts > 0 then
    sources_of.on_start = sources_of.on_start or normalized.hook_source.on_request
    hooks.on_start = function()
      for _, start in ipairs(starts) do
        start()
      end
      return own and own()
    end
  end
  if #registry.ends > 0 then
    add_ends(hooks, sources_of, registry.ends)
  end
  if #registry.responses > 0 then
    add_responses(hooks, sources_of, registry.responses)
  end
end

--- The decisions of `script_errors` as functions like hooks, which the core calls in their places.
local function fallbacks(normalized, fs)
  local functions = {}
  for hook, what in pairs(normalized.script_errors) do
    if type(what) == "table" then
      functions[hook] = complete.wrap(function()
        return what
      end, normalized, fs)
    end
  end
  return functions
end

--- The globals of a script. What a server or a command loads also decides about the files of the
--- process; a spec loads routes beside its own code, and has only the globals.
---@return table environment
---@return fun() seal
---@return boolean confined it is a sandbox
local function environment_of(text, name, overrides)
  if not (overrides and overrides.sandbox or sandbox.is_asked_for(text)) then
    sandbox.release()
    local environment, seal = strict.environment(_G)
    return environment, seal, false
  end
  local folder = name:match("^(.*)/") or "."
  folder = folder == "" and "/" or folder
  if overrides and (overrides.server or overrides.command) then
    sandbox.confine(folder, overrides.server)
  end
  local globals, own = sandbox.globals(folder)
  local environment, seal = strict.environment(globals, sandbox.missing)
  own(environment)
  return environment, seal, true
end

--- The words and the setting agree.
local function check_sandbox(value, source, confined, overrides)
  local said = type(value) == "table" and rawget(value, "sandbox")
  local forced = overrides and overrides.sandbox
  if said == true and not confined then
    walk.fail(source, { "sandbox" }, "sandbox: it holds from the first line on, so the words "
      .. "`sandbox = true` themselves must be in this file")
  elseif confined and not forced and said ~= true then
    walk.fail(source, { "sandbox" }, "sandbox: the words `sandbox = true` are in the file, but not "
      .. "in the table that it returns")
  elseif forced and said == false then
    walk.fail(source, { "sandbox" }, "sandbox: the command line has --sandbox, a route can't "
      .. "leave it")
  end
end

--- What M.source does, without a look at the files that are loaded on the way.
local function run(text, name, overrides, fs)
  local chunk, err = loadstring(text:gsub("^#[^\n]*", ""), "@" .. name)
  if not chunk then
    error(in_full(err, name), 0)
  end
  local environment, seal, confined = environment_of(text, name, overrides)
  setfenv(chunk, environment)
  add_loader()
  registry.begin()
  local ok, value = xpcall(chunk, traced(name))
  registry.done()
  if not ok then
    error(value, 0)
  end
  seal()
  local source = { name = name, text = text }
  check_sandbox(value, source, confined, overrides)
  local normalized = settings.normalize(value, source, overrides,
    confined and sandbox.refused)
  normalized.sandbox = confined
  registry.settings = normalized
  check_registered(normalized)
  check_folders(normalized, source, fs)
  check_test(normalized, source, fs)
  check_memory(normalized, source)
  local hooks = normalized.hooks
  add_library_hooks(normalized)
  for _, hook in ipairs({ "on_request", "on_response", "on_error", "on_stderr" }) do
    hooks[hook] = hooks[hook] and complete.wrap(hooks[hook], normalized, fs)
  end
  hooks.on_certificate = hooks.on_certificate and certificate.wrap(hooks.on_certificate,
    normalized.certificates.ttl)
  normalized.fallbacks = fallbacks(normalized, fs)
  return normalized
end

-- The files of the route that was loaded last.
local last_files = {}

--- Lines of the loader's report about files: what each was when it was read, and its path.
local function file_lines(files)
  local lines = {}
  for i, path in ipairs(files) do
    lines[i] = ("file\t%s %s\n"):format(files[path] or "?", path)
  end
  return table.concat(lines)
end

--- The files of the route that was loaded last, also where that has failed: the watch waits for a
--- change to one of them that mends it.
---@return string lines as in the report
function M.failed_report()
  return file_lines(last_files)
end

-- Bytes of the hash of a route's files: it tells generations apart, no more. Of larger files, whose
-- digest core/script/digest.c does not make, there is none.
local HASH, HASHED = 6, 63 * 1024 ^ 2

--- What the files of a route hold, for workers that load it later. A hash of it becomes
--- `normalized.hash`.
---@param normalized table
---@return string|nil text see moongate.route.sources
function M.snapshot(normalized)
  local text = sources.snapshot(normalized.files)
  if text and #text <= HASHED then
    local digest = require("moongate.core").digest("sha256", (normalized.text or "") .. text)
    normalized.hash = digest:sub(1, HASH):gsub(".", function(byte)
      return ("%02x"):format(byte:byte())
    end)
  end
  return text
end

--- What `run` returns, with `files` in it.
---@param path string|nil the script's own, where it is a file
---@param text string|nil nil: what the file holds
local function tracked(path, text, name, overrides, fs)
  local files, ok, result = sources.of(fs, path, function()
    if not text then
      text = read(path, fs)
      add_folder(path)
    end
    return run(text, name, overrides, fs)
  end)
  last_files = files
  if not ok then
    error(result, 0)
  end
  result.files, result.text = files, not path and text or nil
  return result
end

--- Runs a script's text and validates what it returns.
---@param text string
---@param name string the chunk's name in messages
---@param overrides table|nil see moongate.route.settings
---@param fs table|nil default moongate.base.fs
---@return table normalized with `files`, the paths of what it is made of
function M.source(text, name, overrides, fs)
  return tracked(nil, text, name, overrides, fs or filesystem)
end

--- Loads a script from a file.
---@param path string
---@param overrides table|nil what the command line says, see moongate.route.settings
---@param fs table|nil default moongate.base.fs
---@return table normalized
--- Raises `FILE:LINE: message`; a traceback may follow in further lines.
function M.route(path, overrides, fs)
  return tracked(path, nil, path, overrides, fs or filesystem)
end

--- What the master needs to know of a route, since it never runs scripts.
---@param normalized table
---@param record string|nil the words behind "ini" in the report of the generation that serves
---@param fs table|nil default moongate.base.fs
---@return string report lines of tab-separated words: listen, workers, user, ...
function M.loader_report(normalized, record, fs)
  local lines = {}
  local function add(...)
    lines[#lines + 1] = table.concat({ ... }, "\t")
  end
  for i, listener in ipairs(normalized.listen) do
    add("listen", listener.address, listener.protocol, listener.backlog, listener.name or "",
      listener.proxy_protocol and "1" or "0", listener.h2c and "1" or "0",
      listener.tls and i or 0)
    if listener.tls then
      tls.report(add, i, listener.tls, listener.http2 ~= false)
    end
  end
  add("workers", normalized.workers)
  if normalized.user then
    add("user", normalized.user)
  end
  if normalized.group then
    add("group", normalized.group)
  end
  -- "" leaves it to the command line's default.
  add("control", normalized.control or normalized.control == false and "off" or "")
  if normalized.tokens.token then
    add("token", normalized.tokens.token)
  end
  add("access", normalized.log.access and log_target.line(normalized.log.access) or "")
  add("error", log_target.line(normalized.log.error))
  add("level", normalized.log.level)
  local format = normalized.log.format
  if type(format) == "string" and format:find("$", 1, true) then
    add("format", format)
  end
  local watch = normalized.watch
  add("watch", watch == nil and "" or watch and "1" or "0")
  add("stop_timeout", normalized.stop_timeout)
  add("script_timeout", normalized.script_timeout)
  add("shared", ("%.0f"):format(normalized.limits.shared))
  add("test", normalized.test or "")
  if normalized.hash then
    add("hash", normalized.hash)
  end
  local sent = ini.record(normalized.backends)
  if sent ~= "" then
    add("ini", sent)
  end
  local dropped = record and ini.dropped(record, normalized.backends)
  if dropped then
    add("note", dropped)
  end
  for _, warning in ipairs(warnings.of(normalized, fs)) do
    add("warning", warning)
  end
  return table.concat(lines, "\n") .. "\n" .. file_lines(normalized.files)
end

return M
