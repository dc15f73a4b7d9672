-- moongate.types.php: what an editor is told of `require "moongate.php"`. Called by
-- moongate.types.
-- luacheck: no max line length (an annotation can't be broken)

return [==[
--- A PHP site: scripts to the backend, everything else from disk.
---@class moongate.Site
---@field root? string|fun(req: moongate.Request): string? the folder; relative: beside the script. None: only the backend has it
---@field backend? string|fun(req: moongate.Request): string who runs the scripts
---@field docroot? string|fun(req: moongate.Request): string? the site as the backend sees it
---@field within? string|string[]|fun(req: moongate.Request): string|string[]|nil
---@field strip? string|fun(req: moongate.Request): string? a prefix taken off the path
---@field params? table|fun(req: moongate.Request): table? variables to add
---@field ini? table|fun(req: moongate.Request): table? settings of PHP
---@field tenant? string|fun(req: moongate.Request): string?
---@field server? string|fun(req: moongate.Request): string? one address of the backend
---@field hash_key? string|fun(req: moongate.Request): string?
---@field attempts? integer|fun(req: moongate.Request): integer?
---@field connect_timeout? moongate.Duration|fun(req: moongate.Request): moongate.Duration?
---@field send_timeout? moongate.Duration|fun(req: moongate.Request): moongate.Duration?
---@field first_byte_timeout? moongate.Duration|fun(req: moongate.Request): moongate.Duration?
---@field read_timeout? moongate.Duration|fun(req: moongate.Request): moongate.Duration?
---@field deadline? moongate.Duration|fun(req: moongate.Request): moongate.Duration?
---@field body_deadline? moongate.Duration|fun(req: moongate.Request): moongate.Duration?
---@field body_limit? moongate.Size|fun(req: moongate.Request): moongate.Size?
---@field flush? boolean|"headers"|moongate.Size|fun(req: moongate.Request): boolean|moongate.Size|nil
---@field request_file? boolean|string|fun(req: moongate.Request): boolean|string|nil
---@field request_buffering? boolean|fun(req: moongate.Request): boolean?
---@field response_buffering? boolean|fun(req: moongate.Request): boolean?
---@field cache? boolean|moongate.Caching|fun(req: moongate.Request): boolean|moongate.Caching|nil
---@field compress? boolean|moongate.Compress|fun(req: moongate.Request): boolean|moongate.Compress|nil also of its files
---@field early_hints? string|string[]|fun(req: moongate.Request): string|string[]|nil
---@field intercept_errors? true|integer[]|fun(req: moongate.Request): true|integer[]|nil
---@field internal? table<string, string|true>|fun(req: moongate.Request): table?
---@field front? string|false the front controller, for what is neither script nor file
---@field try? (string|integer|moongate.Decision)[] default { "$path", "$path/", front }
---@field index? string[] default { "index.php", "index.html" }
---@field scripts? string[] extensions that run, default { ".php" }
---@field run? string|string[] only these scripts may be named in a URL: a list, or a pattern
---@field never? string|string[] patterns of paths and scripts that are 403
---@field headers? moongate.HeaderTable|fun(req: moongate.Request): moongate.HeaderTable? of every answer of the site
---@field authorize? moongate.Authorize|fun(req: moongate.Request): moongate.Authorize? who is asked first, for scripts and files
---@field authorize_key? string|fun(req: moongate.Request): string? requests with this key are let on by one answer
---@field authorize_ttl? moongate.Duration|fun(req: moongate.Request): moongate.Duration? for so long
---@field always? moongate.HeaderTable|fun(req: moongate.Request): moongate.HeaderTable? of whatever the site sends in the end
---@field static? moongate.Static|false|fun(req: moongate.Request, path: string): moongate.Rule|false|nil for files
---@field not_found? string|moongate.Decision the page for 404
---@field errors? table<integer, string|moongate.Decision> pages for errors, which keep their status
---@field owner? boolean only files of the root's owner
---@field versions? table<string, string> version -> backend
---@field version? string|fun(req: moongate.Request): string? a version, or ".php-version"

--- Beside its own keys: [".css"] = a rule or false, and a list of rules with `match`.
---@class moongate.Static
---@field cache_control? string
---@field headers? moongate.HeaderTable of every answer that is not a script's
---@field compress? boolean|moongate.Compress
---@field precompressed? boolean neighbours such as app.css.br take their place
---@field sources? string|string[] extensions of scripts that are shown as files, such as { ".sh" }

--- What holds for some files, over what holds for all.
---@class moongate.Rule
---@field match? string a pattern for paths, in the list of `static`
---@field cache_control? string
---@field headers? moongate.HeaderTable
---@field compress? boolean|moongate.Compress
---@field precompressed? boolean neighbours such as app.css.br take their place
---@field sources? string|string[]

local php = {}

--- An on_request, or a router's handler, for a PHP site.
---@param options moongate.Site
---@return fun(req: moongate.Request): moongate.Decision
function php.site(options) end

return php
]==]
