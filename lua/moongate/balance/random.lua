-- moongate.balance.random: any server, the heavier the likelier. Called by settings.

local random = require("moongate.base.random")

local M = {}

--- A policy is made once for each backend and worker.
---@param _ table the backend
---@param dice nil|fun(): number at least 0, below 1
---@return fun(req: table, servers: table[]): table pick
function M.new(_, dice)
  dice = dice or random.new()

  return function(_, servers)
    local total = 0
    for i = 1, #servers do
      total = total + servers[i].weight
    end
    local rest = dice() * total
    for i = 1, #servers - 1 do
      rest = rest - servers[i].weight
      if rest < 0 then
        return servers[i]
      end
    end
    return servers[#servers]
  end
end

return M
