-- moongate.cli.sample owns what /metrics says at a moment, and what has happened between two
-- moments: how many a second, and how long requests took. Called by top.

local M = {}

local BUCKETS = "moongate_request_duration_seconds_bucket"
local REQUESTS = "moongate_requests_total"

---@class moongate.cli.Sample
---@field at number clock time
---@field codes table<string, number> requests by the class of their status
---@field tenants table<string, number>
---@field failing table<string, number> those of tenants that ended with 5xx
---@field buckets table<string, number> requests by the upper bound of their time
---@field hooks table<string, table<string, number>> runs, seconds, errors, timeouts by hook
---@field servers table<string, number> requests by backend TAB server
---@field queued table<string, number> by the same
---@field states table<string, string> by the same
---@field cached table<string, number> requests whose decision has `cache`, by what came of it
---@field scripts table<string, table>|nil of applications: what /scripts says of each, by its name

local function unescaped(text)
  return (text:gsub("\\(.)", function(byte)
    return byte == "n" and "\n" or byte
  end))
end

--- The labels of a series.
local function labels_of(text)
  local labels, at = {}, 1
  while true do
    local name, start = text:match('^([%w_]+)="()', at)
    if not name then
      return labels
    end
    local stop = start
    while stop <= #text and text:sub(stop, stop) ~= '"' do
      stop = stop + (text:sub(stop, stop) == "\\" and 2 or 1)
    end
    labels[name] = unescaped(text:sub(start, stop - 1))
    at = stop + 2 -- the quote and a comma
  end
end

local function add(sums, key, value)
  if key then
    sums[key] = (sums[key] or 0) + value
  end
end

local function server_of(labels)
  return labels.backend .. "\t" .. labels.server
end

local HOOKS = {
  moongate_script_runs_total = "runs", moongate_script_seconds_total = "seconds",
  moongate_script_errors_total = "errors", moongate_script_timeouts_total = "timeouts",
}

--- What is done with the series of a metric.
local TAKE = {
  [REQUESTS] = function(sample, labels, value)
    add(sample.codes, labels.code, value)
    if labels.tenant ~= "" then
      add(sample.tenants, labels.tenant, value)
      add(sample.failing, labels.tenant, labels.code == "5xx" and value or 0)
    end
  end,
  [BUCKETS] = function(sample, labels, value)
    add(sample.buckets, labels.le, value)
  end,
  moongate_server_requests_total = function(sample, labels, value)
    sample.servers[server_of(labels)] = value
  end,
  moongate_server_queued_requests = function(sample, labels, value)
    sample.queued[server_of(labels)] = value
  end,
  moongate_cache_requests_total = function(sample, labels, value)
    add(sample.cached, labels.result, value)
  end,
  moongate_server_state = function(sample, labels, value)
    if value == 1 then
      sample.states[server_of(labels)] = labels.state
    end
  end,
}
for name, key in pairs(HOOKS) do
  TAKE[name] = function(sample, labels, value)
    sample.hooks[labels.hook] = sample.hooks[labels.hook] or {}
    sample.hooks[labels.hook][key] = value
  end
end

--- Reads a page.
---@param text string in Prometheus' format
---@param at number clock time
---@param scripts table[]|nil what /scripts says
---@return moongate.cli.Sample
function M.read(text, at, scripts)
  local sample = {
    at = at, codes = {}, tenants = {}, failing = {}, buckets = {}, hooks = {}, servers = {},
    queued = {}, states = {}, cached = {}, scripts = scripts and {} or nil,
  }
  for _, one in ipairs(scripts or {}) do
    sample.scripts[one.script] = one
  end
  for line in text:gmatch("[^\n]+") do
    local name, labels, value = line:match("^([%w_]+){(.*)} (%S+)$")
    local take = TAKE[name]
    if take then
      take(sample, labels_of(labels), tonumber(value) or 0)
    end
  end
  return sample
end

--- How much sums have grown a second; nil where no time has passed.
---@param now moongate.cli.Sample
---@param before moongate.cli.Sample|nil
---@param field "codes"|"tenants"|"failing"|"servers"|"cached"
---@param key string|nil nil: all of them
---@return number|nil
function M.rate(now, before, field, key)
  local seconds = before and now.at - before.at or 0
  if seconds <= 0 then
    return nil
  end
  local grown = 0
  for name, value in pairs(now[field]) do
    if key == nil or key == name then
      grown = grown + math.max(0, value - (before[field][name] or 0))
    end
  end
  return grown / seconds
end

--- The time that a share of the requests between two moments did not take longer than, between the
--- bounds of its bucket in proportion.
---@param now moongate.cli.Sample
---@param before moongate.cli.Sample|nil
---@param share number from 0 to 1
---@return number|nil seconds; nil where there were none
function M.percentile(now, before, share)
  local list = {}
  for bound, value in pairs(now.buckets) do
    list[#list + 1] = {
      tonumber(bound) or math.huge, value - (before and before.buckets[bound] or 0),
    }
  end
  table.sort(list, function(a, b)
    return a[1] < b[1]
  end)
  local all = list[1] and list[#list][2] or 0
  local low, below = 0, 0
  for _, bucket in ipairs(list) do
    local bound, count = bucket[1], bucket[2]
    if all > 0 and count >= all * share then
      return bound == math.huge and low
        or low + (bound - low) * (all * share - below) / math.max(count - below, 1)
    end
    low, below = bound, count
  end
  return nil
end

return M
