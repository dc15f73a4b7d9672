-- moongate.types.moongate: what an editor is told of `require "moongate"`. Called by
-- moongate.types.
-- luacheck: no max line length (an annotation can't be broken)

return [==[
--- What `require("moongate")` gives to a script.
---@class moongate
---@field version string the release that runs, such as "0.1.0"
---@field worker integer the number of the worker that runs the script, from 1 on
local moongate = {}

--- Writes a line to the error log.
---@param level "debug"|"info"|"warn"|"error"
---@param format string as in string.format; alone it is written as it is
---@param ... any
function moongate.log(level, format, ...) end

--- Seconds since 1970, with fractions.
---@return number
function moongate.now() end

--- Percent-encodes a text so that it can stand anywhere in a URL.
---@param text string|number
---@return string
function moongate.escape(text) end

--- Decodes `%XX`; `+` and a broken escape stay.
---@param text string|number
---@return string
function moongate.unescape(text) end

--- Waits, while others go on. In on_start, on_certificate, on_request, on_error, timers and what
--- spawn runs.
---@param seconds number from 0 to 86400
function moongate.sleep(seconds) end

--- Runs a function soon, beside the requests; it may wait. Its errors are in the log.
---@param fn function
---@param ... any its arguments
function moongate.spawn(fn, ...) end

--- Runs a function again and again, one run at a time, until a reload replaces the script. It may
--- wait. For on_start.
---@param seconds number from 0.001 to 86400
---@param fn fun()
function moongate.every(seconds, fn) end

--- A dictionary that all workers share and that outlives reloads.
---@param name string
---@return moongate.Shared
function moongate.shared(name) end

--- A socket that waits without holding up others, with the methods of OpenResty's cosockets.
---@return moongate.Tcp
function moongate.tcp() end

--- A request to a backend beside the one that is served.
---@param backend string
---@param params table<string, string|number>
---@param body? string
---@param options? { ini?: table<string, string|number|boolean>, timeout?: moongate.Duration, digest?: boolean, last?: boolean } digest: length and crc32 in place of the body; last: behind the requests of all clients
---@return { status: integer, headers: table, body: string?, length: number?, crc32: number?, app_status: integer, stderr: string, first_byte: number, total: number }?
---@return string? problem
function moongate.fastcgi(backend, params, body, options) end

---@class moongate.Shared
---@field get fun(self: moongate.Shared, key: string): any
---@field set fun(self: moongate.Shared, key: string, value: any, ttl?: number): boolean?, string?
---@field add fun(self: moongate.Shared, key: string, value: any, ttl?: number): boolean?, string?
---@field replace fun(self: moongate.Shared, key: string, value: any, ttl?: number): boolean?, string?
---@field incr fun(self: moongate.Shared, key: string, by: number, initial?: number, ttl?: number): number?, string?
---@field take fun(self: moongate.Shared, key: string, by: number, low: number, high: number, ttl?: number): number?, string?, number?
---@field delete fun(self: moongate.Shared, key: string)
---@field keys fun(self: moongate.Shared, max?: integer): string[]

---@class moongate.Tcp
---@field connect fun(self: moongate.Tcp, host: string, port?: integer, options?: table): integer?, string?
---@field settimeout fun(self: moongate.Tcp, time: number) milliseconds
---@field settimeouts fun(self: moongate.Tcp, connect: number, send: number, read: number)
---@field send fun(self: moongate.Tcp, data: string|table): integer?, string?
---@field receive fun(self: moongate.Tcp, pattern?: string|integer): string?, string?, string?
---@field receiveany fun(self: moongate.Tcp, max: integer): string?, string?
---@field receiveuntil fun(self: moongate.Tcp, pattern: string, options?: table): fun(size?: integer): string?, string?, string?
---@field setkeepalive fun(self: moongate.Tcp, timeout?: number, size?: integer): integer?, string?
---@field getreusedtimes fun(self: moongate.Tcp): integer?, string?
---@field close fun(self: moongate.Tcp): integer?, string?

--- The request. Read-only but for `ctx`; not to be kept when the hook has ended.
---@class moongate.RequestTls
---@field version string "TLSv1.2" or "TLSv1.3"
---@field cipher string as OpenSSL names it
---@field name? string that the client has asked for (SNI)
---@field verified boolean the client has a certificate of the listener's client_ca
---@field subject? string of that certificate: "CN=alice,O=Example"
---@field serial? string of it, in hex
---@field certificate? string in PEM

---@class moongate.Request
---@field method string "GET"
---@field uri string path and query as sent
---@field path string percent-decoded, dot segments removed, "//" merged
---@field raw_path string the path as sent
---@field query? string what follows "?"
---@field args moongate.Args the query's values by name; the last of several counts
---@field host? string lower case, without port and trailing dot; nil where there is none
---@field port integer
---@field scheme "http"|"https"
---@field version "1.0"|"1.1"|"2.0"
---@field body fun(self: moongate.Request): string?, string? the body as a text; nil and "too large", "timeout" or "gone". In on_request it waits
---@field observe fun(self: moongate.Request) before an application is asked: `log.observed` will say what it answered
---@field params_for fun(self: moongate.Request, backend: string): table<string, string>?, string? in on_log: what that backend would be sent; nil and why not
---@field headers moongate.RequestHeaders by name, in any letter case
---@field cookies moongate.Args by name; the first of several counts
---@field params? moongate.Arrived that a web server has sent by FastCGI; nil for HTTP
---@field ip string of the client; "unix:" on a unix listener
---@field client_port integer|nil nil where it is not known
---@field server_ip string where the client connected to; "unix:" on a unix listener
---@field server_port integer
---@field listener string the listener's name, else its address
---@field tls? moongate.RequestTls nil where it has not come by TLS to this server
---@field id string as in the logs and on error pages: 16 hex digits, or what a trusted proxy has sent (`request_id`)
---@field traceparent string|nil its trace context, for requests that the hook makes itself (`tracing`)
---@field trace_id string|nil the 32 hex digits of its trace
---@field time number when the request began, seconds since 1970
---@field attempt integer how many servers have been tried
---@field internal boolean true after a redirect inside the server
---@field role "responder"|"authorizer"|"filter" what a web server in front asks for; from on_params on, what the application is asked to be
---@field ctx table a table of the script's own that lives as long as the request
---@field hash_key? string the decision's, for policies

--- The params that a web server has sent, by name.
---@class moongate.Arrived
---@field [string] string
---@field each fun(self: moongate.Arrived): (fun(): string, string) for name, value in params:each() do

--- Values by name, as clients send them.
---@class moongate.Args
---@field [string] string
---@field all fun(self: moongate.Args, name: string): string[] every value of a name, in order
---@field each fun(self: moongate.Args): (fun(): string, string) for name, value in args:each() do

--- Headers by name, in any letter case; repeated ones are joined by ", ".
---@class moongate.RequestHeaders
---@field [string] string
---@field all fun(self: moongate.RequestHeaders, name: string): string[] every value of a name
---@field each fun(self: moongate.RequestHeaders): (fun(): string, string) for name, value in h:each()

--- Headers of an answer: assign a text, a list for a repeated header, or nil to remove it.
---@class moongate.Headers
---@field [string] string|number|string[]|nil
---@field all fun(self: moongate.Headers, name: string): string[] every value of a name
---@field each fun(self: moongate.Headers): (fun(): string, string) for name, value in h:each() do

--- The variables for the application: read and assigned by name, nil removes.
---@class moongate.Params
---@field [string] string|number|nil
---@field each fun(self: moongate.Params): (fun(): string, string) for name, value in params:each() do

--- The head of an application's answer, before the client sees it.
---@class moongate.Response
---@field status integer
---@field headers moongate.Headers

--- A server of a backend, as policies see it; read-only, over all workers, of this moment.
---@class moongate.Server
---@field address string
---@field weight number a part of it while `slow_start` lasts
---@field active integer requests in flight
---@field queued integer requests that wait for the backend
---@field requests number how many it has had
---@field fails integer failures that count at the moment
---@field latency number a moving average, in seconds; 0: nothing is known
---@field up boolean
---@field backup boolean
---@field draining boolean
---@field load number `active`, and what others do there, where the backend's `load` says
---@field idle integer kept connections without a request
---@field max_conns integer 0: no limit

--- Why a request failed.
---@class moongate.Error
---@field kind "connect"|"timeout"|"closed"|"protocol"|"busy"|"too_large"|"script"|"status"
---@field status integer what the client gets otherwise
---@field message string what the error log says
---@field attempts integer how many servers were tried
---@field backend? string the last one
---@field server? string its address
---@field headers? moongate.Headers with kind "status": of the application's answer
---@field has_body? boolean with kind "status": whether that answer has a body

--- What an application wrote to its standard error.
---@class moongate.Message
---@field level "fatal"|"parse"|"error"|"warning"|"notice"|"deprecated"|"info"
---@field text string
---@field file? string
---@field line? integer

--- A request that has ended. May be kept.
---@class moongate.Log
---@field time number when it began, seconds since 1970
---@field duration number how long it took, in seconds
---@field id string
---@field client string the client's address
---@field user? string REMOTE_USER, as a hook or the application said it
---@field host? string
---@field method string
---@field uri string
---@field status integer 499 where the client left before the answer was whole
---@field bytes_in number of the request's body
---@field bytes_out number of all that was sent
---@field request_length number of the request's head and body
---@field listener? string
---@field scheme "http"|"https"
---@field version "1.0"|"1.1"|"2.0"
---@field referer? string
---@field user_agent? string
---@field backend? string
---@field server? string the last one's address
---@field tenant? string
---@field cache? "hit"|"miss"|"stale"|"bypass" what the cache has done; nil where the decision has none
---@field cache_reason? string why the cache was passed by, or has not kept the answer
---@field app_status? number of END_REQUEST
---@field protocol_status? number of END_REQUEST
---@field attempts moongate.Attempt[]
---@field error? string why it failed
---@field observed? { status: integer, headers: table<string, string>, length: number, crc32: number, whole: boolean, stderr: string } after req:observe(): the application's answer as it came
---@field all fun(self: moongate.Log): table a table of all fields, which may be kept

--- One try of a request, times in seconds.
---@class moongate.Attempt
---@field server string its address
---@field role? "authorizer"|"filter" nil: a responder
---@field queue number waiting in the queue
---@field connect number connecting
---@field first_byte number waiting for the first byte
---@field total number
---@field error? string

---@alias moongate.Decision moongate.FastCGI|moongate.File|moongate.Reply|moongate.Redirect|moongate.Close
---@alias moongate.Duration number|string seconds, or "250ms" "5s" "2m" "1h"
---@alias moongate.Size integer|string bytes, or "16k" "1M" "1G"
---@alias moongate.HeaderTable table<string, string|number|(string|number)[]>

--- The request goes to an application.
---@class moongate.FastCGI
---@field backend string its name
---@field root? string the site as this machine sees it: scripts are looked for in it
---@field docroot? string the site as the backend sees it, default `root`
---@field within? string|string[] where real paths must lie, default `root`
---@field script? string URL path of the script, in place of the split of the path
---@field path_info? string what follows the script
---@field script_filename? string the script as the backend sees it, in place of the mapping
---@field strip? string a prefix taken off before the path is mapped to files
---@field params? table<string, string|number|false> variables to add, false to remove
---@field server? string one address of the backend
---@field tenant? string whose share of the backend this is; also in the log
---@field hash_key? string in place of the path, where `balance` is "hash"
---@field attempts? integer how many servers are tried
---@field connect_timeout? moongate.Duration
---@field send_timeout? moongate.Duration
---@field first_byte_timeout? moongate.Duration until the first byte of the answer
---@field read_timeout? moongate.Duration
---@field deadline? moongate.Duration for the whole request, from its first byte to the end of its answer
---@field body_deadline? moongate.Duration for all of the body, in place of `limits.body_deadline`
---@field body_limit? moongate.Size in place of `limits.body`
---@field flush? boolean|"headers"|moongate.Size when the parts of an answer leave
---@field request_file? boolean|string the body goes to the application as a file, in limits.spool_dir or that folder
---@field request_buffering? boolean false streams the body
---@field response_buffering? boolean false lets a slow client slow the application down
---@field early_hints? string|string[] values of Link for a 103 before the server is asked
---@field intercept_errors? true|integer[] answers with such a status go to on_error
---@field ini? table<string, string|number|boolean> settings of PHP that the backend's `ini` names
---@field cache? boolean|moongate.Caching what may be kept of its answers for other requests
---@field internal? table<string, string|true> prefix -> folder, or on_request, for X-Accel-Redirect
---@field role? "responder"|"authorizer"|"filter" what the application is asked to be
---@field data? string of a filter: the path of its file below `root`, default `req.path`
---@field authorize? moongate.Authorize who is asked first: a 200 lets the request on
---@field authorize_key? string requests with this key are let on by one answer
---@field authorize_ttl? moongate.Duration for so long
---@field always? moongate.HeaderTable of whatever is sent in the end, error pages and redirects too
---@field compress? boolean|moongate.Compress in place of the route's
---@field headers? moongate.HeaderTable of every answer, in the place of the application's own

--- What may be kept of an application's answers, under which key and for how long.
---@class moongate.Caching
---@field key? string default: scheme, host and URI
---@field ttl? moongate.Duration for so long; default: what the answer's headers say
---@field stale? moongate.Duration after that, while there is no newer one; default: what the headers say
---@field background? boolean true: a stale one is sent at once, and made anew afterwards; default: as stale-while-revalidate says
---@field lock? boolean default true: one request asks the application, others wait for its answer
---@field bypass? boolean true: nothing is looked for and kept; false: also with cookies; default: with cookies
---@field vary? string|string[] headers whose values are part of the key
---@field tags? string|string[] names by which the answer can be purged
---@field ignore? string|string[] "Set-Cookie", "Cache-Control", "Authorization": these don't keep an answer out

--- An application that says whether a request may go on (FastCGI 6.3).
---@class moongate.Authorize
---@field backend string its name
---@field root? string the site as this machine sees it
---@field docroot? string the site as the backend sees it, default `root`
---@field script? string URL path of its script, default the request's path
---@field script_filename? string the script as the backend sees it, in place of the mapping
---@field params? table<string, string|number|false> variables to add, false to remove
---@field server? string one address of the backend
---@field tenant? string default the decision's own
---@field hash_key? string in place of the path, where `balance` is "hash"
---@field attempts? integer how many servers are tried
---@field connect_timeout? moongate.Duration
---@field send_timeout? moongate.Duration
---@field first_byte_timeout? moongate.Duration until the first byte of the answer
---@field read_timeout? moongate.Duration

--- The answer is a file.
---@class moongate.File
---@field file? string an absolute path, or:
---@field root? string a folder, with
---@field path? string a path below it, default `req.path`
---@field within? string|string[] where real paths must lie, default `root`
---@field index? string|string[] what to look for in a folder, default { "index.html" }
---@field try? (string|moongate.Decision)[] "$path", "$path/", "/index.html"; a decision as the last
---@field headers? moongate.HeaderTable of every answer, also where there is no such file
---@field cache_control? string of the file
---@field always? moongate.HeaderTable of whatever is sent in the end, error pages and redirects too
---@field compress? boolean|moongate.Compress in place of the route's
---@field status? integer from 400 to 599: the file is the page for an error
---@field precompressed? boolean a neighbour such as app.css.br takes its place
---@field sources? string|string[] extensions of scripts that are shown as files, such as { ".sh" }
---@field scripts? string|string[] further extensions whose files are never shown
---@field authorize? moongate.Authorize who is asked first: a 200 lets the request on
---@field authorize_key? string requests with this key are let on by one answer
---@field authorize_ttl? moongate.Duration for so long

--- The answer is here.
---@class moongate.Reply
---@field status? integer from 200 to 599
---@field always? moongate.HeaderTable of whatever is sent in the end, error pages and redirects too
---@field compress? boolean|moongate.Compress in place of the route's
---@field headers? moongate.HeaderTable
---@field body? string
---@field authorize? moongate.Authorize who is asked first: a 200 lets the request on
---@field authorize_key? string requests with this key are let on by one answer
---@field authorize_ttl? moongate.Duration for so long

---@class moongate.Redirect
---@field redirect string a URL or a path
---@field status? integer from 300 to 399, default 302
---@field always? moongate.HeaderTable of whatever is sent in the end, error pages and redirects too
---@field compress? boolean|moongate.Compress in place of the route's
---@field headers? moongate.HeaderTable
---@field authorize? moongate.Authorize who is asked first: a 200 lets the request on
---@field authorize_key? string requests with this key are let on by one answer
---@field authorize_ttl? moongate.Duration for so long

--- The connection is dropped without an answer.
---@class moongate.Close
---@field close true

---@alias moongate.Handler moongate.Decision|moongate.Router|fun(req: moongate.Request, ...: string): moongate.Decision?
---@alias moongate.Policy fun(req: moongate.Request, servers: moongate.Server[], attempt: integer): moongate.Server?, string?

--- What a route returns.
---@class moongate.Route
---@field on_request moongate.Router|fun(req: moongate.Request): moongate.Decision? nil is 404; may wait
---@field on_start? fun() a worker has loaded the route; may wait; an error refuses it
---@field on_certificate? fun(name: string): moongate.Certificate? a client asks for a name that `tls` has no certificate for; nil: the default's; may wait
---@field on_params? fun(req: moongate.Request, params: moongate.Params) the variables stand
---@field on_balance? moongate.Policy a server must be picked; nil for the policy's own choice
---@field on_response? fun(req: moongate.Request, res: moongate.Response): moongate.Decision? nil: it goes on
---@field on_error? fun(req: moongate.Request, err: moongate.Error): moongate.Decision? nil: the standard page; may wait
---@field on_stderr? fun(req: moongate.Request, messages: moongate.Message[]): boolean|moongate.Decision|nil true: keep them out of the log; a decision replaces the answer
---@field on_log? fun(req: moongate.Request, log: moongate.Log): string|false|nil a line, or false for none
---@field on_stop? fun() this generation goes away
---@field listen? string|(string|moongate.Listener)[]|moongate.Listener one address or several, default "127.0.0.1:8080"
---@field backends? table<string, string|(string|moongate.BackendServer)[]|moongate.Backend> by name: an address, a list of them, or a table
---@field log? moongate.LogSettings where lines go, and how they look
---@field limits? moongate.Limits what clients and scripts may take
---@field cache? moongate.CacheSettings where answers are kept that decisions let be kept (`cache`)
---@field control? string|false|moongate.Control where commands such as `moongate status` are taken
---@field resolver? string|string[] DNS servers, default the system's
---@field workers? integer|"auto" processes, default one for each core
---@field user? string what the workers become when started as root
---@field group? string default the user's own
---@field request_id? boolean X-Request-Id comes from trusted proxies, and goes to applications and clients
---@field tracing? boolean|moongate.Tracing the trace of a request goes on or begins here: `traceparent`
---@field compress? boolean|moongate.Compress responses are sent in a content coding, default false
---@field trusted_proxies? string|string[] addresses, networks and "unix:", whose X-Forwarded-*,
--- Forwarded and PROXY headers are believed
---@field watch? boolean reload when a script changes, default true under a terminal
---@field test? string a folder of specs that a reload must pass
---@field stop_timeout? moongate.Duration for requests in flight, default 30
---@field sandbox? boolean the script has no doors to the process, and files of its own folder
---@field script_errors? moongate.ScriptErrors what a request gets when one of its hooks has failed
---@field script_timeout? moongate.Duration how long a hook may run without waiting, default 1

--- "fail": 500. "open": as though the hook were not there.
---@alias moongate.ScriptError "fail"|"open"|moongate.Decision

---@alias moongate.ScriptErrors "fail"|moongate.Decision|moongate.ScriptErrorsOf

--- Which responses are sent in a content coding, and in which.
---@class moongate.Compress
---@field types? string|string[] media types such as "text/html", "text/*"
---@field min? moongate.Size of the body, default "1k"
---@field levels? table<"gzip"|"br"|"zstd", integer> from 1 to 9, default { gzip = 5, br = 4, zstd = 3 }
---@field encodings? string|("gzip"|"br"|"zstd")[] the preferred one first, default { "zstd", "br", "gzip" }
---@field keep? false|moongate.Size of a file whose compressed body is kept in the cache, default "1M"; false: none

---@class moongate.ScriptErrorsOf
---@field on_request? "fail"|moongate.Decision default "fail"
---@field on_params? moongate.ScriptError default "fail"; open: the variables as they stood
---@field on_balance? moongate.ScriptError default "fail"; open: the policy's choice
---@field on_response? moongate.ScriptError default "open": the answer goes out
---@field on_error? moongate.ScriptError default "fail"; open: the page for the failure itself

---@class moongate.Control
---@field address? string default: a unix socket of the user that runs it
---@field token? string what a request must bring, 16 characters or more
---@field token_file? string an absolute path of a file with that token
---@field metrics_token? string who brings this may read /metrics alone
---@field metrics_token_file? string

---@class moongate.Listener
---@field address string
---@field protocol? "http"|"fastcgi" "fastcgi": of a web server in front
---@field proxy_protocol? boolean connections begin with a PROXY header; needs `trusted_proxies`
---@field h2c? boolean clients may speak HTTP/2 without TLS, too
---@field http2? boolean with `tls`: clients may speak HTTP/2, default true
---@field backlog? integer default 511
---@field name? string what `req.listener` says
---@field tls? moongate.Tls HTTPS: { cert = PATH, key = PATH }, a list of them, or { folder = PATH }; {} with on_certificate

--- What on_certificate returns.
---@class moongate.Certificate
---@field cert string PEM, or the absolute path of a file: the certificate, then those of its issuers
---@field key string PEM, or an absolute path: the private key
---@field ttl? moongate.Duration how long it is used without asking again, default 1h

--- A pair, a list of pairs (the first is the default), or a folder.
---@class moongate.Tls
---@field cert? string an absolute path: the certificate, then those of its issuers, in PEM
---@field key? string an absolute path: the private key
---@field folder? string an absolute path, with NAME/fullchain.pem and NAME/privkey.pem
---@field versions? string|string[] "1.2", "1.3"; default: both
---@field ciphers? string|string[] names as OpenSSL has them
---@field client_ca? string an absolute path: authorities of clients' certificates
---@field verify? "optional"|"required" whether a client must have a certificate
---@field ktls? boolean whether the kernel makes the records that are sent; default: where it can
---@field cache? integer certificates of on_certificate that each worker keeps, default 4096
---@field ttl? moongate.Duration how long one is kept where the hook does not say it, default 1h
---@field none_ttl? moongate.Duration how long a name without a certificate is not asked for again, default 10s
---@field misses? integer names without a certificate that an address may have the hook asked for in a minute, default 30
---@field [integer] { cert: string, key: string }

---@class moongate.LogSettings
---@field access? "stdout"|"syslog"|"journal"|string|false an absolute path, a syslog server, or false
---@field format? "combined"|"vcombined"|"json"|string|fun(req: moongate.Request, log: moongate.Log): string|false|nil
---@field error? "stderr"|"syslog"|"journal"|string an absolute path, or a syslog server
---@field level? "debug"|"info"|"warn"|"error"

---@class moongate.Tracing
---@field believe? "trusted"|"all"|"none" whose traceparent is continued, default "trusted"
---@field sample? number the share of the traces begun here that are recorded, default 1
---@field export? string where spans go: the URL of an OTLP/HTTP collector, or an absolute path for JSON lines
---@field service? string `service.name`, default "moongate"
---@field resource? table<string, string> more attributes of the resource
---@field headers? table<string, string> of requests to the collector
---@field interval? moongate.Duration that spans are collected for one request, default 1
---@field timeout? moongate.Duration for the collector's answer, default 5

---@class moongate.Limits
---@field request_line? moongate.Size default "8k"
---@field header? moongate.Size the whole head, default "16k"
---@field headers? integer how many, default 100
---@field body? moongate.Size default "1G"
---@field header_timeout? moongate.Duration default 10
---@field body_timeout? moongate.Duration between two reads, default 60
---@field body_deadline? moongate.Duration for all of a body, default 0: none
---@field send_timeout? moongate.Duration between two writes, default 60
---@field keepalive_timeout? moongate.Duration of an idle connection, default 60
---@field keepalive_requests? integer default 10000
---@field connections? integer at a time, in all; 0: no limit
---@field per_ip? integer at a time, of one address; 0: no limit
---@field streams? integer requests at a time on a connection of HTTP/2, default 128
---@field param_size? moongate.Size of one name and value, default "64k"
---@field response_header? moongate.Size default "64k"
---@field request_memory? moongate.Size of a body, before it goes to disk, default "64k"
---@field response_memory? moongate.Size of an answer, before it goes to disk, default "256k"
---@field script_memory? moongate.Size what the script of a worker may hold, default "256M"
---@field spool? moongate.Size on disk, default "1G"
---@field spool_dir? string default "/tmp"
---@field shared? moongate.Size of all shared dictionaries, default "16M"
---@field header_names? string[] headers to keep although "_" or "." is in their name

---@class moongate.CacheSettings
---@field path? string a folder, default "/dev/shm"
---@field size? moongate.Size of all kept answers, default "64M"
---@field memory? moongate.Size of those in the memory of each worker, default an eighth of `size`, 16 MB at least

---@class moongate.BackendServer
---@field address string
---@field weight? integer default 1
---@field backup? boolean only where no other is left
---@field owner? string|integer the user whose unix socket it must be
---@field max_conns? integer default the backend's

---@class moongate.Backend
---@field servers string|(string|moongate.BackendServer)[]|moongate.BackendServer
---@field balance? "round_robin"|"least_conn"|"random"|"p2c"|"hash"|"ip_hash"|"sticky"|moongate.Policy
---@field max_conns? integer connections to each server, over all workers; 0: no limit
---@field queue? integer requests that wait for each server, default 1024
---@field queue_timeout? moongate.Duration default 30
---@field per_tenant? integer connections of one tenant; 0: no limit
---@field max_fails? integer failures until a server gets nothing, default 3
---@field fail_timeout? moongate.Duration within which, and for which, default 10
---@field slow_start? moongate.Duration default 0
---@field health? boolean|moongate.Health
---@field load? "none"|"status"|string the path of PHP-FPM's status page
---@field resolve? moongate.Duration how often names are looked up, default 10
---@field keepalive? integer idle connections per server, over all workers, default 0
---@field keepalive_idle? moongate.Duration default 10
---@field keepalive_requests? integer default 1000
---@field connect_timeout? moongate.Duration default 5
---@field send_timeout? moongate.Duration default 60
---@field first_byte_timeout? moongate.Duration until the first byte of the answer, default read_timeout
---@field read_timeout? moongate.Duration between two reads, default 60
---@field deadline? moongate.Duration for a whole request, default 0: none
---@field attempts? integer default 2
---@field retry? "safe"|"timeout"|"never"
---@field multiplex? boolean|"auto" several requests at a time on one connection; never with PHP-FPM
---@field max_reqs? integer so many on one at the same time; default 100
---@field profile? "php"|"generic"
---@field root? string the site as this machine sees it
---@field docroot? string the site as the backend sees it, default `root`
---@field within? string|string[] where real paths must lie, default `root`
---@field resolve_root? boolean default true
---@field ini? table<string, string|number|boolean> settings of PHP that a decision may change
---@field internal? table<string, string|true> prefix -> folder, or on_request, for X-Accel-Redirect

---@class moongate.Health
---@field ping? string default "/ping"
---@field expect? string default "pong"
---@field status? string PHP-FPM's status page, asked for in place of `ping`; its numbers are kept
---@field interval? moongate.Duration default 5
---@field timeout? moongate.Duration default 1
---@field rise? integer default 2
---@field fall? integer default 3

return moongate
]==]
