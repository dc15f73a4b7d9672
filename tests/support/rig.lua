-- What the scenarios about backends start from: the responder, and a server whose route sends
-- everything to it. The scenario says what differs from the defaults, and steers the responder
-- through the query of each request.
--
--   local r = rig.start { backend = "keepalive = 4", settings = "limits = { body = '1k' }" }
--   local res = r:get("status=404&body=gone")
--   r:stop()                                  -- with the checks of both

local http = require("tests.support.http")
local json = require("moongate.base.json")
local poll = require("tests.support.poll")
local process = require("tests.support.process")
local responder = require("tests.support.responder")
local server = require("tests.support.server")

local rig = {}

---@class RigOptions
---@field backend? string more keys of the backend `app`
---@field backends? string further backends
---@field settings? string more keys of the route
---@field on_request? string body of the hook, instead of the usual decision
---@field before? string text before the route's `return`
---@field servers? string[]|fun(addresses: string[]): string addresses, instead of the responder's;
---  or what makes the text of the route's `servers` of the responder's addresses
---@field responder? table options for responder.start; false for none
---@field violations? boolean the responder may see violations of the protocol
---@field workers? integer 1 by default
---@field dies? boolean a worker may be replaced in the scenario
---@field control? boolean there is a control listener, for `Rig:command`
---@field resolver? string address of the DNS server to ask
---@field args? string[] more arguments of the server
---@field server? table further options for server.start

---@class Rig
---@field server Server
---@field back Responder
---@field address string of the server
---@field workers integer[] pids at the start
---@field control? string address of the control listener
local Rig = {}
Rig.__index = Rig

local ROUTE = [[
%s
return {
  control = %s,
  backends = { app = { servers = { %s }, %s }, %s },
  %s
  on_request = function(req)
    %s
    return { backend = "app", docroot = "/srv/app" }
  end,
}
]]

-- The text of the route's list of servers.
local function server_list(self, options)
  if type(options.servers) == "function" then
    return options.servers(self.back.addresses)
  end
  local quoted = {}
  for i, address in ipairs(options.servers or self.back.addresses) do
    quoted[i] = ("%q"):format(address)
  end
  return table.concat(quoted, ", ")
end

-- A function of the responder's addresses may stand for these texts.
local function text_of(self, value)
  if type(value) == "function" then
    return value(self.back.addresses)
  end
  return value or ""
end

-- A busy machine may keep a hook from running for longer than the second that it has by itself.
local function patient(settings)
  return settings:find("script_timeout", 1, true) and settings
    or settings .. " script_timeout = 20,"
end

local function route_text(self, options)
  local settings = patient(options.settings and options.settings .. "," or "")
  if options.resolver then
    settings = settings .. (" resolver = %q,"):format(options.resolver)
  end
  return ROUTE:format(options.before or "", self.control and ("%q"):format(self.control) or "false",
    server_list(self, options), options.backend or "", text_of(self, options.backends), settings,
    options.on_request or "")
end

--- Starts both.
---@param options? RigOptions
---@return Rig
function rig.start(options)
  options = options or {}
  local self = setmetatable({ violations = options.violations, dies = options.dies }, Rig)
  if options.responder ~= false then
    self.back = responder.start(options.responder)
  end
  if options.control then
    self.control = ("unix:%s/control.sock"):format(process.tempdir("control"))
  end
  local start = {
    route = route_text(self, options), workers = options.workers, args = options.args,
  }
  for key, value in pairs(options.server or {}) do
    start[key] = value
  end
  self.options = options
  self.server = server.start(start)
  self.address = self.server.address
  self.workers = self.server:workers()
  return self
end

--- Ends both, the server first, each with its checks: among them that the worker is still the one
--- that it was, or, where the only one has been replaced by reloads, that none was lost.
function Rig:stop()
  local workers = table.concat(self.server:workers(), " ")
  local ok, problem = pcall(self.server.stop, self.server)
  if self.back then
    self.back:stop({ violations = self.violations })
  end
  if not ok then
    error(problem, 2)
  elseif self.dies then
    return
  end
  local log = self.server:errors()
  local reloaded = #self.workers == 1 and log:find("generation %d+ serves")
  if log:find("another one takes its place", 1, true)
    or not reloaded and workers ~= table.concat(self.workers, " ") then
    error("the worker was replaced:\n" .. self.server:errors(), 2)
  end
end

--- The text of this rig's route with some options changed, for a reload.
---@param changes? RigOptions
---@return string
function Rig:route(changes)
  local options = {}
  for key, value in pairs(self.options) do
    options[key] = value
  end
  for key, value in pairs(changes or {}) do
    options[key] = value
  end
  return route_text(self, options)
end

--- What `moongate status --json` says.
---@return table
function Rig:status()
  return json.decode(self:tell("status", "--json"))
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

--- The lines of the responder's log with this name, each as a table of its `key=value` pairs. A
--- line that is still being written does not count.
---@param name "OPEN"|"START"|"HELD"|"REQUEST"|"OFFER"|"CLOSE"|"VALUES"|"VIOLATION"
---@param log? string what the log said, by default what it says now
---@return table<string, string>[]
function Rig:events(name, log)
  local list = {}
  for line in (log or self.back:log()):gmatch(name .. " ([^\n]+)\n") do
    local event = {}
    for key, value in line:gmatch("(%w+)=(%S*)") do
      event[key] = event[key] or value
    end
    list[#list + 1] = event
  end
  return list
end

--- Runs `moongate ARGS...` against the control listener.
---@param ... string
---@return RunResult
function Rig:command(...)
  local args = { ... }
  args[#args + 1] = "--control"
  args[#args + 1] = self.control
  return server.command(args)
end

--- The same, and it must succeed.
---@param ... string
---@return string stdout
function Rig:tell(...)
  local result = self:command(...)
  if result.code ~= 0 then
    error(("moongate %s: exit status %s: %s"):format(table.concat({ ... }, " "),
      tostring(result.code), result.stderr), 2)
  end
  return result.stdout
end

--- Waits until so many requests whose target matches have reached the responder.
---@param pattern string a Lua pattern
---@param count integer
function Rig:wait_started(pattern, count)
  poll.wait(function()
    local found = 0
    for _, event in ipairs(self:events("START")) do
      found = found + (event.uri:find(pattern) and 1 or 0)
    end
    return found >= count
  end, ("%d requests for %q at the responder"):format(count, pattern))
end

--- Waits until so many more requests than at the last call are held by the responder (`delay=hold`
--- and its like), and lets all that it holds go on.
---@param count? integer 1 by default
function Rig:release(count)
  self.released = (self.released or 0) + (count or 1)
  poll.wait(function()
    return #self:events("HELD") >= self.released
  end, ("%d requests to be held by the responder"):format(count or 1))
  self.back.process:kill("USR2")
end

--- How many requests each address of the responder has had: number of the address -> count.
---@param pattern? string Lua pattern that their target must match
---@return table<integer, integer>
function Rig:shares(pattern)
  local shares = {}
  for _, event in ipairs(self:events("REQUEST")) do
    if not pattern or (event.uri or ""):find(pattern) then
      local listener = tonumber(event.listener)
      shares[listener] = (shares[listener] or 0) + 1
    end
  end
  return shares
end

--- The most connections that one address of the responder has had at a time.
---@param listener? integer 1 by default
---@return integer
function Rig:open_max(listener)
  local most = 0
  for _, event in ipairs(self:events("OPEN")) do
    if event.listener == tostring(listener or 1) then
      most = math.max(most, tonumber(event.open))
    end
  end
  return most
end

--- How many connections to the responder are open.
---@return integer
function Rig:open_connections()
  local log = self.back:log()
  return #self:events("OPEN", log) - #self:events("CLOSE", log)
end

--- Waits until so many connections to the responder are open.
---@param count integer
function Rig:wait_connections(count)
  local ok = poll.try(function()
    return self:open_connections() == count
  end, poll.PATIENCE)
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
