-- moongate.tls owns what a route does about plain HTTP beside HTTPS: the way to https, and the
-- answers to an authority that looks whether a host is this one (ACME, RFC 8555 section 8.3).
-- Called by routes.

local describe = require("moongate.base.describe")
local headers = require("moongate.headers")
local suggest = require("moongate.base.suggest")

local M = {}

local KEYS = { acme = true, port = true }
local CHALLENGE = "/.well-known/acme-challenge/"

local function problem_of(options)
  local wrong = suggest.options_problem(options, KEYS)
  local acme, port = options.acme, options.port
  if wrong then
    return wrong
  elseif acme ~= nil
    and not (type(acme) == "string" and acme:match("^/") and not acme:find("%c")) then
    return "acme: expected the absolute path of a folder, got " .. describe(acme)
  elseif port ~= nil and not (type(port) == "number" and port >= 1 and port <= 65535
    and port % 1 == 0) then
    return "port: expected a number from 1 to 65535, got " .. describe(port)
  end
end

--- The answer to an authority: the file that its client (certbot, lego) has put below the folder.
--- A token has the characters of base64url, so no path leads elsewhere.
local function challenge(req, folder)
  local token = req.path:sub(1, #CHALLENGE) == CHALLENGE and req.path:sub(#CHALLENGE + 1)
  if not token then
    return nil
  elseif not token:match("^[%w_-]+$") then
    return { status = 404 }
  end
  return { file = folder .. CHALLENGE .. token, headers = { ["Content-Type"] = "text/plain" } }
end

--- A handler that answers plain HTTP with a redirect to https, and HTTPS by the given handler.
---@param handler table|fun(req: table, ...): table|nil a decision, a function or a router
---@param options table|nil acme: the folder (`--webroot`) from which challenges are answered over
--- both; port: of HTTPS, 443 by default
---@return fun(req: table, ...): table|nil
function M.redirect(handler, options)
  options = options or {}
  local decide, problem = headers.as_function(handler)
  problem = problem or problem_of(options)
  if problem then
    error("tls.redirect: " .. problem, 2)
  end
  local port = (options.port or 443) ~= 443 and (":%d"):format(options.port) or ""
  return function(req, ...)
    local answer = options.acme and challenge(req, options.acme)
    if answer then
      return answer
    elseif req.scheme == "https" then
      return decide(req, ...)
    elseif not req.host then -- a request of HTTP/1.0: there is no address to send it to
      return { status = 400 }
    end
    local host = req.host:find(":", 1, true) and req.host:sub(1, 1) ~= "["
      and "[" .. req.host .. "]" or req.host
    -- 308 has the client send the same method and body again (RFC 9110 section 15.4.9)
    local safe = req.method == "GET" or req.method == "HEAD"
    return { redirect = "https://" .. host .. port .. req.uri, status = safe and 301 or 308 }
  end
end

return M
