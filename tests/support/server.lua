-- Starts the real binary with a route for a scenario, waits until it serves, and ends it with the
-- checks that every scenario wants: it exits with 0 when told to stop, and no sanitizer complained.
--
--   local s = server.start { route = [[ return { on_request = ... } ]] }
--   http.get(s.address, "/")
--   s:wait_log("connection refused")
--   s:stop()
--
-- `MOONGATE` names another binary than build/moongate (the one built with sanitizers).

local net = require("tests.support.net")
local poll = require("tests.support.poll")
local process = require("tests.support.process")
local stage = require("tests.support.stage")

local server = {}

---@class ServerOptions
---@field route? string text of the script (has a newline or a `return`), or a path: absolute, or
---  below `folder`
---@field folder? string a folder of the project that is copied, with the route in it
---@field files? table<string, string> further files beside the route
---@field serve? string instead of a route: the folder for `moongate serve`
---@field args? string[] more arguments
---@field env? table<string, string|false>
---@field workers? integer 1 by default
---@field address? string where to listen; a free port of the loopback by default
---@field own? boolean the script says where to listen (`address` among it), how many workers there
---  are and whether it is watched; the command line does not
---@field binary? string instead of the one under test
---@field launcher? string[] a command that becomes the server: words in front of its own
---@field stdout? integer a descriptor for standard output; `Server:access` has nothing then
---@field sockets? integer[] listening sockets to hand over, as systemd does
---@field wait? boolean false: does not wait until it serves

---@class Server
---@field address string for http.lua and net.lua
---@field dir string the folder of the route, readable by everybody
---@field process Process the master
---@field temporary string its TMPDIR
---@field route_path string the script
local Server = {}
Server.__index = Server

-- What every server has, and what AddressSanitizer keeps of freed memory where that is measured.
local ASAN = os.getenv("ASAN_OPTIONS") or "detect_leaks=1:abort_on_error=0"

--- The environment of a server whose memory is measured: a sanitizer gives back what is freed.
server.MEASURED = {
  ASAN_OPTIONS = ASAN .. ":quarantine_size_mb=1:thread_local_quarantine_size_kb=64",
}

local SANITIZERS = { "AddressSanitizer", "LeakSanitizer", "UndefinedBehavior", "runtime error:" }

local inspected = false

--- The servers of this test file are looked into by way of /proc. Where root may do so only with
--- processes that stay root, their workers do, unless a scenario names another user.
function server.inspect()
  inspected = process.is_root() and not process.may_inspect()
end

--- The binary under test.
---@return string
function server.binary()
  local path = os.getenv("MOONGATE") or "build/moongate"
  return path:sub(1, 1) == "/" and path or process.cwd() .. "/" .. path
end

-- The sanitizers' settings, and a control listener that is no other server's, unless the caller
-- brings some.
local function environment(extra, temporary, control)
  local env = {
    TMPDIR = temporary,
    MOONGATE_CONTROL = control,
    ASAN_OPTIONS = ASAN,
    UBSAN_OPTIONS = os.getenv("UBSAN_OPTIONS") or "print_stacktrace=1",
  }
  for name, value in pairs(extra or {}) do
    env[name] = value
  end
  return env
end

local function check_binary()
  local file = io.open(server.binary())
  if not file then
    error("there is no " .. server.binary() .. ": run make", 3)
  end
  file:close()
end

--- Runs `moongate ARGS...` to its end, for the commands that do not serve.
---@param args string[]
---@param options? { cwd?: string, env?: table, input?: string, timeout?: number }
---@return RunResult
function server.command(args, options)
  check_binary()
  options = options or {}
  local argv = { server.binary() }
  for _, word in ipairs(args) do
    argv[#argv + 1] = word
  end
  return process.run({
    argv = argv,
    cwd = options.cwd,
    env = environment(options.env),
    input = options.input,
  }, options.timeout)
end

local function is_text(route)
  return route:find("\n", 1, true) ~= nil or route:find("return", 1, true) ~= nil
end

-- Puts the route and its files into place; returns the folder and what to give to the command.
local function prepare(options)
  local dir = options.folder and stage.copy(options.folder) or process.tempdir("route")
  stage.write(dir, options.files or {})
  if options.serve then
    return dir, { "serve", options.serve }
  elseif is_text(options.route) then
    stage.write(dir, { ["route.lua"] = options.route })
    return dir, { "run", dir .. "/route.lua" }
  elseif options.route:sub(1, 1) == "/" then
    return dir, { "run", options.route }
  end
  return dir, { "run", dir .. "/" .. options.route }
end

local function arguments(command, options, address)
  local argv = { unpack(options.launcher or {}) }
  local function add(...)
    for _, word in ipairs({ ... }) do
      argv[#argv + 1] = word
    end
  end
  add(options.binary or server.binary(), unpack(command))
  if not options.own then
    add("--listen", address)
  end
  if not options.serve and not options.own then
    add("--workers", tostring(options.workers or 1), "--no-watch")
  end
  local given = options.args or {}
  add(unpack(given))
  if inspected and not table.concat(given, " "):find("--user", 1, true) then
    add("--user", "root")
  end
  return argv
end

--- Starts a server. Raises an error with all it wrote when it does not come to serve.
---@param options ServerOptions
---@return Server
function server.start(options)
  check_binary()
  local dir, command = prepare(options)
  local logs = process.tempdir("log")
  local address = options.address or "127.0.0.1:" .. net.free_port()
  local self = setmetatable({
    address = address,
    dir = dir,
    stdout_path = logs .. "/stdout",
    stderr_path = logs .. "/stderr",
    temporary = logs .. "/tmp",
    route_path = command[2],
  }, Server)
  assert(os.execute("mkdir -m 755 " .. self.temporary) == 0)
  self.process = process.spawn({
    argv = arguments(command, options, address),
    cwd = dir,
    env = environment(options.env, self.temporary, "unix:" .. logs .. "/control.sock"),
    stdout = options.stdout or self.stdout_path,
    stderr = self.stderr_path,
    sockets = options.sockets,
  })
  if options.wait ~= false then
    local ok, problem = pcall(self.wait_serving, self)
    if not ok then
      self.process:stop(2)
      error(problem, 2)
    end
  end
  return self
end

--- Waits until every worker serves.
---@param timeout? number
function Server:wait_serving(timeout)
  local serving = poll.try(function()
    return self:errors():find("serving", 1, true) or not self.process:alive()
  end, timeout or 120) -- a large script takes long under a sanitizer; one that fails has ended
  if not serving or not self.process:alive() then
    error(("moongate does not serve (%s):\n%s"):format(self.process:ending(), self:errors()), 2)
  end
end

--- All it wrote to stderr so far: the error log.
---@return string
function Server:errors()
  return process.read_file(self.stderr_path) or ""
end

--- All it wrote to stdout so far: the access log.
---@return string
function Server:access()
  return process.read_file(self.stdout_path) or ""
end

--- The error log's size now, to look only at what comes later.
---@return integer
function Server:mark()
  return #self:errors()
end

-- The end of a log, for messages.
local function tail(text)
  return #text > 4000 and "..." .. text:sub(-4000) or text
end

-- A line that is still being written is none: a long one comes in parts.
local function wait_text(read, pattern, what, timeout, from, other)
  return poll.wait(function()
    local text = read():sub((from or 0) + 1):match("^.*\n") or ""
    for line in text:gmatch("[^\n]+") do
      if line:find(pattern) or other and line:find(other) then
        return line
      end
    end
    return text:match(pattern)
  end, ("%q in the %s log"):format(pattern, what), timeout)
end

--- Waits for a line of the error log.
---@param pattern string a Lua pattern; may span lines
---@param timeout? number
---@param from? integer a `mark`: what lies before it does not count
---@param other? string a pattern that will do as well
---@return string line the whole line (or the match where it spans lines)
function Server:wait_log(pattern, timeout, from, other)
  local ok, found = pcall(wait_text, function()
    return self:errors()
  end, pattern, "error", timeout, from, other)
  if not ok then
    error(found .. ":\n" .. tail(self:errors()), 2)
  end
  return found
end

--- Waits for a line of the access log, which is written a moment after the reply.
---@param pattern string a Lua pattern
---@param timeout? number
---@return string line
function Server:wait_access(pattern, timeout)
  local ok, found = pcall(wait_text, function()
    return self:access()
  end, pattern, "access", timeout)
  if not ok then
    error(found .. ":\n" .. tail(self:access()), 2)
  end
  return found
end

-- Reloads -----------------------------------------------------------------------------------------

--- Puts another text in the script's place, in one step.
---@param text string
---@param path? string of another file
function Server:rewrite(text, path)
  path = path or self.route_path
  process.write_file(path .. ".new", text)
  assert(os.rename(path .. ".new", path))
end

--- Waits until a reload has ended.
---@param from integer a `mark` from before it
---@param timeout? number
---@return integer|nil generation nil when it failed
---@return string line what the log says
function Server:wait_reloaded(from, timeout)
  local line = self:wait_log("generation %d+ serves", timeout, from,
    "the reload failed[^\n]*")
  return tonumber(line:match("generation (%d+) serves")), line
end

--- A HUP, with another script or with the same. Raises an error if the new one does not come to
--- serve.
---@param text? string
---@return integer generation
function Server:reload(text)
  local from = self:mark()
  if text then
    self:rewrite(text)
  end
  self.process:kill("HUP")
  local generation, line = self:wait_reloaded(from)
  return generation or error("not reloaded: " .. line, 2)
end

--- A HUP that must come to nothing.
---@param text string
---@return string message all that the log says from there on
function Server:reload_fails(text)
  local from = self:mark()
  self:rewrite(text)
  self.process:kill("HUP")
  local generation, line = self:wait_reloaded(from)
  if generation then
    error("it was reloaded: " .. line, 2)
  end
  return self:errors():sub(from + 1)
end

-- Its processes -----------------------------------------------------------------------------------

--- The pids of the workers, and of what else runs beside the master; but not of the process that
--- clears up behind a worker that has ended, and ends itself.
---@return integer[]
function Server:workers()
  local list = {}
  for _, pid in ipairs(process.children(self.process.pid)) do
    if process.read_file(("/proc/%d/comm"):format(pid)) ~= "mg-settle\n" then
      list[#list + 1] = pid
    end
  end
  return list
end

--- Resident memory of the workers together, in bytes.
---@return integer
function Server:memory()
  local sum = 0
  for _, pid in ipairs(self:workers()) do
    local status = process.read_file(("/proc/%d/status"):format(pid)) or ""
    sum = sum + (tonumber(status:match("VmRSS:%s+(%d+)")) or 0) * 1024
  end
  return sum
end

--- Raises an error if a sanitizer has reported anything.
function Server:check_reports()
  local text = self:errors()
  for _, word in ipairs(SANITIZERS) do
    if text:find(word, 1, true) then
      error("a sanitizer's report:\n" .. text, 2)
    end
  end
end

--- Stops it gracefully and checks how it ended, and that it has left no temporary file. Safe to
--- call twice.
---@param timeout? number seconds, where poll.PATIENCE is too little
function Server:stop(timeout)
  if self.stopped then
    return
  end
  self.stopped = true
  local polite = self.process:stop(math.max(timeout or 0, poll.PATIENCE))
  self:check_reports()
  if not polite then
    error("moongate did not stop on TERM; it wrote:\n" .. self:errors(), 2)
  elseif self.process.code ~= 0 then
    error(("moongate stopped with %s:\n%s"):format(self.process:ending(), self:errors()), 2)
  end
  local left = process.run({ argv = { "ls", self.temporary } }).stdout
  if left ~= "" then
    error("moongate has left behind: " .. left, 2)
  end
end

return server
