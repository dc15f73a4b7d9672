-- ngx owns the part of OpenResty's API that client libraries use (lua-resty-redis, -memcached, -dns
-- and their like): sockets, time, timers, the log, codecs. Called by scripts and by such libraries.
-- Requiring it sets the global `ngx`, which they expect. What a hook does with its request is
-- moongate's: what OpenResty has for that is named by moongate.ngx.missing, and says so when it is
-- used. Any other name that is not here is nil, since libraries ask that way what there is.

local core = require("moongate.core")
local hash = require("moongate.hash")
local missing = require("moongate.ngx.missing")
local moongate = require("moongate")
local regex = require("moongate.ngx.regex")

local M = {
  OK = 0, ERROR = -1, AGAIN = -2, DONE = -4, DECLINED = -5,
  STDERR = 0, EMERG = 1, ALERT = 2, CRIT = 3, ERR = 4, WARN = 5, NOTICE = 6, INFO = 7, DEBUG = 8,
  null = core.null,
  re = regex,
}

local STATUSES = {
  CONTINUE = 100, SWITCHING_PROTOCOLS = 101, OK = 200, CREATED = 201, ACCEPTED = 202,
  NO_CONTENT = 204, PARTIAL_CONTENT = 206, SPECIAL_RESPONSE = 300, MOVED_PERMANENTLY = 301,
  MOVED_TEMPORARILY = 302, SEE_OTHER = 303, NOT_MODIFIED = 304, TEMPORARY_REDIRECT = 307,
  PERMANENT_REDIRECT = 308, BAD_REQUEST = 400, UNAUTHORIZED = 401, PAYMENT_REQUIRED = 402,
  FORBIDDEN = 403, NOT_FOUND = 404, NOT_ALLOWED = 405, NOT_ACCEPTABLE = 406, REQUEST_TIMEOUT = 408,
  CONFLICT = 409, GONE = 410, UPGRADE_REQUIRED = 426, TOO_MANY_REQUESTS = 429, CLOSE = 444,
  ILLEGAL = 451, INTERNAL_SERVER_ERROR = 500, NOT_IMPLEMENTED = 501, METHOD_NOT_IMPLEMENTED = 501,
  BAD_GATEWAY = 502, SERVICE_UNAVAILABLE = 503, GATEWAY_TIMEOUT = 504, VERSION_NOT_SUPPORTED = 505,
  INSUFFICIENT_STORAGE = 507,
}

for name, status in pairs(STATUSES) do
  M["HTTP_" .. name] = status
end

-- nginx gives each method a bit, from 2 on, in this order.
local METHODS = {
  "GET", "HEAD", "POST", "PUT", "DELETE", "MKCOL", "COPY", "MOVE", "OPTIONS", "PROPFIND",
  "PROPPATCH", "LOCK", "UNLOCK", "PATCH", "TRACE",
}

for i, name in ipairs(METHODS) do
  M["HTTP_" .. name] = 2 ^ i
end

--- Libraries look at the version: this is the one whose documentation the functions here follow.
M.config = {
  subsystem = "http", debug = false, nginx_version = 1021004, ngx_lua_version = 10021,
  prefix = function()
    return "./"
  end,
  nginx_configure = function()
    return ""
  end,
}

M.socket = {
  tcp = core.tcp,
  stream = core.tcp,
  udp = core.udp,
}

--- A connected socket, or nil and the reason.
function M.socket.connect(...)
  local sock = core.tcp()
  local ok, reason = sock:connect(...)
  if not ok then
    return nil, reason
  end
  return sock
end

-- --- time and the log ------------------------------------------------------------------------

--- Never a cached one: update_time has nothing to do.
M.now = moongate.now

function M.time()
  return math.floor(moongate.now())
end

function M.update_time() end

--- The day, "2026-11-29", in the machine's time zone.
function M.today()
  return os.date("%Y-%m-%d", M.time())
end

--- "2026-11-29 10:07:00", in the machine's time zone; utctime in UTC.
function M.localtime()
  return os.date("%Y-%m-%d %H:%M:%S", M.time())
end

function M.utctime()
  return os.date("!%Y-%m-%d %H:%M:%S", M.time())
end

--- A time for headers such as Last-Modified (RFC 9110 §5.6.7).
---@param seconds number since 1970
---@return string
function M.http_time(seconds)
  return os.date("!%a, %d %b %Y %H:%M:%S GMT", seconds)
end

--- A time for the attribute Expires of a cookie, as nginx writes it: a year has two digits, from
--- 2038 on four, so that no client takes it for one of the 20th century.
---@param seconds number since 1970
---@return string
function M.cookie_time(seconds)
  local year = tonumber(os.date("!%Y", seconds)) > 2037 and "%Y" or "%y"
  return os.date("!%a, %d-%b-" .. year .. " %H:%M:%S GMT", seconds)
end

function M.sleep(seconds)
  moongate.sleep(tonumber(seconds) or seconds)
end

local LEVELS = {
  [0] = "error", "error", "error", "error", "error", "warn", "info", "info", "debug",
}

local function text_of(value)
  if value == M.null then
    return "null"
  elseif type(value) == "table" and not (getmetatable(value) or {}).__tostring then
    error("log: expected texts, numbers and the like, got table", 3)
  end
  return tostring(value)
end

--- Writes its arguments, one after the other, to the error log.
---@param level integer ngx.ERR and its like
---@param ... any
function M.log(level, ...)
  local word = LEVELS[level]
  if not word then
    error(("log: unknown level '%s'"):format(tostring(level)), 2)
  end
  local parts, at = {}, debug.getinfo(2, "Sl")
  for i = 1, select("#", ...) do
    parts[i] = text_of((select(i, ...)))
  end
  local where = at and ("%s:%d: "):format(at.short_src, at.currentline) or ""
  moongate.log(word, "%s%s", where, table.concat(parts))
end

-- --- texts -----------------------------------------------------------------------------------

function M.escape_uri(text)
  return moongate.escape(tostring(text))
end

--- Decodes `%XX`, and `+` as a space.
function M.unescape_uri(text)
  return moongate.unescape((tostring(text):gsub("+", " ")))
end

---@param text string
---@param no_padding boolean|nil
---@return string
function M.encode_base64(text, no_padding)
  local coded = hash.base64(tostring(text))
  return no_padding and (coded:gsub("=+$", "")) or coded
end

--- Bytes from base64, with padding or without; nil where it is something else.
M.decode_base64 = hash.unbase64

-- --- digests ---------------------------------------------------------------------------------

function M.md5(text)
  return hash.md5(tostring(text))
end

function M.md5_bin(text)
  return hash.md5(tostring(text), "raw")
end

function M.sha1_bin(text)
  return hash.sha1(tostring(text), "raw")
end

--- Bytes, too.
function M.hmac_sha1(key, text)
  return hash.hmac("sha1", tostring(key), tostring(text), "raw")
end

--- The same number as crc32_long: OpenResty's two differ in speed.
function M.crc32_short(text)
  return hash.crc32(tostring(text))
end

M.crc32_long = M.crc32_short

-- --- functions beside the requests -----------------------------------------------------------

-- Coroutines that run a timer, for get_phase.
local timers = setmetatable({}, { __mode = "k" })

local function run_timer(premature, fn, ...)
  local co = coroutine.running()
  timers[co] = true
  fn(premature, ...)
  timers[co] = nil -- it is used again; after an error it is not
end

M.timer = {}

--- Runs fn(premature, ...) after a delay; at once, and premature, when another script takes over.
---@param delay number seconds
---@return boolean|nil
---@return string|nil reason
function M.timer.at(delay, fn, ...)
  if type(delay) ~= "number" or not (delay >= 0 and delay <= 1e9) then
    error(("timer.at: expected seconds, got %s"):format(tostring(delay)), 2)
  elseif core.retired() then -- so that a timer which starts itself again comes to its end
    return nil, "process exiting"
  end
  moongate.spawn(function(...)
    local premature = core.sleep_until_retired(delay)
    run_timer(premature, fn, ...)
  end, ...)
  return true
end

--- Runs fn(false, ...) again and again.
---@param delay number seconds
---@return boolean
function M.timer.every(delay, fn, ...)
  local args, count = { ... }, select("#", ...)
  moongate.every(delay, function()
    run_timer(false, fn, unpack(args, 1, count))
  end)
  return true
end

M.thread = {}

local function finish(thread, ...)
  thread.results, thread.count = { ... }, select("#", ...)
  for _, gate in ipairs(thread.gates) do
    gate:open()
  end
end

--- Runs a function beside this one. It begins when this one waits.
---@return table thread for wait
function M.thread.spawn(fn, ...)
  local thread = { gates = {} }
  moongate.spawn(function(...)
    finish(thread, pcall(fn, ...))
  end, ...)
  return thread
end

--- Waits for the first of these threads to end.
---@param ... table
---@return boolean ok
---@return any ... what it returned, or its error
function M.thread.wait(...)
  local threads = { ... }
  while true do
    for _, thread in ipairs(threads) do
      if thread.results then
        return unpack(thread.results, 1, thread.count)
      end
    end
    local gate = core.gate()
    for _, thread in ipairs(threads) do
      thread.gates[#thread.gates + 1] = gate
    end
    gate:wait()
  end
end

--- "access" in a hook, "timer" in what ngx.timer runs, "init" while the route is loaded.
function M.get_phase()
  local co = coroutine.running()
  return not co and "init" or timers[co] and "timer" or "access"
end

-- --- the processes ---------------------------------------------------------------------------

M.worker = {}

--- From 0 on, as in OpenResty.
function M.worker.id()
  return core.worker().index - 1
end

function M.worker.pid()
  return core.worker().pid
end

function M.worker.count()
  return core.worker().count
end

--- True once another script has taken over.
function M.worker.exiting()
  return core.retired()
end

--- ngx.shared.NAME is moongate.shared("NAME").
M.shared = setmetatable({}, {
  __index = function(t, name)
    local dictionary = moongate.shared(name)
    rawset(t, name, dictionary)
    return dictionary
  end,
})

-- Debian calls the libraries nginx.redis and so on: resty.redis finds them too. A text that a
-- loader returns is part of require's message.
local function find_resty(name)
  local rest = name:match("^resty%.(.+)$")
  local path = rest and package.searchpath("nginx." .. rest, package.path)
  return path and assert(loadfile(path)) or missing.module(name)
end

package.loaders[#package.loaders + 1] = find_resty

missing.complete(M, core.tcp_methods)
rawset(_G, "ngx", M)

return M
