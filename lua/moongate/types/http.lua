-- moongate.types.http: what an editor is told of `require "moongate.http"`. Called by
-- moongate.types.
-- luacheck: no max line length (an annotation can't be broken)

return [==[
---@class moongate.HttpRequest
---@field url string "http://host:port/path?query"
---@field socket? string "unix:/path", in place of the URL's host
---@field method? string default GET, or POST with a body
---@field headers? table<string, string|number>
---@field body? string
---@field timeout? moongate.Duration for all of it, default 10
---@field limit? moongate.Size of the answer's body, default "1M"
---@field keepalive? moongate.Duration how long the connection is kept for the next request

---@class moongate.HttpAnswer
---@field status integer
---@field headers table<string, string> in any letter case
---@field list string[][] all headers in order: { name, value }
---@field body string

local http = {}

--- One request, where a hook may wait.
---@param options moongate.HttpRequest
---@return moongate.HttpAnswer? answer
---@return string? reason "timeout", "too large", "closed", ...
function http.request(options) end

return http
]==]
