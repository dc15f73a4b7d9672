-- moongate.net.cidr owns what routes see of sets of addresses and networks. Called by routes, and
-- by auth.

local addr = require("moongate.base.addr")
local describe = require("moongate.base.describe")
local networks = require("moongate.base.networks")
local suggest = require("moongate.base.suggest")

local M = {}

---@class moongate.Networks
---@field private look fun(ip: string): boolean
local Set = suggest.strict({}, "a set of networks")
Set.__index = Set

--- Whether an address is in one of the networks. An IPv4 address in IPv6's form is IPv4.
---@param address string|nil such as req.ip; "unix:" for clients of unix sockets
---@return boolean false, too, where it is no address
function Set:has(address)
  return type(address) == "string" and self.look(address)
end

--- A set of networks, made once and asked for each request.
---@param list string|string[] "10.0.0.1", "10.0.0.0/8", "2001:db8::/32", or "unix:"
---@return moongate.Networks
function M.set(list)
  if type(list) == "string" then
    list = { list }
  elseif type(list) ~= "table" then
    error(("cidr.set: expected %s, or a list of these, got %s"):format(addr.NETWORK_EXPECTED,
      describe(list)), 2)
  end
  local look, problem = networks.new(list)
  if not look then
    error("cidr.set: " .. problem, 2)
  end
  return setmetatable({ look = look }, Set)
end

return suggest.strict(M, "moongate.net.cidr")
