-- moongate.types.tls: what an editor is told of `require "moongate.tls"`. Called by moongate.types.
-- luacheck: no max line length (an annotation can't be broken)

return [==[
local tls = {}

---@class moongate.TlsRedirect
---@field acme? string an absolute path: the folder from which challenges of ACME are answered
---@field port? integer of HTTPS, default 443

--- A handler that answers plain HTTP with a redirect to https.
---@param handler moongate.Decision|fun(req: moongate.Request, ...): moongate.Decision|nil
---@param options? moongate.TlsRedirect
---@return fun(req: moongate.Request, ...): moongate.Decision|nil
function tls.redirect(handler, options) end

return tls
]==]
