-- manual.fish owns the completion for fish. Called by manual.write.

local words = require("manual.words")

local M = {}

local function quoted(text)
  return "'" .. text:gsub("[\\']", "\\%0") .. "'"
end

local function option_of(command, option)
  local name = option.name:match("^%S+")
  local is_long, letters = name:find("^%-%-"), name:gsub("^%-+", "")
  local value = ""
  if option.value or option.name:find(" ") then
    value = words.is_file(option) and " -r -F" or " -x"
  end
  return ("complete -c moongate -n '__fish_seen_subcommand_from %s' %s %s%s -d %s\n"):format(
    command.name, is_long and "-l" or "-s", letters, value, quoted(option.help))
end

---@param about { commands: moongate.cli.Command[] }
---@return string
function M.text(about)
  local lines = { "# Completion of moongate for fish. Made by tools/manual/write.lua.\n" }
  local function add(format, ...)
    lines[#lines + 1] = format:format(...)
  end
  for _, command in ipairs(about.commands) do
    add("complete -c moongate -n __fish_use_subcommand -f -a %s -d %s\n", command.name,
      quoted(command.summary))
    local first = words.first_words(command, about.commands)
    if first[1] then
      add("complete -c moongate -n '__fish_seen_subcommand_from %s' -f -a %s\n", command.name,
        quoted(table.concat(first, " ")))
    end
    for _, option in ipairs(command.options) do
      lines[#lines + 1] = option_of(command, option)
    end
  end
  return table.concat(lines)
end

return M
