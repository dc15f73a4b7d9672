-- A server whose route runs the Lua that a scenario sends with a request, as on_request would, and
-- answers what it returned: for scenarios of the functions that wait. A worker of its own, so that
-- what leaks can be counted.
--
--   local l = lab.start()
--   l:run("return moongate.now() > 0, nil, 'x'")     --> 'true, nil, "x"'
--   local client = l:begin("return ...")             -- meanwhile the test is the other side
--   l:finish(client)

local http = require("tests.support.http")
local poll = require("tests.support.poll")
local process = require("tests.support.process")
local server = require("tests.support.server")

local lab = {}

---@class Lab
---@field server Server
---@field address string
local Lab = {}
Lab.__index = Lab

--- Of a worker that only serves: the link to the master, and what it accepts from.
lab.AT_REST = 2

local ROUTE = [==[
local moongate = require("moongate")
%s
local function show(value)
  if type(value) == "table" then
    local parts = {}
    for i, element in ipairs(value) do
      parts[i] = show(element)
    end
    return "{" .. table.concat(parts, ", ") .. "}"
  end
  return type(value) == "string" and ("%%q"):format(value) or tostring(value)
end
local function list(ok, ...)
  local parts = {}
  for i = 1, select("#", ...) do
    parts[i] = show((select(i, ...)))
  end
  return { status = ok and 200 or 500, body = table.concat(parts, ", ") }
end
kept = {}
local slots = kept
return {
  control = false,
  %s
  on_request = function(req)
    if req.path ~= "/run" then
      return { status = 200, body = "page" }
    end
    local code = moongate.unescape(req.headers["x-code"])
    local fn = assert(loadstring("local moongate, kept, req = ... " .. code, "=code"))
    return list(pcall(fn, moongate, slots, req))
  end,
  %s
}
]==]

server.inspect() -- see Lab:sockets

---@class LabOptions
---@field before? string text before the route's tables
---@field settings? string more keys of the route
---@field hooks? string more hooks
---@field env? table<string, string|false>
---@field args? string[]
---@field workers? integer

--- Starts it.
---@param options? LabOptions
---@return Lab
function lab.start(options)
  options = options or {}
  local settings = options.settings and options.settings .. "," or ""
  if not settings:find("script_timeout", 1, true) then -- a busy machine needs more than by itself
    settings = settings .. " script_timeout = 20,"
  end
  local gate = server.start({
    route = ROUTE:format(options.before or "", settings, options.hooks or ""),
    env = options.env, args = options.args, workers = options.workers,
  })
  return setmetatable({ server = gate, address = gate.address }, Lab)
end

--- Has it begin to run the code; `moongate`, `kept` (a table that stays) and `req` are its locals.
---@param code string
---@return table client for finish
function Lab:begin(code)
  local client = http.open(self.address)
  client:send({ path = "/run", headers = {
    ["X-Code"] = code:gsub("[^%w ()=,.:\"'+*/{}-]", function(c)
      return ("%%%02X"):format(c:byte())
    end):gsub("%%0A *", " "),
  } })
  return client
end

--- What it has returned, or its error.
---@return string
function Lab:finish(client)
  local body = client:receive().body
  client:close()
  return body
end

--- Both.
---@param code string
---@return string
function Lab:run(code)
  return self:finish(self:begin(code))
end

--- How many sockets the worker has open.
---@return integer
function Lab:sockets()
  local pid = self.server:workers()[1]
  local list = process.run({
    argv = { "sh", "-c", "ls -l /proc/" .. pid .. "/fd | grep -c socket:" },
  })
  return tonumber(list.stdout)
end

local function wait(self, count, before)
  local last
  local ok = poll.try(function()
    before()
    last = self:sockets()
    return last == count
  end, 5)
  if not ok then
    error(("%d sockets are open, expected %d"):format(last, count), 3)
  end
end

--- Waits until so many are.
---@param count integer
function Lab:wait_sockets(count)
  wait(self, count, function() end)
end

--- The same where a script has forgotten some, which the garbage collector closes: not at once,
--- since a value may still lie in a part of the stack that no function has used meanwhile.
---@param count integer
function Lab:collect(count)
  wait(self, count, function()
    self:run("jit.flush() collectgarbage()")
  end)
end

function Lab:stop()
  self.server:stop()
end

return lab
