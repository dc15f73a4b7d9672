-- moongate.worker.scripts owns what the control listener says of the scripts of applications: which
-- take the most time, and which fail most. Called by moongate.worker.control.

local json = require("moongate.base.json")

local M = {}

M.MOST = 50 -- that are listed, by time and once more by errors

local COUNTS = { "requests", "errors", "messages", "seconds" }

--- Scripts of all places as one list.
local function merged(entries)
  local list, known = {}, {}
  for _, entry in ipairs(entries) do
    local one = known[entry.script]
    if one then
      for _, key in ipairs(COUNTS) do
        one[key] = one[key] + entry[key]
      end
    else
      known[entry.script] = entry
      list[#list + 1] = entry
    end
  end
  return list
end

--- Sorts by a count, what is alike by name.
local function sort(list, key)
  table.sort(list, function(a, b)
    if a[key] ~= b[key] then
      return a[key] > b[key]
    end
    return a.script < b.script
  end)
end

--- The scripts with the most time, and those with the most errors among the rest.
---@param core table `scripts` of moongate.core
---@return table[] scripts list of { script, requests, errors, messages, seconds }, the one with the
--- most time first: of all requests so far
---@return table others the sums of all that are not in the list
function M.list(core)
  local entries, others = core.scripts()
  local all, picked = merged(entries), {}
  for _, key in ipairs({ "errors", "seconds" }) do
    sort(all, key)
    for i = 1, math.min(#all, M.MOST) do
      if key == "seconds" or all[i].errors > 0 then
        picked[all[i]] = true
      end
    end
  end
  local list = {}
  for _, one in ipairs(all) do
    if picked[one] then
      list[#list + 1] = one
    else
      for _, key in ipairs(COUNTS) do
        others[key] = others[key] + one[key]
      end
    end
  end
  return json.list(list), others
end

return M
