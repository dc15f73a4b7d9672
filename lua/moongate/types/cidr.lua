-- moongate.types.cidr: what an editor is told of `require "moongate.net.cidr"`. Called by
-- moongate.types.
-- luacheck: no max line length (an annotation can't be broken)

return [==[
--- A set of addresses and networks.
---@class moongate.Networks
---@field has fun(self: moongate.Networks, address?: string): boolean

local cidr = {}

--- A set: "10.0.0.1", "10.0.0.0/8", "2001:db8::/32", "unix:".
---@param list string|string[]
---@return moongate.Networks
function cidr.set(list) end

return cidr
]==]
