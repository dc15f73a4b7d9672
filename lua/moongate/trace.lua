-- moongate.trace owns the question "which rule of the route decided?". Routers and sites tell it,
-- and it listens only while somebody asks: explain, or core/ after a failure. One for all, since
-- routers and sites nest, and hooks do not run while a question is being answered.

local M = {}

---@class moongate.Rule
---@field text string what it matches
---@field source string file:line where the route says it

--- Told about each rule whose handler decides, inner ones first; nil while nobody asks.
---@type nil|fun(rule: moongate.Rule)
M.rule = nil

--- Told in words what a site found on its way; nil while nobody asks.
---@type nil|fun(text: string)
M.step = nil

--- Where a function's caller stands in the route.
---@param level integer as in debug.getinfo, seen from who calls this
---@return string file:line
function M.place(level)
  local info = debug.getinfo(level + 1, "Sl")
  return info and ("%s:%d"):format(info.source:gsub("^@", ""), info.currentline) or "?"
end

--- Calls a function and lists the rules that decided in it, outer ones first.
---@param fn function
---@param ... any its arguments
---@return moongate.Rule[] rules
---@return boolean ok
---@return any ... what it returned (up to four values), or the error
function M.rules_of(fn, ...)
  local outer, rules = M.rule, {}
  M.rule = function(rule)
    table.insert(rules, 1, rule)
  end
  local ok, a, b, c, d = pcall(fn, ...)
  M.rule = outer
  return rules, ok, a, b, c, d
end

return M
