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
    return a.own_id < b.own_id
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

--- The requests of an id: the one that the logs have, or the server's own.
---@param list table[]
---@param id string
---@return table[] found
local function of_id(list, id)
  local own = id:match("^%x+$") and #id <= 16 and ("0"):rep(16 - #id) .. id:lower()
  local found = {}
  for _, request in ipairs(list) do
    if request.own_id == own then
      return { request }
    elseif request.id == id then
      found[#found + 1] = request
    end
  end
  return found
end

--- Lets a request end.
---@param core table `requests kill` of the control functions
---@param id string|nil as in the logs, or the server's own
---@return boolean|nil done
---@return string|nil problem
---@return integer|nil status of HTTP, for the problem
function M.kill(core, id)
  if not id or id == "" then
    return nil, "'id' is missing: the id of a request, as `moongate requests` and the logs have it",
      400
  elseif not id:match("^[%w%-._:=/+@]+$") or #id > 64 then
    return nil, ("'%s' is no id of a request: expected 1 to 64 letters, digits and -._:=/+@")
      :format(id:sub(1, 64)), 400
  end
  local found = of_id((core.requests()), id)
  if #found > 1 then
    local own = {}
    for i = 1, math.min(#found, 10) do
      own[i] = found[i].own_id
    end
    return nil, ("%d requests have the id '%s', since a proxy has sent it with each of them; these "
      .. "are their own: %s"):format(#found, id, table.concat(own, ", ")), 409
  elseif #found == 1 then
    local done, problem = core.kill(found[1].own_id)
    return done, problem, 500
  end
  return nil, ("no request under way has the id '%s'; `moongate requests` lists them"):format(id),
    404
end

return M
