-- moongate.php.site owns what a PHP site decides about a request: scripts to PHP, everything else
-- from disk, a front controller for the rest. Called by moongate.php, which checks the options.
--
--     path -> strip -> never? -> a script on disk? -> try: file, folder, front controller -> 404
--
-- A decision for a script without path info is built once and given out many times. It refuses new
-- keys, since a key added for one request would then be there for all.

local docroot = require("moongate.docroot")
local headers = require("moongate.decision.headers")
local registry = require("moongate.route.registry")
local site_options = require("moongate.php.options")
local suggest = require("moongate.base.suggest")
local trace = require("moongate.decision.trace")
local url = require("moongate.base.url")

local M = {}

local byte, find, match = string.byte, string.find, string.match
local SLASH = 47

-- Bounds of what a site remembers; when one is reached the memory starts anew.
local MAX_DECISIONS = 1000
local MAX_FOLDERS = 1000

-- What may be a function of the request, in the words of a decision.
local VALUES = { "backend", "root", "docroot", "within", "strip", "params", "ini", "tenant" }

local SHARED = {
  __newindex = function(_, key)
    error(("'%s' cannot be added to a decision of php.site: all requests share it; "
      .. "give php.site a function, or copy the table"):format(suggest.name(key)), 2)
  end,
}

---@class moongate.Site
---@field options table values and functions of the request
---@field source string file:line where the route makes it
---@field dynamic boolean some value is a function of the request
local Site = {}
Site.__index = Site

--- Says what a site made of a request: to who explains the route, and in the error log.
---@param level "debug"|"warn"
function Site:say(level, req, text, ...)
  if trace.step then
    trace.step("php.site: " .. text:format(...))
  elseif self.fs.logs(level) then
    self.fs.log(level, ("%s: php.site: %s; %s %s, request %s, host %s"):format(self.source,
      text:format(...), tostring(req.method), tostring(req.uri), tostring(req.id),
      tostring(req.host)))
  end
end

--- What lies at a path of the site. A link that leads out of it counts as nothing, which is not
--- what its owner expects: that is said, in the log at most once in a second.
function Site:probe(req, values, path)
  local what, why = self.fs.probe(values.root, path, values.within)
  if why then
    local now, level = self.time(), "debug"
    if self.linked ~= now then
      self.linked, level = now, "warn"
    end
    self:say(level, req, "%s%s leads out of %s by a symlink, so it counts as missing; 'within' "
      .. "names the folders that links may lead to", values.root, path,
      type(values.within) == "table" and table.concat(values.within, ", ") or values.within
        or values.root)
  end
  return what
end

--- The values that hold for one request: the options themselves, or what their functions say.
---@return table|nil values nil where there is no root for this request
function Site:values(req)
  local options = self.options
  if not self.dynamic then
    return options
  end
  local values = {}
  for i = 1, #VALUES do
    local key = VALUES[i]
    local value = options[key]
    if type(value) == "function" then
      value = value(req)
    end
    values[key] = value
  end
  if values.strip then
    values.strip = match(values.strip, "^(.-)/*$")
  end
  if values.root == nil then
    self:say("debug", req, "the function for 'root' returned nil: 404")
    return nil
  end
  if values.root ~= options.root then
    self:expect_root(values.root)
  end
  return values
end

--- A root that a function makes up must be absolute, since there is no folder for it to be relative
--- to, and a folder below another one: "/" is what "/" .. name is for an empty name.
function Site:expect_root(root)
  local problem = root == "/" and "'/' is no folder of a site" or docroot.root_problem(root)
  if problem then
    error(("%s: php.site: the function for 'root': %s"):format(self.source, problem), 0)
  end
end

-- Scripts -----------------------------------------------------------------------------------------

--- The version that the nearest `.php-version` names, from a script's folder up to the root.
---@return string|nil version only one that `versions` knows
function Site:nearest_version(values, script)
  local now, memory = self.time(), self.version_memory
  if memory.time ~= now or memory.count >= MAX_FOLDERS then
    memory = { time = now, count = 0, folders = {} }
    self.version_memory = memory
  end
  local folder = match(script, "^(.*)/[^/]*$")
  local key = values.root .. folder
  local found = memory.folders[key]
  if found == nil then
    found = false
    while folder and not found do
      local name = self.fs.first_line(values.root, folder .. "/.php-version", values.within)
      found = name and self.options.versions[name] and name or false
      folder = match(folder, "^(.*)/[^/]*$")
    end
    memory.folders[key], memory.count = found, memory.count + 1
  end
  return found or nil
end

--- Which backend runs a script for this request.
function Site:backend(req, values, script)
  local options = self.options
  local version = options.version
  if version == ".php-version" then
    version = self:nearest_version(values, script)
  elseif type(version) == "function" then
    version = version(req)
  end
  local backend = version and options.versions[version] or values.backend
  if backend == nil then
    error(("%s: php.site: no backend for %s%s"):format(self.source, script, version
      and (": version '%s' is not in 'versions'"):format(tostring(version)) or ""), 0)
  end
  return backend
end

--- Remembers the decision for a script.
function Site:remember(backend, script, d)
  if self.remembered >= MAX_DECISIONS then
    self.decisions, self.remembered = {}, 0
  end
  local of_backend = self.decisions[backend]
  if not of_backend then
    of_backend = {}
    self.decisions[backend] = of_backend
  end
  of_backend[script] = setmetatable(d, SHARED)
  self.remembered = self.remembered + 1
end

--- The decision that runs a script.
---@param script string below the root
---@param path_info string|nil
function Site:run(req, values, script, path_info)
  local backend = self:backend(req, values, script)
  local shareable = not self.dynamic and not path_info
  local of_backend = shareable and self.decisions[backend]
  local d = of_backend and of_backend[script]
  if d then
    return d
  end
  local strip = values.strip
  d = {
    backend = backend, root = values.root, docroot = values.docroot, within = values.within,
    strip = strip, params = values.params, ini = values.ini, tenant = values.tenant,
    script = strip and strip .. script or script, path_info = path_info,
    headers = self.options.headers,
  }
  if shareable then
    self:remember(backend, script, d)
  end
  return d
end

--- Is there a dotfile on this path? `.well-known` is none. Asked of what is on disk: a path that
--- only the application knows may have any name.
function Site:has_dotfile(req, path)
  local at = find(path, "/.", 1, true)
  while at do
    if not match(path, "^%.well%-known%f[/%z]", at + 1) then
      self:say("debug", req, "%s: dotfiles are neither served nor run: 403", path)
      return true
    end
    at = find(path, "/.", at + 1, true)
  end
  return false
end

-- Files and folders -------------------------------------------------------------------------------

--- Adds what holds for files to a decision.
function Site:about_files(d)
  for key, value in pairs(self.options.static or {}) do
    d[key] = value
  end
  d.headers, d.scripts = self.file_headers, self.options.scripts
end

--- The decision that serves a file.
---@param path string below the root
function Site:file(req, values, path)
  if docroot.is_source(path, self.scripts) then
    self:say("debug", req, "%s is almost a script, and no source is served: 403", path)
    return self.forbidden
  elseif not self.dynamic and path == req.path then
    return self.file_decision
  end
  local d = { root = values.root, within = values.within, path = path }
  self:about_files(d)
  return d
end

--- The decision for a path at which there is a regular file.
---@param trusted boolean the route names this path, not the client: it may be any script
---@param checked boolean|nil the route names it, and `never` does not hold
---@return table|nil d nil where files are not for this site to serve
function Site:serve(req, values, path, trusted, checked)
  if not checked and self:refuses(req, path) then
    return self.forbidden
  elseif docroot.is_script(path, self.scripts) then
    return (trusted or self:may_run(req, path)) and self:run(req, values, path, nil)
      or self.not_found
  elseif self.options.static == false then
    return nil
  end
  return self:file(req, values, path)
end

--- The answer to a request for a folder: its index, or its name with a slash.
---@return table|nil d nil where the folder has no index
function Site:folder(req, values, path)
  if byte(path, #path) ~= SLASH then
    local query = req.query
    return {
      status = 301,
      redirect = url.escape_path((values.strip or "") .. path) .. "/"
        .. (query and query ~= "" and "?" .. query or ""),
      headers = self.standing,
    }
  end
  local index = self.index
  for i = 1, #index do
    local candidate = path .. index[i]
    if self:probe(req, values, candidate) == "file" then
      return self:serve(req, values, candidate, true) -- `run` is for what a URL names
    end
  end
  return nil
end

--- Walks `try`. The path itself is looked at once, however many elements ask for it.
function Site:search(req, values, path)
  local elements, own = self.try, nil
  for i = 1, #elements do
    local element = elements[i]
    if element.answer then
      return element.answer
    end
    local suffix = element.suffix
    local candidate, found = element.literal
    if suffix == "" or suffix == "/" then
      own = own or self:probe(req, values, path) or "nothing"
      candidate, found = path, own
    else
      candidate = candidate or path .. suffix
      found = self:probe(req, values, candidate)
    end
    if suffix and (found == "file" or found == "directory")
      and self:has_dotfile(req, candidate) then
      return self.forbidden
    end
    local d
    if element.folder and found == "directory" then
      d = self:folder(req, values, candidate)
    elseif not element.folder and found == "file" then
      d = self:serve(req, values, candidate, not suffix, not suffix)
    end
    if d then
      return d
    end
  end
  self:doubt_root(values.root)
  self:say("debug", req, "there is nothing at %s%s: 404", values.root, path)
  return self.not_found
end

--- After a 404: is the root there at all? Said at most once in a second.
function Site:doubt_root(root)
  local now = self.time()
  if self.doubted ~= now then
    self.doubted = now
    if self.fs.stat(root) ~= "directory" then
      self.fs.log("error", ("php.site: the root %s is not a folder that the user '%s' can see")
        :format(root, self.fs.user_name()))
    end
  end
end

-- A request ---------------------------------------------------------------------------------------

--- Is a path one that this site never gives out?
function Site:refuses(req, path)
  local never = self.never
  for i = 1, #never do
    if find(path, never[i]) then
      self:say("debug", req, "%s fits '%s' of 'never': 403", path, never[i])
      return true
    end
  end
  return false
end

--- May this script be named in a URL?
function Site:may_run(req, script)
  if not self.allows or self.allows(script) then
    return true
  end
  self:say("debug", req, "%s is not among the scripts of 'run': 404", script)
  return false
end

--- The decision about a request.
---@param req table
---@return table
function Site:decide(req)
  local values, path = self:values(req), req.path
  if not values then
    return self.not_found
  end
  local strip = values.strip
  if strip then
    if path == strip then
      return self:folder(req, values, "")
    end
    path = docroot.strip(path, strip)
    if not path then
      self:say("debug", req, "the path does not begin with '%s' ('strip'): 404", strip)
      return self.not_found
    end
  end
  if self:refuses(req, path) then
    return self.forbidden
  end
  local script, path_info, outside =
    docroot.on_disk(path, values.root, values.within, self.scripts, self.fs)
  if not script then
    if outside then
      self:probe(req, values, outside) -- says so
    end
    return self:search(req, values, path)
  elseif self:has_dotfile(req, script) or path_info and self:refuses(req, script) then
    return self.forbidden
  elseif not self:may_run(req, script) then
    return self.not_found
  end
  return self:run(req, values, script, path_info)
end

--- Lists what does not depend on requests, to be checked when the whole route is known.
function Site:register()
  local options = self.options
  local ini = type(options.ini) == "table" and options.ini or nil
  if type(options.root) == "string" then
    local front = options.front or nil
    table.insert(registry.sites, { root = options.root, front = front })
  end
  if type(options.backend) == "string" then
    registry.add({ backend = options.backend, ini = ini }, self.source, "php.site: backend")
  end
  for version, backend in pairs(options.versions or {}) do
    registry.add({ backend = backend, ini = ini }, self.source,
      ("php.site: versions['%s']"):format(version))
  end
  local last = self.try[#self.try]
  if last and last.answer then
    registry.add(last.answer, self.source, "php.site: try")
  end
end

--- A site. Its options are valid.
---@param own table options of its own, with folders from the root on
---@param place string file:line where the route makes it
---@param fs table see moongate.base.fs
---@param time fun(): number a clock in whole seconds
---@return moongate.Site
function M.new(own, place, fs, time)
  local dynamic = false
  for _, key in ipairs(VALUES) do
    dynamic = dynamic or type(own[key]) == "function"
  end
  local file_headers = headers.merged(own.headers,
    type(own.static) == "table" and own.static.headers or nil)
  local standing = headers.standing(file_headers)
  local site = setmetatable({
    options = own, dynamic = dynamic, source = place, fs = fs, time = time,
    scripts = own.scripts or docroot.SCRIPTS, index = own.index or { "index.php", "index.html" },
    never = type(own.never) == "string" and { own.never } or own.never or {},
    allows = site_options.run(own), try = site_options.try(own, standing),
    file_headers = file_headers, standing = standing,
    forbidden = { status = 403, headers = standing },
    not_found = { status = 404, headers = standing },
    decisions = {}, remembered = 0, version_memory = { count = 0, folders = {} },
  }, Site)
  site.file_decision = { root = own.root, within = own.within }
  site:about_files(site.file_decision)
  setmetatable(site.file_decision, SHARED)
  site:register()
  return site
end

return M
