-- Redis and memcached of a test's own, unpacked by tools/install into build/deps, each on a free
-- port of the loopback and in a temporary folder; and OpenResty's client libraries for them.

local net = require("tests.support.net")
local poll = require("tests.support.poll")
local process = require("tests.support.process")
local stage = require("tests.support.stage")

local store = {}

---@class Store
---@field port integer
---@field address string "127.0.0.1:port"
---@field unix? string "unix:/path", of Redis
local Store = {}
Store.__index = Store

local function spawn(self)
  local root = process.cwd() .. "/build/deps/stores"
  self.process = process.spawn({
    argv = { root .. "/usr/bin/" .. self.argv[1], unpack(self.argv, 2) },
    env = { LD_LIBRARY_PATH = stage.libraries(root) },
    cwd = self.dir,
    stdout = self.dir .. "/log",
    stderr = self.dir .. "/log",
  })
  poll.wait(function()
    assert(self.process:alive(), self.argv[1] .. ": " .. (process.read_file(self.dir .. "/log")
      or ""))
    return net.listening(self.address) and (not self.unix or net.listening(self.unix))
  end, self.argv[1] .. " to listen")
end

local function start(argv, port, dir, path)
  local self = setmetatable({
    argv = argv, port = port, dir = dir, address = "127.0.0.1:" .. port, unix = path,
  }, Store)
  spawn(self)
  return self
end

--- Starts Redis, which keeps nothing on disk.
---@return Store
function store.redis()
  local port, dir = net.free_port(), process.tempdir("redis")
  local path = dir .. "/redis.sock"
  return start({ "redis-server", "--port", tostring(port), "--bind", "127.0.0.1", "--save", "",
    "--appendonly", "no", "--dir", dir, "--unixsocket", path, "--unixsocketperm", "777",
    "--daemonize", "no" }, port, dir, "unix:" .. path)
end

--- Starts memcached.
---@return Store
function store.memcached()
  local port, dir = net.free_port(), process.tempdir("memcached")
  local argv = { "memcached", "-l", "127.0.0.1", "-p", tostring(port), "-U", "0", "-m", "64" }
  if process.is_root() then -- it wants to be told
    argv[#argv + 1] = "-u"
    argv[#argv + 1] = "root"
  end
  return start(argv, port, dir)
end

--- Starts it again where it was.
function Store:restart()
  spawn(self)
end

--- Ends it; safe to call twice.
function Store:stop()
  self.process:stop(5)
end

--- Ends it at once.
function Store:kill()
  self.process:kill("KILL")
  poll.wait(function()
    return not self.process:alive()
  end, self.argv[1] .. " to end")
end

--- What LUA_PATH must be for a script that uses the libraries, where workers can read them.
---@return string
function store.lua_path()
  local copy = stage.copy("build/deps/resty/usr/share/lua/5.1")
  return copy .. "/?.lua;;"
end

return store
