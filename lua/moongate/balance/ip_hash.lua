-- moongate.balance.ip_hash: a client goes to the same server, as long as that is there. Called by
-- settings.

local hash = require("moongate.balance.hash")

local M = {}

local find, match = string.find, string.match

--- What stays of a client's address. One of IPv6 changes within its network of 64 bits.
local function client(ip)
  if find(ip, ".", 1, true) then
    return ip
  end
  return match(ip, "^%x+:%x+:%x+:%x+") or match(ip, "^(.-)::") or ip
end

--- A policy is made once for each backend and worker.
---@return fun(req: table, servers: table[]): table pick
function M.new()
  local pick = hash.picker()

  return function(req, servers)
    return pick(client(req.ip), servers)
  end
end

return M
