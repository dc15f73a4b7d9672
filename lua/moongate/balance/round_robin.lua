-- moongate.balance.round_robin: servers in turn, by weight, as nginx does it. A server of weight 2
-- beside two of weight 1 gives a b a c, and not a a b c. Called by settings and by sticky.

local M = {}

--- A policy is made once for each backend and worker.
---@return fun(req: table, servers: table[]): table pick
function M.new()
  -- How much each server is owed. The same object stands for a server every time.
  local owed = setmetatable({}, { __mode = "k" })

  return function(_, servers)
    local best, most, total = nil, nil, 0
    for i = 1, #servers do
      local server = servers[i]
      local weight = server.weight
      local current = (owed[server] or 0) + weight
      owed[server] = current
      total = total + weight
      if best == nil or current > most then
        best, most = server, current
      end
    end
    owed[best] = most - total
    return best
  end
end

return M
