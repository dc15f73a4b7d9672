-- moongate.balance.p2c: the power of two choices. Two servers at random, and of those the one that
-- should answer sooner: its usual time, times the requests that it would have, for its weight.
-- Never the worst, and no herd that runs to the one best server. Called by settings.

local random = require("moongate.base.random")

local M = {}

--- One server at random by weight, but not the one at `except` (0: any).
---@return integer index
local function draw(servers, except, dice)
  local total, last = 0, nil
  for i = 1, #servers do
    if i ~= except then
      total, last = total + servers[i].weight, i
    end
  end
  local rest = dice() * total
  for i = 1, last do
    if i ~= except then
      rest = rest - servers[i].weight
      if rest < 0 then
        return i
      end
    end
  end
  return last
end

--- A policy is made once for each backend and worker.
---@param _ table the backend
---@param dice nil|fun(): number at least 0, below 1
---@return fun(req: table, servers: table[]): table pick
function M.new(_, dice)
  dice = dice or random.new()

  return function(_, servers)
    if #servers == 1 then
      return servers[1]
    end
    local first = draw(servers, 0, dice)
    local a, b = servers[first], servers[draw(servers, first, dice)]
    local time_a, time_b = a.latency, b.latency
    if time_a == 0 or time_b == 0 then
      time_a, time_b = 1, 1 -- one is not known: it counts as like the other
    end
    local cost_a = time_a * (a.load + 1) / a.weight
    local cost_b = time_b * (b.load + 1) / b.weight
    return cost_b < cost_a and b or a
  end
end

return M
