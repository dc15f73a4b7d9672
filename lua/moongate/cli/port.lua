-- moongate.cli.port owns who holds a port that is in use, as Linux tells it in /proc. Of another
-- user's processes only root is told. Called by moongate.cli.common.

local file = require("moongate.cli.file")

local M = {}

local LISTENS = "0A" -- the state of a socket in /proc/net/tcp

local function read(path)
  return file.text(path) or ""
end

--- The link that descriptors of a socket which listens on the port have.
local function link_of(port, reader)
  for _, name in ipairs({ "tcp", "tcp6" }) do
    for line in reader("/proc/net/" .. name):gmatch("[^\n]+") do
      local hex, state, inode = line:match(
        "^%s*%d+: %x+:(%x+) %x+:%x+ (%x+) %x+:%x+ %x+:%x+ %x+%s+%d+%s+%d+ (%d+)")
      if hex and tonumber(hex, 16) == port and state == LISTENS then
        return "socket:[" .. inode .. "]"
      end
    end
  end
end

local function has_link(folder, link, core)
  for _, name in ipairs(core.listdir(folder) or {}) do
    if core.readlink(folder .. "/" .. name) == link then
      return true
    end
  end
  return false
end

--- The process that listens on the port.
---@param port integer
---@param core table with listdir and readlink
---@param reader function|nil path -> text
---@return string|nil owner "nginx (pid 12)"
function M.owner(port, core, reader)
  reader = reader or read
  local link = link_of(port, reader)
  for _, pid in ipairs(link and core.listdir("/proc") or {}) do
    if pid:find("^%d+$") and has_link("/proc/" .. pid .. "/fd", link, core) then
      local name = reader("/proc/" .. pid .. "/comm"):match("^[^\n]+") or "a process"
      return ("%s (pid %s)"):format(name, pid)
    end
  end
end

--- The message of a server that could not start, with the process that holds the port.
---@param message string
---@param core table
---@return string
function M.explain(message, core)
  local before, port, rest = message:match(
    "^(can't listen on %S+:(%d+): it is in use); 'ss %-lnp' [^;]*(.*)$")
  local owner = port and M.owner(tonumber(port), core)
  return owner and ("%s by %s%s"):format(before, owner, rest) or message
end

return M
