-- moongate.route.strict owns the globals of a route: reading one that is not set, or setting one
-- while a request runs, is an error. The first is a typing error, the second would carry one
-- request's data into another. Called by load, for the script's own functions; modules keep their
-- usual globals.

local suggest = require("moongate.base.suggest")

local M = {}

--- An environment for a script. What the script assigns at its top level is declared by that.
---@param globals table what the script sees: usually _G
---@param missing nil|fun(name: any): string|nil why a name is not there, where that is known
---@return table environment for setfenv
---@return fun() seal to call when the script has run: from then on no global can be added
function M.environment(globals, missing)
  -- A copy, so that the usual names are found without a detour through the metatable.
  local environment, sealed = {}, false
  for name, value in pairs(globals) do
    environment[name] = value
  end
  setmetatable(environment, {
    __index = function(_, name)
      local value = rawget(globals, name) -- set since by a module
      if value == nil then
        error(missing and missing(name) or ("undeclared global '%s'%s"):format(
          suggest.name(name), suggest.hint(name, environment)), 2)
      end
      return value
    end,
    __newindex = function(t, name, value)
      if sealed then
        error(("global '%s' set while requests run; say 'local', or use req.ctx")
          :format(suggest.name(name)), 2)
      end
      rawset(t, name, value)
    end,
  })
  return environment, function()
    sealed = true
  end
end

return M
