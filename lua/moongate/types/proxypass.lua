-- moongate.types.proxypass: what an editor is told of `require "moongate.proxypass"`. Called by
-- moongate.types.
-- luacheck: no max line length (an annotation can't be broken)

return [==[
--- Requests passed on as Apache's ProxyPass does. Called with a request: a decision, or nil.
---@class moongate.ProxyPass
---@field pass fun(self: moongate.ProxyPass, path: string, url: string, parameters?: table): moongate.ProxyPass ProxyPass; url "!": not passed on
---@field pass_match fun(self: moongate.ProxyPass, pattern: string, url: string, parameters?: table): moongate.ProxyPass ProxyPassMatch
---@field balancer fun(self: moongate.ProxyPass, name: string, members: (string|table)[], options?: table): moongate.ProxyPass <Proxy "balancer://name">
---@field reverse fun(self: moongate.ProxyPass, path: string, url: string): moongate.ProxyPass ProxyPassReverse
---@field reverse_cookie_domain fun(self: moongate.ProxyPass, internal: string, public: string): moongate.ProxyPass ProxyPassReverseCookieDomain
---@field reverse_cookie_path fun(self: moongate.ProxyPass, internal: string, public: string): moongate.ProxyPass ProxyPassReverseCookiePath
---@field backends fun(self: moongate.ProxyPass, others?: table<string, any>): table<string, any> for the route's `backends`

---@class moongate.ProxyPassOptions
---@field root? string the folder of what is not passed on: Apache's DocumentRoot
---@field docroot? string DOCUMENT_ROOT of scripts, default root
---@field index? string|string[] names for folders of root, default { "index.html" }
---@field default? moongate.Handler for what is not passed on, in place of files
---@field params? table<string, string|number|false> of all requests that are passed on

local proxypass = {}

--- Rules, none at first.
---@param options? moongate.ProxyPassOptions
---@return moongate.ProxyPass
function proxypass.new(options) end

return proxypass
]==]
