-- moongate.types.shadow: what an editor is told of `require "moongate.shadow"`. Called by
-- moongate.types.
-- luacheck: no max line length (an annotation can't be broken)

return [==[
--- Which requests another backend gets a copy of.
---@class moongate.Shadow
---@field name string `moongate set shadow.NAME 10%`
---@field to string the backend that gets them
---@field sample? string the share of the requests at first: "5%", default "1%"
---@field concurrency? integer how many copies may be under way, over all workers; default 2
---@field timeout? moongate.Duration how long one may take, default "10s"
---@field headers? string[] which headers of the answers are compared
---@field cookies? boolean|string[] names of cookies that a request with a copy may have; true: all
---@field when? fun(req: moongate.Request): boolean|nil which requests may be copied

local shadow = {}

--- A handler that answers as another one does, and sends copies of some of its requests to another
--- backend.
---@param handler moongate.Handler
---@param options moongate.Shadow
---@return fun(req: moongate.Request): moongate.Decision?
function shadow.wrap(handler, options) end

return shadow
]==]
