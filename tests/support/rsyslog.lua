-- rsyslogd of a test's own, unpacked by tools/install into build/deps: it reads a unix socket and a
-- UDP port with its usual settings, and writes what it has understood of each message.

local net = require("tests.support.net")
local poll = require("tests.support.poll")
local process = require("tests.support.process")
local stage = require("tests.support.stage")

local rsyslog = {}

---@class Rsyslog
---@field path string of the unix socket
---@field port integer of UDP
---@field dir string
local Rsyslog = {}
Rsyslog.__index = Rsyslog

local CONFIGURATION = [[
global(workDirectory="%s" maxMessageSize="8k")
module(load="imuxsock" sysSock.use="off")
input(type="imuxsock" socket="%s" createPath="off")
module(load="imudp")
input(type="imudp" address="127.0.0.1" port="%d")
template(name="parts" type="string"
  string="%%syslogfacility-text%%|%%syslogseverity-text%%|%%hostname%%|]]
  .. [[%%programname%%|%%procid%%|%%msg%%\n")
action(type="omfile" file="%s" template="parts" fileCreateMode="0666")
]]

local function root()
  return process.cwd() .. "/build/deps/rsyslog"
end

local function modules()
  local found = process.run({ argv = { "find", root(), "-name", "imuxsock.so" } }).stdout
  return found:match("^(/[^\n]*/)imuxsock%.so") or error("tools/install test: there is no rsyslog")
end

--- Starts it, or starts it again.
---@param self Rsyslog
local function run(self)
  self.process = process.spawn({
    argv = { root() .. "/usr/sbin/rsyslogd", "-n", "-f", self.dir .. "/conf", "-i",
      self.dir .. "/pid", "-M", modules() },
    env = { LD_LIBRARY_PATH = stage.libraries(root()) },
    stdout = self.dir .. "/log", stderr = self.dir .. "/log",
  })
  poll.wait(function()
    assert(self.process:alive(), process.read_file(self.dir .. "/log"))
    local unix, udp = process.read_file("/proc/net/unix"), process.read_file("/proc/net/udp")
    return unix:find(self.path, 1, true) and udp:find((":%04X 00000000:0000 "):format(self.port))
  end, "rsyslogd's sockets")
end

---@return Rsyslog
function rsyslog.start()
  local dir = process.tempdir("rsyslog")
  process.chmod(dir, "777")
  local self = setmetatable({ dir = dir, path = dir .. "/socket", port = net.free_port() }, Rsyslog)
  process.write_file(dir .. "/conf", CONFIGURATION:format(dir, self.path, self.port,
    dir .. "/messages"))
  run(self)
  process.chmod(self.path, "666")
  return self
end

--- Ends it; `start` starts it with the same files.
function Rsyslog:stop()
  self.process:stop()
end

function Rsyslog:start()
  run(self)
  process.chmod(self.path, "666")
end

--- Waits for a message: "facility|severity|host|program|pid|text".
---@param pattern string
---@return string line
function Rsyslog:wait(pattern)
  return poll.wait(function()
    for line in (process.read_file(self.dir .. "/messages") or ""):gmatch("[^\n]+") do
      if line:find(pattern) then
        return line
      end
    end
  end, ("%q in %s"):format(pattern, self.dir .. "/messages"))
end

return rsyslog
