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
  --- Where the first site with pages for errors is made.
  ---@type string|nil
  pages = nil,
  --- What modules do when a worker has the route, before its on_start.
  ---@type function[]
  starts = {},
  --- What modules do when a request has ended.
  ---@type (fun(req: table, log: table))[]
  ends = {},
  --- What modules do when the head of an application's answer is in.
  ---@type (fun(req: table, res: table))[]
  responses = {},
  --- What modules answer when a request has failed.
  ---@type (fun(req: table, err: table): table|nil, boolean|nil)[]
  rescues = {},
  --- The route's settings, once they are known.
  ---@type table|nil
  settings = nil,
}

local loading = false

--- Forgets everything: another route is about to be loaded.
function M.begin()
  M.decisions, M.sites, M.pages, M.starts, M.ends = {}, {}, nil, {}, {}
  M.responses, M.rescues, M.settings = {}, {}, nil
  loading = true
end

--- The route is loaded: what follows is done by its hooks.
function M.done()
  loading = false
end

--- The route is being loaded: none of its hooks runs yet.
---@return boolean
function M.is_loading()
  return loading
end

--- A module has something to begin in each worker, such as a timer. While the route is loaded that
--- waits for on_start; in a hook it is done at once.
---@param fn function
function M.start(fn)
  if loading then
    table.insert(M.starts, fn)
  else
    fn()
  end
end

--- Notes a decision that does not depend on the request.
---@param d table
---@param source string file:line
---@param what string where it stands there, such as "router: path '/a'"
function M.add(d, source, what)
  M.note({ decision = d, source = source, what = what })
end

--- Likewise where something has these three fields already. What a hook makes, such as a router for
--- one request, is not noted: it would never be read, and never be forgotten.
---@param entry { decision: table, source: string, what: string }
function M.note(entry)
  if loading then
    table.insert(M.decisions, entry)
  end
end

local function expect_loading()
  if not loading then
    error("this can be made only while the route is loaded, not in a hook", 0)
  end
end

--- A module has something to do when a request has ended, however that was.
---@param fn fun(req: table, log: table)
function M.at_end(fn)
  expect_loading()
  table.insert(M.ends, fn)
end

--- A module has something to do with the head of an application's answer, before the route's own
--- on_response.
---@param fn fun(req: table, res: table)
function M.at_response(fn)
  expect_loading()
  table.insert(M.responses, fn)
end

--- A module may have an answer in place of a failure. It is asked before the route's own on_error.
---@param fn fun(req: table, err: table): table|nil, boolean|nil a decision; or nil and true, where
--- the failure is none for on_error either
function M.rescue(fn)
  expect_loading()
  table.insert(M.rescues, fn)
end

return M
