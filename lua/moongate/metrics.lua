-- moongate.metrics owns metrics of a route's own, which /metrics shows beside the server's:
-- counters, gauges and histograms over all workers. Their values lie in memory that the workers
-- share (core/script/metrics.c). Called by routes; worker/metrics reads what they have.

local describe = require("moongate.base.describe")
local registry = require("moongate.route.registry")
local suggest = require("moongate.base.suggest")

local _, core = pcall(require, "moongate.core") -- specs of other modules have none

local M = {}

local MOST_LABELS, MOST_BUCKETS = 8, 32
local MOST_SERIES, USUAL_SERIES = 1000, 100
local DESCRIPTION = 500 -- bytes, as METRICS_TEXT in core/shm/metrics.h
local BUCKETS = { 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10 }
local OPTIONS = { help = true, labels = true, buckets = true, max_series = true }

--- The metrics of each route, in order.
local of_routes = setmetatable({}, { __mode = "k" })

--- Those of the route that is loaded, or was last.
---@return table[] list each has kind, name, help, labels, buckets and family
function M.list()
  local list = of_routes[registry.starts]
  if not list then
    list = {}
    of_routes[registry.starts] = list
  end
  return list
end

-- What is declared --------------------------------------------------------------------------------

local function check_name(who, kind, name, list)
  if type(name) ~= "string" or not name:find("^[%a_][%w_]*$") then
    error(('%s: expected a name of letters, digits and _ such as "shop_logins", got %s'):format(who,
      describe(name)), 4)
  end
  local short = kind == "counter" and name:gsub("_total$", "") or name
  if short:find("^moongate_") then
    error(("%s: '%s': names with moongate_ are the server's own"):format(who, name), 4)
  end
  local ending = short:match("_total$") or short:match("_bucket$") or short:match("_sum$")
    or short:match("_count$")
  if ending then
    error(("%s: '%s' may not end in %s, which %s"):format(who, name, ending, ending == "_total"
      and "counters have" or "parts of histograms have"), 4)
  end
  for _, other in ipairs(list) do
    if other.name == short then
      error(("%s: there is a metric '%s' already, a %s"):format(who, name, other.kind), 4)
    end
  end
  return short
end

local function count_of(t)
  local count = 0
  for _ in pairs(t) do
    count = count + 1
  end
  return count
end

local function check_labels(who, kind, labels)
  if labels == nil then
    return {}
  elseif type(labels) ~= "table" or #labels > MOST_LABELS or count_of(labels) ~= #labels then
    error(('%s: labels: expected a list of at most %d names such as { "result" }, got %s'):format(
      who, MOST_LABELS, describe(labels)), 4)
  end
  local seen = {}
  for i, label in ipairs(labels) do
    if type(label) ~= "string" or not label:find("^[%a_][%w_]*$") or label:find("^__")
      or kind == "histogram" and label == "le" then
      error(("%s: labels[%d]: expected a name of letters, digits and _%s, got %s"):format(who, i,
        kind == "histogram" and " but le" or "", describe(label)), 4)
    elseif seen[label] then
      error(("%s: labels[%d]: '%s' is there twice"):format(who, i, label), 4)
    end
    seen[label] = i
  end
  return { unpack(labels) }
end

local function check_buckets(who, kind, buckets)
  if kind ~= "histogram" then
    if buckets ~= nil then
      error(("%s: only a histogram has buckets"):format(who), 4)
    end
    return nil
  elseif buckets == nil then
    return BUCKETS
  end
  local good = type(buckets) == "table" and #buckets >= 1 and #buckets <= MOST_BUCKETS
  for i = 1, good and #buckets or 0 do
    local bound, before = buckets[i], buckets[i - 1]
    good = good and type(bound) == "number" and bound > -math.huge and bound < math.huge
      and (i == 1 or bound > before)
  end
  if not good then
    error(("%s: buckets: expected a list of 1 to %d rising numbers, got %s"):format(who,
      MOST_BUCKETS, describe(buckets)), 4)
  end
  return { unpack(buckets) }
end

local function check_options(who, options)
  if type(options) ~= "table" then
    error(('%s: expected a table such as { help = "Logins." }, got %s'):format(who,
      describe(options)), 4)
  end
  for key in pairs(options) do
    if not OPTIONS[key] then
      error(("%s: there is no option %s%s"):format(who, describe(key), type(key) == "string"
        and suggest.hint(key, OPTIONS) or ""), 4)
    end
  end
  if type(options.help) ~= "string" or options.help == "" then
    error(("%s: help: expected a sentence about the metric, got %s"):format(who,
      describe(options.help)), 4)
  end
  local most = options.max_series
  if most ~= nil and not (type(most) == "number" and most >= 1 and most <= MOST_SERIES
    and most % 1 == 0) then
    error(("%s: max_series: expected a whole number from 1 to %d, got %s"):format(who, MOST_SERIES,
      describe(most)), 4)
  end
end

-- What is counted ---------------------------------------------------------------------------------

local Metric = {}
Metric.__index = Metric

--- The labels' values as one text, in which they can be told apart.
local function text_of(metric, who, values)
  local names = metric.labels
  if #names == 0 and values == nil then
    return ""
  elseif type(values) ~= "table" then
    error(("%s: expected the labels of '%s' such as { %s = \"...\" }, got %s"):format(who,
      metric.name, names[1] or "name", describe(values)), 4)
  end
  local parts, most = {}, math.floor((DESCRIPTION - MOST_LABELS) / math.max(#names, 1))
  for i, name in ipairs(names) do
    local value = values[name]
    local kind = type(value)
    if kind ~= "string" and kind ~= "number" and kind ~= "boolean" then
      error(("%s: the label '%s' of '%s': expected a text, got %s"):format(who, name, metric.name,
        describe(value)), 4)
    end
    parts[i] = tostring(value):gsub("%z", "\1"):sub(1, most)
  end
  for name in pairs(values) do
    if not metric.places[name] then
      error(("%s: '%s' has no label %s%s"):format(who, metric.name, describe(name),
        type(name) == "string" and suggest.hint(name, metric.places) or ""), 4)
    end
  end
  return table.concat(parts, "\0")
end

--- The first value of a series. What is beyond max_series counts as one, all of whose labels are
--- "other"; the place of that one is kept from the beginning.
local function place_of(metric, who, values)
  local text = text_of(metric, who, values)
  local place = metric.series[text]
  if not place then
    place = core.metrics_label(metric.family, text, metric.span, metric.most) or metric.rest
    if metric.known < MOST_SERIES then -- clients may choose what is looked up
      metric.series[text], metric.known = place, metric.known + 1
    end
  end
  return place
end

local function number_of(who, value)
  if type(value) ~= "number" or value ~= value or value == math.huge or value == -math.huge then
    error(("%s: expected a number, got %s"):format(who, describe(value)), 3)
  end
  return value
end

--- A counter or a gauge becomes more.
---@param by? number 1 by default; of a counter not below 0
---@param labels? table<string, string|number|boolean> a value for each label
function Metric:inc(by, labels)
  local number = number_of("inc", by == nil and 1 or by)
  if self.kind == "histogram" then
    error(("inc: '%s' is a histogram, which has observe"):format(self.name), 2)
  elseif number < 0 and self.kind == "counter" then
    error(("inc: '%s' is a counter, which never becomes less; got %s"):format(self.name,
      describe(by)), 2)
  end
  core.metrics_add(place_of(self, "inc", labels), number)
end

--- Sets a gauge, for all workers: the last one counts.
---@param value number
---@param labels? table<string, string|number|boolean>
function Metric:set(value, labels)
  local number = number_of("set", value)
  if self.kind ~= "gauge" then
    error(("set: '%s' is a %s, and only a gauge can be set"):format(self.name, self.kind), 2)
  end
  core.metrics_set(place_of(self, "set", labels), number)
end

--- A histogram takes note of a number, such as a time in seconds.
---@param value number
---@param labels? table<string, string|number|boolean>
function Metric:observe(value, labels)
  local number = number_of("observe", value)
  if self.kind ~= "histogram" then
    error(("observe: '%s' is a %s, and only a histogram observes"):format(self.name, self.kind), 2)
  end
  local place, bucket = place_of(self, "observe", labels), 1
  while bucket <= #self.buckets and number > self.buckets[bucket] do
    bucket = bucket + 1
  end
  core.metrics_add(place + bucket - 1, 1)
  core.metrics_add(place + self.span - 1, number)
end

--- What a counter or a gauge is now, over all workers; of a histogram how many it has observed.
---@param labels? table<string, string|number|boolean>
---@return number
function Metric:value(labels)
  local place, total = place_of(self, "value", labels), 0
  for i = 0, self.kind == "histogram" and self.span - 2 or 0 do
    total = total + core.metrics_get(place + i)
  end
  return total
end

-- Metrics -----------------------------------------------------------------------------------------

local function description_of(who, metric)
  local bounds = {}
  for i, bound in ipairs(metric.buckets or {}) do
    bounds[i] = ("%.15g"):format(bound)
  end
  local text = table.concat({
    metric.kind, metric.name, table.concat(metric.labels, ","), table.concat(bounds, ","),
  }, "\n")
  if #text > DESCRIPTION then
    error(("%s: name, labels and buckets of '%s' have %d bytes together, and may have %d"):format(
      who, metric.name, #text, DESCRIPTION), 4)
  end
  return text
end

local function new(kind, name, options)
  local who, list = "metrics." .. kind, M.list()
  local short = check_name(who, kind, name, list)
  if not registry.is_loading() then
    error(("%s: '%s': a metric is made while the route is loaded, not in a hook, so that every "
      .. "worker knows it"):format(who, name), 3)
  end
  check_options(who, options)
  local metric = setmetatable({
    kind = kind, name = short, help = options.help, series = {}, known = 0, places = {},
    labels = check_labels(who, kind, options.labels),
    buckets = check_buckets(who, kind, options.buckets),
    most = (options.max_series or USUAL_SERIES) + 1,
  }, Metric)
  for i, label in ipairs(metric.labels) do
    metric.places[label] = i
  end
  metric.span = metric.buckets and #metric.buckets + 2 or 1
  metric.family = core.metrics_family(description_of(who, metric))
  local rest = ("other\0"):rep(#metric.labels):sub(1, -2)
  metric.rest = metric.family
    and core.metrics_label(metric.family, rest, metric.span, metric.most)
  if not metric.rest then
    error(("%s: '%s': there is no room for another metric"):format(who, name), 3)
  end
  list[#list + 1] = metric
  return metric
end

--- A number that only grows, such as logins.
---@param name string with _total at its end or without
---@param options { help: string, labels?: string[], max_series?: integer }
---@return table counter inc, value
function M.counter(name, options)
  return (new("counter", name, options))
end

--- A number that grows and falls, such as jobs that wait.
---@param name string
---@param options { help: string, labels?: string[], max_series?: integer }
---@return table gauge set, inc, value
function M.gauge(name, options)
  return (new("gauge", name, options))
end

--- How often numbers are in each of some ranges, such as the time that a call took.
---@param name string
---@param options { help: string, labels?: string[], buckets?: number[], max_series?: integer }
---@return table histogram observe, value
function M.histogram(name, options)
  return (new("histogram", name, options))
end

--- The series of a metric, for worker/metrics. The one for others is left out until it counts.
---@param metric table of M.list
---@return { values: string[], numbers: number[] }[]
function M.series(metric)
  local list = {}
  for _, entry in ipairs(core.metrics_list(metric.family)) do
    local text, first = entry[1], entry[2]
    local values, numbers, any = {}, {}, false
    for value in (text .. "\0"):gmatch("(%Z*)%z") do
      values[#values + 1] = value
    end
    for i = 1, metric.span do
      numbers[i] = core.metrics_get(first + i - 1)
      any = any or numbers[i] ~= 0
    end
    if any or first ~= metric.rest or #metric.labels == 0 then
      list[#list + 1] = { values = values, numbers = numbers }
    end
  end
  return list
end

return M
