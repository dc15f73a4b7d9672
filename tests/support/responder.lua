-- Starts build/tests/responder, the FastCGI backend that can be told to misbehave (responder.c says
-- how), on a socket in a temporary folder. For scenarios that need every byte under control.

local net = require("tests.support.net")
local poll = require("tests.support.poll")
local process = require("tests.support.process")
local server = require("tests.support.server")

local responder = {}

---@class Responder
---@field address string as a backend's ADDR
---@field addresses string[] all of them, where several were asked for
local Responder = {}
Responder.__index = Responder

-- The one built together with the binary under test (with sanitizers or without), if there is one.
local function program(name)
  local path = server.binary():match("^(.*)/[^/]*$") .. "/tests/" .. name
  return process.read_file(path) and path or process.cwd() .. "/build/tests/" .. name
end

local function choose_addresses(options, dir)
  if options.addresses then
    return options.addresses
  end
  local list = {}
  for i = 1, options.count or 1 do
    list[i] = options.tcp and "127.0.0.1:" .. net.free_port()
      or ("unix:%s/responder%d.sock"):format(dir, i)
  end
  return list
end

--- Starts it and waits until it accepts.
---@param options? { tcp?: boolean, count?: integer, addresses?: string[], args?: string[],
---  program?: string } a TCP port instead of a unix socket; how many addresses; or the addresses
---  themselves; "multiplexer", which serves several requests on a connection
---@return Responder
function responder.start(options)
  options = options or {}
  local dir = process.tempdir("back")
  local self = setmetatable({
    addresses = choose_addresses(options, dir),
    log_path = dir .. "/log",
    stderr_path = dir .. "/stderr",
  }, Responder)
  self.address = self.addresses[1]
  local argv = { program(options.program or "responder") }
  for _, address in ipairs(self.addresses) do
    argv[#argv + 1] = address
  end
  for _, word in ipairs(options.args or {}) do
    argv[#argv + 1] = word
  end
  argv[#argv + 1] = "--log"
  argv[#argv + 1] = self.log_path
  self.process = process.spawn({ argv = argv, stderr = self.stderr_path })
  poll.wait(function()
    assert(self.process:alive(), "responder: " .. (process.read_file(self.stderr_path) or ""))
    for _, address in ipairs(self.addresses) do
      local path = address:match("^unix:(.*)$")
      if not net.listening(address) then
        return false
      end
      if path then
        process.chmod(path, "666") -- the proxy's workers may be another user
      end
    end
    return true
  end, "the responder to accept")
  return self
end

--- What it noted so far: one line for each request, and violations of the protocol.
---@return string
function Responder:log()
  return process.read_file(self.log_path) or ""
end

--- Waits for a line of its log.
---@param pattern string a Lua pattern
---@param timeout? number
---@return string line
function Responder:wait_log(pattern, timeout)
  return poll.wait(function()
    for line in self:log():gmatch("([^\n]+)\n") do
      if line:find(pattern) then
        return line
      end
    end
  end, ("%q in the responder's log"):format(pattern), timeout)
end

--- Ends it. Raises an error if the proxy violated the protocol, unless told that it may have.
---@param options? { violations?: boolean }
function Responder:stop(options)
  if self.stopped then
    return
  end
  self.stopped = true
  self.process:stop(5)
  local violation = self:log():match("VIOLATION[^\n]*")
  if violation and not (options and options.violations) then
    error(violation, 2)
  end
end

return responder
