-- A small blocking HTTP client for what wrk cannot do: ten thousand connections that stay open, and
-- requests strictly one after another. Plain system calls through FFI, because LuaSocket's select
-- ends at 1024 files. Called by measure.lua.

local ffi = require("ffi")

ffi.cdef([[
struct bench_sockaddr { uint16_t family, port; uint32_t addr; uint8_t zero[8]; };
struct bench_timeval { long sec, usec; };
struct bench_rlimit { unsigned long soft, hard; };
int socket(int domain, int type, int protocol);
int connect(int fd, const struct bench_sockaddr *addr, unsigned int len);
int setsockopt(int fd, int level, int name, const void *value, unsigned int len);
ssize_t send(int fd, const void *data, size_t len, int flags);
ssize_t recv(int fd, void *data, size_t len, int flags);
int getrlimit(int resource, struct bench_rlimit *limit);
int inet_pton(int family, const char *text, void *address);
uint16_t htons(uint16_t port);
int close(int fd);
char *strerror(int number);
]])

local C = ffi.C
local AF_INET, SOCK_STREAM, SOCK_CLOEXEC = 2, 1, 0x80000
local SOL_SOCKET, SO_RCVTIMEO, IPPROTO_TCP, TCP_NODELAY = 1, 20, 6, 1
local MSG_NOSIGNAL = 0x4000
local RLIMIT_NOFILE = 7
local ROOM = 65536

local client = {}

---@class BenchConnection
---@field fd integer
local BenchConnection = {}
BenchConnection.__index = BenchConnection

local buffer = ffi.new("char[?]", ROOM)

local function fail(what)
  error(what .. ": " .. ffi.string(C.strerror(ffi.errno())), 3)
end

--- How many files this process may have open.
---@return integer
function client.files_allowed()
  local limit = ffi.new("struct bench_rlimit")
  C.getrlimit(RLIMIT_NOFILE, limit)
  return tonumber(limit.soft)
end

--- Connects; nothing takes longer than ten seconds.
---@param address string "127.0.0.1:port"
---@return BenchConnection
function client.open(address)
  local host, port = address:match("^(.*):(%d+)$")
  local addr = ffi.new("struct bench_sockaddr", { family = AF_INET })
  addr.port = C.htons(tonumber(port))
  local to = ffi.new("uint32_t[1]")
  assert(C.inet_pton(AF_INET, host, to) == 1, "not an address")
  addr.addr = to[0]
  local fd = C.socket(AF_INET, bit.bor(SOCK_STREAM, SOCK_CLOEXEC), 0)
  if fd < 0 then
    fail("socket")
  end
  local timeout = ffi.new("struct bench_timeval", { sec = 10 })
  C.setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, timeout, ffi.sizeof(timeout))
  C.setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, ffi.new("int[1]", 1), 4)
  if C.connect(fd, addr, ffi.sizeof(addr)) ~= 0 then
    fail("connect")
  end
  return setmetatable({ fd = fd }, BenchConnection)
end

-- Whether these bytes are a whole reply, by its Content-Length or its last chunk.
local function complete(text)
  local _, head = text:find("\r\n\r\n", 1, true)
  if not head then
    return false
  end
  local length = text:lower():match("\r\ncontent%-length: *(%d+)")
  if length then
    return #text - head >= tonumber(length)
  end
  return text:sub(-5) == "0\r\n\r\n"
end

--- A request on the connection, which stays open. Raises an error unless the status is 200.
---@param path string
---@param host string
---@param body? string makes it a POST
---@param headers? string further lines of the head
---@return string reply head and body as they came
function BenchConnection:ask(path, host, body, headers)
  local request = ("%s %s HTTP/1.1\r\nHost: %s\r\n%s"):format(body and "POST" or "GET", path, host,
    headers or "")
  if body then
    request = ("%sContent-Type: application/x-www-form-urlencoded\r\nContent-Length: %d\r\n\r\n%s")
      :format(request, #body, body)
  else
    request = request .. "\r\n"
  end
  if C.send(self.fd, request, #request, MSG_NOSIGNAL) ~= #request then
    fail("send")
  end
  local text = ""
  repeat
    local count = C.recv(self.fd, buffer, ROOM, 0)
    if count <= 0 then
      fail(count == 0 and "the proxy closed the connection" or "recv")
    end
    text = text .. ffi.string(buffer, count)
  until complete(text)
  assert(text:sub(1, 13) == "HTTP/1.1 200 ", text)
  return text
end

function BenchConnection:close()
  C.close(self.fd)
end

return client
