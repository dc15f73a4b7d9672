-- What becomes of the figures: the table on the terminal, the verdict on the aims, the JSON file.
-- Pure: tables in, text out. Called by main.lua.

local report = {}

local CASES = { "tiny", "plain", "root", "site", "static", "64k", "1m", "post", "fpm", "fpmkeep" }

--- Rows of a case of load.
local ROWS = {
  { key = "rate", title = "requests/s", format = "%.0f" },
  { key = "cpu", title = "CPU us/request", format = "%.2f" },
  { key = "p50", title = "p50 ms", format = "%.2f" },
  { key = "p99", title = "p99 ms", format = "%.2f" },
  { key = "max", title = "longest ms", format = "%.0f" }, -- this and the next: with PHP
  { key = "failed", title = "failed or starved", format = "%.0f" },
  { key = "calls", title = "system calls/request", format = "%.2f" },
}

-- What Moongate needs for each part that nginx needs, taken round by round, so that a machine that
-- is slow for a while counts once: the value below which this share of the rounds is.
local function round_ratio(case, key, share)
  local ratios = {}
  for i, round in ipairs(case.moongate.rounds) do
    ratios[i] = round[key] / case.nginx.rounds[i][key]
  end
  table.sort(ratios)
  local at = 1 + (#ratios - 1) * (share or 0.5)
  local low, high = ratios[math.floor(at)], ratios[math.ceil(at)]
  return low + (high - low) * (at % 1)
end

local function row(lines, names, case, title, key, format)
  if not case[names[1]][key] then
    return
  end
  local line = ("%-17s%-24s"):format(case.title, title)
  for _, name in ipairs(names) do
    line = line .. ("%14s"):format(case[name] and case[name][key] and format:format(case[name][key])
      or "-")
  end
  local nginx, moongate = case.nginx, case.moongate
  local paired = nginx and moongate and nginx.rounds and nginx.rounds[1][key]
  if paired and nginx[key] > 0 then
    line = line .. ("%12.2f  (%.2f to %.2f)"):format(round_ratio(case, key),
      round_ratio(case, key, 0.25), round_ratio(case, key, 0.75))
  elseif nginx and moongate and moongate[key] and nginx[key] > 0 then
    line = line .. ("%12.2f"):format(moongate[key] / nginx[key])
  end
  lines[#lines + 1] = line
end

--- The table for the terminal; the last column is Moongate's figure divided by nginx's: where there
--- were rounds, the median of their ratios, and between what half of them lie.
---@param names string[]
---@param cases table
---@return string
function report.table(names, cases)
  local head = ("\n%-17s%-24s"):format("case", "figure")
  for _, name in ipairs(names) do
    head = head .. ("%14s"):format(name)
  end
  local lines = { head .. (#names == 2 and ("%12s"):format("ratio") or "") }
  for _, name in ipairs(CASES) do
    for _, figure in ipairs(cases[name] and ROWS or {}) do
      row(lines, names, cases[name], figure.title, figure.key, figure.format)
    end
  end
  if cases.idle then
    row(lines, names, cases.idle, "bytes/connection", "bytes", "%.0f")
  end
  for _, name in ipairs(cases.instructions and CASES or {}) do
    local case = cases.instructions[name]
    if case then
      row(lines, names, case, "instructions/request", "instructions", "%.0f")
    end
  end
  return table.concat(lines, "\n") .. "\n"
end

local function aim(list, title, value, limit)
  list[#list + 1] = { title = title, value = value, limit = limit, holds = value <= limit }
end

-- The same for what should be at least so much.
local function aim_least(list, title, value, least)
  list[#list + 1] = { title = title, value = value, least = least, holds = value >= least }
end

-- nginx with kept connections serves four clients fast and lets the others starve: its rate is
-- shown, and no aim.
local function aims_of_php(list, cases)
  local plain = cases.fpm
  if plain and plain.nginx and plain.moongate then
    aim_least(list, "PHP-FPM: replies a second, nginx is 1", round_ratio(plain, "rate"), 1.37)
    aim(list, "PHP-FPM: CPU of a request, nginx is 1", round_ratio(plain, "cpu"), 0.76)
  end
  for _, name in ipairs({ "fpm", "fpmkeep" }) do
    local moongate = cases[name] and cases[name].moongate
    if moongate then
      aim(list, cases[name].title .. ": requests that failed", moongate.failed, 0)
    end
  end
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
---@param cases table
---@return { title: string, value: number, limit?: number, least?: number, holds: boolean }[]
function report.aims(cases)
  local list = {}
  local tiny, idle, instructions = cases.tiny, cases.idle, cases.instructions
  if tiny and tiny.moongate then
    if tiny.nginx then
      aim(list, "CPU of a tiny request, nginx is 1", round_ratio(tiny, "cpu"), 1)
    end
    aim(list, "system calls of a tiny request", tiny.moongate.calls, 5)
  end
  if cases.post and cases.post.nginx and cases.post.moongate then
    aim(list, "CPU of a POST of 16 KB, nginx is 1", round_ratio(cases.post, "cpu"), 1)
  end
  local counted = instructions and instructions.tiny.moongate
  if counted then
    aim(list, "user-space instructions of a tiny request", counted.instructions, 20000)
  end
  if idle and idle.moongate then
    aim(list, "bytes of an idle connection", idle.moongate.bytes, 700)
  end
  aims_of_php(list, cases)
  aims_of_queue(list, cases.queue, cases.fair)
  if cases.reload then
    aim(list, "reload: requests that failed", cases.reload.busy.failed, 0)
  end
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
