-- moongate.balance.sticky: a browser stays with the server that it began with, by a cookie. Called
-- by settings. The cookie does not say the server's address, and a wrong one does nothing.

local hash = require("moongate.balance.hash")
local round_robin = require("moongate.balance.round_robin")

local M = {}

--- The cookie's name: the backend's, with what a cookie's name cannot have made "_".
local function cookie_name(backend)
  return "moongate_" .. backend.name:gsub("[^%w_-]", "_")
end

--- A policy is made once for each backend and worker.
---@param backend table normalized; its name is read
---@return fun(req: table, servers: table[]): table, string|nil pick
--- A second result is the text of a Set-Cookie header for the reply.
function M.new(backend)
  local name, next_in_turn = cookie_name(backend), round_robin.new()
  local values = setmetatable({}, { __mode = "k" }) -- what the cookie says of each server

  local function value_of(server)
    local value = values[server]
    if not value then
      value = bit.tohex(hash.of(server.address))
      values[server] = value
    end
    return value
  end

  return function(req, servers)
    local wanted = req.cookies[name]
    for i = 1, wanted and #servers or 0 do
      if value_of(servers[i]) == wanted then
        return servers[i]
      end
    end
    local server = next_in_turn(req, servers)
    return server, name .. "=" .. value_of(server) .. "; Path=/; HttpOnly; SameSite=Lax"
  end
end

return M
