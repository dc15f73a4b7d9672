-- moongate.cli.request owns the request that a command line describes: for `explain`, which says
-- what would become of it.

local addr = require("moongate.base.addr")
local curl = require("moongate.cli.curl")
local simulate = require("moongate.testing.simulate")

local M = {}

--- Options of the commands that take a request.
M.OPTIONS = {
  { name = "-H", value = "'Name: value'", key = "headers", many = true, help = "a header" },
  { name = "--ip", value = "IP", help = "who connects; unix: for a unix socket (127.0.0.1)" },
  { name = "--from", value = "IP", key = "ip", help = "the same" },
  { name = "--listener", value = "NAME", help = "where: a listener's name or address" },
  { name = "--https", help = "as if it came by https" },
  { name = "--body", value = "FILE", help = "a body; - for standard input" },
}

local BODY_MAX = 64 * 1024 * 1024

--- The headers of the command line.
---@return string[][]|nil headers nil where one is wrong
---@return string|nil problem
local function headers_of(args)
  local list = {}
  for _, text in ipairs(args.headers or {}) do
    local name, value = text:match("^([^:%s]+):%s*(.-)%s*$")
    if not name then
      return nil, ("-H: '%s': expected 'Name: value'"):format(text)
    end
    list[#list + 1] = { name, value }
  end
  return list
end

--- The body of the command line.
---@return string|nil body nil: none
---@return string|nil problem
local function body_of(path)
  local file, problem = io.stdin, nil
  if path ~= "-" then
    file, problem = io.open(path, "rb")
  end
  if not file then
    return nil, "--body: " .. problem
  end
  local body = file:read(BODY_MAX + 1) or ""
  if path ~= "-" then
    file:close()
  end
  if #body > BODY_MAX then
    return nil, ("--body: %s is longer than 64 MB"):format(path)
  end
  return body
end

--- What the command line describes.
---@param args table the route first, then METHOD and URL; or `curl`, the words of its command line
---@return moongate.testing.simulate.Request|nil
---@return string|nil problem
function M.describe(args)
  local what, problem
  if args.curl then
    what, problem = curl.request(args.curl)
  else
    local headers
    headers, problem = headers_of(args)
    local method, url = args[2], args[3]
    if not url then
      method, url = "GET", args[2]
    end
    what = headers and { method = method, url = url, headers = headers }
  end
  if not what then
    return nil, problem
  end
  if args.ip and (args.ip:find("/", 1, true) or not addr.network(args.ip)) then
    return nil, ("--ip: '%s': expected an address such as 192.0.2.7, or unix:"):format(args.ip)
  elseif args.body then
    what.body, problem = body_of(args.body)
    if problem then
      return nil, problem
    elseif what.method == "GET" and not args.curl and not args[3] then
      what.method = "POST"
    end
  end
  what.ip, what.listener, what.https = args.ip, args.listener, args.https
  return what
end

--- The request as hooks see it.
---@param args table
---@param settings table normalized
---@return table|nil req
---@return integer|nil status for the shell, where there is no request
---@return string|nil problem
---@return moongate.testing.simulate.Request|nil what the command line describes
function M.make(args, settings)
  local what, wrong = M.describe(args)
  if not what then
    return nil, 2, wrong
  end
  local req, status, reason = simulate.request(settings, what)
  if req then
    return req, nil, nil, what
  elseif not status then
    return nil, 2, reason
  end
  return nil, 1, ("the client would get %s: %s"):format(tostring(status), tostring(reason))
end

return M
