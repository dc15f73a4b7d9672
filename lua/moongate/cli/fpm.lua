-- moongate.cli.fpm owns the private PHP of `serve` and `run --php`: which program, its
-- configuration, and what core.run needs to start and stop it. Called by those two commands.

local common = require("moongate.cli.common")
local core = require("moongate.core.commands")

local M = {}

-- Newest first.
local VERSIONS = { "8.5", "8.4", "8.3", "8.2", "8.1", "8.0", "7.4" }

-- A changed page is to be seen at once: this is where pages are written.
local SETTING = "opcache.revalidate_freq=0"

M.INSTALL = "no PHP was found: neither php-fpm nor php-cgi is installed; "
  .. "on Debian and Ubuntu: `apt-get install php-fpm`"

--- A program of PATH, or of where servers are installed.
---@param name string
---@return string|nil path
local function find_program(name)
  local folders = (os.getenv("PATH") or "/usr/bin:/bin") .. ":/usr/local/sbin:/usr/sbin:/sbin"
  for folder in folders:gmatch("[^:]+") do
    local path = folder .. "/" .. name
    if core.stat(path) == "file" and core.executable(path) then
      return path
    end
  end
end

--- The first program that is there, with or without a version in its name.
---@param base string
---@return string|nil path
local function newest(base)
  for _, version in ipairs(VERSIONS) do
    local path = find_program(base .. version)
    if path then
      return path
    end
  end
  return find_program(base)
end

--- Does an account exist on this machine?
local function has_account(name)
  for line in io.lines("/etc/passwd") do
    if line:match("^([^:]*):") == name then
      return true
    end
  end
  return false
end

--- Whose PHP processes these are when we are root: those of the workers.
---@param user string|nil as on the command line
---@return string
local function account(user)
  return user or (has_account("www-data") and "www-data") or "nobody"
end

--- The address as PHP writes it.
local function listen_of(address)
  return address:match("^unix:(.*)$") or address
end

--- The configuration of a pool that only this server uses.
---@param dir string a folder of our own
---@param address string
---@param user string|nil whose processes; nil: our own
---@param group string|nil
---@return string
function M.config(dir, address, user, group)
  local lines = {
    "[global]",
    -- Nothing is written there, thanks to -O; but PHP wants a file that it can open, which our
    -- stderr need not be.
    "error_log = " .. dir .. "/php-fpm.log",
    "log_level = warning",
    "daemonize = no",
    "[moongate]",
    "listen = " .. listen_of(address),
    -- Two processes for each core, and never fewer than four: they wait more than they run.
    "pm = ondemand",
    ("pm.max_children = %d"):format(math.max(4, core.cpus() * 2)),
    "pm.process_idle_timeout = 30s",
    "pm.status_path = /status",
    "ping.path = /ping",
    "security.limit_extensions = .php",
  }
  local function add(format, ...)
    lines[#lines + 1] = format:format(...)
  end
  if address:match("^unix:") then
    add("listen.mode = 0600")
  elseif address:match("^127%.") then
    add("listen.allowed_clients = 127.0.0.1")
  end
  if user then
    add("user = %s", user)
    add("listen.owner = %s", user)
  else
    -- A page may read the environment of whoever started us, as with any program of theirs; it
    -- must not read root's.
    add("clear_env = no")
  end
  if group then
    add("group = %s", group)
  end
  return table.concat(lines, "\n") .. "\n"
end

--- php-fpm and its configuration.
---@return string|nil problem
local function use_fpm(opts, program, address, dir)
  local user = core.uid() == 0 and account(opts.user) or nil
  local config = dir .. "/php-fpm.conf"
  local problem = common.write(config, M.config(dir, address, user, user and opts.group))
  if problem then
    return problem
  end
  opts.companion = { program, "-F", "-O", "-d", SETTING, "-y", config }
  if user == "root" then
    table.insert(opts.companion, "-R")
  end
  return nil
end

--- php-cgi needs no configuration.
local function use_cgi(opts, program, address)
  opts.companion = {
    find_program("env"), "PHP_FCGI_CHILDREN=4", "PHP_FCGI_MAX_REQUESTS=1000", program,
    "-d", SETTING, "-b", listen_of(address),
  }
end

--- Which PHP is installed.
---@return string|nil program nil where there is none that may be used
---@return boolean|string is_cgi it is php-cgi; the problem where there is no program
local function find(opts)
  local program = newest("php-fpm")
  if program then
    return program, false
  end
  program = newest("php-cgi")
  if not program then
    return nil, M.INSTALL
  elseif core.uid() == 0 and opts.user ~= "root" then
    -- It cannot change its user.
    return nil, "php-cgi would run as root: install php-fpm (`apt-get install php-fpm`), "
      .. "or say `--user root`"
  end
  return program, true
end

--- Adds a private PHP to what core.run is told.
---@param opts table for core.run; `companion`, `companion_socket` and `cleanup` are set
---@param address string|nil where PHP listens; nil: a socket in a folder of our own
---@return string|nil problem
---@return string|nil address where it listens
function M.attach(opts, address)
  local program, is_cgi = find(opts)
  if not program then
    return is_cgi
  end
  local dir = core.tempdir("moongate-")
  address = address or "unix:" .. dir .. "/php.sock"
  opts.companion_socket, opts.cleanup = address, dir
  if is_cgi then
    use_cgi(opts, program, address)
    return nil, address
  end
  return use_fpm(opts, program, address, dir), address
end

return M
