-- manual.route_page owns route.lua(5): the settings, hooks and decisions of a route, from the
-- definition files of `moongate types`. Called by manual.write.

local fields = require("manual.fields")
local roff = require("manual.roff")
local types = require("moongate.types")

local M = {}

local definitions = types.files["moongate"]

local DESCRIPTION = [[
A route is a script in Lua that returns one table: settings, and hooks, which are functions that
Moongate calls at one point of each request. A hook returns data, a decision among others, and does
nothing itself. An unknown key is an error that names the line; `moongate check` finds it before
`moongate run` does.

  local php = require("moongate.php")

  return {
    listen = "127.0.0.1:8080",
    backends = { app = "unix:/run/php/php8.2-fpm.sock" },
    on_request = php.site({ root = "/srv/www", backend = "app" }),
  }

A duration is a number of seconds, or "250ms", "5s", "2m", "1h"; a size is a number of bytes, or
"16k", "1M", "1G".
]]

local SECTIONS = {
  { "LISTENERS", "Listener", "Of each table in `listen`:" },
  { "THE CONTROL LISTENER", "Control", "Of `control`, where that is a table:" },
  { "LOGS", "LogSettings", "Of `log`:" },
  { "LIMITS", "Limits", "Of `limits`:" },
  { "BACKENDS", "Backend", "Of each table in `backends`:" },
  { "SERVERS", "BackendServer", "Of each table in `servers` of a backend:" },
  { "HEALTH CHECKS", "Health", "Of `health` of a backend:" },
}

local DECISIONS = {
  { "To an application", "FastCGI" }, { "A file", "File" }, { "A text", "Reply" },
  { "A redirect", "Redirect" }, { "No answer", "Close" },
}

--- A type in words, where it has simple ones; classes have a section of their own.
local function words(kind)
  local text = kind:gsub("moongate%.Duration", "duration"):gsub("moongate%.Size", "size")
  if text:find("[({<%[%.]") then
    return nil
  end
  return (text:gsub("|", " | "))
end

local function item(field)
  local kind = words(field.type)
  local term = roff.bold(field.name) .. (kind and " \\fI" .. roff.escape(kind) .. "\\fR" or "")
  return roff.item(term, field.text)
end

local function items(class)
  local parts = {}
  for i, field in ipairs(fields.of(definitions, "moongate." .. class)) do
    parts[i] = item(field)
  end
  return table.concat(parts)
end

--- The settings and the hooks of a route, which are keys of the same table.
---@return string settings, string hooks
local function settings_and_hooks()
  local settings, hooks = {}, {}
  for _, field in ipairs(fields.of(definitions, "moongate.Route")) do
    if field.name:find("^on_") then
      local arguments = fields.arguments(definitions, field.type) or "req"
      hooks[#hooks + 1] = roff.item(roff.bold(field.name) .. "(" .. arguments .. ")", field.text)
    else
      settings[#settings + 1] = item(field)
    end
  end
  return table.concat(settings), table.concat(hooks)
end

---@param about { version: string, date: string }
---@return string
function M.text(about)
  local settings, hooks = settings_and_hooks()
  local parts = {
    roff.head("ROUTE.LUA", 5, about, "File Formats"),
    ".SH NAME\nroute.lua \\- what Moongate serves, and how\n",
    ".SH DESCRIPTION\n", (roff.paragraphs(DESCRIPTION):gsub("^%.PP\n", "")),
    ".SH SETTINGS\n", settings, ".SH HOOKS\n", hooks,
    ".SH DECISIONS\n", roff.prose("What `on_request` and others return:"), "\n",
  }
  for _, kind in ipairs(DECISIONS) do
    parts[#parts + 1] = (".SS %s\n%s"):format(kind[1], items(kind[2]))
  end
  for _, section in ipairs(SECTIONS) do
    parts[#parts + 1] = (".SH %s\n%s\n%s"):format(section[1], roff.prose(section[3]),
      items(section[2]))
  end
  parts[#parts + 1] = ".SH FILES\n"
    .. roff.item(roff.bold("/etc/moongate/route.lua"), "the route of moongate.service")
    .. ".SH SEE ALSO\n.BR moongate (1),\nand docs/route.md, docs/hooks.md and docs/cookbook.md of "
    .. "the documentation that comes with the program.\n"
  return table.concat(parts)
end

return M
