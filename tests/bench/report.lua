-- What becomes of the figures: each server's account of a case, the table on the terminal, the
-- verdict on the aims, the JSON file. Pure: tables in, text out. Called by main.lua.

local report = {}

--- Rows of a case of load.
local ROWS = {
  { key = "rate", title = "requests/s", format = "%.0f" },
  { key = "cpu", title = "CPU us/request", format = "%.2f" },
  { key = "ratio", title = "CPU, nginx is 1", format = "%.2f" },
  { key = "low", title = "  half of the rounds", format = "%.2f" },
  { key = "high", title = "  lies between", format = "%.2f" },
  { key = "p50", title = "p50 ms", format = "%.2f" },
  { key = "p99", title = "p99 ms", format = "%.2f" },
  { key = "p999", title = "p99.9 ms", format = "%.2f" },
  { key = "failed", title = "failed or starved", format = "%.0f" },
  { key = "reloads", title = "reloads in a round", format = "%.0f" },
  { key = "calls", title = "system calls/request", format = "%.2f" },
  { key = "memory", title = "MB", format = "%.1f" },
}

-- The value below which this share of the list is.
local function quantile(values, share)
  local sorted = { unpack(values) }
  table.sort(sorted)
  local at = 1 + (#sorted - 1) * share
  local low, high = sorted[math.floor(at)], sorted[math.ceil(at)]
  return low + (high - low) * (at % 1)
end

--- The medians of a server's rounds, and what it needs for each part that nginx needs, taken round
--- by round, so that a machine that is slow for a while counts once. Failures are added up.
---@param rounds table[] of measure.load
---@param base table[]|nil those of nginx
---@return table
function report.summary(rounds, base)
  local out = { failed = 0 }
  for key, value in pairs(rounds[1]) do
    if type(value) == "number" then
      local values = {}
      for i, round in ipairs(rounds) do
        values[i] = round[key]
      end
      out[key] = quantile(values, 0.5)
    end
  end
  out.failed = 0
  local ratios, rates = {}, {}
  for i, round in ipairs(rounds) do
    out.failed = out.failed + round.failed
    ratios[i] = base and round.cpu / base[i].cpu
    rates[i] = base and round.rate / base[i].rate
  end
  if base then
    out.ratio, out.rate_ratio = quantile(ratios, 0.5), quantile(rates, 0.5)
    out.low, out.high = quantile(ratios, 0.25), quantile(ratios, 0.75)
  end
  return out
end

local function row(lines, names, case, figure)
  local line, any = ("%-30s%-24s"):format(case.title:sub(1, 29), figure.title), false
  for _, name in ipairs(names) do
    local value = case.peers[name] and case.peers[name][figure.key]
    any = any or value
    line = line .. ("%12s"):format(value and figure.format:format(value) or "-")
  end
  lines[#lines + 1] = any and line or nil
end

--- The table for the terminal.
---@param names string[]
---@param data table
---@return string
function report.table(names, data)
  local head = ("\n%-30s%-24s"):format("case", "figure")
  for _, name in ipairs(names) do
    head = head .. ("%12s"):format(name:gsub("moongate%-", "-"))
  end
  local lines = { head }
  for _, name in ipairs(data.case_order) do
    local case = data.cases[name]
    for _, figure in ipairs(case and ROWS or {}) do
      row(lines, names, case, figure)
    end
    for _, peer in ipairs(case and names or {}) do
      if case.absent[peer] then
        lines[#lines + 1] = ("%-30s%s %s"):format(case.title:sub(1, 29), peer, case.absent[peer])
      end
    end
    local counted = (data.instructions or {})[name]
    if counted then
      local peers = {}
      for peer, count in pairs(counted.peers) do
        peers[peer] = { instructions = count }
      end
      row(lines, names, { title = counted.title, peers = peers },
        { key = "instructions", title = "instructions/request", format = "%.0f" })
    end
  end
  if data.idle then
    local peers = {}
    for peer, bytes in pairs(data.idle.peers) do
      peers[peer] = { bytes = bytes }
    end
    row(lines, names, { title = "idle", peers = peers },
      { key = "bytes", title = "bytes/connection", format = "%.0f" })
  end
  return table.concat(lines, "\n") .. "\n"
end

local function aim(list, title, value, limit)
  if value then
    list[#list + 1] = { title = title, value = value, limit = limit, holds = value <= limit }
  end
end

-- The same for what should be at least so much.
local function aim_least(list, title, value, least)
  if value then
    list[#list + 1] = { title = title, value = value, least = least, holds = value >= least }
  end
end

-- Most that a case may cost of nginx's CPU. Where the requests of a turn ask one tenant of the ten
-- thousand, each look-up of that turn is made once: these are the cases in which 4.1 system calls
-- of a tiny request and 2.1 of a file are possible.
local LIMITS = { tiny1 = 0.75, site1 = 0.80, ["64k"] = 0.72, ["1m"] = 0.80, post1 = 0.90,
  close = 0.88, fpm = 0.65, static1 = 0.47, static1m = 0.80 }

-- What packages have, the release build, or the plain one where that was not measured.
local function own(peers)
  return peers["moongate-release"] or peers.moongate
end

local function aims_of_queue(list, queue, fair)
  if queue then
    aim(list, "requests that failed in the queue", queue.failed, 0)
    aim_least(list, "share of the places that the queue uses", queue.used, 0.97)
  end
  if fair then
    aim(list, "requests of tenants that failed", fair.big.failed + fair.small.failed, 0)
    aim(list, "median of the small tenant in ms, of 20 ms of work", fair.small.p50, 45)
  end
end

--- The aims that this run can judge: a value is at most its limit, or at least its least.
---@param data table what was measured in this run
---@return { title: string, value: number, limit?: number, least?: number, holds: boolean }[]
function report.aims(data)
  local list = {}
  for _, name in ipairs(data.case_order) do
    local case = data.cases[name]
    local moongate = case and own(case.peers)
    if moongate then
      if LIMITS[name] then
        aim(list, case.title .. ": CPU, nginx is 1", moongate.ratio, LIMITS[name])
      end
      aim(list, case.title .. ": requests that failed", moongate.failed, 0)
    end
  end
  local function figure(name, key)
    local case = data.cases[name]
    local moongate = case and own(case.peers)
    return moongate and moongate[key]
  end
  aim_least(list, "PHP-FPM: replies a second, nginx is 1", figure("fpm", "rate_ratio"), 1.55)
  aim(list, "system calls of a tiny request", figure("tiny1", "calls"), 4.1)
  aim(list, "system calls of a file of 4 KB", figure("static1", "calls"), 2.1)
  local tiny = (data.instructions or {}).tiny
  aim(list, "user-space instructions of a tiny request", tiny and own(tiny.peers), 20000)
  aim(list, "bytes of an idle connection", data.idle and data.idle.peers.moongate, 200)
  aims_of_queue(list, data.queue, data.fair)
  return list
end

---@param aims table
---@return boolean
function report.hold(aims)
  for _, one in ipairs(aims) do
    if not one.holds then
      return false
    end
  end
  return true
end

--- One line for each aim.
---@param aims table
---@return string
function report.verdict(aims)
  local lines = { "" }
  for _, one in ipairs(aims) do
    lines[#lines + 1] = ("%-6s %s: %.6g, at %s %g"):format(one.holds and "holds" or "MISSED",
      one.title, one.value, one.least and "least" or "most", one.least or one.limit)
  end
  return table.concat(lines, "\n") .. "\n"
end

local encode

local function encode_string(text)
  return '"' .. text:gsub('[%c"\\]', function(char)
    return ("\\u%04x"):format(char:byte())
  end) .. '"'
end

local function encode_object(value, indent)
  local keys, parts = {}, {}
  for key in pairs(value) do
    keys[#keys + 1] = key
  end
  table.sort(keys)
  for i, key in ipairs(keys) do
    parts[i] = ("%s  %s: %s"):format(indent, encode_string(key), encode(value[key], indent .. "  "))
  end
  return "{\n" .. table.concat(parts, ",\n") .. "\n" .. indent .. "}"
end

local function encode_list(value, indent)
  local parts = {}
  for i, item in ipairs(value) do
    parts[i] = indent .. "  " .. encode(item, indent .. "  ")
  end
  return "[\n" .. table.concat(parts, ",\n") .. "\n" .. indent .. "]"
end

function encode(value, indent)
  if type(value) == "table" then
    return #value > 0 and encode_list(value, indent) or encode_object(value, indent)
  elseif type(value) == "string" then
    return encode_string(value)
  elseif type(value) == "number" then
    return ("%.10g"):format(value)
  end
  return tostring(value)
end

--- JSON with sorted keys, so that two results can be compared by diff.
---@param value table
---@return string
function report.json(value)
  return encode(value, "") .. "\n"
end

return report
