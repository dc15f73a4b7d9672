-- Draws the figures of tests/bench/tuning.json as the pictures of docs/tuning.md, and makes its
-- table. Pure: tables in, text out. Called by tuning.lua and by spec/tuning_spec.lua, which sees to
-- it that page, pictures and figures agree.

local curves = {}

local WIDTH, HEIGHT = 720, 260
local LEFT, RIGHT, TOP, BOTTOM = 70, 70, 40, 46

local PICTURES = {
  { key = "children", x = "pm.max_children, and max_conns", mark = nil,
    { "rate", "requests a second", "#2471a3" }, { "p99", "p99, ms", "#c0392b" } },
  { key = "max_conns", x = "max_conns, before 8 children", mark = 8,
    { "rate", "requests a second", "#2471a3" }, { "p99", "p99 of the quiet site, ms", "#c0392b" } },
  { key = "queue", x = "queue, before 8 children",
    { "refused", "answered 503, %", "#2471a3" }, { "p99", "p99, ms", "#c0392b" } },
}

local function text_at(x, y, text, more)
  return ('<text x="%g" y="%g" %s>%s</text>\n'):format(x, y, more or "", text)
end

--- The least round number that is not below a value: 1, 2 or 5 times a power of ten.
local function round_up(value)
  local power = 10 ^ math.floor(math.log10(math.max(value, 1e-6)))
  for _, factor in ipairs({ 1, 2, 5, 10 }) do
    if factor * power >= value then
      return factor * power
    end
  end
end

--- One line over its own axis, left or right; the points stand at equal distances.
local function line(points, series, side)
  local key, title, colour = unpack(series)
  local most = 0
  for _, point in ipairs(points) do
    most = math.max(most, point[key])
  end
  most = round_up(most)
  local out, path = {}, {}
  local width, height = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM
  local at = side == "left" and LEFT - 8 or WIDTH - RIGHT + 8
  local anchor = ('text-anchor="%s" fill="%s"'):format(side == "left" and "end" or "start", colour)
  for i = 0, 4 do
    out[#out + 1] = text_at(at, TOP + height * (1 - i / 4) + 4, ("%g"):format(most * i / 4), anchor)
  end
  for i, point in ipairs(points) do
    local x = LEFT + width * (i - 1) / (#points - 1)
    local y = TOP + height * (1 - point[key] / most)
    path[i] = ("%.1f,%.1f"):format(x, y)
    out[#out + 1] = ('<circle cx="%.1f" cy="%.1f" r="3" fill="%s"/>\n'):format(x, y, colour)
  end
  out[#out + 1] = ('<polyline points="%s" fill="none" stroke="%s" stroke-width="2"%s/>\n'):format(
    table.concat(path, " "), colour, side == "right" and ' stroke-dasharray="6 3"' or "")
  out[#out + 1] = text_at(side == "left" and 10 or WIDTH - 10, 20, title,
    ('text-anchor="%s" fill="%s"'):format(side == "left" and "start" or "end", colour))
  return table.concat(out)
end

local function picture(points, about)
  local size = ('width="%d" height="%d"'):format(WIDTH, HEIGHT)
  local out = { '<svg xmlns="http://www.w3.org/2000/svg" ' .. size
    .. ' font-family="sans-serif" font-size="11">\n'
    .. '<rect width="100%" height="100%" fill="#fff"/>\n' }
  local width, height = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM
  for i = 0, 4 do
    out[#out + 1] = ('<line x1="%d" y1="%g" x2="%d" y2="%g" stroke="#ddd"/>\n'):format(LEFT,
      TOP + height * i / 4, WIDTH - RIGHT, TOP + height * i / 4)
  end
  for i, point in ipairs(points) do
    local x = LEFT + width * (i - 1) / (#points - 1)
    out[#out + 1] = text_at(x, HEIGHT - BOTTOM + 16, tostring(point.x), 'text-anchor="middle"')
    if point.x == about.mark then
      out[#out + 1] = ('<line x1="%.1f" y1="%d" x2="%.1f" y2="%d" stroke="#999" '
        .. 'stroke-dasharray="2 3"/>\n'):format(x, TOP, x, HEIGHT - BOTTOM)
    end
  end
  out[#out + 1] = text_at(LEFT + width / 2, HEIGHT - 10, about.x, 'text-anchor="middle"')
  out[#out + 1] = line(points, about[1], "left") .. line(points, about[2], "right")
  return table.concat(out) .. "</svg>\n"
end

--- The pictures by the names of their files in docs/.
---@param data table
---@return table<string, string>
function curves.pictures(data)
  local out = {}
  for _, about in ipairs(PICTURES) do
    out["tuning-" .. about.key:gsub("_", "-") .. ".svg"] = picture(data[about.key], about)
  end
  return out
end

--- The table of keepalive.
local function keepalive_table(points)
  local rows = {
    "| keepalive |", "|---|", "| processor time of a request, Moongate |", "| the same, PHP-FPM |",
  }
  for _, point in ipairs(points) do
    rows[1] = rows[1] .. (" %d |"):format(point.x)
    rows[2] = rows[2] .. "---|"
    rows[3] = rows[3] .. (" %.0f us |"):format(point.cpu)
    rows[4] = rows[4] .. (" %.0f us |"):format(point.cpu_php)
  end
  return table.concat(rows, "\n") .. "\n"
end

--- The page with these figures.
---@param text string the page as it is
---@param data table
---@return string
function curves.page(text, data)
  local function put(begin, middle)
    local _, from = text:find(begin, 1, true)
    local to = from and text:find("<!-- end -->", from, true)
    assert(to, "docs/tuning.md has no place '" .. begin .. "'")
    text = text:sub(1, from) .. middle .. text:sub(to)
  end
  put("<!-- machine -->", ("%d cores"):format(data.machine.cores))
  put("<!-- from tests/bench/tuning.json -->\n", keepalive_table(data.keepalive))
  return text
end

return curves
