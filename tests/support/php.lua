-- A real PHP-FPM with a configuration of its own in a temporary folder and a unix socket, for the
-- scenarios with PHP. Works as root (the pool then runs as the user the proxy's workers become)
-- and as an ordinary user.

local poll = require("tests.support.poll")
local process = require("tests.support.process")
local rig = require("tests.support.rig")
local stage = require("tests.support.stage")

local php = {}

---@class PhpOptions
---@field pages? string a folder of the project with the pages; it is copied
---@field root? string or a folder that lies ready, readable by the pool's user
---@field children? integer 4 by default
---@field ini? table<string, string> more PHP settings
---@field values? table<string, true> which of them a request may change
---@field extensions? string[] paths of PHP extensions to load
---@field pool? string[] more lines of the pool's section
---@field global? string[] more lines of the global section
---@field system? PhpSystem the PHP-FPM of another system, in that one's root
---@field mounts? table<string, string> folder of that system -> the folder of this one that it is
---@field launcher? string[] a command that becomes PHP-FPM: words in front of its own
---@field more? table<string, string[]> further pools, of one child each unless their lines say
---  otherwise: name -> lines

---@class Php
---@field address string "unix:/path", as a backend's ADDR
---@field more table<string, string> address of each further pool
---@field root string the folder of the pages
---@field program string
---@field dir string of its configuration, sockets and logs; the pool's user may write below `data`
---@field data string a folder that the pool's user owns
---@field user? string the pool's user, when that is not the user of the tests
---@field launcher string[]
local Php = {}
Php.__index = Php

---@class PhpSystem a system in a folder, as tools/system makes it
---@field folder string "/" is this machine, where only mounts differ
---@field program string path of its PHP-FPM there
---@field version string "7.4"

local function succeeds(command)
  return os.execute(command .. " >/dev/null 2>&1") == 0
end

--- The program, or nil where no PHP-FPM is installed.
---@return string|nil
function php.program()
  for _, dir in ipairs({ "/usr/sbin", "/usr/local/sbin", "/usr/bin", "/usr/local/bin" }) do
    for _, name in ipairs({ "php-fpm8.2", "php-fpm8.3", "php-fpm8.4", "php-fpm" }) do
      local path = dir .. "/" .. name
      if succeeds("test -x " .. path) then
        return path
      end
    end
  end
  return nil
end

--- The PHP-FPM of a system in a folder, or nil where it has none.
---@param folder string
---@return PhpSystem|nil
function php.system(folder)
  local list = process.run({ argv = { "sh", "-c", 'ls "$1"/usr/sbin/php-fpm*', "sh", folder } })
  local program, version = list.stdout:match("(/usr/sbin/php%-fpm([%d.]+))\n")
  return program and { folder = folder, program = program, version = version } or nil
end

-- The command that becomes a program of another system. It finds the files of this test where they
-- are here.
local function entering(system, dir, mounts)
  local words = { process.cwd() .. "/tools/system", "enter", system.folder }
  local function add(...)
    for _, word in ipairs({ ... }) do
      words[#words + 1] = word
    end
  end
  if system.folder ~= "/" then
    add("--empty", "/tmp", "--bind", dir, dir)
  end
  for at, folder in pairs(mounts) do
    add("--empty", at:match("^/[^/]+"), "--bind", folder, at)
  end
  add("--")
  return words
end

local SETTINGS = {
  ["display_errors"] = "0",
  ["log_errors"] = "1",
  ["html_errors"] = "0",
  ["error_reporting"] = "32767",
  ["output_buffering"] = "0",
  ["memory_limit"] = "128M",
  ["post_max_size"] = "64M",
  ["upload_max_filesize"] = "32M",
  ["session.use_strict_mode"] = "1",
  ["opcache.enable"] = "0", -- a scenario may change a page and ask again at once
}

local function sorted(settings)
  local names = {}
  for name in pairs(settings) do
    names[#names + 1] = name
  end
  table.sort(names)
  return names
end

-- The section of one pool; `more` are lines that come last, so that they win.
local function pool_lines(self, options, pool, children, more)
  local lines = {
    "[" .. pool .. "]",
    ("listen = %s/%s.sock"):format(self.dir, pool == "www" and "php" or pool),
    "listen.mode = 0666",
    "pm = static",
    "pm.max_children = " .. children,
    "ping.path = /ping",
    "pm.status_path = /status",
    "catch_workers_output = yes",
  }
  if self.user then
    lines[#lines + 1] = "user = " .. self.user
  end
  for _, path in ipairs(options.extensions or {}) do
    lines[#lines + 1] = "php_admin_value[extension] = " .. path
  end
  for _, line in ipairs(more) do
    lines[#lines + 1] = line
  end
  local settings = {
    ["session.save_path"] = self.data,
    ["upload_tmp_dir"] = self.data,
    ["sys_temp_dir"] = self.data,
  }
  for name, value in pairs(SETTINGS) do
    settings[name] = value
  end
  for name, value in pairs(options.ini or {}) do
    settings[name] = value
  end
  for _, key in ipairs(sorted(settings)) do
    -- A request may change what is no admin value.
    local kind = (options.values or {})[key] and "php_value" or "php_admin_value"
    lines[#lines + 1] = ("%s[%s] = %s"):format(kind, key, settings[key])
  end
  return table.concat(lines, "\n") .. "\n"
end

local function configuration(self, options)
  local lines = {
    "[global]",
    "pid = " .. self.dir .. "/php-fpm.pid",
    "error_log = " .. self.log_path,
    "daemonize = no",
  }
  for _, line in ipairs(options.global or {}) do
    lines[#lines + 1] = line
  end
  local text = table.concat(lines, "\n") .. "\n"
    .. pool_lines(self, options, "www", options.children or 4, options.pool or {})
  for _, name in ipairs(sorted(options.more or {})) do
    text = text .. pool_lines(self, options, name, 1, options.more[name])
    self.more[name] = ("unix:%s/%s.sock"):format(self.dir, name)
  end
  return text
end

--- The pool's user as root, which the proxy's workers become, too: www-data where it exists. As an
--- ordinary user there is no choice, and the answer is nil.
---@return string|nil
function php.user()
  if not process.is_root() then
    return nil
  end
  return succeeds("getent passwd www-data") and "www-data" or "nobody"
end

--- Starts PHP-FPM and waits until it accepts.
---@param options PhpOptions
---@return Php
function php.start(options)
  local dir = process.tempdir("php")
  local system = options.system
  local self = setmetatable({
    program = system and system.program
      or assert(php.program(), "no php-fpm: run tools/install run"),
    launcher = system and entering(system, dir, options.mounts or {}) or options.launcher or {},
    dir = dir,
    address = "unix:" .. dir .. "/php.sock",
    more = {},
    root = options.root or stage.copy(assert(options.pages, "pages or root"), dir),
    data = dir .. "/data",
    log_path = dir .. "/php-fpm.log",
    user = php.user(),
  }, Php)
  assert(succeeds("mkdir -m 755 " .. process.quote(self.data)))
  if self.user then
    assert(succeeds(("chown %s %s"):format(self.user, process.quote(self.data))))
  end
  process.write_file(dir .. "/php-fpm.conf", configuration(self, options))
  self:restart()
  return self
end

--- Starts it again, with the configuration and the socket it had.
function Php:restart()
  os.remove(self.log_path)
  local argv = { unpack(self.launcher) }
  for _, word in ipairs({ self.program, "-F", "-y", self.dir .. "/php-fpm.conf" }) do
    argv[#argv + 1] = word
  end
  self.process = process.spawn({
    argv = argv,
    stderr = self.dir .. "/stderr",
  })
  local ok, problem = pcall(self.wait_ready, self)
  if not ok then
    self.process:stop(2)
    error(problem .. "\n" .. self:log() .. (process.read_file(self.dir .. "/stderr") or ""), 2)
  end
end

-- Not by connecting: a bare connection keeps a child waiting for five seconds.
function Php:wait_ready()
  poll.wait(function()
    assert(self.process:alive(), "php-fpm " .. self.process:ending())
    return self:log():find("ready to handle connections", 1, true)
  end, "php-fpm to start")
end

--- Has it take itself over in place (USR2), and waits until the new one is ready. Without
--- process_control_timeout that drops what it is working on.
function Php:reload()
  local function times_ready()
    local _, count = self:log():gsub("ready to handle connections", "")
    return count
  end
  local before = times_ready()
  self.process:kill("USR2")
  poll.wait(function()
    return times_ready() > before
  end, "php-fpm to be reloaded")
end

--- PHP-FPM's own log.
---@return string
function Php:log()
  return process.read_file(self.log_path) or ""
end

--- The pids of the children that run pages.
---@return integer[]
function Php:children()
  return process.children(self.process.pid)
end

--- Whether anything holds a connection to its socket, from the kernel's list of sockets.
---@return integer connections accepted and still open
function Php:connections()
  local path = self.address:match("^unix:(.*)$")
  local count = 0
  for line in (process.read_file("/proc/net/unix") or ""):gmatch("[^\n]+") do
    -- Num RefCount Protocol Flags Type St Inode Path; St 03 is connected.
    local state, name = line:match("^%S+ %S+ %S+ %S+ %S+ (%S+)%s+%d+ (.*)$")
    if name == path and state == "03" then
      count = count + 1
    end
  end
  return count
end

--- A PHP-FPM and a rig before it; both end with `r:stop()`.
---@param options PhpOptions
---@param rigged fun(fpm: Php): RigOptions `responder` and, by default, `servers` are set here
---@return Rig
---@return Php
function php.rig(options, rigged)
  local fpm = php.start(options)
  local ok, r = pcall(function()
    local start = rigged(fpm)
    start.responder, start.servers = false, start.servers or { fpm.address }
    return rig.start(start)
  end)
  if not ok then
    fpm:stop()
    error(r, 0)
  end
  r.back = { stop = function() fpm:stop() end }
  return r, fpm
end

--- Ends it; safe to call twice.
function Php:stop()
  self.process:stop(10)
end

return php
