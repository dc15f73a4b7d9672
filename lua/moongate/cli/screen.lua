-- moongate.cli.screen owns the picture that `moongate top` draws: lines of text that fit a
-- terminal. Called by top. Names of hosts, tenants and paths come from clients, so nothing of them
-- is a control sequence to the terminal.

local figures = require("moongate.cli.figures")
local json = require("moongate.base.json")
local sample = require("moongate.cli.sample")

local M = {}

local count, rate = figures.count, figures.rate

-- Text --------------------------------------------------------------------------------------------

--- Text without control bytes, in a terminal's own encoding.
---@param text string
---@param utf8 boolean whether the terminal knows UTF-8
---@return string
function M.printable(text, utf8)
  text = text:gsub("[%z\1-\31\127]", "?")
  if not utf8 then
    return (text:gsub("[\128-\255]", "?"))
  end
  return (json.valid_utf8(text):gsub("\194[\128-\159]", "?")) -- C1 controls
end

--- How many columns a text takes, where each character takes one.
local function width_of(text)
  return select(2, text:gsub("[^\128-\191]", ""))
end

--- The first so many characters, with a mark where something is left out.
local function cut(text, width)
  if width_of(text) <= width then
    return text
  end
  local kept = {}
  for character in text:gmatch("[%z\1-\127\192-\255][\128-\191]*") do
    if #kept + 1 >= width then
      break
    end
    kept[#kept + 1] = character
  end
  return width > 0 and table.concat(kept) .. "~" or ""
end

local function padded(text, width, right)
  text = cut(text, width)
  local blanks = (" "):rep(width - width_of(text))
  return right and blanks .. text or text .. blanks
end

-- What is shown -----------------------------------------------------------------------------------

local WORDS = {
  up = "up", draining = "drained", unhealthy = "UNHEALTHY", failed = "FAILED",
}

local function state_of(model, backend, server)
  return model.now.states[backend.name .. "\t" .. server.address]
    or server.draining and "draining" or server.up and "up" or "failed"
end

--- What is degraded, in words.
---@param model table see `lines`
---@return string[]
function M.problems(model)
  local list = {}
  for i, one in ipairs(model.status.degraded or {}) do
    list[i] = one.text
  end
  return list
end

--- How many a second, lately.
local function lately(model, field, key)
  return sample.rate(model.now, model.before, field, key) or 0
end

local function server_rows(model)
  local rows = {}
  for _, backend in ipairs(model.status.backends) do
    for _, server in ipairs(backend.servers) do
      local key = backend.name .. "\t" .. server.address
      rows[#rows + 1] = {
        backend.name, server.address, WORDS[state_of(model, backend, server)],
        lately(model, "servers", key), server.serving,
        model.now.queued[key] or 0, server.latency or 0, server.fails, server.max_conns,
        server.requests,
      }
    end
  end
  return rows
end

local function tenant_rows(model)
  local rows, load = {}, {}
  for _, one in ipairs(model.status.tenants or {}) do
    load[one.name] = one
  end
  for name, requests in pairs(model.now.tenants) do
    local one = load[name] or {}
    rows[#rows + 1] = {
      name, one.active or 0, one.queued or 0, lately(model, "tenants", name),
      lately(model, "failing", name), requests,
    }
  end
  return rows
end

--- How much a count of a script has grown in a second.
local function script_rate(model, script, key)
  local before = model.before or model.now
  local seconds, old = model.now.at - before.at, before.scripts and before.scripts[script.script]
  return seconds > 0 and math.max(0, script[key] - (old and old[key] or 0)) / seconds or 0
end

local function script_rows(model)
  local rows = {}
  for name, one in pairs(model.now.scripts or {}) do
    rows[#rows + 1] = {
      name, script_rate(model, one, "requests"), script_rate(model, one, "seconds"),
      one.requests > 0 and one.seconds / one.requests or 0, one.errors, one.messages, one.requests,
    }
  end
  return rows
end

local function error_rows(model)
  local rows = {}
  for i, one in ipairs(model.status.errors or {}) do
    local text = one.text:gsub("^/[^:\n]*/", "") -- the name and the line of the file
    rows[i] = { one.last, one.holds and "HOLDS" or "over", one.what, text, one.count }
  end
  return rows
end

local function message_rows(model)
  local rows = {}
  for i, one in ipairs(model.messages or {}) do
    rows[i] = { one.last, one.script, one.text, one.count }
  end
  return rows
end

local function generation_rows(model)
  local rows = {}
  for i, one in ipairs(model.generations or {}) do
    rows[i] = {
      one.at, one.number or 0, one.outcome, one.hash or "", one.kept and "kept" or "",
      one.error and ("%s: %s"):format(one.reason, one.error:match("^[^\n]*")) or one.reason,
    }
  end
  return rows
end

local function hook_rows(model)
  local rows = {}
  local before = model.before or model.now
  for name, hook in pairs(model.now.hooks) do
    local earlier = before.hooks[name] or { runs = 0 }
    local seconds = model.now.at - before.at
    if (hook.runs or 0) > 0 then
      rows[#rows + 1] = {
        name, seconds > 0 and (hook.runs - (earlier.runs or 0)) / seconds or 0,
        (hook.seconds or 0) / hook.runs, hook.seconds or 0, hook.errors or 0, hook.timeouts or 0,
      }
    end
  end
  return rows
end

local function request_rows(model)
  local rows = {}
  for i, one in ipairs(model.requests or {}) do
    rows[i] = {
      one.age or 0, one.state or "", one.client or "",
      ("%s %s%s"):format(one.method or "", one.host or "", one.path or ""),
      one.server or one.backend or "", one.sent or 0,
    }
  end
  return rows
end

local function limit(number)
  return number > 0 and count(number) or ""
end

local function latency(seconds)
  return seconds > 0 and figures.milliseconds(seconds) or ""
end

local function clock_time(seconds)
  return tostring(os.date("%H:%M:%S", seconds))
end

--- The tables, with the page of the control listener that one is of: earlier releases had less of
--- them. Columns are { head, width, what shows a number }. The one without a width has
--- what is left of the line.
M.TABLES = {
  {
    name = "servers", rows = server_rows, sort = 4, columns = {
      { "BACKEND", 10 }, { "SERVER" }, { "STATE", 9 }, { "REQ/S", 6, rate },
      { "ACTIVE", 6, count }, { "QUEUED", 6, count }, { "LATENCY", 8, latency },
      { "FAILS", 5, count }, { "MAX", 5, limit }, { "REQUESTS", 9, count },
    },
  },
  {
    name = "tenants", rows = tenant_rows, sort = 4, columns = {
      { "TENANT" }, { "ACTIVE", 6, count }, { "QUEUED", 6, count }, { "REQ/S", 8, rate },
      { "5XX/S", 8, rate }, { "REQUESTS", 10, count },
    },
  },
  {
    name = "scripts", page = "scripts", rows = script_rows, sort = 3, columns = {
      { "SCRIPT" }, { "REQ/S", 6, rate }, { "BUSY", 6, rate }, { "EACH", 8, latency },
      { "ERRORS", 6, count }, { "STDERR", 6, count }, { "REQUESTS", 9, count },
    },
  },
  {
    name = "hooks", rows = hook_rows, sort = 4, columns = {
      { "HOOK" }, { "RUNS/S", 8, rate }, { "EACH", 9, latency }, { "ALL", 10, latency },
      { "ERRORS", 8, count }, { "TIMEOUTS", 8, count },
    },
  },
  {
    name = "requests", page = "requests", rows = request_rows, sort = 1, columns = {
      { "AGE", 8, latency }, { "STATE", 9 }, { "CLIENT", 15 }, { "REQUEST" }, { "SERVER", 18 },
      { "SENT", 7, figures.bytes },
    },
  },
  {
    name = "errors", rows = error_rows, sort = 1, columns = {
      { "LAST", 8, clock_time }, { "STATE", 5 }, { "WHERE", 12 }, { "ERROR" },
      { "TIMES", 6, count },
    },
  },
  {
    name = "messages", page = "messages", rows = message_rows, sort = 1, columns = {
      { "LAST", 8, clock_time }, { "SCRIPT", 24 }, { "MESSAGE" }, { "TIMES", 6, count },
    },
  },
  {
    name = "generations", page = "generations", rows = generation_rows, sort = 1, columns = {
      { "LOADED", 8, clock_time }, { "NUMBER", 6, limit }, { "OUTCOME", 7 }, { "HASH", 16 },
      { "KEPT", 4 }, { "REASON" },
    },
  },
}

--- A row fits where one of its texts has the filter in it, in whatever case.
local function fits(row, filter)
  for _, cell in ipairs(row) do
    if type(cell) == "string" and cell:lower():find(filter, 1, true) then
      return true
    end
  end
  return false
end

--- The rows of a table, in order: large numbers first, texts from A to Z.
---@param model table
---@param view table
---@return any[][]
function M.rows(model, view)
  local shown, rows = M.TABLES[view.table], {}
  local filter, by = view.filter:lower(), view.sort or shown.sort
  for _, row in ipairs(shown.rows(model)) do
    if filter == "" or fits(row, filter) then
      rows[#rows + 1] = row
    end
  end
  local numeric = shown.columns[by][3] ~= nil
  table.sort(rows, function(a, b)
    if a[by] ~= b[by] then
      local less = a[by] < b[by]
      return (numeric == (view.reverse == true)) == less
    end
    for i = 1, #a do -- rows that are alike in this stay in one order
      if a[i] ~= b[i] then
        return a[i] < b[i]
      end
    end
    return false
  end)
  return rows
end

local GAP = "  "
local LEAST = 10

--- How wide each column is on a terminal; columns at the end that have no place are nil.
local function widths_of(columns, room)
  local widths, flexible = {}, nil
  for i, column in ipairs(columns) do
    local width = column[2] or LEAST
    if room < width then
      break
    end
    widths[i], flexible = width, column[2] == nil and i or flexible
    room = room - width - #GAP
  end
  if flexible then
    widths[flexible] = widths[flexible] + math.max(0, room + #GAP)
  end
  return widths
end

local function table_line(columns, widths, cells)
  local parts = {}
  for i, width in ipairs(widths) do
    parts[i] = padded(cells[i], width, columns[i][3] ~= nil)
  end
  return table.concat(parts, GAP)
end

local function share_of(model, share)
  local seconds = sample.percentile(model.now, model.before, share)
  return seconds and figures.milliseconds(seconds) or "-"
end

--- How many of the requests that the cache was asked about had a kept answer lately.
local function cache_part(model)
  local kept = lately(model, "cached", "hit") + lately(model, "cached", "stale")
  local looked = kept + lately(model, "cached", "miss")
  return looked > 0 and (", cache %.0f%% of %s req/s"):format(100 * kept / looked, rate(looked))
    or ""
end

--- The lines about the whole.
local function head(model)
  local status, clients, queued = model.status, 0, 0
  for _, worker in ipairs(status.workers) do
    clients = clients + worker.connections
  end
  for _, backend in ipairs(status.backends) do
    queued = queued + backend.queued
  end
  local function per(code)
    return rate(sample.rate(model.now, model.before, "codes", code))
  end
  local problems = M.problems(model)
  return {
    ("moongate %s at %s, up %s, generation %d"):format(status.version, model.address,
      figures.span(status.uptime), status.generation),
    ("%s req/s, 5xx %s/s, 4xx %s/s; time 50%% %s, 95%% %s, 99%% %s"):format(per(nil), per("5xx"),
      per("4xx"), share_of(model, 0.5), share_of(model, 0.95), share_of(model, 0.99)),
    ("%d clients, %d queued, %d workers%s%s"):format(clients, queued, #status.workers,
      cache_part(model),
      status.last_error and "; last error: " .. status.last_error.text or ""),
    model.silent and "! NO ANSWER: " .. model.silent
      or problems[1] and "! " .. table.concat(problems, "; ") or "",
  }
end

--- The line at the bottom.
local function foot(view)
  if view.typing then
    return "filter: " .. view.filter .. "_"
  end
  local shown = M.TABLES[view.table]
  local start = "q quit  " .. (view.filter ~= "" and "filter: " .. view.filter .. "  " or "")
  local rest = ("  s sort: %s  r reverse  / filter"):format(
    shown.columns[view.sort or shown.sort][1])
  local names, numbers = {}, {}
  for i, one in ipairs(M.TABLES) do
    names[i] = i == view.table and ("[%d %s]"):format(i, one.name) or i .. " " .. one.name
    numbers[i] = i == view.table and names[i] or i
  end
  local long = start .. "Tab " .. table.concat(names, " ") .. rest
  return width_of(long) <= view.width and long or start .. table.concat(numbers, " ") .. rest
end

--- The picture.
---@param model table { status, address, now, before, requests, messages, generations, silent }:
--- what /status says; where; the latest sample and an earlier one or nil; the lists of these pages
--- or nil; why nobody answers
---@param view table { height, width, table, sort, reverse, filter, typing, from, utf8 }
---@return string[] lines as many as the terminal has at most, none wider
---@return integer heads which of them is the heads of the table
function M.lines(model, view)
  local lines = head(model)
  local shown = M.TABLES[view.table]
  local widths = widths_of(shown.columns, view.width)
  local heads = {}
  for i, column in ipairs(shown.columns) do
    heads[i] = column[1]
  end
  lines[#lines + 1] = table_line(shown.columns, widths, heads)
  local at = #lines
  local rows = M.rows(model, view)
  local room = math.max(0, view.height - #lines - 1)
  view.from = math.max(0, math.min(view.from, #rows - room))
  for i = view.from + 1, math.min(#rows, view.from + room) do
    local cells = {}
    for j, column in ipairs(shown.columns) do
      cells[j] = column[3] and column[3](rows[i][j]) or M.printable(rows[i][j], view.utf8)
    end
    lines[#lines + 1] = table_line(shown.columns, widths, cells)
  end
  if shown.page and not (model[shown.page] or model.now[shown.page]) then
    lines[#lines + 1] = ("this instance has no %s to show"):format(shown.name)
  end
  while #lines < view.height - 1 do
    lines[#lines + 1] = ""
  end
  lines[view.height] = foot(view)
  for i = #lines, view.height + 1, -1 do
    lines[i] = nil
  end
  for i, line in ipairs(lines) do
    lines[i] = cut(M.printable(line, view.utf8), view.width)
  end
  return lines, at
end

-- Keys --------------------------------------------------------------------------------------------

--- While the filter is typed.
local function type_key(view, key)
  if key == "\r" or key == "\n" then
    view.typing = false
  elseif key == "\27" then
    view.typing, view.filter = false, ""
  elseif key == "\127" or key == "\8" then
    view.filter = view.filter:gsub("[%z\1-\127\192-\255][\128-\191]*$", "")
  elseif #view.filter < 60 and not key:find("%c") then
    view.filter = view.filter .. key
  end
end

local function show(view, number)
  if M.TABLES[number] and number ~= view.table then
    view.table, view.sort, view.reverse, view.from = number, nil, false, 0
  end
end

local function sort_by(view, step)
  local shown = M.TABLES[view.table]
  view.sort = ((view.sort or shown.sort) - 1 + step) % #shown.columns + 1
end

local ACTIONS = {
  ["\t"] = function(view)
    show(view, view.table % #M.TABLES + 1)
  end,
  s = function(view)
    sort_by(view, 1)
  end,
  S = function(view)
    sort_by(view, -1)
  end,
  r = function(view)
    view.reverse = not view.reverse
  end,
  ["/"] = function(view)
    view.typing, view.from = true, 0
  end,
  ["\27"] = function(view)
    view.filter = ""
  end,
  j = function(view)
    view.from = view.from + 1
  end,
  k = function(view)
    view.from = math.max(0, view.from - 1)
  end,
}
ACTIONS["\27[B"], ACTIONS["\27[A"] = ACTIONS.j, ACTIONS.k
ACTIONS["\27OB"], ACTIONS["\27OA"] = ACTIONS.j, ACTIONS.k

--- What keys change in the view.
---@param view table see `lines`
---@param bytes string as they came from the terminal
---@return boolean quit
function M.keys(view, bytes)
  while bytes ~= "" do
    local key = bytes:match("^\27[%[O][%d;]*[%a~]")
      or bytes:match("^[%z\1-\127\192-\255][\128-\191]*") or bytes:sub(1, 1)
    bytes = bytes:sub(#key + 1)
    if view.typing then
      if #key == 1 or key:byte() >= 192 then
        type_key(view, key)
      end
    elseif key == "q" or key == "Q" then
      return true
    elseif ACTIONS[key] then
      ACTIONS[key](view)
    elseif key:find("^%d$") then
      show(view, tonumber(key))
    end
  end
  return false
end

--- How a view begins.
---@param utf8 boolean
---@return table
function M.view(utf8)
  return { table = 1, filter = "", typing = false, reverse = false, from = 0, utf8 = utf8 }
end

return M
