-- A small strict HTTP/1.1 client for scenarios. Whatever a proxy must not do raises an error: lines
-- that do not end in CRLF, both framings at once, a short body, chunks without the last one, bytes
-- behind a reply.
--
--   local res = http.get(server.address, "/x.php?a=1")            one request, Connection: close
--   local client = http.open(server.address)                      one connection, many requests
--   local res = client:request { method = "POST", path = "/x.php", body = "a=1" }

local net = require("tests.support.net")
local socket = require("socket")

local http = {}

---@class HttpRequest
---@field method? string GET by default
---@field path? string the target as it goes over the wire, "/" by default
---@field host? string "localhost" by default; false for none
---@field headers? table<string, string|string[]> names as they are sent
---@field body? string|string[] a list is sent chunked, one chunk for each element
---@field chunked? boolean sends a string body as one chunk
---@field version? string "1.1" by default
---@field timeout? number seconds for the whole reply

---@class HttpResponse
---@field status integer
---@field reason string
---@field version string "1.1" or "1.0"
---@field headers table<string, string> lower-case name -> value, repeated ones joined by ", "
---@field list { [1]: string, [2]: string }[] the headers in their order, names as sent
---@field body string
---@field head string the raw head
---@field framing "length"|"chunked"|"close"|"none"
---@field pieces { time: number, bytes: string }[] chunks (or what came together), with clock times
---@field interim integer[] statuses of the 1xx replies before it
---@field trailers { [1]: string, [2]: string }[]
local HttpResponse = {}
HttpResponse.__index = HttpResponse

---@class HttpClient
---@field conn Connection
local HttpClient = {}
HttpClient.__index = HttpClient

--- Every value of a header, in order.
---@param name string
---@return string[]
function HttpResponse:all(name)
  local values = {}
  for _, pair in ipairs(self.list) do
    if pair[1]:lower() == name:lower() then
      values[#values + 1] = pair[2]
    end
  end
  return values
end

local function add_headers(lines, headers)
  local names = {}
  for name in pairs(headers) do
    names[#names + 1] = name
  end
  table.sort(names)
  for _, name in ipairs(names) do
    local values = headers[name]
    for _, value in ipairs(type(values) == "table" and values or { values }) do
      lines[#lines + 1] = name .. ": " .. value
    end
  end
end

--- Frames a body as chunks.
---@param pieces string[]
---@return string
function http.chunks(pieces)
  local out = {}
  for _, piece in ipairs(pieces) do
    assert(#piece > 0, "an empty chunk would end the body")
    out[#out + 1] = ("%x\r\n"):format(#piece)
    out[#out + 1] = piece
    out[#out + 1] = "\r\n"
  end
  out[#out + 1] = "0\r\n\r\n"
  return table.concat(out)
end

--- The bytes of a request.
---@param request HttpRequest
---@return string head
---@return string body
function http.format(request)
  local body = request.body
  local version = request.version or "1.1"
  local lines = {
    ("%s %s HTTP/%s"):format(request.method or "GET", request.path or "/", version),
  }
  if request.host ~= false then
    lines[2] = "Host: " .. (request.host or "localhost")
  end
  add_headers(lines, request.headers or {})
  if type(body) == "table" or (request.chunked and body) then
    lines[#lines + 1] = "Transfer-Encoding: chunked"
    body = http.chunks(type(body) == "table" and body or { body })
  elseif body then
    lines[#lines + 1] = "Content-Length: " .. #body
  end
  return table.concat(lines, "\r\n") .. "\r\n\r\n", body or ""
end

local function parse_header(line)
  local name, value = line:match("^([%w!#$%%&'*+.^_`|~-]+):[ \t]*(.-)[ \t]*$")
  if not name then
    error(("not a header line: %q"):format(line), 0)
  end
  if value:find("[%z\1-\8\10-\31\127]") then
    error(("control byte in a header: %q"):format(line), 0)
  end
  return name, value
end

local function parse_head(head)
  local bare = head:gsub("\r\n", "")
  if bare:find("[\r\n]") then
    error(("a line of the head does not end in CRLF: %q"):format(head), 0)
  end
  local first, rest = head:match("^(.-)\r\n(.*)\r\n$")
  local version, status, reason = first:match("^HTTP/(1%.[01]) (%d%d%d) ([^%c]*)$")
  if not version then
    error(("not a status line: %q"):format(first), 0)
  end
  local res = setmetatable({
    version = version,
    status = tonumber(status),
    reason = reason,
    headers = {},
    list = {},
    head = head,
    pieces = {},
    trailers = {},
  }, HttpResponse)
  for line in rest:gmatch("(.-)\r\n") do
    local name, value = parse_header(line)
    local key = name:lower()
    res.list[#res.list + 1] = { name, value }
    res.headers[key] = res.headers[key] and res.headers[key] .. ", " .. value or value
  end
  return res
end

local function framing(res, method)
  local length, encoding = res.headers["content-length"], res.headers["transfer-encoding"]
  if length and encoding then
    error("both Content-Length and Transfer-Encoding", 0)
  end
  if length and not length:match("^%d+$") then
    error(("Content-Length: %q"):format(length), 0)
  end
  local bodiless = res.status < 200 or res.status == 204
  if bodiless and (length or encoding) then
    error(("a %d with a framing of its body"):format(res.status), 0)
  end
  if method == "HEAD" or bodiless or res.status == 304 then
    return "none"
  elseif encoding then
    if encoding ~= "chunked" or res.version ~= "1.1" then
      error(("Transfer-Encoding: %q in HTTP/%s"):format(encoding, res.version), 0)
    end
    return "chunked"
  end
  return length and "length" or "close"
end

local function add_piece(res, bytes, on_piece)
  res.pieces[#res.pieces + 1] = { time = socket.gettime(), bytes = bytes }
  if on_piece then
    on_piece(bytes)
  end
end

local function read_chunked(conn, res, deadline, on_piece)
  local function left()
    return deadline - socket.gettime()
  end
  while true do
    local line = conn:read_until("\r\n", left()):sub(1, -3)
    if not line:match("^%x+$") then
      error(("not a chunk size: %q"):format(line), 0)
    end
    local size = tonumber(line, 16)
    if size == 0 then
      break
    end
    local bytes = conn:read(size, left())
    local ending = conn:read(2, left())
    if ending ~= "\r\n" then
      error(("a chunk of %d bytes is followed by %q"):format(size, ending), 0)
    end
    add_piece(res, bytes, on_piece)
  end
  while true do
    local line = conn:read_until("\r\n", left()):sub(1, -3)
    if line == "" then
      return
    end
    res.trailers[#res.trailers + 1] = { parse_header(line) }
  end
end

local function read_length(conn, res, deadline, on_piece)
  local missing = tonumber(res.headers["content-length"])
  while missing > 0 do
    local bytes = conn:read_some(deadline - socket.gettime())
    if bytes == "" then
      error(("the connection ended %d bytes before the body did"):format(missing), 0)
    end
    if #bytes > missing then
      conn.buffer = bytes:sub(missing + 1) .. conn.buffer
      bytes = bytes:sub(1, missing)
    end
    missing = missing - #bytes
    add_piece(res, bytes, on_piece)
  end
end

local function read_body(conn, res, method, deadline, on_piece)
  res.framing = framing(res, method)
  if res.framing == "chunked" then
    read_chunked(conn, res, deadline, on_piece)
  elseif res.framing == "length" then
    read_length(conn, res, deadline, on_piece)
  elseif res.framing == "close" then
    local rest = conn:read_all(deadline - socket.gettime())
    if conn.ended ~= "closed" then
      error("the connection was cut: " .. conn.ended, 0)
    end
    if rest ~= "" then
      add_piece(res, rest, on_piece)
    end
  end
  local all = {}
  for i, piece in ipairs(res.pieces) do
    all[i] = piece.bytes
  end
  res.body = table.concat(all)
end

--- Opens a connection for several requests.
---@param address string
---@param options? table as for net.connect
---@return HttpClient
function http.open(address, options)
  return setmetatable({ conn = net.connect(address, options) }, HttpClient)
end

--- Sends a request and does not wait for the answer.
---@param request HttpRequest
---@return HttpClient self
function HttpClient:send(request)
  local head, body = http.format(request)
  self.conn:send(#body <= 65536 and head .. body or head)
  if #body > 65536 then
    self.conn:send(body)
  end
  return self
end

--- Reads one reply with its body; interim (1xx) replies before it are noted in `interim`.
---@param method? string of the request it answers; a HEAD has no body
---@param options? { timeout?: number, on_piece?: fun(bytes: string) }
---@return HttpResponse
function HttpClient:receive(method, options)
  options = options or {}
  local conn = self.conn
  local deadline = conn:deadline(options.timeout)
  local interim = {}
  while true do
    local res = parse_head(conn:read_until("\r\n\r\n", deadline - socket.gettime()))
    if res.status >= 200 then
      res.interim = interim
      read_body(conn, res, method, deadline, options.on_piece)
      return res
    end
    framing(res, method)
    interim[#interim + 1] = res.status
  end
end

--- One request and its reply. A body over 64 KB is sent after the head, not with it.
---@param request HttpRequest
---@param on_piece? fun(bytes: string) called as the body comes
---@return HttpResponse
function HttpClient:request(request, on_piece)
  self:send(request)
  return self:receive(request.method, { timeout = request.timeout, on_piece = on_piece })
end

--- Raises an error if the server has sent anything that belongs to no reply.
function HttpClient:assert_quiet()
  self.conn:fill(socket.gettime() + 0.05)
  if #self.conn.buffer > 0 then
    error(("bytes behind the reply: %q"):format(self.conn.buffer:sub(1, 200)), 2)
  end
end

function HttpClient:close()
  self.conn:close()
end

--- One request on a connection of its own, with `Connection: close`; checks that the server closes
--- it after the reply and sends nothing more.
---@param address string
---@param request HttpRequest
---@return HttpResponse
function http.request(address, request)
  local client = http.open(address)
  local copy = { headers = { Connection = "close" } }
  for key, value in pairs(request) do
    copy[key] = value
  end
  if request.headers then
    copy.headers = { Connection = "close" }
    for name, value in pairs(request.headers) do
      copy.headers[name] = value
    end
  end
  local ok, res = pcall(client.request, client, copy)
  local tail = ok and client.conn:read_all()
  client:close()
  if not ok then
    error(res, 2)
  elseif tail ~= "" then
    error(("bytes behind the reply: %q"):format(tail:sub(1, 200)), 2)
  end
  return res
end

---@param address string
---@param path string
---@param headers? table
---@return HttpResponse
function http.get(address, path, headers)
  return http.request(address, { path = path, headers = headers })
end

---@param address string
---@param path string
---@param body string|string[]
---@param headers? table
---@return HttpResponse
function http.post(address, path, body, headers)
  return http.request(address, { method = "POST", path = path, body = body, headers = headers })
end

--- Percent-encodes everything that is not a letter, a digit or one of `-._~`.
---@param text string
---@return string
function http.escape(text)
  return (text:gsub("[^%w._~-]", function(char)
    return ("%%%02X"):format(char:byte())
  end))
end

--- A body of application/x-www-form-urlencoded, fields sorted by name.
---@param fields table<string, string>
---@return string
function http.form(fields)
  local names, pairs_out = {}, {}
  for name in pairs(fields) do
    names[#names + 1] = name
  end
  table.sort(names)
  for i, name in ipairs(names) do
    pairs_out[i] = http.escape(name) .. "=" .. http.escape(fields[name])
  end
  return table.concat(pairs_out, "&")
end

--- Asks for a page again and again, for a time, and does something else twice a second.
---@param address string
---@param path string
---@param expected string the body that the page has
---@param seconds number
---@param beside fun()
---@return integer served
---@return integer failed
function http.ask_beside(address, path, expected, seconds, beside)
  local served, failed, ends, next_time = 0, 0, socket.gettime() + seconds, 0
  while socket.gettime() < ends do
    if socket.gettime() >= next_time then
      next_time = socket.gettime() + 0.5
      beside()
    end
    local ok, res = pcall(http.get, address, path)
    if ok and res.body == expected then
      served = served + 1
    else
      failed = failed + 1
    end
    socket.sleep(0.02)
  end
  return served, failed
end

---@class FormPart
---@field name string
---@field content string
---@field filename? string makes it a file
---@field type? string its content type

--- A body of multipart/form-data.
---@param parts FormPart[]
---@return string body
---@return string content_type
function http.multipart(parts)
  local boundary = "----moongate-test-part-7d1f0c"
  local out = {}
  for _, part in ipairs(parts) do
    assert(not part.content:find(boundary, 1, true), "the boundary is in the content")
    out[#out + 1] = ("--%s\r\nContent-Disposition: form-data; name=\"%s\"%s\r\n%s\r\n"):format(
      boundary, part.name,
      part.filename and ("; filename=\"%s\""):format(part.filename) or "",
      part.type and "Content-Type: " .. part.type .. "\r\n" or "")
    out[#out + 1] = part.content
    out[#out + 1] = "\r\n"
  end
  out[#out + 1] = "--" .. boundary .. "--\r\n"
  return table.concat(out), "multipart/form-data; boundary=" .. boundary
end

return http
