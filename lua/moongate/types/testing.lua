-- moongate.types.testing: what an editor is told of `require "moongate.testing"`. Called by
-- moongate.types.
-- luacheck: no max line length (an annotation can't be broken)

return [==[
--- What has become of a request.
---@class moongate.testing.Out
---@field kind "fastcgi"|"file"|"reply"|"redirect"|"close" an error page is a reply
---@field decision? moongate.Decision
---@field rule? string which rule decided, with FILE:LINE
---@field backend? string
---@field servers? string[]
---@field params? table<string, string>
---@field authorize? { backend: string, servers: string[], params: table<string, string> } who is asked first
---@field file? string
---@field status? integer
---@field headers? table<string, any> in any letter case
---@field body? string
---@field redirect? string
---@field logged? string[] after `stderr`: lines for the error log
---@field error? string what went wrong, with FILE:LINE

--- What on_certificate has said of a name.
---@class moongate.testing.Certificate
---@field cert? string PEM or a path; nil: it has no certificate for the name
---@field key? string
---@field ttl? number seconds
---@field names? string[] those of the certificate
---@field expires? string
---@field problem? string why clients would not take it
---@field error? string what went wrong, with FILE:LINE, or why the pair can't be used

---@class moongate.testing.Request
---@field url string a path or a URL
---@field method? string default "GET"
---@field headers? table<string, string|string[]>
---@field body? string only its size matters
---@field ip? string
---@field listener? string a listener's name or address
---@field https? boolean as if it came by https

---@class moongate.testing.Route
---@field settings table as the server has them
local Route = {}

--- Runs on_request and on_params.
---@param what moongate.testing.Request
---@return moongate.testing.Out
function Route:request(what) end

--- Goes on with the application's answer: on_response, or on_error.
---@param given moongate.testing.Request|moongate.testing.Out
---@param status? integer default 200
---@param headers? table<string, any>
---@return moongate.testing.Out
function Route:respond(given, status, headers) end

--- Goes on with what the application writes to its standard error before its answer: on_stderr.
---@param given moongate.testing.Request|moongate.testing.Out
---@param text string such as "PHP message: PHP Warning:  Odd in /srv/a.php on line 3"
---@return moongate.testing.Out
function Route:stderr(given, text) end

--- Goes on with a failure: on_error.
---@param given moongate.testing.Request|moongate.testing.Out
---@param kind "connect"|"timeout"|"closed"|"protocol"|"busy"|"too_large"|"script"
---@return moongate.testing.Out
function Route:fail(given, kind) end

--- Asks on_certificate for the name that a client of TLS asks for.
---@param name string
---@return moongate.testing.Certificate
function Route:certificate(name) end

local testing = {}

--- Loads a route as the server does; without a path the one whose specs are run.
---@param path? string
---@return moongate.testing.Route
function testing.load(path) end

return testing
]==]
