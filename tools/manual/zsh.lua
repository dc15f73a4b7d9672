-- manual.zsh owns the completion for zsh. Called by manual.write.

local words = require("manual.words")

local M = {}

local TAIL = [[
  esac
}

_moongate "$@"
]]

--- A text between single quotes of a shell, within what _arguments takes for its own.
local function quoted(text)
  return (text:gsub("[%[%]:\\]", "\\%0"):gsub("'", "'\\''"))
end

local function option_of(option)
  local name = option.name:match("^%S+")
  local value = option.value
  if value then
    value = ":" .. quoted(value) .. ":" .. (words.is_file(option) and "_files" or "")
  end
  return ("      '%s%s[%s]%s'"):format(option.many and "*" or "", name, quoted(option.help),
    value or "")
end

local function case_of(command, commands)
  local lines = {}
  for i, option in ipairs(command.options) do
    lines[i] = option_of(option)
  end
  lines[#lines + 1] = "      '--help[say more about this command]'"
  local first = words.first_words(command, commands)
  if first[1] then
    lines[#lines + 1] = ("      '1:argument:(%s)'"):format(table.concat(first, " "))
  end
  lines[#lines + 1] = "      '*:file:_files'"
  return ("    %s)\n    _arguments \\\n%s\n    ;;\n"):format(command.name,
    table.concat(lines, " \\\n"))
end

---@param about { commands: moongate.cli.Command[] }
---@return string
function M.text(about)
  local names, cases = {}, {}
  for i, command in ipairs(about.commands) do
    names[i] = ("    '%s:%s'\n"):format(command.name, quoted(command.summary))
    cases[i] = case_of(command, about.commands)
  end
  return "#compdef moongate\n# Completion of moongate for zsh. Made by tools/manual/write.lua.\n\n"
    .. "_moongate() {\n  local -a commands=(\n" .. table.concat(names) .. "  )\n"
    .. "  if ((CURRENT == 2)); then\n    _describe command commands\n    return\n  fi\n"
    .. "  local command=$words[2]\n  words=(\"${(@)words[2,-1]}\")\n  ((CURRENT--))\n"
    .. "  case $command in\n" .. table.concat(cases) .. TAIL
end

return M
