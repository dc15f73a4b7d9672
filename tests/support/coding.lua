-- What clients do with a response in a content coding: the decoders of zlib, libbrotlidec and
-- libzstd, by their shared libraries. Shares no code with core/.
--
--   local text, whole = coding.decode("gzip", bytes)    -- whole: the coding's end was there

local ffi = require("ffi")

local coding = {}

ffi.cdef [[
typedef struct {
  const uint8_t *next_in; unsigned avail_in; unsigned long total_in;
  uint8_t *next_out; unsigned avail_out; unsigned long total_out;
  const char *msg; void *state; void *zalloc, *zfree, *opaque;
  int data_type; unsigned long adler, reserved;
} mg_z_stream;
const char *zlibVersion(void);
int inflateInit2_(mg_z_stream *strm, int windowBits, const char *version, int stream_size);
int inflate(mg_z_stream *strm, int flush);
int inflateEnd(mg_z_stream *strm);

typedef struct BrotliDecoderStateStruct BrotliDecoderState;
BrotliDecoderState *BrotliDecoderCreateInstance(void *alloc, void *free, void *opaque);
int BrotliDecoderDecompressStream(BrotliDecoderState *state, size_t *available_in,
  const uint8_t **next_in, size_t *available_out, uint8_t **next_out, size_t *total_out);
void BrotliDecoderDestroyInstance(BrotliDecoderState *state);

typedef struct { const void *src; size_t size; size_t pos; } mg_zstd_in;
typedef struct { void *dst; size_t size; size_t pos; } mg_zstd_out;
typedef struct ZSTD_DCtx_s ZSTD_DStream;
ZSTD_DStream *ZSTD_createDStream(void);
size_t ZSTD_decompressStream(ZSTD_DStream *zds, mg_zstd_out *output, mg_zstd_in *input);
unsigned ZSTD_isError(size_t code);
size_t ZSTD_freeDStream(ZSTD_DStream *zds);
]]

local SIZE = 65536
local room = ffi.new("uint8_t[?]", SIZE)

local function gzip(bytes)
  local z = ffi.load("libz.so.1")
  local stream = ffi.new("mg_z_stream")
  assert(z.inflateInit2_(stream, 15 + 16, z.zlibVersion(), ffi.sizeof(stream)) == 0)
  stream.next_in, stream.avail_in = ffi.cast("const uint8_t *", bytes), #bytes
  local out = {}
  local result
  repeat
    stream.next_out, stream.avail_out = room, SIZE
    result = z.inflate(stream, 0)
    out[#out + 1] = ffi.string(room, SIZE - stream.avail_out)
  until result ~= 0 or (stream.avail_in == 0 and stream.avail_out > 0)
  local left = stream.avail_in
  z.inflateEnd(stream)
  assert(result == 0 or result == 1 or result == -5, "not gzip: " .. result)
  assert(result ~= 1 or left == 0, "bytes behind the end of gzip")
  return table.concat(out), result == 1
end

local function brotli(bytes)
  local br = ffi.load("libbrotlidec.so.1")
  local state = br.BrotliDecoderCreateInstance(nil, nil, nil)
  local left, from = ffi.new("size_t[1]", #bytes), ffi.new("const uint8_t *[1]")
  local free, to = ffi.new("size_t[1]"), ffi.new("uint8_t *[1]")
  from[0] = ffi.cast("const uint8_t *", bytes)
  local out = {}
  local result
  repeat
    free[0], to[0] = SIZE, room
    result = br.BrotliDecoderDecompressStream(state, left, from, free, to, nil)
    out[#out + 1] = ffi.string(room, SIZE - tonumber(free[0]))
  until result ~= 3
  br.BrotliDecoderDestroyInstance(state)
  assert(result ~= 0, "not brotli")
  assert(result ~= 1 or left[0] == 0, "bytes behind the end of brotli")
  return table.concat(out), result == 1
end

local function zstd(bytes)
  local zs = ffi.load("libzstd.so.1")
  local stream = zs.ZSTD_createDStream()
  local from = ffi.new("mg_zstd_in", { bytes, #bytes, 0 })
  local out = {}
  local left
  repeat
    local to = ffi.new("mg_zstd_out", { room, SIZE, 0 })
    left = zs.ZSTD_decompressStream(stream, to, from)
    assert(zs.ZSTD_isError(left) == 0, "not zstd")
    out[#out + 1] = ffi.string(room, tonumber(to.pos))
  until from.pos == from.size and to.pos < SIZE
  zs.ZSTD_freeDStream(stream)
  return table.concat(out), left == 0
end

local decoders = { gzip = gzip, br = brotli, zstd = zstd }

--- Decodes what has come.
---@param name "gzip"|"br"|"zstd"
---@param bytes string
---@return string text
---@return boolean whole
function coding.decode(name, bytes)
  return assert(decoders[name], "no coding " .. tostring(name))(bytes)
end

--- The text of a response, which must be whole.
---@param res HttpResponse
---@return string
function coding.text(res)
  local name = res.headers["content-encoding"]
  if not name then
    return res.body
  end
  local text, whole = coding.decode(name, res.body)
  assert(whole, "the coding has no end")
  return text
end

return coding
