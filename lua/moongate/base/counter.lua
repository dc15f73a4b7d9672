-- moongate.base.counter owns counters of the library's modules, each a metric with one label, over
-- all workers. They lie where those of moongate.metrics do (core/script/metrics.c). Called by
-- moongate.limit; worker/metrics shows them.

local has_core, core = pcall(require, "moongate.core") -- specs of modules have none

local M = {}

--- What limits of a route refuse, by their names.
M.LIMIT_REJECTIONS = { name = "moongate_limit_rejections", label = "limit" }

local MOST = 100 -- values of a label with a series of their own; others count as "other"

local function family_of(metric)
  return has_core
    and core.metrics_family(table.concat({ "counter", metric.name, metric.label, "" }, "\n"))
end

--- A series of a counter. Where there is no room for it, it counts nothing.
---@param metric { name: string, label: string } its name without _total
---@param value string of the label
---@return fun() count adds one
function M.new(metric, value)
  local family = family_of(metric)
  local place = family and (core.metrics_label(family, value, 1, MOST)
    or core.metrics_label(family, "other", 1, MOST + 1))
  return function()
    if place then
      core.metrics_add(place, 1)
    end
  end
end

--- Calls fn(value of the label, count) for each series.
---@param metric { name: string, label: string }
---@param fn fun(value: string, count: number)
function M.each(metric, fn)
  local family = family_of(metric)
  for _, entry in ipairs(family and core.metrics_list(family) or {}) do
    fn(entry[1], core.metrics_get(entry[2]))
  end
end

return M
