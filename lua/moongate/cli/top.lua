-- moongate.cli.top owns `moongate top`: what a running instance does, live in a terminal. Called by
-- cli.commands. The picture is of cli/screen.

local core = require("moongate.core.commands")
local remote = require("moongate.cli.remote")
local sample = require("moongate.cli.sample")
local screen = require("moongate.cli.screen")
local units = require("moongate.base.units")

local M = {
  usage = "top [ROUTE.lua] [OPTIONS]", summary = "show live what a running instance does",
  help = [[
Keys: q ends it. Tab, or 1 to 8, shows servers, tenants, scripts of applications, hooks of the
route's script, the requests that are being served, errors of the route's script, the last messages
of applications on STDERR, or generations. s and S sort by the next or the previous column, r turns
the order round, / filters by a text (Enter ends it, Esc takes it away), j, k and the arrows scroll.

Without a terminal, `moongate top --once` prints one picture.
]] .. remote.ROUTE_HELP,
  options = {
    remote.CONTROL_OPTION,
    { name = "--interval", value = "TIME", help = "how often it looks (1s)" },
    { name = "--once", help = "print one picture, and end" },
  },
  min = 0, max = 0, route_at = 1,
}

-- Seconds over which rates and times of requests are counted.
local WINDOW = 5
-- Pages that are one list, of the same name.
local LISTS = { "requests", "messages", "generations" }
-- Of a picture that nobody scrolls through.
local ALL_ROWS, ALL_COLUMNS = 1000, 120

--- Whether the terminal's encoding is UTF-8.
local function is_utf8()
  for _, name in ipairs({ "LC_ALL", "LC_CTYPE", "LANG" }) do
    local value = os.getenv(name)
    if value and value ~= "" then
      return value:lower():find("utf%-?8") ~= nil
    end
  end
  return false
end

local function total(sums)
  local all = 0
  for _, value in pairs(sums) do
    all = all + value
  end
  return all
end

--- Keeps the samples of a while; an instance that counts from 0 again has begun anew.
local function keep(samples, now)
  local last = samples[#samples]
  if last and total(now.codes) < total(last.codes) then
    samples = {}
  end
  samples[#samples + 1] = now
  while samples[3] and now.at - samples[2].at >= WINDOW do
    table.remove(samples, 1)
  end
  return samples
end

--- Looks at the instance. What is known stays where nobody answers.
---@return string|nil problem
local function look(model, place)
  local status, problem = remote.read(place, "/status")
  local text
  if status then
    text, problem = remote.read_text(place, "/metrics")
  end
  if not text then
    model.silent = problem
    return problem
  end
  model.silent, model.status, model.address = nil, status, place.address
  local scripts = model.pages["/scripts"] and remote.read(place, "/scripts")
  model.samples = keep(model.samples,
    sample.read(text, core.now(), scripts and scripts.scripts or nil))
  model.now = model.samples[#model.samples]
  model.before = #model.samples > 1 and model.samples[1] or nil
  for _, name in ipairs(LISTS) do
    local page = model.pages["/" .. name] and remote.read(place, "/" .. name)
    model[name] = page and page[name] or nil
  end
  return nil
end

--- The pages that an instance has, which may be of an earlier release.
local function pages_of(place)
  local index, set = remote.read(place, "/"), {}
  for _, path in ipairs(index and index.pages or {}) do
    set[path] = true
  end
  return set
end

local function draw(model, view, plain)
  view.height, view.width = core.terminal_size()
  local lines, heads = screen.lines(model, view)
  if plain then
    io.stdout:write(table.concat(lines, "\n"), "\n")
  else
    lines[heads] = "\27[7m" .. lines[heads] .. "\27[m"
    if lines[4] and lines[4] ~= "" and heads ~= 4 then
      lines[4] = "\27[1m" .. lines[4] .. "\27[m"
    end
    io.stdout:write("\27[H", table.concat(lines, "\27[K\n"), "\27[K\27[J")
  end
  io.stdout:flush()
end

--- Draws until somebody has seen enough.
local function run(model, view, place, interval, plain)
  local due = core.now()
  while true do
    if core.now() >= due or due - core.now() > interval then -- the clock may be set back
      look(model, place)
      due = core.now() + interval
    end
    draw(model, view, plain)
    local keys = core.terminal_read(math.max(0, math.min(due - core.now(), interval)))
    if keys == nil or screen.keys(view, keys) then
      return
    end
  end
end

--- One picture, of what happens within the interval.
local function once(model, view, place, interval)
  core.pause(interval)
  local problem = look(model, place)
  if problem then
    return 1, problem
  end
  view.height, view.width = ALL_ROWS, ALL_COLUMNS
  local lines = screen.lines(model, view)
  lines[#lines] = nil
  io.stdout:write((table.concat(lines, "\n"):gsub(" +\n", "\n"):gsub("\n*$", "\n")))
  return 0
end

---@param args table
---@return integer status, string|nil message
function M.main(args)
  local interval = 1
  if args.interval then
    interval = units.duration(tonumber(args.interval) or args.interval)
    if not interval or interval < 0.1 or interval > 3600 then
      return 2, ("--interval: '%s': expected a time from 0.1s to 1h"):format(args.interval)
    end
  end
  local place, problem, status = remote.place(args)
  if not place then
    return status, problem
  end
  local model, view = { samples = {}, pages = pages_of(place) }, screen.view(is_utf8())
  problem = look(model, place)
  if problem then
    return 1, problem
  elseif args.once then
    return once(model, view, place, interval)
  end
  local term = os.getenv("TERM") or ""
  local plain = term == "" or term == "dumb"
  local opened
  opened, problem = core.terminal_open(plain)
  if not opened then
    return 1, problem .. "; `moongate top --once` needs none"
  end
  run(model, view, place, interval, plain)
  core.terminal_close()
  return 0
end

return M
