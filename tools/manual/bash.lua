-- manual.bash owns the completion for bash. It needs no package but bash itself. Called by
-- manual.write.

local words = require("manual.words")

local M = {}

local HEAD = [[
# Completion of moongate for bash. Made by tools/manual/write.lua.

_moongate() {
  local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]}
  local command=${COMP_WORDS[1]} options= values= files= first=
  # "--log=FILE" comes as three words.
  if [ "$previous" = = ]; then
    previous=${COMP_WORDS[COMP_CWORD - 2]}
  elif [ "$current" = = ]; then
    current=
  fi
  COMPREPLY=()
  if [ "$COMP_CWORD" = 1 ]; then
    COMPREPLY=($(compgen -W '@COMMANDS@' -- "$current"))
    return
  fi
  # Options, those with a value, and those of these whose value is a file.
  case $command in
]]

local TAIL = [==[
  *) return ;;
  esac
  if [[ " $files " == *" $previous "* ]]; then
    compopt -o filenames
    COMPREPLY=($(compgen -f -- "$current"))
  elif [[ " $values " == *" $previous "* ]]; then
    return
  elif [[ $current == -* ]]; then
    COMPREPLY=($(compgen -W "$options --help" -- "$current"))
  elif [ -n "$first" ] && [ "$COMP_CWORD" = 2 ]; then
    COMPREPLY=($(compgen -W "$first" -- "$current"))
  else
    compopt -o filenames
    COMPREPLY=($(compgen -f -- "$current"))
  fi
}
complete -F _moongate moongate
]==]

local function case_of(command, commands)
  local options, values, files = {}, {}, {}
  for _, option in ipairs(command.options) do
    local name = option.name:match("^%S+")
    options[#options + 1] = name
    if option.value or option.name:find(" ") then
      table.insert(words.is_file(option) and files or values, name)
    end
  end
  return ("  %s) options='%s' values='%s' files='%s' first='%s' ;;\n"):format(command.name,
    table.concat(options, " "), table.concat(values, " "), table.concat(files, " "),
    table.concat(words.first_words(command, commands), " "))
end

---@param about { commands: moongate.cli.Command[] }
---@return string
function M.text(about)
  local names, cases = {}, {}
  for i, command in ipairs(about.commands) do
    names[i] = command.name
    cases[i] = case_of(command, about.commands)
  end
  return (HEAD:gsub("@COMMANDS@", table.concat(names, " "))) .. table.concat(cases) .. TAIL
end

return M
