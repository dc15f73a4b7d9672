-- moongate.base.networks owns sets of addresses and networks: is a client's address in one? IPv4 in
-- IPv6's form is IPv4, "unix:" stands for clients of unix sockets. Called by maintenance. The set
-- of trusted proxies, which the core asks, is core/base/netset.

local addr = require("moongate.base.addr")

local M = {}

local byte, char, floor, sub = string.byte, string.char, math.floor, string.sub

local REMEMBERED = 1000 -- addresses of a set
local V4_IN_V6 = ("\0"):rep(10) .. "\255\255"

--- The bytes of an address, 4 or 16.
---@param ip string valid
---@return string
local function bytes_of(ip)
  local bytes = char(unpack(addr.bytes(ip)))
  if #bytes == 16 and sub(bytes, 1, 12) == V4_IN_V6 then
    return sub(bytes, 13)
  end
  return bytes
end

--- The first bits of an address, as a key.
local function prefix(bytes, bits)
  local whole, rest = floor(bits / 8), bits % 8
  if rest == 0 then
    return sub(bytes, 1, whole)
  end
  local step = 2 ^ (8 - rest)
  local last = byte(bytes, whole + 1)
  return sub(bytes, 1, whole) .. char(last - last % step)
end

--- A set.
---@param list string[] addresses ("10.0.0.1"), networks ("2001:db8::/32"), "unix:"
---@return nil|fun(ip: string): boolean has false, too, for what is no address
---@return string|nil problem the first that is nothing of the kind, in words
function M.new(list)
  local lengths, unix = {}, false
  for i, text in ipairs(list) do
    local network, problem = addr.network(text)
    if not network then
      return nil, ("%s: expected %s%s"):format(type(text) == "string" and "'" .. text .. "'"
        or "element " .. i, addr.NETWORK_EXPECTED, problem and "; " .. problem or "")
    elseif network == "unix:" then
      unix = true
    else
      local host, bits = network:match("^([^/]*)/?(%d*)$")
      local bytes = bytes_of(host)
      local family = #bytes
      bits = tonumber(bits) or 8 * family
      if family == 4 and host:find(":", 1, true) then
        bits = math.max(0, bits - 96)
      end
      local key = family * 1000 + bits
      lengths[key] = lengths[key] or { family = family, bits = bits, prefixes = {} }
      lengths[key].prefixes[prefix(bytes, bits)] = true
    end
  end
  local known, count = {}, 0
  local function look(ip)
    if ip == "unix:" then
      return unix
    end
    local host = ip:gsub("%%.*$", "") -- without a zone
    if host:find("/", 1, true) or not addr.network(host) then
      return false
    end
    local bytes = bytes_of(host)
    for _, length in pairs(lengths) do
      if length.family == #bytes and length.prefixes[prefix(bytes, length.bits)] then
        return true
      end
    end
    return false
  end
  return function(ip)
    local found = known[ip]
    if found == nil then
      if count >= REMEMBERED then
        known, count = {}, 0
      end
      found = look(ip)
      known[ip], count = found, count + 1
    end
    return found
  end
end

return M
