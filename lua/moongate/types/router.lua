-- moongate.types.router: what an editor is told of `require "moongate.router"`. Called by
-- moongate.types.
-- luacheck: no max line length (an annotation can't be broken)

return [==[
--- Chooses a handler by host, path, pattern and method; itself a handler, and an on_request.
---@class moongate.Router
---@operator call(moongate.Request): moongate.Decision?
local Router = {}

--- A rule for a host: "shop.example", or "*.example" for every name below it.
---@param name string
---@param handler moongate.Handler a function also gets what stands for "*"
---@return moongate.Router self
function Router:host(name, handler) end

--- A rule for a path: "/exact", or "/prefix/*" for all below it and "/prefix" itself.
---@param path string
---@param handler moongate.Handler a function also gets the rest behind the prefix
---@return moongate.Router self
function Router:path(path, handler) end

--- A rule for a Lua pattern, searched in the decoded path.
---@param pattern string
---@param handler moongate.Handler a function also gets the captures
---@return moongate.Router self
function Router:match(pattern, handler) end

--- A rule for methods, such as "POST" or { "PUT", "DELETE" }.
---@param names string|string[]
---@param handler moongate.Handler
---@return moongate.Router self
function Router:method(names, handler) end

--- A handler that sees every request before all rules.
---@param handler moongate.Handler
---@return moongate.Router self
function Router:use(handler) end

--- Which rule decides about a request. Runs the handlers.
---@param req moongate.Request
---@return string text
---@return moongate.Decision? decision
function Router:explain(req) end

local router = {}

--- A new router.
---@param options? { default: moongate.Handler }
---@return moongate.Router
function router.new(options) end

return router
]==]
