-- moongate.types.cache: what an editor is told of `require "moongate.cache"`. Called by
-- moongate.types.
-- luacheck: no max line length (an annotation can't be broken)

return [==[
local cache = {}

--- Removes kept responses, over all workers: by one of these.
---@param what { key: string|string[]?, prefix: string|string[]?, tag: string|string[]?, all: boolean? }
---@return integer count how many there were
function cache.purge(what) end

return cache
]==]
