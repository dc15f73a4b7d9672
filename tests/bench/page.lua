-- What docs/performance.md shows of the figures in tests/bench/results.json: one table, and the
-- chart docs/performance.svg. Pure: tables in, text out. Called by main.lua and by
-- spec/performance_spec.lua, which sees to it that page and figures agree.

local page = {}

local BEGIN, END = "<!-- from tests/bench/results.json -->\n", "<!-- end -->\n"

local BASE = "nginx"

local function number(value, format)
  return value and format:format(value) or ""
end

-- "27,300"
local function grouped(value)
  local text = ("%.0f"):format(value)
  local changed = 1
  while changed > 0 do
    text, changed = text:gsub("^(%d+)(%d%d%d)", "%1,%2")
  end
  return text
end

-- The calls that matter, the most frequent first: "5.1: recvfrom 2, writev 2".
local function calls(peer)
  if not peer.calls then
    return ""
  end
  local names, parts = {}, {}
  for name, count in pairs(peer.by_call) do
    if count >= 0.05 then
      names[#names + 1] = name
    end
  end
  table.sort(names, function(a, b)
    local x, y = peer.by_call[a], peer.by_call[b]
    return x > y or (x == y and a < b)
  end)
  for i, name in ipairs(names) do
    parts[i] = ("%s %.1f"):format(name, peer.by_call[name])
  end
  return ("%.1f: %s"):format(peer.calls, table.concat(parts, ", "))
end

local function ratio(peer)
  return peer.ratio and ("%.2f (%.2f to %.2f)"):format(peer.ratio, peer.low, peer.high) or ""
end

-- Instructions may have been counted at another commit than the rest was measured at.
local function instructions(data, case, name)
  local counted = (data.instructions or {})[case.name]
  local count = counted and counted.peers[name]
  if not count then
    return ""
  end
  return grouped(count) .. (counted.commit ~= case.commit and ", " .. counted.commit or "")
end

local COLUMNS = { "case", "server", "CPU us", "ratio (half of the rounds)", "replies/s", "p50 ms",
  "p99 ms", "p99.9 ms", "MB", "instructions", "failed", "system calls", "commit" }

local function line(cells)
  return "| " .. table.concat(cells, " | ") .. " |\n"
end

local function rows(out, data, case)
  local absent = {}
  for _, name in ipairs(data.order) do
    local peer = case.peers[name]
    if peer then
      out[#out + 1] = line({
        "`" .. case.name .. "` " .. case.title, data.titles[name], number(peer.cpu, "%.1f"),
        ratio(peer), grouped(peer.rate), number(peer.p50, "%.1f"), number(peer.p99, "%.1f"),
        number(peer.p999, "%.1f"), number(peer.memory, "%.1f"), instructions(data, case, name),
        number(peer.failed, "%.0f"), calls(peer), peer.commit or case.commit,
      })
    elseif case.absent[name] then
      absent[#absent + 1] = ("%s %s"):format(data.titles[name], case.absent[name])
    end
  end
  if #absent > 0 then
    out[#out + 1] = line({ "`" .. case.name .. "`", "not: " .. table.concat(absent, "; "),
      "", "", "", "", "", "", "", "", "", "", "" })
  end
end

local function idle_rows(out, data)
  local idle = data.idle
  for _, name in ipairs(idle and data.order or {}) do
    if idle.peers[name] then
      out[#out + 1] = line({ "`idle` connection", data.titles[name],
        "", "", "", "", "", "", grouped(idle.peers[name]) .. " bytes", "", "", "", idle.commit })
    end
  end
end

local function versions(data)
  local list = {}
  for _, name in ipairs(data.order) do
    if data.versions[name] then
      list[#list + 1] = data.titles[name] .. " " .. data.versions[name]
    end
  end
  return table.concat(list, ", ")
end

-- The load that the machine had by other work, and the rounds, from the least to the most.
local function span(data, key)
  local least, most
  for _, case in pairs(data.cases) do
    least = math.min(least or case[key], case[key])
    most = math.max(most or case[key], case[key])
  end
  return least == most and ("%g"):format(least) or ("%g to %g"):format(least, most)
end

--- The generated part of the page, with its marks.
---@param data table results.json
---@return string
function page.part(data)
  local ruler = {}
  for i = 1, #COLUMNS do
    ruler[i] = "---"
  end
  local out = { BEGIN, "![CPU time of a request](performance.svg)\n\n",
    ("%s. %s cores, Linux %s, %s. Load average %s before each case, %s rounds of %s s.\n\n"):format(
      versions(data), data.machine.cores, data.machine.kernel:match("^%d+%.%d+"),
      data.machine.date:match("^[%d-]+"),
      span(data, "load"), span(data, "rounds"), span(data, "seconds")),
    line(COLUMNS), line(ruler) }
  for _, name in ipairs(data.case_order) do
    if data.cases[name] then
      rows(out, data, data.cases[name])
    end
  end
  idle_rows(out, data)
  out[#out + 1] = END
  return table.concat(out)
end

--- The page with its generated part renewed. Raises an error where it has none.
---@param text string
---@param data table
---@return string
function page.put(text, data)
  local from = assert(text:find(BEGIN, 1, true), "the page has no mark for the figures")
  local _, to = text:find(END, from, true)
  assert(to, "the page's mark has no end")
  return text:sub(1, from - 1) .. page.part(data) .. text:sub(to + 1)
end

-- ---- the chart ----

local COLORS = { nginx = "#8a8a8a", ["nginx-lua"] = "#b9b9b9", haproxy = "#7aa6c2", h2o = "#c2a878",
  lighttpd = "#a3b18a", floor = "#dddddd", moongate = "#3d5a98", ["moongate-release"] = "#1d2f5f" }

local LEFT, WIDTH, BAR, MOST = 210, 560, 10, 2 -- a bar of twice nginx's CPU fills it

local function text_at(x, y, text, more)
  return ('<text x="%d" y="%d" %s>%s</text>\n'):format(x, y, more or "", text)
end

local function bar(y, name, value)
  local shown = math.min(value, MOST)
  local width = shown / MOST * WIDTH
  return ('<rect x="%d" y="%d" width="%.0f" height="%d" fill="%s"/>\n'):format(LEFT, y, width,
    BAR - 1, COLORS[name]) .. text_at(LEFT + width + 4, y + BAR - 2, ("%.2f"):format(value),
    'font-size="9"')
end

local function legend(data, y)
  local out, x = {}, 10
  for _, name in ipairs(data.order) do
    out[#out + 1] = ('<rect x="%d" y="%d" width="10" height="10" fill="%s"/>\n'):format(x, y,
      COLORS[name]) .. text_at(x + 14, y + 9, data.titles[name])
    x = x + 24 + #data.titles[name] * 6
  end
  return table.concat(out)
end

--- The chart: CPU time of a request, nginx is 1.
---@param data table
---@return string
function page.svg(data)
  local out, y = {}, 50
  for _, name in ipairs(data.case_order) do
    local case = data.cases[name]
    if case and case.peers[BASE] then
      out[#out + 1] = text_at(LEFT - 8, y + BAR, case.title, 'text-anchor="end"')
      for _, peer in ipairs(data.order) do
        if peer ~= BASE and case.peers[peer] and case.peers[peer].ratio then
          out[#out + 1] = bar(y, peer, case.peers[peer].ratio)
          y = y + BAR
        end
      end
      y = y + BAR
    end
  end
  local one = LEFT + WIDTH / MOST
  return ('<svg xmlns="http://www.w3.org/2000/svg" width="840" height="%d" '):format(y + 10)
    .. 'font-family="sans-serif" font-size="11">\n<rect width="100%" height="100%" fill="#fff"/>\n'
    .. text_at(10, 18, "CPU time of a request, median of the rounds; nginx in the same run is 1")
    .. legend(data, 28) .. table.concat(out)
    .. ('<line x1="%d" y1="46" x2="%d" y2="%d" stroke="#c0392b"/>\n'):format(one, one, y)
    .. "</svg>\n"
end

return page
