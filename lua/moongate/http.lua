-- moongate.http owns requests that a script makes of HTTP servers: token checks, web hooks and the
-- like. One request, one answer, within a time and a size. Called by routes where a hook may wait;
-- connections are moongate.tcp's, so that other requests go on meanwhile. There is no TLS.

local clock = require("moongate.base.clock")
local describe = require("moongate.base.describe")
local moongate = require("moongate")
local suggest = require("moongate.base.suggest")
local units = require("moongate.base.units")

local M = {}

local HEAD_MOST = 65536 -- bytes of an answer's head, and of a line that says how long a chunk is
local HEADERS_MOST = 200
local INTERIM_MOST = 10 -- answers such as 100 and 103 before the one that counts
local PIECE = 65536

local TOKEN = "^[%w!#$%%&'*+.^_`|~-]+$"

-- Bytes of an answer -----------------------------------------------------------------------------

---@class moongate.http.Reader
---@field socket table
---@field deadline number by the clock
---@field buffer string what has come and is not read yet
local Reader = {}
Reader.__index = Reader

--- Gives the socket the time that is left.
---@return boolean
local function set_time(self)
  local left = self.deadline - clock()
  self.socket:settimeout(math.max(1, left * 1000))
  return left > 0
end

--- Waits for more bytes.
---@return boolean|nil
---@return string|nil reason
function Reader:more()
  if not set_time(self) then
    return nil, "timeout"
  end
  local piece, reason = self.socket:receiveany(PIECE)
  if not piece then
    return nil, reason
  end
  self.begun = true
  self.buffer = self.buffer .. piece
  return true
end

--- What comes before a text, which is read over.
---@param text string
---@param most integer bytes
---@return string|nil
---@return string|nil reason
function Reader:before(text, most)
  local from = 1
  while true do
    local first, last = self.buffer:find(text, from, true)
    if first then
      local found = self.buffer:sub(1, first - 1)
      self.buffer = self.buffer:sub(last + 1)
      return found
    elseif #self.buffer > most then
      return nil, "the head of the answer is too large"
    end
    from = math.max(1, #self.buffer - #text + 2)
    local ok, reason = self:more()
    if not ok then
      return nil, reason
    end
  end
end

--- So many bytes, as parts of a list.
---@return boolean|nil
---@return string|nil reason
function Reader:bytes(count, parts)
  while count > 0 do
    if self.buffer == "" then
      local ok, reason = self:more()
      if not ok then
        return nil, reason
      end
    end
    local piece = self.buffer
    if #piece > count then
      piece, self.buffer = piece:sub(1, count), piece:sub(count + 1)
    else
      self.buffer = ""
    end
    parts[#parts + 1] = piece
    count = count - #piece
  end
  return true
end

-- The answer -------------------------------------------------------------------------------------

--- Headers are asked for in any letter case.
local HEADERS = {
  __index = function(headers, name)
    return type(name) == "string" and rawget(headers, name:lower()) or nil
  end,
}

--- Reads the lines of a head.
---@return table|nil answer status, headers, list
---@return string|nil reason
local function parse_head(head)
  local first, rest = head:match("^([^\r\n]*)(.*)$")
  local minor, status = first:match("^HTTP/1%.(%d) (%d%d%d)%f[^%d]")
  if not status or status:byte() == 48 then
    return nil, "this is no HTTP: " .. describe(first)
  end
  local headers, list = setmetatable({}, HEADERS), {}
  for line in rest:gmatch("\r\n([^\r\n]*)") do
    local name, value = line:match("^([^%s:]+):[ \t]*(.-)[ \t]*$")
    if not name or not name:match(TOKEN) or value:find("[^%C\t]") then
      return nil, "a header that is none: " .. describe(line)
    elseif #list == HEADERS_MOST then
      return nil, "the head of the answer is too large"
    end
    list[#list + 1] = { name, value }
    local key = name:lower()
    local before = rawget(headers, key)
    rawset(headers, key, before and before .. ", " .. value or value)
  end
  return { status = tonumber(status), headers = headers, list = list, minor = tonumber(minor) }
end

--- The head that counts.
local function read_head(reader)
  for _ = 1, INTERIM_MOST do
    local head, reason = reader:before("\r\n\r\n", HEAD_MOST)
    local answer
    if head then
      answer, reason = parse_head(head)
    end
    if not answer or answer.status >= 200 then
      return answer, reason
    elseif answer.status == 101 then
      return nil, "the server changes the protocol"
    end
  end
  return nil, "too many interim answers"
end

--- The body of an answer in chunks.
local function read_chunks(reader, limit, parts)
  local total = 0
  while true do
    local line, reason = reader:before("\r\n", HEAD_MOST)
    if not line then
      return nil, reason
    end
    local digits = line:match("^(%x+)[ \t]*$") or line:match("^(%x+)[ \t]*;")
    local size = digits and #digits <= 12 and tonumber(digits, 16)
    if not size then
      return nil, "a chunk without a length: " .. describe(line)
    elseif size == 0 then
      break
    end
    total = total + size
    if total > limit then
      return nil, "too large"
    end
    local ok
    ok, reason = reader:bytes(size, parts)
    if not ok then
      return nil, reason
    end
    local stop
    stop, reason = reader:before("\r\n", 2)
    if stop ~= "" then
      return nil, (stop or #reader.buffer > 2) and "a chunk that does not end where it should"
        or reason
    end
  end
  for _ = 1, HEADERS_MOST do -- trailers
    local line, reason = reader:before("\r\n", HEAD_MOST)
    if not line or line == "" then
      return line and true, reason
    end
  end
  return nil, "the head of the answer is too large"
end

--- How long a body is that says so.
---@return number|nil length nil: it does not say, or not in one voice
---@return string|nil reason
local function length_of(answer)
  local length
  for _, header in ipairs(answer.list) do
    if header[1]:lower() == "content-length" then
      local number = header[2]:match("^%d+$") and #header[2] <= 15 and tonumber(header[2])
      if not number or length and length ~= number then
        return nil, "a Content-Length that is none: " .. describe(header[2])
      end
      length = number
    end
  end
  return length
end

--- Reads the body.
---@return boolean|nil whole nil and the reason, where it is not
---@return string|nil reason
local function read_body(reader, answer, method, limit, parts)
  local coding = answer.headers["transfer-encoding"]
  if method == "HEAD" or answer.status == 204 or answer.status == 304 then
    return true
  elseif coding then
    if coding:lower() ~= "chunked" then
      return nil, "a transfer coding other than chunked: " .. describe(coding)
    end
    return read_chunks(reader, limit, parts)
  end
  local length, reason = length_of(answer)
  if reason then
    return nil, reason
  elseif length then
    if length > limit then
      return nil, "too large"
    end
    return reader:bytes(length, parts)
  end
  -- Up to the end of the connection.
  answer.ends = true
  local total = 0
  while true do
    if reader.buffer == "" then
      local ok, why = reader:more()
      if not ok then
        return why == "closed" or nil, why
      end
    end
    total = total + #reader.buffer
    if total > limit then
      return nil, "too large"
    end
    parts[#parts + 1], reader.buffer = reader.buffer, ""
  end
end

-- The request ------------------------------------------------------------------------------------

local KEYS = {
  url = true, method = true, headers = true, body = true, timeout = true, limit = true,
  socket = true, keepalive = true,
}

--- moongate.types is compared with them.
M.KEYS = KEYS

-- What the request's own framing says.
local FRAMING = { ["content-length"] = true, ["transfer-encoding"] = true, connection = true,
  upgrade = true, te = true, trailer = true, expect = true }

--- Takes a URL apart.
---@return { host: string, port: integer, authority: string, target: string }|nil
---@return string|nil problem
local function parse_url(url)
  if type(url) ~= "string" then
    return nil, 'url: expected a text such as "http://127.0.0.1:8080/check", got ' .. describe(url)
  elseif url:match("^[hH][tT][tT][pP][sS]://") then
    return nil, "url: https:// is not available: there is no TLS yet; let HAProxy, nginx or "
      .. "stunnel on this machine speak it, and name its http:// address"
  end
  local authority, target = url:match("^[hH][tT][tT][pP]://([^/?#]+)([^#]*)")
  local host, port = (authority or ""):match("^(.-):?(%d*)$")
  local name = host and (host:match("^%[([%x:.]+)%]$") or host:match("^[%w_.-]+$"))
  port = port ~= "" and tonumber(port) or 80
  if not name or authority:find(":$") or port < 1 or port > 65535
    or url:find("[%c%s\127-\255]") then
    return nil, ("url: expected one such as \"http://127.0.0.1:8080/check\", with all other bytes "
      .. "than letters, digits and signs as %%XX, got %s"):format(describe(url))
  end
  return { host = name, port = port, authority = authority,
    target = (target:byte() == 47 and "" or "/") .. target }
end

local function headers_problem(headers)
  if headers ~= nil and type(headers) ~= "table" then
    return "headers: expected a table, got " .. describe(headers)
  end
  for name, value in pairs(headers or {}) do
    if type(name) ~= "string" or not name:match(TOKEN) then
      return ("headers: '%s' can't be the name of a header"):format(suggest.name(name))
    elseif FRAMING[name:lower()] then
      return ("headers: '%s' is not a script's to say"):format(name)
    elseif type(value) ~= "string" and type(value) ~= "number"
      or tostring(value):find("[%z\1-\8\10-\31\127]") then
      return ("headers: '%s': expected a text without control characters, got %s"):format(name,
        describe(value))
    end
  end
  return nil
end

--- What is wrong with a request.
---@return string|nil problem
---@return table|nil url taken apart
local function problem_of(options)
  local problem = suggest.options_problem(options, KEYS)
  if problem then
    return problem
  end
  local url
  url, problem = parse_url(options.url)
  if problem then
    return problem
  elseif options.method ~= nil
    and not (type(options.method) == "string" and options.method:match(TOKEN)) then
    return 'method: expected a word such as "POST", got ' .. describe(options.method)
  elseif options.body ~= nil and type(options.body) ~= "string" then
    return "body: expected a text, got " .. describe(options.body)
  elseif options.socket ~= nil
    and not (type(options.socket) == "string" and options.socket:match("^unix:/")) then
    return 'socket: expected a path such as "unix:/run/app.sock", got ' .. describe(options.socket)
  elseif options.limit ~= nil and not units.size(options.limit) then
    return ("limit: expected %s, got %s"):format(units.SIZE, describe(options.limit))
  end
  for _, key in ipairs({ "timeout", "keepalive" }) do
    local value = options[key]
    if value ~= nil and (not units.duration(value) or units.duration(value) == 0) then
      return ("%s: expected %s, above zero, got %s"):format(key, units.DURATION, describe(value))
    end
  end
  return headers_problem(options.headers), url
end

--- The text of a request.
local function text_of(options, url, method)
  local lines, given = { ("%s %s HTTP/1.1"):format(method, url.target) }, {}
  for name, value in pairs(options.headers or {}) do
    given[name:lower()] = true
    lines[#lines + 1] = name .. ": " .. value
  end
  if not given.host then
    lines[#lines + 1] = "Host: " .. url.authority
  end
  if not given["user-agent"] then
    lines[#lines + 1] = "User-Agent: moongate/" .. moongate.version
  end
  local body = options.body
  if body or method == "POST" or method == "PUT" or method == "PATCH" then
    lines[#lines + 1] = "Content-Length: " .. #(body or "")
  end
  if not options.keepalive then
    lines[#lines + 1] = "Connection: close"
  end
  return table.concat(lines, "\r\n") .. "\r\n\r\n" .. (body or "")
end

local IDEMPOTENT = { GET = true, HEAD = true, OPTIONS = true, PUT = true, DELETE = true }

--- One try.
---@return table|nil answer
---@return string|nil reason
---@return boolean|nil again a kept connection was closed before anything came: a new one may do
local function try(options, url, method, deadline, fresh)
  local there, socket = pcall(moongate.tcp)
  if not there then
    return nil, "commands send nothing"
  end
  local reader = setmetatable({ socket = socket, deadline = deadline, buffer = "" }, Reader)
  if not set_time(reader) then
    return nil, "timeout"
  end
  local pool = { pool = (options.socket or url.host .. ":" .. url.port) .. (fresh or "") }
  local ok, reason
  if options.socket then
    ok, reason = socket:connect(options.socket, pool)
  else
    ok, reason = socket:connect(url.host, url.port, pool)
  end
  if ok then
    ok, reason = set_time(reader) or nil, "timeout"
  end
  local reused = ok and socket:getreusedtimes() > 0
  if ok then
    ok, reason = socket:send(text_of(options, url, method))
  end
  local answer, parts = nil, {}
  if ok then
    answer, reason = read_head(reader)
  end
  if answer then
    ok, reason = read_body(reader, answer, method, units.size(options.limit or "1M"), parts)
  end
  if not answer or not ok then
    socket:close()
    return nil, reason, reused and not reader.begun and reason ~= "timeout"
  end
  answer.body = table.concat(parts)
  local connection = (answer.headers.connection or ""):lower()
  if options.keepalive and answer.minor == 1 and not answer.ends and reader.buffer == ""
    and not connection:find("close", 1, true) then
    socket:setkeepalive(units.duration(options.keepalive) * 1000, 10)
  else
    socket:close()
  end
  answer.minor, answer.ends = nil, nil
  return answer
end

--- Makes a request and waits for the whole answer.
---@param options table url, method, headers, body, timeout, limit, socket, keepalive
---@return table|nil answer status, headers, list, body
---@return string|nil reason "timeout", "too large", "connection refused", ...
--- Raises an error at the caller's line where the request can't be made.
function M.request(options)
  local problem, url = problem_of(options)
  if problem then
    error("http.request: " .. problem, 2)
  end
  local method = options.method or options.body and "POST" or "GET"
  local deadline = clock() + units.duration(options.timeout or 10)
  local ok, answer, reason, again = pcall(try, options, url, method, deadline)
  if not ok then -- such as in a hook that can't wait: the place is the caller's
    local text = type(answer) == "string" and answer:match("^%S+:%d+: (this .* can't wait.*)$")
    error(text and "http.request: " .. text or answer, text and 2 or 0)
  elseif again and IDEMPOTENT[method] then
    answer, reason = try(options, url, method, deadline, " fresh")
  end
  return answer, reason
end

return suggest.strict(M, "moongate.http")
