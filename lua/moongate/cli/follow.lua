-- moongate.cli.follow owns what commands have in common that show what an instance sends as it
-- happens: how long they do (--count, --wait), the printing, and what came too fast. Called by tail
-- and trace.

local json = require("moongate.base.json")
local units = require("moongate.base.units")

local M = {}

--- Seconds between two questions.
M.INTERVAL = 0.2

--- What the options say of the end.
---@param args table of the command line
---@param default number where --count does not say
---@param most number of --count
---@return number|nil count
---@return number|string seconds without --wait no end; a problem where there is no count
function M.bounds(args, default, most)
  local count = args.count and tonumber(args.count) or default
  if args.count and (not args.count:match("^[1-9]%d*$") or count > most) then
    return nil, ("--count: '%s': expected a number from 1 %s"):format(args.count,
      most == math.huge and "on" or ("to %d"):format(most))
  end
  local seconds = args.wait and units.duration(tonumber(args.wait) or args.wait) or math.huge
  if args.wait and seconds == math.huge then
    return nil, ("--wait: '%s': expected %s"):format(args.wait, units.DURATION)
  end
  return count, seconds
end

---@class moongate.cli.Shown
---@field json boolean|nil each as it came
---@field text fun(one: table): string else
---@field passes (fun(one: table): boolean)|nil which are shown; nil: all
---@field most number|nil how many at most

--- Prints what has come.
---@param lines string objects in JSON, one a line
---@param how moongate.cli.Shown
---@return integer count
function M.print(lines, how)
  local count, most = 0, how.most or math.huge
  for raw in lines:gmatch("[^\n]+") do
    local one = json.decode(raw)
    if count < most and type(one) == "table" and (not how.passes or how.passes(one)) then
      io.stdout:write(how.json and raw or how.text(one), "\n")
      count = count + 1
    end
  end
  io.stdout:flush()
  return count
end

--- Says what is not shown.
---@param number number 0: nothing
---@param what string "lines"
function M.say_lost(number, what)
  if number > 0 then
    io.stderr:write(("%.0f %s came too fast, and are not shown\n"):format(number, what))
  end
end

return M
