-- Waiting for a condition with a deadline, instead of sleeping and hoping. Used by every module of
-- tests/support and by scenarios that watch a log or a file.

local socket = require("socket")

local poll = {}

--- The least number of seconds that is waited for what must come: a busy machine, or a sanitizer,
--- may make it that late, and who waits for less finds faults of the machine. What must come soon
--- is shown in another way: something else comes later, or the wrong behaviour never ends.
poll.PATIENCE = 30

--- How long one look takes to be repeated, in seconds.
local INTERVAL = 0.01

--- Calls `condition` until it returns a true value, and returns that value. Raises an error that
--- says what was waited for when the time is over.
---@param condition fun(): any looked at about a hundred times a second
---@param what string completes "waited N s for ..."
---@param timeout? number seconds, where PATIENCE is too little
---@return any
function poll.wait(condition, what, timeout)
  timeout = math.max(timeout or 0, poll.PATIENCE)
  return poll.try(condition, timeout)
    or error(("waited %g s for %s"):format(timeout, what), 2)
end

--- The same, for conditions that may well not come true: returns nil at the deadline.
---@param condition fun(): any
---@param timeout number seconds
---@return any
function poll.try(condition, timeout)
  local deadline = socket.gettime() + timeout
  while true do
    local value = condition()
    if value then
      return value
    end
    if socket.gettime() >= deadline then
      return nil
    end
    socket.sleep(INTERVAL)
  end
end

return poll
