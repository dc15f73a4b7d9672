-- moongate.cli.commands owns the command line: which word is which command, usage and help. Called
-- by core/process/main.c, whose exit status is that of `main`: 0 done, 1 failed, 2 wrong usage.
--
-- A command is a module moongate.cli.<name>, with `_` for `-` (`init` is `new`: a module of that
-- name would be the folder's), with
--   usage    what follows "moongate " in the usage line
--   summary  one line for the list of commands
--   help     nil or further lines for `help <name>`
--   options  see moongate.cli.options
--   verbatim nil or a word behind which all is another program's
--   min, max how many other arguments it takes
--   route_at nil or the place behind them of a route that may be there, which becomes args.route;
--            or a function from the arguments to that place
--   main     function(args) -> exit status; args are what options.parse gives

local options = require("moongate.cli.options")
local suggest = require("moongate.base.suggest")
local upcoming = require("moongate.base.upcoming")

local M = {}

local COMMANDS = {
  "run", "serve", "check", "explain", "test", "doctor", "fcgi", "status", "top", "reload",
  "generations", "rollback", "stop", "hold", "resume", "drain", "undrain", "requests", "kill",
  "purge", "tail", "trace", "log-level", "set", "server", "shadow", "init", "import", "types",
  "version", "help",
}
local ALIASES = {
  ["--version"] = "version", ["-V"] = "version", ["--help"] = "help", ["-h"] = "help",
}

local function command_of(name)
  return require("moongate.cli." .. (name == "init" and "new" or (name:gsub("-", "_"))))
end

--- The options of a command, with those that they bring.
local function options_of(command)
  local list = {}
  for _, option in ipairs(command.options) do
    list[#list + 1] = option
    if option.brings then
      list[#list + 1] = option.brings
    end
  end
  return list
end

local function is_command(name)
  for _, known in ipairs(COMMANDS) do
    if known == name then
      return true
    end
  end
  return false
end

--- Says what is wrong with the command line.
---@param name string|nil the command
---@param message string
---@return integer status
local function wrong_usage(name, message)
  local usage = name and command_of(name).usage or "COMMAND [ARGUMENTS]; see `moongate help`"
  io.stderr:write(("moongate%s: %s\nusage: moongate %s\n"):format(
    name and " " .. name or "", message, usage))
  return 2
end

--- The list of commands.
---@return string
function M.overview()
  local lines = { "usage: moongate COMMAND [ARGUMENTS]\n\n" }
  local width = 0
  for _, name in ipairs(COMMANDS) do
    width = math.max(width, #command_of(name).usage)
  end
  for _, name in ipairs(COMMANDS) do
    local command = command_of(name)
    lines[#lines + 1] = ("  %-" .. width .. "s  %s\n"):format(command.usage, command.summary)
  end
  lines[#lines + 1] = "\n`moongate help COMMAND` says more about one of them.\n"
  return table.concat(lines)
end

---@class moongate.cli.Command
---@field name string
---@field usage string what follows "moongate "
---@field summary string
---@field help string|nil
---@field options moongate.cli.Option[]

--- All commands in the order of the overview, for the manual page and the completions of shells.
---@return moongate.cli.Command[]
function M.list()
  local list = {}
  for i, name in ipairs(COMMANDS) do
    local command = command_of(name)
    list[i] = {
      name = name, usage = command.usage, summary = command.summary, help = command.help,
      options = options_of(command),
    }
  end
  return list
end

--- The page about one command.
---@param name string
---@return string|nil text nil where there is no such command
---@return string|nil problem
function M.page(name)
  if not is_command(name) then
    return nil, M.unknown_command(name)
  end
  local command = command_of(name)
  local text = ("usage: moongate %s\n\n%s\n"):format(command.usage, command.summary)
  if command.help then
    text = text .. "\n" .. command.help
  end
  if #command.options > 0 then
    text = text .. "\noptions:\n" .. options.describe(options_of(command))
  end
  return text
end

--- Why a word is no command.
---@param name string
---@return string
function M.unknown_command(name)
  local later = upcoming.problem(upcoming.commands, name)
  return later or ("unknown command '%s'%s"):format(name, suggest.hint(name, COMMANDS))
end

--- Moves the route, which names the instance, from the other arguments to parsed.route: a path, or
--- *.lua.
local function remove_route(command, parsed)
  local at = command.route_at
  at = type(at) == "function" and at(parsed) or at
  local last = at and parsed[at]
  if last and (last:find("%.lua$") or last:find("/", 1, true)) then
    parsed.route = table.remove(parsed, at)
  end
end

--- Runs a command line.
---@param args string[] without the program's name
---@return integer status 0 done, 1 the command failed, 2 wrong usage
function M.main(args)
  local name = ALIASES[args[1]] or args[1]
  if name == nil then
    io.stderr:write(M.overview())
    return 2
  elseif not is_command(name) then
    return wrong_usage(nil, M.unknown_command(name))
  end
  local command = command_of(name)
  for i = 2, #args do
    if args[i] == "--help" or args[i] == "-h" then
      io.stdout:write((M.page(name)))
      return 0
    elseif args[i] == "--" or args[i] == command.verbatim then
      break
    end
  end
  local parsed, problem = options.parse(options_of(command), args, 2, command.verbatim)
  if not parsed then
    return wrong_usage(name, problem)
  end
  remove_route(command, parsed)
  if #parsed < command.min then
    return wrong_usage(name, "an argument is missing")
  elseif #parsed > command.max then
    return wrong_usage(name, ("'%s' is one argument too many"):format(parsed[command.max + 1]))
  end
  local status, message = command.main(parsed)
  if status == 2 and message then
    return wrong_usage(name, message)
  elseif message then
    io.stderr:write(("moongate: %s\n"):format(message))
  end
  return status
end

return M
