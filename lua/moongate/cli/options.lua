-- moongate.cli.options owns the reading of a command line. Called by commands for each command.

local suggest = require("moongate.base.suggest")

local M = {}

---@class moongate.cli.Option
---@field name string "--listen", or "-H"
---@field value string|nil what follows it, for the usage ("ADDR"); nil: it is a flag
---@field key string|nil the field of the result, default the name without dashes
---@field set any|nil what a flag sets, default true
---@field many boolean|nil it may be given often: the field is a list
---@field brings moongate.cli.Option|nil another option of each command that has this one
---@field help string

--- The option that a word names.
local function find_option(options, word)
  for _, option in ipairs(options) do
    if option.name == word then
      return option
    end
  end
  return nil
end

--- Splits "--opt=value" and "-Hvalue".
---@return string name, string|nil value
local function split(word, options)
  local name, value = word:match("^(%-%-[^=]+)=(.*)$")
  if name then
    return name, value
  elseif not word:match("^%-%-") and #word > 2 and find_option(options, word:sub(1, 2)) then
    return word:sub(1, 2), word:sub(3)
  end
  return word, nil
end

local function unknown(options, name)
  local names = {}
  for _, option in ipairs(options) do
    names[#names + 1] = option.name
  end
  return ("unknown option '%s'%s"):format(name, suggest.hint(name, names))
end

--- Reads arguments. Options and other arguments may come in any order; "--" ends the options.
---@param options moongate.cli.Option[]
---@param args string[]
---@param first integer where to begin
---@param verbatim string|nil a word behind which all is another program's: a list, by this key
---@return table|nil result other arguments as a list, options by key; nil where they are wrong
---@return string|nil problem
function M.parse(options, args, first, verbatim)
  local result, i = {}, first
  while i <= #args do
    local word = args[i]
    if word == "--" then
      for j = i + 1, #args do
        result[#result + 1] = args[j]
      end
      break
    elseif word == verbatim then
      result[verbatim] = { unpack(args, i + 1) }
      break
    elseif word:sub(1, 1) ~= "-" or word == "-" then
      result[#result + 1] = word
    else
      local name, value = split(word, options)
      local option = find_option(options, name)
      if not option then
        return nil, unknown(options, name)
      elseif option.value and value == nil then
        i = i + 1
        value = args[i]
        if value == nil then
          return nil, ("'%s' needs a value: %s"):format(name, option.value)
        end
      elseif not option.value and value ~= nil then
        return nil, ("'%s' takes no value"):format(name)
      end
      local key = option.key or name:gsub("^%-+", ""):gsub("%-", "_")
      if not option.value then
        result[key] = option.set == nil and true or option.set
      elseif option.many then
        result[key] = result[key] or {}
        table.insert(result[key], value)
      else
        result[key] = value
      end
    end
    i = i + 1
  end
  return result
end

--- The options as lines of a help page.
---@param options moongate.cli.Option[]
---@return string
function M.describe(options)
  local lines, width = {}, 0
  for _, option in ipairs(options) do
    width = math.max(width, #option.name + (option.value and #option.value + 1 or 0))
  end
  for i, option in ipairs(options) do
    local left = option.name .. (option.value and " " .. option.value or "")
    lines[i] = ("  %s%s  %s\n"):format(left, (" "):rep(width - #left), option.help)
  end
  return table.concat(lines)
end

return M
