-- A DNS server for scenarios about servers that are given by name: dnsmasq on a free port of the
-- loopback, with only the names that the scenario gives it, for as long as it needs it. 127.0.0.0/8
-- is the loopback, so several hosts may share a port.
--
--   local names = dns.start { ["app.test"] = { "127.0.0.2" } }
--   names:set { ["app.test"] = { "127.0.0.3", "127.0.0.4" } }
--   names:stop()

local net = require("tests.support.net")
local poll = require("tests.support.poll")
local process = require("tests.support.process")
local socket = require("socket")

local dns = {}

---@class Dns
---@field address string "127.0.0.1:port", for the setting `resolver`
local Dns = {}
Dns.__index = Dns

-- A port of the loopback that is free for both of its protocols.
local function free_port()
  return poll.wait(function()
    local port = net.free_port()
    local probe = assert(socket.udp())
    local free = probe:setsockname("127.0.0.1", port)
    probe:close()
    return free and port
  end, "a free port")
end

local function write_names(self, names)
  local lines = {}
  for name, addresses in pairs(names) do
    for _, address in ipairs(addresses) do
      lines[#lines + 1] = address .. " " .. name
    end
  end
  lines[#lines + 1] = ""
  process.write_file(self.hosts, table.concat(lines, "\n"))
end

-- How often it has read the file of names.
local function times_read(self)
  local _, count = self:log():gsub("read [^\n]*/names ", "")
  return count
end

--- Starts it with these names (below `.test`; others are answered by NXDOMAIN) and waits until it
--- answers. As root it stays root: no user of the machine is needed.
---@param names table<string, string[]> name -> addresses
---@param options? { address?: string } where one was that has been stopped
---@return Dns
function dns.start(names, options)
  local dir = process.tempdir("dns")
  local address = options and options.address or "127.0.0.1:" .. free_port()
  local self = setmetatable({
    address = address,
    hosts = dir .. "/names",
    log_path = dir .. "/log",
  }, Dns)
  write_names(self, names)
  self.process = process.spawn({
    argv = { "/usr/sbin/dnsmasq", "--no-daemon", "--conf-file=/dev/null", "--pid-file=",
      "--listen-address=127.0.0.1", "--bind-interfaces", "--port=" .. address:match("%d+$"),
      "--no-resolv", "--no-poll", "--no-hosts", "--addn-hosts=" .. self.hosts,
      "--local=/test/", "--log-queries" },
    stderr = self.log_path,
  })
  poll.wait(function()
    assert(self.process:alive(), "dnsmasq: " .. self:log())
    return times_read(self) > 0 and net.listening(self.address)
  end, "dnsmasq to listen")
  return self
end

--- Its log: what it was asked, and what it answered.
---@return string
function Dns:log()
  return process.read_file(self.log_path) or ""
end

--- How often this name was asked for.
---@param name string
---@return integer
function Dns:asked(name)
  local _, count = self:log():gsub("query%[%w+%] " .. name:gsub("%p", "%%%0") .. " ", "")
  return count
end

--- Replaces all names, and waits until it has read the new ones.
---@param names table<string, string[]>
function Dns:set(names)
  local before = times_read(self)
  write_names(self, names)
  self.process:kill("HUP")
  poll.wait(function()
    return times_read(self) > before
  end, "dnsmasq to read its names")
end

--- It stays there and answers nothing, or goes on.
---@param silent boolean
function Dns:silence(silent)
  self.process:kill(silent and "STOP" or "CONT")
end

--- Ends it; safe to call twice.
function Dns:stop()
  self.process:kill("CONT")
  self.process:stop(5)
end

return dns
