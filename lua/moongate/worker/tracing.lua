-- moongate.worker.tracing owns the orders of `moongate trace`, as the control listener takes them:
-- which requests are described, and their descriptions (core/shm/trace.h). worker/control calls it.

local M = {}

--- Requests of an order at most.
M.MOST = 1000

--- A status, or a class such as 5xx, as the core takes it.
---@param text string|nil
---@return integer|nil status nil, nil where there is none
---@return string|nil problem
local function status_of(text)
  if not text then
    return nil
  end
  local status = tonumber(text:match("^([1-5])xx$") or text:match("^[1-5]%d%d$"))
  return status, not status and ("'status': '%s': expected a status such as 404, or a class such "
    .. "as 5xx"):format(text:sub(1, 40)) or nil
end

--- Makes an order, or ends one.
---@param core table `order_trace end_trace` of the control functions
---@param args table host, path, method, status, count, secrets; or `end`
---@return table|nil value { id } or { ok }
---@return string|nil problem
---@return integer|nil status of HTTP, for the problem
function M.order(core, args)
  if args["end"] then
    local id = tonumber(args["end"])
    if not id or id < 0 then
      return nil, "'end' is the id of a trace", 400
    end
    core.end_trace(id)
    return { ok = true }
  end
  local status, problem = status_of(args.status)
  local count = tonumber(args.count or 1)
  if problem then
    return nil, problem, 400
  elseif not count or count % 1 ~= 0 or count < 1 or count > M.MOST then
    return nil, ("'count': '%s': expected a number from 1 to %d"):format(args.count, M.MOST), 400
  end
  local id
  id, problem = core.order_trace({
    host = args.host and args.host:lower(), path = args.path, method = args.method,
    status = status, count = count, secrets = args.secrets == "1",
  })
  return id and { id = id }, problem, id and nil or 503
end

--- What has come for an order since it was read last.
---@param core table `read_trace`
---@param id string|nil
---@return table|nil value { requests: lines of JSON, left, missed }
---@return string|nil problem
---@return integer|nil status of HTTP, for the problem
function M.read(core, id)
  local number = tonumber(id)
  if not number or number < 0 then
    return nil, "'id' is missing: the id of a trace, as POST /trace says it", 400
  end
  local requests, left, missed = core.read_trace(number)
  if not requests then
    return nil, "there is no such trace any more: it ends when nobody has asked for ten seconds",
      404
  end
  return { requests = requests, left = left, missed = missed }
end

return M
