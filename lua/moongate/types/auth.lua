-- moongate.types.auth: what an editor is told of `require "moongate.auth"`. Called by
-- moongate.types.
-- luacheck: no max line length (an annotation can't be broken)

return [==[
--- A login. Called with a request: nil, or the decision that refuses it.
---@class moongate.BasicGuard
---@field wrap fun(self: moongate.BasicGuard, handler: moongate.Handler): fun(req: moongate.Request): moongate.Decision?

--- A signed cookie. Called with a request: nil, or the decision that refuses it.
---@class moongate.SignedCookie
---@field value fun(self: moongate.SignedCookie, req: moongate.Request): string?
---@field cookie fun(self: moongate.SignedCookie, value: string, lifetime?: moongate.Duration): string
---@field clear fun(self: moongate.SignedCookie): string

--- A signed URL. Called with a request: nil, or the decision that refuses it.
---@class moongate.SignedUrl
---@field sign fun(self: moongate.SignedUrl, url: string, lifetime?: moongate.Duration): string

--- A login by name and password: one of `file` and `users` must be there.
---@class moongate.BasicOptions
---@field file? string as htpasswd makes it; it is read again when it has changed
---@field users? table<string, string> name -> hash
---@field realm? string
---@field remember? moongate.Duration for how long a right password counts without a check, default "5m"
---@field failures? number|string how many logins of a client may fail, default "20/m"
---@field key? fun(req: moongate.Request): string|number whose failures are counted, default limit.address
---@field answer? moongate.Decision default { status = 401 }

--- Who comes from where.
---@class moongate.AddressesOptions
---@field allow? string|string[]
---@field deny? string|string[]
---@field answer? moongate.Decision default { status = 403 }

--- A cookie that we have signed.
---@class moongate.SignedCookieOptions
---@field name string
---@field key string|string[] 16 bytes at least; the first one signs
---@field lifetime? moongate.Duration default "12h"
---@field path? string default "/"
---@field domain? string
---@field secure? boolean default true
---@field same_site? "Lax"|"Strict"|"None" default "Lax"
---@field answer? moongate.Decision default { status = 403 }

--- A URL that we have signed.
---@class moongate.SignedUrlOptions
---@field key string|string[] 16 bytes at least; the first one signs
---@field lifetime? moongate.Duration default "1h"
---@field answer? moongate.Decision default { status = 403 }

local auth = {}

--- A login by name and password.
---@param options moongate.BasicOptions
---@return moongate.BasicGuard
function auth.basic(options) end

--- Who has logged in.
---@param req moongate.Request
---@return string?
function auth.user(req) end

--- Who comes from where.
---@param options moongate.AddressesOptions
---@return fun(req: moongate.Request): moongate.Decision?
function auth.addresses(options) end

--- A cookie that we have signed.
---@param options moongate.SignedCookieOptions
---@return moongate.SignedCookie
function auth.signed_cookie(options) end

--- A URL that we have signed.
---@param options moongate.SignedUrlOptions
---@return moongate.SignedUrl
function auth.signed_url(options) end

--- Whom one of several guards lets pass; else the last one's answer counts.
---@param ... fun(req: moongate.Request): moongate.Decision?
---@return fun(req: moongate.Request): moongate.Decision?
function auth.any(...) end

return auth
]==]
