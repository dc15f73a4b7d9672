-- A client's side of HTTP/2, frame by frame, for scenarios: it sends whatever it is told, right or
-- wrong, and checks what comes. Its header blocks are literals without Huffman code, so that they
-- can say anything; those of the server are decoded by nghttp2's HPACK.
--
--   local client = h2.open(address)
--   local res = client:request { path = "/x.php", body = "a=1" }

local ffi = require("ffi")
local net = require("tests.support.net")

ffi.cdef([[
  typedef struct { uint8_t *name; uint8_t *value; size_t namelen; size_t valuelen; uint8_t flags; }
    h2_test_nv;
  int nghttp2_hd_inflate_new(void **inflater);
  void nghttp2_hd_inflate_del(void *inflater);
  ssize_t nghttp2_hd_inflate_hd2(void *inflater, h2_test_nv *nv, int *flags, const uint8_t *in,
    size_t size, int last);
  int nghttp2_hd_inflate_end_headers(void *inflater);
]])
local nghttp2 = ffi.load("libnghttp2.so.14")

local h2 = {}

h2.DATA, h2.HEADERS, h2.PRIORITY, h2.RST_STREAM, h2.SETTINGS = 0, 1, 2, 3, 4
h2.PUSH_PROMISE, h2.PING, h2.GOAWAY, h2.WINDOW_UPDATE, h2.CONTINUATION = 5, 6, 7, 8, 9
h2.END_STREAM, h2.ACK, h2.END_HEADERS, h2.PADDED = 1, 1, 4, 8
h2.PREFACE = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
-- Error codes.
h2.NO_ERROR, h2.PROTOCOL_ERROR, h2.INTERNAL_ERROR, h2.FLOW_CONTROL_ERROR = 0, 1, 2, 3
h2.REFUSED_STREAM, h2.CANCEL, h2.ENHANCE_YOUR_CALM = 7, 8, 11

local NAMES = { [0] = "DATA", "HEADERS", "PRIORITY", "RST_STREAM", "SETTINGS", "PUSH_PROMISE",
  "PING", "GOAWAY", "WINDOW_UPDATE", "CONTINUATION" }
local FRAME_MOST = 16384

---@class H2Request
---@field method? string|false GET by default; false: no such pseudo header
---@field path? string|false "/" by default
---@field scheme? string|false "http" by default
---@field authority? string|false "localhost" by default
---@field headers? { [1]: string, [2]: string }[] names as they are sent
---@field fields? { [1]: string, [2]: string }[] all fields, in place of those above
---@field body? string
---@field trailers? { [1]: string, [2]: string }[]
---@field timeout? number

---@class H2Response
---@field status integer
---@field headers table<string, string> name -> value, repeated ones joined by ", "
---@field list { [1]: string, [2]: string }[]
---@field body string
---@field interim { status: integer, headers: table<string, string> }[] 1xx responses before it
---@field reset? integer the error code of RST_STREAM, where one came
---@field ended boolean END_STREAM has come

---@class H2Client
---@field conn Connection
---@field streams table<integer, H2Response>
---@field goaways { last: integer, code: integer }[]
---@field settings table<integer, integer> of the server
---@field acks integer of our SETTINGS
---@field pongs string[] payloads of answered PINGs
---@field next_id integer
local H2 = {}
H2.__index = H2

local char, floor = string.char, math.floor

local function bytes_of(n, count)
  local list = {}
  for i = count, 1, -1 do
    list[i] = char(n % 256)
    n = floor(n / 256)
  end
  return table.concat(list)
end

local function number_of(text)
  local n = 0
  for i = 1, #text do
    n = n * 256 + text:byte(i)
  end
  return n
end

--- One frame.
---@param kind integer
---@param flags integer
---@param id integer
---@param payload? string
---@return string
function h2.frame(kind, flags, id, payload)
  payload = payload or ""
  return bytes_of(#payload, 3) .. char(kind, flags) .. bytes_of(id, 4) .. payload
end

-- An integer of HPACK (RFC 7541 section 5.1) whose prefix has so many bits.
local function integer(n, bits)
  local most = 2 ^ bits - 1
  if n < most then
    return char(n)
  end
  local out = { char(most) }
  n = n - most
  while n >= 128 do
    out[#out + 1] = char(n % 128 + 128)
    n = floor(n / 128)
  end
  out[#out + 1] = char(n)
  return table.concat(out)
end

--- A field as a literal that is never indexed, or (indexed) that enters the dynamic table.
---@param name string
---@param value string
---@param indexed? boolean
---@return string
function h2.field(name, value, indexed)
  return (indexed and "\64" or "\16") .. integer(#name, 7) .. name .. integer(#value, 7) .. value
end

--- A header block.
---@param fields { [1]: string, [2]: string }[]
---@return string
function h2.block(fields)
  local list = {}
  for i, field in ipairs(fields) do
    list[i] = h2.field(field[1], field[2])
  end
  return table.concat(list)
end

--- The fields of a request.
---@param request H2Request
---@return { [1]: string, [2]: string }[]
function h2.fields(request)
  if request.fields then
    return request.fields
  end
  local list = {}
  for _, pseudo in ipairs({ { "method", "GET" }, { "scheme", "http" },
    { "authority", "localhost" }, { "path", "/" } }) do
    local value = request[pseudo[1]]
    if value ~= false then
      list[#list + 1] = { ":" .. pseudo[1], value or pseudo[2] }
    end
  end
  for _, field in ipairs(request.headers or {}) do
    list[#list + 1] = field
  end
  return list
end

--- HEADERS, and CONTINUATION frames where one frame is too small.
---@param id integer
---@param block string
---@param last boolean END_STREAM
---@return string
function h2.headers(id, block, last)
  local frames, at = {}, 1
  repeat
    local piece = block:sub(at, at + FRAME_MOST - 1)
    at = at + FRAME_MOST
    local flags = (at > #block and h2.END_HEADERS or 0)
      + (#frames == 0 and last and h2.END_STREAM or 0)
    frames[#frames + 1] = h2.frame(#frames == 0 and h2.HEADERS or h2.CONTINUATION, flags, id, piece)
  until at > #block
  return table.concat(frames)
end

--- A SETTINGS frame.
---@param list? table<integer, integer>
---@return string
function h2.settings(list)
  local out = {}
  for id, value in pairs(list or {}) do
    out[#out + 1] = bytes_of(id, 2) .. bytes_of(value, 4)
  end
  return h2.frame(h2.SETTINGS, 0, 0, table.concat(out))
end

--- RST_STREAM.
function h2.reset(id, code)
  return h2.frame(h2.RST_STREAM, 0, id, bytes_of(code or h2.CANCEL, 4))
end

--- WINDOW_UPDATE.
function h2.window(id, increment)
  return h2.frame(h2.WINDOW_UPDATE, 0, id, bytes_of(increment, 4))
end

--- Takes a connection over.
---@param conn Connection
---@param options? { settings?: table<integer, integer>, quiet?: boolean } quiet: the preface is the
---  scenario's, windows are not opened by themselves
---@return H2Client
function h2.over(conn, options)
  options = options or {}
  local inflater = ffi.new("void *[1]")
  assert(nghttp2.nghttp2_hd_inflate_new(inflater) == 0)
  local self = setmetatable({
    conn = conn, streams = {}, goaways = {}, settings = {}, acks = 0, pongs = {}, next_id = 1,
    quiet = options.quiet, pending = "", window = 0, sent = 0,
    inflater = ffi.gc(inflater[0], nghttp2.nghttp2_hd_inflate_del),
  }, H2)
  if not options.quiet then
    conn:send(h2.PREFACE .. h2.settings(options.settings) .. h2.window(0, 2 ^ 30))
  end
  return self
end

--- Connects.
---@param address string
---@param options? table
---@return H2Client
function h2.open(address, options)
  return h2.over(net.connect(address), options)
end

local function decode(self, block)
  local nv, flags = ffi.new("h2_test_nv[1]"), ffi.new("int[1]")
  local list, at = {}, 0
  local input = ffi.cast("const uint8_t *", block)
  while true do
    local n = tonumber(nghttp2.nghttp2_hd_inflate_hd2(self.inflater, nv, flags, input + at,
      #block - at, 1))
    assert(n >= 0, "a header block that HPACK does not allow")
    at = at + n
    if bit.band(flags[0], 2) ~= 0 then
      list[#list + 1] = { ffi.string(nv[0].name, nv[0].namelen),
        ffi.string(nv[0].value, nv[0].valuelen) }
    end
    if bit.band(flags[0], 1) ~= 0 or (at == #block and bit.band(flags[0], 2) == 0) then
      break
    end
  end
  nghttp2.nghttp2_hd_inflate_end_headers(self.inflater)
  return list
end

local function stream_of(self, id)
  local res = self.streams[id]
  if not res then
    res = { headers = {}, list = {}, pieces = {}, interim = {}, body = "" }
    self.streams[id] = res
  end
  return res
end

local function note_head(self, id, block)
  local res, list = stream_of(self, id), decode(self, block)
  local headers = {}
  for i, field in ipairs(list) do
    assert((field[1]:sub(1, 1) == ":") == (i == 1), "a pseudo header in its place: " .. field[1])
    assert(not field[1]:find("%u"), "a name in lower case: " .. field[1])
    headers[field[1]] = headers[field[1]] and headers[field[1]] .. ", " .. field[2] or field[2]
  end
  for _, name in ipairs({ "connection", "keep-alive", "transfer-encoding", "upgrade" }) do
    assert(not headers[name], "a header about the connection: " .. name)
  end
  local status = assert(tonumber(headers[":status"]), "a :status")
  if status < 200 then
    res.interim[#res.interim + 1] = { status = status, headers = headers }
    return
  end
  assert(not res.status, "one head of a response")
  res.status, res.headers, res.list = status, headers, list
end

local function note_frame(self, kind, flags, id, payload)
  if kind == h2.HEADERS or kind == h2.CONTINUATION then
    self.pending = self.pending .. payload
    if kind == h2.HEADERS then
      stream_of(self, id).ended = bit.band(flags, h2.END_STREAM) ~= 0
    end
    if bit.band(flags, h2.END_HEADERS) ~= 0 then
      local block = self.pending
      self.pending = ""
      note_head(self, id, block)
    end
  elseif kind == h2.DATA then
    local res = stream_of(self, id)
    res.pieces[#res.pieces + 1] = payload
    res.ended = bit.band(flags, h2.END_STREAM) ~= 0
    if not self.quiet and #payload > 0 and not res.ended then
      self.conn:try_send(h2.window(id, #payload))
    end
  elseif kind == h2.RST_STREAM then
    stream_of(self, id).reset = number_of(payload)
  elseif kind == h2.GOAWAY then
    self.goaways[#self.goaways + 1] = { last = number_of(payload:sub(1, 4)),
      code = number_of(payload:sub(5, 8)) }
  elseif kind == h2.SETTINGS and flags == h2.ACK then
    self.acks = self.acks + 1
  elseif kind == h2.SETTINGS then
    for at = 1, #payload, 6 do
      self.settings[number_of(payload:sub(at, at + 1))] = number_of(payload:sub(at + 2, at + 5))
    end
    if not self.quiet then
      self.conn:try_send(h2.frame(h2.SETTINGS, h2.ACK, 0))
    end
  elseif kind == h2.PING and flags == h2.ACK then
    self.pongs[#self.pongs + 1] = payload
  elseif kind == h2.PING and not self.quiet then
    self.conn:try_send(h2.frame(h2.PING, h2.ACK, 0, payload))
  elseif kind == h2.WINDOW_UPDATE and id == 0 then
    self.window = self.window + number_of(payload)
  elseif kind == h2.WINDOW_UPDATE then
    local res = stream_of(self, id)
    res.window = (res.window or 0) + number_of(payload)
  end
end

--- Reads one frame and notes what it says. Nil: the server has closed.
---@param timeout? number
---@return string|nil name of its type
---@return integer|nil id of its stream
---@return string|nil payload
function H2:read(timeout)
  local buffered = self.buffer or ""
  while #buffered < 9 or #buffered < 9 + number_of(buffered:sub(1, 3)) do
    local some = self.conn:read_some(timeout)
    if some == "" then
      return nil
    end
    buffered = buffered .. some
  end
  local size = number_of(buffered:sub(1, 3))
  assert(size <= FRAME_MOST, "a frame within SETTINGS_MAX_FRAME_SIZE")
  self.buffer = buffered:sub(10 + size)
  local kind, flags = buffered:byte(4), buffered:byte(5)
  local id, payload = number_of(buffered:sub(6, 9)), buffered:sub(10, 9 + size)
  note_frame(self, kind, flags, id, payload)
  return NAMES[kind] or tostring(kind), id, payload
end

--- Reads frames until the condition holds. Raises an error when the server closes before.
---@param condition fun(): any
---@param what string
---@param timeout? number
function H2:until_true(condition, what, timeout)
  while not condition() do
    if not self:read(timeout) then
      error("the server closed before " .. what, 2)
    end
  end
end

--- Reads until the server closes.
---@param timeout? number
function H2:read_all(timeout)
  while self:read(timeout) do end -- luacheck: ignore 542
end

--- Sends a request; its stream's id.
---@param request H2Request
---@return integer id
function H2:send(request)
  local id = self.next_id
  self.next_id = id + 2
  local block = h2.block(h2.fields(request))
  local out = { h2.headers(id, block, not request.body and not request.trailers) }
  local body = request.body or ""
  for at = 1, #body, FRAME_MOST do
    local last = at + FRAME_MOST > #body and not request.trailers
    out[#out + 1] = h2.frame(h2.DATA, last and h2.END_STREAM or 0, id,
      body:sub(at, at + FRAME_MOST - 1))
  end
  if request.body == "" and not request.trailers then
    out[#out + 1] = h2.frame(h2.DATA, h2.END_STREAM, id)
  elseif request.trailers then
    out[#out + 1] = h2.headers(id, h2.block(request.trailers), true)
  end
  self.conn:send(table.concat(out))
  return id
end

--- Sends a request with a body as the windows of the server allow; its stream's id.
---@param request H2Request without a body
---@param body string
---@param between? fun() called after each frame
---@return integer id
function H2:post_slowly(request, body, between)
  local id = self.next_id
  self.next_id = id + 2
  self.conn:send(h2.headers(id, h2.block(h2.fields(request)), false))
  local res, at = stream_of(self, id), 1
  local window, connection = 65535, 65535 - self.sent
  repeat
    local room = math.min(window + (res.window or 0), connection + self.window) - (at - 1)
    local n = math.min(room, FRAME_MOST, #body - at + 1)
    if n > 0 or #body == 0 then
      local last = at + n > #body
      self.conn:send(h2.frame(h2.DATA, last and h2.END_STREAM or 0, id, body:sub(at, at + n - 1)))
      at, self.sent = at + n, self.sent + n
      if between then
        between()
      end
    elseif res.ended or res.reset or not self:read() then
      break
    end
  until at > #body
  return id
end

--- The response to a stream, which has ended: by its end, by RST_STREAM, or with the connection.
---@param id integer
---@param timeout? number
---@return H2Response
function H2:receive(id, timeout)
  local res = stream_of(self, id)
  while not res.ended and not res.reset do
    if not self:read(timeout) then
      break
    end
  end
  res.body = table.concat(res.pieces)
  return res
end

--- Both.
---@param request H2Request
---@return H2Response
function H2:request(request)
  return self:receive(self:send(request), request.timeout)
end

--- Waits until the server has answered a PING, so it has read all that was sent before.
---@return integer frames of the server that came before the answer
function H2:sync()
  local payload = ("%08d"):format(#self.pongs)
  self.conn:send(h2.frame(h2.PING, 0, 0, payload))
  local count, before = 0, #self.pongs
  self:until_true(function()
    count = count + 1
    return #self.pongs > before
  end, "it answered a PING")
  return count
end

function H2:close()
  self.conn:close()
end

--- Options of a rig whose listener speaks HTTP/1 and HTTP/2.
---@param options? RigOptions
---@return RigOptions
function h2.rig(options)
  options = options or {}
  local address = "127.0.0.1:" .. net.free_port()
  local settings = options.settings and options.settings .. ", " or ""
  options.settings = settings .. ([[listen = { { address = %q, h2c = true } }, workers = %d,
    watch = false]]):format(address, options.workers or 1)
  options.server = options.server or {}
  options.server.own, options.server.address = true, address
  return options
end

return h2
