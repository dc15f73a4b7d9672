-- support.servers owns servers made of tables, with the fields that balance policies read. Called
-- by specs.

local M = {}

--- A list of servers.
---@param ... table|number fields of each, or its weight
---@return table[] servers named a, b, c, ...
function M.new(...)
  local list = {}
  for i, given in ipairs({ ... }) do
    local server = {
      name = string.char(96 + i), address = ("10.0.0.%d:9000"):format(i), weight = 1, active = 0,
      load = 0, latency = 0, up = true, backup = false,
    }
    for key, value in pairs(type(given) == "table" and given or { weight = given }) do
      server[key] = value
    end
    list[i] = server
  end
  return list
end

--- How often each server is picked, by name.
---@param pick function a policy
---@param servers table[]
---@param times integer
---@param req nil|fun(i: integer): table the request of each time
---@return table<string, integer> counts
function M.count(pick, servers, times, req)
  local counts = {}
  for _, server in ipairs(servers) do
    counts[server.name] = 0
  end
  for i = 1, times do
    local name = pick(req and req(i) or {}, servers, 1).name
    counts[name] = counts[name] + 1
  end
  return counts
end

return M
