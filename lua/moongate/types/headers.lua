-- moongate.types.headers: what an editor is told of `require "moongate.headers"`. Called by
-- moongate.types.
-- luacheck: no max line length (an annotation can't be broken)

return [==[
--- What `headers.secure` takes: the text of a header, or false for none.
---@class moongate.SecureHeaders
---@field hsts? string|false Strict-Transport-Security, default "max-age=31536000"; over https only
---@field csp? string|false Content-Security-Policy, default none
---@field frame? string|false X-Frame-Options, default "SAMEORIGIN"
---@field referrer? string|false Referrer-Policy, default "strict-origin-when-cross-origin"

local headers = {}

--- A handler whose answers all have these headers.
---@param handler moongate.Handler
---@param headers moongate.HeaderTable|fun(req: moongate.Request): moongate.HeaderTable?
---@return fun(req: moongate.Request, ...: string): moongate.Decision?
function headers.wrap(handler, headers) end

--- A handler whose answers all have these headers, after all hooks, error pages and redirects too.
---@param handler moongate.Handler
---@param headers moongate.HeaderTable|fun(req: moongate.Request): moongate.HeaderTable?
---@return fun(req: moongate.Request, ...: string): moongate.Decision?
function headers.always(handler, headers) end

--- Headers that make browsers careful, for `wrap`.
---@param options? moongate.SecureHeaders
---@return fun(req: moongate.Request): moongate.HeaderTable
function headers.secure(options) end

return headers
]==]
