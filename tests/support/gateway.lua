-- A web server's side of FastCGI, byte by byte, for scenarios about `protocol = "fastcgi"`: records
-- out, records in, each checked. Whatever a server must not send raises an error.
--
--   local web = gateway.open(address)
--   local res = web:request { params = { REQUEST_URI = "/x.php" }, stdin = "a=1" }

local net = require("tests.support.net")

local gateway = {}

gateway.BEGIN, gateway.ABORT, gateway.END, gateway.PARAMS, gateway.STDIN = 1, 2, 3, 4, 5
gateway.STDOUT, gateway.STDERR, gateway.DATA, gateway.GET_VALUES = 6, 7, 8, 9
gateway.VALUES, gateway.UNKNOWN = 10, 11
gateway.COMPLETE, gateway.OVERLOADED, gateway.UNKNOWN_ROLE = 0, 2, 3

---@class GatewayRequest
---@field id? integer 1 by default
---@field role? integer responder by default
---@field keep? boolean false: FCGI_KEEP_CONN is not set
---@field params? table<string, string|false> on top of those of every request; false: without it
---@field stdin? string
---@field split? integer bytes of content in a record, 16,000 by default

---@class GatewayAnswer
---@field status integer
---@field headers table<string, string> lower-case name -> value
---@field body string
---@field app_status integer
---@field protocol_status integer

---@class GatewayConnection
---@field conn Connection
local Web = {}
Web.__index = Web

local char = string.char

local function two(n)
  return char(math.floor(n / 256) % 256, n % 256)
end

--- One record.
---@param kind integer
---@param id integer
---@param content? string
---@param padding? integer
---@return string
function gateway.record(kind, id, content, padding)
  content, padding = content or "", padding or 0
  return char(1, kind) .. two(id) .. two(#content) .. char(padding, 0) .. content
    .. ("\1"):rep(padding)
end

local function length(n)
  return n < 128 and char(n) or char(128 + math.floor(n / 16777216), math.floor(n / 65536) % 256)
    .. two(n % 65536)
end

--- A name-value pair.
function gateway.pair(name, value)
  return length(#name) .. length(#value) .. name .. value
end

--- Content in records of at most `size` bytes, and the empty one that ends the stream.
function gateway.stream(kind, id, content, size)
  local list = {}
  for at = 1, #content, size do
    list[#list + 1] = gateway.record(kind, id, content:sub(at, at + size - 1), #list % 8)
  end
  list[#list + 1] = gateway.record(kind, id)
  return table.concat(list)
end

--- What every web server says.
local function usual(request)
  local params = {
    REQUEST_METHOD = request.stdin and "POST" or "GET", REQUEST_URI = "/x.php",
    QUERY_STRING = "", SCRIPT_NAME = "/x.php", SCRIPT_FILENAME = "/web/x.php",
    DOCUMENT_ROOT = "/web", SERVER_PROTOCOL = "HTTP/1.1", SERVER_SOFTWARE = "web/1",
    SERVER_NAME = "shop.test", SERVER_PORT = "81", SERVER_ADDR = "10.0.0.1",
    REMOTE_ADDR = "192.0.2.7", REMOTE_PORT = "4711", HTTP_HOST = "Shop.test:81",
    CONTENT_LENGTH = request.stdin and tostring(#request.stdin) or "",
  }
  for name, value in pairs(request.params or {}) do
    params[name] = value or nil
  end
  if request.params and request.params.REQUEST_URI and not request.params.QUERY_STRING then
    params.QUERY_STRING = request.params.REQUEST_URI:match("%?(.*)$") or ""
  end
  return params
end

function gateway.begin(id, role, keep)
  return gateway.record(gateway.BEGIN, id, two(role or 1) .. char(keep ~= false and 1 or 0)
    .. ("\0"):rep(5))
end

--- The bytes of a request up to the end of its params.
---@param request GatewayRequest
---@return string
function gateway.head(request)
  local id, names, pairs_of = request.id or 1, {}, {}
  local params = usual(request)
  for name in pairs(params) do
    names[#names + 1] = name
  end
  table.sort(names)
  for _, name in ipairs(names) do
    pairs_of[#pairs_of + 1] = gateway.pair(name, params[name])
  end
  return gateway.begin(id, request.role, request.keep)
    .. gateway.stream(gateway.PARAMS, id, table.concat(pairs_of), request.split or 16000)
end

--- All of a request.
---@param request GatewayRequest
---@return string
function gateway.format(request)
  return gateway.head(request)
    .. gateway.stream(gateway.STDIN, request.id or 1, request.stdin or "", request.split or 16000)
end

--- Connects as a web server does.
---@param address string
---@param options? { timeout?: number }
---@return GatewayConnection
function gateway.open(address, options)
  return setmetatable({ conn = net.connect(address, options), answers = {} }, Web)
end

--- Sends bytes as they are.
function Web:send(bytes)
  self.conn:send(bytes)
end

--- The next record.
---@return { kind: integer, id: integer, content: string }
function Web:record()
  local header = self.conn:read(8)
  local version, kind, id1, id2, n1, n2, padding = header:byte(1, 7)
  assert(version == 1, "a record of another version")
  local content = self.conn:read(n1 * 256 + n2)
  self.conn:read(padding)
  return { kind = kind, id = id1 * 256 + id2, content = content }
end

-- Takes the head of CGI off what came on STDOUT.
local function parse(text, ended)
  local head, body = text:match("^(.-\r\n)\r\n(.*)$")
  assert(head, "no head: " .. text:sub(1, 200))
  local res = { headers = {}, body = body }
  for line in head:gmatch("(.-)\r\n") do
    local name, value = line:match("^([^:%s]+): (.*)$")
    assert(name, "no header: " .. line)
    res.headers[name:lower()] = value
  end
  res.status = tonumber(res.headers.status:match("^(%d%d%d) %S"))
  local announced = tonumber(res.headers["content-length"])
  assert(not announced or ended.head or announced == #body, "the body has another length")
  return res
end

--- Reads records until one request has ended, of whatever others there are.
---@param id? integer 1 by default; 0: whichever ends first
---@param options? { bare?: boolean, head?: boolean } no answer is expected, only its end; no body
---@return GatewayAnswer
function Web:answer(id, options)
  options, id = options or {}, id or 1
  while true do
    local record = self:record()
    local answer = self.answers[record.id] or { text = {} }
    self.answers[record.id] = answer
    if record.kind == gateway.STDOUT then
      assert(not answer.eof or #record.content == 0, "STDOUT behind its end")
      answer.eof = #record.content == 0
      answer.text[#answer.text + 1] = record.content
    elseif record.kind == gateway.END then
      assert(#record.content == 8, "END_REQUEST of another size")
      local a, b, c, d, status = record.content:byte(1, 5)
      self.answers[record.id] = nil
      if id == 0 or record.id == id then
        local text = table.concat(answer.text)
        local res = options.bare and { text = text } or parse(text, options)
        res.id, res.protocol_status = record.id, status
        res.app_status = ((a * 256 + b) * 256 + c) * 256 + d
        return res
      end
      self.done = self.done or {}
      self.done[record.id] = table.concat(answer.text)
    else
      error("a record of the type " .. record.kind)
    end
  end
end

--- One request and its answer.
---@param request GatewayRequest
---@return GatewayAnswer
function Web:request(request)
  self:send(gateway.format(request))
  return self:answer(request.id, { head = request.params
    and request.params.REQUEST_METHOD == "HEAD" })
end

function Web:close()
  self.conn:close()
end

return gateway
