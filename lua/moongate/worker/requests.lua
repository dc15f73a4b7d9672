-- moongate.worker.requests owns what the control listener says about requests under way, in all
-- workers: the list, and the end of one of them. Called by worker/control.

local M = {}

--- Requests that a list has at most, the oldest ones.
M.MOST = 1000

--- The requests under way, the oldest first.
---@param core table `requests now` of the control functions
---@return table[] list
---@return number more requests that are not in the list
function M.list(core)
  local found, more = core.requests()
  local now, list = core.now(), {}
  table.sort(found, function(a, b)
    if a.started ~= b.started then
      return a.started < b.started
    end
    return a.id < b.id
  end)
  for i, request in ipairs(found) do
    if i > M.MOST then
      more = more + #found - M.MOST
      break
    end
    request.age = math.max(0, now - request.started)
    request.started = nil
    request.path = request.uri:match("^[^?]*")
    list[i] = request
  end
  return list, more
end

--- Lets a request end.
---@param core table `requests kill` of the control functions
---@param id string|nil as in the logs
---@return boolean|nil done
---@return string|nil problem
---@return integer|nil status of HTTP, for the problem
function M.kill(core, id)
  if not id or id == "" then
    return nil, "'id' is missing: the id of a request, as `moongate requests` and the logs have it",
      400
  elseif not id:match("^%x+$") or #id > 16 then
    return nil, ("'%s' is no id of a request: expected up to 16 hexadecimal digits"):format(
      id:sub(1, 40)), 400
  end
  local whole = ("0"):rep(16 - #id) .. id:lower()
  for _, request in ipairs((core.requests())) do
    if request.id == whole then
      local done, problem = core.kill(whole)
      return done, problem, 500
    end
  end
  return nil, ("no request under way has the id '%s'; `moongate requests` lists them"):format(id),
    404
end

return M
