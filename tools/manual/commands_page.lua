-- manual.commands_page owns moongate(1): every command with its options. Called by manual.write.

local roff = require("manual.roff")

local M = {}

local DESCRIPTION = [[
Moongate takes HTTP requests and sends them to PHP-FPM, or to other FastCGI applications. Which
application gets a request, what it is told and what a client sees is said by a script in Lua, the
route; see `route.lua`(5).

`moongate init` writes a first route, `moongate check` and `moongate explain` look at one, `moongate
run` serves it. An instance that runs is asked and told by the commands from `status` on.

ADDR is host:port, [v6]:port, :port or unix:/path. TIME is a number of seconds, or such as 250ms,
5s, 2m and 1h. Options and other arguments may come in any order; -- ends the options.
]]

local STATUS = {
  { "0", "done" },
  { "1", "the command failed; why is on standard error" },
  { "2", "wrong usage" },
}

local SIGNALS = {
  { "TERM, QUIT", "finish the requests in flight, within `stop_timeout` of the route, and end" },
  { "INT", "end at once" },
  { "HUP", "read the route again, as `moongate reload` does" },
  { "USR1", "open the log files again" },
  { "USR2", "start the binary again on the same sockets, and end when it serves: an upgrade" },
}

local ENVIRONMENT = {
  { "MOONGATE_CONTROL", "where commands are taken, unless an option or the route says so" },
  { "XDG_RUNTIME_DIR", "the control socket of a user who is not root is in moongate/ below it" },
  { "MOONGATE_PHP", "set for the route by `moongate run --php`: the address of that PHP" },
}

local FILES = {
  { "/etc/moongate/route.lua", "the route of moongate.service; NAME.lua is that of moongate@NAME" },
  { "/run/moongate/moongate.sock", "where an instance of root's takes commands" },
}

local function options_of(command)
  local parts = {}
  for _, option in ipairs(command.options) do
    local term = roff.bold(option.name)
    if option.value then
      term = term .. " \\fI" .. roff.escape(option.value) .. "\\fR"
    end
    parts[#parts + 1] = roff.item(term, option.help)
  end
  return table.concat(parts)
end

local function section_of(command)
  local usage = roff.escape(command.usage:sub(#command.name + 1))
  return (".SS \\fBmoongate %s\\fR%s\n%s.\n%s%s"):format(roff.escape(command.name), usage,
    roff.prose((command.summary:gsub("^%l", string.upper))),
    command.help and roff.paragraphs(command.help) or "", options_of(command))
end

local function items(list)
  local parts = {}
  for i, item in ipairs(list) do
    parts[i] = roff.item(roff.bold(item[1]), item[2])
  end
  return table.concat(parts)
end

---@param about { version: string, date: string, commands: moongate.cli.Command[] }
---@return string
function M.text(about)
  local parts = {
    roff.head("MOONGATE", 1, about, "User Commands"),
    ".SH NAME\nmoongate \\- FastCGI proxy that is scripted in Lua\n",
    ".SH SYNOPSIS\n.B moongate\n.I COMMAND\n.RI [ ARGUMENTS ]\n",
    ".SH DESCRIPTION\n", (roff.paragraphs(DESCRIPTION):gsub("^%.PP\n", "")), ".SH COMMANDS\n",
  }
  for _, command in ipairs(about.commands) do
    parts[#parts + 1] = section_of(command)
  end
  for _, section in ipairs({
    { "EXIT STATUS", STATUS }, { "SIGNALS", SIGNALS }, { "ENVIRONMENT", ENVIRONMENT },
    { "FILES", FILES },
  }) do
    parts[#parts + 1] = (".SH %s\n%s"):format(section[1], items(section[2]))
  end
  parts[#parts + 1] = ".SH SEE ALSO\n.BR route.lua (5),\n"
    .. "and the pages in docs/ of the documentation that comes with the program.\n"
  return table.concat(parts)
end

return M
