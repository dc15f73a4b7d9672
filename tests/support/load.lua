-- Runs build/tests/load (load.c says what it counts): many clients at once, in groups, while the
-- scenario does something to the server or its backends.
--
--   local run = load.start(address, { seconds = 2, { name = "big", clients = 20, host = "a" } })
--   ...
--   local result = run:finish()        -- result.big[200], result.big.failed, result.seconds

local poll = require("tests.support.poll")
local process = require("tests.support.process")
local server = require("tests.support.server")

local load = {}

---@class LoadGroup
---@field name? string "all" by default
---@field clients? integer 1 by default
---@field requests? integer of all its clients together
---@field host? string
---@field path? string `@` stands for a token that the reply must bring back
---@field method? string
---@field header? string one more line
---@field body? integer bytes of the request's body
---@field mark? boolean the body begins with the token, and the reply must say that it came so
---@field pattern? integer the reply's body must be what the responder's `size` makes of this number
---@field length? integer bytes that the reply's body must have
---@field hosts? string "COUNT:STEP", the numbers that `#` in the host goes through (load.c)
---@field slow? number milliseconds between the pieces in which the head is sent
---@field pieces? integer bytes of a request that a client writes at a time, at most
---@field idle? boolean each client keeps its connection after one reply, and asks no more
---@field close? boolean a connection for each request
---@field pause? number milliseconds between two requests of a client
---@field leave? number milliseconds after which a client that waits resets its connection

---@class LoadResult: { [integer]: integer } how many replies had each status; 0 where none had
---@field requests integer replies that were whole
---@field failed integer requests without a whole reply
---@field p50 number seconds, as p90, p99, p999 and max

---@class Load
local Load = {}
Load.__index = Load

local FAILURES = { "connect", "closed", "timeout", "broken", "wrong" }
local TIMES = { p50 = true, p90 = true, p99 = true, p999 = true, max = true }

-- The one built together with the binary under test (with sanitizers or without), if there is one.
local function program()
  local path = server.binary():match("^(.*)/[^/]*$") .. "/tests/load"
  return process.read_file(path) and path or process.cwd() .. "/build/tests/load"
end

local function group_arguments(argv, group)
  local function add(name, value)
    if value then
      argv[#argv + 1] = "--" .. name
      argv[#argv + 1] = tostring(value)
    end
  end
  add("group", group.name or "all")
  for _, key in ipairs({ "clients", "requests", "host", "path", "method", "header", "body",
    "pattern", "length", "hosts", "slow", "pieces", "pause", "leave" }) do
    add(key, group[key])
  end
  for _, key in ipairs({ "close", "idle", "mark" }) do
    if group[key] then
      argv[#argv + 1] = "--" .. key
    end
  end
end

--- Starts it; the groups are the list's elements.
---@param address string
---@param options { seconds?: number, timeout?: number, [integer]: LoadGroup }
---@return Load
function load.start(address, options)
  local dir = process.tempdir("load")
  local argv = { program(), address }
  for _, key in ipairs({ "seconds", "timeout" }) do
    if options[key] then
      argv[#argv + 1] = "--" .. key
      argv[#argv + 1] = tostring(options[key])
    end
  end
  for _, group in ipairs(options) do
    group_arguments(argv, group)
  end
  return setmetatable({
    process = process.spawn({ argv = argv, stdout = dir .. "/out", stderr = dir .. "/err" }),
    dir = dir,
  }, Load)
end

-- `shown`: the wrong replies, as the program wrote them.
local function parse(text, shown)
  local results = {}
  for name, rest in text:gmatch("(%S+)([^\n]*)\n") do
    local result = setmetatable({ failed = 0 }, {
      __index = function(_, key)
        return type(key) == "number" and 0 or nil
      end,
    })
    for key, value in rest:gmatch("(%w+)=([%d.]+)") do
      local number = tonumber(value)
      result[tonumber(key) or key] = TIMES[key] and number / 1e6 or number
    end
    for _, key in ipairs(FAILURES) do
      result.failed = result.failed + (result[key] or 0)
    end
    result.text = name .. rest .. ((result.wrong or 0) > 0 and "\n" .. shown or "")
    results[name] = result
  end
  return results
end

-- Seconds for so many requests, however slow the machine is; one that gets no reply is given up by
-- the program itself.
local LONGEST = 300

--- Waits for its end. Raises an error when it takes longer.
---@param timeout? number seconds, LONGEST by default
---@return table<string, LoadResult> by the groups' names, and `seconds`
function Load:finish(timeout)
  local ended = self.process:wait(timeout or LONGEST)
  local text = process.read_file(self.dir .. "/out") or ""
  if not ended or self.process.code ~= 0 then
    self.process:stop(1)
    error(("load: %s; it wrote %q and %q"):format(self.process:ending(), text,
      process.read_file(self.dir .. "/err") or ""), 2)
  end
  local shown = process.read_file(self.dir .. "/err") or ""
  process.remove(self.dir)
  local seconds = tonumber(text:match("\nall seconds=([%d.]+)"))
  local results = parse((text:gsub("all seconds=[^\n]*\n$", "")), shown)
  results.seconds = seconds
  return results
end

--- Lets every client finish what it waits for, and returns the account.
---@param timeout? number
---@return table<string, LoadResult>
function Load:stop(timeout)
  self.process:kill("TERM")
  return self:finish(timeout)
end

--- From start to end.
---@param address string
---@param options table as for `start`
---@return table<string, LoadResult>
function load.run(address, options)
  return load.start(address, options):finish((options.seconds or 0) + LONGEST)
end

--- Raises an error unless every request of the group had a whole reply with this status.
---@param result LoadResult
---@param status? integer 200 by default
function load.assert_all(result, status)
  if result.failed ~= 0 or result.requests == 0 or result[status or 200] ~= result.requests then
    error("not every request was answered by " .. (status or 200) .. ": " .. result.text, 2)
  end
end

--- Whether it is still at work.
---@return boolean
function Load:running()
  return self.process:alive()
end

--- Waits until every client of its idle groups has its reply.
function Load:wait_idle()
  poll.wait(function()
    assert(self.process:alive(), "load has ended")
    return (process.read_file(self.dir .. "/out") or ""):find("idle\n", 1, true)
  end, "the idle clients to have a reply", 60)
end

--- Ends it without an account; safe to call after `finish`, for `finally`.
function Load:abandon()
  self.process:stop(1)
end

return load
