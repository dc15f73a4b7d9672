-- moongate.types.health: what an editor is told of `require "moongate.health"`. Called by
-- moongate.types.
-- luacheck: no max line length (an annotation can't be broken)

return [==[
--- A backend as it is now.
---@class moongate.BackendState
---@field name string
---@field up boolean requests may go there with some hope
---@field held boolean an operator lets requests wait in its queue
---@field queued integer requests that wait
---@field max_queue integer how many may
---@field servers moongate.ServerState[]

--- One of its servers.
---@class moongate.ServerState
---@field address string
---@field up boolean its health checks pass, and it has not failed too often
---@field draining? boolean an operator sends it nothing new
---@field backup? boolean
---@field active? integer connections in use, over all workers
---@field serving? integer requests that it has now
---@field idle? integer kept ones
---@field load? number
---@field weight? number
---@field max_conns? integer 0: no limit
---@field requests? integer
---@field fails? integer the latest failures, as max_fails counts them
---@field latency? number seconds, a moving average

local health = {}

--- May requests go to a backend with some hope? In hooks.
---@param backend string its name
---@return boolean
function health.up(backend) end

--- Waits until it is up; false when the time is over. Where hooks may wait.
---@param backend string
---@param timeout moongate.Duration
---@return boolean
function health.wait(backend, timeout) end

--- A backend and its servers as they are now.
---@param backend string
---@return moongate.BackendState
function health.state(backend) end

--- The first of several handlers whose backend is up.
---@param ... moongate.Handler
---@return fun(req: moongate.Request): moongate.Decision?
function health.failover(...) end

--- In specs: what health.up says of a backend of the route loaded last.
---@param backend string
---@param up boolean
function health.assume(backend, up) end

return health
]==]
