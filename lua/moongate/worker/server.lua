-- moongate.worker.server: what a policy reads of a server. LuaJIT compiles this into the policy,
-- which it can't do with a function of C; so what most policies read stands in the server itself,
-- written before one is asked. Called by core/script/balance.c.

local M = {}

--- Where the numbers stand, as core/script/balance.c writes them.
local PLACES = { load = 1, weight = 2 }

--- The __index of servers.
---@param field fun(server: table, key: any): any reads all others from the ledger; raises an error
---  for a key that is none
---@return fun(server: table, key: any): any
function M.index(field)
  return function(server, key)
    local place = PLACES[key]
    if place then
      return server[place]
    end
    return field(server, key)
  end
end

return M
