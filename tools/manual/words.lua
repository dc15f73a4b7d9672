-- manual.words owns what a completion offers beside options: words that may stand in the place of
-- an argument, and files. Called by manual.bash, manual.zsh and manual.fish.

local M = {}

--- The words that stand for themselves where the first argument of a command is expected: of
--- "shadow report|clear [ROUTE.lua]" report and clear.
---@param command moongate.cli.Command
---@param commands moongate.cli.Command[] for `help`, whose argument is a command
---@return string[]
function M.first_words(command, commands)
  local found = {}
  if command.name == "help" then
    for i, other in ipairs(commands) do
      found[i] = other.name
    end
    return found
  end
  local usage = command.usage:gsub(" | ", "|")
  local first = usage:match("^%S+ %[?([^%s%]]+)") or ""
  for word in first:gmatch("[^|]+") do
    if word:find("^%l+$") then
      found[#found + 1] = word
    end
  end
  return found
end

--- Whether the value of an option is a file or a folder.
---@param option moongate.cli.Option
function M.is_file(option)
  local value = option.value or ""
  return value == "FILE" or value == "DIR" or value:find("%.lua$") ~= nil
end

return M
