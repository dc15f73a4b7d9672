-- Processes and temporary folders of a test: the only place that forks, signals and waits. The
-- other modules of tests/support stand on it, scenarios use it for commands that end by themselves
-- (`process.run`).
--
-- What a test starts is ended by its pid (or the process group that this pid leads), never by a
-- name. Three nets lie below a test that fails half way: the caller's teardown; a registry that is
-- emptied when this module is dropped (busted drops it after each file, the interpreter when it
-- exits); and PR_SET_PDEATHSIG, which ends the children of a test run that was killed.

local ffi = require("ffi")
local poll = require("tests.support.poll")

ffi.cdef([[
int fork(void);
int execv(const char *path, char *const argv[]);
int execvp(const char *file, char *const argv[]);
int open(const char *path, int flags, ...);
int close(int fd);
int dup2(int from, int to);
int dup(int fd);
int pipe(int fds[2]);
ssize_t read(int fd, void *bytes, size_t n);
struct mg_pollfd { int fd; short events, revents; };
int poll(struct mg_pollfd *fds, unsigned long count, int milliseconds);
int socketpair(int domain, int type, int protocol, int fds[2]);
int close_range(unsigned int first, unsigned int last, int flags);
int setpgid(int pid, int pgid);
int setenv(const char *name, const char *value, int overwrite);
int unsetenv(const char *name);
int chdir(const char *path);
int chmod(const char *path, unsigned int mode);
ssize_t readlink(const char *path, char *buf, size_t size);
int prctl(int option, unsigned long a, unsigned long b, unsigned long c, unsigned long d);
int waitpid(int pid, int *status, int options);
int kill(int pid, int sig);
int fcntl(int fd, int command, ...);
struct mg_limit { unsigned long soft, hard; };
int prlimit(int pid, int resource, const struct mg_limit *new, struct mg_limit *old);
int getpid(void);
int getppid(void);
unsigned int getuid(void);
unsigned int umask(unsigned int mask);
char *mkdtemp(char *template);
char *getcwd(char *buf, size_t size);
char *strerror(int errnum);
void _exit(int status);
]])

local C = ffi.C

local O_RDONLY, O_WRONLY, O_CREAT, O_APPEND = 0, 1, 64, 1024
local PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
local F_DUPFD = 0
local FIRST_SOCKET = 3 -- where systemd puts what it hands over
local WNOHANG = 1
local EXEC_FAILED = 127

local SIGNALS = {
  HUP = 1, INT = 2, QUIT = 3, KILL = 9, USR1 = 10, USR2 = 12, PIPE = 13, TERM = 15, CONT = 18,
  STOP = 19, SEGV = 11,
}

local process = {}

---@class Process
---@field pid integer
---@field name string the program, for messages
---@field code? integer exit status, once it has exited
---@field signal? integer the signal that ended it
---@field adopted? boolean it was started by another process
local Process = {}
Process.__index = Process

local running = {} ---@type table<integer, Process>
local folders = {} ---@type table<string, boolean>

local function last_error()
  return ffi.string(C.strerror(ffi.errno()))
end

--- The folder the tests were started in: the top of the project.
---@return string
function process.cwd()
  local buffer = ffi.new("char[4096]")
  assert(C.getcwd(buffer, 4096) ~= nil, "getcwd")
  return ffi.string(buffer)
end

--- Whether the tests run as root, where servers drop to another user.
---@return boolean
function process.is_root()
  return C.getuid() == 0
end

local CAP_SYS_PTRACE = 2 ^ 19

--- Whether the descriptors and the memory of other users' processes can be looked at. Root of a
--- container may not; nobody may look at a process that was root before.
---@return boolean
function process.may_inspect()
  local status = process.read_file("/proc/self/status") or ""
  local low = tonumber(status:match("CapEff:%s+%x*(%x%x%x%x%x%x%x%x)"), 16)
  return math.floor(low / CAP_SYS_PTRACE) % 2 == 1
end

--- The pid of the test run itself.
---@return integer
function process.pid()
  return C.getpid()
end

---@param path string
---@return string|nil content nil when it cannot be read
function process.read_file(path)
  local file = io.open(path, "rb")
  if not file then
    return nil
  end
  local content = file:read("*a")
  file:close()
  return content
end

--- Writes a file that everybody may read.
---@param path string
---@param content string
function process.write_file(path, content)
  local file = assert(io.open(path, "wb"))
  assert(file:write(content))
  assert(file:close())
  process.chmod(path, "644")
end

---@param path string
---@param mode string octal, as for chmod(1)
function process.chmod(path, mode)
  if C.chmod(path, tonumber(mode, 8)) ~= 0 then
    error("chmod " .. path .. ": " .. last_error(), 2)
  end
end

--- Quotes one word for sh.
---@param word string
---@return string
function process.quote(word)
  return "'" .. word:gsub("'", "'\\''") .. "'"
end

--- Makes a folder that every user may enter, below the one of the run (tools/test); it is removed
--- with all it holds when the test file is over. Sockets are put there too, so the name is short (a
--- socket path is at most 107 bytes).
---@param prefix? string
---@return string path
function process.tempdir(prefix)
  local template = (os.getenv("TMPDIR") or "/tmp") .. "/" .. (prefix or "test") .. "-XXXXXX"
  local buffer = ffi.new("char[?]", #template + 1, template)
  if C.mkdtemp(buffer) == nil then
    error("mkdtemp " .. template .. ": " .. last_error(), 2)
  end
  local path = ffi.string(buffer)
  folders[path] = true
  process.chmod(path, "755")
  return path
end

--- Removes a folder made by `process.tempdir` before its time.
---@param path string
function process.remove(path)
  assert(folders[path], "not a folder of this test: " .. path)
  folders[path] = nil
  os.execute("rm -rf -- " .. process.quote(path))
end

-- Leaves these sockets open for the program, as systemd does, and nothing else: a kept copy of a
-- test's socket would hide its end from the peer.
local function hand_over(sockets)
  local count, far = #sockets, {}
  for i = 1, count do -- out of the way of each other first
    far[i] = C.fcntl(sockets[i], F_DUPFD, ffi.cast("int", 512))
  end
  for i = 1, count do
    C.dup2(far[i], FIRST_SOCKET + i - 1)
  end
  C.close_range(FIRST_SOCKET + count, 0xffffffff, 0)
  if count > 0 then
    C.setenv("LISTEN_PID", tostring(C.getpid()), 1)
    C.setenv("LISTEN_FDS", tostring(count), 1)
  end
end

-- Runs in the child; never returns. Nothing here may raise: two copies of the test run would go on.
local function exec(options, argv, streams, parent)
  C.setpgid(0, 0)
  C.prctl(PR_SET_PDEATHSIG, SIGNALS.TERM, 0, 0, 0)
  if C.getppid() ~= parent then
    C._exit(EXEC_FAILED)
  end
  C.umask(18) -- 022: what a test writes can be read by the user that servers drop to
  for fd = 0, 2 do
    C.dup2(streams[fd], fd)
  end
  hand_over(options.sockets or {})
  for name, value in pairs(options.env or {}) do
    if value then
      C.setenv(name, value, 1)
    else
      C.unsetenv(name)
    end
  end
  if not options.cwd or C.chdir(options.cwd) == 0 then
    -- By its path it is executed or not; execvp would give what is no program to a shell.
    local by_path = options.argv[1]:find("/", 1, true)
    C[by_path and "execv" or "execvp"](argv[0], ffi.cast("char *const *", argv))
  end
  C._exit(EXEC_FAILED)
end

--- Two connected sockets. A program whose output goes to one of them cannot open it by its name in
--- /proc, as under a supervisor that collects logs.
---@return integer here
---@return integer there
function process.socketpair()
  local pair = ffi.new("int[2]")
  assert(C.socketpair(1, 1, 0, pair) == 0, "socketpair")
  return pair[0], pair[1]
end

--- A pipe.
---@return integer here to read from
---@return integer there
function process.pipe()
  local pair = ffi.new("int[2]")
  assert(C.pipe(pair) == 0, "pipe")
  return pair[0], pair[1]
end

--- What there is to read from a pipe or a socket now, up to 64 KB.
---@param fd integer
---@return string bytes "" for nothing
function process.read_some(fd)
  local bytes, p = ffi.new("char[65536]"), ffi.new("struct mg_pollfd[1]", { { fd, 1, 0 } })
  if C.poll(p, 1, 0) ~= 1 then
    return ""
  end
  return ffi.string(bytes, math.max(0, tonumber(C.read(fd, bytes, 65536))))
end

---@param fd integer
function process.close(fd)
  C.close(fd)
end

local function open_stream(path, flags)
  if type(path) == "number" then
    return C.dup(path)
  end
  local fd = C.open(path or "/dev/null", flags, ffi.cast("int", 420)) -- 0644
  if fd < 0 then
    error("open " .. tostring(path) .. ": " .. last_error(), 3)
  end
  return fd
end

---@class SpawnOptions
---@field argv string[] program (looked for on PATH) and arguments
---@field env? table<string, string|false> set, or removed, on top of the environment of the tests
---@field cwd? string
---@field stdin? string path, /dev/null by default
---@field stdout? string|integer path of a file to append to, /dev/null by default; or a descriptor
---@field stderr? string|integer likewise
---@field sockets? integer[] descriptors that it gets from 3 on, with LISTEN_FDS and LISTEN_PID

--- Starts a program in a process group of its own.
---@param options SpawnOptions
---@return Process
function process.spawn(options)
  local argv = ffi.new("const char *[?]", #options.argv + 1)
  for i, word in ipairs(options.argv) do
    argv[i - 1] = word
  end
  local streams = {
    [0] = open_stream(options.stdin, O_RDONLY),
    open_stream(options.stdout, O_WRONLY + O_CREAT + O_APPEND),
    open_stream(options.stderr, O_WRONLY + O_CREAT + O_APPEND),
  }
  io.stdout:flush()
  io.stderr:flush()
  local parent = C.getpid()
  local pid = C.fork()
  if pid == 0 then
    exec(options, argv, streams, parent)
  end
  local failure = last_error()
  for fd = 0, 2 do
    C.close(streams[fd])
  end
  if pid < 0 then
    error("fork: " .. failure, 2)
  end
  C.setpgid(pid, pid) -- done on both sides: whoever comes first
  local self = setmetatable({ pid = pid, name = options.argv[1] }, Process)
  running[pid] = self
  return self
end

--- Whether it is still running; notes how it ended as soon as it has.
---@return boolean
function Process:alive()
  if self.code or self.signal then
    return false
  end
  local status = ffi.new("int[1]")
  local got = C.waitpid(self.pid, status, WNOHANG)
  if got == 0 or got < 0 and self.adopted and not process.gone(self.pid) then
    return true
  end
  running[self.pid] = nil
  if got < 0 then
    self.code = -1
    return false
  end
  local signal = bit.band(status[0], 127)
  if signal == 0 then
    self.code = bit.band(bit.rshift(status[0], 8), 255)
  else
    self.signal = signal
  end
  return false
end

--- Whether there is no such process any more, or only its exit status is left to be asked for.
---@param pid integer
---@return boolean
function process.gone(pid)
  local stat = process.read_file(("/proc/%d/stat"):format(pid))
  local state = stat and stat:match("%) (%u)")
  return not state or state == "Z" or state == "X"
end

--- Whether descendants whose parent has ended become children of the test run.
---@param on boolean
function process.inherit(on)
  C.prctl(PR_SET_CHILD_SUBREAPER, on and 1 or 0, 0, 0, 0)
end

--- A process that one of the test's own has started, to be ended like these. Its exit status is
--- known if `inherit` was on when its parent ended.
---@param pid integer
---@param name string for messages
---@return Process
function process.adopt(pid, name)
  local self = setmetatable({ pid = pid, name = name, adopted = true }, Process)
  running[pid] = self
  return self
end

--- How it ended, in words.
---@return string
function Process:ending()
  if self:alive() then
    return "still running"
  elseif self.signal then
    return "ended by signal " .. self.signal
  end
  return "exit status " .. self.code
end

---@param name string a signal's name without SIG
function Process:kill(name)
  assert(SIGNALS[name], "unknown signal")
  if self:alive() then
    C.kill(self.pid, SIGNALS[name])
  end
end

-- Its ending, or nil when it is still running after so many seconds.
local function ends_within(self, seconds)
  return poll.try(function()
    return not self:alive() and self:ending()
  end, seconds)
end

--- Waits for the end. Returns nil if it is still running at the deadline.
---@param timeout? number seconds, where poll.PATIENCE is too little
---@return string|nil ending as `ending` says it
function Process:wait(timeout)
  return ends_within(self, math.max(timeout or 0, poll.PATIENCE))
end

--- Ends it by TERM, and if that is not enough by KILL to it and to its children. Safe to call
--- twice.
---@param timeout? number seconds to leave between the two, 10 by default
---@return boolean polite false when it had to be killed
function Process:stop(timeout)
  self:kill("TERM")
  if ends_within(self, timeout or 10) then
    return true
  end
  C.kill(-self.pid, SIGNALS.KILL)
  poll.wait(function()
    return not self:alive()
  end, "the end of " .. self.name)
  return false
end

--- Sends a signal to any process, for children of a server that was started here.
---@param pid integer
---@param name string
---@return boolean sent false when there is no such process
function process.signal(pid, name)
  assert(pid > 1, "a pid")
  assert(SIGNALS[name], "unknown signal")
  return C.kill(pid, SIGNALS[name]) == 0
end

local function stands(pid)
  return (process.read_file(("/proc/%d/status"):format(pid)) or ""):find("State:%s+T") ~= nil
end

--- Stops a process, and waits until it stands: signals that come before that overtake the stop.
---@param pid integer
function process.hold(pid)
  process.signal(pid, "STOP")
  poll.wait(function()
    return stands(pid)
  end, "a process to stand")
end

--- Lets it go on, if it stands: a leak check at its end does not survive another CONT.
---@param pid integer
function process.release(pid)
  if stands(pid) then
    process.signal(pid, "CONT")
  end
end

--- The pids of a process's children, from /proc.
---@param pid integer
---@return integer[]
function process.children(pid)
  local text = process.read_file(("/proc/%d/task/%d/children"):format(pid, pid)) or ""
  local list = {}
  for word in text:gmatch("%d+") do
    list[#list + 1] = tonumber(word)
  end
  return list
end

--- A number of a process's status, in bytes where the kernel says kB.
---@param pid integer
---@param key string as in /proc/PID/status: "RssAnon", "Threads"
---@return number|nil nil when there is no such process
function process.status(pid, key)
  local text = process.read_file(("/proc/%d/status"):format(pid)) or ""
  local number, unit = text:match("\n" .. key .. ":%s+(%d+) ?(%a*)")
  return number and tonumber(number) * (unit == "kB" and 1024 or 1)
end

local LIMITS = { FSIZE = 1, NOFILE = 7, AS = 9 }

--- Changes a limit of a running process, as prlimit(1) does; what it was is returned. The hard one
--- stays, so that it can be raised again.
---@param pid integer
---@param name "FSIZE"|"NOFILE"|"AS"
---@param soft number
---@return number before
function process.limit(pid, name, soft)
  local old, new = ffi.new("struct mg_limit"), ffi.new("struct mg_limit")
  assert(C.prlimit(pid, LIMITS[name], nil, old) == 0, "prlimit")
  new.soft, new.hard = soft, old.hard
  if C.prlimit(pid, LIMITS[name], new, nil) ~= 0 then
    error("prlimit: " .. last_error(), 2)
  end
  return tonumber(old.soft)
end

--- What the descriptors of a process stand for: "socket:[123]", "/path", "anon_inode:[eventpoll]".
---@param pid integer
---@return table<integer, string>
function process.descriptors(pid)
  local list, room = {}, ffi.new("char[4096]")
  local pipe = assert(io.popen(("ls /proc/%d/fd 2>/dev/null"):format(pid)))
  for line in pipe:lines() do
    local size = tonumber(C.readlink(("/proc/%d/fd/%s"):format(pid, line), room, 4096))
    if size > 0 then
      list[tonumber(line)] = ffi.string(room, size)
    end
  end
  pipe:close()
  if not next(list) and not process.gone(pid) and process.is_root()
    and not process.may_inspect() then
    error("root may not look into another user's process here: server.inspect() goes to the top of "
      .. "the test file", 2)
  end
  return list
end

---@class RunResult
---@field code? integer exit status
---@field signal? integer
---@field stdout string
---@field stderr string

--- Runs a command to its end and returns all it wrote. Raises an error when it takes too long.
---@param options SpawnOptions `stdin` may also be given as text in `input`
---@param timeout? number seconds, 60 at least
---@return RunResult
function process.run(options, timeout)
  local dir = process.tempdir("run")
  local copy = {}
  for key, value in pairs(options) do
    copy[key] = value
  end
  copy.stdout, copy.stderr = dir .. "/stdout", dir .. "/stderr"
  if options.input then
    copy.stdin = dir .. "/stdin"
    process.write_file(copy.stdin, options.input)
  end
  local child = process.spawn(copy)
  local ended = child:wait(math.max(timeout or 0, 60))
  if not ended then
    child:stop(1)
  end
  local result = {
    code = child.code,
    signal = child.signal,
    stdout = process.read_file(copy.stdout),
    stderr = process.read_file(copy.stderr),
  }
  process.remove(dir)
  if not ended then
    error(("%s did not end; it wrote %q and %q"):format(
      table.concat(options.argv, " "), result.stdout, result.stderr), 2)
  end
  return result
end

-- Servers get the time to end their own children; what is left is killed with its group.
local function clean_up()
  local function all_ended()
    for _, child in pairs(running) do
      if child:alive() then
        return false
      end
    end
    return true
  end
  for pid, child in pairs(running) do
    if child:alive() then
      C.kill(pid, SIGNALS.TERM)
    end
  end
  if not poll.try(all_ended, 3) then
    for pid in pairs(running) do
      C.kill(-pid, SIGNALS.KILL)
    end
    poll.try(all_ended, 3)
  end
  for path in pairs(folders) do
    os.execute("rm -rf -- " .. process.quote(path))
  end
  running, folders = {}, {}
end

-- Lua 5.1 has no finalizer for tables; a proxy has one. Kept in `process`, so it lives as long.
process.guard = newproxy(true)
getmetatable(process.guard).__gc = clean_up

return process
