-- moongate.auth.checks owns the queue of passwords that are to be checked: a hash is slow on
-- purpose, and a worker has one thread for them. Clients whose logins have failed wait behind all
-- others, so that who guesses does not delay who knows. Called by moongate.auth.basic.

local core = require("moongate.core")
local moongate = require("moongate")

local M = {}

-- How many may wait: at a twentieth of a second each, some five seconds.
local MOST = 100
local MOST_SUSPECTS = 30

---@class moongate.auth.Check
---@field password string
---@field hash string
---@field gates table[] of those who wait for it
---@field right boolean|nil nil at the end, too, where it could not be done
---@field problem string|nil
---@field finish fun(check: moongate.auth.Check) called once, before the gates open

local fresh, suspects = { first = 1, last = 0 }, { first = 1, last = 0 }
local working = false

local function shift(line)
  local check = line[line.first]
  if check then
    line[line.first] = nil
    line.first = line.first + 1
  end
  return check
end

local function run(check)
  local ok, right, problem = pcall(core.password_fits, check.password, check.hash)
  check.right = ok and right
  if not ok then
    check.problem = tostring(right)
  elseif right == nil then
    check.right, check.problem = nil, problem
  end
  if check.problem then
    check.right = nil
  end
  check:finish()
  for _, gate in ipairs(check.gates) do
    gate:open()
  end
end

local function work()
  local check = shift(fresh) or shift(suspects)
  while check do
    run(check)
    check = shift(fresh) or shift(suspects)
  end
  working = false
end

--- Puts a check into the queue.
---@param check moongate.auth.Check
---@param suspect boolean
---@return boolean taken false: too many wait already
function M.add(check, suspect)
  local line = suspect and suspects or fresh
  if line.last - line.first + 1 >= (suspect and MOST_SUSPECTS or MOST) then
    return false
  end
  line.last = line.last + 1
  line[line.last] = check
  if not working then
    working = true
    moongate.spawn(work)
  end
  return true
end

--- Waits for a check.
---@param check moongate.auth.Check
function M.wait(check)
  local gate = core.gate()
  check.gates[#check.gates + 1] = gate
  gate:wait()
end

--- A check at once, where no server runs.
---@param password string
---@param hash string
---@return boolean right
function M.now(password, hash)
  return core.password_fits(password, hash) == true
end

return M
