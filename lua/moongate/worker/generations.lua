-- moongate.worker.generations owns what the control listener says of the loads of the route: which
-- there were, and which one a rollback goes to. Called by moongate.worker.control.

local json = require("moongate.base.json")

local M = {}

--- One load as the page has it.
local function shown(load)
  return {
    number = load.number > 0 and load.number or nil, outcome = load.outcome,
    serving = load.outcome == "serving", at = load.at, ["until"] = load["until"] > 0
      and load["until"] or nil, hash = load.hash ~= "" and load.hash or nil, reason = load.reason,
    kept = load.kept, renewals = load.renewals > 0 and load.renewals or nil,
    error = load.error ~= "" and load.error or nil,
  }
end

--- The loads that are remembered, the latest first.
---@param core table of moongate.worker.control
---@return table[] list
function M.list(core)
  local loads, list = core.loads(), {}
  for i = #loads, 1, -1 do
    list[#list + 1] = shown(loads[i])
  end
  return json.list(list)
end

--- The generation that a rollback goes to, where none is named: the latest with other files than
--- those that serve.
local function one_before(list)
  local serving
  for _, load in ipairs(list) do
    if load.serving then
      serving = load
    elseif serving and load.number and load.kept and load.hash ~= serving.hash then
      return load.number
    end
  end
  return nil, "no earlier generation had other files than the one that serves"
end

--- The generation that is to serve again.
---@param core table of moongate.worker.control
---@param given string|nil its number; nil: the one before
---@return integer|nil number
---@return string|nil problem
---@return integer|nil status
function M.target(core, given)
  local list = M.list(core)
  if given == nil or given == "" then
    local number, problem = one_before(list)
    return number, problem, 404
  end
  local number = given:match("^%d+$") and tonumber(given)
  if not number then
    return nil, ("'%s' is no number of a generation"):format(given), 400
  end
  local kept = {}
  for _, load in ipairs(list) do
    if load.number == number and load.serving then
      return nil, ("generation %d serves already"):format(number), 400
    elseif load.number == number and load.kept then
      return number
    elseif load.kept and not load.serving then
      kept[#kept + 1] = load.number
    end
  end
  table.sort(kept)
  local others = #kept == 0 and "there are none of an earlier one"
    or "there are those of " .. table.concat(kept, ", ")
  return nil, ("the files of generation %d are not kept; %s"):format(number, others), 404
end

return M
