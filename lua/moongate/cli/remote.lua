-- moongate.cli.remote owns the conversation of a command with a running instance, over its control
-- listener. Called by status, reload, stop, hold, resume, drain and undrain. See
-- moongate.worker.control for the other side.

local addr = require("moongate.base.addr")
local common = require("moongate.cli.common")
local core = require("moongate.core.commands")
local json = require("moongate.base.json")
local tokens = require("moongate.route.control")
local units = require("moongate.base.units")
local url = require("moongate.base.url")

local M = {}

-- An instance that is alive answers at once.
local TIMEOUT = 5
local POLL_INTERVAL = 0.05

--- Why nobody answers when the master has ended: the listener is there as long as that is, also
--- while another binary takes its place. That nobody
--- answers is not enough: the workers may have ended before it.
M.GONE = { ["Connection refused"] = true, ["No such file or directory"] = true }
local ENDED = {}

M.TOKEN_OPTION = {
  name = "--token-file", value = "FILE",
  help = "the token that the instance asks for (or the environment's MOONGATE_TOKEN)",
}
M.CONTROL_OPTION = {
  name = "--control", value = "ADDR",
  help = "where the instance listens for commands (or the environment's MOONGATE_CONTROL)",
  brings = M.TOKEN_OPTION,
}
--- Of commands that show what the instance says, see `show`.
M.JSON_OPTION = { name = "--json", help = "as JSON" }
--- What a ROUTE.lua behind the other arguments is for, in the help of each command.
M.ROUTE_HELP = [[
The instance is the one of ROUTE.lua, where that is given and says `control`; else the one at
MOONGATE_CONTROL; else the one that listens at the usual place of this user.
]]
M.WAIT_OPTION = {
  name = "--wait", value = "TIME", help = "how long to wait for requests in flight (30s)",
}

--- The body of an answer.
---@param answer string all that came
---@return integer|nil status nil where this is no whole HTTP answer
---@return string|nil body
local function parse(answer)
  local status, at = answer:match("^HTTP/1%.[01] (%d%d%d)[^\r\n]*\r\n()")
  local head_end, body_at = answer:find("\r\n\r\n", (at or 3) - 2, true)
  if not status or not head_end then
    return nil
  end
  local length = answer:sub(at - 2, head_end):lower():match("\r\ncontent%-length: *(%d+)")
  local body = answer:sub(body_at + 1)
  if not length or #body ~= tonumber(length) then
    return nil
  end
  return tonumber(status), body
end

--- What the instance answers.
---@param place { address: string, token: string|nil }
---@param method "GET"|"POST"
---@param target string path and query
---@return integer|nil status nil where nobody answers, or what does is no HTTP server
---@return string body the problem where there is no status
---@return string|nil reason in the system's words, where nobody answers
local function talk(place, method, target)
  local address = place.address
  -- The listener may have been reached by a name that it does not know itself by.
  local answer, reason = core.ask(address, ("%s %s HTTP/1.1\r\nHost: localhost\r\n"
    .. "Connection: close\r\n%s%s\r\n"):format(method, target,
    place.token and ("Authorization: Bearer %s\r\n"):format(place.token) or "",
    method == "POST" and "Moongate-Control: 1\r\nContent-Length: 0\r\n" or ""), TIMEOUT)
  if not answer then
    return nil, ("no instance answers at %s: %s; `--control ADDR`, MOONGATE_CONTROL or the route "
      .. "(`moongate status ROUTE.lua`) says where another one is"):format(address, reason), reason
  end
  local status, body = parse(answer)
  if not status then
    return nil, ("%s: what answers there is no control listener of moongate"):format(address)
  end
  return status, body
end

--- Asks the instance.
---@param place { address: string, token: string|nil }
---@param method "GET"|"POST"
---@param target string path and query
---@return table|nil value what it said
---@return string|nil problem
---@return string|nil reason in the system's words, where nobody answers
local function ask(place, method, target)
  local status, body, reason = talk(place, method, target)
  if not status then
    return nil, body, reason
  end
  local value = json.decode(body)
  if type(value) ~= "table" then
    return nil, ("%s: what answers there is no control listener of moongate"):format(place.address)
  elseif status == 401 then
    return nil, ("%s; --token-file, MOONGATE_TOKEN or the route (`moongate status ROUTE.lua`) says "
      .. "which"):format(tostring(value.error))
  elseif status ~= 200 then
    return nil, tostring(value.error or "the instance answered " .. status)
  end
  return value
end

--- Where the instance of a route is, as the script's setting `control` says.
---@param path string as on the command line
---@return string|nil address nil, nil where it leaves that to the default
---@return string|nil problem
---@return string|nil token
local function control_of(path)
  local control, reason = core.control_of(common.absolute(path))
  if control == "off" then
    return nil, ("%s: an instance of this route has no control listener ('control' is false)")
      :format(path)
  elseif not control then
    return nil, reason .. "\nmoongate: `--control ADDR` finds its instance without the script"
  end
  local token = reason ~= "" and reason or nil
  local port = control:match("^0%.0%.0%.0(:%d+)$") -- all addresses: the loopback's is one
  return control ~= "" and (port and "127.0.0.1" .. port or control) or nil, nil, token
end

--- The token that the command line or the environment gives.
---@return string|nil token
---@return string|nil problem
local function given_token(args)
  if args.token_file then
    local token, problem = tokens.read(common.absolute(args.token_file))
    return token, problem and "--token-file: " .. problem
  end
  local text = os.getenv("MOONGATE_TOKEN")
  if not text or text == "" then
    return nil, nil
  end
  local token, _, problem = tokens.token(text)
  return token, problem and "MOONGATE_TOKEN: " .. problem
end

--- Where the instance is: as the command line says, an address or a route; else MOONGATE_CONTROL;
--- else where `moongate run` listens by default. The token is of the command line, else of the
--- environment, else of the route.
---@param args table
---@return { address: string, token: string|nil }|nil place
---@return string|nil problem
---@return integer|nil status for the shell, where there is a problem
local function place_of(args)
  local address, problem
  if args.place then
    return args.place
  end
  local token, wrong = given_token(args)
  if wrong then
    return nil, wrong, 2
  elseif args.control then
    address, problem = common.address("--control", args.control, "connect")
  elseif args.route then
    local own
    address, problem, own = control_of(args.route)
    if problem then
      return nil, problem, 1
    end
    token = token or own
  end
  if not address and not problem then
    address, problem = common.control_default("connect")
  end
  return address and { address = address, token = token }, problem, 2
end

--- Where the instance is, and how long to wait for what it is told.
---@param args table of the command line
---@param default number seconds
---@return { address: string, token: string|nil }|nil place
---@return number|string seconds the problem where there is no place
---@return integer|nil status for the shell, then
local function place_and_time(args, default)
  local place, problem, status = place_of(args)
  if not place then
    return nil, problem, status
  end
  local seconds = default
  if args.wait then
    seconds = units.duration(tonumber(args.wait) or args.wait)
    if not seconds then
      return nil, ("--wait: '%s': expected %s"):format(args.wait, units.DURATION), 2
    end
  end
  return place, seconds
end

--- Looks again and again.
---@param seconds number how long
---@param look fun(): any something but nil and false ends it
---@return any what `look` said last
local function poll(seconds, look)
  local deadline = core.now() + seconds
  local found
  -- Bounded by the number of looks too, since the clock may be set back.
  for _ = 0, seconds / POLL_INTERVAL do
    found = look()
    if found or core.now() >= deadline then
      break
    end
    core.pause(POLL_INTERVAL)
  end
  return found
end

--- Reads from the instance.
---@param args table of the command line
---@param target string path and query
---@return integer status for the shell
---@return string|nil problem
---@return table|nil value where status is 0
---@return string|nil address
function M.get(args, target)
  local place, problem, status = place_of(args)
  if not place then
    return status, problem
  end
  local value
  value, problem = ask(place, "GET", target)
  if not value then
    return 1, problem
  end
  args.place = place -- a command that asks again does not look for the instance again
  return 0, nil, value, place.address
end

--- Reads what a command shows, and prints that where `--json` asks for it.
---@param args table of the command line
---@param target string path and query
---@return integer status for the shell
---@return string|nil problem
---@return table|nil value to be shown as text; nil: there is a problem, or nothing is left to do
---@return string|nil address
function M.show(args, target)
  local status, problem, value, address = M.get(args, target)
  if value and args.json then
    io.stdout:write(json.encode(value), "\n")
    return 0
  end
  return status, problem, value, address
end

--- Tells the instance something, and returns what it says.
---@param args table of the command line
---@param path string
---@param query string[] names and values in turn
---@return integer status for the shell
---@return string|nil problem
---@return table|nil value where status is 0
function M.order(args, path, query)
  local place, problem, status = place_of(args)
  if not place then
    return status, problem
  end
  local value
  value, problem = ask(place, "POST", M.target_of(path, query))
  if not value then
    return 1, problem
  end
  args.place = place -- a command that asks again does not look for the instance again
  return 0, nil, value
end

--- The instance that is meant, for those that ask it again and again.
---@param args table of the command line
---@return { address: string, token: string|nil }|nil place
---@return string|nil problem
---@return integer|nil status for the shell, where there is a problem
function M.place(args)
  return place_of(args)
end

--- Reads from it.
---@param place { address: string, token: string|nil }
---@param target string path and query
---@return table|nil value
---@return string|nil problem
function M.read(place, target)
  return ask(place, "GET", target)
end

--- Reads a page that is no JSON.
---@param place { address: string, token: string|nil }
---@param target string path and query
---@return string|nil text
---@return string|nil problem
function M.read_text(place, target)
  local status, body = talk(place, "GET", target)
  if status ~= 200 then
    return nil, status and ("%s: the instance answered %d"):format(target, status) or body
  end
  return body
end

--- "/hold?backend=a%20b"
local function target_of(path, query)
  local parts = {}
  for i = 1, #query, 2 do
    parts[#parts + 1] = query[i] .. "=" .. url.escape(query[i + 1])
  end
  return #parts > 0 and path .. "?" .. table.concat(parts, "&") or path
end

M.target_of = target_of

--- How many requests a backend, or one of its servers, has in flight.
local function in_flight(backend, server)
  local count = 0
  for _, list in ipairs({ backend.servers or {}, backend.removed or {} }) do
    for _, one in ipairs(list) do
      if server == nil or one.address == server then
        count = count + one.active
      end
    end
  end
  return count
end

--- Waits until nothing is in flight any more.
---@return integer|nil left how many are after that time: 0 where it worked
---@return string|nil problem
local function wait(place, name, server, seconds)
  local target = target_of("/backends", { "name", name })
  local left, problem
  poll(seconds, function()
    local backend
    backend, problem = ask(place, "GET", target)
    left = backend and in_flight(backend, server)
    return not backend or left == 0
  end)
  return left, problem
end

---@class moongate.cli.Order
---@field path string "/hold"
---@field query string[] names and values in turn
---@field waits boolean until no request is in flight
---@field done string|fun(said: table): string what is printed then
---@field still string|nil what is the case, when waiting was not enough
---@field undo string|nil how to end that

--- Tells the instance to do something to the backend args[1], or its server args[2].
---@param args table of the command line
---@param order moongate.cli.Order
---@return integer status for the shell
---@return string|nil message
function M.post(args, order)
  local place, seconds, status = place_and_time(args, 30)
  if not place then
    return status, seconds
  end
  local done, problem = ask(place, "POST", target_of(order.path, order.query))
  if not done then
    return 1, problem
  end
  if done.warning then
    io.stderr:write("warning: ", done.warning, "\n")
  end
  if order.waits then
    local server = args[2] and (addr.parse(args[2], "connect") or args[2])
    local left
    left, problem = wait(place, args[1], server, seconds)
    if problem then
      return 1, ("%s, but how many requests are in flight can't be said: %s; `%s` ends it"):format(
        order.still, problem, order.undo)
    elseif left > 0 then
      return 1, ("%s, but %d request%s still in flight after %g s; `%s` ends it"):format(
        order.still, left, left == 1 and " is" or "s are", seconds, order.undo)
    end
  end
  local said = type(order.done) == "function" and order.done(done) or order.done
  io.stdout:write(said, "\n")
  return 0
end

--- Tells the instance to do something, and waits until it is done.
---@param args table of the command line
---@param path string "/reload"
---@param default number seconds to wait, where --wait does not say
---@param look fun(value: table|nil, told: table, reason: string|nil): any told what GET of
--- `watched` says (nil and why where nobody answers), and what the POST said; ends the waiting by
--- returning something
---@param watched string the path to look at meanwhile
---@return integer status for the shell: 0 where `result` is there or the time is over
---@return string|nil problem
---@return any result of `look`; nil: the time is over
---@return number|nil seconds that were waited for
function M.tell(args, path, default, watched, look)
  local place, seconds, status = place_and_time(args, default)
  if not place then
    return status, seconds
  end
  local told, problem = ask(place, "POST", path)
  if not told then
    return 1, problem
  end
  local result = poll(seconds, function()
    local value, _, reason = ask(place, "GET", watched)
    return look(value, told, reason) or M.GONE[reason] and ENDED
  end)
  if result == ENDED then
    return 1, ("the instance at %s has ended meanwhile"):format(place.address)
  end
  return 0, nil, result, seconds
end

return M
