-- moongate.shadow.report owns what the copies of moongate.shadow have found: counted in a shared
-- dictionary over all workers, with bounds, and read as a list, worst first. Called by
-- moongate.shadow, and by moongate.worker.control for `moongate shadow report`.
--
-- Keys begin with the shadow's name, and have parts between tabs: "NAME total KIND" and "NAME skip
-- REASON" are counts; of a script "NAME seen SCRIPT" is how often it was compared, "old", "new" and
-- "timed" are its seconds; "NAME find SCRIPT KIND TEXT" is how often something was found, and with
-- "such" in place of "find" the first request that showed it.

local compare = require("moongate.shadow.compare")
local json = require("moongate.base.json")
local moongate = require("moongate")
local registry = require("moongate.route.registry")

local M = {}

local DICTIONARY = "moongate.shadow"
local SCRIPTS, FINDINGS_OF_SCRIPT, FINDINGS = 200, 20, 1000 -- of one shadow
local REASONS = 30 -- why requests were not compared
local SCRIPT_MOST, TEXT_MOST, SUCH_MOST = 140, 200, 300 -- bytes
local OTHERS = "(others)"
local ALL_KEYS = 100000

--- A script is slower where the other backend needs this much longer on average.
local SLOWER, SLOWER_BY, SLOWER_OF = 1.5, 0.005, 10 -- times, seconds, of so many requests

local RANKS = {}
for i, kind in ipairs(compare.KINDS) do
  RANKS[kind] = i
end

-- Shadows of a route ------------------------------------------------------------------------------

---@class moongate.shadow.Declared
---@field name string
---@field to string a backend

--- Those of each route, in order and by name.
local declared = setmetatable({}, { __mode = "k" })

---@return table<string|integer, moongate.shadow.Declared>
local function of_route()
  local list = declared[registry.starts] or {}
  declared[registry.starts] = list
  return list
end

local dictionary
local function store()
  dictionary = dictionary or moongate.shared(DICTIONARY)
  return dictionary
end

--- The route that is being loaded has a shadow.
---@param name string
---@param to string
function M.declare(name, to)
  local list = of_route()
  local one = { name = name, to = to }
  list[#list + 1], list[name] = one, one
  registry.start(store)
end

-- Counting ----------------------------------------------------------------------------------------

--- A text as part of a key. Of one that is too long the end says more than the beginning, where it
--- is a path.
local function part(text, most)
  text = text:gsub("%c", "?")
  if text == "" then
    return "?"
  elseif #text <= most then
    return text
  end
  return text:sub(1, 1) == "/" and "..." .. text:sub(3 - most) or text:sub(1, most - 3) .. "..."
end

--- Makes a number of that key where it has its place among others.
---@param bounds table[] of { the key of a count, the most }
---@return boolean
local function admit(key, bounds)
  local counts = store()
  if not counts:add(key, 0) then
    return counts:get(key) ~= nil -- else there is no memory
  end
  for i, bound in ipairs(bounds) do
    if (counts:incr(bound[1], 1, 0) or math.huge) > bound[2] then
      counts:delete(key)
      for j = 1, i do
        counts:incr(bounds[j][1], -1)
      end
      return false
    end
  end
  return true
end

--- A request was not compared.
---@param name string the shadow's
---@param reason string
function M.skipped(name, reason)
  local key = ("%s\tskip\t%s"):format(name, part(reason, TEXT_MOST))
  if not admit(key, { { name .. "\treasons", REASONS } }) then
    key = ("%s\tskip\t%s"):format(name, OTHERS)
  end
  store():incr(key, 1, 0)
end

---@param script string the part of a key
---@param finding moongate.shadow.Finding
local function note(name, script, finding, request)
  local text = part(finding.text, TEXT_MOST)
  local key = ("%s\tfind\t%s\t%s\t%s"):format(name, script, finding.kind, text)
  if not admit(key, { { name .. "\tfindings", FINDINGS },
    { ("%s\tn\t%s"):format(name, script), FINDINGS_OF_SCRIPT } }) then
    text = OTHERS
    key = ("%s\tfind\t%s\t%s\t%s"):format(name, script, finding.kind, text)
    store():add(key, 0)
  end
  if store():incr(key, 1) == 1 then
    local such = finding.detail and ("%s (%s)"):format(request, finding.detail) or request
    store():set(("%s\tsuch\t%s\t%s\t%s"):format(name, script, finding.kind, text),
      part(such, SUCH_MOST))
  end
end

---@class moongate.shadow.Compared
---@field script string
---@field request string "GET example.org/x?a=1"
---@field findings moongate.shadow.Finding[]
---@field varies boolean|nil
---@field old number|nil seconds until the first byte
---@field new number|nil likewise

--- A request was compared.
---@param name string the shadow's
---@param result moongate.shadow.Compared
function M.compared(name, result)
  local counts, script = store(), part(result.script, SCRIPT_MOST)
  local seen = ("%s\tseen\t%s"):format(name, script)
  if not admit(seen, { { name .. "\tscripts", SCRIPTS } }) then
    script = OTHERS
    seen = ("%s\tseen\t%s"):format(name, script)
  end
  counts:incr(seen, 1, 0)
  counts:incr(name .. "\ttotal\tcompared", 1, 0)
  if #result.findings == 0 then
    counts:incr(name .. "\ttotal\tsame", 1, 0)
  end
  if result.varies then
    counts:incr(("%s\tvaries\t%s"):format(name, script), 1, 0)
  end
  if result.old and result.new then
    counts:incr(("%s\ttimed\t%s"):format(name, script), 1, 0)
    counts:incr(("%s\told\t%s"):format(name, script), result.old, 0)
    counts:incr(("%s\tnew\t%s"):format(name, script), result.new, 0)
  end
  for _, finding in ipairs(result.findings) do
    note(name, script, finding, result.request)
  end
end

-- Reading -----------------------------------------------------------------------------------------

--- The parts of a key, but for the shadow's name.
local function parts_of(key)
  local parts = {}
  for word in key:gmatch("[^\t]+") do
    parts[#parts + 1] = word
  end
  return parts
end

--- What one key of a shadow says, put into its place.
local function gather(shadow, scripts, parts, value, such)
  local what, script = parts[2], parts[3]
  if what == "total" then
    shadow[script] = value
  elseif what == "skip" then
    shadow.skipped[script] = value
  elseif what == "seen" or what == "varies" or what == "timed" or what == "old" or what == "new"
    or what == "find" then
    local one = scripts[script] or { script = script, seen = 0, findings = {} }
    scripts[script] = one
    if what == "find" then
      table.insert(one.findings, { kind = parts[4], text = parts[5], count = value, such = such })
    else
      one[what] = value
    end
  end
end

--- Worse first, then what is found more often.
local function worse(a, b)
  local first, second = RANKS[a.kind] or 99, RANKS[b.kind] or 99
  if first ~= second then
    return first < second
  elseif a.count ~= b.count then
    return a.count > b.count
  end
  return a.text < b.text
end

--- The means of a script's times, and whether it became slower.
local function add_times(one)
  local timed = one.timed or 0
  local old, new = (one.old or 0) / timed, (one.new or 0) / timed
  one.timed, one.old, one.new = nil, timed > 0 and old or nil, timed > 0 and new or nil
  if timed >= SLOWER_OF and new > old * SLOWER and new - old > SLOWER_BY then
    table.insert(one.findings, { kind = "slower", count = timed,
      text = ("%.1f ms -> %.1f ms until the first byte, on average"):format(old * 1000,
        new * 1000) })
  end
end

--- What is known of one shadow.
---@param one moongate.shadow.Declared
---@param keys string[] all of the dictionary
local function read(one, keys)
  local shadow = { name = one.name, to = one.to, compared = 0, same = 0, skipped = {} }
  local scripts, list = {}, {}
  local prefix = one.name .. "\t"
  for _, key in ipairs(keys) do
    if key:sub(1, #prefix) == prefix then
      local parts = parts_of(key)
      local such = parts[2] == "find"
        and store():get((key:gsub("^([^\t]*)\tfind\t", "%1\tsuch\t"))) or nil
      gather(shadow, scripts, parts, store():get(key) or 0, such)
    end
  end
  for _, script in pairs(scripts) do
    add_times(script)
    table.sort(script.findings, worse)
    json.list(script.findings)
    list[#list + 1] = script
  end
  table.sort(list, function(a, b)
    local first, second = a.findings[1], b.findings[1]
    if first and second then
      return worse(first, second) or not worse(second, first) and a.script < b.script
    elseif first or second then
      return first ~= nil
    end
    return a.script < b.script
  end)
  shadow.scripts = json.list(list)
  return shadow
end

--- The reports of the route's shadows.
---@param name string|nil of one of them only
---@return table[]|nil list of { name, to, compared, same, skipped, scripts }
---@return string|nil problem
function M.read(name)
  local list = of_route()
  if #list == 0 then
    return nil, "the route has no shadow (moongate.shadow)"
  elseif name and not list[name] then
    return nil, ("the route has no shadow '%s'"):format(name)
  end
  local keys, reports = store():keys(ALL_KEYS), {}
  for _, one in ipairs(list) do
    if not name or one.name == name then
      reports[#reports + 1] = read(one, keys)
    end
  end
  return reports
end

--- Begins anew.
---@param name string|nil only this one
---@return boolean|nil done
---@return string|nil problem
function M.clear(name)
  local reports, problem = M.read(name)
  if not reports then
    return nil, problem
  end
  local known = {}
  for _, report in ipairs(reports) do
    known[report.name] = true
  end
  for _, key in ipairs(store():keys(ALL_KEYS)) do
    local parts = parts_of(key)
    if known[parts[1]] and parts[2] ~= "slot" then
      store():delete(key)
    end
  end
  return true
end

-- Places ------------------------------------------------------------------------------------------

--- Takes one of the places for copies, over all workers. It comes back by itself after `seconds`,
--- should its worker end before.
---@param name string the shadow's
---@param most integer
---@param seconds number
---@return string|nil slot
function M.take(name, most, seconds)
  for i = 1, most do
    local key = ("%s\tslot\t%d"):format(name, i)
    if store():add(key, true, seconds) then
      return key
    end
  end
  return nil
end

---@param slot string
function M.give_back(slot)
  store():delete(slot)
end

return M
