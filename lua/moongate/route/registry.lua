-- moongate.route.registry owns what a route has set up while it was loaded: the decisions that are
-- the same for every request, and its PHP sites. Filled by router and php, read by load and check,
-- so that a wrong name is said before the first request. A Lua state loads one route at a time.

local M = {
  --- What was registered, in order.
  ---@type { decision: table, source: string, what: string }[]
  decisions = {},
  --- Sites whose root does not depend on the request.
  ---@type { root: string }[]
  sites = {},
}

--- Forgets everything: another route is about to be loaded.
function M.begin()
  M.decisions, M.sites = {}, {}
end

--- Notes a decision that does not depend on the request.
---@param d table
---@param source string file:line
---@param what string where it stands there, such as "router: path '/a'"
function M.add(d, source, what)
  table.insert(M.decisions, { decision = d, source = source, what = what })
end

return M
