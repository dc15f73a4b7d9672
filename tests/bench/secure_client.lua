-- A blocking client of TLS, and of HTTP/2 with and without it, for what h2load cannot do: to resume
-- a session on purpose, and to keep a thousand idle connections. libssl through FFI, on the sockets
-- of client.lua. Called by secure.lua.

local client = require("tests.bench.client")
local ffi = require("ffi")
local h2 = require("tests.support.h2")

ffi.cdef([[
const void *TLS_client_method(void);
void *SSL_CTX_new(const void *method);
void SSL_CTX_free(void *ctx);
long SSL_CTX_ctrl(void *ctx, int what, long number, void *pointer);
int SSL_CTX_set_alpn_protos(void *ctx, const char *names, unsigned int size);
void *SSL_new(void *ctx);
void SSL_free(void *ssl);
int SSL_set_fd(void *ssl, int fd);
int SSL_connect(void *ssl);
int SSL_read(void *ssl, void *data, int size);
int SSL_write(void *ssl, const void *data, int size);
int SSL_shutdown(void *ssl);
int SSL_session_reused(const void *ssl);
void *SSL_get1_session(void *ssl);
int SSL_set_session(void *ssl, void *session);
void SSL_SESSION_free(void *session);
]])

local C = ffi.C
local ssl = ffi.load("libssl.so.3")
local SET_MIN, SET_MAX = 123, 124 -- SSL_CTRL_SET_MIN_PROTO_VERSION, its other end
local VERSIONS = { ["1.2"] = 0x0303, ["1.3"] = 0x0304 }
local ROOM = 16384

local secure_client = {}
local buffer = ffi.new("char[?]", ROOM)

---@class SecureConnection
local Connection = {}
Connection.__index = Connection

--- What connections have in common.
---@param options { version?: "1.2"|"1.3", http2?: boolean }
---@return ffi.cdata* SSL_CTX
function secure_client.context(options)
  local ctx = ffi.gc(ssl.SSL_CTX_new(ssl.TLS_client_method()), ssl.SSL_CTX_free)
  local version = VERSIONS[options.version or "1.3"]
  ssl.SSL_CTX_ctrl(ctx, SET_MIN, version, nil)
  ssl.SSL_CTX_ctrl(ctx, SET_MAX, version, nil)
  local names = options.http2 and "\2h2" or "\8http/1.1"
  assert(ssl.SSL_CTX_set_alpn_protos(ctx, names, #names) == 0)
  return ctx
end

--- Connects, and makes the handshake. Nothing takes longer than ten seconds.
---@param address string
---@param ctx? ffi.cdata* of secure_client.context; nil: no TLS
---@param session? ffi.cdata* of an earlier connection, which must be resumed
---@return SecureConnection
function secure_client.open(address, ctx, session)
  local self = setmetatable({ socket = client.open(address) }, Connection)
  if ctx then
    self.ssl = ffi.gc(ssl.SSL_new(ctx), ssl.SSL_free)
    ssl.SSL_set_fd(self.ssl, self.socket.fd)
    if session then
      ssl.SSL_set_session(self.ssl, session)
    end
    assert(ssl.SSL_connect(self.ssl) == 1, "the handshake failed")
    assert(not session or ssl.SSL_session_reused(self.ssl) == 1, "the session was not resumed")
  end
  return self
end

function Connection:send(text)
  local count = self.ssl and ssl.SSL_write(self.ssl, text, #text)
    or tonumber(C.send(self.socket.fd, text, #text, 0x4000))
  assert(count == #text, "the server takes nothing")
end

function Connection:receive()
  local count = self.ssl and ssl.SSL_read(self.ssl, buffer, ROOM)
    or tonumber(C.recv(self.socket.fd, buffer, ROOM, 0))
  assert(count > 0, "the server has closed the connection")
  return ffi.string(buffer, count)
end

--- A GET with HTTP/1.1, whose response has a Content-Length.
---@param path string
---@param headers? { [1]: string, [2]: string }[]
function Connection:get(path, headers)
  local lines = ("GET %s HTTP/1.1\r\nHost: localhost\r\n"):format(path)
  for _, header in ipairs(headers or {}) do
    lines = lines .. header[1] .. ": " .. header[2] .. "\r\n"
  end
  self:send(lines .. "\r\n")
  local text = ""
  local head
  repeat
    text = text .. self:receive()
    head = text:match("^.-\r\n\r\n")
  until head and #text - #head >= tonumber(head:lower():match("content%-length: (%d+)"))
  assert(text:sub(1, 12) == "HTTP/1.1 200", text)
end

-- Frames of the server up to the end of a stream; SETTINGS are answered.
function Connection:frames_until_end_of(id)
  local text, ended = self.rest or "", false
  while not ended do
    local a, b, c, kind, flags = text:byte(1, 5)
    local size = a and b and c and 9 + a * 65536 + b * 256 + c
    if not size or #text < size then
      text = text .. self:receive()
    else
      local stream = text:byte(8) * 256 + text:byte(9)
      ended = stream == id and kind <= h2.HEADERS and flags % 2 == h2.END_STREAM
      if kind == h2.SETTINGS and flags % 2 == 0 then
        self:send(h2.frame(h2.SETTINGS, h2.ACK, 0))
      end
      assert(kind ~= h2.GOAWAY and kind ~= h2.RST_STREAM, "the server refuses the stream")
      text = text:sub(size + 1)
    end
  end
  self.rest = text
end

--- A GET with HTTP/2. The first one begins the connection.
---@param path string
---@param headers? { [1]: string, [2]: string }[]
function Connection:get_by_http2(path, headers)
  local id = (self.last_id or -1) + 2
  local block = h2.block(h2.fields({ path = path, scheme = self.ssl and "https" or "http",
    headers = headers }))
  self:send((self.last_id and "" or h2.PREFACE .. h2.settings()) .. h2.headers(id, block, true))
  self.last_id = id
  self:frames_until_end_of(id)
end

--- The session, with the last ticket that has come.
---@return ffi.cdata*
function Connection:session()
  return ffi.gc(ssl.SSL_get1_session(self.ssl), ssl.SSL_SESSION_free)
end

function Connection:close()
  if self.ssl then
    ssl.SSL_shutdown(self.ssl)
    ssl.SSL_free(ffi.gc(self.ssl, nil))
    self.ssl = nil
  end
  self.socket:close()
end

return secure_client
