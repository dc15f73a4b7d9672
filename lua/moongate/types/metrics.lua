-- moongate.types.metrics: what an editor is told of `require "moongate.metrics"`. Called by
-- moongate.types.
-- luacheck: no max line length (an annotation can't be broken)

return [==[
--- What a metric is declared with.
---@class moongate.MetricOptions
---@field help string a sentence about the metric
---@field labels? string[] names of its labels, at most 8
---@field max_series? integer combinations of labels with a series of their own (100 by default, at most 1000); later ones count as "other"
---@field buckets? number[] upper bounds of a histogram's ranges, rising

--- Counts over all workers. A method takes a value for each label.
---@class moongate.Metric
local Metric = {}

--- A counter or a gauge becomes more.
---@param by? number 1 by default
---@param labels? table<string, string|number|boolean>
function Metric:inc(by, labels) end

--- Sets a gauge.
---@param value number
---@param labels? table<string, string|number|boolean>
function Metric:set(value, labels) end

--- A histogram takes note of a number.
---@param value number
---@param labels? table<string, string|number|boolean>
function Metric:observe(value, labels) end

--- What a counter or a gauge is now; how many numbers a histogram has observed.
---@param labels? table<string, string|number|boolean>
---@return number
function Metric:value(labels) end

local metrics = {}

--- A number that only grows, such as logins. Declared while the route is loaded.
---@param name string
---@param options moongate.MetricOptions
---@return moongate.Metric
function metrics.counter(name, options) end

--- A number that grows and falls, such as jobs that wait.
---@param name string
---@param options moongate.MetricOptions
---@return moongate.Metric
function metrics.gauge(name, options) end

--- How often numbers are in each of some ranges, such as the time that a call took.
---@param name string
---@param options moongate.MetricOptions
---@return moongate.Metric
function metrics.histogram(name, options) end

return metrics
]==]
