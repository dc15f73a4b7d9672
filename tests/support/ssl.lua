-- A client of TLS by libssl, for scenarios that need many connections, or a part of a handshake.
--
--   local conn = ssl.connect(address)       -- verifies nothing; the handshake is over
--   conn:send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
--   conn:close()

local ffi = require("ffi")
local net = require("tests.support.net")
local socket = require("socket")

ffi.cdef([[
  typedef struct ssl_ctx_st mg_SSL_CTX;
  typedef struct ssl_st mg_SSL;
  const void *TLS_client_method(void);
  mg_SSL_CTX *SSL_CTX_new(const void *method);
  mg_SSL *SSL_new(mg_SSL_CTX *ctx);
  void SSL_free(mg_SSL *ssl);
  int SSL_set_fd(mg_SSL *ssl, int fd);
  int SSL_connect(mg_SSL *ssl);
  int SSL_write(mg_SSL *ssl, const void *bytes, int size);
  int SSL_read(mg_SSL *ssl, void *bytes, int size);
  int SSL_shutdown(mg_SSL *ssl);
  int SSL_get_error(const mg_SSL *ssl, int result);
]])
local lib = ffi.load("libssl.so.3")

local ssl = {}

local Secure = {}
Secure.__index = Secure

local WANT_READ, WANT_WRITE = 2, 3
local context

-- Repeats a call until it neither wants to read nor to write.
local function finish(self, call)
  local deadline = self.conn:deadline()
  while true do
    local result = call(self.ssl)
    local why = result > 0 and 0 or lib.SSL_get_error(self.ssl, result)
    if why ~= WANT_READ and why ~= WANT_WRITE then
      return result
    end
    local left = deadline - socket.gettime()
    assert(left > 0, "TLS: nothing comes in time")
    local list = { self.conn.sock }
    socket.select(why == WANT_READ and list or nil, why == WANT_WRITE and list or nil, left)
  end
end

--- A connection whose handshake is over.
function ssl.connect(address)
  context = context or lib.SSL_CTX_new(lib.TLS_client_method())
  local self = setmetatable({ conn = net.connect(address), ssl = lib.SSL_new(context) }, Secure)
  lib.SSL_set_fd(self.ssl, self.conn.sock:getfd())
  assert(finish(self, lib.SSL_connect) == 1, "TLS: the handshake has failed")
  return self
end

function Secure:send(bytes)
  assert(finish(self, function(s)
    return lib.SSL_write(s, bytes, #bytes)
  end) == #bytes)
end

--- Sends close_notify; what the server sends is still read.
function Secure:end_writing()
  assert(lib.SSL_shutdown(self.ssl) == 0)
end

--- What comes next; "" at the end.
function Secure:read_some()
  local room = ffi.new("char[16384]")
  local n = finish(self, function(s)
    return lib.SSL_read(s, room, 16384)
  end)
  return n > 0 and ffi.string(room, n) or ""
end

function Secure:close()
  lib.SSL_free(self.ssl)
  self.conn:close()
end

return ssl
