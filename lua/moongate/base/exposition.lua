-- moongate.base.exposition owns the text in which metrics are told: Prometheus' own format, version
-- 0.0.4, and OpenMetrics 1.0. Called by worker/metrics.

local json = require("moongate.base.json")

local concat, floor, format = table.concat, math.floor, string.format

local M = {
  PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8",
  OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8",
}

--- A number as both formats have it.
---@param n number
---@return string
function M.number(n)
  if n ~= n then
    return "NaN"
  elseif n == math.huge or n == -math.huge then
    return n > 0 and "+Inf" or "-Inf"
  elseif n == floor(n) and n > -2 ^ 53 and n < 2 ^ 53 then
    return format("%d", n)
  end
  return format("%.15g", n)
end

--- The bound of a bucket as the label `le`: OpenMetrics wants a point or an exponent in it.
---@param bound number
---@return string
function M.bound(bound)
  local text = M.number(bound)
  return text:match("^-?%d+$") and text .. ".0" or text
end

local ESCAPES = { ["\\"] = "\\\\", ["\n"] = "\\n", ['"'] = '\\"' }

--- One label. Bytes that are no UTF-8 and control bytes become U+FFFD, since a scraper drops the
--- whole page for them.
---@param name string
---@param value string
---@return string # such as `backend="php"`
function M.label(name, value)
  if value:find('[%c\\"\128-\255]') then
    value = json.valid_utf8(value):gsub('[%z\1-\9\11-\31\127]', "\239\191\189")
      :gsub('[\\\n"]', ESCAPES)
  end
  return name .. '="' .. value .. '"'
end

-- A page ------------------------------------------------------------------------------------------

local Family = {}
Family.__index = Family

--- Adds a sample; one that has the same labels as another is added to it (two names may have become
--- one text), but a gauge keeps the first.
---@param labels string M.label of each, joined by ","; or ""
---@param value number
---@param suffix string|nil "_bucket", "_sum", "_count" of a histogram
function Family:add(labels, value, suffix)
  local key = (suffix or "") .. "{" .. labels
  local at = self.places[key]
  if at == nil then
    at = #self.values + 1
    self.places[key] = at
    self.heads[at] = self.name .. (suffix or self.kind == "counter" and "_total" or "")
      .. (labels ~= "" and "{" .. labels .. "}" or "")
    self.values[at] = value
  elseif self.kind ~= "gauge" then
    self.values[at] = self.values[at] + value
  end
end

--- Adds a histogram.
---@param labels string as in `add`
---@param bounds number[] upper ones, in order
---@param counts table for each bucket how many are in it and in none before; one more has the rest
---@param sum number
function Family:histogram(labels, bounds, counts, sum)
  local total = 0
  local before = labels ~= "" and labels .. "," or ""
  for i = 1, #bounds do
    total = total + counts[i]
    self:add(before .. 'le="' .. M.bound(bounds[i]) .. '"', total, "_bucket")
  end
  total = total + counts[#bounds + 1]
  self:add(before .. 'le="+Inf"', total, "_bucket")
  self:add(labels, sum, "_sum")
  self:add(labels, total, "_count")
end

local Page = {}
Page.__index = Page

--- A new page.
function M.page()
  return setmetatable({ families = {} }, Page)
end

--- A metric on the page.
---@param kind "counter"|"gauge"|"histogram"
---@param name string without "_total"
---@param help string
---@return table family see `add` and `histogram`
function Page:family(kind, name, help)
  local family = setmetatable({
    kind = kind, name = name, help = help, places = {}, heads = {}, values = {},
  }, Family)
  self.families[#self.families + 1] = family
  return family
end

--- The page as text. Families without a sample are left out.
---@param openmetrics boolean|nil the format
---@return string
function Page:text(openmetrics)
  local out = {}
  for _, family in ipairs(self.families) do
    if #family.values > 0 then
      local name = family.name
      if family.kind == "counter" and not openmetrics then
        name = name .. "_total"
      end
      local help = json.valid_utf8(family.help)
        :gsub(openmetrics and '[\\\n"]' or "[\\\n]", ESCAPES)
      out[#out + 1] = "# HELP " .. name .. " " .. help
      out[#out + 1] = "# TYPE " .. name .. " " .. family.kind
      local unit = openmetrics and (name:match("_(seconds)$") or name:match("_(bytes)$"))
      if unit then
        out[#out + 1] = "# UNIT " .. name .. " " .. unit
      end
      for i, head in ipairs(family.heads) do
        out[#out + 1] = head .. " " .. M.number(family.values[i])
      end
    end
  end
  out[#out + 1] = openmetrics and "# EOF\n" or ""
  return concat(out, "\n")
end

-- Who wants which ---------------------------------------------------------------------------------

--- The quality of a range of media types, for one of them (RFC 9110 §12.5.1).
local function quality(accept, kind)
  local family, best, exact = kind:match("^[^/]+"), 0, -1
  for part in accept:lower():gmatch("[^,]+") do
    local range = part:match("^%s*([^%s;]+)")
    local rank = range == kind and 2 or range == family .. "/*" and 1 or range == "*/*" and 0
    local version = part:match(";%s*version%s*=%s*\"?([%d.]+)")
    local wrong = rank == 2 and version and not (version == "1.0.0" or version == "0.0.4")
    if rank and not wrong and rank >= exact then
      local q = tonumber(part:match(";%s*q%s*=%s*([%d.]+)") or 1) or 0
      best, exact = rank > exact and q or math.max(best, q), rank
    end
  end
  return best
end

--- Whether a client would rather have OpenMetrics.
---@param accept string|nil the header Accept
---@return boolean
function M.wants_openmetrics(accept)
  if accept == nil or not accept:lower():find("application/openmetrics-text", 1, true) then
    return false
  end
  local wanted = quality(accept, "application/openmetrics-text")
  return wanted > 0 and wanted >= quality(accept, "text/plain")
end

return M
