-- moongate.types.cors: what an editor is told of `require "moongate.cors"`. Called by
-- moongate.types.
-- luacheck: no max line length (an annotation can't be broken)

return [==[
--- Who may read the answers from pages of other sites.
---@class moongate.Cors
---@field origins string|string[]|fun(origin: string): boolean "https://app.example", "https://*.app.example", "*"
---@field methods? string[] default { "GET", "HEAD", "POST" }
---@field headers? string[] of requests
---@field expose? string[] headers of answers
---@field credentials? boolean cookies may come along
---@field max_age? moongate.Duration how long a preflight holds

local cors = {}

--- A handler that pages of other sites may use; it answers their preflights.
---@param handler moongate.Handler
---@param options moongate.Cors
---@return fun(req: moongate.Request, ...: string): moongate.Decision?
function cors.wrap(handler, options) end

return cors
]==]
