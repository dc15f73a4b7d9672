-- moongate.types.maintenance: what an editor is told of `require "moongate.maintenance"`. Called by
-- moongate.types.
-- luacheck: no max line length (an annotation can't be broken)

return [==[
--- A page for the time of maintenance.
---@class moongate.Maintenance
---@field name string `moongate set maintenance.NAME on`, and off
---@field page? string|moongate.Decision a file, default the standard page for 503
---@field allow? string|string[] addresses and networks that see the site nevertheless
---@field except? string|string[] patterns of paths that stay open
---@field retry_after? moongate.Duration
---@field on? boolean what it is at first, default false

local maintenance = {}

--- A function from request to the page, or to nil where the site is open.
---@param options moongate.Maintenance
---@return fun(req: moongate.Request): moongate.Decision?
function maintenance.new(options) end

return maintenance
]==]
