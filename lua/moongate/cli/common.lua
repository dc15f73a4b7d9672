-- moongate.cli.common owns what several commands do alike: addresses, paths, users, files, loading
-- a route to look at it. Called by the commands.

local addr = require("moongate.base.addr")
local copy_of = require("moongate.base.copy")
local features = require("moongate.base.features")
local core = require("moongate.core.commands")
local port = require("moongate.cli.port")
local load = require("moongate.route.load")
local localhost = require("moongate.cli.localhost")
local values = require("moongate.route.values")

local M = {}

--- Options of the commands that serve.
M.SERVER_OPTIONS = {
  {
    name = "--listen", value = "ADDR", many = true,
    help = "where to listen (may be repeated): 127.0.0.1:8080, :8080, [::1]:8080, unix:/path; "
      .. "https://127.0.0.1:8443 with a certificate for localhost",
  },
  { name = "--workers", value = "N", help = "number of worker processes, or auto" },
  { name = "--pid", value = "FILE", help = "write the master's process id to a file" },
  {
    name = "--user", value = "NAME[:GROUP]",
    help = "what the workers become when started as root",
  },
  { name = "--control", value = "ADDR", help = "where to listen for commands, or off" },
  {
    name = "--token-file", value = "FILE",
    help = "those who send commands must have the token that is in the file",
  },
}

--- An address that the command line or the environment gives.
---@param option string|nil what it was given by, such as "--listen"
---@param text string
---@param use "listen"|"connect"
---@param others string|nil what else is allowed, such as ", or off"
---@return string|nil address
---@return string|nil problem
function M.address(option, text, use, others)
  local address, problem = addr.parse(text, use)
  if address then
    return address
  end
  return nil, ("%s'%s': %s"):format(option and option .. ": " or "", text,
    problem or "expected " .. addr.EXPECTED .. (others or ""))
end

--- Writes a file anew.
---@param path string
---@param text string
---@return string|nil problem
function M.write(path, text)
  local file, problem = io.open(path, "w")
  if not file then
    return problem
  end
  local ok
  ok, problem = file:write(text)
  local closed, unclosed = file:close()
  if not (ok and closed) then
    return ("%s: %s"):format(path, tostring(problem or unclosed))
  end
  return nil
end

--- Where an instance keeps its control socket: a folder of root's, else of the user's own.
---@return string path
function M.run_dir()
  local uid = core.uid()
  if uid == 0 then
    return "/run/moongate"
  end
  local base = os.getenv("XDG_RUNTIME_DIR")
  return base and base:match("^/") and base:match("^(.-)/*$") .. "/moongate"
    or ("/tmp/moongate-%d"):format(uid)
end

--- Where an instance listens for commands, and where the commands look for it, unless the command
--- line or the route says so.
---@param use "listen"|"connect"
---@return string|nil address
---@return string|nil problem
function M.control_default(use)
  local given = os.getenv("MOONGATE_CONTROL")
  if given and given ~= "" then
    return M.address("MOONGATE_CONTROL", given, use)
  end
  local address = addr.parse("unix:" .. M.run_dir() .. "/moongate.sock", "listen")
  -- A path that is too long for a socket: the same answer for `run` and for the commands.
  return address or ("unix:/tmp/moongate-%d/moongate.sock"):format(core.uid())
end

--- A path from the root on; symlinks stay.
---@param path string
---@return string
function M.absolute(path)
  if path:sub(1, 1) == "/" then
    return path
  end
  local cwd = core.getcwd()
  path = path:gsub("^%./+", "")
  return (cwd == "/" and "" or cwd) .. "/" .. path
end

--- "NAME[:GROUP]" taken apart.
---@param text string|nil
---@return string|nil user, string|nil group, string|nil problem
function M.user(text)
  if text == nil then
    return nil, nil
  end
  local user, group = text:match("^([^:]+):([^:]+)$")
  user = user or text:match("^[^:]+$")
  if not user then
    return nil, nil, "--user: expected NAME or NAME:GROUP"
  end
  return user, group
end

--- Where commands come in: as the command line says, else as the script says, else the default.
---@return string|nil problem
local function set_control(opts, args)
  local problem
  opts.control_default, problem = M.control_default("listen")
  if problem then
    return problem
  end
  if args.control == "off" then
    opts.control = false
  elseif args.control then
    opts.control, problem = M.address("--control", args.control, "listen", ", or off")
  end
  opts.token_file = args.token_file and M.absolute(args.token_file)
  return problem
end

--- The options of a server in the words of core.run.
---@param args table
---@return table|nil opts nil where one is wrong
---@return string|nil problem
function M.server_options(args)
  local opts = { listen = args.listen, pid = args.pid }
  for _, text in ipairs(args.listen or {}) do
    local address, problem = M.address("--listen", addr.secure(text) or text, "listen")
    if not address then
      return nil, problem
    end
  end
  if args.workers and args.workers ~= "auto" then
    opts.workers = tonumber(args.workers)
    local most = values.WORKERS_MOST
    if not opts.workers or opts.workers < 1 or opts.workers > most or opts.workers % 1 ~= 0 then
      return nil, ("--workers: expected a number from 1 to %d, or auto"):format(most)
    end
  end
  local problem
  opts.user, opts.group, problem = M.user(args.user)
  problem = problem or set_control(opts, args)
  if problem then
    return nil, problem
  end
  return opts
end

local OVERRIDES = {
  "workers", "watch", "control", "token_file", "user", "group", "sandbox", "tls_cert", "tls_key",
}

--- Gives listeners whose address begins with "https://" a certificate for localhost, and says so
--- once they serve.
---@param opts table
---@return string|nil problem
function M.add_certificate(opts)
  local address
  for _, text in ipairs(opts.listen or {}) do
    address = address or addr.secure(text)
  end
  if not address then
    return nil
  elseif not features.has("tls") then
    return ("https://%s: %s"):format(address, features.problem("tls"))
  end
  local pair, problem = localhost.pair()
  if not pair then
    return problem
  end
  opts.tls_cert, opts.tls_key = pair.cert, pair.key
  opts.banner = (opts.banner or "") .. localhost.banner(pair, address)
end

--- Serves. What overrides the route's settings goes as the text of a table, to each Lua state that
--- loads the route.
---@param opts table of core.run, and what server_options says
---@return integer status, string|nil message
function M.serve(opts)
  local function literal(value)
    return type(value) == "string" and ("%q"):format(value) or tostring(value)
  end
  local listen, parts = {}, {}
  for i, address in ipairs(opts.listen or {}) do
    listen[i] = literal(address)
  end
  if listen[1] then
    parts[1] = "listen={" .. table.concat(listen, ",") .. "}"
  end
  for _, key in ipairs(OVERRIDES) do
    if opts[key] ~= nil then
      parts[#parts + 1] = key .. "=" .. literal(opts[key])
    end
  end
  -- The route must have a token then.
  if opts.control_default and not addr.is_local(opts.control_default) then
    parts[#parts + 1] = "control_default=" .. literal(opts.control_default)
  end
  local status, problem = core.run(opts, "{" .. table.concat(parts, ",") .. "}")
  return status, problem and port.explain(problem, core)
end

--- What only commands do is not there for a script, as in a server.
local function hide_commands()
  package.preload["moongate.core.commands"], package.loaded["moongate.core.commands"] = nil, nil
end

--- A message that says of a script what the user has called it.
local function as_given(message, path, given)
  return copy_of.text(message, path, given)
end

---@return table|nil settings
---@return string|nil message
local function load_route(args)
  local user, group, problem = M.user(args.user)
  if problem then
    return nil, problem
  end
  local became, reason = core.become(user, group)
  if not became and reason then
    return nil, reason
  end
  local path = M.absolute(args[1])
  hide_commands()
  local ok, result = core.limited("loading", nil, path, load.route, path,
    { command = true, sandbox = args.sandbox or nil })
  if ok then
    return result
  end
  return nil, as_given(result, path, args[1])
end

--- Keeps root's right to read certificates for one question about them, before `load` gives it up.
---@param args table `user` as on the command line
function M.keep_reader(args)
  if core.uid() == 0 then
    local user, group = M.user(args.user)
    core.keep_reader(user, group) -- what fails here fails when the script is to be loaded, too
  end
end

--- Loads a route as the user that would serve it. Scripts are never run as root.
---@param args table path of the script first; `user` as on the command line
---@return table|nil settings nil where that can't be done; why is written to stderr
function M.load(args)
  local settings, message = load_route(args)
  if not settings then
    io.stderr:write(message, "\n")
  end
  return settings
end

return M
