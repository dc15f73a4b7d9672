-- What counting for /metrics costs: the instructions in user space that a tiny request of one of
-- many tenants spends on it, by callgrind. Called by main.lua; docs/metrics.md has the figures.
--
-- A hook's time is two looks at the clock beside it (script/door), which callgrind counts as system
-- calls.

local measure = require("tests.bench.measure")
local proxies = require("tests.bench.proxies")

local counters = {}

local LOAD = { path = "/index.php", hosts = 1000 }
local LIMIT = 300 -- instructions

--- The functions that count, each with all that it calls.
local PARTS = {
  { "meter_request", "the request: class, method, tenant, protocol, bytes, time" },
  { "meter_attempt", "the attempt: times, and the application's script" },
  { "metrics_turn", "the turn of the loop, for all requests in it" },
}

--- Measures them.
---@param application Application
---@param options table of main.lua
---@param say fun(format: string, ...)
---@return table[] list of { name, title, instructions }
function counters.bench(application, options, say)
  local keep, out, sum = "build/bench/counters.callgrind", {}, 0
  measure.instructions(function(folder)
    return proxies.start("moongate", application, {
      folder = folder,
      on_request = "local d = tenants[req.host] d.tenant = d.tenant or req.host return d",
    })
  end, LOAD, options.requests, keep)
  for i, part in ipairs(PARTS) do
    out[i] = {
      name = part[1], title = part[2],
      instructions = measure.part(part[1], options.requests, keep),
    }
    sum = sum + out[i].instructions
    say("%-14s          %-14s %6.0f instructions: %s", "counters", part[1], out[i].instructions,
      part[2])
  end
  say("%-14s          %-14s %6.0f instructions", "counters", "all", sum)
  return out
end

--- All of them stay below the limit.
---@param list table[]|nil
---@return { title: string, value: number, limit: number, holds: boolean }[]
function counters.aims(list)
  local sum = 0
  for _, part in ipairs(list or {}) do
    sum = sum + part.instructions
  end
  return list and {
    { title = "instructions for counters", value = sum, limit = LIMIT, holds = sum <= LIMIT },
  } or {}
end

return counters
