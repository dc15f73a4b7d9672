-- moongate.balance.least_conn: the server that would have the fewest requests for its weight. With
-- `load = "status"` those of other clients of the same PHP-FPM count too. Called by settings.

local M = {}

--- A policy is made once for each backend and worker.
---@return fun(req: table, servers: table[]): table pick
function M.new()
  -- When each server was last taken: among equals, the one that has waited longest.
  local taken, now = setmetatable({}, { __mode = "k" }), 0

  return function(_, servers)
    local best, least, waited
    for i = 1, #servers do
      local server = servers[i]
      local busy = (server.load + 1) / server.weight
      local last = taken[server] or 0
      if best == nil or busy < least or (busy == least and last < waited) then
        best, least, waited = server, busy, last
      end
    end
    now = now + 1
    taken[best] = now
    return best
  end
end

return M
