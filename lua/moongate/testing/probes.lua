-- moongate.testing.probes owns the requests that every site gets sooner or later, with which a
-- route is tried before it serves: a hook that fails for one of them, or answers it with a decision
-- that can't be used, is a fault that the first visitor would find. Called by cli.check.

local simulate = require("moongate.testing.simulate")

local M = {}

--- `host = false`: none, as HTTP/1.0 allows.
local PROBES = {
  { url = "/" },
  { url = "/index.php" },
  { url = "/index.php/x" },
  { url = "/folder/" },
  { url = "/", host = "unknown.invalid" },
  { url = "/", host = false },
}

-- What a hook that waits comes to here, where there is no server: it can't be followed.
local WAITS = { "the hook yields", "no server runs here" }

local function waits(problem)
  for _, text in ipairs(WAITS) do
    if problem:find(text, 1, true) then
      return true
    end
  end
  return false
end

--- What happens to one request.
---@return string|nil problem of a hook, with FILE:LINE
local function try(settings, probe, listener)
  local headers = probe.host and { { "Host", probe.host } } or {}
  local req = simulate.request(settings, {
    method = "GET", url = probe.url, headers = headers, listener = listener,
    version = probe.host == false and "1.0" or nil,
  })
  if not req then
    return nil -- no hook sees it
  end
  local found, problem = simulate.decide(settings, "on_request", req)
  if found and found.kind == "fastcgi" then
    local asked
    asked, problem = simulate.fastcgi(settings, req, found)
    problem = not asked and problem or nil
  end
  if not problem or waits(problem) then
    return nil
  end
  return (problem:gsub("\nstack traceback:.*$", ""))
end

local function words(probe, listener)
  local host = probe.host and ", host " .. probe.host or probe.host == false and ", no host" or ""
  return ("GET %s%s%s"):format(probe.url, host, listener and ", listener " .. listener or "")
end

--- Tries a route with all of them, at each of its listeners.
---@param settings table normalized
---@return string[] problems each once, with the request that it was found by
function M.problems(settings)
  local problems, seen = {}, {}
  local listeners = settings.listen
  for _, listener in ipairs(#listeners > 0 and listeners or { {} }) do
    local name = #listeners > 1 and (listener.name or listener.address) or nil
    for _, probe in ipairs(PROBES) do
      local problem = try(settings, probe, name)
      if problem and not seen[problem] then
        seen[problem] = true
        problems[#problems + 1] = ("%s (%s)"):format(problem, words(probe, name))
      end
    end
  end
  return problems
end

return M
