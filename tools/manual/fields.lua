-- manual.fields owns the reading of definition files (moongate.types): which keys a class has, and
-- what is said of each. Called by manual.route_page.

local M = {}

--- Where a type ends that begins a text: at a blank outside of brackets, not after ":" or ",".
local function type_end(text)
  local depth = 0
  for at = 1, #text do
    local char = text:sub(at, at)
    if char:find("[%(<{]") then
      depth = depth + 1
    elseif char:find("[%)>}]") then
      depth = depth - 1
    elseif char == " " and depth == 0 and not text:sub(at - 1, at - 1):find("[:,]") then
      return at - 1
    end
  end
  return #text
end

---@class manual.Field
---@field name string
---@field type string as the definition file has it
---@field text string what is said of it, may be empty

--- The keys of a class, in its order.
---@param definitions string the text of a definition file
---@param class string such as "moongate.Route"
---@return manual.Field[]
function M.of(definitions, class)
  local body = definitions:match("\n%-%-%-@class " .. class:gsub("%.", "%%.") .. "\n(.-)\n\n")
  assert(body, "no class " .. class)
  local fields = {}
  for line in (body .. "\n"):gmatch("(.-)\n") do
    local name, rest = line:match("^%-%-%-@field ([%w_]+)%?? (.*)$")
    local more = line:match("^%-%-%- ([^@].*)$")
    if name then
      local stop = type_end(rest)
      fields[#fields + 1] = { name = name, type = rest:sub(1, stop), text = rest:sub(stop + 2) }
    elseif more then
      local last = fields[#fields]
      last.text = last.text .. " " .. more
    end
  end
  return fields
end

--- The names of a function's arguments: "req, params".
---@param definitions string
---@param kind string a type, or the alias of one
---@return string|nil
function M.arguments(definitions, kind)
  local alias = definitions:match("\n%-%-%-@alias " .. kind:gsub("%W", "%%%0") .. " (fun[^\n]+)")
  local list = (alias or kind):match("fun%((.-)%)")
  if not list then
    return nil
  end
  local names = {}
  for name in list:gmatch("([%w_]+):") do
    names[#names + 1] = name
  end
  return table.concat(names, ", ")
end

return M
