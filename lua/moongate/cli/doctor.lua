-- moongate.cli.doctor owns `moongate doctor`: a look at an installation, and what to change. It
-- collects the facts; what they mean is in moongate.cli.findings. Called by cli.commands.

local common = require("moongate.cli.common")
local core = require("moongate.core.commands")
local file = require("moongate.cli.file")
local findings = require("moongate.cli.findings")
local fs = require("moongate.base.fs")
local json = require("moongate.base.json")
local pools = require("moongate.cli.pools")
local registry = require("moongate.route.registry")
local remote = require("moongate.cli.remote")
local servers = require("moongate.cli.servers")

local M = {
  usage = "doctor [ROUTE.lua] [OPTIONS]",
  summary = "look at an installation, and say what to change",
  help = [[
Compares a route with the limits of the kernel, with what its workers' user may open and read, and
with the pools of PHP-FPM: their children with `max_conns`, their times, pages and sockets. Connects
to the servers of the route as that user, and sends nothing to them. Without a route it looks at the
pools alone. Exit status 0: there is nothing to change; notes do not count.
]],
  options = {
    {
      name = "--pool-dir", value = "DIR", many = true,
      help = "where pools are, in place of /etc/php/*/fpm/pool.d (may be repeated)",
    },
    { name = "--user", value = "NAME[:GROUP]", help = "who the workers are when started as root" },
    remote.CONTROL_OPTION,
    { name = "--json", help = "as JSON" },
  },
  min = 0, max = 1,
}

--- The instance of the route, if one runs, and whose limit of open files counts.
local function about_instance(facts, args, list)
  local pid = "self"
  local status, problem, value, address = remote.get(
    { control = args.control, route = args[1] }, "/status")
  facts.limits_of = "A process that this shell starts"
  if status == 0 then
    pid, facts.workers = value.pid, #(value.workers or {})
    facts.limits_of = ("The instance at %s (pid %d)"):format(address, value.pid)
    for _, one in ipairs(value.degraded) do
      if one.what == "load" then
        list[#list + 1] = { level = "finding", where = address, what = one.text,
          fix = "Mend the route, `moongate check` it, `moongate reload`." }
      end
    end
  elseif status == 2 then
    return problem
  else
    list[#list + 1] = { level = "note", where = "control", what = problem:match("^[^;]*") .. ".",
      fix = "Where one should run: `systemctl status moongate`, or `--control ADDR`." }
  end
  local limits = file.text(("/proc/%s/limits"):format(pid)) or ""
  facts.descriptors = tonumber(limits:match("Max open files%s+%S+%s+(%d+)"))
  return nil
end

--- The folders of the disk that the route names.
local function folders_of(settings)
  local list, seen = {}, {}
  local function add(path, where)
    if type(path) == "string" and not seen[path] then
      seen[path] = true
      list[#list + 1] = { path = path, where = where }
    end
  end
  for _, backend in ipairs(settings.backends) do
    add(backend.root, "backends." .. backend.name .. ".root")
  end
  for _, site in ipairs(registry.sites) do
    add(site.root, "php.site")
  end
  for _, entry in ipairs(registry.decisions) do
    add(entry.decision.root, tostring(entry.source))
  end
  return list
end

--- The groups of the user that this process is by now.
local function groups()
  local set = {}
  local pipe = io.popen("id -Gn 2>/dev/null")
  for name in ((pipe and pipe:read("*a")) or ""):gmatch("%S+") do
    set[name] = true
  end
  if pipe then
    pipe:close()
  end
  return set
end

--- The number of workers that the route would have.
local function workers_of(settings)
  return type(settings.workers) == "number" and settings.workers > 0 and settings.workers
    or math.max(2, core.cpus())
end

local function print_text(list, pool_count, route)
  for _, one in ipairs(list) do
    local mark = one.level == "note" and "note: " or ""
    io.stdout:write(("%s%s\n  %s\n  %s\n\n"):format(mark, one.where,
      one.what, one.fix))
  end
  local count = 0
  for _, one in ipairs(list) do
    count = count + (one.level == "finding" and 1 or 0)
  end
  io.stdout:write(("%s to change; looked at %s and %d pool%s of PHP-FPM\n"):format(
    count == 0 and "nothing" or count == 1 and "one thing" or count .. " things",
    route or "no route", pool_count, pool_count == 1 and "" or "s"))
end

---@param args table
---@return integer status, string|nil message
function M.main(args)
  local facts = { route = args[1], is_pool = function(pool, address)
    return pools.is_at(core, pool, address)
  end, server_problem = servers.problem, folder_problem = function(path)
    local readable, reason = core.readable(path .. "/.")
    return not readable and reason or nil
  end, somaxconn = tonumber((file.text("/proc/sys/net/core/somaxconn"))), folders = {} }
  local list = {}
  local problems
  -- What only root may read is read before the route, which is loaded as the workers' user.
  facts.pools, problems = pools.read(core, args.pool_dir or pools.folders(core))
  for _, problem in ipairs(problems) do
    list[#list + 1] = { level = "finding", where = "pools", what = problem,
      fix = "Run this as a user who may read it." }
  end
  if args[1] then
    local wrong = about_instance(facts, args, list)
    if wrong then
      return 2, wrong
    end
    facts.settings = common.load(args)
    if not facts.settings then
      return 1
    end
    facts.user, facts.groups, facts.folders = fs.user_name(), groups(), folders_of(facts.settings)
    facts.workers = facts.workers or workers_of(facts.settings)
  end
  for _, one in ipairs(findings.of(facts)) do
    list[#list + 1] = one
  end
  local failed = false
  for _, one in ipairs(list) do
    failed = failed or one.level == "finding"
  end
  if args.json then
    io.stdout:write(json.encode({ findings = json.list(list), pools = #facts.pools }), "\n")
  else
    print_text(list, #facts.pools, args[1])
  end
  return failed and 1 or 0
end

return M
