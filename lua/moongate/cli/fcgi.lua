-- moongate.cli.fcgi owns `moongate fcgi`: one FastCGI request from the shell. Called by
-- moongate.cli. core.fcgi speaks the protocol.

local common = require("moongate.cli.common")
local core = require("moongate.core.commands")
local units = require("moongate.base.units")

local M = {
  usage = "fcgi ADDR [ping | status | values | KEY=VALUE...] [OPTIONS]",
  summary = "send one FastCGI request from the shell",
  help = [[
ping and status ask php-fpm's own pages and fail where they do, for probes; KEY=VALUE says more,
such as `status QUERY_STRING=full`, or SCRIPT_NAME for a page at another path. values asks for
FCGI_MAX_CONNS and its kin. Otherwise a request is sent whose params are KEY=VALUE over defaults;
its answer goes to stdout, what the application logs to stderr.

Exit status 0: there was an answer, and the application's own exit status was 0. With --fail the
answer's status must also be below 400.
]],
  options = {
    { name = "--script", value = "FILE", help = "the script to run, as the server sees it" },
    { name = "--body", value = "FILE", help = "send a file as the body (- is stdin); means POST" },
    { name = "--role", value = "ROLE", help = "responder (default), authorizer or filter" },
    { name = "--data", value = "FILE", help = "what a filter gets behind the body (FCGI_DATA)" },
    { name = "--fail", help = "exit with 1 if the status of the answer is 400 or more" },
    { name = "--timeout", value = "TIME", help = "what all of it may take, default 10s" },
  },
  min = 1, max = math.huge,
}

local ROLES = { responder = 1, authorizer = 2, filter = 3 }
local VALUES = { "FCGI_MAX_CONNS", "FCGI_MAX_REQS", "FCGI_MPXS_CONNS" }
-- What an authorizer must not get (FastCGI 6.3).
local NOT_FOR_AUTHORIZERS = {
  SCRIPT_NAME = true, PATH_INFO = true, PATH_TRANSLATED = true, CONTENT_LENGTH = true,
}
local PROTOCOL_STATUS = { [1] = "cannot multiplex", [2] = "overloaded", [3] = "unknown role" }

--- Params as a list in a fixed order, later ones in place of earlier ones of the same name.
---@param pairs_list string[][] { name, value }
---@return string[][]
local function merge(pairs_list)
  local list, at = {}, {}
  for _, pair in ipairs(pairs_list) do
    local i = at[pair[1]] or #list + 1
    list[i], at[pair[1]] = pair, i
  end
  return list
end

--- What a web server would send for a GET of this script.
---@param script string|nil file
---@param name string SCRIPT_NAME
---@param body string|nil
---@return string[][]
local function default_params(script, name, body)
  local list = {
    { "GATEWAY_INTERFACE", "CGI/1.1" }, { "SERVER_SOFTWARE", "moongate/" .. core.version },
    { "SERVER_PROTOCOL", "HTTP/1.1" }, { "SERVER_NAME", "localhost" }, { "SERVER_PORT", "80" },
    { "REMOTE_ADDR", "127.0.0.1" }, { "REQUEST_METHOD", body and "POST" or "GET" },
    { "REQUEST_URI", name }, { "DOCUMENT_URI", name }, { "SCRIPT_NAME", name },
    { "SCRIPT_FILENAME", script or name }, { "QUERY_STRING", "" },
  }
  if script then
    list[#list + 1] = { "DOCUMENT_ROOT", script:match("^(.+)/[^/]*$") or "/" }
  end
  if body then
    list[#list + 1] = { "CONTENT_TYPE", "application/x-www-form-urlencoded" }
    list[#list + 1] = { "CONTENT_LENGTH", tostring(#body) }
  end
  return list
end

--- The head and body of an answer, and the status that a client would see.
---@param stdout string
---@return integer status, string body
local function parse(stdout)
  local head, body = stdout:match("^(.-)\r?\n\r?\n(.*)$")
  if not head then
    return 0, stdout
  end
  local status = ("\n" .. head):match("\n[Ss][Tt][Aa][Tt][Uu][Ss]:%s*(%d%d%d)")
  return tonumber(status or 200), body
end

--- KEY=VALUE of the command line, from an argument on.
---@param expected string what an argument may be, for the problem
---@return string[][]|nil list, string|nil problem
local function pairs_from(args, first, expected)
  local list = {}
  for i = first, #args do
    local key, value = args[i]:match("^([^=]+)=(.*)$")
    if not key then
      return nil, ("'%s': expected %s"):format(args[i], expected)
    end
    list[#list + 1] = { key, value }
  end
  return list
end

--- Asks one of php-fpm's own pages.
---@param page string its usual path; SCRIPT_NAME of the command line says another one
---@return table|nil answer
---@return string path, or where there is no answer the problem
---@return integer status of the answer, or for the shell
---@return string|nil body
local function ask_page(address, timeout, page, args)
  local own, problem = pairs_from(args, 3, "KEY=VALUE")
  if not own then
    return nil, problem, 2
  end
  for _, pair in ipairs(own) do
    page = pair[1] == "SCRIPT_NAME" and pair[2] or page
  end
  local list = default_params(nil, page, nil)
  for _, pair in ipairs(own) do
    list[#list + 1] = pair
  end
  local answer
  answer, problem = core.fcgi({
    address = address, params = merge(list), role = 1, timeout = timeout,
  })
  if not answer then
    return nil, problem, 1
  end
  local status, body = parse(answer.stdout)
  return answer, page, status, body
end

local function ping(address, timeout, args)
  local answer, path, status, body = ask_page(address, timeout, "/ping", args)
  if not answer then
    return status, path
  end
  body = body:match("^%s*(.-)%s*$")
  if status == 200 and body == "pong" then
    io.stdout:write("pong\n")
    return 0
  end
  return 1, ("%s: the answer to %s was %d \"%s\"; is `ping.path = %s` set in the pool?")
    :format(address, path, status, body:sub(1, 60), path)
end

--- Is this a status page, in any of the formats that QUERY_STRING can ask for?
local function is_status_page(body)
  return body:match("^pool:%s") or body:match("^{\"pool\":") or body:match("^<%?xml") and
    body:find("<status>", 1, true) or body:match("^<!DOCTYPE html") and body:find("pool", 1, true)
    or body:match("^# HELP phpfpm_")
end

local function status_page(address, timeout, args)
  local answer, path, status, body = ask_page(address, timeout, "/status", args)
  if not answer then
    return status, path
  end
  if status == 200 and is_status_page(body) then
    io.stdout:write(body, body:match("\n$") and "" or "\n")
    return 0
  end
  return 1, ("%s: the answer to %s was %d and no status page; is "
    .. "`pm.status_path = %s` set in the pool?"):format(address, path, status, path)
end

local function values(address, timeout, args)
  if args[3] then
    return 2, ("'%s' is one argument too many"):format(args[3])
  end
  local answer, problem = core.fcgi({ address = address, values = VALUES, timeout = timeout })
  if not answer then
    return 1, problem
  end
  local names = {}
  for name in pairs(answer) do
    names[#names + 1] = name
  end
  table.sort(names)
  for _, name in ipairs(names) do
    io.stdout:write(name, "=", answer[name], "\n")
  end
  return 0
end

local PAGES = { ping = ping, status = status_page, values = values }

---@return string|nil body, string|nil problem
local function read_body(name)
  if not name then
    return nil
  elseif name == "-" then
    return io.stdin:read("*a")
  end
  local file, reason = io.open(name, "rb")
  if not file then
    return nil, reason
  end
  local body
  body, reason = file:read("*a")
  file:close()
  return body, reason
end

--- The params of a request, with those of the command line.
---@return string[][]|nil params, string|nil problem
local function params_of(args, body, data)
  local script = args.script and common.absolute(args.script)
  local name = script and "/" .. script:match("[^/]*$") or "/"
  local list = default_params(script, name, body)
  if args.role == "filter" then
    list[#list + 1] = { "FCGI_DATA_LENGTH", tostring(#(data or "")) }
  end
  local own, problem = pairs_from(args, 2, "KEY=VALUE, ping, status or values")
  if not own then
    return nil, problem
  end
  for _, pair in ipairs(own) do
    list[#list + 1] = pair
  end
  list = merge(list)
  if args.role == "authorizer" then
    for i = #list, 1, -1 do
      if NOT_FOR_AUTHORIZERS[list[i][1]] then
        table.remove(list, i)
      end
    end
  end
  return list
end

--- Prints an answer.
---@return integer status, string|nil message
local function print_answer(answer, fail)
  io.stdout:write(answer.stdout or "")
  io.stdout:flush()
  if answer.stderr and answer.stderr ~= "" then
    io.stderr:write(answer.stderr, answer.stderr:match("\n$") and "" or "\n")
  end
  if answer.protocol_status ~= 0 then
    return 1, ("the server refused the request: %s"):format(
      PROTOCOL_STATUS[answer.protocol_status] or tostring(answer.protocol_status))
  end
  io.stderr:write(("moongate: app status %d\n"):format(answer.app_status))
  local status = parse(answer.stdout or "")
  if fail and (status == 0 or status >= 400) then
    return 1, status == 0 and "the answer has no head" or "the status of the answer is " .. status
  end
  return answer.app_status == 0 and 0 or 1
end

local function request(address, timeout, args)
  local role = ROLES[args.role or "responder"]
  if not role then
    return 2, ("--role: expected responder, authorizer or filter, got '%s'"):format(args.role)
  end
  local body, problem = read_body(args.body)
  if problem then
    return 1, problem
  end
  local data
  data, problem = read_body(args.data)
  if problem then
    return 1, problem
  elseif data and args.role ~= "filter" then
    return 2, "--data: it is for --role filter"
  end
  local params
  params, problem = params_of(args, body, data)
  if not params then
    return 2, problem
  end
  local answer
  answer, problem = core.fcgi({
    address = address, params = params, body = body, data = data, role = role, timeout = timeout,
  })
  if not answer then
    return 1, problem
  end
  return print_answer(answer, args.fail)
end

---@param args table
---@return integer status, string|nil message
function M.main(args)
  local address, problem = common.address(nil, args[1], "connect")
  if not address then
    return 2, problem
  end
  local timeout = units.duration(tonumber(args.timeout) or args.timeout or 10)
  if not timeout or timeout == 0 then
    return 2, "--timeout: expected " .. units.DURATION
  end
  local page = PAGES[args[2]]
  if page then
    return page(address, timeout, args)
  end
  return request(address, timeout, args)
end

return M
