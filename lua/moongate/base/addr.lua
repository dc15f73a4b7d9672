-- moongate.base.addr owns the text form of addresses: host:port, [v6]:port, :port, *:port,
-- unix:/path; and of networks: 10.0.0.0/8. Called by settings, decision and cli. It looks nothing
-- up: names are resolved by core/.

local M = {}

-- sizeof(sun_path) less its final zero byte.
local MAX_UNIX_PATH = 107

M.EXPECTED = 'an address such as "127.0.0.1:8080", ":8080", "[::1]:8080" or "unix:/run/app.sock"'

---@param text string
---@return boolean
local function is_port(text)
  local port = text:match("^%d%d?%d?%d?%d?$") and tonumber(text)
  return port ~= nil and port >= 1 and port <= 65535
end

---@param host string
---@return boolean
local function is_v4(host)
  local count = 0
  for part in host:gmatch("[^.]+") do
    count = count + 1
    -- A zero in front would be octal for some libraries: 010.0.0.1 is 8.0.0.1 to them.
    if not part:match("^%d%d?%d?$") or part:match("^0%d") or tonumber(part) > 255 then
      return false
    end
  end
  return count == 4 and not host:find("..", 1, true)
end

---@param host string without brackets
---@return boolean
local function is_v6(host)
  local tail = host:match(":(%d+%.%d+%.%d+%.%d+)$")
  if tail then
    if not is_v4(tail) then
      return false
    end
    host = host:sub(1, -#tail - 1) .. "0:0"
  end
  local _, gaps = host:gsub("::", "")
  if host:find("[^%x:]") or host:find(":::", 1, true) or gaps > 1 then
    return false
  end
  if host:match("^:%f[^:]") or host:match("%f[:]:$") then
    return false -- one colon at either end
  end
  local groups = 0
  for group in host:gmatch("[^:]+") do
    groups = groups + 1
    if #group > 4 then
      return false
    end
  end
  return gaps == 1 and groups < 8 or gaps == 0 and groups == 8
end

---@param host string
---@return boolean
local function is_name(host)
  if #host > 253 or host:match("^[%d.]+$") then
    return is_v4(host)
  end
  return host:match("^[%w_][%w_.-]*$") ~= nil and not host:find("..", 1, true)
end

---@param path string
---@return string|nil address, string|nil problem
local function parse_unix(path)
  if path:sub(1, 1) ~= "/" then
    return nil, 'a unix socket needs an absolute path ("unix:/run/app.sock")'
  elseif path:find("%c") or path:match("/$") then
    return nil, "this is no path of a socket"
  elseif #path > MAX_UNIX_PATH then
    return nil, ("the path of a unix socket has at most %d bytes, this one has %d"):format(
      MAX_UNIX_PATH, #path)
  end
  return "unix:" .. path
end

--- Checks an address and brings it into the one form that core/ reads.
---@param text any
---@param use "listen"|"connect" what ":port" means: all addresses, or this machine
---@return string|nil address nil where text is no address
---@return string|nil problem what is wrong with it, where more than the form is
function M.parse(text, use)
  if type(text) ~= "string" then
    return nil
  end
  local path = text:match("^unix:(.*)$")
  if path then
    return parse_unix(path)
  end
  local v6, port = text:match("^%[(.*)%]:(%d+)$")
  if v6 and v6:find("%", 1, true) then
    return nil, "an IPv6 address with a zone (%eth0) can't be used: a global address has none"
  elseif v6 then
    return is_port(port) and is_v6(v6) and text or nil
  end
  local host
  host, port = text:match("^([^:]*):(%d+)$")
  if not host or not is_port(port) then
    if host then
      return nil, "a port is a number from 1 to 65535"
    end
    return nil
  end
  if host == "*" and use == "connect" then
    return nil, '"*" is for listening; a server needs a host ("127.0.0.1:9000")'
  elseif host == "" or host == "*" then
    return (use == "connect" and "127.0.0.1:" or "0.0.0.0:") .. port
  end
  return is_name(host) and text or nil
end

--- What follows "https://" in a word of the command line.
---@param text any
---@return string|nil address nil where it does not begin so
function M.secure(text)
  return type(text) == "string" and text:match("^https://(.-)/?$") or nil
end

--- The host of an address, without brackets.
---@param address string as `parse` gives it
---@return string host "" for a unix socket
function M.host(address)
  return address:match("^%[(.*)%]:%d+$") or address:match("^([^:]*):%d+$") or ""
end

--- Whether a host is this machine, whatever name servers say.
---@param host string a name in lower case or an address, without brackets
---@return boolean
function M.is_loopback(host)
  return host == "localhost" or host:match("%.localhost$") ~= nil or host == "::1"
    or host:match("^127%.%d+%.%d+%.%d+$") ~= nil
end

--- Whether only processes of this machine can connect to an address.
---@param address string as `parse` gives it
---@return boolean
function M.is_local(address)
  return address:find("^unix:") ~= nil or M.is_loopback(M.host(address):lower())
end

-- Networks ---------------------------------------------------------------------------------------

M.NETWORK_EXPECTED = 'an address or a network such as "10.0.0.1", "10.0.0.0/8", "2001:db8::/32" or '
  .. '"unix:"'

--- The bytes of an address.
---@param host string valid
---@return integer[]
local function bytes_of(host)
  local list = {}
  if not host:find(":", 1, true) then
    for part in host:gmatch("%d+") do
      list[#list + 1] = tonumber(part)
    end
    return list
  end
  host = host:gsub("(%d+)%.(%d+)%.(%d+)%.(%d+)$", function(a, b, c, d)
    return ("%x:%x"):format(a * 256 + b, c * 256 + d)
  end)
  local before, after = host:match("^(.-)::(.*)$")
  local function groups(text)
    local found = {}
    for group in text:gmatch("%x+") do
      found[#found + 1] = tonumber(group, 16)
    end
    return found
  end
  local first, last = groups(before or host), groups(after or "")
  for _ = 1, 8 - #first - #last do
    first[#first + 1] = 0
  end
  for _, group in ipairs(last) do
    first[#first + 1] = group
  end
  for _, group in ipairs(first) do
    list[#list + 1] = math.floor(group / 256)
    list[#list + 1] = group % 256
  end
  return list
end

M.bytes = bytes_of

--- The address with all bits behind the prefix zero; nil where they are zero already.
local function masked(host, bits)
  local list, changed = bytes_of(host), false
  for i, byte in ipairs(list) do
    local rest = 2 ^ math.max(0, math.min(8, 8 * i - bits))
    list[i] = byte - byte % rest
    changed = changed or list[i] ~= byte
  end
  if not changed then
    return nil
  elseif #list == 4 then
    return table.concat(list, ".")
  end
  local groups = {}
  for i = 1, 16, 2 do
    groups[#groups + 1] = ("%x"):format(list[i] * 256 + list[i + 1])
  end
  return table.concat(groups, ":")
end

--- Checks an address, a network or "unix:".
---@param text any
---@return string|nil network nil where text is nothing of the kind
---@return string|nil problem what is wrong with it, where more than the form is
function M.network(text)
  if type(text) ~= "string" then
    return nil
  elseif text == "unix:" then
    return text
  end
  local host, prefix = text:match("^([^/]*)/?(%d*)$")
  if not host or text:match("/$") or host:find("%", 1, true) then
    return nil
  end
  local v6 = host:find(":", 1, true) ~= nil
  if not (v6 and is_v6(host) or not v6 and is_v4(host)) then
    return nil
  end
  local most = v6 and 128 or 32
  if #prefix > 3 or (tonumber(prefix) or 0) > most then
    return nil, ("the prefix of %s has at most %d bits"):format(v6 and "IPv6" or "IPv4", most)
  end
  local network = masked(host, tonumber(prefix) or most)
  if network then
    return nil, ("bits are set behind the prefix; is %s/%s meant, or %s alone?"):format(network,
      prefix, host)
  end
  return text
end

return M
