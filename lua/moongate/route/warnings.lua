-- moongate.route.warnings owns what is said of a route that is valid and will yet hardly work:
-- files and folders that it names and that are not there for the user who serves it. Called by
-- `check`, and by load for the report of the loader, which the master writes to the log.

local compress = require("moongate.decision.compress")
local filesystem = require("moongate.base.fs")
local log_target = require("moongate.route.log_target")
local registry = require("moongate.route.registry")

local M = {}

--- A route may have thousands of sites on a disk that is not mounted: more than these say no more.
M.MOST = 20

-- A process of the owner may listen on another one's socket, but that is not how PHP-FPM does it.
local function about_owners(add, fs, backend)
  for _, server in ipairs(backend.servers) do
    local path = server.owner and server.address:match("^unix:(.*)$")
    local uid = path and fs.stat(path) == "socket" and fs.owner("/", path)
    if uid and uid ~= server.owner.uid then
      add("backends.%s: the socket %s is of uid %d, and its 'owner' is %s (uid %d): unless a "
        .. "process of that user listens on it, no request is sent there", backend.name, path, uid,
        server.owner.name, server.owner.uid)
    end
  end
end

local function about_sites(add, fs)
  for _, site in ipairs(registry.sites) do
    if fs.stat(site.root) ~= "directory" then
      add("php.site: %s is not a folder on this machine", site.root)
    elseif site.front and fs.stat(site.root .. site.front) ~= "file" then
      add("php.site: front: there is no file %s%s", site.root, site.front)
    end
  end
end

-- What decisions ask for that this build can't make.
local function about_codings(add)
  for _, entry in ipairs(registry.decisions) do
    local lost = compress.unmade(entry.decision.compress)
    if lost then
      add("%s: %s: %s", entry.source, entry.what, lost)
    end
  end
  for _, site in ipairs(registry.sites) do
    local lost = compress.unmade(site.compress)
    if lost then
      add("php.site: %s: %s", site.root, lost)
    end
  end
end

-- A page that a handler of a router or the end of `try` names by its path.
local function about_pages(add, fs)
  for _, entry in ipairs(registry.decisions) do
    local file = entry.decision.file
    if type(file) == "string" and fs.stat(file) ~= "file" then
      add("%s: %s: there is no file %s", entry.source, entry.what, file)
    end
  end
end

-- Certificates are asked for by listeners with TLS alone.
local function about_certificates(add, settings)
  local asks = false
  for _, listener in ipairs(settings.listen) do
    asks = asks or listener.tls ~= nil
  end
  if settings.hooks.on_certificate and not asks then
    add("on_certificate is never called: no listener has tls (`tls = {}` takes all certificates "
      .. "from the hook)")
  end
end

-- A socket that nobody has made yet may come: the server may be started first.
local function about_logs(add, fs, log)
  for _, key in ipairs({ "access", "error" }) do
    local target = log[key] and log_target.parse(log[key])
    local path = target and target.server:match("^unix:(.*)$")
    if path and fs.stat(path) ~= "socket" then
      add("log.%s: %s is not a socket on this machine: lines wait until %s listens there, and are "
        .. "lost when there are too many", key, path,
        target.kind == "journal" and "systemd-journald" or "a syslog server")
    end
  end
end

--- What is valid in a route and will yet hardly work.
---@param settings table of the route that was loaded last
---@param fs table|nil default moongate.base.fs
---@return string[] list of sentences without line ends, at most M.MOST and one about the rest
function M.of(settings, fs)
  fs = fs or filesystem
  local list, more = {}, 0
  local function add(...)
    if #list < M.MOST then
      list[#list + 1] = string.format(...):gsub("%c", " ")
    else
      more = more + 1
    end
  end
  for _, backend in ipairs(settings.backends) do
    about_owners(add, fs, backend)
    if backend.root and fs.stat(backend.root) ~= "directory" then
      add("backends.%s.root: %s is not a folder on this machine", backend.name, backend.root)
    end
  end
  if settings.unmade then
    add("%s", settings.unmade)
  end
  about_codings(add)
  about_sites(add, fs)
  about_pages(add, fs)
  about_certificates(add, settings)
  about_logs(add, fs, settings.log or {})
  local spool_dir = settings.limits.spool_dir
  local writable, reason = fs.writable(spool_dir)
  if not writable then
    add("limits.spool_dir: the user '%s' can't write to the folder %s (%s): bodies larger than "
      .. "limits.request_memory will be 503", fs.user_name(), spool_dir, reason or "not permitted")
  end
  if more > 0 then
    list[#list + 1] = ("%d more of this kind; `moongate explain` says it for one address")
      :format(more)
  end
  return list
end

return M
