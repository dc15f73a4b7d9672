-- What the scenarios about backends start from: the responder, and a server whose route sends
-- everything to it. The scenario says what differs from the defaults, and steers the responder
-- through the query of each request.
--
--   local r = rig.start { backend = "keepalive = 4", settings = "limits = { body = '1k' }" }
--   local res = r:get("status=404&body=gone")
--   r:stop()                                  -- with the checks of both

local http = require("tests.support.http")
local poll = require("tests.support.poll")
local responder = require("tests.support.responder")
local server = require("tests.support.server")

local rig = {}

---@class RigOptions
---@field backend? string more keys of the backend `app`
---@field settings? string more keys of the route
---@field on_request? string body of the hook, instead of the usual decision
---@field before? string text before the route's `return`
---@field servers? string[] addresses, instead of the responder's
---@field responder? table options for responder.start; false for none
---@field violations? boolean the responder may see violations of the protocol

---@class Rig
---@field server Server
---@field back Responder
---@field address string of the server
---@field workers integer[] pids at the start
local Rig = {}
Rig.__index = Rig

local ROUTE = [[
%s
return {
  control = false,
  backends = { app = { servers = { %s }, %s } },
  %s
  on_request = function(req)
    %s
    return { backend = "app", docroot = "/srv/app" }
  end,
}
]]

--- Starts both.
---@param options? RigOptions
---@return Rig
function rig.start(options)
  options = options or {}
  local self = setmetatable({ violations = options.violations }, Rig)
  if options.responder ~= false then
    self.back = responder.start(options.responder)
  end
  local quoted = {}
  for i, address in ipairs(options.servers or self.back.addresses) do
    quoted[i] = ("%q"):format(address)
  end
  self.server = server.start({
    route = ROUTE:format(options.before or "", table.concat(quoted, ", "), options.backend or "",
      options.settings and options.settings .. "," or "", options.on_request or ""),
  })
  self.address = self.server.address
  self.workers = self.server:workers()
  return self
end

--- Ends both, the server first, each with its checks: among them that the worker is still the one
--- that it was.
function Rig:stop()
  local workers = table.concat(self.server:workers(), " ")
  local ok, problem = pcall(self.server.stop, self.server)
  if self.back then
    self.back:stop({ violations = self.violations })
  end
  if not ok then
    error(problem, 2)
  elseif workers ~= table.concat(self.workers, " ") then
    error("the worker was replaced:\n" .. self.server:errors(), 2)
  end
end

--- The target whose query are these commands of the responder.
---@param commands string
---@return string
function rig.target(commands)
  return "/x.php?" .. commands
end

--- One request on a connection of its own.
---@param commands string
---@param request? table further keys of the request
---@return HttpResponse
function Rig:get(commands, request)
  local copy = { path = rig.target(commands) }
  for key, value in pairs(request or {}) do
    copy[key] = value
  end
  return http.request(self.address, copy)
end

--- The params that the application got, from a reply to the command `dump`.
---@param res HttpResponse
---@return table<string, string>
function rig.params(res)
  local params = {}
  for name, value in res.body:gmatch("([^=\n]*)=([^\n]*)\n") do
    params[name] = value:gsub("\\x(%x%x)", function(hex)
      return string.char(tonumber(hex, 16))
    end)
  end
  return params
end

--- The body that the command `size=N` makes.
---@param size integer
---@return string
function rig.pattern(size)
  local lines = {}
  for i = 0, math.min(math.ceil(size / 16), 65536) - 1 do
    lines[i + 1] = ("%015d\n"):format(i)
  end
  local block = table.concat(lines)
  return block:rep(math.ceil(size / math.max(#block, 1))):sub(1, size)
end

--- What the command `sum` answers for a body: FNV-1a of 32 bits.
---@param body string
---@return string
function rig.sum(body)
  local hash = 2166136261
  for i = 1, #body do
    -- The product has 56 bits, more than a double holds: the factor 2^24 + 403 is applied in parts.
    hash = bit.bxor(hash, body:byte(i))
    hash = bit.tobit(bit.lshift(hash, 24) + bit.tobit(bit.band(hash, 0xffff) * 403)
      + bit.lshift(bit.rshift(hash, 16) * 403, 16))
  end
  return ("length=%d fnv=%s\n"):format(#body, bit.tohex(hash))
end

--- Bytes that no encoding leaves alone by chance: every value occurs, and no stretch repeats soon.
---@param size integer
---@return string
function rig.bytes(size)
  local state, list = 12345, {}
  for i = 1, math.min(size, 65521) do -- a prime: blocks do not fall on record borders
    state = bit.band(state * 1103 + 12289, 0xffffff)
    list[i] = string.char(bit.rshift(state, 11) % 256)
  end
  local block = table.concat(list)
  return block:rep(math.ceil(size / math.max(#block, 1))):sub(1, size)
end

--- The lines of the responder's log with this name, each as a table of its `key=value` pairs.
---@param name "OPEN"|"REQUEST"|"CLOSE"|"VALUES"|"VIOLATION"
---@return table<string, string>[]
function Rig:events(name)
  local list = {}
  for line in self.back:log():gmatch(name .. " ([^\n]+)") do
    local event = {}
    for key, value in line:gmatch("(%w+)=(%S*)") do
      event[key] = event[key] or value
    end
    list[#list + 1] = event
  end
  return list
end

--- How many connections to the responder are open.
---@return integer
function Rig:open_connections()
  return #self:events("OPEN") - #self:events("CLOSE")
end

--- Waits until so many connections to the responder are open.
---@param count integer
---@param timeout? number
function Rig:wait_connections(count, timeout)
  local ok = poll.try(function()
    return self:open_connections() == count
  end, timeout or 5)
  if not ok then
    error(("%d connections to the responder, expected %d:\n%s"):format(self:open_connections(),
      count, self.back:log()), 2)
  end
end

--- All bytes of a reply, up to the end of the connection.
---@param commands string
---@param request? table further keys of the request
---@return string
function Rig:raw(commands, request)
  local copy = { path = rig.target(commands) }
  for key, value in pairs(request or {}) do
    copy[key] = value
  end
  local client = http.open(self.address)
  client:send(copy)
  local bytes = client.conn:read_all()
  client:close()
  return bytes
end

--- Raises an error if these bytes of a reply look complete: the client could not tell that the
--- connection was cut within it.
---@param bytes string
---@return string bytes
function rig.assert_cut(bytes)
  local head, body = bytes:match("^(.-\r\n)\r\n(.*)$")
  if not head then
    error(("no head before the cut: %q"):format(bytes), 2)
  end
  local length = head:lower():match("\r\ncontent%-length: *(%d+)")
  local chunked = head:lower():match("\r\ntransfer%-encoding: chunked")
  if length and #body >= tonumber(length) or chunked and bytes:sub(-7) == "\r\n0\r\n\r\n" then
    error(("the reply looks complete: %q"):format(bytes:sub(-200)), 2)
  elseif not length and not chunked then
    error(("nothing tells that this reply is cut: %q"):format(head), 2)
  end
  return bytes
end

return rig
