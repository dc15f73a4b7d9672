-- FastCGI applications of other makers: php-cgi, fcgiwrap, a program on libfcgi, CGI::Fast and
-- uWSGI, each as Debian packages it. tools/install unpacks them into build/deps/apps; it installs
-- uWSGI. Some are started by spawn-fcgi, which gives them a listening socket as
-- descriptor 0.

local net = require("tests.support.net")
local poll = require("tests.support.poll")
local process = require("tests.support.process")
local stage = require("tests.support.stage")

local apps = {}

---@class App
---@field address string for a route's `servers`
---@field dir string
local App = {}
App.__index = App

local ROOT = process.cwd() .. "/build/deps/apps"
apps.ROOT = ROOT

-- What matches a pattern of sh below ROOT, the first of it.
local function find(pattern)
  local list = process.run({ argv = { "sh", "-c", "ls -d ." .. pattern }, cwd = ROOT })
  local found = list.stdout:match("^%.([^\n]+)")
  return ROOT .. (found or error("no " .. ROOT .. pattern .. ": run tools/install test", 3))
end

--- The variables that unpacked programs and their libraries need.
---@return table<string, string>
function apps.environment()
  local perl = ROOT .. "/usr/share/perl5:" .. find("/usr/lib/*/perl5/*")
  return { LD_LIBRARY_PATH = stage.libraries(ROOT), PERL5LIB = perl }
end

-- `argv` gives the command for the socket's path and the folder.
local function start(name, argv, env)
  local dir = process.tempdir(name)
  local path = dir .. "/socket"
  local self = setmetatable({ dir = dir, address = "unix:" .. path }, App)
  local variables = apps.environment()
  for key, value in pairs(env or {}) do
    variables[key] = value
  end
  self.process = process.spawn({
    argv = argv(path, dir), env = variables, cwd = dir,
    stdout = dir .. "/log", stderr = dir .. "/log",
  })
  local ok, problem = pcall(poll.wait, function()
    assert(self.process:alive(), "it has ended")
    return net.listening(self.address)
  end, name .. " to listen")
  if not ok then
    self:stop()
    error(("%s: %s:\n%s"):format(name, problem, process.read_file(dir .. "/log") or ""), 3)
  end
  return self
end

-- Workers of a server that drops to another user connect, too.
local function spawned(path, command)
  local argv = { ROOT .. "/usr/bin/spawn-fcgi", "-s", path, "-M", "0666", "-n", "--" }
  for _, word in ipairs(command) do
    argv[#argv + 1] = word
  end
  return argv
end

--- Starts a program that takes its connections from descriptor 0, by spawn-fcgi.
---@param name string
---@param command string[]
---@param env? table<string, string>
---@return App
function apps.spawn(name, command, env)
  return start(name, function(path)
    return spawned(path, command)
  end, env)
end

--- Starts fcgiwrap, which runs CGI programs, so many at a time.
---@param children integer
---@return App
function apps.fcgiwrap(children)
  return apps.spawn("fcgiwrap", { ROOT .. "/usr/sbin/fcgiwrap", "-f", "-c", tostring(children) })
end

--- Starts `php-cgi -b`, which binds its socket itself.
---@param env table<string, string> PHP_FCGI_CHILDREN and PHP_FCGI_MAX_REQUESTS
---@return App
function apps.php_cgi(env)
  local program = find("/usr/bin/php-cgi[0-9]*")
  return start("php-cgi", function(path)
    return { program, "-n", "-d", "cgi.fix_pathinfo=1", "-d", "display_errors=0", "-b", path }
  end, env)
end

--- Starts uWSGI, which speaks FastCGI here, with a WSGI application in Python.
---@param path string the application's file
---@param processes integer
---@return App
function apps.uwsgi(path, processes)
  return start("uwsgi", function(socket)
    return { "uwsgi", "--plugin", "python3", "--fastcgi-socket", socket, "--chmod-socket=666",
      "--master", "--die-on-term", "--processes", tostring(processes), "--wsgi-file", path }
  end)
end

--- Compiles a C program with libfcgi, and starts it.
---@param source string path below the top of the project
---@param env? table<string, string>
---@return App
function apps.compiled(source, env)
  local dir = process.tempdir("cc")
  local program = dir .. "/" .. source:match("([^/]+)%.c$")
  local libraries = find("/usr/lib/*-linux-gnu")
  local result = process.run({
    argv = { os.getenv("CC") or "gcc", "-O1", "-Wall", "-Wextra", "-Werror", "-pthread",
      "-I" .. ROOT .. "/usr/include", "-o", program, source, libraries .. "/libfcgi.a" },
  }, 60)
  assert(result.code == 0, result.stderr)
  return apps.spawn("libfcgi", { program }, env)
end

--- Ends it; safe to call twice.
function App:stop()
  if self.process:alive() and not self.process:stop(5) then
    self.process:kill("KILL")
  end
end

return apps
