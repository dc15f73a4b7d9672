-- moongate.types.tenants: what an editor is told of `require "moongate.tenants"`. Called by
-- moongate.types.
-- luacheck: no max line length (an annotation can't be broken)

return [==[
--- Many sites of one shape: what php.site takes, for all that say nothing else, and
---@class moongate.TenantsOptions: moongate.Site
---@field tenants table<string, moongate.Tenant|string>|string|fun(host: string, req: moongate.Request): moongate.Tenant? by host; or a file .lua, .json, .csv
---@field default? string|moongate.Decision|fun(req: moongate.Request): moongate.Decision? for hosts of no tenant, default 421
---@field remember? moongate.Duration how long the function's answers hold

--- One tenant; what it does not say is as the options do.
---@class moongate.Tenant
---@field root? string its folder; "$tenant" is its name, "$1" what "*" stands for
---@field backend? string
---@field docroot? string
---@field within? string|string[]
---@field strip? string
---@field params? table
---@field ini? table
---@field tenant? string its name, default the host
---@field server? string
---@field hash_key? string
---@field attempts? integer
---@field connect_timeout? moongate.Duration
---@field send_timeout? moongate.Duration
---@field first_byte_timeout? moongate.Duration
---@field read_timeout? moongate.Duration
---@field deadline? moongate.Duration
---@field body_deadline? moongate.Duration
---@field body_limit? moongate.Size
---@field flush? boolean|"headers"|moongate.Size when the parts of an answer leave
---@field request_file? boolean|string the body goes to the application as a file, in limits.spool_dir or that folder
---@field request_buffering? boolean
---@field response_buffering? boolean
---@field cache? boolean|moongate.Caching
---@field compress? boolean|moongate.Compress
---@field early_hints? string|string[]
---@field intercept_errors? true|integer[]
---@field internal? table<string, string|true>
---@field front? string|false the front controller, for what is neither script nor file
---@field headers? moongate.HeaderTable
---@field version? string one of `versions`
---@field rate? number|string how often its requests may come, as with limit.rate
---@field burst? integer how many of them at once

local tenants = {}

--- An on_request, or a router's handler, for many sites.
---@param options moongate.TenantsOptions
---@return fun(req: moongate.Request): moongate.Decision?
function tenants.site(options) end

return tenants
]==]
