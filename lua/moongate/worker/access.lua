-- moongate.worker.access owns who may ask the control listener for what. Called by worker/control
-- before it answers.
--
-- Where the route has a token, a request must bring it. Where it has none, whoever can connect may
-- do everything, so core/ listens on a unix socket or the loopback, and what is left to refuse are
-- web pages in a browser on that machine: see `misdirected` and `from_page`.

local addr = require("moongate.base.addr")
local guesses = require("moongate.worker.guesses")

local M = {}

local wrong_tokens = guesses.new()

--- Why a request was not meant for this listener: its Host is none of ours. The owner of a name may
--- point it at any address, also at this one, and then the pages of that name are of one origin
--- with what is answered here, so that a browser lets them read it (DNS rebinding). A browser
--- reaches a unix socket only where somebody passes a port on to it (ssh -L), with a Host that has
--- no more to do with the socket than a word without dots, as clients of unix sockets make one up.
---@param req table
---@param listeners table[] as /status shows them
---@return string|nil problem
local function misdirected(req, listeners)
  local host = req.host
  local is_unix = req.server_ip == "unix:"
  if host == nil or host == "" or is_unix and host:match("^[%w_-]+$") then
    return nil
  end
  host = host:match("^%[(.*)%]$") or host
  if addr.is_loopback(host) or host == req.server_ip then
    return nil
  end
  for _, listener in ipairs(listeners) do
    if listener.control and addr.host(listener.given or listener.address):lower() == host then
      return nil
    end
  end
  return is_unix and ("the Host '%s' is none of a unix socket's: use localhost"):format(host)
    or ("the Host '%s' is none of this listener's: use %s, localhost, or what 'control' of the "
    .. "route says"):format(host, req.server_ip)
end

--- Whether a request comes from a page that was read here: a browser names the page's origin.
local function is_own_origin(req)
  local host, origin = req.headers.Host, req.headers.Origin:lower()
  host = host and host:lower()
  return host ~= nil and (origin == "http://" .. host or origin == "https://" .. host)
end

--- Why a request may not change anything. Pages of other sites can make a browser send a POST, but
--- not with a header like this one; and a browser that sends it for a page of another origin
--- names that.
---@param req table
---@return string|nil problem
local function from_page(req)
  if req.headers["Moongate-Control"] ~= "1" then
    return "a POST needs the header 'Moongate-Control: 1', so that no web page of another site can "
      .. "send one"
  elseif req.headers.Origin ~= nil and not is_own_origin(req) then
    return ("the header 'Origin' says that a web page of another site sends this: %s")
      :format(req.headers.Origin)
  end
  return nil
end

--- The token that a request brings.
---@return string|nil
local function token_of(req)
  return (req.headers.Authorization or ""):match("^[Bb][Ee][Aa][Rr][Ee][Rr] +(%S+) *$")
end

--- Whose token it is.
---@return "operator"|"metrics"|nil role
local function role_of(given, tokens, equal)
  -- Both are compared, whichever it is: the time says nothing.
  local operator = equal(given, tokens.token)
  local metrics = equal(given, tokens.metrics_token or "")
  return operator and "operator" or metrics and "metrics" or nil
end

--- Why a request that must bring a token is refused.
---@return integer|nil status
---@return string|nil problem
local function refused(req, access)
  local given = token_of(req)
  if given and not wrong_tokens:may(req.ip or "") then
    return 429, ("too many wrong tokens have come from %s: none of it is looked at for a second")
      :format(req.ip)
  end
  local role = given and role_of(given, access.tokens, access.equal)
  if role == "operator" then
    return nil
  elseif not role then
    if given and wrong_tokens:wrong(req.ip or "") then
      access.log("warn", ("control listener: %s has sent too many wrong tokens; its requests are "
        .. "answered 429"):format(req.ip))
    end
    return 401, req.headers.Authorization and "the token in 'Authorization' is not this listener's"
      or "this needs the token of the control listener, as 'Authorization: Bearer TOKEN'"
  elseif req.path ~= "/metrics" or req.method ~= "GET" and req.method ~= "HEAD" then
    return 403, "this token is for GET /metrics alone"
  end
  return nil
end

--- Why a request may not have what it asks for.
---@param req table as in on_request
---@param access table { tokens, listeners, equal, log, open, acts }:
--- the tokens of the route; the listeners; a comparison in constant time; the error log; whether
--- what is asked for has nothing of the instance, so that it needs no token; whether it is to
--- change something
---@return integer|nil status nil: it may
---@return string|nil problem
function M.problem(req, access)
  local tokens, status, problem = access.tokens, nil, nil
  if tokens.token then
    if not access.open then
      status, problem = refused(req, access)
    end
  else
    problem = misdirected(req, access.listeners)
    if problem then
      return 421, problem
    elseif req.server_ip ~= "unix:" and req.server_ip and not addr.is_loopback(req.server_ip) then
      return 403, ("%s is no address of the loopback, and the route that serves has no token "
        .. "('control')"):format(req.server_ip)
    end
  end
  if not status and access.acts then
    problem = from_page(req)
    status = problem and 403
  end
  return status, problem
end

return M
