-- moongate.decision.complete owns the part of a decision that depends on the request's path: which
-- script, which file of `try`. Called by load, which wraps the hooks that answer for a request.

local authorizer = require("moongate.decision.authorizer")
local decision = require("moongate.decision")
local docroot = require("moongate.docroot")
local headers_of = require("moongate.decision.headers")
local ini = require("moongate.decision.ini")
local trace = require("moongate.decision.trace")

local M = {}

local byte, gsub = string.byte, string.gsub
local by_pattern, on_disk, strip_prefix = docroot.by_pattern, docroot.on_disk, docroot.strip
local inherits, is_endless, is_try_list =
  decision.inherits, decision.is_endless, decision.is_try_list
local SLASH = 47

local NOT_FOUND = { status = 404 }

--- The answer where a decision leads to nothing.
local function not_found(d)
  if type(d.headers) ~= "table" then
    return authorizer.inherit(d, NOT_FOUND)
  end
  return authorizer.inherit(d, { status = 404, headers = headers_of.standing(d.headers) })
end

--- The script and path info of a path below the site.
---@return string|nil script nil where a script is asked for below a plain file
---@return string|nil path_info
local function split(path, root, within, generic, fs)
  local script, path_info
  if root then
    script, path_info = on_disk(path, root, within, nil, fs)
    if script then
      return script, path_info
    end
  end
  script, path_info = by_pattern(path)
  if script then
    -- Not on disk here: the application says so itself, unless the path climbs over a file, which
    -- some applications would then run.
    if root and docroot.climbs_over_file(script, root, within, fs) then
      return nil
    end
    return script, path_info
  elseif generic then
    return "", path
  end
  return path, nil
end

--- Ends the hook for a decision that could not even be completed.
local function unusable(d, req, settings)
  local rule = trace.of(req)
  error(("%sa decision that can't be used: %s"):format(rule and rule .. ": " or "",
    decision.problem(d, settings) or "one of its values is not valid"), 0)
end

--- Adds to a FastCGI decision what it leaves to the path.
---@return table d
---@return string|nil script below the root; nil: d is no FastCGI decision after all
---@return string|nil path_info
local function fastcgi(req, d, backend, fs)
  local script, prefix = d.script, d.strip
  if prefix ~= nil and (type(prefix) ~= "string" or byte(prefix) ~= SLASH) then
    unusable(d, req)
  elseif script ~= nil then
    if type(script) ~= "string" or byte(script) ~= SLASH then
      unusable(d, req)
    end
    local path_info = d.path_info
    if path_info == "" then
      path_info = nil
    end
    return d, prefix and strip_prefix(script, prefix) or script, path_info
  end
  local path = req.path
  if prefix then
    path = strip_prefix(path, prefix)
    if not path then
      return not_found(d) -- the site lies below the prefix, this request does not
    end
  end
  local root, within = d.root, d.within
  if root == nil then
    root = backend.root
  elseif type(root) ~= "string" then
    unusable(d, req)
  end
  if within == nil then
    within = backend.within
  end
  if d.script_filename ~= nil then
    root = nil -- the script is given, no file is looked for
  end
  local path_info
  script, path_info = split(path, root, within, backend.profile == "generic", fs)
  if not script then
    return not_found(d)
  end
  if d.path_info ~= nil then
    path_info = d.path_info ~= "" and d.path_info or nil
  end
  return d, script, path_info
end

--- The path that one element of `try` means for a request.
local function expand(element, path)
  if element == "$path" then
    return path
  elseif element == "$path/" then
    return byte(path, #path) == SLASH and path or path .. "/"
  end
  return (gsub(element, "%$path", (gsub(path, "%%", "%%%%"))))
end

--- The first element of `try` that is there.
---@return table|nil d the last element, where that is a decision and nothing else was there
---@return string|nil path the path that was found
local function try(req, d, fs)
  local list, path = d.try, d.path or req.path
  for i = 1, #list do
    local element = list[i]
    if type(element) == "table" then
      return element
    end
    local candidate = expand(element, path)
    local is_folder = byte(element, #element) == SLASH
    if fs.probe(d.root, candidate, d.within) == (is_folder and "directory" or "file") then
      -- A folder asked for without its slash stays so: the answer is a redirect.
      return nil, candidate == path .. "/" and element == "$path/" and path or candidate
    end
  end
  return not_found(d)
end

--- Wraps a hook so that core gets with each decision what depends on the path and the backend.
---@param hook fun(req: table, more: any): table|nil on_request, or another that may answer for it
---@param settings table normalized settings; `backends` is read
---@param fs table see moongate.base.fs
---@return fun(req: table, more: any): table|nil, string|nil, string|nil, string|nil
--- The function returns the decision and
---   for FastCGI: the script's path below the root ("" where there is none), the path info, and the
---   text of PHP_VALUE where the decision has `ini` (else the backend's own holds);
---   for a file: the path below the root, where it is not the decision's or the request's own.
function M.wrap(hook, settings, fs)
  local backends = {}
  for _, backend in ipairs(settings.backends) do
    backends[backend.name] = backend
  end

  local function complete(req, d)
    if type(d) ~= "table" then
      return d
    elseif getmetatable(d) and inherits(d) then
      return d -- core refuses it
    end
    local name = d.backend
    if name ~= nil then
      local backend = backends[name]
      if not backend then
        return d -- core names the backends that there are
      end
      local own = d.ini
      if own == nil then
        return fastcgi(req, d, backend, fs)
      elseif ini.problem(own) or ini.foreign(own, backend) then
        unusable(d, req, settings)
      end
      local completed, script, path_info = fastcgi(req, d, backend, fs)
      if completed ~= d then
        return completed -- 404
      end
      return d, script, path_info, ini.text(backend.ini, own)
    elseif d.try ~= nil and type(d.root) == "string" then
      if not is_try_list(d.try) or is_endless(d) then
        unusable(d, req)
      end
      local other, path = try(req, d, fs)
      if other then
        return complete(req, authorizer.inherit(d, other))
      end
      return d, path ~= (d.path or req.path) and path or nil
    end
    return d
  end

  return function(req, more)
    return complete(req, (hook(req, more)))
  end
end

return M
