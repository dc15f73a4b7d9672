-- moongate.base.upcoming owns the list of what the contract names and this release does not do yet.
-- Such a name is an error that says so: a setting is never ignored. Called by settings,
-- decision, php, init, load and cli. To enable one, remove its word here.

local M = {}

M.RELEASE = "moongate 0.1"

--- Only some values of a key come later. What is neither available nor among them is an ordinary
--- error: for example a word with a letter missing.
---@param is_later fun(value: any): boolean
local function some(is_later)
  return { is_later = is_later }
end

-- Stands for "no value of it is accepted yet".
local NONE = some(function()
  return true
end)

M.settings = {
  http2 = NONE,
}
M.listener = {}
M.backend = { cache = NONE }
M.decision = {
}

-- Modules that `require` does not find yet.
M.modules = {}

-- Names in `require "moongate"`.
M.library = {}

-- Words of the command line.
M.commands = {}

--- Why a key that the contract knows cannot be used yet.
---@param group table<string, any> one of the tables above
---@param key string
---@param value any what the script gave
---@return string|nil message nil where the key or its value is available
function M.problem(group, key, value)
  local entry = group[key]
  if entry == nil or not entry.is_later(value) then
    return nil
  end
  return M.message(key, entry ~= NONE and value or nil)
end

--- Why a module cannot be required yet.
---@param name string
---@return string|nil message
function M.module_problem(name)
  return M.modules[name] and M.message(name) or nil
end

--- The one sentence about something that is not available yet.
---@param name string
---@param value any|nil named too where only this value of it is missing
---@return string
function M.message(name, value)
  local kind = type(value)
  if kind == "string" or kind == "number" or kind == "boolean" then
    local text = kind == "string" and ('"%s"'):format(value) or tostring(value)
    return ("'%s = %s' is not available in %s yet"):format(name, text, M.RELEASE)
  end
  return ("'%s' is not available in %s yet"):format(name, M.RELEASE)
end

return M
