-- Two machines with a network of their own: network namespaces with a cable between them. They have
-- the files and the processes of this machine, so a server on one of them can also be asked by a
-- unix socket. Where the system permits no namespaces, two addresses of the loopback stand for
-- them, and that is said on standard output: there everything can be reached.
--
--   local pair = machines.start()
--   server.start({ launcher = pair:launcher("proxy"), ... })
--   pair:stop()                         -- after all that runs on them

local net = require("tests.support.net")
local poll = require("tests.support.poll")
local process = require("tests.support.process")

local machines = {}

---@class Machines
---@field apart boolean they are namespaces
---@field proxy string address of the first
---@field php string address of the second
---@field port integer that is free on the second
---@field silent string "host:port" of one that answers nothing, as behind a firewall that drops
---  packets
---@field holder? Process
---@field close? fun() of the one that is silent
---@field pids? table<string, integer> of a process on each
local Machines = {}
Machines.__index = Machines

-- Run in the namespace of the first machine. The second one's lasts as long as the process whose
-- number is told.
local SCRIPT = [[
  ip link set lo up
  setpriv --pdeathsig TERM unshare --net sleep infinity &
  php=$!
  until [ "$(readlink /proc/$php/ns/net)" != "$(readlink /proc/$$/ns/net)" ] &&
    [ "$(cat /proc/$php/comm)" = sleep ]; do
    kill -0 $php
    sleep 0.01
  done
  ip link add cable type veth peer name cable netns $php
  ip address add 192.0.2.1/24 dev cable
  ip link set cable up
  ip neighbour add 192.0.2.9 lladdr 02:00:00:00:00:09 dev cable nud permanent
  nsenter --net=/proc/$php/ns/net sh -euc '
    ip link set lo up
    ip address add 192.0.2.2/24 dev cable
    ip link set cable up'
  echo "ready $php"
  exec sleep infinity
]]

-- Root needs no other rights; who is somebody else has these in a namespace of users.
local function unsharing()
  if process.is_root() then
    return { "unshare", "--net" }
  end
  return { "unshare", "--user", "--map-current-user", "--keep-caps", "--net" }
end

local function on_loopback(reason)
  io.stdout:write(("no machines of their own, two loopback addresses in their place: this system "
    .. "permits no network namespaces (%s)\n"):format(reason))
  local silent, close = net.silent()
  return setmetatable({
    apart = false, proxy = "127.0.0.1", php = "127.0.0.2", port = net.free_port("*"),
    silent = silent, close = close,
  }, Machines)
end

--- Starts them.
---@return Machines
function machines.start()
  local dir = process.tempdir("machines")
  local argv = unsharing()
  for _, word in ipairs({ "sh", "-euc", SCRIPT }) do
    argv[#argv + 1] = word
  end
  local holder = process.spawn({ argv = argv, stdout = dir .. "/out", stderr = dir .. "/err" })
  local second = poll.try(function()
    return (process.read_file(dir .. "/out") or ""):match("ready (%d+)") or not holder:alive()
  end, poll.PATIENCE)
  if type(second) ~= "string" then
    holder:stop()
    local said = process.read_file(dir .. "/err") or ""
    return on_loopback(said ~= "" and said:match("[^\n]*") or holder:ending())
  end
  return setmetatable({
    apart = true, proxy = "192.0.2.1", php = "192.0.2.2", port = 9000, silent = "192.0.2.9:9000",
    holder = holder, pids = { proxy = holder.pid, php = tonumber(second) },
  }, Machines)
end

--- The words in front of a program's own that have it run on a machine.
---@param name "proxy"|"php"
---@return string[]
function Machines:launcher(name)
  if not self.apart then
    return {}
  end
  local place = ("/proc/%d/ns/"):format(self.pids[name])
  if process.is_root() then
    return { "nsenter", "--net=" .. place .. "net" }
  end
  return { "nsenter", "--user=" .. place .. "user", "--preserve-credentials",
    "--net=" .. place .. "net" }
end

--- Runs a program on a machine to its end.
---@param name "proxy"|"php"
---@param options SpawnOptions as for process.run
---@return RunResult
function Machines:run(name, options)
  local argv = self:launcher(name)
  for _, word in ipairs(options.argv) do
    argv[#argv + 1] = word
  end
  return process.run({ argv = argv, cwd = options.cwd, env = options.env })
end

--- Ends them; their network goes with what is left on them.
function Machines:stop()
  if self.apart then
    self.holder:stop()
  else
    self.close()
  end
end

return machines
