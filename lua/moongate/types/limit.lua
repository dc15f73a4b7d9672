-- moongate.types.limit: what an editor is told of `require "moongate.limit"`. Called by
-- moongate.types.
-- luacheck: no max line length (an annotation can't be broken)

return [==[
--- Limits over all workers. Called with a request: nil, or the decision that refuses it.
---@class moongate.Limit
---@field wrap fun(self: moongate.Limit, handler: moongate.Handler): fun(req: moongate.Request): moongate.Decision?

--- What both kinds take.
---@class moongate.LimitOptions
---@field rate? number|string for limit.rate: in a second, or "10/s" "100/m" "1000/h" "5000/d"
---@field burst? integer for limit.rate: how many may come at once, default the number of `rate`
---@field limit? integer for limit.concurrency: how many may be under way
---@field key? fun(req: moongate.Request): string|number|nil default limit.address; nil: no limit
---@field name? string in headers and the log
---@field answer? moongate.Decision for a request that is refused, default { status = 429 }
---@field away? "open"|"closed" while requests can't be counted, default "open"
---@field redis? string|moongate.LimitRedis a Redis for several machines, such as "10.0.0.9:6379"

--- A Redis that counts.
---@class moongate.LimitRedis
---@field address string "host:port" or "unix:/path"
---@field timeout? moongate.Duration for connecting, and for each answer, default "200ms"
---@field user? string
---@field password? string
---@field database? integer
---@field prefix? string of its keys, default "moongate:"

local limit = {}

--- So many in so much time, for each key.
---@param options moongate.LimitOptions
---@return moongate.Limit
function limit.rate(options) end

--- So many at a time, for each key.
---@param options moongate.LimitOptions
---@return moongate.Limit
function limit.concurrency(options) end

--- The client's address, of IPv6 its /64.
---@param req moongate.Request
---@return string
function limit.address(req) end

return limit
]==]
