-- moongate.worker.responses owns what /status says of the response cache and of compression, where
-- a request has had them. Called by worker/control.

local M = {}

--- What the cache has done since the instance began, and what it keeps.
---@param core table of moongate.worker.control
---@param counters table of core.counters()
---@return table|nil cache { hits, misses, stale, bypassed, hit_rate, refreshed, entries, coded,
--- bytes, limit, stored, evicted, purged }; nil: no decision has had `cache`. `hit_rate` is the
--- share of hits and stale answers among those and the misses, from 0 to 1; nil: there were none
function M.cache(core, counters)
  local counts, cached = core.cache_counts(), counters.cached
  if not counts or counts.limit == 0 and cached.bypass == 0 then
    return nil
  end
  local kept = cached.hit + cached.stale
  local looked = kept + cached.miss
  return {
    hits = cached.hit, misses = cached.miss, stale = cached.stale, bypassed = cached.bypass,
    hit_rate = looked > 0 and kept / looked or nil, refreshed = counters.refreshed,
    entries = counts.responses, coded = counts.coded, bytes = counts.bytes, limit = counts.limit,
    stored = counts.stored, evicted = counts.evicted, purged = counts.purged,
  }
end

--- What compression has done since the instance began.
---@param counters table of core.counters()
---@return table<string, table>|nil by coding { answers, bytes_in, bytes_out }; nil: no answer was
--- compressed
function M.compression(counters)
  local list = {}
  for coding, one in pairs(counters.coded) do
    if one.answers > 0 then
      list[coding] = one
    end
  end
  return next(list) and list or nil
end

return M
