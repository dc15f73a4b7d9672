-- A reader of datagrams for tests: in the place of a syslog server or of systemd's journal. It has
-- a unix socket or a UDP port, and reads only when the scenario says so.

local poll = require("tests.support.poll")
local process = require("tests.support.process")
local socket = require("socket")
local unix = require("socket.unix")

local datagrams = {}

---@class Datagrams
---@field path? string of a unix socket
---@field port? integer of UDP
local Datagrams = {}
Datagrams.__index = Datagrams

local SIZE = 65536

--- Reads from a unix socket.
---@param path string where nothing is, or a socket that nobody reads
---@return Datagrams
function datagrams.listen(path)
  os.remove(path)
  local self = setmetatable({ path = path, socket = assert(unix.dgram()) }, Datagrams)
  assert(self.socket:bind(path))
  process.chmod(path, "666")
  self.socket:settimeout(0)
  return self
end

--- Reads from a UDP port of the loopback: of 127.0.0.1 and, where there is one, of ::1, since
--- either may be what `localhost` stands for.
---@return Datagrams
function datagrams.udp()
  local self = setmetatable({ socket = assert(socket.udp4()) }, Datagrams)
  assert(self.socket:setsockname("127.0.0.1", 0))
  self.port = tonumber((select(2, self.socket:getsockname())))
  self.socket:settimeout(0)
  local six = socket.udp6()
  if six and six:setsockname("::1", self.port) then
    six:settimeout(0)
    self.six = six
  end
  return self
end

--- The next datagram that is there; nil: none is.
---@return string|nil
function Datagrams:next()
  return (self.socket:receive(SIZE)) or self.six and (self.six:receive(SIZE)) or nil
end

--- Waits for a datagram with the pattern; those before it are dropped.
---@param pattern string
---@return string
function Datagrams:wait(pattern)
  local seen = {}
  local ok, found = pcall(poll.wait, function()
    for text in self.next, self do
      seen[#seen + 1] = text
      if text:find(pattern) then
        return text
      end
    end
  end, ("a datagram with %q"):format(pattern))
  return ok and found or error(("%s; there came:\n%s"):format(found, table.concat(seen, "\n")), 2)
end

--- Closes the socket; its path stays, so that connecting is refused.
function Datagrams:close()
  self.socket:close()
  if self.six then
    self.six:close()
  end
end

return datagrams
