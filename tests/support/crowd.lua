-- Many clients in one test, each written as if it were alone: a member is a function that runs in
-- a coroutine, and whose connections let the others go on while they wait. Beside clients there may
-- be members that do something to the server meanwhile.
--
--   local all = crowd.new()
--   all:add("reader", function()
--     local client = crowd.open(server.address)
--     client:request({ path = "/" })
--     crowd.sleep(0.1)
--     client:close()
--   end)
--   all:run(30)             -- until every member has ended; raises the errors of those that failed

local http = require("tests.support.http")
local net = require("tests.support.net")
local socket = require("socket")

local crowd = {}

---@class Crowd
---@field problems string[] what members have failed of, with their names
local Crowd = {}
Crowd.__index = Crowd

local MOST_PROBLEMS = 20

--- Lets the others go on until the socket is ready, or until the time.
---@param sock table|nil nil: until the time
---@param way "read"|"write"|nil
---@param deadline number
---@return boolean ready
local function wait(sock, way, deadline)
  return coroutine.yield(sock, way, deadline)
end

-- Connections whose waits are those of their member -----------------------------------------------

local Member = setmetatable({}, net.Connection)
Member.__index = Member

function Member:wait_readable(left)
  wait(self.sock, "read", socket.gettime() + left)
end

function Member:try_send(bytes)
  local deadline, from = self:deadline(), 1
  self.sock:settimeout(0)
  while true do
    local last, problem, sent = self.sock:send(bytes, from)
    if last then
      return true
    elseif problem ~= "timeout" or not wait(self.sock, "write", deadline) then
      return false, problem, sent
    end
    from = (sent or from - 1) + 1
  end
end

function Member:drip(pieces, pause)
  for _, piece in ipairs(pieces) do
    self:send(piece)
    crowd.sleep(pause)
  end
  return self
end

--- Connects, as http.open does.
---@param address string
---@param options? table
---@return HttpClient
function crowd.open(address, options)
  local client = http.open(address, options)
  setmetatable(client.conn, Member)
  return client
end

--- Pauses the member that calls it.
---@param seconds number
function crowd.sleep(seconds)
  wait(nil, nil, socket.gettime() + seconds)
end

--- Whether the condition comes true in time; it is looked at fifty times a second.
---@param condition fun(): any
---@param seconds number
---@return any
function crowd.try(condition, seconds)
  local deadline = socket.gettime() + seconds
  while true do
    local value = condition()
    if value or socket.gettime() > deadline then
      return value
    end
    crowd.sleep(0.02)
  end
end

-- The members -------------------------------------------------------------------------------------

---@return Crowd
function crowd.new()
  return setmetatable({ members = {}, problems = {} }, Crowd)
end

-- Lets one go on, up to its next wait.
local function go_on(self, member, ready)
  local ok, sock, way, deadline = coroutine.resume(member.thread, ready)
  if not ok and #self.problems < MOST_PROBLEMS then
    self.problems[#self.problems + 1] = ("%s: %s"):format(member.name, tostring(sock))
  end
  if not ok or coroutine.status(member.thread) == "dead" then
    self.members[member] = nil
    return
  end
  member.sock, member.way, member.deadline = sock, way, deadline
end

--- Begins with one more.
---@param name string for messages
---@param body fun()
function Crowd:add(name, body)
  local member = { name = name, thread = coroutine.create(body) }
  self.members[member] = true
  go_on(self, member, false)
end

-- Waits for the first that can go on, and lets all that can.
local function turn(self)
  local read, write, next_time, list = {}, {}, math.huge, {}
  for member in pairs(self.members) do
    list[#list + 1] = member
    next_time = math.min(next_time, member.deadline)
    if member.sock then
      local set = member.way == "read" and read or write
      set[#set + 1] = member.sock
    end
  end
  local can_read, can_write = socket.select(read, write, math.max(0, next_time - socket.gettime()))
  local now = socket.gettime()
  for _, member in ipairs(list) do
    local ready = member.sock ~= nil and (can_read[member.sock] or can_write[member.sock]) ~= nil
    if ready or now >= member.deadline then
      go_on(self, member, ready)
    end
  end
end

--- Until all have ended. Raises an error when that takes longer, or if one has failed.
---@param timeout number
function Crowd:run(timeout)
  local deadline = socket.gettime() + timeout
  while next(self.members) do
    turn(self)
    if socket.gettime() > deadline then
      local names = {}
      for member in pairs(self.members) do
        names[#names + 1] = member.name
      end
      self.problems[#self.problems + 1] = ("not at their end after %g s: %s"):format(timeout,
        table.concat(names, ", "))
      break
    end
  end
  if #self.problems > 0 then
    error(table.concat(self.problems, "\n"), 2)
  end
end

return crowd
