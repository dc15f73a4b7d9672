-- moongate.php.site owns what a PHP site decides about a request: scripts to PHP, everything else
-- from disk, a front controller for the rest. Called by moongate.php, which checks the options.
--
--     path -> strip -> never? -> a script on disk? -> try: file, folder, front controller -> 404
--
-- Where only the backend has the site's folder, names decide in place of the disk:
--
--     path -> strip -> never? -> a script by its name? -> front controller, a folder's index -> 404
--
-- A decision for a script without path info is built once and given out many times. It refuses new
-- keys, since a key added for one request would then be there for all.

local authorizer = require("moongate.decision.authorizer")
local describe = require("moongate.base.describe")
local docroot = require("moongate.docroot")
local headers = require("moongate.decision.headers")
local pages = require("moongate.decision.pages")
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
local VALUES = site_options.VALUES

-- Those of them that go into the decision which runs a script as they are.
local PASSED = {}
for _, key in ipairs(VALUES) do
  if key ~= "backend" and key ~= "headers" then
    PASSED[#PASSED + 1] = key
  end
end

-- Stands for the headers of a request that has none.
local NO_HEADERS = {}

local SHARED = {
  __newindex = function(_, key)
    error(("'%s' cannot be added to a decision of php.site: all requests share it; "
      .. "give php.site a function, or copy the table"):format(suggest.name(key)), 2)
  end,
}

---@class moongate.php.site
---@field options table values and functions of the request
---@field source string file:line where the route makes it
---@field dynamic boolean some value is a function of the request
local Site = {}
Site.__index = Site

---@class moongate.php.answers what all answers of a site have in common that have the same headers
---@field standing table|nil headers of those without a content
---@field [403] table a decision
---@field [404] table a decision
---@field endings table<moongate.Try, table> decisions at the end of `try`
---@field rules table<table, table> for a rule of `static`: the headers of its files

--- Says what a site made of a request: to who explains the route, and in the error log.
---@param level "debug"|"warn"
local function say(self, level, text, ...)
  if trace.step then
    trace.step("php.site: " .. text:format(...))
  elseif self.fs.logs(level) then
    self.fs.log(level, ("%s: php.site: %s"):format(self.source, text:format(...)))
  end
end

--- What lies at a path of the site. A link that leads out of it counts as nothing, which is not
--- what its owner expects: that is said, in the log at most once in a second.
local function probe(self, values, path)
  local what, why = self.fs.probe(values.root, path, values.within)
  if why then
    local now, level = self.time(), "debug"
    if self.linked ~= now then
      self.linked, level = now, "warn"
    end
    say(self, level, "%s%s leads out of %s by a symlink, so it counts as missing; 'within' "
      .. "names the folders that links may lead to", values.root, path,
      type(values.within) == "table" and table.concat(values.within, ", ") or values.within
        or values.root)
  end
  return what
end

--- A root that a function makes up must be absolute, since there is no folder for it to be relative
--- to, and a folder below another one: "/" is what "/" .. name is for an empty name.
local function expect_root(self, root)
  local problem = root == "/" and "'/' is no folder of a site" or docroot.root_problem(root)
  if problem then
    error(("%s: php.site: the function for 'root': %s"):format(self.source, problem), 0)
  end
end

--- The values that hold for one request: the options themselves, or what their functions say.
---@return table|nil values nil where there is no root for this request
local function values_for(self, req)
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
  if values.root == nil and options.root ~= nil then
    say(self, "debug", "the function for 'root' returned nil: 404")
    return nil
  end
  if values.root ~= options.root and values.root ~= nil then
    expect_root(self, values.root)
  end
  return values
end

---@return moongate.php.answers
local function make_answers(self, given)
  local all = headers.merged(given, self.static.headers)
  local standing = headers.standing(all)
  return {
    standing = standing, rules = {}, endings = {},
    [403] = { status = 403, headers = standing }, [404] = { status = 404, headers = standing },
  }
end

--- The site's own answers, with the headers that hold for this request.
---@return moongate.php.answers
local function answers_for(self, values)
  local given = values.headers
  if given == self.options.headers then
    return self.own_answers
  end
  local key = given or NO_HEADERS
  local answers = self.other_answers[key]
  if not answers then
    answers = make_answers(self, given)
    self.other_answers[key] = answers
  end
  return answers
end

--- An answer of the site's own that is an error: the page of `errors`, or the standard one.
---@param status 403|404
---@return table d
local function refuse(self, values, status)
  local page = self.errors[status]
  if type(page) == "string" then
    return {
      root = values.root, within = values.within, path = page, status = status,
      headers = answers_for(self, values).standing,
    }
  end
  return page or answers_for(self, values)[status]
end

-- Scripts -----------------------------------------------------------------------------------------

--- The version that the nearest `.php-version` names, from a script's folder up to the root.
---@return string|nil version only one that `versions` knows
local function nearest_version(self, values, script)
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
local function backend_for(self, req, values, script)
  local options = self.options
  local version = options.version
  if version == ".php-version" then
    version = nearest_version(self, values, script)
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
local function remember(self, backend, script, d)
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

--- Belongs what lies at a path to the owner of the site's folder? Asked where `owner` is true.
---@param path string below the root
local function is_own(self, values, path)
  local root, now = values.root, self.time()
  local memory = self.owner_memory
  if memory.time ~= now or memory.count >= MAX_FOLDERS then
    memory = { time = now, count = 0, owners = {} }
    self.owner_memory = memory
  end
  local owner = memory.owners[root]
  if owner == nil then
    owner = self.fs.owner(root, "/", values.within) or false
    memory.owners[root], memory.count = owner, memory.count + 1
  end
  local found = self.fs.owner(root, path, values.within)
  if owner and found == owner then
    return true
  end
  say(self, "debug", "%s%s belongs to the user %s, and the site to %s ('owner'): 403", root,
    path, tostring(found), tostring(owner))
  return false
end

--- Notes the pages for what may go wrong behind the decision.
local function note_pages(self, req, values)
  if self.has_errors then
    pages.note(req, { errors = self.errors, root = values.root, within = values.within })
  end
end

--- The decision that runs a script.
---@param script string below the root
---@param path_info string|nil
local function run(self, req, values, script, path_info)
  if self.options.owner and not is_own(self, values, script) then
    return refuse(self, values, 403)
  end
  note_pages(self, req, values)
  local backend = backend_for(self, req, values, script)
  local shareable = not self.dynamic and not path_info
  local of_backend = shareable and self.decisions[backend]
  local d = of_backend and of_backend[script]
  if d then
    return d
  end
  local strip = values.strip
  d = {
    backend = backend, script = strip and strip .. script or script, path_info = path_info,
    headers = values.headers,
  }
  for i = 1, #PASSED do
    local key = PASSED[i]
    local value = values[key]
    if value ~= nil then
      d[key] = value
    end
  end
  if shareable then
    remember(self, backend, script, d)
  end
  return d
end

--- Is there a dotfile on this path? Asked of what is on disk: a path that only the application
--- knows may have any name.
local function has_dotfile(self, path)
  if docroot.has_dotfile(path) then
    say(self, "debug", "%s: dotfiles are neither served nor run: 403", path)
    return true
  end
  return false
end

-- Files and folders -------------------------------------------------------------------------------

--- Is a path one that this site never gives out?
local function refuses(self, path)
  local never = self.never
  for i = 1, #never do
    if find(path, never[i]) then
      say(self, "debug", "%s fits '%s' of 'never': 403", path, never[i])
      return true
    end
  end
  return false
end

--- May this script be named in a URL?
local function may_run(self, script)
  if not self.allows or self.allows(script) then
    return true
  end
  say(self, "debug", "%s is not among the scripts of 'run': 404", script)
  return false
end

--- What `static` says of a file.
---@return moongate.php.rule|nil rule nil: such files are not for this site to serve
local function rule_for(self, req, path)
  local static = self.static
  if static.decide then
    return site_options.static_result(static, static.decide(req, path), self.source)
  end
  return static.rule_of and static.rule_of(path) or not static.rule_of and static.rule or nil
end

--- Adds what holds for files to a decision.
---@param rule moongate.php.rule
local function about_files(self, d, values, rule)
  local answers = answers_for(self, values)
  local all = answers.rules[rule]
  if all == nil then
    all = headers.merged(values.headers, rule.headers) or false
    if rule.lasts then
      answers.rules[rule] = all
    end
  end
  d.cache_control, d.sources, d.compress = rule.cache_control, rule.sources, rule.compress
  d.precompressed = rule.precompressed
  if d.compress == nil then
    d.compress = values.compress
  end
  d.headers, d.scripts = all or nil, self.options.scripts
  return d
end

--- The decision that serves a file.
---@param path string below the root
---@return table|nil d nil where files like this one are not for this site to serve
local function file_for(self, req, values, path)
  if docroot.is_source(path, self.scripts) then
    say(self, "debug", "%s is almost a script, and no source is served: 403", path)
    return refuse(self, values, 403)
  end
  local rule = rule_for(self, req, path)
  if not rule then
    return nil
  elseif self.options.owner and not is_own(self, values, path) then
    return refuse(self, values, 403)
  end
  note_pages(self, req, values)
  if not self.dynamic and path == req.path and rule.lasts then
    local d = self.file_decisions[rule]
    if not d then
      d = setmetatable(about_files(self, { root = values.root, within = values.within }, values,
        rule), SHARED)
      self.file_decisions[rule] = d
    end
    return d
  end
  return about_files(self, { root = values.root, within = values.within, path = path }, values,
    rule)
end

--- The decision for a path at which there is a regular file.
---@param trusted boolean the route names this path, not the client: it may be any script
---@param checked boolean|nil the route names it, and `never` does not hold
---@return table|nil d nil where files are not for this site to serve
local function serve(self, req, values, path, trusted, checked)
  if not checked and refuses(self, path) then
    return refuse(self, values, 403)
  elseif docroot.is_script(path, self.scripts) then
    return (trusted or may_run(self, path)) and run(self, req, values, path, nil)
      or refuse(self, values, 404)
  elseif self.options.static == false then
    return nil
  end
  return file_for(self, req, values, path)
end

--- The answer to a request for a folder: its index, or its name with a slash.
---@return table|nil d nil where the folder has no index
local function folder_for(self, req, values, path)
  if byte(path, #path) ~= SLASH then
    local query = req.query
    return {
      status = 301,
      redirect = url.escape_path((values.strip or "") .. path) .. "/"
        .. (query and query ~= "" and "?" .. query or ""),
      headers = answers_for(self, values).standing,
    }
  end
  local index = self.index
  for i = 1, #index do
    local candidate = path .. index[i]
    if probe(self, values, candidate) == "file" then
      return serve(self, req, values, candidate, true) -- `run` is for what a URL names
    end
  end
  return nil
end

--- What is looked for: what the site says, or, where a module has said another front controller for
--- this request, with that.
---@return moongate.Try[]
local function try_of(self, values)
  local front = values.front
  if front == nil or front == self.options.front then
    return self.try
  end
  local elements = self.tries[front]
  if not elements then
    elements = site_options.try({ front = front })
    self.tries[front] = elements
  end
  return elements
end

--- The decision that ends `try`, with the headers of this request.
---@param element moongate.Try
local function end_search(self, values, element)
  local answers, page = answers_for(self, values), nil
  if type(element.ending) == "number" then
    page = self.errors[element.ending]
    if type(page) == "string" then
      return {
        root = values.root, within = values.within, path = page, status = element.ending,
        headers = answers.standing,
      }
    end
  end
  local d = page or site_options.ending(element.ending, values.headers, answers.standing)
  answers.endings[element] = d
  return d
end

--- After a 404: is the root there at all? Said at most once in a second.
local function doubt_root(self, root)
  local now = self.time()
  if self.doubted ~= now then
    self.doubted = now
    if self.fs.stat(root) ~= "directory" then
      self.fs.log("error", ("php.site: the root %s is not a folder that the user '%s' can see")
        :format(root, self.fs.user_name()))
    end
  end
end

--- Walks `try`. The path itself is looked at once, however many elements ask for it.
local function search(self, req, values, path)
  local elements, own = try_of(self, values), nil
  for i = 1, #elements do
    local element = elements[i]
    if element.ending then
      return answers_for(self, values).endings[element] or end_search(self, values, element)
    end
    local suffix = element.suffix
    local candidate, found = element.literal
    if suffix == "" or suffix == "/" then
      own = own or probe(self, values, path) or "nothing"
      candidate, found = path, own
    else
      candidate = candidate or path .. suffix
      found = probe(self, values, candidate)
    end
    if suffix and (found == "file" or found == "directory")
      and has_dotfile(self, candidate) then
      return refuse(self, values, 403)
    end
    local d
    if element.folder and found == "directory" then
      d = folder_for(self, req, values, candidate)
    elseif not element.folder and found == "file" then
      d = serve(self, req, values, candidate, not suffix, not suffix)
    end
    if d then
      return d
    end
  end
  doubt_root(self, values.root)
  say(self, "debug", "there is nothing at %s%s: 404", values.root, path)
  return refuse(self, values, 404)
end

-- A request ---------------------------------------------------------------------------------------

--- The decision about a script that the path names, which may be one that is not to run.
local function run_allowed(self, req, values, script, path_info)
  if has_dotfile(self, script) or path_info and refuses(self, script) then
    return refuse(self, values, 403)
  elseif not may_run(self, script) then
    return refuse(self, values, 404)
  end
  return run(self, req, values, script, path_info)
end

--- The decision about a path of a site that lies on the backend's machine only.
local function by_name(self, req, values, path)
  local script, path_info = docroot.by_pattern(path, self.scripts)
  if script then
    return run_allowed(self, req, values, script, path_info)
  end
  script = self.options.front or nil
  local index = self.index
  for i = 1, not script and byte(path, #path) == SLASH and #index or 0 do
    if docroot.is_script(index[i], self.scripts) then
      script = path .. index[i]
      break
    end
  end
  if not script then
    say(self, "debug", "%s names no script, and there is no 'front': 404", path)
    return refuse(self, values, 404)
  elseif has_dotfile(self, script) then
    return refuse(self, values, 403)
  end
  return run(self, req, values, script, nil)
end

--- The decision about a request, before anybody is asked whether it may be carried out.
local function choose(self, req, values)
  local path = req.path
  values = values or values_for(self, req)
  if not values then
    return self.own_answers[404]
  end
  local strip = values.strip
  if strip then
    if path == strip then
      return folder_for(self, req, values, "")
    end
    path = docroot.strip(path, strip)
    if not path then
      say(self, "debug", "the path does not begin with '%s' ('strip'): 404", strip)
      return refuse(self, values, 404)
    end
  end
  if refuses(self, path) then
    return refuse(self, values, 403)
  end
  if values.root == nil then
    return by_name(self, req, values, path)
  end
  local script, path_info, outside =
    docroot.on_disk(path, values.root, values.within, self.scripts, self.fs)
  if not script then
    if outside then
      probe(self, values, outside) -- says so
    end
    return search(self, req, values, path)
  end
  return run_allowed(self, req, values, script, path_info)
end

--- The decision about a request.
---@param req table
---@param values table|nil what holds for it, where another module says so: `root` and other values
---@return table
function Site:decide(req, values)
  local d, options = choose(self, req, values), self.options
  return options.authorize ~= nil and authorizer.guard(d, options, req) or d
end

--- Lists what does not depend on requests, to be checked when the whole route is known.
local function register(self)
  local options = self.options
  local ini = type(options.ini) == "table" and options.ini or nil
  if type(options.root) == "string" then
    local front = options.front or nil
    table.insert(registry.sites, {
      root = options.root, front = front, compress = options.compress,
    })
  end
  if type(options.backend) == "string" then
    registry.add({ backend = options.backend, ini = ini }, self.source, "php.site: backend")
  end
  for version, backend in pairs(options.versions or {}) do
    registry.add({ backend = backend, ini = ini }, self.source,
      ("php.site: versions['%s']"):format(version))
  end
  if type(options.authorize) == "table" then
    registry.add(options.authorize, self.source, "php.site: authorize")
  end
  local last = self.try[#self.try]
  if last and type(last.ending) == "table" then
    registry.add(last.ending, self.source, "php.site: try")
  end
  for status, page in pairs(self.errors) do
    registry.pages = registry.pages or self.source
    if type(page) == "table" then
      registry.add(page, self.source, ("php.site: errors[%d]"):format(status))
    end
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
  local static = site_options.static(own)
  local site = setmetatable({
    options = own, dynamic = dynamic, source = place, fs = fs, time = time, static = static,
    scripts = own.scripts or docroot.SCRIPTS, index = own.index or { "index.php", "index.html" },
    never = type(own.never) == "string" and { own.never } or own.never or {},
    allows = site_options.run(own), decisions = {}, remembered = 0, file_decisions = {},
    version_memory = { count = 0, folders = {} }, owner_memory = { count = 0 }, tries = {},
    errors = site_options.errors(own), other_answers = setmetatable({}, { __mode = "k" }),
  }, Site)
  site.own_answers = make_answers(site, type(own.headers) == "table" and own.headers or nil)
  site.try = site_options.try(own)
  site.has_errors = next(site.errors) ~= nil
  register(site)
  return site
end

--- The function from request to decision that a route gets of a site.
---@param site table `decide(site, req)` returns the decision
---@param name string of the function that makes it, in messages: "php.site"
---@param text string the rule's, in `explain`
---@param place string file:line where the route makes it
---@param always table|function|nil see docs/route.md
---@return fun(req: table): table|nil
function M.handler(site, name, text, place, always)
  local rule = trace.known({ text = text, source = place })
  return function(req)
    local kind = type(req)
    if kind ~= "userdata" and kind ~= "table" then
      error(name .. ": expected a request, as in site(req), got " .. describe(req), 2)
    end
    trace.enter(rule.label)
    local d = site:decide(req)
    trace.decided(req, rule)
    return always and d and headers.always(d, always, req) or d
  end
end

return M
