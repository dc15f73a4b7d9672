-- moongate.cli.findings owns what `moongate doctor` says: it compares a route with the machine and
-- with PHP-FPM's pools. Nothing is looked at here but through `facts`. Called by doctor.

local pools_of = require("moongate.cli.pools")

local M = {}

-- What a worker has open beside the requests of its clients.
local DESCRIPTORS_OWN = 64
-- Fewer than these are a limit that an operator had better know of.
local DESCRIPTORS_FEW = 4096
local BACKLOG_OF_FPM = 511

---@class moongate.cli.Facts
---@field settings table|nil of the route
---@field route string|nil how the route is called
---@field pools moongate.cli.Pool[]
---@field workers integer how many there are, or would be
---@field descriptors integer|nil the hard limit of open files
---@field limits_of string whose limit that is
---@field somaxconn integer|nil
---@field user string|nil who the workers are
---@field groups table<string, true> which groups that user is in
---@field is_pool fun(pool: moongate.cli.Pool, address: string): boolean
---@field server_problem fun(address: string, owner: table|nil): string|nil
---@field folder_problem fun(path: string): string|nil
---@field folders { path: string, where: string }[] that the workers read

---@class moongate.cli.Finding
---@field level "finding"|"note" only findings count for the exit status
---@field where string FILE:LINE, or what it is about
---@field what string a sentence
---@field fix string what to do

local function adder(list)
  local function add(level, where, what, fix)
    list[#list + 1] = { level = level, where = where, what = what, fix = fix }
  end
  return function(...) add("finding", ...) end, function(...) add("note", ...) end
end

local function place(pool, key)
  return ("%s:%d"):format(pool.file, pool.lines[key] or pool.line)
end

local function number_of(pool, key)
  return tonumber(pool.values[key] or "")
end

--- "backends.app", and which of its servers where there are several.
local function name_of(backend, server)
  return #backend.servers > 1 and ("backends.%s, server %s"):format(backend.name, server.address)
    or "backends." .. backend.name
end

local function limit_of(backend, server)
  local limit = server.max_conns or backend.max_conns
  return limit and limit > 0 and limit or nil
end

-- --- the kernel ---

local function about_descriptors(add, facts)
  local limit, limits = facts.descriptors, facts.settings.limits
  if not limit then
    return
  end
  local most = limits.connections
  local share = math.ceil(most / facts.workers)
  if most > 0 and 2 * share + DESCRIPTORS_OWN > limit then
    add("limits.connections", ("%s may have %d open files in each process; %d clients over %d "
      .. "workers "
      .. "are %d for each of them, and each client may need two, its own and that of PHP.")
      :format(facts.limits_of, limit, most, facts.workers, share),
      ("Set LimitNOFILE=%d in the unit (`systemctl edit moongate`; elsewhere `ulimit -Hn`), or "
        .. "lower "
        .. "limits.connections to %d."):format(2 * share + DESCRIPTORS_OWN,
        math.max(1, math.floor((limit - DESCRIPTORS_OWN) / 2) * facts.workers)))
  elseif most == 0 and limit < DESCRIPTORS_FEW then
    add("open files", ("%s may have %d open files in each process, which is about %d clients; more "
      .. "wait in the listen queue."):format(facts.limits_of, limit,
      math.max(0, math.floor((limit - DESCRIPTORS_OWN) / 2))),
      "Set LimitNOFILE=524288 in the unit, or raise `ulimit -Hn` of what starts it.")
  end
end

local function about_backlog(add, facts)
  for _, listener in ipairs(facts.settings.listen) do
    if facts.somaxconn and listener.backlog and listener.backlog > facts.somaxconn then
      add("listen " .. listener.address, ("its backlog is %d, and the kernel cuts that to "
        .. "net.core.somaxconn, which is %d."):format(listener.backlog, facts.somaxconn),
        ("sysctl -w net.core.somaxconn=%d, and the same in /etc/sysctl.d/.")
          :format(listener.backlog))
    end
  end
end

-- --- one pool ---

--- What a pool says of itself, whoever uses it.
local function about_pool(add, note, facts, pool)
  local values = pool.values
  local backlog = number_of(pool, "listen.backlog") or BACKLOG_OF_FPM
  if facts.somaxconn and backlog > facts.somaxconn then
    add(place(pool, "listen.backlog"), ("listen.backlog of pool '%s' is %d, and the kernel cuts "
      .. "that "
      .. "to net.core.somaxconn, which is %d."):format(pool.name, backlog, facts.somaxconn),
      ("sysctl -w net.core.somaxconn=%d, and the same in /etc/sysctl.d/."):format(backlog))
  end
  if values["security.limit_extensions"] == "" then
    add(place(pool, "security.limit_extensions"), ("security.limit_extensions of pool '%s' is "
      .. "empty: "
      .. "PHP runs every file that it is asked for, an upload too."):format(pool.name),
      "Set security.limit_extensions = .php")
  end
  local path = pools_of.listen(pool)
  if path and (values["listen.mode"] or ""):find("[2367]$") then
    add(place(pool, "listen.mode"), ("listen.mode of pool '%s' is %s: every user of this machine "
      .. "may "
      .. "run PHP as '%s'."):format(pool.name, values["listen.mode"], values.user or "?"),
      "Set listen.mode = 0660, and listen.group to a group of the workers' user.")
  end
  if pools_of.seconds(values.request_terminate_timeout or "0") == 0 then
    note(place(pool, "request_terminate_timeout"), ("request_terminate_timeout of pool '%s' is "
      .. "off: a "
      .. "script that hangs keeps its child after its client has been told 504."):format(pool.name),
      "Set it to a little more than read_timeout of the backend.")
  end
end

-- --- a server of a backend and its pool ---

local function about_children(add, note, name, limit, pool, others)
  local children = number_of(pool, "pm.max_children")
  if not children then
    return
  end
  local at = place(pool, "pm.max_children")
  if not limit then
    add(name, ("max_conns is not set, and pool '%s' (%s) has pm.max_children = %d: what is more "
      .. "than "
      .. "that waits inside PHP-FPM's listen queue, in no order and without a bound on time.")
      :format(pool.name, at, children), ("Set max_conns = %d."):format(children))
  elseif limit > children then
    add(name, ("max_conns is %d, and pool '%s' (%s) has pm.max_children = %d: %d requests would "
      .. "wait in "
      .. "PHP-FPM's listen queue, where Moongate can't see them.")
      :format(limit, pool.name, at, children, limit - children),
      ("Set max_conns = %d, or pm.max_children = %d where there is memory for that.")
        :format(children, limit))
  elseif others > children then
    add(name, ("this and other backends may open %d connections to pool '%s' (%s), which has "
      .. "pm.max_children = %d."):format(others, pool.name, at, children),
      ("Let their max_conns be %d together."):format(children))
  elseif others < children then
    note(name, ("max_conns is %d, and pool '%s' (%s) has pm.max_children = %d: %d of them get "
      .. "nothing "
      .. "from here."):format(limit, pool.name, at, children, children - others),
      "That is right where others use the pool, or where one is kept for its status page.")
  end
end

local function about_times(add, backend, pool)
  local ends = pools_of.seconds(pool.values.request_terminate_timeout)
  if ends and ends > backend.read_timeout + 60 then
    add(place(pool, "request_terminate_timeout"), ("request_terminate_timeout of pool '%s' is %d "
      .. "s, and "
      .. "read_timeout of backends.%s is %g s: a child works on for a client who has long been "
      .. "told 504.")
      :format(pool.name, ends, backend.name, backend.read_timeout),
      ("Set request_terminate_timeout to a little more than %g s, or raise read_timeout.")
        :format(backend.read_timeout))
  end
end

local function about_keepalive(add, name, backend, pool)
  local idle = pools_of.seconds(pool.values["pm.process_idle_timeout"] or "10")
  if backend.keepalive > 0 and pool.values.pm == "ondemand" and idle
    and backend.keepalive_idle > idle then
    add(name, ("keepalive_idle is %g s, and pool '%s' (%s) ends idle children after %g s "
      .. "(pm.process_idle_timeout): a kept connection keeps its child for longer.")
      :format(backend.keepalive_idle, pool.name, place(pool, "pm.process_idle_timeout"), idle),
      ("Set keepalive_idle to at most %g s, or keepalive = 0."):format(idle))
  end
end

--- PHP-FPM's own pages, which the backend asks for.
local function about_pages(add, name, backend, pool)
  for _, page in ipairs({
    { "ping.path", backend.health and backend.health.ping, "health",
      "every check fails, and the server is taken out" },
    { "pm.status_path", backend.health and backend.health.status, "health.status",
      "every check fails, and the server is taken out" },
    { "pm.status_path", backend.load, "load", "its numbers are not there" },
  }) do
    local key, wanted, setting, effect = page[1], page[2], page[3], page[4]
    if wanted and pool.values[key] ~= wanted then
      add(name, ("'%s' asks for %s, and pool '%s' (%s) has %s: %s."):format(setting, wanted,
        pool.name, place(pool, key), pool.values[key] and ("%s = %s"):format(key, pool.values[key])
          or "no " .. key, effect), ("Set %s = %s in the pool."):format(key, wanted))
    end
  end
end

--- How many connections all backends may open to a pool.
local function connections_to(facts, pool)
  local sum = 0
  for _, backend in ipairs(facts.settings.backends) do
    for _, server in ipairs(backend.servers) do
      if facts.is_pool(pool, server.address) then
        sum = sum + (limit_of(backend, server) or 0)
      end
    end
  end
  return sum
end

local function pool_of(facts, address)
  for _, pool in ipairs(facts.pools) do
    if facts.is_pool(pool, address) then
      return pool
    end
  end
  return nil
end

--- Whether the file of a pool lets the workers' user connect.
local function fits(facts, pool)
  local values = pool.values
  local owner, group, others = (values["listen.mode"] or "0660"):match("(%d)(%d)(%d)$")
  local function may(digit)
    return tonumber(digit or 0) % 4 >= 2 -- connecting is writing
  end
  if not pools_of.listen(pool) or not facts.user or facts.user == "root" then
    return true
  elseif values["listen.owner"] == facts.user then
    return may(owner)
  elseif facts.groups[values["listen.group"] or "root"] then
    return may(group)
  end
  return may(others)
end

--- What to do about a server that can't be used.
local function remedy(facts, pool, problem)
  if not pool then
    return "No pool that was read listens there: start its PHP-FPM, or name its address."
  elseif problem:find("may not connect", 1, true) or not fits(facts, pool) then
    return ("In %s set listen.group to a group of '%s', and listen.mode = 0660 (they are %s and "
      .. "%s, and "
      .. "listen.owner is %s); restart PHP-FPM."):format(place(pool, "listen"), facts.user or "?",
      pool.values["listen.group"] or "unset", pool.values["listen.mode"] or "0660",
      pool.values["listen.owner"] or "unset")
  end
  local version = pool.file:match("^/etc/php/([%d.]+)/fpm/")
  return ("Pool '%s' of %s listens there when PHP-FPM runs: `systemctl start php%s-fpm`.")
    :format(pool.name, place(pool, "listen"), version or "")
end

local function about_server(add, note, facts, backend, server)
  local name = name_of(backend, server)
  local pool = pool_of(facts, server.address)
  local problem = facts.server_problem(server.address, server.owner)
  if problem then
    add(name, ("%s: %s."):format(server.address, problem), remedy(facts, pool, problem))
  elseif pool and not fits(facts, pool) then
    note(place(pool, "listen"), ("the file says that the workers' user '%s' may not connect to "
      .. "pool "
      .. "'%s', but it may: PHP-FPM has not been started with it."):format(facts.user, pool.name),
      remedy(facts, pool, "may not connect"))
  end
  if not pool then
    return
  end
  about_children(add, note, name, limit_of(backend, server), pool, connections_to(facts, pool))
  about_times(add, backend, pool)
  about_keepalive(add, name, backend, pool)
  about_pages(add, name, backend, pool)
end

-- --- all of it ---

local function about_folders(add, facts)
  for _, folder in ipairs(facts.folders) do
    local problem = facts.folder_problem(folder.path)
    if problem then
      add(folder.where, ("the workers' user '%s' can't read %s: %s."):format(facts.user or "?",
        folder.path, problem), ("`namei -l %s` shows which folder stands in the way.")
        :format(folder.path))
    end
  end
end

--- What there is to say, in the order in which an operator would look at it.
---@param facts moongate.cli.Facts
---@return moongate.cli.Finding[]
function M.of(facts)
  local list = {}
  local add, note = adder(list)
  if facts.settings then
    about_descriptors(add, facts)
    about_backlog(add, facts)
    about_folders(add, facts)
    for _, backend in ipairs(facts.settings.backends) do
      for _, server in ipairs(backend.servers) do
        about_server(add, note, facts, backend, server)
      end
    end
  end
  for _, pool in ipairs(facts.pools) do
    about_pool(add, note, facts, pool)
  end
  return list
end

return M
