-- Raw connections for scenarios: bytes out, bytes in, always with a deadline. http.lua stands on
-- it; scenarios about malformed requests, pipelining and hang-ups use it directly.

local ffi = require("ffi")
local poll = require("tests.support.poll")
local process = require("tests.support.process")
local socket = require("socket")
local unix = require("socket.unix")

ffi.cdef("ssize_t recv(int fd, void *bytes, size_t size, int flags);")

local net = {}

---@class Connection
---@field ended? string why the peer's side is over: "closed", "reset", or the socket's error
local Connection = {}
Connection.__index = Connection
net.Connection = Connection

local DONTWAIT, EAGAIN, ECONNRESET = 0x40, 11, 104
local PIECE = 65536
local room = ffi.new("char[?]", PIECE)

-- The sockets that keep the ports of `net.free_port`: bound, and nothing more. Whoever wants one of
-- these ports by its number can bind it, since both have SO_REUSEADDR; but the kernel gives it to
-- nobody who leaves the choice to it, neither for a listener nor for the near end of a connection.
local reserved, RESERVED_MOST = {}, 256

--- A TCP port that nobody uses, and that no other test gets while this test file runs. A connection
--- to it is refused until somebody listens.
---@param address? string of which it is free, "127.0.0.1" by default; "*" for all of IPv4
---@return integer
function net.free_port(address)
  local holder = assert(socket.tcp4())
  assert(holder:setoption("reuseaddr", true))
  assert(holder:bind(address or "127.0.0.1", 0))
  local _, port = holder:getsockname()
  reserved[#reserved + 1] = holder
  if #reserved > RESERVED_MOST then
    table.remove(reserved, 1):close()
  end
  return tonumber(port)
end

local function listens_on_port(port, file)
  local wanted = (":%04X$"):format(port)
  for line in file:lines() do
    -- sl local_address rem_address st ...; state 0A is listening.
    local address, state = line:match("^%s*%d+: (%S+) %S+ (%x%x) ")
    if state == "0A" and address:find(wanted) then
      return true
    end
  end
  return false
end

local function listens_on_path(path, file)
  for line in file:lines() do
    -- Num RefCount Protocol Flags Type St Inode Path; flag 10000 is accepting.
    local flags, name = line:match("^%S+ %S+ %S+ (%x+) %S+ %S+%s+%d+ (.*)$")
    if name == path and flags == "00010000" then
      return true
    end
  end
  return false
end

--- Whether somebody listens, from the kernel's tables: a connection made to find out would be
--- noticed (PHP-FPM keeps a child waiting for it, the responder counts it).
---@param address string "host:port" (of any local address) or "unix:/path"
---@return boolean
function net.listening(address)
  local path = address:match("^unix:(.*)$")
  local port = tonumber(address:match(":(%d+)$"))
  for _, name in ipairs(path and { "unix" } or { "tcp", "tcp6" }) do
    local file = io.open("/proc/net/" .. name)
    if file then
      local found
      if path then
        found = listens_on_path(path, file)
      else
        found = listens_on_port(port, file)
      end
      file:close()
      if found then
        return true
      end
    end
  end
  return false
end

--- An address where a connection is neither taken nor refused, as behind a firewall that drops
--- packets: the queue of who listens there is full.
---@return string address
---@return fun() close
function net.silent()
  local listener, held = assert(socket.tcp()), assert(socket.tcp())
  assert(listener:bind("127.0.0.1", 0))
  assert(listener:listen(0)) -- Linux lets one connection more wait
  local host, port = listener:getsockname()
  assert(held:connect(host, port))
  return ("%s:%s"):format(host, port), function()
    held:close()
    listener:close()
  end
end

--- How many clients' connections to a TCP port a process has, those that the client has closed
--- among them, and how many wait in the queue of any process. Exact when the process is stopped.
---@param pid integer
---@param address string "host:port"
---@return integer held
---@return integer queued
function net.connections(pid, address)
  local own, held, queued = {}, 0, 0
  for _, what in pairs(process.descriptors(pid)) do
    own[what:match("^socket:%[(%d+)%]$") or ""] = true
  end
  local wanted = (":%04X$"):format(tonumber(address:match(":(%d+)$")))
  for line in io.lines("/proc/net/tcp") do
    -- sl local_address rem_address st queues timer retransmits uid timeout inode; 01: established,
    -- 0A: listening.
    local here, state, inode = line:match(
      "^%s*%d+: (%S+) %S+ (%x%x) %S+ %S+ %S+ +%d+ +%d+ (%d+)")
    if state and state ~= "0A" and here:find(wanted) then
      held = held + (own[inode] and 1 or 0)
      queued = queued + (inode == "0" and state == "01" and 1 or 0)
    end
  end
  return held, queued
end

--- Connects to "host:port", "[v6]:port" or "unix:/path".
---@param address string
---@param options? { timeout?: number, from?: string } seconds for the connect and for each later
---  send, poll.PATIENCE by default; the local address to come from
---@return Connection|nil
---@return string|nil problem
function net.try_connect(address, options)
  options = options or {}
  local path = address:match("^unix:(.*)$")
  local sock = path and unix.stream() or socket.tcp()
  if not sock then
    return nil, "cannot make a socket"
  end
  local timeout = options.timeout or poll.PATIENCE
  sock:settimeout(timeout)
  local ok, problem
  if path then
    ok, problem = sock:connect(path)
  else
    local host, port = address:match("^%[?(.-)%]?:(%d+)$")
    if options.from then
      assert(sock:bind(options.from, 0))
    end
    ok, problem = sock:connect(host, tonumber(port))
  end
  if not ok then
    sock:close()
    return nil, problem
  end
  if not path then
    sock:setoption("tcp-nodelay", true)
  end
  return setmetatable({ sock = sock, timeout = timeout, buffer = "" }, Connection)
end

--- The same; raises an error when nobody answers.
---@param address string
---@param options? table
---@return Connection
function net.connect(address, options)
  local conn, problem = net.try_connect(address, options)
  if not conn then
    error("connect to " .. address .. ": " .. problem, 2)
  end
  return conn
end

--- Sends all of it. Raises an error when the peer has gone or does not read in time.
---@param bytes string
---@return Connection self
function Connection:send(bytes)
  local ok, problem = self:try_send(bytes)
  if not ok then
    error("send: " .. problem, 2)
  end
  return self
end

--- Sends as much as the peer takes.
---@param bytes string
---@return boolean all
---@return string|nil problem
---@return integer|nil sent how many bytes went out before the problem
function Connection:try_send(bytes)
  self.sock:settimeout(self.timeout, "t")
  local ok, problem, sent = self.sock:send(bytes)
  if ok then
    return true
  end
  return false, problem, sent
end

--- Sends in pieces, waiting between them for as long as a test needs to see them apart.
---@param pieces string[]
---@param pause number seconds
---@return Connection self
function Connection:drip(pieces, pause)
  for _, piece in ipairs(pieces) do
    self:send(piece)
    socket.sleep(pause)
  end
  return self
end

--- What is there, without waiting. LuaSocket calls a reset "closed" too, so the kernel is asked.
---@return string bytes
---@return string|nil ended
local function take(sock)
  local n = tonumber(ffi.C.recv(sock:getfd(), room, PIECE, DONTWAIT))
  if n > 0 then
    return ffi.string(room, n), nil
  elseif n == 0 then
    return "", "closed"
  end
  local errno = ffi.errno()
  return "", errno == ECONNRESET and "reset" or errno ~= EAGAIN and "errno " .. errno or nil
end

-- Waits until there is something to read, or for so many seconds.
function Connection:wait_readable(left)
  socket.select({ self.sock }, nil, left)
end

--- Waits until bytes have come or the peer has ended, and takes what is there into the buffer.
---@param deadline number clock time
---@return boolean more false when the time or the stream is over
function Connection:fill(deadline)
  if self.ended then
    return false
  end
  local left = deadline - socket.gettime()
  if left <= 0 then
    return false
  end
  self:wait_readable(left)
  local bytes
  bytes, self.ended = take(self.sock)
  if #bytes > 0 then
    self.buffer = #self.buffer > 0 and self.buffer .. bytes or bytes
  end
  return #bytes > 0 or not self.ended
end

--- The clock time until which something that must come is waited for.
---@param timeout? number seconds, where poll.PATIENCE is too little
---@return number
function Connection:deadline(timeout)
  return socket.gettime() + math.max(timeout or self.timeout, poll.PATIENCE)
end

local function complain(self, what)
  error(("%s; %s after %q"):format(
    what, self.ended or "no more bytes in time", self.buffer:sub(-200)), 3)
end

--- Exactly so many bytes.
---@param count integer
---@param timeout? number
---@return string
function Connection:read(count, timeout)
  local deadline = self:deadline(timeout)
  if count > PIECE * 4 then
    return self:read_long(count, deadline)
  end
  while #self.buffer < count do
    if not self:fill(deadline) then
      complain(self, ("expected %d bytes, got %d"):format(count, #self.buffer))
    end
  end
  local bytes = self.buffer:sub(1, count)
  self.buffer = self.buffer:sub(count + 1)
  return bytes
end

-- Collects a long body in a list: joining a growing string for each piece would be quadratic.
function Connection:read_long(count, deadline)
  local pieces, have = {}, 0
  while true do
    local piece = self.buffer:sub(1, count - have)
    self.buffer = self.buffer:sub(#piece + 1)
    pieces[#pieces + 1] = piece
    have = have + #piece
    if have == count then
      return table.concat(pieces)
    end
    if not self:fill(deadline) then
      complain(self, ("expected %d bytes, got %d"):format(count, have))
    end
  end
end

--- All bytes up to and with the given ones.
---@param mark string plain text
---@param timeout? number
---@return string
function Connection:read_until(mark, timeout)
  local deadline = self:deadline(timeout)
  while true do
    local _, last = self.buffer:find(mark, 1, true)
    if last then
      return self:read(last)
    end
    if not self:fill(deadline) then
      complain(self, ("expected %q"):format(mark))
    end
  end
end

--- Whatever comes next: at least one byte, or "" at the end of the stream.
---@param timeout? number
---@return string
function Connection:read_some(timeout)
  local deadline = self:deadline(timeout)
  while #self.buffer == 0 do
    if not self:fill(deadline) then
      if not self.ended then
        complain(self, "expected a byte")
      end
      return ""
    end
  end
  local bytes = self.buffer
  self.buffer = ""
  return bytes
end

--- Everything up to the end of the stream. Raises an error when the peer does not close in time.
---@param timeout? number
---@return string
function Connection:read_all(timeout)
  local deadline = self:deadline(timeout)
  local pieces = { self.buffer }
  self.buffer = ""
  while self:fill(deadline) do
    pieces[#pieces + 1] = self.buffer
    self.buffer = ""
  end
  pieces[#pieces + 1] = self.buffer
  self.buffer = table.concat(pieces)
  if not self.ended then
    complain(self, "expected the end of the stream")
  end
  local bytes = self.buffer
  self.buffer = ""
  return bytes
end

--- Whether the peer closes within the time, without having sent anything.
---@param timeout? number
---@return boolean
function Connection:closes(timeout)
  local deadline = self:deadline(timeout)
  while #self.buffer == 0 and self:fill(deadline) do
    -- fill waits by itself
  end
  return #self.buffer == 0 and self.ended ~= nil
end

--- Whether the peer stays silent and keeps the connection open for that long.
---@param seconds number
---@return boolean
function Connection:silent(seconds)
  self:fill(socket.gettime() + math.max(seconds, 0.001)) -- at 0 it looks, too
  return #self.buffer == 0 and not self.ended
end

--- Says that nothing more will be sent; reading goes on.
---@return Connection self
function Connection:finish()
  self.sock:shutdown("send")
  return self
end

--- Closes; safe to call twice.
function Connection:close()
  if self.sock then
    self.sock:close()
    self.sock = nil
    self.ended = self.ended or "closed here"
  end
end

--- Ends the connection by a reset instead of an orderly close.
function Connection:reset()
  self.sock:setoption("linger", { on = true, timeout = 0 })
  self:close()
end

return net
