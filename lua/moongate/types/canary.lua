-- moongate.types.canary: what an editor is told of `require "moongate.canary"`. Called by
-- moongate.types.
-- luacheck: no max line length (an annotation can't be broken)

return [==[
--- Which clients get what is to take the place of what serves.
---@class moongate.Canary
---@field name string `moongate set canary.NAME 10%`
---@field stable moongate.Handler
---@field canary moongate.Handler
---@field share? string what it is at first: "5%", default "0%"
---@field sticky? "address"|"cookie"|{ header: string }|{ cookie: string }|fun(req: moongate.Request): string|number|nil what keeps a client on its side, default "address"
---@field force? fun(req: moongate.Request): boolean|nil true: the canary, false: stable, whatever the share is
---@field budget? string the part of its requests that may fail, default "5%"
---@field window? moongate.Duration of what time, default "5m"
---@field least? integer and of how many requests at least, default 20
---@field statuses? integer[] which statuses are failures, default 500 to 599

local canary = {}

--- A handler that gives a share of the clients to the canary.
---@param options moongate.Canary
---@return fun(req: moongate.Request): moongate.Decision?
function canary.split(options) end

return canary
]==]
